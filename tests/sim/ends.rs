//! How a proxy ends: at once, or when it learns that another has taken over; and what its clients
//! hear then.

use std::time::Duration;

use achromat_core::{
    engine::Effect,
    reply::{self, Reply},
};

use super::{
    proxy::{Message, Proxy},
    world::{Happening, World},
};

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
        for operation in waiting.chain(&proxy.keyed).chain(arrived) {
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
}
