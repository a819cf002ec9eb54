//! What befalls processes, the store and proxies, for a while; and the end of all that.

use std::time::Duration;

use achromat_core::{body::Named, engine::Event, health::Standing, ids::InstanceIx, route::Method};

use super::{
    faults::Fault,
    oracle::altered,
    process::State,
    proxy::Message,
    random::Random,
    store::Told,
    wire::Request,
    world::{Happening, World},
};

/// For how long at most a proxy goes on sending after another one has taken over.
const LEASE_US_MAX: u64 = 200_000;

/// A process whose disk was lost is away for so long at least that it is missed: one that came back
/// between two probes would serve nothing for everything until the next one.
pub(super) const WIPED_SPAN_MIN: Duration = Duration::from_millis(2_500);

/// Pause before it is looked again whether such a process was missed.
const UNMISSED_PAUSE: Duration = Duration::from_millis(100);

/// From one look whether all instances have everything to the next.
const UNWHOLE_PAUSE: Duration = Duration::from_millis(200);

/// From one try to replace a disk by its backup to the next.
const SET_BACK_INTERVAL: Duration = Duration::from_secs(1);

/// Something that goes on for a while.
#[derive(Clone, Copy, Debug)]
pub enum Spell {
    /// A process is not what it should be; its life when that began.
    Process(InstanceIx, u32),
    /// A process is slow.
    Slow(InstanceIx),
    /// A disk is full.
    FullDisk(InstanceIx),
    /// A disk was backed up, and will be replaced by that backup.
    BackedUp(InstanceIx),
}

impl World {
    /// Decides when what befalls the world.
    pub(super) fn plan_chaos(&mut self) {
        let span = u64::try_from(self.plan.chaos.as_micros()).expect("a span");
        for fault in Fault::OF_HISTORIES {
            let rate = self.plan.rate(*fault);
            let mut times = rate / 1_000;
            times += u32::from(self.of_chaos.chance(rate % 1_000));
            for _ in 0..times {
                let at = self.of_chaos.below(span);
                self.at(self.now + at, Happening::Begin(*fault));
            }
        }
        if self.plan.rate(Fault::Vanish) > 0 {
            let at = Random::of(self.plan.seed, "vanish").below(span);
            self.at(self.now + at, Happening::Begin(Fault::Vanish));
        }
    }

    pub(super) fn begin_spell(&mut self, fault: Fault) {
        if self.is_healed {
            return;
        }
        if fault == Fault::Vanish {
            self.vanish();
            return;
        }
        let count = u64::try_from(self.processes.len()).expect("a count");
        let chosen = u8::try_from(self.of_chaos.below(count)).expect("a place");
        let instance = InstanceIx(chosen);
        let span = self.span();
        let is_up = self.processes[instance.at()].state == State::Up;
        match fault {
            Fault::Crash | Fault::Freeze | Fault::Cut if is_up => {
                self.stop_process(fault, instance, span);
            }
            Fault::Slow => {
                self.processes[instance.at()].slowness = self.of_chaos.between(10, 150);
                self.after(span, Happening::End(Spell::Slow(instance)));
            }
            Fault::FullDisk => {
                self.processes[instance.at()].is_full = true;
                self.after(span, Happening::End(Spell::FullDisk(instance)));
            }
            // What only one instance has would be lost for ever.
            Fault::Wipe if is_up && self.oracle.may_lose(instance) => {
                self.wipe(instance, span.max(WIPED_SPAN_MIN));
            }
            Fault::Tamper if self.oracle.is_whole() => self.tamper(instance),
            Fault::Flip if self.oracle.is_whole() => {
                if !self.flip(instance) {
                    return;
                }
            }
            Fault::Join if !self.has_joined => self.join(),
            Fault::Forced => {
                // Whoever says that a dead instance is well must know.
                let all = [Standing::Down, Standing::Suspect];
                let standing = *self.of_chaos.pick(&all);
                self.force(instance, standing, span.min(Duration::from_secs(10)));
            }
            Fault::StoreDown => self.store.down_until = self.until(span),
            Fault::StoreFull => self.store.full_until = self.until(span),
            Fault::ProxyCrash => {
                let Some((_, proxy)) = self.proxies.pop_last() else {
                    return;
                };
                self.kill(proxy);
            }
            Fault::Depose if self.store.down_until <= self.now => self.take_over(),
            Fault::Poison => {
                self.await_poison();
                return;
            }
            Fault::Past => {
                let process = &mut self.processes[instance.at()];
                process.backup = Some(process.server.clone());
                self.after(span, Happening::End(Spell::BackedUp(instance)));
                return;
            }
            _ => return,
        }
        self.count(fault);
        self.say(|| format!("{fault} ({}, {span:?})", instance.0));
    }

