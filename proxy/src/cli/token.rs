//! `achromat token`: clients' tokens, in the file that `access.tokens_file` names.

use std::{path::Path, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{access::TokenFile, clock::wall_time};

/// Seconds of a day.
const DAY_S: u64 = 24 * 60 * 60;

pub(super) fn command() -> Command {
    let file = Arg::new("file")
        .long("file")
        .env("ACHROMAT_ACCESS_TOKENS_FILE")
        .default_value("tokens.toml")
        .help("The file of tokens, access.tokens_file");
    let name = Arg::new("name").required(true).help("The token's name");
    Command::new("token")
        .about("Makes, lists and revokes the tokens of clients; a running Achromat takes changes in within a second")
        .subcommand_required(true)
        .subcommand(
            Command::new("new")
                .about("Makes a token and prints it: it is not kept, only its SHA-256 is")
                .after_help("A grant is `ROLE,ROLE TENANT/DATABASE/COLLECTION`, with `*` and `?` in names. Roles: read, write, collections, operate, policy.\n\n  achromat token new cms --grant 'read,write,collections default_tenant/*/*'")
                .arg(name.clone())
                .arg(
                    Arg::new("grant")
                        .long("grant")
                        .required(true)
                        .action(ArgAction::Append)
                        .help("What the token may do; may stand several times"),
                )
                .arg(
                    Arg::new("days")
                        .long("days")
                        .value_parser(value_parser!(u64).range(1..36_500))
                        .help("After how many days it ends [default: never]"),
                )
                .arg(file.clone()),
        )
        .subcommand(
            Command::new("list")
                .about("Lists names, grants and ends")
                .arg(file.clone()),
        )
        .subcommand(
            Command::new("revoke")
                .about("Takes a token away")
                .arg(name)
                .arg(file),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("new", matches)) => make(matches),
        Some(("revoke", matches)) => {
            TokenFile::read(file(matches))?.revoke(text(matches, "name"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some((_, matches)) => list(matches),
        None => anyhow::bail!("no such command"),
    }
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

fn file(matches: &ArgMatches) -> &Path {
    Path::new(text(matches, "file"))
}

fn make(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let now_s = wall_time().0 / 1000;
    let days = matches.get_one::<u64>("days");
    let grants = matches.get_many::<String>("grant").into_iter().flatten();
    let token = TokenFile::open(file(matches))?.add(
        text(matches, "name"),
        grants.cloned().collect(),
        days.map(|days| now_s + days * DAY_S),
    )?;
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

fn list(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let file = TokenFile::read(file(matches))?;
    // A file that can't be used is said to be so here too.
    file.tokens()?;
    let now_s = wall_time().0 / 1000;
    for token in file.list() {
        let end = match token.expires {
            None => "never ends".to_owned(),
            Some(end) if end <= now_s => "HAS ENDED".to_owned(),
            Some(end) => format!("ends in {} days", (end - now_s).div_ceil(DAY_S)),
        };
        println!("{}  {}  {end}", token.name, token.grants.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}
