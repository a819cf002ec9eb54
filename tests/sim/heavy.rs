//! Heavy writes: an instance works on one for seconds, and answers neither probes nor other writes
//! meanwhile. Two rules are kept: a heavy write is not sent to a second instance while the first may
//! still carry it out, and an instance that works on one is not held to be down.

use std::time::Duration;

use achromat_core::{
    health::Standing,
    ids::{InstanceIx, LaneId, Position},
    weight::{heavy_time, is_heavy, silence_max},
};

use super::{
    clients::Operation,
    faults::Fault,
    marks::Mark,
    proxy::Proxy,
    requests::{About, Draft},
    wire::{Request, Sender, Stage},
    world::World,
};

/// Spaces behind a body that make it heavy: what it says stays small.
const PADDING_BYTES: usize = 2 * 1024 * 1024;

/// For each heavy write, beyond what any write may take until everything is at rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time from which on an instance that works on a heavy write may count as down: it may have been silent
/// for a while before.
const SILENT_BEFORE: Duration = Duration::from_secs(4);

impl World {
    /// Makes some writes of records heavy.
    pub(super) fn made_heavy(&mut self, mut draft: Draft) -> Draft {
        let is_of_records = draft.about == About::Write && draft.body.contains("\"embeddings\"");
        if self.plan.heavy > 0
            && is_of_records
            && draft.key.is_none()
            && self.of_heavy.chance(self.plan.heavy)
        {
            draft.body.push_str(&" ".repeat(PADDING_BYTES));
        }
        draft
    }

    /// How long a request waits for the heavy write that its instance works on, and how long the instance
    /// works on it, when it is heavy itself.
    pub(super) fn busy_time(
        &mut self,
        instance: InstanceIx,
        (is_read, bytes): (bool, usize),
    ) -> Duration {
        let process = &mut self.processes[instance.at()];
        let until = match process.busy {
            (life, until) if life == process.life && !is_read => until.max(self.now),
            _ => self.now,
        };
        if !is_heavy(bytes) || is_read {
            return Duration::from_micros(until - self.now);
        }
        let longest = u64::try_from(heavy_time(bytes).as_micros()).expect("a span") * 8 / 10;
        let until = until + self.of_heavy.between(500_000, longest);
        process.busy = (process.life, until);
        self.mark(Mark::Heavy);
        Duration::from_micros(until - self.now)
    }

    /// A heavy write that is open is sent to one instance alone, as long as that one may carry it out.
    pub(super) fn check_heavy(
        &mut self,
        proxy: &Proxy,
        (lane, instance, position): (LaneId, InstanceIx, Position),
        bytes: usize,
    ) {
        let LaneId::Collection(collection) = lane else {
            return;
        };
        let copies = proxy.view.catalog.get_even_gone(collection);
        let is_sound = |other: InstanceIx| {
            let copy = copies.and_then(|collection| collection.copies.get(other.at()));
            let is_served = copy.is_some_and(|copy| copy.quarantine.is_none());
            is_served && proxy.view.standing(other) != Standing::Down
        };
        let patience = self.plan.settings.lanes.hedge + heavy_time(bytes);
        let works_on_it = |request: &&Request| {
            let is_same = matches!(request.sender, Sender::Entry { proxy: of, lane: there, position: at, .. }
                if of == proxy.number && there == lane && at == position);
            let since = Duration::from_micros(self.now - request.sent_at);
            is_same
                && is_heavy(request.body.len())
                && request.instance != instance
                && request.is_awaited
                && since < patience
                && is_sound(request.instance)
        };
        if !is_heavy(bytes) || self.oracle.is_done_somewhere(lane, position) {
            return;
        }
        let first = self.requests.values().find(works_on_it);
        if let Some(first) = first.map(|request| request.instance.0) {
            let second = instance.0;
            self.violate(format!(
                "rule 16: the heavy write {lane} {position} is sent to {second} while {first} works on it"
            ));
        }
    }

    /// An instance is not held to be down while it works on a heavy write.
    pub(super) fn check_busy(&mut self, proxy: u32, instance: InstanceIx) {
        let process = &self.processes[instance.at()];
        let is_up = process.state == super::process::State::Up;
        if !is_up || self.plan.rate(Fault::Forced) > 0 {
            return;
        }
        let works = |request: &&Request| {
            let since = Duration::from_micros(self.now.saturating_sub(request.arrives_at));
            request.instance == instance
                && request.proxy() == Some(proxy)
                && request.life == process.life
                && request.is_awaited
                && request.stage == Stage::Serving
                && is_heavy(request.body.len())
                && since > Duration::from_millis(1_500)
                && since + SILENT_BEFORE < silence_max(request.body.len())
        };
        if self.requests.values().any(|request| works(&request)) {
            let who = instance.0;
            self.violate(format!(
                "rule 16: {who} is held to be down while it works on a heavy write"
            ));
        }
    }

    /// How much longer it may take until everything is at rest.
    pub(super) fn patience_with_heavy(&self) -> Duration {
        let is_heavy_one = |operation: &&Operation| is_heavy(operation.draft.body.len());
        let count = self.operations.iter().filter(is_heavy_one).count();
        PATIENCE * u32::try_from(count).expect("a count")
    }
}
