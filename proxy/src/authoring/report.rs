//! Findings for people: one line each, and a failure with what was expected.

use std::fmt;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// True for a check that passed.
    pub is_good: bool,
    /// The thing that was checked, and the result.
    pub what: String,
    /// More about it, line by line.
    pub details: Vec<String>,
}

impl Finding {
    /// A check that passed.
    pub(super) fn good(what: impl Into<String>) -> Self {
        Self {
            is_good: true,
            what: what.into(),
            details: Vec::new(),
        }
    }

    /// The same, with more about it.
    pub(super) fn and(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// A check that failed.
    pub(super) fn bad(what: impl Into<String>, details: impl IntoIterator<Item = String>) -> Self {
        Self {
            is_good: false,
            what: what.into(),
            details: details.into_iter().collect(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_good { "ok  " } else { "FAIL" };
        write!(f, "  {word}  {}", self.what)?;
        let mut details = self.details.iter();
        details.try_for_each(|line| write!(f, "\n          {line}"))
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The author's cases.
    pub cases: Vec<Finding>,
    /// Checks that every plugin of the slot must pass.
    pub conformance: Vec<Finding>,
}

impl Report {
    /// Returns true when nothing has failed.
    pub fn is_good(&self) -> bool {
        self.failures() == 0
    }

    /// The number of findings, and of bad ones among them, in words.
    pub fn summary(&self) -> String {
        let looked_at = self.cases.len() + self.conformance.len();
        match self.failures() {
            0 => format!("{looked_at} looked at, all good"),
            failures => format!("{looked_at} looked at, {failures} FAILED"),
        }
    }

    /// The cases in which the plugin logged or counted something, or that failed.
    pub fn told(&self) -> impl Iterator<Item = &Finding> {
        self.cases.iter().filter(|case| !case.details.is_empty())
    }

    fn failures(&self) -> usize {
        let all = self.cases.iter().chain(&self.conformance);
        all.filter(|finding| !finding.is_good).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cases")?;
        if self.cases.is_empty() {
            writeln!(
                f,
                "  none: put some into cases/, plugins/README.md says how"
            )?;
        }
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        writeln!(f, "conformance")?;
        for finding in &self.conformance {
            writeln!(f, "{finding}")?;
        }
        f.write_str(&self.summary())
    }
}
