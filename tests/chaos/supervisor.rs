//! Does the faults of a plan to real processes and links, and ends them again.
//!
//! It never breaks the last sound instance, unless blackouts are allowed: a fault waits until
//! another instance is sound. An instance is sound again when its faults have ended and Achromat
//! says that it is up and owed nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    chronicle::Chronicle,
    relay::{Link, Relay},
    schedule::{Kind, Planned},
};
use crate::{api::Api, chroma::Chroma, cluster::NAMES, proxy::Proxy};

/// How often it looks what is to be done.
const BEAT: Duration = Duration::from_millis(20);

/// Within this time after its last fault an instance must have caught up.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

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
    pub proxy: Proxy,
    /// Goes up each time that Achromat is killed, so that clients connect anew.
    pub lives: Arc<AtomicU64>,
    /// How many faults of each kind there were.
    pub counts: BTreeMap<Kind, u32>,
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) blackouts: bool,
    active: Vec<Active>,
    waiting: Vec<Planned>,
    /// For each instance, since when it has no fault and is not sound yet.
    recovering: Vec<Option<Duration>>,
}

impl Supervisor {
    /// Nothing is broken yet.
    pub fn new(
        instances: Vec<Chroma>,
        relays: Vec<Relay>,
        proxy: Proxy,
        chronicle: Arc<Chronicle>,
        blackouts: bool,
    ) -> Self {
        let recovering = vec![None; instances.len()];
        Self {
            instances,
            relays,
            proxy,
            lives: Arc::default(),
            counts: BTreeMap::new(),
            chronicle,
            blackouts,
            active: Vec::new(),
            waiting: Vec::new(),
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
            if fault.kind == Kind::AchromatCrash || other.kind == Kind::AchromatCrash {
                return fault.kind == other.kind;
            }
            other.instance == fault.instance
                && other.kind.breaks_process() == fault.kind.breaks_process()
        };
        if self.active.iter().any(stands_in_the_way) {
            return false;
        }
        let mut others = (0..self.instances.len()).filter(|i| *i != fault.instance);
        fault.kind == Kind::AchromatCrash
            || self.blackouts
            || others.any(|instance| self.chronicle.is_sound(instance))
    }

    fn begin(&mut self, fault: Planned) {
        let lasts = fault.lasts;
        let name = NAMES[fault.instance];
        match (fault.kind, fault.link) {
            (Kind::AchromatCrash, _) => {
                let note = format!("{:?} for {lasts:?}", fault.kind);
                self.chronicle.note(&note);
                self.chronicle.achromat_is_away();
                self.lives.fetch_add(1, Ordering::Relaxed);
                self.proxy.kill();
            }
            (kind, link) => {
                let how =
                    link.map_or_else(|| format!("{kind:?}"), |link| format!("{kind:?} {link:?}"));
                self.chronicle.note(&format!("{name}: {how} for {lasts:?}"));
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
            Kind::AchromatCrash => {
                self.proxy.up();
                self.chronicle.achromat_is_back();
                self.chronicle.note("Achromat is back");
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

    fn is_broken(&self, instance: usize) -> bool {
        let breaks =
            |a: &Active| a.fault.instance == instance && a.fault.kind != Kind::AchromatCrash;
        self.active.iter().any(breaks)
    }

    /// Sees which instances have caught up, as Achromat tells it.
    fn watch_recovery(&mut self) {
        let is_away = self
            .active
            .iter()
            .any(|active| active.fault.kind == Kind::AchromatCrash);
        if is_away || self.recovering.iter().all(Option::is_none) {
            return;
        }
        let Some(told) = told_instances(&self.proxy.api()) else {
            return;
        };
        for (instance, told) in told.iter().enumerate() {
            let Some(since) = self.recovering[instance] else {
                continue;
            };
            let has_caught_up = told["state"] == "up" && told["pending_writes"] == 0;
            if has_caught_up && told["quarantined_collections"] == 0 {
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

/// What Achromat tells of its instances.
pub(super) fn told_instances(api: &Api) -> Option<Vec<Value>> {
    let status = api.try_call("GET", "/status", &Value::Null).ok()?;
    status.body["instances"].as_array().cloned()
}
