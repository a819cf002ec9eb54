//! How a proxy ends: at once, or when it learns that another has taken over; and what its clients
//! hear then.

use std::time::Duration;

use achromat_core::{
    engine::Effect,
    reply::{self, Reply},
};

use super::{
    proxy::{Message, Proxy},
    wire::Stage,
    world::{Happening, World},
};

/// Longest time that a request travels on after its proxy has died.
const ORPHAN_US_MAX: u64 = 700_000;

impl World {
    /// The proxy dies at once. What it had on the wire travels on.
    #[allow(clippy::needless_pass_by_value, reason = "it is no more")]
    pub(super) fn kill(&mut self, proxy: Box<Proxy>) {
        let number = proxy.number;
        self.say(|| format!("proxy {number} dies"));
        for mark in self.oracle.proxy_died(&proxy.writing.writes()) {
            self.mark(mark);
        }
        self.abandon_flush(&proxy);
        self.orphan(number);
        let arrived = proxy.inbox.iter().filter_map(Message::operation);
        let waiting = proxy.waiting.values().chain(proxy.reads.keys());
        let asked = proxy.keyed.iter().chain(&proxy.judged);
        for operation in waiting.chain(asked).chain(arrived) {
            self.answer(*operation, None);
        }
        if self.proxies.is_empty() {
            let pause = Duration::from_millis(self.of_chaos.between(20, 3_000));
            self.after(pause, Happening::Boot);
        }
    }

    /// The proxy learns that another has taken over: it takes in what it was told, answers whom it
    /// can, and ends.
    pub(super) fn depose(&mut self, mut proxy: Box<Proxy>) {
        for message in std::mem::take(&mut proxy.inbox) {
            self.take_in(&mut proxy, message);
        }
        for effect in proxy.engine.effects() {
            if matches!(effect, Effect::Answer { .. } | Effect::AskAgain { .. }) {
                self.carry_out(&mut proxy, effect);
            }
        }
        let said = "Achromat is stopping and has not seen the end of it";
        for operation in std::mem::take(&mut proxy.waiting).into_values() {
            self.answer(operation, Some(reply::outcome_unknown(said)));
        }
        self.kill(proxy);
    }

    pub(super) fn answer(&mut self, operation: usize, reply: Option<Reply>) {
        let latency = Duration::from_micros(self.of_wire.between(20, 300));
        self.after(latency, Happening::Answer(operation, reply));
    }

    pub(super) fn answer_read(&mut self, operation: usize, reply: Reply) {
        self.answer(operation, Some(reply));
    }

    /// The senders of these requests are dead. Some of what they sent is never looked at, some is
    /// carried out as if nothing had happened, some a little later.
    pub(super) fn orphan(&mut self, proxy: u32) {
        let theirs: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.proxy() == Some(proxy))
            .map(|(id, _)| *id)
            .collect();
        for id in theirs {
            let (mut is_lost, mut is_late) = (self.of_chaos.chance(400), self.of_chaos.chance(300));
            let mut latest = self.now + self.of_chaos.below(ORPHAN_US_MAX);
            if self.is_travelling(id)
                && let Some(end) = self.chosen_end(3)
            {
                (is_lost, is_late) = (end == 1, end == 2);
                latest = self.now + ORPHAN_US_MAX;
            }
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            request.is_awaited = false;
            if request.stage != Stage::Travelling {
                continue;
            }
            if is_lost {
                self.requests.remove(&id);
            } else if is_late || request.arrives_at > latest {
                request.arrives_at = latest;
                self.at(latest, Happening::Arrive(id));
            }
        }
    }

    fn is_travelling(&self, id: u64) -> bool {
        let request = self.requests.get(&id);
        request.is_some_and(|r| r.stage == Stage::Travelling && r.is_write())
    }
}
