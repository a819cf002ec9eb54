//! A flag for every key of the configuration, made from the same list as the file's keys.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{Config, Key, KeyKind, Layers, Override, keys};

/// Adds `--config` and a flag for every key.
pub(super) fn with_keys(command: Command) -> Command {
    let command = command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The configuration file, in TOML [env: ACHROMAT_CONFIG]"),
        )
        .after_help(
            "A flag wins over the environment, the environment over the file, the file over the defaults.\n\
             `achromat config --defaults` prints every key with its default.",
        );
    keys()
        .iter()
        .fold(command, |command, key| command.arg(flag(key)))
}

fn flag(key: &Key) -> Arg {
    let shown = match &key.default {
        Some(default) if key.kind != KeyKind::Instances => format!(" [default: {default}]"),
        _ => String::new(),
    };
    let help = format!("{}{shown} [env: {}]", key.about, key.variable());
    let (value, action) = match key.kind {
        KeyKind::Instances => ("NAME=URL", ArgAction::Append),
        KeyKind::Texts => ("A,B,…", ArgAction::Append),
        KeyKind::Number => ("NUMBER", ArgAction::Set),
        KeyKind::Truth => ("true|false", ArgAction::Set),
        KeyKind::Text => ("VALUE", ArgAction::Set),
    };
    Arg::new(key.name())
        .long(key.flag())
        .value_name(value)
        .action(action)
        .allow_hyphen_values(true)
        .help(help)
}

/// The configuration that file, environment and flags make together.
pub(super) fn config(matches: &ArgMatches) -> anyhow::Result<Config> {
    let from_environment = || std::env::var_os("ACHROMAT_CONFIG").map(PathBuf::from);
    let file = matches
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(from_environment);
    let mut overrides = Layers::variables(std::env::vars_os())?;
    for key in keys() {
        if let Some(values) = matches.get_many::<String>(&key.name()) {
            overrides.push(Override {
                origin: format!("--{}", key.flag()),
                values: values.cloned().collect(),
                key,
            });
        }
    }
    Ok(Layers { file, overrides }.resolve()?)
}
