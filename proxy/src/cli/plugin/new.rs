//! `achromat plugin new`.

use std::{path::PathBuf, process::ExitCode};

use achromat_core::policy::Slot;
use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::authoring::{Created, Language, Project, create};

pub(super) fn command() -> Command {
    Command::new("new")
        .about("Makes a project for a plugin, from a template")
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .required(true)
                .help("The plugin's name: small letters, digits and -"),
        )
        .arg(
            Arg::new("slot")
                .long("slot")
                .required(true)
                .value_parser(Slot::ALL.map(Slot::as_str))
                .help("What it decides about"),
        )
        .arg(
            Arg::new("lang")
                .long("lang")
                .required(true)
                .value_parser(Language::ALL.map(|(word, _)| word))
                .help("What it is written in"),
        )
        .arg(
            Arg::new("folder")
                .long("folder")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .help("Where the project is made [default: NAME]"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let word = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let name = word("name");
    let mut slots = Slot::ALL.into_iter();
    let slot = slots.find(|slot| slot.as_str() == word("slot"));
    let mut languages = Language::ALL.into_iter();
    let language = languages.find(|(known, _)| *known == word("lang"));
    let folder = matches.get_one::<PathBuf>("folder").cloned();
    let folder = folder.unwrap_or_else(|| name.into());
    let (_, language) = language.context("clap knows the languages")?;
    let slot = slot.context("clap knows the slots")?;
    let made = create(name, slot, language, &folder)?;
    tell(&made, &Project::open(&folder)?);
    Ok(ExitCode::SUCCESS)
}

fn tell(made: &Created, project: &Project) {
    let (name, config) = (&project.name, &project.config);
    let section = project.slot.section();
    out!(
        "{name} is made, in {}, for the slot {}.\n\n\
         \x20 cd {}\n\
         \x20 achromat plugin build     # makes {name}.wasm; needs {}\n\
         \x20 achromat plugin test      # asks it its cases, and what every plugin must stand\n\
         \x20 achromat plugin bench     # what a decision costs\n\
         \x20 achromat plugin dev       # all of it at each change, into an Achromat that runs\n\
         \x20 achromat serve … --policy-{section}-plugin {name}.wasm --policy-{section}-config '{config}'\n\n\
         Decisions are made in {}; wit/ says what a plugin sees and may answer.",
        made.title,
        project.slot.as_str(),
        made.folder.display(),
        made.needs,
        made.edit,
    );
}
