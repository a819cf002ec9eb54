//! `achromat plugin dev`.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{ArgMatches, Command};

use super::{
    subject::{folder, own_config, plugins, with_project},
    versions::{Label, push_to, tell, text, who_argument},
};
use crate::{
    authoring::{self, Named, Project, Sources, Subject, build},
    cli::{
        remote::{Remote, with_address},
        runtime,
    },
    dev::{self, toolbox::Toolbox},
    policy::Plugins,
};

pub(super) fn command() -> Command {
    let command = Command::new("dev")
        .about("Builds, tests and puts a project's plugin into service, again whenever a file of it changes")
        .after_help("What does not build, or fails its tests, changes nothing in the Achromat that runs. Ctrl-C ends it; the last version goes on to decide until `achromat plugin rollback`.");
    with_address(with_project(command))
        .arg(own_config())
        .arg(who_argument())
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = folder(matches);
    let project = Project::open(&folder)?;
    let round = Round {
        folder: &folder,
        config: text(matches, "config"),
        who: text(matches, "who"),
        remote: Remote::new(matches),
        plugins: plugins()?,
        toolbox: Toolbox::at(
            dev::default_state()
                .context("there is no home folder; set ACHROMAT_STATE")?
                .join("tools"),
        ),
    };
    out!(
        "{}: a change of a file in {} puts it into service",
        project.name,
        folder.display()
    );
    let mut sources = Sources::of(&folder);
    loop {
        if let Err(error) = round.go() {
            out!("{error:#}\nNothing was changed; a change of a file tries again.");
        }
        let changed = sources.wait();
        let first = changed.first().map(|path| path.display().to_string());
        out!("\n{} changed", first.unwrap_or_default());
    }
}

/// One round of build, test and push, at the start and at each change.
struct Round<'a> {
    folder: &'a Path,
    config: Option<&'a str>,
    who: Option<&'a str>,
    remote: Remote,
    plugins: Plugins,
    toolbox: Toolbox,
}

impl Round<'_> {
    fn go(&self) -> anyhow::Result<()> {
        let project = Project::open(self.folder)?;
        runtime()?.block_on(build(&project, &self.toolbox))?;
        let subject = Subject::find(&Named {
            file: None,
            folder: self.folder.to_owned(),
            config: self.config.map(str::to_owned),
        })?;
        let report = authoring::test(&self.plugins, &subject)?;
        if !report.is_good() {
            bail!("{report}");
        }
        report.told().for_each(|case| out!("{case}"));
        out!("{}", report.summary());
        let label = Label {
            name: Some(&project.name),
            config: &subject.source.config,
            swaps: true,
            who: self.who,
            ..Label::default()
        };
        let slot = project.slot.as_str();
        tell(&push_to(&self.remote, slot, &label, &subject.source.bytes)?);
        Ok(())
    }
}
