//! Entries on their way to an instance, as the shell's driver sends them.

use achromat_core::{
    body::without_get_or_create,
    engine::{Event, Payload, Wire},
    ids::{Attempt, InstanceIx, LaneId, Position},
    merge::Merging,
    outcome::Sending,
    weight::heavy_time,
};
use bytes::Bytes;

use super::{
    marks::Mark,
    proxy::{Message, Proxy},
    wire::Sender,
    world::World,
};

impl World {
    pub(super) fn send_entry(
        &mut self,
        proxy: &mut Proxy,
        what: (LaneId, InstanceIx, Position, Attempt),
        (wire, more): (Wire, Vec<Option<Bytes>>),
    ) {
        let (lane, instance, position, attempt) = what;
        let body = match &wire.body {
            Payload::None => Some(Bytes::new()),
            Payload::Entry {
                body, must_create, ..
            } => {
                if body.is_none() {
                    self.mark(Mark::BodyFromLog);
                }
                let body = body
                    .clone()
                    .or_else(|| self.store.ledger.body(lane, position));
                body.map(|body| {
                    if *must_create {
                        without_get_or_create(&body)
                    } else {
                        body
                    }
                })
            }
        };
        let Some(body) = body else {
            let why = "its body is not in the log any more".to_owned();
            let event = Event::Answered {
                lane,
                instance,
                attempt,
                count: 1,
                sending: Sending::NotSent(why),
            };
            self.put(proxy, Message::Event(event));
            return;
        };
        let (last, body) = self.merged((lane, position), body, more);
        self.check_heavy(proxy, (lane, instance, position), body.len());
        let is_owners = proxy.number == self.store.epoch;
        let marks = self.oracle.sending(
            is_owners,
            (lane, instance, position),
            wire.method,
            (self.now, self.plan.settings.lanes.settle),
        );
        for mark in marks {
            self.mark(mark);
        }
        let sender = Sender::Entry {
            proxy: proxy.number,
            lane,
            position,
            last,
            attempt,
        };
        let deadline = self.plan.timing.write + heavy_time(body.len());
        self.send(sender, instance, (wire.method, wire.target, body), deadline);
    }

    /// As many entries as go in one request, as the shell puts them together, but for its bound on bytes.
    fn merged(
        &mut self,
        (lane, position): (LaneId, Position),
        first: Bytes,
        more: Vec<Option<Bytes>>,
    ) -> (Position, Bytes) {
        if more.is_empty() {
            return (position, first);
        }
        let held = (position.0 + 1..).map(Position).zip(more);
        let ledger = &self.store.ledger;
        let mut later =
            held.map_while(|(position, held)| held.or_else(|| ledger.body(lane, position)));
        let merging = Merging::begin(&first, self.plan.settings.lanes.planted);
        let merged = merging.and_then(|mut merging| {
            let _rest = later.find(|body| !merging.add(body));
            merging.finish()
        });
        match merged {
            Some((count, body)) => {
                self.mark(Mark::Merged);
                let further = u64::try_from(count - 1).expect("a count");
                (Position(position.0 + further), body)
            }
            None => (position, first),
        }
    }
}
