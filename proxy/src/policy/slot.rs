//! A slot: which version decides, which stand behind it, and what holds when none has an answer.

mod consult;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Instant,
};

use achromat_core::policy::{Tally, TrialKind, Verdict, VersionId};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    figures::Figures,
    limits::{
        Budget, HISTORY_MAX, REASONS_TOLD_MAX, RETIRED_FOR, RETIRED_MAX, TROUBLE_WINDOW,
        TROUBLES_MAX,
    },
    recorder::Recorder,
    trial::{Difference, Tried},
    trouble::Trouble,
    version::Version,
    world::World,
};

/// A change that a slot made by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A version was taken out of service, and which one decides now, if any was ready.
    Quarantined {
        /// The version that was taken out of service.
        version: Option<VersionId>,
        /// The reason, in words.
        why: String,
        /// The version that decides now.
        back_to: Option<VersionId>,
    },
    /// A trial has come to an end.
    Tried {
        /// The version that was on trial.
        version: Option<VersionId>,
        /// The kind of trial.
        kind: TrialKind,
        /// Its counts at the end.
        tally: Tally,
        /// The verdict: promotion, or the reason of the end.
        verdict: Verdict,
        /// Decisions in which it differed.
        differences: Vec<Difference>,
    },
}

/// Callback that gets a slot's notices.
pub type Listener = Box<dyn Fn(Notice) + Send + Sync>;

/// Callback for each change of the deciding version. It runs before the change returns, and must not wait.
pub type Follower = Box<dyn Fn() + Send + Sync>;

/// The present decider of a slot.
enum Occupant<W: World> {
    /// Achromat's own rules alone: there is no plugin, and none is wanted.
    Native,
    /// A version.
    Version(Arc<Version<W>>),
    /// Nobody: the last version was taken out of service, and there is none to go back to.
    Vacant,
}

impl<W: World> Clone for Occupant<W> {
    fn clone(&self) -> Self {
        match self {
            Self::Native => Self::Native,
            Self::Version(version) => Self::Version(Arc::clone(version)),
            Self::Vacant => Self::Vacant,
        }
    }
}

/// The decider, facts and trial that one request keeps from its start to its end.
pub struct Generation<W: World> {
    occupant: Occupant<W>,
    facts: Arc<W::Facts>,
    trial: Option<Arc<Tried<W>>>,
}

impl<W: World> Generation<W> {
    /// The version that decides.
    pub fn version(&self) -> Option<&Arc<Version<W>>> {
        match &self.occupant {
            Occupant::Version(version) => Some(version),
            Occupant::Native | Occupant::Vacant => None,
        }
    }

    /// Returns true when there is no plugin to ask.
    pub fn is_native(&self) -> bool {
        matches!(self.occupant, Occupant::Native) && self.trial.is_none()
    }

    /// The version on trial.
    pub fn trial(&self) -> Option<&Arc<Tried<W>>> {
        self.trial.as_ref()
    }

    /// Returns true when a plugin should decide, and none can.
    pub fn is_vacant(&self) -> bool {
        matches!(self.occupant, Occupant::Vacant)
    }
}

/// A slot. Asking it takes no lock; changing it takes one.
pub struct Slot<W: World> {
    active: ArcSwap<Generation<W>>,
    changes: Mutex<Changes<W>>,
    listener: OnceLock<Listener>,
    /// Counts questions that have no number of their own.
    numbers: AtomicU64,
    recorder: Recorder,
    /// Called whenever another version decides.
    follower: OnceLock<Follower>,
}

/// State for changing a slot, and the recent troubles of its active version.
struct Changes<W: World> {
    /// Versions that were active before, the last one last.
    history: VecDeque<Arc<Version<W>>>,
    /// Times of the active version's recent troubles.
    troubles: VecDeque<Instant>,
    /// Reasons of the active version's troubles that were logged already.
    told: BTreeSet<String>,
    /// Versions that were taken out of service.
    quarantined: u64,
    /// Versions that were taken out of service or withdrawn of late, with their figures, the last one last.
    retired: VecDeque<Retired>,
}

/// A version that does not decide any more, and what it had counted until then.
#[derive(Clone, Debug)]
pub struct Retired {
    /// Its number.
    pub id: Option<VersionId>,
    /// Its name.
    pub name: Arc<str>,
    /// Its figures.
    pub figures: Figures,
    /// The counters of its own.
    pub own_counters: BTreeMap<String, u64>,
    at: Instant,
}

impl<W: World> Changes<W> {
    fn begin_anew(&mut self) {
        self.troubles.clear();
        self.told.clear();
    }

