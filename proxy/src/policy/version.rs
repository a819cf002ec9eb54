//! One version of a plugin, ready to decide: a component with its configuration, and instances of
//! it that wait to be asked.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use achromat_core::{
    policy::{Digest, VersionId},
    time::WallTime,
};
use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use wasmtime::Store;

use super::{
    check::{self, Unfit},
    contract::routing::achromat::policy::types::{Parts, Wants},
    engine::Plugins,
    figures::{Counters, Figures, TIMED_SHARE},
    host::State,
    kept::Shared,
    limits::{
        Budget, CONFIG_BYTES_MAX, HOST_CALL_BYTES_MAX, INSTANCES_MAX, START_FUEL, START_TICKS,
    },
    trouble::Trouble,
    world::World,
};
use crate::clock;

/// The component, configuration and bounds of a version.
#[derive(Clone, Debug)]
pub struct Source {
    /// A name for people: a file's, a registry's.
    pub name: Arc<str>,
    /// The component, or a core module with its world inside.
    pub bytes: Arc<[u8]>,
    /// Its configuration.
    pub config: Arc<str>,
    /// Its bounds.
    pub budget: Budget,
}

/// Parts and headers of each request that a plugin wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Parts of operations.
    pub parts: Parts,
    /// Headers.
    pub headers: Vec<http::HeaderName>,
}

impl Wanted {
    /// Returns true when a guard wants records to be counted before they are deleted.
    pub fn counts(&self) -> bool {
        self.parts.contains(Parts::SIZES)
    }
}

/// One instance that is not being asked.
struct Idle<W: World> {
    store: Store<State>,
    exports: W::Exports,
    /// The facts that it got last.
    facts: Arc<W::Facts>,
    /// Number of calls so far.
    calls: u64,
}

impl<W: World> Idle<W> {
    /// Counts a call, and says whether it is one of those that are timed.
    fn next_is_timed(&mut self) -> bool {
        self.calls += 1;
        self.calls % TIMED_SHARE == 1
    }

    /// Makes it ready for one call within these bounds.
    fn refuel(&mut self, fuel: u64, ticks: u64) -> Result<(), Trouble> {
        let fueled = self.store.set_fuel(fuel);
        fueled.map_err(|error| self.trouble(&error))?;
        self.store.set_epoch_deadline(ticks);
        self.store.data_mut().begin();
        Ok(())
    }

    #[cold]
    fn trouble(&self, error: &wasmtime::Error) -> Trouble {
        Trouble::of(error, self.store.data())
    }
}

/// A version that can be asked from any number of threads.
pub struct Version<W: World> {
    /// Its number, once it is kept.
    id: OnceLock<VersionId>,
    name: Arc<str>,
    digest: Digest,
    plugins: Plugins,
    prepared: W::Prepared,
    config: Arc<str>,
    budget: Budget,
    wanted: Wanted,
    idle: ArrayQueue<Idle<W>>,
    shared: Arc<Shared>,
    counters: Counters,
    last_trouble: Mutex<Option<(WallTime, Trouble)>>,
}

/// As many instances are kept as can be asked at once: one for each worker thread.
fn idle_max() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A slot keeps its history ready, and the pool of memory is shared by all.
    let share = usize::try_from(INSTANCES_MAX / 32).unwrap_or(1);
    threads.clamp(1, share)
}

