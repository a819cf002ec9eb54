//! Does the faults of a plan to real processes and links, and ends them again.
//!
//! It never breaks the last sound instance, unless blackouts are allowed: a fault waits until
//! another instance is sound. An instance is sound again when its faults have ended and Achromat
//! says that it is up and owed nothing; for that moment the clients are held, since a steady load
//! always owes something.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    chronicle::Chronicle,
    registers,
    relay::{Link, Relay},
    schedule::{Kind, Planned},
    world::Signals,
};
use crate::{
    api::Api, chroma::Chroma, cluster::NAMES, postgres::Postgres, proxy::Proxy, wait::eventually,
};

/// How often it looks what is to be done.
const BEAT: Duration = Duration::from_millis(20);

/// Within this time after its last fault an instance must have caught up.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// An instance that is owed no more than this is looked at more closely.
const NEAR_WRITES_MAX: u64 = 12;

/// The longest that clients are held for that.
const HOLD_MAX: Duration = Duration::from_millis(500);

/// Faults are heaped on an instance for so long; then it is left alone until it is sound, or one
/// instance would get them all.
const COMBINED_MAX: Duration = Duration::from_secs(5);

/// A fault under way.
#[derive(Clone, Copy, Debug)]
struct Active {
    fault: Planned,
    ends_at: Duration,
}

/// The processes, the links and what is being done to them.
pub struct Supervisor {
    pub instances: Vec<Chroma>,
    pub relays: Vec<Relay>,
    pub proxies: Vec<Proxy>,
    /// The database of a fleet.
    database: Option<Postgres>,
    pub signals: Arc<Signals>,
    /// How many faults of each kind there were.
    pub counts: BTreeMap<Kind, u32>,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) blackouts: bool,
    active: Vec<Active>,
    waiting: Vec<Planned>,
    /// For each instance, when it was last sound.
    suffering: Vec<Duration>,
    /// For each instance, since when it has no fault and is not sound yet.
    recovering: Vec<Option<Duration>>,
}

impl Supervisor {
    /// Nothing is broken yet.
    pub fn new(
        instances: Vec<Chroma>,
        relays: Vec<Relay>,
        (proxies, database): (Vec<Proxy>, Option<Postgres>),
        chronicle: Arc<Chronicle>,
        blackouts: bool,
    ) -> Self {
        let recovering = vec![None; instances.len()];
        let suffering = vec![Duration::ZERO; instances.len()];
        Self {
            instances,
            relays,
            proxies,
            database,
            signals: Arc::default(),
            counts: BTreeMap::new(),
            chronicle,
            blackouts,
            active: Vec::new(),
            waiting: Vec::new(),
            suffering,
            recovering,
        }
    }

    /// Carries out a plan, for this long.
    pub fn run(&mut self, plan: Vec<Planned>, length: Duration) {
        let mut plan = plan.into_iter().peekable();
        let from = self.chronicle.now();
        while self.chronicle.now() < from + length {
            let elapsed = self.chronicle.now().saturating_sub(from);
            while let Some(fault) = plan.next_if(|fault| fault.at <= elapsed) {
                self.waiting.push(fault);
            }
            self.end_faults(|ends_at, now| ends_at <= now);
            self.begin_what_may_begin();
            self.watch_recovery();
            // Its own pace; nothing is waited for.
            thread::sleep(BEAT);
        }
    }

    /// Ends everything that is broken.
    pub fn heal(&mut self) {
        self.chronicle.note("everything is healed");
        self.end_faults(|_, _| true);
    }

    fn begin_what_may_begin(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for fault in waiting {
            if self.may_begin(fault) {
                self.begin(fault);
            } else {
                self.waiting.push(fault);
            }
        }
    }

    fn may_begin(&self, fault: Planned) -> bool {
        let stands_in_the_way = |other: &Active| {
            let other = other.fault;
            if fault.kind.breaks_achromat() || other.kind.breaks_achromat() {
                return fault.excludes(&other);
            }
            other.instance == fault.instance
                && other.kind.breaks_process() == fault.kind.breaks_process()
        };
        if self.active.iter().any(stands_in_the_way) {
            return false;
        }
        if fault.kind.breaks_achromat() {
            let broken = (0..self.proxies.len()).filter(|number| self.is_achromat_broken(*number));
            return self.proxies.len() == 1 || broken.count() + 1 < self.proxies.len();
        }
        let mut others = (0..self.instances.len()).filter(|i| *i != fault.instance);
        let suffers_long = !self.chronicle.is_sound(fault.instance)
            && self.chronicle.now() > self.suffering[fault.instance] + COMBINED_MAX;
        let leaves_one = others.any(|instance| self.chronicle.is_sound(instance));
        !suffers_long && (self.blackouts || leaves_one)
    }