    /// Keeps a version's figures for those who have not read them yet.
    fn retire(&mut self, version: &Version<W>) {
        let id = version.id();
        self.retired
            .retain(|retired| retired.id != id && retired.is_new());
        if self.retired.len() >= RETIRED_MAX {
            self.retired.pop_front();
        }
        self.retired.push_back(Retired {
            id,
            name: Arc::clone(version.name()),
            figures: version.figures(),
            own_counters: version.own_counters(),
            at: Instant::now(),
        });
    }
}

impl Retired {
    fn is_new(&self) -> bool {
        self.at.elapsed() < RETIRED_FOR
    }
}

impl<W: World> Slot<W> {
    /// A slot without a plugin.
    pub fn native(facts: Arc<W::Facts>) -> Self {
        let generation = Generation {
            occupant: Occupant::Native,
            facts,
            trial: None,
        };
        Self {
            active: ArcSwap::from_pointee(generation),
            changes: Mutex::new(Changes {
                history: VecDeque::new(),
                troubles: VecDeque::new(),
                told: BTreeSet::new(),
                quarantined: 0,
                retired: VecDeque::new(),
            }),
            listener: OnceLock::new(),
            numbers: AtomicU64::new(1),
            recorder: Recorder::default(),
            follower: OnceLock::new(),
        }
    }

    /// Sets the callback for the slot's notices. Only the first call counts.
    pub fn listen(&self, listener: Listener) {
        let _taken = self.listener.set(listener);
    }

    /// Sets the callback for each change of the deciding version. Only the first call counts.
    pub fn follow(&self, follower: Follower) {
        let _taken = self.follower.set(follower);
    }

    fn notify(&self, notice: Notice) {
        if let Some(listener) = self.listener.get() {
            listener(notice);
        }
    }

    /// The generation for a request that begins now.
    pub fn generation(&self) -> Arc<Generation<W>> {
        self.active.load_full()
    }

    /// Returns true when the version that decides in this generation still decides.
    pub fn is_current(&self, generation: &Generation<W>) -> bool {
        match (self.active.load().version(), generation.version()) {
            (Some(active), Some(version)) => Arc::ptr_eq(active, version),
            (active, version) => active.is_none() && version.is_none(),
        }
    }

    /// The facts for instances of plugins.
    pub fn facts(&self) -> Arc<W::Facts> {
        Arc::clone(&self.active.load().facts)
    }

    /// Puts a version into service, for requests that begin from now on. It ends a trial: what is
    /// on trial was compared with the version before.
    pub fn swap(&self, version: Arc<Version<W>>) {
        self.replace(Occupant::Version(version));
    }

    /// Takes every plugin out of service: Achromat's own rules decide.
    pub fn swap_native(&self) {
        self.replace(Occupant::Native);
    }

    /// Lets nobody decide, so that the safe answer holds.
    pub fn vacate(&self) {
        self.replace(Occupant::Vacant);
    }

    fn replace(&self, occupant: Occupant<W>) {
        let mut changes = self.changes.lock();
        let generation = self.generation();
        if let Some(before) = generation.version() {
            before.rest();
            changes.history.push_back(Arc::clone(before));
            while changes.history.len() > HISTORY_MAX {
                changes.history.pop_front();
            }
        }
        changes.begin_anew();
        self.put(occupant, &generation);
    }

    /// Goes back to the version before. Says which one that is; `None` when there is none, and
    /// everything stays.
    pub fn roll_back(&self) -> Option<Arc<Version<W>>> {
        let mut changes = self.changes.lock();
        let version = changes.history.pop_back()?;
        self.go_back(&mut changes, Occupant::Version(Arc::clone(&version)));
        Some(version)
    }

    /// Goes back to a version, or to Achromat's own rules. What came after it is not gone back to
    /// any more.
    pub fn roll_back_to(&self, version: Option<Arc<Version<W>>>) {
        let mut changes = self.changes.lock();
        if let Some(version) = &version {
            let history = &mut changes.history;
            let place = history
                .iter()
                .rposition(|before| Arc::ptr_eq(before, version));
            history.truncate(place.unwrap_or(history.len()));
        }
        let occupant = version.map_or(Occupant::Native, Occupant::Version);
        self.go_back(&mut changes, occupant);
    }

    fn go_back(&self, changes: &mut Changes<W>, occupant: Occupant<W>) {
        changes.begin_anew();
        let generation = self.generation();
        if let Some(before) = generation.version() {
            before.rest();
        }
        self.put(occupant, &generation);
    }

    /// A version that is ready to be put into service, with these bounds.
    pub fn ready(&self, id: VersionId, budget: Budget) -> Option<Arc<Version<W>>> {
        let changes = self.changes.lock();
        let generation = self.generation();
        let tried = generation.trial.as_ref().map(|tried| tried.version());
        let mut all = generation
            .version()
            .into_iter()
            .chain(tried)
            .chain(&changes.history);
        let found = all.find(|version| version.id() == Some(id) && version.budget() == budget);
        found.cloned()
    }

