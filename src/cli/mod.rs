//! Floor 4: the programs as their users meet them. Arguments, usage, exit codes; no threads, no sockets.

use std::io::{self, Write};
use std::process::ExitCode;

pub mod getopt;
pub mod mergelogs;
pub mod pen;
pub mod penctl;
pub mod penlog;
pub mod penlogd;

/// Prints what was asked for.
fn print(text: &str) -> ExitCode {
    // A closed stdout is not an error.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Says on stderr what is wrong, in a line that begins with the program's name.
fn complain(program: &str, text: &str) {
    // An error of stderr cannot be reported.
    let _ = writeln!(io::stderr(), "{program}: {text}");
}