impl<W: World> Version<W> {
    /// Compiles, starts and configures it. It may take seconds: not for a thread that serves.
    pub fn load(plugins: &Plugins, source: &Source, facts: &Arc<W::Facts>) -> Result<Self, Unfit> {
        let bytes = source.config.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(Unfit::ConfigTooLarge { bytes });
        }
        let component = check::compile::<W>(plugins, &source.bytes)?;
        let other = |error: wasmtime::Error| Unfit::OtherContract {
            found: check::contract_of(&component),
            why: format!("{error:#}"),
        };
        let prepared = plugins
            .linker()
            .instantiate_pre(&component)
            .map_err(other)?;
        let digest = Digest::of(&source.bytes);
        let mut version = Self {
            id: OnceLock::new(),
            name: Arc::clone(&source.name),
            digest,
            plugins: plugins.clone(),
            prepared: W::prepare(prepared).map_err(other)?,
            config: Arc::clone(&source.config),
            budget: source.budget,
            wanted: Wanted {
                parts: Parts::empty(),
                headers: Vec::new(),
            },
            idle: ArrayQueue::new(idle_max()),
            shared: Arc::new(Shared::new(format!("{}@{digest:.8}", source.name).into())),
            counters: Counters::default(),
            last_trouble: Mutex::default(),
        };
        let (mut idle, wants) = version.start(facts)?;
        version.self_test(&mut idle, facts)?;
        version.wanted = Wanted {
            parts: wants.parts,
            headers: check::headers(&wants.headers)?,
        };
        // There is room: nothing is in it yet.
        let _full = version.idle.push(idle);
        Ok(version)
    }

    /// Makes an instance, and hands it its configuration and the facts.
    fn start(&self, facts: &Arc<W::Facts>) -> Result<(Idle<W>, Wants), Unfit> {
        let state = State::new(Arc::clone(&self.shared), self.budget.memory_bytes);
        let mut store = Store::new(self.plugins.engine(), state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        let begun = self.begin(&mut store, facts);
        let (exports, configured) =
            begun.map_err(|error| Unfit::Start(Trouble::of(&error, store.data())))?;
        let wants = configured.map_err(|why| Unfit::Config { why })?;
        self.counters.made_instance();
        let facts = Arc::clone(facts);
        let idle = Idle {
            store,
            exports,
            facts,
            calls: 0,
        };
        Ok((idle, wants))
    }

    /// Instantiates it and configures it; what takes its configuration is told the facts.
    fn begin(
        &self,
        store: &mut Store<State>,
        facts: &Arc<W::Facts>,
    ) -> wasmtime::Result<(W::Exports, Result<Wants, String>)> {
        store.set_fuel(START_FUEL)?;
        store.set_epoch_deadline(START_TICKS);
        let exports = W::instantiate(&self.prepared, store)?;
        store.data_mut().begin();
        let configured = W::configure(&exports, store, &self.config)?;
        if configured.is_ok() {
            store.data_mut().begin();
            W::tell(&exports, store, facts)?;
        }
        Ok((exports, configured))
    }

    /// Has it answer once, within the bounds of a decision, before anything depends on it.
    fn self_test(&self, idle: &mut Idle<W>, facts: &Arc<W::Facts>) -> Result<(), Unfit> {
        let Idle { store, exports, .. } = idle;
        let ask = |store: &mut Store<State>| {
            store.set_fuel(self.budget.fuel)?;
            store.set_epoch_deadline(START_TICKS);
            store.data_mut().begin();
            W::self_test(exports, store, facts)
        };
        let answer = ask(&mut *store);
        let answer = answer.map_err(|error| Trouble::of(&error, store.data()));
        let judged = answer.and_then(|answer| answer.map_err(Trouble::from));
        judged.map(|_| ()).map_err(Unfit::SelfTest)
    }

    /// Asks. An instance that had no answer is thrown away, and never asked again.
    pub fn ask(
        &self,
        facts: &Arc<W::Facts>,
        question: W::Question<'_>,
    ) -> Result<W::Answer, Trouble> {
        let answer = self.try_ask(facts, question);
        if let Err(trouble) = &answer {
            self.counters.troubled(trouble.kind());
            *self.last_trouble.lock() = Some((clock::wall_time(), trouble.clone()));
        }
        answer
    }

    /// The last call without an answer: when it was, and why.
    pub fn last_trouble(&self) -> Option<(WallTime, Trouble)> {
        self.last_trouble.lock().clone()
    }

    fn try_ask(
        &self,
        facts: &Arc<W::Facts>,
        question: W::Question<'_>,
    ) -> Result<W::Answer, Trouble> {
        let mut idle = self.check_out(facts)?;
        idle.refuel(self.budget.fuel, self.budget.ticks())?;
        let begun = idle.next_is_timed().then(Instant::now);
        let answer = W::ask(&idle.exports, &mut idle.store, question);
        let answer = answer.map_err(|error| idle.trouble(&error))??;
        if let Some(begun) = begun {
            self.counters.took(begun.elapsed());
        }
        let left = idle.store.get_fuel();
        let left = left.map_err(|error| idle.trouble(&error))?;
        let spent = self.budget.fuel.saturating_sub(left);
        self.counters.decided(W::kind(&answer), spent);
        // When there is no room for it, it goes.
        let _full = self.idle.push(idle);
        Ok(answer)
    }

    fn check_out(&self, facts: &Arc<W::Facts>) -> Result<Idle<W>, Trouble> {
        let Some(mut idle) = self.idle.pop() else {
            let started = self.start(facts);
            return match started {
                Ok((idle, _wants)) => Ok(idle),
                Err(Unfit::Start(trouble)) => Err(trouble),
                Err(unfit) => Err(Trouble::no_instance(unfit.to_string())),
            };
        };
        if !Arc::ptr_eq(&idle.facts, facts) {
            idle.refuel(START_FUEL, START_TICKS)?;
            let told = W::tell(&idle.exports, &mut idle.store, facts);
            told.map_err(|error| idle.trouble(&error))?;
            idle.facts = Arc::clone(facts);
        }
        Ok(idle)
    }

    /// Gives it the number under which it is kept, once.
    pub fn is_kept_as(&self, id: VersionId) {
        let _given = self.id.set(id);
    }

    /// Its number, when it is kept.
    pub fn id(&self) -> Option<VersionId> {
        self.id.get().copied()
    }

    /// Its bounds.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The digest of its component.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Parts and headers of each request that it wants to see.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Its configuration.
    pub fn config(&self) -> &Arc<str> {
        &self.config
    }

    /// The values of its counters.
    pub fn figures(&self) -> Figures {
        self.counters
            .read(W::KINDS, self.shared.memory_high_water())
    }

    /// The last lines that it wrote into the log, the oldest first, each behind its level.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lines()
    }

    /// The counters of its own.
    pub fn own_counters(&self) -> std::collections::BTreeMap<String, u64> {
        self.shared.counters()
    }

    /// Lets the instances go that nobody is asking: what is kept to go back to needs none.
    pub fn rest(&self) {
        while self.idle.pop().is_some() {}
    }
}
