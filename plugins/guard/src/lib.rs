//! The default policy for the clean-up guard: what may be destroyed.
//!
//! Its configuration is JSON, all of it optional:
//!
//! ```json
//! {
//!   "protected": ["global"],
//!   "keep_records": ["prod_*"],
//!   "cleanup": ["AUTOTEST_*", "test_*", "DEBUG_*"],
//!   "delete_records_max": 1000,
//!   "unless_header": "x-confirm-delete",
//!   "trash": [{ "collection": "prod_*", "seconds": 86400 }]
//! }
//! ```
//!
//! | key | means |
//! |---|---|
//! | `protected` | names, or patterns with `*` and `?`, of collections that can't be deleted, renamed, emptied, unmapped or reset |
//! | `keep_records` | the same, and no record of theirs can be deleted; by default there is none |
//! | `cleanup` | patterns of the collections that `achromat cleanup` may delete; it deletes no other |
//! | `delete_records_max` | no delete may hit more records than this; by default there is no such limit |
//! | `unless_header` | a request header that lifts the limit for its request, whatever its value |
//! | `trash` | collections that can be got back for a while when they are deleted: the first pattern that fits says how long |
//!
//! Whether a delete leaves anything over of a protected collection must be known, and how many
//! records it hits when there is a limit; what is not known is denied.

use achromat_plugin::{Deed, Parts, Permission, Permit, Plugin, Question, Records, Wants};
use serde::{Deserialize, de};
use wildmatch::WildMatch;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    protected: Vec<Pattern>,
    keep_records: Vec<Pattern>,
    cleanup: Vec<Pattern>,
    delete_records_max: Option<u64>,
    unless_header: Option<String>,
    trash: Vec<Trash>,
}

impl Default for Config {
    fn default() -> Self {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect();
        Self {
            protected: patterns(&["global"]),
            keep_records: Vec::new(),
            cleanup: patterns(&["AUTOTEST_*", "test_*", "DEBUG_*"]),
            delete_records_max: None,
            unless_header: None,
            trash: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trash {
    collection: Pattern,
    seconds: u32,
}

/// A pattern, and how it was written.
#[derive(Debug)]
struct Pattern(String, WildMatch);

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.to_owned(), WildMatch::new(text))
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(from)?))
    }
}

fn find<'a>(patterns: &'a [Pattern], name: &str) -> Option<&'a str> {
    let found = patterns.iter().find(|pattern| pattern.1.matches(name))?;
    Some(&found.0)
}

/// Patterns of each kind that are looked through for each question.
const PATTERNS_MAX: usize = 1024;

/// Longest time for which anything stays in the trash: a year.
const TRASH_S_MAX: u32 = 31_536_000;

impl Config {
    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = match text.trim() {
            "" => Self::default(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        config.problem().map_or(Ok(config), Err)
    }

    fn problem(&self) -> Option<String> {
        let lengths = [
            self.protected.len(),
            self.keep_records.len(),
            self.cleanup.len(),
            self.trash.len(),
        ];
        if lengths.into_iter().any(|length| length > PATTERNS_MAX) {
            return Some(format!(
                "there are more than {PATTERNS_MAX} patterns of one kind"
            ));
        }
        if self.unless_header.is_some() && self.delete_records_max.is_none() {
            return Some("unless_header lifts delete_records_max, which is not given".to_owned());
        }
        let wrong = |trash: &&Trash| !(1..=TRASH_S_MAX).contains(&trash.seconds);
        let trash = self.trash.iter().find(wrong)?;
        let Pattern(text, _) = &trash.collection;
        Some(format!(
            "trash for `{text}`: seconds are 1 to {TRASH_S_MAX}"
        ))
    }
}

/// The policy.
#[derive(Debug)]
pub struct DefaultGuard(Config);

impl Plugin for DefaultGuard {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let config = Config::parse(config)?;
        let wants = Wants::parts(Parts::SIZES).and_headers(config.unless_header.as_deref());
        Ok((Self(config), wants))
    }
}

