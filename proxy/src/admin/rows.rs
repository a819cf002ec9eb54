//! The calls about Achromat itself, a row for each: method, path, who may make it, and its meaning.
//!
//! A new call is a row here and an arm of `Admin::call`; nothing has a meaning that it was not given.

use achromat_core::{access::Role, route::Target};
use http::{HeaderMap, Method};

use super::{Call, Part, history, mappings::Page, plugins::Deed, query::tenant_asked, wants_json};

/// The callers that a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Everybody: load balancers ask it, and the answer tells nothing of clients.
    Everybody,
    /// Everybody, unless there are tokens: then holders of the role.
    Readers,
    /// Holders of the role, also without tokens: the answer tells of clients.
    Confidants,
    /// Holders of the role: it changes something.
    Changers,
}

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Row {
    method: Verb,
    path: &'static str,
    /// The callers that it is for.
    pub(super) access: For,
    /// The role that it is for.
    pub(super) role: Role,
    /// False when its body may hold secrets, such as a plugin's configuration: the audit keeps nothing of it.
    pub(super) body_is_audited: bool,
    /// Its meaning.
    pub(super) call: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Delete,
}

/// The variable parts of a request.
pub(super) struct Asked<'a, 't> {
    target: &'a Target<'t>,
    headers: &'a HeaderMap,
    parts: Vec<&'a str>,
}

/// A request that no row takes.
pub(super) enum NoRow {
    /// No row has this path.
    Path,
    /// The rows of this path take other methods: these.
    Method(String),
}

impl<'a> Asked<'a, '_> {
    /// A variable part of the path.
    fn part(&self, at: usize) -> &'a str {
        self.parts.get(at).copied().unwrap_or_default()
    }
}

const fn row(method: Verb, path: &'static str, access: For, call: Meaning) -> Row {
    Row {
        method,
        path,
        access,
        role: Role::Operate,
        body_is_audited: true,
        call,
    }
}

type Meaning = for<'a, 't> fn(&Asked<'a, 't>) -> Call<'a>;

const fn open(path: &'static str, call: Meaning) -> Row {
    row(Verb::Get, path, For::Everybody, call)
}

const fn read(path: &'static str, call: Meaning) -> Row {
    row(Verb::Get, path, For::Readers, call)
}

const fn confide(path: &'static str, call: Meaning) -> Row {
    row(Verb::Get, path, For::Confidants, call)
}

const fn change(path: &'static str, call: Meaning) -> Row {
    row(Verb::Post, path, For::Changers, call)
}

const fn delete(path: &'static str, call: Meaning) -> Row {
    row(Verb::Delete, path, For::Changers, call)
}

/// The same for those who look after plugins.
const fn of_policy(row: Row) -> Row {
    Row {
        role: Role::Policy,
        body_is_audited: false,
        ..row
    }
}

/// All calls. `{}` stands for any one part of a path, `{*}` for all that are left.
const ROWS: &[Row] = &[
    open("livez", |_| Call::Live),
    open("readyz", |_| Call::State(Part::Ready)),
    open("health", |_| Call::State(Part::Health)),
    read("status", |_| Call::State(Part::Status)),
    read("metrics", |asked| {
        if wants_json(asked.headers) {
            Call::Performance
        } else {
            Call::State(Part::Metrics)
        }
    }),
    read("wal/status", |_| Call::State(Part::Log)),
    read("collection/mappings", |asked| {
        Call::Mappings(Page::asked(asked.target))
    }),
    delete("collection/mappings/{}", |asked| Call::Unmap(asked.part(0))),
    // A slash in a key stands as it is: encoded ones are refused everywhere.
    read("transactions/{*}", |asked| {
        Call::Transaction(asked.parts.join("/"), tenant_asked(asked.target))
    }),
    read("admin/collection_mappings", |asked| {
        Call::Mappings(Page::asked(asked.target))
    }),
    change("admin/create_mapping", |_| Call::Map),
    confide("admin/writes", |asked| {
        Call::Writes(history::writes_asked(asked.target))
    }),
    confide("admin/audit", |asked| {
        Call::Audit(history::audit_asked(asked.target))
    }),
    read("admin/instances", |_| Call::State(Part::Instances)),
    change("admin/instances/{}/health", |asked| {
        Call::ForceHealth(asked.part(0))
    }),
    read("admin/wal_errors", |_| Call::State(Part::LogErrors)),
    change("admin/clear_wal_errors", |_| Call::ClearLogErrors),
    read("admin/wal_count", |_| Call::State(Part::LogCount)),
    read("admin/transaction_safety_status", |_| {
        Call::State(Part::TransactionSafety)
    }),
    read("admin/scalability_status", |_| {
        Call::State(Part::Scalability)
    }),
    read("admin/fleet", |_| Call::Fleet),
    change("admin/fleet/hand-over", |_| Call::HandOver),
    change("admin/fleet/accept-database", |_| Call::AcceptDatabase),
    read("admin/jobs", |_| Call::State(Part::Jobs)),
    change("admin/verify", |_| Call::Verify),
    change("admin/repair", |_| Call::Repair),
    change("admin/cleanup", |_| Call::Cleanup),
    read("admin/trash", |_| Call::Trash),
    delete("admin/trash/{}", |asked| Call::DeleteTrash(asked.part(0))),
    change("admin/trash/{}/restore", |asked| {
        Call::RestoreTrash(asked.part(0))
    }),
    read("admin/letters", |_| Call::Letters),
    delete("admin/letters/{}", |asked| {
        Call::DismissLetter(asked.part(0))
    }),
    change("admin/letters/{}/retry", |asked| {
        Call::RetryLetter(asked.part(0))
    }),
    of_policy(read("admin/plugins", |_| Call::Plugins(None))),
    of_policy(read("admin/plugins/{}", |asked| {
        Call::Plugins(Some(asked.part(0)))
    })),
    of_policy(confide("admin/plugins/{}/diffs", |asked| {
        Call::PluginDifferences(asked.part(0))
    })),
    of_policy(confide("admin/plugins/{}/decisions", |asked| {
        Call::PluginDecisions(asked.part(0))
    })),
    of_policy(change("admin/plugins/{}/versions", |asked| {
        Call::ChangePlugins(Deed::Push, asked.part(0))
    })),
    of_policy(change("admin/plugins/{}/swap", |asked| {
        Call::ChangePlugins(Deed::Swap, asked.part(0))
    })),
    of_policy(change("admin/plugins/{}/rollback", |asked| {
        Call::ChangePlugins(Deed::RollBack, asked.part(0))
    })),
    of_policy(change("admin/plugins/{}/shadow", |asked| {
        Call::ChangePlugins(Deed::Shadow, asked.part(0))
    })),
    of_policy(change("admin/plugins/{}/canary", |asked| {
        Call::ChangePlugins(Deed::Canary, asked.part(0))
    })),
    of_policy(delete("admin/plugins/{}/trial", |asked| {
        Call::ChangePlugins(Deed::EndTrial, asked.part(0))
    })),
];

