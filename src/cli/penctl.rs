//! The `penctl` program: sends commands to a running pen and prints the replies.

use std::env;
use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use super::complain;
use super::print;
use crate::daemon::top::{self, Options};
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
       penctl [options] host:port|/path/to/socket top [seconds]

Sends the command to the control port of a pen (pen -C) and prints the reply. Without a command, or
with -, it reads commands from standard input, one on each line. `penctl host:port help` lists them.

With top it shows the servers with their states and rates on the terminal, again each second or in an
interval of that many seconds, until a key is pressed. Without a terminal it prints that once.

  --help        print this text
  --timeout SECONDS  how long a command and its reply may take [30, top 5]
  --version     print the version

Exit status: 0 the command was carried out, 1 there is no complete reply, 2 pen refused the command.
";

/// The exit status if pen has refused a command.
const REFUSED: u8 = 2;

/// How long a command may take by default. pen itself may need some seconds for it, for a name that cannot be looked up.
const TIME: Duration = Duration::from_secs(30);

/// The same for each question of `top`. A connection that has died is given up then, and the next one may work.
const TOP_TIME: Duration = Duration::from_secs(5);

/// The longest reply, in bytes. `recent json` has about 150 bytes for each client, and pen remembers 10 million clients at most.
const LARGEST: u64 = 4 << 30;

/// The longest reply to `top`, in bytes. A server has about 200, and a reply is kept in memory.
const LARGEST_OF_TOP: u64 = 64 << 20;

/// The time between two frames of `top` by default.
const INTERVAL: Duration = Duration::from_secs(1);

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
    let mut time = None;
    while let Some((option, rest)) = operands.split_first().filter(|(first, _)| first.starts_with("--")) {
        operands = rest;
        match option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value))) {
            ("--help", None) => return Ok(print(USAGE)),
            ("--version", None) => return Ok(print(concat!("penctl ", env!("CARGO_PKG_VERSION"), "\n"))),
            ("--timeout", Some(value)) => time = Some(time_limit(value)?),
            ("--timeout", None) => {
                let (value, rest) = rest.split_first().ok_or("option '--timeout' requires an argument")?;
                operands = rest;
                time = Some(time_limit(value)?);
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
    let mut top = command.split_ascii_whitespace();
    if top.next() == Some("top") {
        let limits = Limits { time: time.unwrap_or(TOP_TIME), bytes: LARGEST_OF_TOP };
        let interval = top.next().map_or(Ok(INTERVAL), |text| seconds("top", text, 1))?;
        if let Some(word) = top.next() {
            return Err(format!("top: nothing is expected from \"{word}\" on"));
        }
        return show(Options { address: address.clone(), addresses, interval, limits, colour: may_use_colours() });
    }
    let limits = Limits { time: time.unwrap_or(TIME), bytes: LARGEST };
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

/// Carries out `top`.
fn show(options: Options) -> Result<ExitCode, String> {
    // A terminal that knows no control sequences is as a file.
    let is_screen = io::stdout().is_terminal() && env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
    if is_screen {
        return top::run(options).map(|()| ExitCode::SUCCESS);
    }
    let text = top::once(&options)?;
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has left is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {}", reason(&error))),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Whether the user has not forbidden colours (no-color.org).
fn may_use_colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A number of seconds, also with a fraction, for programs that ask often.
fn time_limit(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<f64> = 0.1..=31_536_000.0;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !text.split_once('.').is_some_and(|(whole, fraction)| digits(whole) && digits(fraction)) {
        return seconds("--timeout", text, 1);
    }
    let number = text.parse().ok().filter(|number| RANGE.contains(number));
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("--timeout: \"{text}\" is not from 0.1 to 31536000"))
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