    /// A second proxy starts. The first one learns of it when it writes, or when its lease is over.
    fn take_over(&mut self) {
        let Some((number, _)) = self.proxies.last_key_value() else {
            return;
        };
        let (number, lease) = (*number, self.of_chaos.below(LEASE_US_MAX));
        let told = Happening::Tell(number, Told::Deposed);
        self.after(Duration::from_micros(lease), told);
        self.boot();
    }

    /// Mostly short, sometimes long enough for everything to time out.
    fn span(&mut self) -> Duration {
        let longest = *self.of_chaos.pick(&[200, 2_000, 10_000, 10_000, 80_000]);
        Duration::from_millis(self.of_chaos.between(20, longest))
    }

    fn until(&self, span: Duration) -> u64 {
        self.now + u64::try_from(span.as_micros()).expect("a span")
    }

    fn stop_process(&mut self, fault: Fault, instance: InstanceIx, span: Duration) {
        match fault {
            Fault::Crash => self.crash(instance),
            Fault::Freeze => self.processes[instance.at()].state = State::Frozen,
            _ => self.processes[instance.at()].state = State::Cut,
        }
        let life = self.processes[instance.at()].life;
        self.after(span, Happening::End(Spell::Process(instance, life)));
    }

    /// The process dies, and comes back with nothing on its disk.
    pub(super) fn wipe(&mut self, instance: InstanceIx, span: Duration) {
        self.stop_process(Fault::Crash, instance, span);
        self.processes[instance.at()].wipe(self.plan.seed, instance);
        self.oracle.wiped(instance);
    }

    /// The process dies, and comes back with what its disk held when it was backed up; not before
    /// Achromat can tell: a backup that is younger than the last token is found by the comparison
    /// only, and one that is there again between two probes is found by the second.
    fn set_back(&mut self, instance: InstanceIx) {
        let process = &mut self.processes[instance.at()];
        let Some(backup) = process.backup.take().filter(|_| !self.is_healed) else {
            return;
        };
        let is_up = process.state == State::Up;
        if !is_up || !self.oracle.may_lose(instance) || !self.oracle.is_past(instance, &backup) {
            process.backup = Some(backup);
            let again = Happening::End(Spell::BackedUp(instance));
            self.after(SET_BACK_INTERVAL, again);
            return;
        }
        let span = self.span().max(WIPED_SPAN_MIN);
        self.stop_process(Fault::Crash, instance, span);
        self.processes[instance.at()].set_back(backup, self.plan.seed, instance);
        self.oracle.set_back(instance);
        self.count(Fault::Past);
        self.say(|| format!("{} ({}, {span:?})", Fault::Past, instance.0));
    }

    /// Somebody deletes a collection on one instance, behind the proxy's back.
    fn tamper(&mut self, instance: InstanceIx) {
        let server = &mut self.processes[instance.at()].server;
        let mut names: Vec<_> = server.contents().into_keys().collect();
        names.retain(|(tenant, ..)| tenant == "default_tenant");
        if names.is_empty() {
            return;
        }
        let (tenant, database, name) = self.of_chaos.pick(&names);
        let target = format!("/api/v2/tenants/{tenant}/databases/{database}/collections/{name}");
        let answer = server.handle("DELETE", &target, b"");
        self.oracle.tampered(instance, (tenant, database, name));
        self.say(|| format!("tampered: {target} on {}: {}", instance.0, answer.status));
    }

