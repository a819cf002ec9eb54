//! For authors of policy plugins: a project from a template, its component, and what can be known of
//! it before it decides anything: whether it is fit, what it answers, what it costs.
//!
//! Plugins run here as they run in a proxy, in [`crate::policy`]; nothing here is in a request's way.

mod answers;
mod battery;
mod bench;
mod build;
mod cases;
mod inputs;
mod project;
mod report;
mod sources;
mod subject;
mod templates;
mod trial;

pub use self::{
    bench::bench,
    build::{BuildError, build},
    project::{Language, PROJECT_FILE, Project, ProjectError},
    report::{Finding, Report},
    sources::Sources,
    subject::{Named, Subject, SubjectError},
    templates::{Created, create},
    trial::{Fitness, check, test},
};

use std::path::Path;

/// Bytes of a text that an author writes: a project's file, a case's.
const TEXT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A file's text, unless it has more bytes than anybody means to write.
fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > TEXT_BYTES_MAX {
        let message = format!("it has {bytes} bytes, and may have {TEXT_BYTES_MAX}");
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            message,
        ));
    }
    std::fs::read_to_string(path)
}
