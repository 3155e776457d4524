//! The `penctl` program: sends commands to a running pen and prints the replies.

use std::env;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use super::complain;
use super::getopt;
use super::print;
use crate::endpoint::{Address, Endpoint};
use crate::error::reason;
use crate::net::control::ask::ask;
use crate::net::resolve::Names;

const NAME: &str = "penctl";

const USAGE: &str = "\
usage: penctl host:port|/path/to/socket command...
       penctl host:port|/path/to/socket [-]

Sends the command to the control port of a pen (pen -C) and prints the reply. Without a command, or
with -, it reads commands from standard input, one on each line. `penctl host:port help` lists them.

  --help        print this text
  --version     print the version
";

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
    // Options end at the first operand: what follows belongs to the command.
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let options = arguments.iter().take_while(|argument| argument.as_encoded_bytes().starts_with(b"--")).cloned();
    let mut line = getopt::parse(options, "", &["--help", "--version"], &[])?;
    if arguments.is_empty() || line.options.contains("--help") {
        return Ok(print(USAGE));
    }
    if line.options.contains("--version") {
        return Ok(print(concat!("penctl ", env!("CARGO_PKG_VERSION"), "\n")));
    }
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let addresses = addresses(&words[0])?;
    let command = words[1..].join(" ");
    if command.is_empty() || command == "-" {
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| format!("standard input: {}", reason(&error)))?;
            if !line.trim().is_empty() {
                say(&addresses, &line)?;
            }
        }
    } else {
        say(&addresses, &command)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn addresses(text: &str) -> Result<Vec<Address>, String> {
    if !text.starts_with('/') && !text.contains(':') {
        return Err(format!("no port given: \"{text}\" is not host:port or /path/to/socket"));
    }
    let endpoint = Endpoint::parse_listener(text)?;
    Names::default().listener(&endpoint).map_err(|error| error.to_string())
}

fn say(addresses: &[Address], command: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("error connecting to server: {}", reason(&error));
    let reply = ask(addresses, command).map_err(failed)?;
    // A closed stdout is not an error.
    let _ = io::stdout().write_all(&reply).and_then(|()| io::stdout().flush());
    Ok(())
}
