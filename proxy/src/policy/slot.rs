//! A slot: which version decides, which stand behind it, and what holds when none has an answer.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    limits::{HISTORY_MAX, REASONS_TOLD_MAX, TROUBLE_WINDOW, TROUBLES_MAX},
    trouble::Trouble,
    version::Version,
    world::World,
};

/// Who decides.
enum Occupant<W: World> {
    /// Achromat's own rules alone: there is no plugin, and none is wanted.
    Native,
    /// A version.
    Version(Arc<Version<W>>),
    /// Nobody: the last version was taken out of service, and there is none to go back to.
    Vacant,
}

/// What a request lives in from its start to its end.
pub struct Generation<W: World> {
    occupant: Occupant<W>,
    facts: Arc<W::Facts>,
}

impl<W: World> Generation<W> {
    /// The version that decides.
    pub fn version(&self) -> Option<&Arc<Version<W>>> {
        match &self.occupant {
            Occupant::Version(version) => Some(version),
            Occupant::Native | Occupant::Vacant => None,
        }
    }

    /// Whether there is no plugin, and none is wanted.
    pub fn is_native(&self) -> bool {
        matches!(self.occupant, Occupant::Native)
    }

    /// Whether a plugin should decide, and none can.
    pub fn is_vacant(&self) -> bool {
        matches!(self.occupant, Occupant::Vacant)
    }
}

/// A slot. Asking it takes no lock; changing it takes one.
pub struct Slot<W: World> {
    active: ArcSwap<Generation<W>>,
    changes: Mutex<Changes<W>>,
}

/// What is needed to change a slot, and what is known of its troubles.
struct Changes<W: World> {
    /// Those that were active before, the last one last.
    history: VecDeque<Arc<Version<W>>>,
    /// When the active one had its last troubles.
    troubles: VecDeque<Instant>,
    /// What was told of the active one.
    told: BTreeSet<String>,
    /// Versions that were taken out of service.
    quarantined: u64,
}

impl<W: World> Changes<W> {
    fn begin_anew(&mut self) {
        self.troubles.clear();
        self.told.clear();
    }
}

impl<W: World> Slot<W> {
    /// A slot without a plugin.
    pub fn native(facts: Arc<W::Facts>) -> Self {
        let generation = Generation {
            occupant: Occupant::Native,
            facts,
        };
        Self {
            active: ArcSwap::from_pointee(generation),
            changes: Mutex::new(Changes {
                history: VecDeque::new(),
                troubles: VecDeque::new(),
                told: BTreeSet::new(),
                quarantined: 0,
            }),
        }
    }

    /// What a request that begins now lives in.
    pub fn generation(&self) -> Arc<Generation<W>> {
        self.active.load_full()
    }

    /// What instances are to be told.
    pub fn facts(&self) -> Arc<W::Facts> {
        Arc::clone(&self.active.load().facts)
    }

    /// Puts a version into service, for requests that begin from now on.
    pub fn swap(&self, version: Arc<Version<W>>) {
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
        self.put(Occupant::Version(version), &generation.facts);
    }

    /// Goes back to the version before. Says which one that is; `None` when there is none, and
    /// everything stays.
    pub fn roll_back(&self) -> Option<Arc<Version<W>>> {
        let mut changes = self.changes.lock();
        let version = changes.history.pop_back()?;
        changes.begin_anew();
        let generation = self.generation();
        if let Some(before) = generation.version() {
            before.rest();
        }
        self.put(Occupant::Version(Arc::clone(&version)), &generation.facts);
        Some(version)
    }

    /// Has all instances know something else.
    pub fn tell(&self, facts: &Arc<W::Facts>) {
        let _changing = self.changes.lock();
        let occupant = match &self.generation().occupant {
            Occupant::Native => Occupant::Native,
            Occupant::Vacant => Occupant::Vacant,
            Occupant::Version(version) => Occupant::Version(Arc::clone(version)),
        };
        self.put(occupant, facts);
    }

    fn put(&self, occupant: Occupant<W>, facts: &Arc<W::Facts>) {
        let facts = Arc::clone(facts);
        self.active.store(Arc::new(Generation { occupant, facts }));
    }

    /// Versions that were taken out of service since the start.
    pub fn quarantined(&self) -> u64 {
        self.changes.lock().quarantined
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
            self.quarantine(&mut changes, version, &generation.facts);
        }
    }

    fn quarantine(
        &self,
        changes: &mut Changes<W>,
        version: &Arc<Version<W>>,
        facts: &Arc<W::Facts>,
    ) {
        changes.quarantined += 1;
        changes.begin_anew();
        version.rest();
        let last_good = changes.history.pop_back();
        tracing::error!(
            slot = W::SLOT.as_str(),
            plugin = version.name().as_ref(),
            digest = %version.digest(),
            back_to = last_good.as_ref().map(|good| good.name().as_ref()),
            "a plugin is taken out of service: {TROUBLES_MAX} decisions within {} s had no answer",
            TROUBLE_WINDOW.as_secs()
        );
        let occupant = last_good.map_or(Occupant::Vacant, Occupant::Version);
        self.put(occupant, facts);
    }
}
