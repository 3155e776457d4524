//! The `lvsmon` program: its command line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Program;
use super::getopt::CommandLine;
use crate::daemon::lvsmon::{self, End, Options};
use crate::error::Error;
use crate::policy::check::roster::Pace;
use crate::policy::lvsmon::conf::time;
use crate::sys::privileges::Account;

/// The options, all of which are words.
const WORDS: [&str; 9] =
    ["--chroot:", "--exec:", "--file:", "--foreground", "--interval:", "--json", "--once", "--pid-file:", "--user:"];

const USAGE: &str = "\
usage: lvsmon --file file [options]

Checks services, and tells when one of them goes down or comes back, and why: in syslog, or with
--foreground on the standard output.

  --chroot dir  change the root directory to this one
  --exec prog   run this program at each change, with name, address, state before, state now, reason and
                failures as its arguments
  --file file   the services, see lvsmon.conf(5); HUP reads it again
  --foreground  stay in the foreground
  --interval N  seconds between two checks of a service [10]
  --json        print lines as JSON
  --once        check each service once, print the states and exit: 0 if all are up, else 2
  --pid-file f  write the process id to this file
  --user user   run as this user, by name or uid[:gid]
  --help        print this text
  --version     print the version

example: lvsmon --file /etc/lvsmon.conf --interval 10
";

/// The exit status where each service was checked once, and not all are up.
const SOME_DOWN: u8 = 2;

/// Runs the program.
pub fn main() -> ExitCode {
    lvsmon::begin();
    let program = Program { name: "lvsmon", usage: USAGE, options: "", words: &WORDS, same: &[] };
    let status = program.run(|line| {
        lvsmon::run(configure(line)?).map(|end| match end {
            End::Well => ExitCode::SUCCESS,
            End::SomeDown => ExitCode::from(SOME_DOWN),
        })
    });
    if status == ExitCode::FAILURE {
        lvsmon::pause();
    }
    status
}

fn configure(mut line: CommandLine) -> Result<Options, Error> {
    let usage = Error::Usage;
    let text = |text: &str| Ok(text.to_string());
    let path = |text: &str| Ok(PathBuf::from(text));
    if let Some(operand) = line.operands.first() {
        return Err(usage(format!("nothing is expected from \"{operand}\" on")));
    }
    let exec = |text: &str| {
        let is_full = text.starts_with('/');
        if is_full {
            Ok(text.to_string())
        } else {
            Err(format!("--exec: \"{text}\" is not the full path of a program"))
        }
    };
    let default = Pace::default();
    let interval = line.value("--interval", |text| time("--interval", text)).map_err(usage)?;
    let file = line.value("--file", path).map_err(usage)?;
    let options = Options {
        file: file.ok_or_else(|| usage(String::from("--file is missing")))?,
        pace: Pace { interval: interval.unwrap_or(default.interval), ..default },
        once: line.count("--once") > 0,
        json: line.count("--json") > 0,
        exec: line.value("--exec", exec).map_err(usage)?,
        foreground: line.count("--foreground") > 0,
        jail: line.value("--chroot", path).map_err(usage)?,
        pidfile: line.value("--pid-file", path).map_err(usage)?,
        user: line.value("--user", text).map_err(usage)?.map(|user| Account::find(&user)).transpose()?,
        print,
    };
    if options.pidfile.as_ref() == Some(&options.file) {
        return Err(usage(String::from("--pid-file and --file name the same file")));
    }
    Ok(options)
}

/// Prints whole lines at once.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
