//! The `achromat` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    achromat::cli::main(std::env::args_os())
}
