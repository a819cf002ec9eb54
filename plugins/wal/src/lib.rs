//! The default policy for WAL eligibility: which writes are logged, and when they are answered.
//!
//! Its configuration is JSON, all of it optional:
//!
//! ```json
//! {
//!   "records_level": "one",
//!   "schema_level": "all",
//!   "accept_when_down": false,
//!   "rules": [
//!     { "collection": "scratch_*", "local_only": true },
//!     { "tenant": "bank", "level": "all", "accept_when_down": true },
//!     { "database": "frozen", "refuse": "This database is read-only until Monday" }
//!   ]
//! }
//! ```
//!
//! | key | means |
//! |---|---|
//! | `records_level` | what must have happened before a write of records is answered: `one`, `majority` (more than half of those in service), `all` (those in service) or `logged`; when it is not given, what Achromat's configuration says |
//! | `schema_level` | the same for tenants, databases and collections |
//! | `accept_when_down` | whether writes of records are accepted into the log while no instance is in service |
//! | `rules` | the first that fits decides what it names; the rest is as above |
//!
//! A rule fits when all of its patterns do: `tenant`, `database`, `collection`, with `*` and `?`.
//! It names either `refuse` (a message for the client), or `local_only`, or `level` and
//! `accept_when_down`. `local_only` holds for records, never for collections themselves.

use achromat_plugin::{
    Action, Eligibility, Judge, Level, Operation, Parts, Plugin, Refusal, RefusalStatus,
    Replication, Wants,
};
use serde::{Deserialize, de};
use wildmatch::WildMatch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LevelName {
    One,
    Majority,
    All,
    Logged,
}

impl From<LevelName> for Level {
    fn from(name: LevelName) -> Self {
        match name {
            LevelName::One => Self::One,
            LevelName::Majority => Self::Majority,
            LevelName::All => Self::All,
            LevelName::Logged => Self::Logged,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    records_level: Option<LevelName>,
    schema_level: Option<LevelName>,
    accept_when_down: bool,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    tenant: Option<Pattern>,
    database: Option<Pattern>,
    collection: Option<Pattern>,
    refuse: Option<String>,
    local_only: bool,
    level: Option<LevelName>,
    accept_when_down: Option<bool>,
}

#[derive(Debug)]
struct Pattern(WildMatch);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Ok(Self(WildMatch::new(&text)))
    }
}

/// Rules that are looked through for each write.
const RULES_MAX: usize = 256;

/// Bytes of a message to a client.
const MESSAGE_BYTES_MAX: usize = 1024;

impl Config {
    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = match text.trim() {
            "" => Self::default(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        if config.rules.len() > RULES_MAX {
            return Err(format!("there are more than {RULES_MAX} rules"));
        }
        for (number, rule) in (1_u32..).zip(&config.rules) {
            if let Some(why) = rule.problem() {
                return Err(format!("rule {number} {why}"));
            }
        }
        Ok(config)
    }

    /// The parts by which its rules choose.
    fn parts(&self) -> Parts {
        let mut parts = Parts::empty();
        for rule in &self.rules {
            parts.set(
                Parts::TENANT,
                parts.contains(Parts::TENANT) || rule.tenant.is_some(),
            );
            parts.set(
                Parts::DATABASE,
                parts.contains(Parts::DATABASE) || rule.database.is_some(),
            );
            let has_collection = parts.contains(Parts::COLLECTION);
            parts.set(
                Parts::COLLECTION,
                has_collection || rule.collection.is_some(),
            );
        }
        parts
    }
}

impl Rule {
    fn problem(&self) -> Option<&'static str> {
        let replicates = self.level.is_some() || self.accept_when_down.is_some();
        let named = [self.refuse.is_some(), self.local_only, replicates];
        match named.iter().filter(|is_named| **is_named).count() {
            0 => Some("names nothing: give it refuse, local_only, level or accept_when_down"),
            1 => self.refuse.as_ref().and_then(|message| {
                let fits = (1..=MESSAGE_BYTES_MAX).contains(&message.len());
                (!fits).then_some("refuses with a message that has not 1 to 1024 bytes")
            }),
            _ => Some("names what excludes each other: refuse, local_only, or a level"),
        }
    }

    fn fits(&self, operation: &Operation) -> bool {
        matches(self.tenant.as_ref(), operation.tenant.as_deref())
            && matches(self.database.as_ref(), operation.database.as_deref())
            && matches(self.collection.as_ref(), operation.collection.as_deref())
    }
}

/// Whether a name fits; what has no name fits no pattern.
fn matches(pattern: Option<&Pattern>, name: Option<&str>) -> bool {
    match (pattern, name) {
        (None, _) => true,
        (Some(pattern), Some(name)) => pattern.0.matches(name),
        (Some(_), None) => false,
    }
}

/// The policy.
#[derive(Debug)]
pub struct DefaultWal(Config);

