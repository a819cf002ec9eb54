//! `achromat-tests achromat …` is Achromat's own command: the tests start it as a process of its
//! own, from the same build. `achromat-tests sim …` runs the simulator.

mod sim;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    match arguments.peek().and_then(|word| word.to_str()) {
        Some("achromat") => achromat::cli::main(arguments),
        Some("sim") => sim::main(arguments),
        _ => {
            eprintln!("usage: achromat-tests achromat … | achromat-tests sim …");
            ExitCode::from(2)
        }
    }
}
