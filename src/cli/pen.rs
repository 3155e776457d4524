//! The `pen` program: its command line.

use std::path::PathBuf;
use std::process::{self, ExitCode};

use super::getopt::CommandLine;
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

/// The options as getopt(3) takes them.
const OPTIONS: &str = "b:c:e:B:fhHj:l:Np:q:rst:T:x:Wdam:O:o:C:F:UXu:w:E:K:G:A:L:RZDnPQS:";

/// Options that are others by another name.
const SAME: &[(char, char)] = &[('o', 'O')];

const USAGE: &str = "\
usage: pen [options] listener[,listener...] server ...

A listener is [host:]port or /path/to/socket. A server is
host[:port[:soft[:hard[:weight[:prio]]]]] or /path/to/socket; IPv6 addresses go in brackets.
The default port is that of the first listener; soft and hard limit the connections
(0 = no limit).

  -A dir        directory of authorities (CAs) of clients, by hash
  -a            dump traffic (-ddd) in ASCII instead of hexadecimal
  -B host:port  abuse server, for clients that client_acl denies
  -C [host:]port|/path  control port, for penctl
  -b sec        how long a server is blacklisted after a failed connect [30]
  -c N          size of the client table [2048]
  -d            debug messages: -d decisions, -dd connections, -ddd traffic
  -E file       terminate TLS with this certificate (PEM, with its chain)
  -e host:port  emergency server, used when no regular server can be used
  -F file       execute the commands in this file, after the options and at HUP
  -G file       authorities (CAs) of clients
  -f            run in the foreground; log to stderr
  -H            tell the servers in each HTTP request where it comes from
                (X-Forwarded-For, X-Forwarded-Proto)
  -h            choose the first server by a hash of the client's address (-hr: and port)
  -j dir        change the root directory to this one (chroot)
  -K file       the key of the certificate, if it is not in the file of -E
  -L version    oldest TLS version: ssl23 (tls1.2), tls1, tls1.1, tls1.2, tls1.3
  -l file|host:port  log requests to a file, or to penlogd at host:port
  -m N          accepted for compatibility
  -N            choose by hash and do not remember clients
  -O command    execute a penctl command, e.g. -O 'idle_timeout 60' (-o is the same)
  -p file       write the process id to this file
  -q N          listen backlog: how many clients the kernel may queue [500]
  -R            clients must have a valid certificate
  -r            round robin, without remembering clients
  -s            stubborn: no failover
  -T sec        how long clients are remembered [0 = no limit]
  -t sec        connect timeout [3]
  -U            balance datagrams (UDP), not connections
  -u user       run as this user, by name or uid[:gid]
  -W            choose by weight
  -w file       status page in HTML, written at USR1 and by penctl status
  -X            enable penctl exit
  -Z            accepted for compatibility
  -x N          maximum number of simultaneous connections [500]
  --check       test the options and the file, and exit
  --help        print this text
  --version     print the version

example: pen -f 80 www1:8000:10 www2:80:10 www3
";

/// Runs the program.
pub fn main() -> ExitCode {
    startup::begin();
    Program { name: NAME, usage: USAGE, options: OPTIONS, words: &["--check"], same: SAME }.run(|mut line| {
        if line.options.contains("--check") {
            return config::check(configure(line)?, &complain).map(|()| print("the configuration makes sense\n"));
        }
        startup::run(configure(line)?, &complain).map(|()| ExitCode::SUCCESS)
    })
}

/// Makes a configuration of the command line.
fn configure(mut line: CommandLine) -> Result<Options, Error> {
    let usage = Error::Usage;
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
    let mut commands = options(&mut line, port.as_ref()).map_err(usage)?;
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

/// The options that are switches under another name.
const SWITCHES: [(&str, &str); 8] = [
    ("-a", "ascii"),
    ("-H", "http"),
    ("-h", "hash"),
    ("-R", "ssl_verify"),
    ("-r", "roundrobin"),
    ("-s", "stubborn"),
    ("-W", "weight"),
    ("-Z", "ssl_compat"),
];

/// The options that are settings under another name.
const SETTINGS: [(&str, &str); 14] = [
    ("-A", "ssl_ca_path"),
    ("-E", "ssl_certificate"),
    ("-G", "ssl_ca_file"),
    ("-K", "ssl_key"),
    ("-L", "ssl_protocol"),
    ("-b", "blacklist"),
    ("-t", "timeout"),
    ("-T", "tracking"),
    ("-c", "clients_max"),
    ("-x", "conn_max"),
    ("-l", "log"),
    ("-w", "web_stats"),
    ("-e", "emergency"),
    ("-B", "abuse"),
];

/// The options that are commands under another name.
fn options(line: &mut CommandLine, port: Option<&Port>) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    for (option, word) in SWITCHES {
        if line.count(option) > 0 {
            commands.extend(settings::find(word).map(|setting| Command::Set(setting, Value::Switch(true))));
        }
    }
    for (option, word) in SETTINGS {
        let Some(setting) = settings::find(word) else { continue };
        let read = |text: &str| {
            if matches!(setting.kind, Kind::Path | Kind::Log) {
                path(text)?;
            }
            setting.read(option, &mut Words::one(text, port)).map(|value| Command::Set(setting, value))
        };
        commands.extend(line.value(option, read)?);
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
    let keys = SETTINGS.iter().filter_map(|(option, word)| Some((*option, settings::find(word)?)));
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
