//! Versions of plugins as they are kept: what each is made of, which one decides, and which did
//! before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Slot;
use crate::time::WallTime;

/// Versions of a slot that are kept, beyond those that decide or can be gone back to.
pub const VERSIONS_MAX: usize = 32;

/// Swaps of a slot that are remembered.
pub const SWAPS_MAX: usize = 256;

/// Number of times in a row that one can go back.
pub const STEPS_BACK_MAX: usize = 16;

/// SHA-256 of a component as it was handed in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// One that is kept as bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = WrongDigest;

    fn from_str(text: &str) -> Result<Self, WrongDigest> {
        let wrong = || WrongDigest(text.to_owned());
        let hex = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        let mut digest = [0; 32];
        if hex.len() != digest.len() * 2 || !hex.is_ascii() {
            return Err(wrong());
        }
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            let pair = hex.get(at..at + 2).filter(|pair| !pair.starts_with('+'));
            let pair = pair.ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

/// Error for a text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest: it is sha256: and 64 digits, as `achromat plugin check` tells it")]
pub struct WrongDigest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionId(pub u64);

/// The number of a swap. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SwapSeq(pub u64);

/// Source of a version, or of a word about what decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Achromat itself: the default policies.
    Default,
    /// The configuration.
    Configuration,
    /// The watched folder.
    Folder,
    /// An operator.
    Operator,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Default,
        Self::Configuration,
        Self::Folder,
        Self::Operator,
    ];

    /// The word in the store and in the operator's interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Configuration => "configuration",
            Self::Folder => "folder",
            Self::Operator => "operator",
        }
    }

    /// The one that a word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == word)
    }
}

/// A version: a component with its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// The slot that it is for.
    pub slot: Slot,
    /// For people.
    pub name: Arc<str>,
    /// Its component's.
    pub digest: Digest,
    /// Its configuration.
    pub config: Arc<str>,
    /// Its source.
    pub origin: Origin,
    /// Time when it came.
    pub at: WallTime,
    /// Name of the person or source that brought it.
    pub who: Arc<str>,
    /// Its signature, as minisign writes it, when it came with one.
    pub signature: Option<Arc<str>>,
}

impl NewVersion {
    /// Returns true when both would decide alike and have the same name: then one of them is enough.
    pub fn is_like(&self, other: &Self) -> bool {
        (
            self.slot,
            &self.name,
            self.digest,
            &self.config,
            self.origin,
        ) == (
            other.slot,
            &other.name,
            other.digest,
            &other.config,
            other.origin,
        )
    }
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its number.
    pub id: VersionId,
    /// The bytes of its component.
    pub bytes: u64,
    /// The version's content and origin.
    pub version: NewVersion,
}

/// Decider of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// Achromat's own rules alone.
    Native,
    /// A version.
    Version(VersionId),
    /// Nobody: the last version was taken out of service, and there was none to go back to.
    Nobody,
}

/// A change of who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSwap {
    /// The slot.
    pub slot: Slot,
    /// The decider from now on.
    pub to: Decider,
    /// The swap that made the decider to which one goes back from here.
    pub before: Option<SwapSeq>,
    /// Time of the swap.
    pub at: WallTime,
    /// Name of the person or source that made it.
    pub who: Arc<str>,
    /// The reason.
    pub why: Arc<str>,
    /// The version that is taken out of service by it, because it had no answer too often.
    pub taken_out: Option<VersionId>,
}

/// A change of who decides, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSwap {
    /// Its number.
    pub seq: SwapSeq,
    /// The change.
    pub swap: NewSwap,
}

/// Everything that is kept of plugins, but for the bytes of their components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    /// All versions.
    pub versions: BTreeMap<VersionId, KeptVersion>,
    /// All swaps.
    pub swaps: BTreeMap<SwapSeq, KeptSwap>,
    /// Last words about a slot from each source that goes on saying them: a file of configuration, a folder.
    pub said: BTreeMap<(Slot, Origin), String>,
}

/// A change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShelfWrite {
    /// A version, with its component.
    Keep(KeptVersion, Bytes),
    /// A swap.
    Swap(KeptSwap),
    /// Words about a slot.
    Said {
        /// The slot.
        slot: Slot,
        /// Their source.
        origin: Origin,
        /// The words.
        words: String,
    },
    /// A version is forgotten, and its component with the last version that has it.
    Forget(VersionId),
    /// A swap is forgotten.
    ForgetSwap(SwapSeq),
}