    fn begin(&mut self, fault: Planned) {
        let lasts = fault.lasts;
        let name = NAMES[fault.instance];
        match (fault.kind, fault.link) {
            (kind, _) if kind.breaks_achromat() => {
                let note = format!("{kind:?} of {} for {lasts:?}", fault.proxy);
                self.chronicle.note(&note);
                self.break_achromat(fault);
            }
            (kind, link) => {
                let how =
                    link.map_or_else(|| format!("{kind:?}"), |link| format!("{kind:?} {link:?}"));
                self.chronicle.note(&format!("{name}: {how} for {lasts:?}"));
                if self.chronicle.is_sound(fault.instance) {
                    self.suffering[fault.instance] = self.chronicle.now();
                }
                self.chronicle.instance_suffers(fault.instance);
                self.recovering[fault.instance] = None;
                self.break_instance(fault);
            }
        }
        *self.counts.entry(fault.kind).or_default() += 1;
        self.active.push(Active {
            fault,
            ends_at: self.chronicle.now() + lasts,
        });
    }

    fn break_achromat(&mut self, fault: Planned) {
        match fault.kind {
            Kind::AchromatFreeze => {
                self.chronicle.achromat_is_away(fault.proxy);
                self.proxies[fault.proxy].freeze();
            }
            Kind::HandOver => self.hand_over(),
            Kind::DatabaseCrash => {
                (0..self.proxies.len()).for_each(|proxy| self.chronicle.achromat_is_away(proxy));
                self.database.as_mut().expect("a fleet's").kill();
            }
            _ => {
                self.chronicle.achromat_is_away(fault.proxy);
                self.signals.lives.fetch_add(1, Relaxed);
                self.proxies[fault.proxy].kill();
            }
        }
    }

    /// There may be nobody to hand over to, or nobody who could.
    fn hand_over(&self) {
        let handed = self
            .api()
            .try_call("POST", "/admin/fleet/hand-over", &Value::Null);
        let told = handed.map_or_else(|error| error.to_string(), |answer| answer.body.to_string());
        self.chronicle.note(&told);
    }

    /// An Achromat that is up.
    pub fn api(&self) -> Api {
        let up = (0..self.proxies.len()).find(|number| !self.is_achromat_broken(*number));
        self.proxies[up.unwrap_or(0)].api()
    }

    fn is_achromat_broken(&self, proxy: usize) -> bool {
        let breaks = |active: &Active| match active.fault.kind {
            Kind::AchromatCrash | Kind::AchromatFreeze => active.fault.proxy == proxy,
            kind => kind == Kind::DatabaseCrash,
        };
        self.active.iter().any(breaks)
    }

    fn break_instance(&mut self, fault: Planned) {
        let (chroma, relay) = (
            &mut self.instances[fault.instance],
            &self.relays[fault.instance],
        );
        match fault.kind {
            Kind::Crash => {
                chroma.kill();
                relay.refuse(true);
            }
            Kind::CrashBehindProxy => chroma.kill(),
            Kind::Freeze => chroma.freeze(),
            Kind::FullDisk => chroma.limit_files(Some(0)),
            Kind::Wipe => {
                chroma.kill();
                relay.refuse(true);
                std::fs::remove_dir_all(chroma.folder()).expect("its folder can be removed");
            }
            _ => relay.set(fault.link.unwrap_or(Link::Sound)),
        }
    }

    fn end_faults(&mut self, is_over: impl Fn(Duration, Duration) -> bool) {
        let now = self.chronicle.now();
        let (over, active) = std::mem::take(&mut self.active)
            .into_iter()
            .partition(|active| is_over(active.ends_at, now));
        self.active = active;
        let over: Vec<Active> = over;
        for ended in over {
            self.end(ended.fault);
        }
    }

