//! The `penctl` program: sends commands to a running pen and prints the replies.

use std::env;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use super::complain;
use super::print;
use crate::endpoint::{Address, Endpoint};
use crate::error::reason;
use crate::net::control::Verdict;
use crate::net::control::ask::{Limits, ask, follow};
use crate::net::resolve::Names;
use crate::policy::command::words::seconds;

const NAME: &str = "penctl";

const USAGE: &str = "\
usage: penctl [options] host:port|/path/to/socket command...
       penctl [options] host:port|/path/to/socket [-]

Sends the command to the control port of a pen (pen -C) and prints the reply. Without a command, or
with -, it reads commands from standard input, one on each line. `penctl host:port help` lists them.

  --help        print this text
  --timeout SECONDS  how long a command and its reply may take [30]
  --version     print the version

Exit status: 0 the command was carried out, 1 there is no complete reply, 2 pen refused the command.
";

/// The exit status if pen has refused a command.
const REFUSED: u8 = 2;

/// How long a command may take by default. pen itself may need some seconds for it, for a name that cannot be looked up.
const TIME: Duration = Duration::from_secs(30);

/// The longest reply, in bytes. `recent json` has about 150 bytes for each client, and pen remembers 10 million clients at most.
const LARGEST: u64 = 4 << 30;

/// Runs the program.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            complain(NAME, &error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .map(|argument| argument.into_string().map_err(|raw| format!("argument {raw:?} is not valid UTF-8")))
        .collect::<Result<_, _>>()?;
    // Options end at the first operand: what follows belongs to the command.
    let mut operands = arguments.as_slice();
    let mut limits = Limits { time: TIME, bytes: LARGEST };
    while let Some((option, rest)) = operands.split_first().filter(|(first, _)| first.starts_with("--")) {
        operands = rest;
        match option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value))) {
            ("--help", None) => return Ok(print(USAGE)),
            ("--version", None) => return Ok(print(concat!("penctl ", env!("CARGO_PKG_VERSION"), "\n"))),
            ("--timeout", Some(value)) => limits.time = seconds("--timeout", value, 1)?,
            ("--timeout", None) => {
                let (value, rest) = rest.split_first().ok_or("option '--timeout' requires an argument")?;
                operands = rest;
                limits.time = seconds("--timeout", value, 1)?;
            }
            _ => return Err(format!("unrecognized option '{option}'")),
        }
    }
    let Some((address, words)) = operands.split_first() else { return Ok(print(USAGE)) };
    if words.iter().any(|word| word.contains('\n')) {
        return Err(String::from(
            "an argument contains a newline: a command is one line; standard input may have many lines",
        ));
    }
    let addresses = addresses(address)?;
    let command = words.join(" ");
    let mut refused = false;
    if command.is_empty() || command == "-" {
        if words.is_empty() && io::stdin().is_terminal() {
            return Ok(print(USAGE));
        }
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| format!("standard input: {}", reason(&error)))?;
            if !line.trim().is_empty() {
                refused |= is_refused(&addresses, &line, limits)?;
            }
        }
    } else {
        refused = is_refused(&addresses, &command, limits)?;
    }
    Ok(if refused { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

fn addresses(text: &str) -> Result<Vec<Address>, String> {
    if !text.starts_with('/') && !text.contains(':') {
        return Err(format!("no port given: \"{text}\" is not host:port or /path/to/socket"));
    }
    let endpoint = Endpoint::parse_listener(text)?;
    Names::default().listener(&endpoint).map_err(|error| error.to_string())
}

/// Sends a command and prints the reply. Returns whether pen has refused the command.
fn is_refused(addresses: &[Address], command: &str, limits: Limits) -> Result<bool, String> {
    let out = &mut io::stdout().lock();
    let verdict = if command.split_ascii_whitespace().next() == Some("watch") {
        follow(addresses, command, limits.time, out)
    } else {
        ask(addresses, command, limits, out)
    };
    let verdict = verdict.map_err(|error| error.to_string())?;
    Ok(verdict == Verdict::Refused)
}
