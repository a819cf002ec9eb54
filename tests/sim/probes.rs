//! Probes of a proxy, and what it knows of its instances by them; which proxy clients reach.

use std::time::Duration;

use achromat_core::{
    catalog::Marker,
    health::{Probe, judge_probe, probe_target},
    ids::InstanceIx,
    outcome::Sending,
    reply::Reply,
    route::Method,
    weight::{Vitals, is_heavy},
};
use bytes::Bytes;

use super::{
    process::Process,
    wire::{REFUSED, Sender},
    world::World,
};

impl World {
    pub(super) fn probe(&mut self, proxy: u32, instance: InstanceIx, marker: Option<Marker>) {
        let target = probe_target(marker);
        let what = (Method::Get, target, Bytes::new());
        let deadline = self.plan.timing.probe;
        self.send(Sender::Probe { proxy, marker }, instance, what, deadline);
    }

    /// The signs of life that an instance has shown to a proxy.
    pub(super) fn vitals(&self, proxy: u32, instance: InstanceIx) -> Vitals {
        let answered_at = self.proxies.get(&proxy);
        let answered_at = answered_at.and_then(|proxy| proxy.answered_at.get(&instance));
        let theirs = self.requests.values().filter(|request| {
            request.is_awaited && request.instance == instance && request.proxy() == Some(proxy)
        });
        let bytes = theirs.map(|request| request.body.len());
        Vitals {
            answered_ago: answered_at.map(|at| Duration::from_micros(self.now - at)),
            heavy_bytes: bytes.filter(|bytes| is_heavy(*bytes)).sum(),
        }
    }

    /// A proxy serves as soon as every instance was seen, or had the time to be.
    pub(super) fn see_instances(&mut self, number: u32) {
        let patience = u64::try_from(self.plan.timing.probe.as_micros()).expect("a span");
        let now = self.now;
        if let Some(proxy) = self.proxies.get_mut(&number) {
            proxy.serves |= proxy.view.has_seen_all || now >= proxy.born + patience;
        }
    }

    /// The proxy that clients reach, if one serves: the owner of the log, or nobody.
    ///
    /// A deposed proxy that does not know it yet is not reached again when its successor dies: it does
    /// not know what the successor has acknowledged, so its reads could be older than what clients were
    /// told. Nothing in `core` can prevent that. The lock on the log's file does: a proxy holds it as
    /// long as it lives, so that no other proxy can depose it (`a_file_has_one_owner`). Two proxies on
    /// one log are simulated for what a lost lock leaves behind: commits and requests of the old one.
    pub(super) fn serving(&mut self) -> Option<u32> {
        let number = self.store.epoch;
        self.proxies.get(&number)?;
        self.see_instances(number);
        self.proxies[&number].serves.then_some(number)
    }

    /// What the end of a probe says, as the shell's `Instances::probe` reads it.
    pub(super) fn probed(
        &mut self,
        instance: InstanceIx,
        marker: Option<Marker>,
        sending: &Sending,
    ) -> Probe {
        match sending {
            Sending::Answered(reply) => self.processes[instance.at()].judge(marker, reply),
            Sending::NotSent(why) if why == REFUSED => Probe::Refused,
            Sending::NotSent(_) | Sending::Withheld(_) | Sending::Silent => Probe::Silent,
            Sending::Closed { .. } | Sending::TooLarge => Probe::Odd,
        }
    }
}

impl Process {
    fn judge(&mut self, marker: Option<Marker>, reply: &Reply) -> Probe {
        let known = self.judged.as_ref();
        let same = known.filter(|(asked, answer, _)| *asked == marker && answer == reply);
        if let Some((.., probe)) = same {
            return *probe;
        }
        let probe = judge_probe(marker, reply);
        self.judged = Some((marker, reply.clone(), probe));
        probe
    }
}