impl Shelf {
    /// Takes a change in.
    pub fn write(&mut self, write: &ShelfWrite) {
        match write {
            ShelfWrite::Keep(kept, _) => {
                self.versions.insert(kept.id, kept.clone());
            }
            ShelfWrite::Swap(kept) => {
                self.swaps.insert(kept.seq, kept.clone());
            }
            ShelfWrite::Said {
                slot,
                origin,
                words,
            } => {
                self.said.insert((*slot, *origin), words.clone());
            }
            ShelfWrite::Forget(id) => {
                self.versions.remove(id);
            }
            ShelfWrite::ForgetSwap(seq) => {
                self.swaps.remove(seq);
            }
        }
    }

    /// The number of the next version.
    pub fn next_version(&self) -> VersionId {
        VersionId(self.versions.keys().last().map_or(1, |last| last.0 + 1))
    }

    /// The number of the next swap.
    pub fn next_swap(&self) -> SwapSeq {
        SwapSeq(self.swaps.keys().last().map_or(1, |last| last.0 + 1))
    }

    /// Returns true when a version has this component.
    pub fn has(&self, digest: Digest) -> bool {
        let mut versions = self.versions.values();
        versions.any(|kept| kept.version.digest == digest)
    }

    /// A version that is like a new one.
    pub fn like(&self, version: &NewVersion) -> Option<&KeptVersion> {
        let mut versions = self.versions.values();
        versions.find(|kept| kept.version.is_like(version))
    }

    /// The swap that took a version out of service because it had no answer too often, unless the version
    /// was put into service again since.
    pub fn taken_out(&self, id: VersionId) -> Option<&KeptSwap> {
        let is_out = |kept: &KeptSwap| kept.swap.taken_out == Some(id);
        let mut swaps = self.swaps.values().rev();
        let last = swaps.find(|kept| is_out(kept) || kept.swap.to == Decider::Version(id));
        last.filter(|kept| is_out(kept))
    }

    /// The last swap of a slot: it says who decides.
    pub fn last_swap(&self, slot: Slot) -> Option<&KeptSwap> {
        let mut swaps = self.swaps.values().rev();
        swaps.find(|kept| kept.swap.slot == slot)
    }

    /// The swap that is gone back to from another one.
    pub fn before(&self, swap: &NewSwap) -> Option<&KeptSwap> {
        self.swaps.get(&swap.before?)
    }

    /// The versions that decide in a slot or can be gone back to, the last one first.
    pub fn in_reach(&self, slot: Slot) -> Vec<VersionId> {
        let steps = std::iter::successors(self.last_swap(slot), |kept| self.before(&kept.swap));
        let deciders = steps.take(STEPS_BACK_MAX + 1).map(|kept| kept.swap.to);
        deciders
            .filter_map(|decider| match decider {
                Decider::Version(id) => Some(id),
                Decider::Native | Decider::Nobody => None,
            })
            .collect()
    }

    /// Versions of a slot that nobody misses: the oldest ones past [`VERSIONS_MAX`], without those
    /// in reach and those that are `tried`.
    pub fn superfluous(&self, slot: Slot, tried: Option<VersionId>) -> Vec<VersionId> {
        let kept: BTreeSet<_> = self.in_reach(slot).into_iter().chain(tried).collect();
        let of_slot = self.versions.values();
        let ids: Vec<_> = of_slot
            .filter(|kept| kept.version.slot == slot)
            .map(|kept| kept.id)
            .collect();
        let unused = ids.iter().copied().filter(|id| !kept.contains(id));
        unused
            .take(ids.len().saturating_sub(VERSIONS_MAX))
            .collect()
    }

    /// The swaps of a slot that are too many to be remembered: the oldest ones.
    pub fn old_swaps(&self, slot: Slot) -> Vec<SwapSeq> {
        let of_slot = self.swaps.values().filter(|kept| kept.swap.slot == slot);
        let all: Vec<_> = of_slot.map(|kept| kept.seq).collect();
        let many = all.len().saturating_sub(SWAPS_MAX);
        all.into_iter().take(many).collect()
    }

