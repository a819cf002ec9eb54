//! The migrations of both stores: they apply, keep what is there, and have the same numbers with the
//! same meaning.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use achromat_tests::{postgres::Postgres, tools};

/// Tables and their columns; `true` for a column that may not be null.
type Tables = BTreeMap<String, BTreeMap<String, bool>>;

/// The migrations of one store, in order.
fn migrations(store: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the project");
    let folder = root.join("migrations").join(store);
    let files = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 4, "the migrations are there");
    files
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("text")
}

/// What reads tables and columns out of SQLite once the migrations were applied.
const SQLITE: &str = "
import sqlite3, sys
base = sqlite3.connect(':memory:')
for path in sys.argv[1:]:
    base.executescript(open(path, encoding='utf-8').read())
names = base.execute(\"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'\")
for (table,) in names.fetchall():
    for _, column, _, required, _, key in base.execute(f'PRAGMA table_info({table})'):
        print(table, column, int(bool(required or key)), sep='|')
";

const POSTGRES: &str = "
SELECT table_name, column_name, (is_nullable = 'NO')::integer
FROM information_schema.columns WHERE table_schema = 'public'
";

fn tables(rows: &str) -> Tables {
    let mut tables = Tables::new();
    for row in rows.lines() {
        let columns: Vec<&str> = row.split('|').collect();
        let [table, column, required] = columns[..] else {
            panic!("{row} is no row");
        };
        let columns = tables.entry(table.to_owned()).or_default();
        columns.insert(column.to_owned(), required == "1");
    }
    tables
}

fn sqlite_tables() -> Tables {
    let output = Command::new(tools::python().join("bin/python"))
        .args(["-c", SQLITE])
        .args(migrations("sqlite"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{output:?}");
    tables(&String::from_utf8(output.stdout).expect("text"))
}

/// Each migration has the same number and name in both folders.
#[test]
fn both_stores_have_the_same_migrations() {
    let names = |store| {
        let all = migrations(store).into_iter();
        let names = all.map(|path| path.file_name().expect("a name").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

/// On a real PostgreSQL they apply one after the other, keep the rows that are there, and make the
/// same tables and columns as on SQLite.
#[test]
fn the_migrations_apply_to_postgres() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    for path in migrations("postgres") {
        if path.ends_with("0004_tokens.sql") {
            let row = "INSERT INTO instances (instance) VALUES ('a')";
            server.run(row).expect("a row of the older form");
        }
        if let Err(error) = server.run(&text(&path)) {
            panic!("{}: {error}", path.display());
        }
    }
    let token = server.run("SELECT token FROM instances WHERE instance = 'a'");
    assert_eq!(token.as_deref(), Ok("0\n"));
    let refused = server.run("INSERT INTO instances (instance, token) VALUES ('b', NULL)");
    assert!(refused.is_err(), "a token is never none");
    let made = tables(&server.run(POSTGRES).expect("its columns"));
    let mut expected = sqlite_tables();
    // PostgreSQL keeps large bodies aside by itself.
    expected.remove("parts");
    for table in ["entries", "letters"] {
        let columns = expected.get_mut(table).expect("a table");
        columns.remove("parts").expect("a column");
    }
    assert_eq!(made, expected);
}
