//! Floor 4: the programs as their users meet them. Arguments, usage, exit codes; no threads, no sockets.

use std::io::{self, Write};
use std::process::ExitCode;

pub mod getopt;
pub mod pen;
pub mod penctl;

/// Prints what was asked for.
fn print(text: &str) -> ExitCode {
    // Whoever closed stdout does not want to read it.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Says on stderr what is wrong, in a line that begins with the program's name.
fn complain(program: &str, text: &str) {
    // There is no other place to complain at.
    let _ = writeln!(io::stderr(), "{program}: {text}");
}
