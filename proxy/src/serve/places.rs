//! Places among the requests that are served at once, and a queue for them that is fair between clients.
//!
//! Each client's requests wait in a queue of their own, and clients take turns (fair queueing: Nagle, RFC 970).
//! When all queues together are full, the newest request of the longest one leaves (RFC 8290, section 4.1.2),
//! so that whoever floods is refused, and nobody else.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::quota::Client;

/// A place; it goes to the next in turn, or is free again, when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// None once it was passed on.
    places: Option<Arc<Places>>,
}

/// All places, and who waits for one.
#[derive(Debug)]
pub(super) struct Places {
    queue_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
    next: u64,
    queues: BTreeMap<Client, VecDeque<Waiter>>,
    /// Clients with a queue, the next in turn first.
    turns: VecDeque<Client>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wakes: oneshot::Sender<Place>,
}

/// A request that waits; it leaves the queue when this is dropped.
pub(super) struct Waiting {
    client: Client,
    number: u64,
    places: Arc<Places>,
    woken: oneshot::Receiver<Place>,
}

/// All queues are full, and the client's own is the longest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Places {
    pub(super) fn new(count: usize, queue_max: usize) -> Arc<Self> {
        Arc::new(Self {
            queue_max,
            state: Mutex::new(State {
                free: count,
                waiting: 0,
                next: 0,
                queues: BTreeMap::new(),
                turns: VecDeque::new(),
            }),
        })
    }

    /// A place that is free now.
    pub(super) fn now(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        state.free = state.free.checked_sub(1)?;
        Some(self.place())
    }

    /// Queues a request of a client.
    pub(super) fn wait(self: &Arc<Self>, client: Client) -> Result<Waiting, QueueFull> {
        let mut state = self.state.lock();
        if state.waiting >= self.queue_max && !state.make_room(client) {
            return Err(QueueFull);
        }
        let (wakes, woken) = oneshot::channel();
        let number = state.push(client, wakes);
        // A place may have become free since it was looked for.
        let freed = (state.free > 0).then(|| {
            state.free -= 1;
            state.pop()
        });
        drop(state);
        if let Some(Some(waiter)) = freed {
            self.pass(waiter);
        }
        Ok(Waiting {
            client,
            number,
            places: Arc::clone(self),
            woken,
        })
    }

    /// Number of requests that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    fn place(self: &Arc<Self>) -> Place {
        Place {
            places: Some(Arc::clone(self)),
        }
    }

    /// Gives a place to a request in the queue, or to the next one when that has left meanwhile.
    fn pass(self: &Arc<Self>, waiter: Waiter) {
        let mut waiter = Some(waiter);
        while let Some(next) = waiter {
            let Err(mut refused) = next.wakes.send(self.place()) else {
                return;
            };
            refused.places = None;
            waiter = self.next_or_free();
        }
    }

    /// The next in turn; without one the place is free.
    fn next_or_free(&self) -> Option<Waiter> {
        let mut state = self.state.lock();
        let next = state.pop();
        if next.is_none() {
            state.free += 1;
        }
        next
    }
}

impl State {
    fn push(&mut self, client: Client, wakes: oneshot::Sender<Place>) -> u64 {
        self.next += 1;
        self.waiting += 1;
        let number = self.next;
        let queue = self.queues.entry(client).or_default();
        if queue.is_empty() {
            self.turns.push_back(client);
        }
        queue.push_back(Waiter { number, wakes });
        number
    }

    /// Takes the oldest request of the client whose turn it is.
    fn pop(&mut self) -> Option<Waiter> {
        let client = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&client)?;
        let waiter = queue.pop_front()?;
        self.waiting -= 1;
        if queue.is_empty() {
            self.queues.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        Some(waiter)
    }

    /// Has the newest request of the longest queue leave, if that is longer than the client's own would be.
    fn make_room(&mut self, client: Client) -> bool {
        let own = self.queues.get(&client).map_or(0, VecDeque::len);
        let longest = self.queues.iter_mut().max_by_key(|(_, queue)| queue.len());
        let Some((_, queue)) = longest.filter(|(_, queue)| queue.len() > own + 1) else {
            return false;
        };
        // What waits for it is told by its end of the channel.
        if queue.pop_back().is_some() {
            self.waiting -= 1;
        }
        true
    }

    fn remove(&mut self, client: Client, number: u64) {
        let Some(queue) = self.queues.get_mut(&client) else {
            return;
        };
        let before = queue.len();
        queue.retain(|waiter| waiter.number != number);
        self.waiting -= before - queue.len();
        if queue.is_empty() {
            self.queues.remove(&client);
            self.turns.retain(|other| *other != client);
        }
    }
}

impl Waiting {
    /// The place, when it is this request's turn; nothing when the request had to leave.
    pub(super) async fn turn(&mut self) -> Option<Place> {
        (&mut self.woken).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.places.state.lock().remove(self.client, self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.places.take()
            && let Some(waiter) = places.next_or_free()
        {
            places.pass(waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const FLOOD: Client = Client(1);
    const OTHER: Client = Client(2);

    fn place(waiting: &mut Waiting) -> Option<Place> {
        waiting.turn().now_or_never().flatten()
    }

    /// One client's many requests do not make another's one wait for all of them.
    #[test]
    fn clients_take_turns() {
        let places = Places::new(1, 10);
        let held = places.now().expect("a place");
        assert!(places.now().is_none());
        let mut flood: Vec<_> = (0..5).map(|_| places.wait(FLOOD).expect("room")).collect();
        let mut other = places.wait(OTHER).expect("room");
        drop(held);
        let first = place(&mut flood[0]).expect("the first in turn");
        assert!(place(&mut other).is_none());
        drop(first);
        let second = place(&mut other).expect("the other's turn");
        assert!(place(&mut flood[1]).is_none());
        drop(second);
        assert!(place(&mut flood[1]).is_some());
    }

    /// With a full queue the flood is refused, and makes room for others.
    #[test]
    fn the_longest_queue_gives_way() {
        let places = Places::new(1, 3);
        let held = places.now().expect("a place");
        let mut flood: Vec<_> = (0..3).map(|_| places.wait(FLOOD).expect("room")).collect();
        assert_eq!(places.wait(FLOOD).err(), Some(QueueFull));
        let mut other = places.wait(OTHER).expect("room is made");
        assert!(
            flood[2]
                .turn()
                .now_or_never()
                .is_some_and(|turn| turn.is_none())
        );
        assert_eq!(places.waiting(), 3);
        // Another one would make the queues equal in length: nobody has to leave for that.
        assert_eq!(places.wait(OTHER).err(), Some(QueueFull));
        drop(held);
        drop(place(&mut flood[0]).expect("the first in turn"));
        assert!(place(&mut other).is_some());
    }

    /// Whoever stops waiting loses no place, before its turn and at it.
    #[test]
    fn no_place_is_lost() {
        let places = Places::new(1, 10);
        let held = places.now().expect("a place");
        let gone = places.wait(FLOOD).expect("room");
        let mut there = places.wait(FLOOD).expect("room");
        drop(gone);
        drop(held);
        drop(place(&mut there).expect("its turn"));
        drop(there);
        let held = places.now().expect("a place");
        let at_its_turn = places.wait(OTHER).expect("room");
        drop(held);
        drop(at_its_turn);
        assert_eq!(places.waiting(), 0);
        assert!(places.now().is_some(), "it is free again");
        let state = places.state.lock();
        assert!(state.queues.is_empty() && state.turns.is_empty());
        assert_eq!(state.free, 1);
    }
}