    /// Has all instances know something else.
    pub fn tell(&self, facts: &Arc<W::Facts>) {
        let _changing = self.changes.lock();
        let generation = self.generation();
        self.active.store(Arc::new(Generation {
            occupant: generation.occupant.clone(),
            facts: Arc::clone(facts),
            trial: generation.trial.clone(),
        }));
    }

    /// Puts a version on trial, in the place of one that is; or none.
    pub fn try_out(&self, tried: Option<Arc<Tried<W>>>) {
        let _changing = self.changes.lock();
        let generation = self.generation();
        self.active.store(Arc::new(Generation {
            occupant: generation.occupant.clone(),
            facts: Arc::clone(&generation.facts),
            trial: tried,
        }));
    }

    fn put(&self, occupant: Occupant<W>, before: &Generation<W>) {
        let facts = Arc::clone(&before.facts);
        self.active.store(Arc::new(Generation {
            occupant,
            facts,
            trial: None,
        }));
        if let Some(follower) = self.follower.get() {
            follower();
        }
    }

    /// Versions that were taken out of service since the start.
    pub fn quarantined(&self) -> u64 {
        self.changes.lock().quarantined
    }

    /// Versions that were taken out of service, or whose trial has ended, within the last minutes. None of
    /// them decides now.
    pub fn retired(&self) -> Vec<Retired> {
        let changes = self.changes.lock();
        let generation = self.generation();
        let tried = generation.trial.as_ref().map(|tried| tried.version());
        let present: Vec<_> = generation.version().into_iter().chain(tried).collect();
        let is_present = |id| present.iter().any(|version| version.id() == id);
        let retired = changes.retired.iter();
        retired
            .filter(|retired| retired.is_new() && !is_present(retired.id))
            .cloned()
            .collect()
    }

    /// Decides: as the generation's version says, or else as is safe. `None` when the slot has no
    /// plugin and Achromat's own rules are all there is.
    pub fn decide(
        &self,
        generation: &Generation<W>,
        question: W::Question<'_>,
    ) -> Option<W::Answer> {
        match &generation.occupant {
            Occupant::Native => None,
            Occupant::Vacant => Some(W::safe()),
            Occupant::Version(version) => {
                let answer = version.ask(&generation.facts, question);
                Some(answer.unwrap_or_else(|trouble| {
                    self.troubled(version, &trouble);
                    W::safe()
                }))
            }
        }
    }

    /// Tells of a trouble, once for each reason, and takes a version out of service that has had
    /// too many.
    fn troubled(&self, version: &Arc<Version<W>>, trouble: &Trouble) {
        let mut changes = self.changes.lock();
        let generation = self.generation();
        let is_active = |active: &Arc<Version<W>>| Arc::ptr_eq(active, version);
        if !generation.version().is_some_and(is_active) {
            return;
        }
        let reason = trouble.to_string();
        if changes.told.len() < REASONS_TOLD_MAX && changes.told.insert(reason) {
            tracing::warn!(
                slot = W::SLOT.as_str(),
                plugin = version.name().as_ref(),
                digest = %version.digest(),
                reason = %trouble,
                "a plugin has no answer; the safe one holds"
            );
        }
        let now = Instant::now();
        changes.troubles.push_back(now);
        while let Some(first) = changes.troubles.front()
            && now.duration_since(*first) > TROUBLE_WINDOW
        {
            changes.troubles.pop_front();
        }
        let count = u32::try_from(changes.troubles.len()).unwrap_or(u32::MAX);
        if count >= TROUBLES_MAX {
            self.quarantine(&mut changes, version, &generation, trouble);
        }
    }

    fn quarantine(
        &self,
        changes: &mut Changes<W>,
        version: &Arc<Version<W>>,
        generation: &Generation<W>,
        trouble: &Trouble,
    ) {
        changes.quarantined += 1;
        changes.begin_anew();
        changes.retire(version);
        version.rest();
        let last_good = changes.history.pop_back();
        tracing::error!(
            slot = W::SLOT.as_str(),
            plugin = version.name().as_ref(),
            digest = %version.digest(),
            back_to = last_good.as_ref().map(|good| good.name().as_ref()),
            reason = %trouble,
            "a plugin is taken out of service: {TROUBLES_MAX} decisions within {} s had no answer",
            TROUBLE_WINDOW.as_secs()
        );
        let back_to = last_good.as_ref().and_then(|good| good.id());
        let occupant = last_good.map_or(Occupant::Vacant, Occupant::Version);
        self.put(occupant, generation);
        self.notify(Notice::Quarantined {
            version: version.id(),
            why: format!(
                "{TROUBLES_MAX} decisions of {} within {} s had no answer; the last: {trouble}",
                version.name(),
                TROUBLE_WINDOW.as_secs()
            ),
            back_to,
        });
    }
}
