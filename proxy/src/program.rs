//! This program, to be started again as a process of its own.

use std::{ffi::OsString, path::PathBuf, process::Command, sync::OnceLock};

/// The arguments that stand before a command of Achromat's: none for `achromat` itself.
static PREFIX: OnceLock<Vec<OsString>> = OnceLock::new();

/// Remembers how the program was started: `prefix` are the arguments before its own ones.
pub(crate) fn remember(prefix: Vec<OsString>) {
    let _first = PREFIX.set(prefix);
}

/// True when this process can start its program again.
pub(crate) fn is_known() -> bool {
    PREFIX.get().is_some()
}

/// A command of this program, without any environment. There is none in a program that only uses Achromat's
/// library.
pub(crate) fn again(arguments: &[OsString]) -> Option<Command> {
    let prefix = PREFIX.get()?;
    let mut command = Command::new(path()?);
    command.args(prefix).args(arguments).env_clear();
    Some(command)
}

/// The running program, also after its file was replaced.
fn path() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return Some(running);
    }
    std::env::current_exe().ok()
}
