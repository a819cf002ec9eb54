//! A version on trial beside the one that decides: which requests it is asked about, and what
//! becomes of it.

/// Way of trying a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// It is asked what the active one is asked, and its answers are compared and not used.
    Shadow,
    /// Its answers are used for some requests.
    Canary,
}

impl TrialKind {
    /// The word in the operator's interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }
}

/// Parts that a share is counted in.
const PARTS: u64 = 1_000_000;

/// The requests that a version on trial is asked about.
#[derive(Clone, Debug, PartialEq)]
pub enum Share {
    /// This share of them, from 0 to 1, chosen by their numbers.
    Of(f64),
    /// Those of a tenant.
    Tenant(String),
    /// Those about collections of this name.
    Collection(String),
}

/// Facts of a request by which a share takes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The number of the request.
    pub number: u64,
    /// Its tenant.
    pub tenant: Option<&'a str>,
    /// The name of its collection.
    pub collection: Option<&'a str>,
}

/// Spreads numbers that follow each other, so that a share of 1 in 2 is not every other request:
/// clients take turns, too (splitmix64).
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Returns true when a share of all numbers has this number. The same number gets the same answer.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "both are at most a million"
)]
pub fn is_in_share(share: f64, number: u64) -> bool {
    ((spread(number) % PARTS) as f64) < share * (PARTS as f64)
}

impl Share {
    /// Returns true when the share has this request.
    pub fn takes(&self, subject: Subject<'_>) -> bool {
        match self {
            Self::Of(share) => is_in_share(*share, subject.number),
            Self::Tenant(tenant) => subject.tenant == Some(tenant),
            Self::Collection(collection) => subject.collection == Some(collection),
        }
    }
}

/// Conditions under which a trial ends, well or badly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Calls without an answer that it may have.
    pub troubles_max: u64,
    /// The share of its decisions that may differ from the active version's, from 0 to 1.
    pub divergence_max: f64,
    /// Decisions after which it is judged. A shadow is judged by its troubles alone, and goes on.
    pub decisions_min: u64,
    /// True when a canary that is found good becomes active by itself.
    pub promotes: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            troubles_max: 2,
            divergence_max: 1.0,
            decisions_min: 1000,
            promotes: true,
        }
    }
}

/// A trial as it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Shadow or canary.
    pub kind: TrialKind,
    /// The requests that it gets.
    pub share: Share,
    /// The conditions that end it.
    pub rules: Rules,
}

/// Counts of a trial so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers.
    pub decisions: u64,
    /// Those that differ from the active version's.
    pub diverged: u64,
    /// Calls without an answer.
    pub troubles: u64,
}

/// Decision about a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    GoesOn,
    /// It becomes active.
    Promote,
    /// It is over, for this reason.
    End(String),
}

impl Trial {
    /// Refuses a trial that can't be, with the reason.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        match &self.share {
            Share::Of(share) if !is_share(*share) || *share == 0.0 => {
                Err("the share is a number above 0, up to 1")
            }
            Share::Tenant(name) | Share::Collection(name) if name.is_empty() => {
                Err("the name of the tenant, or of the collection, is empty")
            }
            _ if !is_share(self.rules.divergence_max) => {
                Err("divergence_max is a number from 0 to 1")
            }
            _ if self.rules.decisions_min == 0 => Err("decisions_min is 1 or more"),
            _ => Ok(()),
        }
    }

    /// Decides about the trial by its counts. It ends as soon as it can't end well.
    #[allow(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "counts beyond 2^53 are not met"
    )]
    pub fn verdict(&self, tally: Tally) -> Verdict {
        let rules = &self.rules;
        if tally.troubles > rules.troubles_max {
            return Verdict::End(format!(
                "{} calls had no answer, and {} may have none",
                tally.troubles, rules.troubles_max
            ));
        }
        if self.kind == TrialKind::Shadow {
            return Verdict::GoesOn;
        }
        let judged = tally.decisions.max(rules.decisions_min);
        if tally.diverged as f64 > rules.divergence_max * judged as f64 {
            return Verdict::End(format!(
                "{} of {} decisions differ from the active version's, and {} of all may",
                tally.diverged, tally.decisions, rules.divergence_max
            ));
        }
        if rules.promotes && tally.decisions >= rules.decisions_min {
            return Verdict::Promote;
        }
        Verdict::GoesOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(divergence_max: f64) -> Trial {
        Trial {
            kind: TrialKind::Canary,
            share: Share::Of(0.1),
            rules: Rules {
                troubles_max: 2,
                divergence_max,
                decisions_min: 100,
                promotes: true,
            },
        }
    }

    fn tally(decisions: u64, diverged: u64, troubles: u64) -> Tally {
        Tally {
            decisions,
            diverged,
            troubles,
        }
    }

    /// A canary is promoted after enough decisions, and ends as soon as it can't end well.
    #[test]
    fn a_canary_is_judged() {
        let trial = canary(0.1);
        assert_eq!(trial.verdict(tally(99, 10, 2)), Verdict::GoesOn);
        assert_eq!(trial.verdict(tally(100, 10, 2)), Verdict::Promote);
        let ends = |tally| matches!(trial.verdict(tally), Verdict::End(_));
        assert!(ends(tally(11, 11, 0)));
        assert!(ends(tally(0, 0, 3)));
        assert!(ends(tally(1000, 101, 0)));
        let mut manual = canary(1.0);
        manual.rules.promotes = false;
        assert_eq!(manual.verdict(tally(9999, 9999, 2)), Verdict::GoesOn);
    }

    /// A shadow differs as much as it likes, and ends when it has no answers.
    #[test]
    fn a_shadow_is_judged_by_its_troubles() {
        let trial = Trial {
            kind: TrialKind::Shadow,
            ..canary(0.0)
        };
        assert_eq!(trial.verdict(tally(9999, 9999, 2)), Verdict::GoesOn);
        assert!(matches!(trial.verdict(tally(0, 0, 3)), Verdict::End(_)));
    }

    /// A share is a share, of any numbers that follow each other, and of every other one.
    #[test]
    fn a_share_is_a_share() {
        for step in [1, 2, 100] {
            let count = (0..100_000).filter(|n| is_in_share(0.1, n * step)).count();
            assert!((9_500..10_500).contains(&count), "{step}: {count}");
        }
        assert!((0..1000).all(|number| is_in_share(1.0, number)));
        assert!(!(0..1000).any(|number| is_in_share(0.0, number)));
    }

    /// A tenant's requests, or a collection's, are taken whole.
    #[test]
    fn names_are_taken_whole() {
        let subject = Subject {
            number: 1,
            tenant: Some("t"),
            collection: None,
        };
        assert!(Share::Tenant("t".to_owned()).takes(subject));
        assert!(!Share::Tenant("u".to_owned()).takes(subject));
        assert!(!Share::Collection("t".to_owned()).takes(subject));
    }

    /// A trial that makes no sense is refused.
    #[test]
    fn nonsense_is_told() {
        assert_eq!(canary(0.5).check(), Ok(()));
        assert!(canary(1.5).check().is_err());
        for share in [
            Share::Of(0.0),
            Share::Of(1.1),
            Share::Of(f64::NAN),
            Share::Tenant(String::new()),
        ] {
            let trial = Trial {
                share,
                ..canary(1.0)
            };
            assert!(trial.check().is_err(), "{trial:?}");
        }
    }
}