impl Row {
    /// Returns true for a call that changes something.
    pub(super) fn changes(&self) -> bool {
        self.access == For::Changers
    }

    fn allow(&self) -> &'static str {
        match self.method {
            Verb::Get => "GET,HEAD",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.allow().split(',').any(|taken| method == taken)
    }

    /// The variable parts of a path, when it is this row's.
    fn parts<'a>(&self, segments: &'a [impl AsRef<str>]) -> Option<Vec<&'a str>> {
        let mut left = segments.iter().map(AsRef::as_ref);
        let mut parts = Vec::new();
        for expected in self.path.split('/') {
            match expected {
                "{*}" => {
                    parts.extend(left.by_ref());
                    break;
                }
                "{}" => parts.push(left.next()?),
                literal => (left.next()? == literal).then_some(())?,
            }
        }
        left.next().is_none().then_some(parts)
    }
}

/// The row of a request, with the request's variable parts.
pub(super) fn find<'a, 't>(
    method: &Method,
    target: &'a Target<'t>,
    headers: &'a HeaderMap,
) -> Result<(&'static Row, Asked<'a, 't>), NoRow> {
    let mut allowed = Vec::new();
    for row in ROWS {
        let Some(parts) = row.parts(&target.segments) else {
            continue;
        };
        if row.takes(method) {
            let asked = Asked {
                target,
                headers,
                parts,
            };
            return Ok((row, asked));
        }
        allowed.push(row.allow());
    }
    Err(if allowed.is_empty() {
        NoRow::Path
    } else {
        NoRow::Method(allowed.join(","))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &Method, path: &str) -> Result<(&'static str, Vec<String>), String> {
        let target = Target::parse(path.as_bytes()).expect("a target");
        let headers = HeaderMap::new();
        match find(method, &target, &headers) {
            Ok((row, asked)) => {
                let parts = asked.parts.iter().map(|part| (*part).to_owned());
                Ok((row.path, parts.collect()))
            }
            Err(NoRow::Path) => Err("none".to_owned()),
            Err(NoRow::Method(allowed)) => Err(allowed),
        }
    }

    /// Only a call that reads is asked with GET, and only one that changes something with another method.
    #[test]
    fn what_changes_something_is_no_get() {
        for row in ROWS {
            assert_eq!(row.method == Verb::Get, !row.changes(), "{}", row.path);
        }
    }

    /// No path and method has two rows, nor does a row stand where another takes its requests.
    #[test]
    fn each_row_is_reached() {
        for row in ROWS {
            let path = format!("/{}", row.path.replace("{*}", "x/y").replace("{}", "x"));
            let method: Method = row
                .allow()
                .split(',')
                .next()
                .expect("one")
                .parse()
                .expect("one");
            let (reached, _) = found(&method, &path).expect("a row");
            assert_eq!(reached, row.path);
        }
    }

    #[test]
    fn paths_have_parts() {
        let post = &Method::POST;
        assert_eq!(
            found(post, "/admin/letters/7/retry"),
            Ok(("admin/letters/{}/retry", vec!["7".to_owned()]))
        );
        assert_eq!(
            found(&Method::GET, "/transactions/a/b"),
            Ok(("transactions/{*}", vec!["a".to_owned(), "b".to_owned()]))
        );
        assert_eq!(
            found(&Method::GET, "/admin/letters/7/retry"),
            Err("POST".to_owned())
        );
        assert_eq!(found(post, "/status"), Err("GET,HEAD".to_owned()));
        for path in ["/", "/admin", "/status/x", "/admin/letters/7/retry/x"] {
            assert_eq!(found(post, path), Err("none".to_owned()), "{path}");
        }
    }
}