impl Permit for DefaultGuard {
    fn permit(&mut self, question: &Question) -> Permission {
        match self.reason_against(question) {
            Some(reason) => Permission::Deny(reason),
            None => self
                .trash(question)
                .map_or(Permission::Allow, Permission::Trash),
        }
    }
}

impl DefaultGuard {
    fn reason_against(&self, question: &Question) -> Option<String> {
        let name = question.collection.as_deref();
        let is_cleanup = question.deed == Deed::Cleanup;
        if is_cleanup && name.and_then(|name| find(&self.0.cleanup, name)).is_none() {
            let name = name.unwrap_or_default();
            return Some(format!(
                "collection [{name}] fits no pattern of what is cleaned up"
            ));
        }
        let kept = name.and_then(|name| find(&self.0.keep_records, name));
        let rule = kept.or_else(|| name.and_then(|name| find(&self.0.protected, name)));
        let (Some(name), Some(rule)) = (name, rule) else {
            return self.too_many(question);
        };
        let what = match (question.deed, &question.records) {
            (Deed::DeleteRecords, _) if kept.is_some() => "deleting its records",
            (Deed::DeleteRecords, Some(records)) if leaves_some(records) => {
                return self.too_many(question);
            }
            (Deed::DeleteRecords, _) => "deleting its last records",
            (Deed::DeleteCollection | Deed::Cleanup, _) => "deleting it",
            (Deed::RenameCollection, _) => "renaming it",
            (Deed::DeleteDatabase, _) => "deleting its database",
            (Deed::Reset, _) => "a reset",
            (Deed::DeleteMapping, _) => "unmapping it",
            (Deed::Trim | Deed::AdminDelete, _) => return None,
        };
        let protected = format!("collection [{name}] is protected by the rule `{rule}`");
        Some(format!("{what} is denied: {protected}"))
    }

    fn too_many(&self, question: &Question) -> Option<String> {
        let (max, records) = (self.0.delete_records_max?, question.records.as_ref()?);
        if records.count.is_some_and(|count| count <= max) || question.header(0).is_some() {
            return None;
        }
        let many = match records.count {
            Some(count) => format!("it hits {count} records"),
            None => "how many records it hits is not known".to_owned(),
        };
        let lifted = match &self.0.unless_header {
            Some(header) => format!("; the header {header} lifts that"),
            None => String::new(),
        };
        Some(format!(
            "{many}, and no delete may hit more than {max}{lifted}"
        ))
    }

    fn trash(&self, question: &Question) -> Option<u32> {
        let name = question.collection.as_deref()?;
        if !matches!(question.deed, Deed::DeleteCollection | Deed::Cleanup) {
            return None;
        }
        let fits = |trash: &&Trash| trash.collection.1.matches(name);
        let found = self.0.trash.iter().find(fits)?;
        Some(found.seconds)
    }
}

/// Whether it is known that records are left.
fn leaves_some(records: &Records) -> bool {
    matches!((records.count, records.held), (Some(count), Some(held)) if count < held)
}

/// It is asked for all that is to be destroyed, and does nothing but take and give back small pieces.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: achromat_plugin::Allocator = achromat_plugin::Allocator::new();

achromat_plugin::cleanup_guard!(DefaultGuard);

#[cfg(test)]
mod tests {
    use achromat_plugin::{
        Header,
        testing::{delete_records, question},
    };

    use super::*;

    fn permitted(config: &str, question: &Question) -> Permission {
        DefaultGuard::configure(config).unwrap().0.permit(question)
    }