    /// Somebody deletes a collection on every instance, behind the proxy's back, as soon as all of them
    /// have everything.
    fn vanish(&mut self) {
        let known = self.oracle.copies_of(InstanceIx(0));
        let collections: Vec<_> = known.into_keys().collect();
        // A create that found the collection elsewhere, and is still under way, would make it anew there,
        // and nobody would ever hear of that.
        let makes = |request: &Request| {
            request.is_write()
                && request.method == Method::Post
                && request.target.ends_with("/collections")
        };
        let is_being_made = self.requests.values().any(makes);
        if is_being_made || !self.oracle.is_whole() || collections.is_empty() {
            self.after(UNWHOLE_PAUSE, Happening::Begin(Fault::Vanish));
            return;
        }
        let at = Random::of(self.plan.seed, "vanished").below(collections.len() as u64);
        let collection = collections[usize::try_from(at).expect("an index")];
        for instance in InstanceIx::all(self.processes.len()) {
            let id = self.oracle.copies_of(instance).get(&collection).copied();
            let server = &mut self.processes[instance.at()].server;
            if let Some(target) = id.and_then(|id| server.target_of(id.0)) {
                server.handle("DELETE", &target, b"");
            }
        }
        self.oracle.vanished(collection, self.now);
        self.count(Fault::Vanish);
        self.say(|| format!("{collection} is deleted on every instance"));
    }

    /// Somebody changes a record on one instance, behind the proxy's back. Returns whether there
    /// was one.
    fn flip(&mut self, instance: InstanceIx) -> bool {
        let server = &mut self.processes[instance.at()].server;
        let mut all: Vec<_> = server.contents().into_iter().collect();
        all.retain(|((tenant, ..), c)| tenant == "default_tenant" && !c.records.is_empty());
        if all.is_empty() {
            return false;
        }
        let ((_, database, name), contents) = self.of_chaos.pick(&all);
        let within = format!("/api/v2/tenants/default_tenant/databases/{database}/collections");
        let described = server.handle("GET", &format!("{within}/{name}"), b"");
        let id = Named::parse(&described.body).expect("a description").id;
        let record = contents.records.keys().next().expect("there is one");
        let body = altered::body(record);
        let target = format!("{within}/{id}/update");
        let answer = server.handle("POST", &target, body.as_bytes());
        assert_eq!(answer.status, 200, "{target}");
        self.oracle.altered(instance);
        self.say(|| format!("changed on {}: {target} {body}", instance.0));
        true
    }

    /// The configuration gets one more instance, and the proxy is started again with it.
    fn join(&mut self) {
        self.has_joined = true;
        while let Some((_, proxy)) = self.proxies.pop_last() {
            self.kill(proxy);
        }
    }

    /// An operator's word.
    fn force(&mut self, instance: InstanceIx, standing: Standing, span: Duration) {
        if let Some((number, _)) = self.proxies.last_key_value() {
            let number = *number;
            let event = Event::Forced {
                instance,
                standing,
                span,
            };
            self.put_to(number, Message::Event(event));
        }
    }

    /// Whether a process whose disk was lost may be back: it stays away when nobody could find out that
    /// it was, because all probes that a silent server has were lost.
    fn was_missed(&self, instance: InstanceIx) -> bool {
        let most = self.plan.settings.health.silent_max;
        let are_lost = self.processes[instance.at()].lost_probes >= most;
        !are_lost || self.proxies.is_empty() || !self.oracle.is_wiped(instance)
    }

    pub(super) fn end_spell(&mut self, spell: Spell) {
        match spell {
            Spell::Process(instance, _) if !self.was_missed(instance) => {
                self.after(UNMISSED_PAUSE, Happening::End(spell));
            }
            Spell::Process(instance, life) => {
                if self.processes[instance.at()].life == life {
                    self.revive(instance);
                }
            }
            Spell::Slow(instance) => self.processes[instance.at()].slowness = 1,
            Spell::FullDisk(instance) => self.processes[instance.at()].is_full = false,
            Spell::BackedUp(instance) => self.set_back(instance),
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal(&mut self) {
        self.say(|| "everything is repaired".to_owned());
        self.end_policy();
        self.is_healed = true;
        if !self.has_joined {
            self.join();
        }
        self.store.down_until = 0;
        self.store.full_until = 0;
        for instance in InstanceIx::all(self.processes.len()) {
            let process = &mut self.processes[instance.at()];
            process.slowness = 1;
            process.is_full = false;
            if !self.oracle.is_wiped(instance) {
                self.revive(instance);
                self.force(instance, Standing::Up, Duration::ZERO);
            } else if process.state == State::Crashed {
                let spell = Spell::Process(instance, process.life);
                self.after(WIPED_SPAN_MIN, Happening::End(spell));
            } else {
                self.revive(instance);
            }
        }
        // By then every instance has been seen.
        self.after(Duration::from_secs(5), Happening::Look);
    }
}
