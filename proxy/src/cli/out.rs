//! Lines for whoever runs a command.

use std::{fmt, io::Write as _};

/// Prints a line. When nobody reads any more (`… | head -1`), the command has done its part and ends.
pub(super) fn print(line: fmt::Arguments<'_>) {
    let printed = writeln!(std::io::stdout(), "{line}");
    if printed.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Prints a line, as `println!` does, and ends the command when nobody reads any more.
macro_rules! out {
    ($($part:tt)*) => {
        $crate::cli::out::print(format_args!($($part)*))
    };
}
