//! The tables that a copy carries over, and those that it leaves out, each with its reason.
//!
//! A test compares both lists with what the databases have: a migration that adds a table or a column is not
//! forgotten here.

use std::fmt::Write as _;

/// A table that both engines have.
#[derive(Debug)]
pub(in crate::store) struct Table {
    pub(in crate::store) name: &'static str,
    pub(in crate::store) columns: &'static [(&'static str, Kind)],
}

/// The kind of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Number,
    /// A number that the database itself gives out to new rows.
    Counter,
    Text,
    Bytes,
    /// A UUID: of a type of its own in PostgreSQL, 16 bytes in SQLite.
    Id,
    /// The body of the entry that the named column names. SQLite keeps a large one in parts beside the row.
    Body(&'static str),
}

use Kind::{Body, Bytes, Counter, Id, Number, Text};

/// Every table that is carried over. Rows of a later one may refer to those of an earlier one; and the triggers
/// of `collections` and `copies` make rows of `collection_times`, which are replaced.
pub(in crate::store) const TABLES: &[Table] = &[
    Table {
        name: "lanes",
        columns: &[("lane", Id), ("head", Number), ("trimmed", Number)],
    },
    Table {
        name: "entries",
        columns: &[
            ("number", Counter),
            ("lane", Id),
            ("position", Number),
            ("entry", Id),
            ("epoch", Number),
            ("logged_at_ms", Number),
            ("verb", Text),
            ("content_type", Text),
            ("verdict", Text),
            ("reason", Text),
            ("body", Body("entry")),
        ],
    },
    Table {
        name: "letters",
        columns: &[
            ("number", Counter),
            ("letter", Id),
            ("lane", Id),
            ("position", Number),
            ("logged_at_ms", Number),
            ("verb", Text),
            ("content_type", Text),
            ("reason", Text),
            ("body", Body("letter")),
        ],
    },
    Table {
        name: "cursors",
        columns: &[
            ("lane", Id),
            ("instance", Text),
            ("position", Number),
            ("epoch", Number),
        ],
    },
    Table {
        name: "keys",
        columns: &[
            ("key", Text),
            ("fingerprint", Bytes),
            ("lane", Id),
            ("position", Number),
            ("logged_at_ms", Number),
            ("state", Text),
            ("status", Number),
            ("content_type", Text),
            ("body", Bytes),
        ],
    },
    Table {
        name: "instances",
        columns: &[
            ("instance", Text),
            ("marker", Id),
            ("quarantine", Text),
            ("token", Number),
        ],
    },
    Table {
        name: "tenants",
        columns: &[("tenant", Text)],
    },
    Table {
        name: "databases",
        columns: &[("tenant", Text), ("name", Text), ("database", Id)],
    },
    Table {
        name: "collections",
        columns: &[
            ("collection", Id),
            ("tenant", Text),
            ("database", Text),
            ("name", Text),
            ("made_at", Number),
            ("gone_at", Number),
            ("home", Text),
        ],
    },
    Table {
        name: "copies",
        columns: &[
            ("collection", Id),
            ("instance", Text),
            ("instance_id", Id),
            ("quarantine", Text),
            ("distrust", Text),
            ("unsure", Text),
        ],
    },
    Table {
        name: "collection_times",
        columns: &[
            ("collection", Id),
            ("created_at_ms", Number),
            ("updated_at_ms", Number),
        ],
    },
    Table {
        name: "components",
        columns: &[("digest", Bytes), ("bytes", Bytes)],
    },
    Table {
        name: "versions",
        columns: &[
            ("version", Number),
            ("slot", Text),
            ("name", Text),
            ("digest", Bytes),
            ("config", Text),
            ("origin", Text),
            ("made_at_ms", Number),
            ("who", Text),
            ("signature", Text),
        ],
    },
    Table {
        name: "swaps",
        columns: &[
            ("seq", Number),
            ("slot", Text),
            ("decider", Text),
            ("version", Number),
            ("before", Number),
            ("swapped_at_ms", Number),
            ("who", Text),
            ("why", Text),
            ("taken_out", Number),
        ],
    },
    Table {
        name: "said",
        columns: &[("slot", Text), ("origin", Text), ("words", Text)],
    },
    Table {
        name: "recent_writes",
        columns: &[
            ("number", Counter),
            ("begun_at_ms", Number),
            ("took_ms", Number),
            ("who", Text),
            ("client", Text),
            ("action", Text),
            ("tenant", Text),
            ("database", Text),
            ("collection", Text),
            ("status", Number),
            ("key", Text),
        ],
    },
    Table {
        name: "audit",
        columns: &[
            ("number", Counter),
            ("at_ms", Number),
            ("kind", Text),
            ("who", Text),
            ("client", Text),
            ("what", Text),
            ("status", Number),
            ("detail", Text),
        ],
    },
];

/// Every table that is not carried over row by row, with the reason.
#[cfg(test)]
pub(in crate::store) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "meta",
        "its epoch is raised, and never set back; the fence is about groups of writes that are on their way to this very database",
    ),
    ("lease", "it says who owns this very database"),
    ("age", "it counts what was committed to this very database"),
    (
        "fleet",
        "the secret of the proxies that share this very database",
    ),
    ("proxies", "the proxies that are there now"),
    (
        "parts",
        "SQLite's way to keep a large body, which is carried over with its row",
    ),
    (
        "_sqlx_migrations",
        "the migrations that this very database has seen",
    ),
];

impl Table {
    /// The statement that reads all rows, with each column as an engine can read it.
    pub(in crate::store) fn select(&self, column: impl Fn(&str, Kind) -> String) -> String {
        let columns = self.columns.iter();
        let columns: Vec<_> = columns.map(|(name, kind)| column(name, *kind)).collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.name)
    }

    /// The names of the columns, for a statement that writes them.
    pub(in crate::store) fn column_names(&self) -> String {
        let mut names = String::new();
        for (name, _) in self.columns {
            let separator = if names.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _infallible = write!(names, "{separator}\"{name}\"");
        }
        names
    }

    /// The column of numbers that the database gives out, if there is one.
    pub(in crate::store) fn counter(&self) -> Option<&'static str> {
        let mut columns = self.columns.iter();
        columns
            .find(|(_, kind)| *kind == Counter)
            .map(|(name, _)| *name)
    }
}