    fn end(&mut self, fault: Planned) {
        let (chroma, relay) = (
            &mut self.instances[fault.instance],
            &self.relays[fault.instance],
        );
        match fault.kind {
            kind if kind.breaks_achromat() => {
                self.mend_achromat(fault);
                // What may still be under way of the dead one is waited for: healing begins again.
                let now = self.chronicle.now();
                for since in self.recovering.iter_mut().flatten() {
                    *since = now;
                }
                return;
            }
            Kind::Crash | Kind::CrashBehindProxy | Kind::Wipe => {
                chroma.up();
                relay.refuse(false);
            }
            Kind::Freeze => chroma.thaw(),
            Kind::FullDisk => {
                // Measured on Chroma 1.5.9: after a write that failed for want of space a
                // transaction stays open, and every later write hangs or is told that the database
                // is locked, for ever. So a restart is part of this fault.
                chroma.limit_files(None);
                chroma.kill();
                chroma.up();
            }
            _ => relay.set(Link::Sound),
        }
        let name = NAMES[fault.instance];
        self.chronicle
            .note(&format!("{name}: {:?} is over", fault.kind));
        if !self.is_broken(fault.instance) {
            self.recovering[fault.instance] = Some(self.chronicle.now());
        }
    }

    fn mend_achromat(&mut self, fault: Planned) {
        match fault.kind {
            Kind::HandOver => return,
            Kind::DatabaseCrash => {
                self.database.as_mut().expect("a fleet's").up();
                // One that leads writes again.
                wait_for_a_write(&self.api());
                for number in 0..self.proxies.len() {
                    if !self.is_achromat_broken(number) {
                        self.chronicle.achromat_is_back(number);
                    }
                }
            }
            Kind::AchromatFreeze => {
                self.proxies[fault.proxy].thaw();
                self.chronicle.achromat_is_back(fault.proxy);
            }
            _ => {
                self.proxies[fault.proxy].up();
                self.chronicle.achromat_is_back(fault.proxy);
            }
        }
        let (kind, proxy) = (fault.kind, fault.proxy);
        self.chronicle.note(&format!("{kind:?} of {proxy} is over"));
    }

    /// What Achromat tells of its instances while the clients are held for a moment, once every
    /// recovering one has caught up or that moment is over.
    fn look_while_held(&self, api: &Api) -> Vec<Value> {
        let until = self.chronicle.now() + HOLD_MAX;
        self.signals.hold.store(true, Relaxed);
        let told = loop {
            let told = told_instances(api).unwrap_or_default();
            let mut recovering = told.iter().zip(&self.recovering);
            let are_all = recovering.all(|(told, since)| since.is_none() || has_caught_up(told));
            if are_all || self.chronicle.now() > until {
                break told;
            }
            thread::sleep(BEAT);
        };
        self.signals.hold.store(false, Relaxed);
        told
    }

    fn is_broken(&self, instance: usize) -> bool {
        let breaks = |a: &Active| a.fault.instance == instance && !a.fault.kind.breaks_achromat();
        self.active.iter().any(breaks)
    }

    /// Sees which instances have caught up, as Achromat tells it.
    fn watch_recovery(&mut self) {
        let is_away = self
            .active
            .iter()
            .any(|active| active.fault.kind.breaks_achromat());
        if is_away || self.recovering.iter().all(Option::is_none) {
            return;
        }
        let api = self.api();
        let Some(mut told) = told_instances(&api) else {
            return;
        };
        let recovering = |(told, since): (&Value, &Option<_>)| since.is_some() && is_near(told);
        if told.iter().zip(&self.recovering).any(recovering) {
            told = self.look_while_held(&api);
        }
        for (instance, told) in told.iter().enumerate() {
            let Some(since) = self.recovering[instance] else {
                continue;
            };
            if has_caught_up(told) {
                self.chronicle.instance_is_sound(instance);
                self.chronicle.note(&format!("{}: sound", NAMES[instance]));
                self.recovering[instance] = None;
            } else if self.chronicle.now() > since + RECOVERY_MAX {
                self.chronicle.violation(
                    &format!("{} has not caught up: {told}", NAMES[instance]),
                    &self.chronicle.lines(),
                );
                self.recovering[instance] = None;
            }
        }
    }
}

/// Waits until an Achromat does a write, which changes nothing.
fn wait_for_a_write(api: &Api) {
    eventually("a write is done", RECOVERY_MAX, || {
        let same = json!({ "name": registers::NAME, "get_or_create": true });
        match api.try_call("POST", "$D/collections", &same) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Whether an instance may have caught up but for what the clients do at the moment.
fn is_near(told: &Value) -> bool {
    told["healthy"] == true && told["pending_writes"].as_u64() <= Some(NEAR_WRITES_MAX)
}

fn has_caught_up(told: &Value) -> bool {
    told["state"] == "up" && told["pending_writes"] == 0 && told["quarantined_collections"] == 0
}

/// What Achromat tells of its instances.
pub(super) fn told_instances(api: &Api) -> Option<Vec<Value>> {
    let status = api.try_call("GET", "/status", &Value::Null).ok()?;
    status.body["instances"].as_array().cloned()
}
