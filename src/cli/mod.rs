//! Floor 4: the programs as their users meet them. Arguments, usage, exit codes; no threads, no sockets.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use self::getopt::CommandLine;
use crate::error::Error;

pub mod getopt;
pub mod lvsmon;
pub mod mergelogs;
pub mod options;
pub mod pen;
pub mod penctl;
pub mod penlog;
pub mod penlogd;

/// A program whose options are those of getopt(3).
struct Program<'a> {
    name: &'a str,
    /// Printed for `--help`, and without arguments.
    usage: &'a str,
    /// The options, as getopt(3) takes them.
    options: &'a str,
    /// Options that are words, besides `--help` and `--version`; those with a colon behind them have a value.
    words: &'a [&'a str],
    /// Options that are others by another name.
    same: &'a [(char, char)],
}

impl Program<'_> {
    /// Runs it: `run` with the command line, unless that asks for a text only. Errors go to stderr, a line for each.
    fn run(&self, run: impl FnOnce(CommandLine) -> Result<ExitCode, Error>) -> ExitCode {
        let Self { name, usage, options, words, same } = self;
        let arguments: Vec<_> = env::args_os().skip(1).collect();
        let bare = arguments.is_empty();
        let words = [*words, &["--help", "--version"]].concat();
        let outcome = getopt::parse(arguments, options, &words, same).map_err(Error::Usage).and_then(|mut line| {
            if bare || line.options.contains("--help") {
                return Ok(print(usage));
            }
            if line.options.contains("--version") {
                return Ok(print(&format!("{name} {}\n", env!("CARGO_PKG_VERSION"))));
            }
            run(line)
        });
        outcome.unwrap_or_else(|error| {
            error.to_string().lines().for_each(|line| complain(name, line));
            ExitCode::FAILURE
        })
    }
}

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