impl Plugin for DefaultWal {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let config = Config::parse(config)?;
        let wants = Wants::parts(config.parts());
        Ok((Self(config), wants))
    }
}

impl Judge for DefaultWal {
    fn judge(&mut self, operation: &Operation) -> Eligibility {
        let of_records = is_of_records(operation.action);
        let fits = |rule: &&Rule| rule.fits(operation) && (of_records || !rule.local_only);
        let rule = self.0.rules.iter().find(fits);
        if let Some(message) = rule.and_then(|rule| rule.refuse.as_deref()) {
            return Eligibility::Refuse(Refusal::new(RefusalStatus::Denied, message));
        }
        if rule.is_some_and(|rule| rule.local_only) {
            return Eligibility::LocalOnly;
        }
        let (level, accepts) = if of_records {
            (self.0.records_level, self.0.accept_when_down)
        } else {
            (self.0.schema_level, false)
        };
        Eligibility::Replicate(Replication {
            level: rule.and_then(|rule| rule.level).or(level).map(Level::from),
            accept_when_down: rule
                .and_then(|rule| rule.accept_when_down)
                .unwrap_or(accepts),
        })
    }
}

fn is_of_records(action: Action) -> bool {
    matches!(
        action,
        Action::Add | Action::Update | Action::Upsert | Action::DeleteRecords
    )
}

/// It is asked for each write, and does nothing but take and give back small pieces.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: achromat_plugin::Allocator = achromat_plugin::Allocator::new();

achromat_plugin::wal_eligibility!(DefaultWal);

#[cfg(test)]
mod tests {
    use achromat_plugin::{Class, testing::operation};

    use super::*;

    fn judged(config: &str, action: Action, tenant: &str, collection: &str) -> Eligibility {
        let (mut policy, wants) = DefaultWal::configure(config).unwrap();
        let mut operation = operation(action, Class::Write, collection);
        operation.tenant = Some(tenant.to_owned()).filter(|_| wants.parts.contains(Parts::TENANT));
        if !wants.parts.contains(Parts::COLLECTION) {
            operation.collection = None;
        }
        policy.judge(&operation)
    }

    fn replicate(level: Option<Level>, accept_when_down: bool) -> Eligibility {
        Eligibility::Replicate(Replication {
            level,
            accept_when_down,
        })
    }

    const RULES: &str = r#"{
        "records_level": "majority", "schema_level": "all", "accept_when_down": true,
        "rules": [
            {"collection": "scratch_*", "local_only": true},
            {"tenant": "bank", "collection": "ledger", "refuse": "closed"},
            {"tenant": "bank", "level": "logged"},
            {"collection": "keep?", "accept_when_down": false}
        ]
    }"#;

    /// Without a configuration all is as Achromat's own says, and nothing is asked for.
    #[test]
    fn by_default_everything_is_replicated() {
        assert_eq!(judged("", Action::Add, "t", "c"), replicate(None, false));
        let wants = DefaultWal::configure("").unwrap().1;
        assert_eq!(wants, Wants::nothing());
        let wants = DefaultWal::configure(RULES).unwrap().1;
        assert_eq!(wants, Wants::parts(Parts::TENANT | Parts::COLLECTION));
    }

    /// The first rule that fits decides what it names, and the rest is as said once for all.
    #[test]
    fn the_first_rule_that_fits_decides() {
        let judged = |action, tenant, collection| judged(RULES, action, tenant, collection);
        assert_eq!(
            judged(Action::Add, "t", "scratch_1"),
            Eligibility::LocalOnly
        );
        let all = replicate(Some(Level::All), false);
        assert_eq!(judged(Action::CreateCollection, "t", "scratch_1"), all);
        let closed = Eligibility::Refuse(Refusal::new(RefusalStatus::Denied, "closed"));
        assert_eq!(judged(Action::Upsert, "bank", "ledger"), closed);
        let logged = replicate(Some(Level::Logged), true);
        assert_eq!(judged(Action::Upsert, "bank", "notes"), logged);
        let keep = replicate(Some(Level::Majority), false);
        assert_eq!(judged(Action::Update, "t", "keep1"), keep);
        let rest = replicate(Some(Level::Majority), true);
        assert_eq!(judged(Action::Update, "t", "keep"), rest);
    }

    /// What makes no sense is refused, and the rule is named.
    #[test]
    fn a_wrong_configuration_is_refused() {
        let refused = |config| DefaultWal::configure(config).unwrap_err();
        assert!(refused(r#"{"level":"one"}"#).contains("unknown field `level`"));
        let nothing = r#"{"rules":[{"tenant":"a","level":"all"},{"tenant":"b"}]}"#;
        assert!(refused(nothing).contains("rule 2 names nothing"));
        let both = r#"{"rules":[{"local_only":true,"level":"all"}]}"#;
        assert!(refused(both).contains("rule 1 names what excludes each other"));
        assert!(refused(r#"{"rules":[{"refuse":""}]}"#).contains("1 to 1024 bytes"));
    }
}
