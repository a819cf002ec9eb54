//! `store`: the store of a proxy that does not run.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command};
use rustix::{fs::Mode, process::umask};
use serde_json::{Value, json};

use super::{remote::or_trouble, runtime};
use crate::{
    config::{DatabaseUrl, StoreUrl},
    store::{ComparedTable, CopyProgress, StorePlace, copy_store},
};

/// Exit code for "they differ", as `diff` and `cmp` use it.
const DIFFERENT: u8 = 1;

/// Interval between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn command() -> Command {
    let store = |name: &'static str, help: &'static str| {
        Arg::new(name).value_name(name).required(true).help(format!(
            "{help}: sqlite:PATH or postgres://USER@HOST/DATABASE"
        ))
    };
    let copy = Command::new("copy")
        .about("Copies a whole store into an empty one, from SQLite to PostgreSQL or back, and compares both")
        .after_help(
            "Stop the proxies of both stores first, and start them with the new store afterwards, with the same instances \
             by the same names. The old store stays as it is: do not serve it again, since the servers go on without it.\n\
             Everything goes over: the log, cursors, collections, keys, letters, plugins, history. The copy is there whole, \
             or not at all: a command that was stopped is run again.\n\
             The password of a database stands in the file that PGPASSFILE names, or in PGPASSWORD.\n\
             Exits 0 when the copy is made and equal, 1 when it is not equal and was given up, 2 when nothing could be copied.",
        )
        .arg(store("FROM", "The store to copy"))
        .arg(store("TO", "The store to copy to, which holds nothing yet; a file is made when it is not there"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Prints the comparison as one JSON object"),
        );
    Command::new("store")
        .about("Copies the store of a proxy that does not run, for example from a file to a database that several proxies share")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(copy)
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    or_trouble(match matches.subcommand() {
        Some(("copy", matches)) => copy(matches),
        _ => Err(anyhow::anyhow!("no such command")),
    })
}

/// A store that lasts.
enum Lasting {
    File(PathBuf),
    Database(DatabaseUrl),
}

impl Lasting {
    /// Reads an argument. It is not read by clap, whose errors would show a password in it.
    fn read(matches: &ArgMatches, name: &str) -> anyhow::Result<Self> {
        let text = matches.get_one::<String>(name);
        match StoreUrl::parse(text.map_or("", String::as_str)) {
            Ok(StoreUrl::Sqlite(path)) => Ok(Self::File(path)),
            Ok(StoreUrl::Postgres(url)) => Ok(Self::Database(url)),
            Ok(StoreUrl::Memory) => {
                bail!(
                    "{name}: memory: keeps nothing; give sqlite:PATH or postgres://USER@HOST/DATABASE"
                )
            }
            Err(message) => bail!("{name}: {message}"),
        }
    }

    fn place(&self) -> StorePlace<'_> {
        match self {
            Self::File(path) => StorePlace::File(path),
            Self::Database(url) => StorePlace::Database(url.reveal()),
        }
    }
}

fn copy(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    // As a proxy does: what is written is for the user who runs this, and for nobody else.
    umask(Mode::RWXG | Mode::RWXO);
    let (from, to) = (
        Lasting::read(matches, "FROM")?,
        Lasting::read(matches, "TO")?,
    );
    let mut reported_at = Instant::now();
    let mut report = |progress: CopyProgress| {
        if reported_at.elapsed() >= REPORT_INTERVAL {
            reported_at = Instant::now();
            eprintln!("{}", line(progress));
        }
    };
    let copied = copy_store(from.place(), to.place(), &mut report);
    let tables = runtime()?.block_on(copied)?;
    let is_equal = tables.iter().all(|table| table.is_equal);
    if matches.get_flag("json") {
        let list: Vec<Value> = tables.iter().map(document).collect();
        out!("{}", json!({ "is_equal": is_equal, "tables": list }));
    } else {
        print(&tables);
    }
    if is_equal {
        eprintln!(
            "The copy is made: start the proxies with it, and do not serve {} again.",
            from.place()
        );
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("achromat: the copy was not equal, and nothing of it is kept: run the command again");
    Ok(ExitCode::from(DIFFERENT))
}

fn line(progress: CopyProgress) -> String {
    let CopyProgress {
        is_comparison,
        table,
        rows,
        of,
    } = progress;
    let verb = if is_comparison { "compares" } else { "copies" };
    format!("{verb} {table}: {rows} of {of} rows")
}

fn document(table: &ComparedTable) -> Value {
    json!({
        "table": table.name,
        "rows": table.rows,
        "copied_rows": table.copied_rows,
        "is_equal": table.is_equal,
    })
}

fn print(tables: &[ComparedTable]) {
    out!("{:<17} {:>10} {:>10}  equal", "table", "rows", "copied");
    for table in tables {
        let is_equal = if table.is_equal { "yes" } else { "NO" };
        let ComparedTable {
            name,
            rows,
            copied_rows,
            ..
        } = table;
        out!("{name:<17} {rows:>10} {copied_rows:>10}  {is_equal}");
    }
}
