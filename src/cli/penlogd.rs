//! The `penlogd` program: its command line.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Program;
use super::getopt::CommandLine;
use crate::daemon::penlogd::{self, Options};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::policy::acl::Net;
use crate::policy::command::words::{number, seconds};
use crate::policy::weblog::matcher::Limits;
use crate::policy::weblog::record::Fields;
use crate::sys::privileges::Account;

const NAME: &str = "penlogd";

/// The options as getopt(3) takes them.
const OPTIONS: &str = "a:bdfj:k:l:n:p:q:t:u:";

const USAGE: &str = "\
usage: penlogd [options] [host:]port

Receives lines about requests, by UDP, from pen (pen -l host:port) and from web servers (penlog), and
writes the lines of the web servers with the clients' addresses in the place of pen's.

  -a address[/len]  who may send lines: pen and the web servers; may be repeated [everyone]
  -b            accepted for compatibility: lines are written at once
  -d            log each line that comes
  -f            run in the foreground; log to stderr
  -j dir        change the root directory to this one (chroot)
  -k name       field with the client's address, in lines that are JSON [remote_addr]
  -l file       write to this file, which HUP opens again [standard output]
  -n N          how many lines of pen are kept for those of servers [100000]
  -p file       write the process id to this file
  -q name       field with the request line, in lines that are JSON [request]
  -t seconds    how long a line of pen is kept [600]
  -u user       run as this user, by name or uid[:gid]
  --help        print this text
  --version     print the version

example: penlogd -a 10.0.0.0/24 -l /var/log/access_log -p /run/penlogd.pid 10000
";

/// Lines that are kept by default. Each takes about 200 bytes and the length of its request.
const LINES: usize = 100_000;

/// The most lines that can be kept: some gigabytes.
const MOST: u64 = 10_000_000;

/// How long they are kept by default, in seconds, as mergelogs(1) has it.
const AGE: u64 = 600;

/// Runs the program.
pub fn main() -> ExitCode {
    penlogd::begin();
    Program { name: NAME, usage: USAGE, options: OPTIONS, words: &[], same: &[] }
        .run(|line| penlogd::run(configure(line)?).map(|()| ExitCode::SUCCESS))
}

fn configure(mut line: CommandLine) -> Result<Options, Error> {
    let usage = Error::Usage;
    let text = |text: &str| Ok(text.to_string());
    let path = |text: &str| Ok(PathBuf::from(text));
    let (listener, more) = match line.operands.as_slice() {
        [] => return Err(usage(String::from("no port given"))),
        [listener, more @ ..] => (listener.clone(), more.first().cloned()),
    };
    if let Some(more) = more {
        return Err(usage(format!("one port is enough: \"{more}\"")));
    }
    let senders = line.values("-a").map_err(usage)?;
    let senders = senders.iter().map(|net| Net::parse(net, None).map_err(|error| format!("-a {error}")));
    let lines = line.value("-n", |text| number("-n", text, 1, MOST)).map_err(usage)?.unwrap_or(LINES);
    let age = line.value("-t", |text| seconds("-t", text, 1)).map_err(usage)?;
    let fields = Fields::default();
    Ok(Options {
        listener: place(&listener).map(|endpoint| (listener, endpoint)).map_err(usage)?,
        foreground: line.count("-f") > 0,
        log: line.value("-l", path).map_err(usage)?,
        jail: line.value("-j", path).map_err(usage)?,
        pidfile: line.value("-p", path).map_err(usage)?,
        user: line.value("-u", text).map_err(usage)?.map(|user| Account::find(&user)).transpose()?,
        debug: line.count("-d").min(255) as u8,
        limits: Limits { lines, age: age.unwrap_or(std::time::Duration::from_secs(AGE)) },
        senders: senders.collect::<Result<_, _>>().map_err(usage)?,
        fields: Fields {
            address: line.value("-k", text).map_err(usage)?.unwrap_or(fields.address),
            request: line.value("-q", text).map_err(usage)?.unwrap_or(fields.request),
        },
    })
}

/// Where it listens: a port alone stands for all addresses of both families.
fn place(text: &str) -> Result<Endpoint, String> {
    let all = format!("[::]:{text}");
    let is_whole = text.contains([':', '/']);
    let endpoint = Endpoint::parse_listener(if is_whole { text } else { &all })?;
    match endpoint {
        Endpoint::Tcp(..) => Ok(endpoint),
        Endpoint::Unix(_) => Err(format!("\"{text}\" is not [host:]port")),
    }
}
