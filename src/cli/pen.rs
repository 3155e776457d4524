//! The `pen` program: its command line.

use std::path::PathBuf;
use std::process::{self, ExitCode};

use super::getopt::CommandLine;
use super::options::{self, OPTIONS};
use super::{Program, print};
use crate::daemon::startup;
use crate::daemon::startup::config::{self, Options};
use crate::endpoint::Port;
use crate::error::Error;
use crate::id::ServerId;
use crate::policy::command::Command;
use crate::policy::command::setting::{Kind, Value};
use crate::policy::command::settings;
use crate::policy::command::words::{Words, number};
use crate::policy::identity::Identity;
use crate::policy::listeners::Listeners;
use crate::policy::settings::LogTarget;
use crate::sys::privileges::{Account, is_root};

const NAME: &str = "pen";

/// Runs the program.
pub fn main() -> ExitCode {
    startup::begin();
    let (usage, options) = (options::usage(), options::getopt());
    Program { name: NAME, usage: &usage, options: &options, words: &["--check"], same: options::SAME }.run(
        |mut line| {
            if line.options.contains("--check") {
                return config::check(configure(line)?, &complain).map(|()| print("the configuration makes sense\n"));
            }
            startup::run(configure(line)?, &complain).map(|()| ExitCode::SUCCESS)
        },
    )
}

/// Makes a configuration of the command line.
fn configure(mut line: CommandLine) -> Result<Options, Error> {
    let usage = Error::Usage;
    if !line.values("-i").map_err(usage)?.is_empty() {
        return Err(usage(String::from("-i: Windows only")));
    }
    for (option, flag) in [("-D", "D"), ("-n", "n"), ("-P", "P"), ("-Q", "Q")] {
        if line.count(option) > 0 {
            complain(&format!("option -{flag} is obsolete and does nothing"));
        }
    }
    if !line.values("-S").map_err(usage)?.is_empty() {
        complain("option -S is obsolete and does nothing");
    }
    if let Some(0) = line.value("-m", |text| number::<i32>("-m", text, 0, i32::MAX as u64)).map_err(usage)? {
        complain("multi_accept bumped to 1");
    }
    let mut backlog = line.value("-q", |text| number("-q", text, 0, i32::MAX as u64)).map_err(usage)?;
    if let Some(low @ ..50) = &mut backlog {
        complain("listen_queue bumped to 50");
        *low = 50;
    }
    let text = |text: &str| Ok(text.to_string());
    let user = line.value("-u", text).map_err(usage)?;
    let mut control = line.value("-C", text).map_err(usage)?;
    if control.is_some() && user.is_none() && is_root() {
        complain("Won't open control port running as root; use -u to run as different user");
        control = None;
    }
    let control = control.map(|text| Listeners::parse(&text)).transpose().map_err(|e| usage(format!("-C {e}")))?;
    let identity = Identity {
        pid: process::id(),
        started: None,
        udp: line.count("-U") > 0,
        foreground: line.count("-f") > 0,
        jail: line.value("-j", path).map_err(usage)?,
        pidfile: line.value("-p", path).map_err(usage)?,
        user: user.clone().unwrap_or_default(),
        control: control.as_ref().map_or_else(String::new, |control| control.text().to_string()),
        file: line.value("-F", path).map_err(usage)?,
        may_exit: line.count("-X") > 0,
        backlog,
    };

    let mut operands = std::mem::take(&mut line.operands).into_iter();
    let listeners = operands.next().map(|text| Listeners::parse(&text)).transpose().map_err(usage)?;
    let port = listeners.as_ref().and_then(Listeners::port).cloned();
    let mut commands = commands(&mut line, port.as_ref()).map_err(usage)?;
    no_file_twice(&identity, &commands).map_err(usage)?;
    for (number, operand) in operands.enumerate() {
        let id = ServerId::new(number).ok_or_else(|| usage(format!("more than {} servers", ServerId::MAX)))?;
        commands.push(Command::parse_server(id, &operand, port.as_ref()).map_err(usage)?);
    }
    for text in line.values("-O").map_err(usage)? {
        commands.push(Command::parse(&text, port.as_ref()).map_err(|e| usage(format!("-O {e}")))?);
    }
    let user = user.map(|user| Account::find(&user)).transpose()?;
    Ok(Options { listeners, backlog: backlog.unwrap_or(500), control, user, commands, identity })
}

/// The options that are commands under another name.
fn commands(line: &mut CommandLine, port: Option<&Port>) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    for option in OPTIONS.iter().filter(|option| option.is_setting) {
        let Some(setting) = settings::find(option.name) else { continue };
        if matches!(setting.kind, Kind::Switch) {
            commands.extend((line.count(option.flag) > 0).then(|| Command::Set(setting, Value::Switch(true))));
            continue;
        }
        let read = |text: &str| {
            if matches!(setting.kind, Kind::Path | Kind::Log) {
                path(text)?;
            }
            setting.read(option.flag, &mut Words::one(text, port)).map(|value| Command::Set(setting, value))
        };
        commands.extend(line.value(option.flag, read)?);
    }
    let set = |word, value| settings::find(word).map(|setting| Command::Set(setting, value));
    if line.count("-N") > 0 {
        commands.extend(set("hash", Value::Switch(true)));
        commands.extend(set("tracking", Value::OptionalSeconds(None)));
    }
    match line.count("-d") {
        0 => {}
        level => commands.extend(set("debug", Value::Number(level.min(255) as u64))),
    }
    Ok(commands)
}

/// Refuses two options with the same file, since one would overwrite the other. Certificates and keys may share one.
fn no_file_twice(identity: &Identity, commands: &[Command]) -> Result<(), String> {
    let written = commands.iter().filter_map(|command| match command {
        Command::Set(_, Value::Log(Some(LogTarget::File(path)))) => Some(("-l", path)),
        Command::Set(setting, Value::Path(Some(path))) if setting.word == "web_stats" => Some(("-w", path)),
        _ => None,
    });
    let own = [("-F", &identity.file), ("-p", &identity.pidfile)];
    let own = own.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)));
    let files: Vec<_> = own.chain(written).collect();
    let keys = OPTIONS.iter().filter_map(|option| Some((option.flag, settings::find(option.name)?)));
    for (option, setting) in keys.filter(|(_, setting)| setting.is_tls()) {
        let named = commands.iter().find_map(|command| match command {
            Command::Set(set, Value::Path(Some(path))) if *set == setting => Some(path),
            _ => None,
        });
        if let Some((other, path)) = files.iter().find(|(_, other)| Some(*other) == named) {
            return Err(format!("{option} and {other} name the same file \"{}\"", path.display()));
        }
    }
    for (at, (option, path)) in files.iter().enumerate() {
        if let Some((other, _)) = files[..at].iter().find(|(_, other)| other == path) {
            return Err(format!("{other} and {option} name the same file \"{}\"", path.display()));
        }
    }
    Ok(())
}

/// The name of a file as commands can name it too: `write` must be able to repeat it in a line.
fn path(text: &str) -> Result<PathBuf, String> {
    if text.contains(char::is_control) || text.trim() != text {
        return Err(format!("file name {text:?}: control characters and blanks at its ends are not possible"));
    }
    Ok(PathBuf::from(text))
}

fn complain(text: &str) {
    super::complain(NAME, text);
}