    fn denied(config: &str, question: &Question) -> String {
        match permitted(config, question) {
            Permission::Deny(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// `global` is protected out of the box against whatever would destroy it.
    #[test]
    fn what_is_protected_is_not_destroyed() {
        for deed in [
            Deed::DeleteCollection,
            Deed::RenameCollection,
            Deed::DeleteDatabase,
            Deed::Reset,
            Deed::DeleteMapping,
        ] {
            let reason = denied("", &question(deed, "global"));
            assert!(
                reason.contains("[global] is protected by the rule `global`"),
                "{reason}"
            );
            assert_eq!(permitted("", &question(deed, "notes")), Permission::Allow);
        }
        assert!(denied("", &delete_records("global", 2, 2)).contains("last records"));
        assert!(denied("", &question(Deed::DeleteRecords, "global")).contains("last records"));
        assert_eq!(
            permitted("", &delete_records("global", 1, 2)),
            Permission::Allow
        );
        let other = r#"{"protected":["prod_*"]}"#;
        let gone = question(Deed::DeleteCollection, "global");
        assert_eq!(permitted(other, &gone), Permission::Allow);
    }

    /// Records of a collection that keeps them are not deleted, however few they are.
    #[test]
    fn records_that_are_kept_are_not_deleted() {
        let config = r#"{"keep_records":["prod_*"]}"#;
        let reason = denied(config, &delete_records("prod_1", 1, 9));
        assert!(
            reason.contains("deleting its records is denied") && reason.contains("rule `prod_*`"),
            "{reason}"
        );
        denied(config, &question(Deed::DeleteCollection, "prod_1"));
        for name in ["notes", "global"] {
            let one = delete_records(name, 1, 9);
            assert_eq!(permitted(config, &one), Permission::Allow);
        }
    }

    /// A clean-up deletes what fits its patterns, and nothing that is protected.
    #[test]
    fn a_clean_up_stays_within_its_patterns() {
        for name in ["AUTOTEST_1", "test_", "DEBUG_x"] {
            assert_eq!(
                permitted("", &question(Deed::Cleanup, name)),
                Permission::Allow
            );
        }
        for name in ["notes", "my_test_1", "Test_1", "global"] {
            assert!(denied("", &question(Deed::Cleanup, name)).contains("fits no pattern"));
        }
        let everything = r#"{"cleanup":["*"]}"#;
        assert!(denied(everything, &question(Deed::Cleanup, "global")).contains("protected"));
    }

    /// A delete that hits too many records needs the header.
    #[test]
    fn a_large_delete_needs_the_header() {
        let config = r#"{"delete_records_max":10,"unless_header":"x-confirm"}"#;
        let wants = DefaultGuard::configure(config).unwrap().1;
        assert_eq!(wants.headers, ["x-confirm"]);
        assert_eq!(
            permitted(config, &delete_records("notes", 10, 50)),
            Permission::Allow
        );
        let mut large = delete_records("notes", 11, 50);
        let reason = denied(config, &large);
        assert!(
            reason.contains("hits 11 records") && reason.contains("x-confirm"),
            "{reason}"
        );
        large.headers.push(Header {
            index: 0,
            value: "yes".to_owned(),
        });
        assert_eq!(permitted(config, &large), Permission::Allow);
        large.headers.clear();
        large.records.as_mut().unwrap().count = None;
        assert!(denied(config, &large).contains("not known"));
    }

    /// What goes into the trash is said by the first pattern that fits.
    #[test]
    fn some_collections_can_be_got_back() {
        let config = r#"{"trash":[{"collection":"prod_*","seconds":60}]}"#;
        let delete = |name| permitted(config, &question(Deed::DeleteCollection, name));
        assert_eq!(delete("prod_1"), Permission::Trash(60));
        assert_eq!(delete("notes"), Permission::Allow);
    }

    /// What makes no sense is refused.
    #[test]
    fn a_wrong_configuration_is_refused() {
        let refused = |config| DefaultGuard::configure(config).unwrap_err();
        assert!(refused(r#"{"protect":[]}"#).contains("unknown field `protect`"));
        assert!(refused(r#"{"unless_header":"x"}"#).contains("delete_records_max"));
        let never = r#"{"trash":[{"collection":"a","seconds":0}]}"#;
        assert!(refused(never).contains("trash for `a`"));
    }
}
