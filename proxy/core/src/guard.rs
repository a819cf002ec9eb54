//! Native limits on what may be destroyed, which stand above every policy.

use std::sync::Arc;

use wildmatch::WildMatch;

use crate::catalog::{Catalog, Collection};

/// A pattern of collection names: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatch);

impl Pattern {
    /// The pattern as it was written.
    pub fn new(text: &str) -> Self {
        Self(WildMatch::new(text))
    }

    /// Returns true when a name fits.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

/// The names that are protected.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    protected: Vec<(Arc<str>, Pattern)>,
    /// Those whose records can't be deleted.
    kept: Vec<(Arc<str>, Pattern)>,
    /// Those whose records, and whose metadata and configuration, can't be changed either.
    frozen: Vec<(Arc<str>, Pattern)>,
    cleanup: Vec<Pattern>,
}

fn rules<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Vec<(Arc<str>, Pattern)> {
    let patterns = patterns.into_iter();
    patterns
        .map(|text| (Arc::from(text), Pattern::new(text)))
        .collect()
}

fn rule_of<'a>(
    rules: impl IntoIterator<Item = &'a (Arc<str>, Pattern)>,
    name: &str,
) -> Option<&'a Arc<str>> {
    let mut rules = rules.into_iter();
    let found = rules.find(|(_, pattern)| pattern.matches(name));
    found.map(|(rule, _)| rule)
}

/// A refusal, with the rule and what it protects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is denied: collection [{collection}] is protected by the rule `{rule}`")]
pub struct Denial {
    /// The action that was asked for, such as `deleting it`.
    pub what: &'static str,
    /// The collection that it would hit.
    pub collection: Arc<str>,
    /// The rule, as it is configured.
    pub rule: Arc<str>,
}

impl Denial {
    fn new(what: &'static str, collection: &Collection, rule: &Arc<str>) -> Self {
        Self {
            what,
            collection: Arc::clone(&collection.name),
            rule: Arc::clone(rule),
        }
    }
}

impl Guard {
    /// A guard of these names and patterns.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            protected: rules(patterns),
            ..Self::default()
        }
    }

    /// The same guard, which also protects collections of these names and patterns, and keeps their
    /// records.
    #[must_use]
    pub fn keeping<'a>(mut self, patterns: impl IntoIterator<Item = &'a str>) -> Self {
        self.kept = rules(patterns);
        self
    }

    /// The same guard, which also protects collections of these names and patterns, keeps their records,
    /// and lets nothing of them be changed: records can be added only.
    #[must_use]
    pub fn freezing<'a>(mut self, patterns: impl IntoIterator<Item = &'a str>) -> Self {
        self.frozen = rules(patterns);
        self
    }

    /// The same guard, which lets a clean-up delete what fits these patterns.
    #[must_use]
    pub fn cleaning<'a>(mut self, patterns: impl IntoIterator<Item = &'a str>) -> Self {
        self.cleanup = patterns.into_iter().map(Pattern::new).collect();
        self
    }

    /// Returns true when a clean-up may delete collections of this name.
    pub fn cleans(&self, name: &str) -> bool {
        self.cleanup.iter().any(|pattern| pattern.matches(name))
    }

    /// The rule that protects a name.
    pub fn rule_for(&self, name: &str) -> Option<&Arc<str>> {
        let all = self.protected.iter().chain(&self.kept).chain(&self.frozen);
        rule_of(all, name)
    }

    fn check(&self, what: &'static str, collection: &Collection) -> Result<(), Denial> {
        deny(what, collection, self.rule_for(&collection.name))
    }

    /// The same for what hits collections that nobody has named: those in the trash were promised
    /// to be there for a while.
    fn check_unnamed(&self, what: &'static str, collection: &Collection) -> Result<(), Denial> {
        if collection.is_in_trash() {
            let rule = "what is in the trash stays until its time is over";
            return Err(Denial::new(what, collection, &rule.into()));
        }
        self.check(what, collection)
    }

    /// Denies deleting a protected collection.
    pub fn delete(&self, collection: &Collection) -> Result<(), Denial> {
        self.check("deleting it", collection)
    }

    /// Denies renaming a protected collection: under another name it would be protected no more.
    pub fn rename(&self, collection: &Collection) -> Result<(), Denial> {
        self.check("renaming it", collection)
    }

    /// Denies making a protected collection unknown.
    pub fn unmap(&self, collection: &Collection) -> Result<(), Denial> {
        self.check("unmapping it", collection)
    }

    /// Denies deleting any records of a collection whose records are kept.
    pub fn delete_records(&self, collection: &Collection) -> Result<(), Denial> {
        let rule = rule_of(self.kept.iter().chain(&self.frozen), &collection.name);
        deny("deleting its records", collection, rule)
    }

    /// Denies changing records of a frozen collection.
    pub fn change_records(&self, collection: &Collection) -> Result<(), Denial> {
        let rule = rule_of(&self.frozen, &collection.name);
        deny("changing its records", collection, rule)
    }

    /// Denies changing the metadata and configuration of a frozen collection.
    pub fn modify(&self, collection: &Collection) -> Result<(), Denial> {
        let rule = rule_of(&self.frozen, &collection.name);
        deny("changing it", collection, rule)
    }

    /// Denies deleting all the records that a protected collection has.
    pub fn empty(&self, collection: &Collection) -> Result<(), Denial> {
        self.check("deleting its last records", collection)
    }

    /// Denies deleting a database when one of its collections is protected or in the trash.
    pub fn delete_database(
        &self,
        catalog: &Catalog,
        tenant: &str,
        database: &str,
    ) -> Result<(), Denial> {
        catalog
            .collections_in(tenant, database)
            .try_for_each(|collection| self.check_unnamed("deleting its database", collection))
    }

    /// Denies deleting everything when a collection is protected or in the trash.
    pub fn reset(&self, catalog: &Catalog) -> Result<(), Denial> {
        catalog
            .collections()
            .try_for_each(|collection| self.check_unnamed("a reset", collection))
    }
}

fn deny(
    what: &'static str,
    collection: &Collection,
    rule: Option<&Arc<str>>,
) -> Result<(), Denial> {
    match rule {
        None => Ok(()),
        Some(rule) => Err(Denial::new(what, collection, rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and patterns protect what they match, case by case, and nothing else.
    #[test]
    fn patterns_match_names_as_they_are_written() {
        let guard = Guard::new(["global", "prod_*"]);
        assert_eq!(guard.rule_for("global").unwrap().as_ref(), "global");
        assert_eq!(guard.rule_for("prod_").unwrap().as_ref(), "prod_*");
        assert_eq!(guard.rule_for("prod_1").unwrap().as_ref(), "prod_*");
        for other in ["Global", "global2", "my_global", "Prod_1", "prod"] {
            assert_eq!(guard.rule_for(other), None, "{other}");
        }
    }
}
