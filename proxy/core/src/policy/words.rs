//! Answers in words, for people who compare them: what differs has different words.

use std::fmt;

use super::{Eligibility, Permission, Preference, Refusal, Routing};
use crate::log::Level;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}: {}", self.status, self.message)?;
        match self.retry_after_s {
            Some(seconds) => write!(f, " (again after {seconds} s)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.first.iter().map(|ix| ix.0.to_string()).collect();
        let others = if self.then_others {
            ", then others"
        } else {
            ""
        };
        let stale = if self.allow_stale { ", stale too" } else { "" };
        write!(f, "first [{}]{others}{stale}", places.join(", "))
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Prefer(preference) => preference.fmt(f),
            Self::Refuse(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for Eligibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicate {
                level,
                accept_when_down,
            } => {
                let level = level.map_or("configured", Level::as_str);
                let down = if *accept_when_down {
                    ", also when all are down"
                } else {
                    ""
                };
                write!(f, "replicated, level {level}{down}")
            }
            Self::LocalOnly => f.write_str("local only"),
            Self::Refuse(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Deny(reason) => write!(f, "denied: {reason}"),
            Self::Trash(time) => write!(f, "into the trash for {} s", time.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part of an answer is in its words.
    #[test]
    fn words_say_everything() {
        let order = |others, stale| {
            Routing::Prefer(Preference::new(&[1, 0], others, stale, 2).unwrap()).to_string()
        };
        assert_eq!(order(true, false), "first [1, 0], then others");
        assert_eq!(order(false, true), "first [1, 0], stale too");
        let refusal = Refusal::new(429, "slowly".to_owned(), Some(3)).unwrap();
        assert_eq!(
            Routing::Refuse(refusal).to_string(),
            "refused with 429: slowly (again after 3 s)"
        );
        let logged = Eligibility::Replicate {
            level: Some(Level::Logged),
            accept_when_down: true,
        };
        assert_eq!(
            logged.to_string(),
            "replicated, level logged, also when all are down"
        );
        assert_eq!(
            Eligibility::SAFE.to_string(),
            "replicated, level configured"
        );
        assert_eq!(Permission::Deny("no".to_owned()).to_string(), "denied: no");
    }
}