    /// The versions of a slot that a word may mean: a number, the beginning of a digest (8 digits
    /// or more), or a name. The newest first.
    pub fn find(&self, slot: Slot, word: &str) -> Vec<&KeptVersion> {
        let is_digits = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        let number = word.parse().ok().map(VersionId);
        let is_meant = |kept: &&KeptVersion| {
            let version = &kept.version;
            let digest = version.digest.to_string();
            version.slot == slot
                && (Some(kept.id) == number
                    || *version.name == *word
                    || is_digits && digest.starts_with(&word.to_ascii_lowercase()))
        };
        self.versions.values().rev().filter(is_meant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(id: u64, name: &str) -> KeptVersion {
        KeptVersion {
            id: VersionId(id),
            bytes: 1,
            version: NewVersion {
                slot: Slot::Routing,
                name: name.into(),
                digest: Digest::of(name.as_bytes()),
                config: "".into(),
                origin: Origin::Operator,
                at: WallTime(id),
                who: "me".into(),
                signature: None,
            },
        }
    }

    fn swap(seq: u64, to: Decider, before: Option<u64>) -> KeptSwap {
        KeptSwap {
            seq: SwapSeq(seq),
            swap: NewSwap {
                slot: Slot::Routing,
                to,
                before: before.map(SwapSeq),
                at: WallTime(seq),
                who: "me".into(),
                why: "".into(),
                taken_out: None,
            },
        }
    }

    fn shelf(versions: u64, swaps: &[KeptSwap]) -> Shelf {
        let versions = (1..=versions).map(|id| (VersionId(id), version(id, &format!("v{id}"))));
        let swaps = swaps.iter().map(|kept| (kept.seq, kept.clone()));
        Shelf {
            versions: versions.collect(),
            swaps: swaps.collect(),
            ..Shelf::default()
        }
    }

    /// The version that decides and those that can be gone back to stay; of the rest, the newest.
    #[test]
    fn versions_in_reach_stay() {
        let to = |id| Decider::Version(VersionId(id));
        let swaps = [
            swap(1, to(1), None),
            swap(2, to(2), Some(1)),
            swap(3, to(3), Some(2)),
            // Back to 2: 3 is out of reach.
            swap(4, to(2), Some(1)),
        ];
        let shelf = shelf(40, &swaps);
        let reach = shelf.in_reach(Slot::Routing);
        assert_eq!(reach, [VersionId(2), VersionId(1)]);
        let gone = shelf.superfluous(Slot::Routing, Some(VersionId(4)));
        let expected: Vec<_> = [3, 5, 6, 7, 8, 9, 10, 11].map(VersionId).into();
        assert_eq!(gone, expected);
        assert_eq!(shelf.superfluous(Slot::CleanupGuard, None), []);
        assert_eq!(shelf.in_reach(Slot::CleanupGuard), []);
    }

    /// The way back has an end, also when what it leads to is not remembered.
    #[test]
    fn the_way_back_ends() {
        let to = |id| Decider::Version(VersionId(id));
        let swaps: Vec<_> = (1..=40)
            .map(|seq| swap(seq, to(seq), (seq > 1).then(|| seq - 1)))
            .collect();
        let reach = shelf(40, &swaps).in_reach(Slot::Routing);
        assert_eq!(reach.len(), STEPS_BACK_MAX + 1);
        let forgotten = shelf(40, &swaps[38..]).in_reach(Slot::Routing);
        assert_eq!(forgotten, [VersionId(40), VersionId(39)]);
        let many: Vec<_> = (1..=258).map(|seq| swap(seq, to(1), None)).collect();
        let old = shelf(1, &many).old_swaps(Slot::Routing);
        assert_eq!(old, [SwapSeq(1), SwapSeq(2)]);
    }

    /// A version that was taken out of service is marked until it is put into service again.
    #[test]
    fn a_version_taken_out_is_marked() {
        let to = |id| Decider::Version(VersionId(id));
        let mut out = swap(3, to(1), None);
        out.swap.taken_out = Some(VersionId(2));
        let swaps = [swap(1, to(1), None), swap(2, to(2), Some(1)), out];
        let mut shelf = shelf(2, &swaps);
        let taken_out = |shelf: &Shelf, id| shelf.taken_out(VersionId(id)).map(|kept| kept.seq.0);
        assert_eq!(
            (taken_out(&shelf, 1), taken_out(&shelf, 2)),
            (None, Some(3))
        );
        shelf.write(&ShelfWrite::Swap(swap(4, to(2), Some(3))));
        assert_eq!(taken_out(&shelf, 2), None);
    }

    /// A word means a number, a name, or the beginning of a digest.
    #[test]
    fn a_word_finds_versions() {
        let shelf = shelf(12, &[]);
        let found = |word: &str| -> Vec<u64> {
            let found = shelf.find(Slot::Routing, word).into_iter();
            found.map(|kept| kept.id.0).collect()
        };
        assert_eq!(found("3"), [3]);
        assert_eq!(found("v12"), [12]);
        let digest = Digest::of(b"v5").to_string();
        assert_eq!(found(&digest[..8]), [5]);
        assert_eq!(found(&digest.to_uppercase()), [5]);
        assert!(found(&digest[..7]).is_empty());
        assert!(found("nothing").is_empty());
        assert!(shelf.find(Slot::CleanupGuard, "3").is_empty());
    }
}
