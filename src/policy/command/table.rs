//! The table of commands: each with its forms, what it is for, and how the rest of its line is read. `help`, the manual page
//! and the error for an unknown word all follow from it.

use std::path::PathBuf;
use std::time::Duration;

use super::Command;
use super::parse::{ParseError, Words, number, seconds};
use super::server::ServerChange;
use crate::endpoint::{Endpoint, Host, Port};
use crate::id::ServerId;
use crate::policy::acl::{Net, Whom};
use crate::policy::clients::Clients;
use crate::policy::country::{Country, GeoipFile};
use crate::policy::report::query::{Format, Query};
use crate::policy::servers::Place;
use crate::policy::settings::{Facility, FastClose, LogTarget, Tracking};

/// The most connections that can be asked for: more than any kernel has descriptors for.
pub const MOST_CONNECTIONS: u64 = 1_000_000;

/// The most idlers.
pub const MOST_IDLERS: u64 = 1000;

type Read = fn(&mut Words<'_>) -> Result<Command, String>;

/// One word of the language.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The word a command begins with, after `no` if it has one.
    pub word: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    read: Option<Read>,
    /// How its `no` form is read.
    read_no: Option<Read>,
}

const fn entry(word: &'static str, usage: &'static str, help: &'static str, read: Read) -> Entry {
    Entry { word, usage, help, read: Some(read), read_no: None }
}

const fn with_no(word: &'static str, usage: &'static str, help: &'static str, read: Read, no: Read) -> Entry {
    Entry { word, usage, help, read: Some(read), read_no: Some(no) }
}

macro_rules! switch {
    ($word:literal, $variant:ident, $help:literal) => {
        with_no(
            $word,
            concat!("[no] ", $word),
            $help,
            |_| Ok(Command::$variant(true)),
            |_| Ok(Command::$variant(false)),
        )
    };
}

macro_rules! obsolete {
    ($word:literal) => {
        with_no($word, concat!("[no] ", $word), "has no meaning any more; accepted", accept, accept)
    };
}

macro_rules! later {
    ($word:literal) => {
        with_no(
            $word,
            concat!("[no] ", $word),
            "is not supported by this version",
            |_| Err(concat!($word, " is not supported by this version of pen").to_string()),
            accept,
        )
    };
}

/// Every command, in alphabetical order.
pub const COMMANDS: &[Entry] = &[
    switch!("abort_on_error", AbortOnError, "dump core when pen must give up"),
    with_no(
        "abuse",
        "abuse HOST[:PORT] | no abuse",
        "the server for clients that client_acl denies",
        |w| w.upstream().map(Some).map(Command::Abuse),
        |_| Ok(Command::Abuse(None)),
    ),
    with_no(
        "acl",
        "acl N permit|deny ADDRESS[/LENGTH] [MASK] | acl N permit|deny country XX | no acl N",
        "add to access list N (0 to 9), or empty it",
        read_acl,
        |w| w.acl("no acl").map(Command::NoAcl),
    ),
    switch!("ascii", Ascii, "dump traffic (debug 3) in ASCII instead of hexadecimal"),
    entry("blacklist", "blacklist [SECONDS]", "how long a server that failed is left alone", |w| {
        read_or(w, Query::Blacklist, |w| w.seconds("blacklist", 0).map(Command::Blacklist))
    }),
    obsolete!("block"),
    entry("client_acl", "client_acl [N]", "the access list that clients must pass", |w| {
        read_or(w, Query::ClientAcl, |w| w.acl("client_acl").map(Command::ClientAcl))
    }),
    entry("clients_max", "clients_max [N]", "size of the client table; it can only grow", |w| {
        read_or(w, Query::ClientsMax, |w| Ok(Command::ClientsMax(w.number("clients_max", 1, Clients::MAX as u64)?)))
    }),
    entry("close", "close N", "end connection N", |w| Ok(Command::Close(w.number("close", 0, MOST_CONNECTIONS)?))),
    entry("conn_max", "conn_max [N]", "most simultaneous connections; it can only grow", |w| {
        read_or(w, Query::ConnMax, |w| Ok(Command::ConnMax(w.number("conn_max", 1, MOST_CONNECTIONS)?)))
    }),
    entry("connection", "connection N", "facts about connection N", |w| {
        Ok(show(Query::Connection(if w.is_empty() { 0 } else { w.number("connection", 0, u64::MAX)? })))
    }),
    entry("connections", "connections", "a line for each connection", |_| Ok(show(Query::Connections))),
    entry("control", "control", "where the control port is", |_| Ok(show(Query::Control))),
    entry("control_acl", "control_acl [N]", "the access list that clients of the control port must pass", |w| {
        read_or(w, Query::ControlAcl, |w| w.acl("control_acl").map(Command::ControlAcl))
    }),
    entry("debug", "debug [LEVEL]", "how much is told: 0 nothing, 1 decisions, 2 sessions, 3 traffic", |w| {
        read_or(w, Query::Debug, |w| Ok(Command::Debug(w.number("debug", 0, 255)?)))
    }),
    obsolete!("delayed_forward"),
    later!("dsr_if"),
    switch!("dummy", Dummy, "answer HTTP requests with a tiny page instead of balancing"),
    with_no(
        "emergency",
        "emergency HOST[:PORT] | no emergency",
        "the server for when no other is left",
        |w| w.upstream().map(Some).map(Command::Emergency),
        |_| Ok(Command::Emergency(None)),
    ),
    obsolete!("epoll"),
    entry("exit", "exit", "end pen, if it was started with -X", |_| Ok(Command::Exit)),
    entry("explain", "explain ADDRESS", "which server this client would get now, and why", |w| {
        let text = w.next("a client's address")?;
        let ip = text.parse().map_err(|_| format!("explain: \"{text}\" is not an IPv4 or IPv6 address"))?;
        Ok(show(Query::Explain(ip)))
    }),
    with_no(
        "geoip",
        "geoip [FILE] | no geoip",
        "the file that knows the countries of addresses",
        |w| read_or(w, Query::Geoip, |w| Ok(Command::Geoip(Some(GeoipFile::named(w.path("a file")?))))),
        |_| Ok(Command::Geoip(None)),
    ),
    switch!("hash", Hash, "choose the first server by a hash of the client's address"),
    entry("help", "help [COMMAND]", "the commands, or one of them", |w| {
        Ok(show(Query::Help(w.optional().map(String::from))))
    }),
    later!("http"),
    entry("idle_timeout", "idle_timeout [SECONDS]", "end sessions that are silent for so long; 0, never", |w| {
        read_or(w, Query::IdleTimeout, |w| {
            let time = w.seconds("idle_timeout", 0)?;
            Ok(Command::IdleTimeout(Some(time).filter(|time| *time != Duration::ZERO)))
        })
    }),
    entry("idlers", "idlers [N]", "keep N idle connections to the servers", |w| {
        read_or(w, Query::Idlers, |w| Ok(Command::Idlers(w.number("idlers", 0, MOST_IDLERS)?)))
    }),
    entry("include", "include FILE", "carry out the commands in FILE, all or none", |w| {
        w.path("a file").map(Command::Include)
    }),
    switch!("keepalive", Keepalive, "SO_KEEPALIVE on the sockets of sessions"),
    obsolete!("kqueue"),
    entry("listen", "listen [[ADDRESS:]PORT]", "where clients come in", |w| {
        read_or(w, Query::Listen, |w| {
            let text = w.next("[address:]port")?;
            let endpoint = Endpoint::parse_listener(text).map_err(|e| format!("listen: {e}"))?;
            Ok(Command::Listen(text.to_string(), endpoint))
        })
    }),
    with_no(
        "log",
        "log [FILE|HOST:PORT] | no log",
        "where requests are logged: in a file, or by penlogd",
        |w| read_or(w, Query::Log, read_log),
        |_| Ok(Command::Log(None)),
    ),
    entry("mode", "mode", "the selection switches", |_| Ok(show(Query::Mode))),
    switch!("peek", Peek, "choose the server after the client's first bytes"),
    entry("pending_max", "pending_max [N]", "has no meaning any more; accepted", accept),
    entry("pid", "pid", "the process id", |_| Ok(show(Query::Pid))),
    obsolete!("poll"),
    switch!("prio", Prio, "choose by priority"),
    entry("recent", "recent [SECONDS] [json]", "clients of the last SECONDS (300)", |w| {
        let (mut time, mut format) = (Duration::from_secs(300), Format::Text);
        while let Some(word) = w.optional() {
            match word {
                "json" => format = Format::Json,
                text => time = seconds("recent", text, 0)?,
            }
        }
        Ok(show(Query::Recent(time, format)))
    }),
    switch!("roundrobin", Roundrobin, "servers in transition, without remembering clients"),
    obsolete!("select"),
    entry(
        "server",
        "server N [acl A] [address A] [port P] [max M] [hard H] [blacklist T] [weight W] [prio P]",
        "change or add a server",
        read_server,
    ),
    entry("servers", "servers [json]", "a line for each server", |w| Ok(show(Query::Servers(read_format(w)?)))),
    entry("socket", "socket N", "the connection that socket N belongs to", |w| {
        Ok(show(Query::Socket(if w.is_empty() { 0 } else { w.number("socket", 0, i32::MAX as u64)? })))
    }),
    with_no(
        "source",
        "source ADDRESS | no source",
        "local address towards the servers",
        |w| {
            let text = w.next("a local address")?;
            let ip = text.parse().map_err(|_| format!("source: \"{text}\" is not an IPv4 or IPv6 address"))?;
            Ok(Command::Source(Some(ip)))
        },
        |_| Ok(Command::Source(None)),
    ),
    later!("ssl_ciphers"),
    later!("ssl_client_renegotiation_interval"),
    later!("ssl_ocsp_response"),
    later!("ssl_option"),
    later!("ssl_sni_path"),
    entry("status", "status", "the status page, which is also written to the web_stats file", |_| {
        Ok(show(Query::Status))
    }),
    switch!("stubborn", Stubborn, "no failover"),
    entry("syslog_facility", "syslog_facility [NAME]", "the facility of messages to syslog", |w| {
        read_or(w, Query::SyslogFacility, read_facility)
    }),
    later!("tarpit_acl"),
    entry("tcp_fastclose", "tcp_fastclose up|down|both|off", "which closing end closes both", |w| {
        let Some(text) = w.optional() else {
            return Err(String::from("do_cmd: ignoring tcp_fastclose without argument"));
        };
        let ends = FastClose::WORDS.iter().find(|(word, _)| *word == text);
        let (_, ends) = ends.ok_or_else(|| format!("tcp_fastclose: \"{text}\" is not up, down, both or off"))?;
        Ok(Command::TcpFastclose(*ends))
    }),
    switch!("tcp_nodelay", TcpNodelay, "TCP_NODELAY on the sockets of sessions"),
    entry("timeout", "timeout [SECONDS]", "how long a connect may take", |w| {
        read_or(w, Query::Timeout, |w| w.seconds("timeout", 1).map(Command::Timeout))
    }),
    with_no(
        "tracking",
        "tracking [SECONDS] | no tracking",
        "how long clients are remembered; 0, for ever",
        |w| {
            read_or(w, Query::Tracking, |w| {
                Ok(Command::Tracking(match w.seconds("tracking", 0)? {
                    Duration::ZERO => Tracking::Forever,
                    time => Tracking::For(time),
                }))
            })
        },
        |_| Ok(Command::Tracking(Tracking::Off)),
    ),
    switch!("transparent", Transparent, "the client's address as the source address towards the server"),
    entry("version", "version", "the version of pen", |_| Ok(show(Query::Version))),
    with_no(
        "web_stats",
        "web_stats [FILE] | no web_stats",
        "the file for the status page",
        |w| read_or(w, Query::WebStats, |w| w.path("a file").map(Some).map(Command::WebStats)),
        |_| Ok(Command::WebStats(None)),
    ),
    switch!("weight", Weight, "choose by weight"),
    entry("write", "write [FILE]", "write the configuration to FILE, or to the one pen was started with", |w| {
        Ok(Command::Write(if w.is_empty() { None } else { Some(w.path("a file")?) }))
    }),
];

/// Reads one command.
pub fn read(words: &mut Words<'_>) -> Result<Command, ParseError> {
    let first = words.next("a command")?;
    let (no, word) = if first == "no" { (true, words.next("a command after \"no\"")?) } else { (false, first) };
    let entry = COMMANDS.iter().find(|entry| entry.word == word);
    let read = entry.and_then(|entry| if no { entry.read_no } else { entry.read });
    match read {
        Some(read) => Ok(read(words)?),
        None if no => Err(ParseError::Unknown(format!("no {word}"))),
        None => Err(ParseError::Unknown(word.to_string())),
    }
}

/// What `help` prints.
pub fn help(word: Option<&str>) -> String {
    match word {
        None => COMMANDS.iter().map(|entry| format!("{}\n", entry.usage)).collect(),
        Some(word) => match COMMANDS.iter().find(|entry| entry.word == word) {
            Some(Entry { usage, help, .. }) => format!("{usage}\n    {help}\n"),
            None => format!("help: there is no command \"{word}\"\n"),
        },
    }
}

fn show(query: Query) -> Command {
    Command::Show(query)
}

/// Without further words a command asks for the value that it sets with them.
fn read_or(words: &mut Words<'_>, query: Query, read: Read) -> Result<Command, String> {
    if words.is_empty() { Ok(show(query)) } else { read(words) }
}

/// Takes a command that means nothing any more, with whatever follows.
fn accept(words: &mut Words<'_>) -> Result<Command, String> {
    while words.optional().is_some() {}
    Ok(Command::Nothing(words.line().to_string()))
}

fn read_format(words: &mut Words<'_>) -> Result<Format, String> {
    match words.optional() {
        None => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(format!("\"{other}\" is not json")),
    }
}

fn read_facility(words: &mut Words<'_>) -> Result<Command, String> {
    let text = words.next("a facility")?;
    match Facility::WORDS.iter().find(|(word, _)| *word == text) {
        Some((_, facility)) => Ok(Command::SyslogFacility(*facility)),
        None => {
            let valid = Facility::WORDS.map(|(word, _)| word).join(", ");
            Err(format!("syslog_facility: \"{text}\" is not a facility; there are: {valid}"))
        }
    }
}

fn read_acl(words: &mut Words<'_>) -> Result<Command, String> {
    let list = words.acl("acl")?;
    let permit = match words.next("permit or deny")? {
        "permit" => true,
        "deny" => false,
        other => return Err(format!("acl: \"{other}\" is neither permit nor deny")),
    };
    let source = words.next("an address")?;
    let whom = if source == "country" {
        let code = words.next("a country")?;
        let country = Country::parse(code);
        Whom::Country(country.ok_or_else(|| format!("acl: \"{code}\" is not a country's code of two letters"))?)
    } else {
        Whom::Net(Net::parse(source, words.optional()).map_err(|e| format!("acl: {e}"))?)
    };
    Ok(Command::Acl { list, permit, whom })
}

fn read_log(words: &mut Words<'_>) -> Result<Command, String> {
    let text = words.rest("a file or host:port")?;
    LogTarget::parse(text).map(|target| Command::Log(Some(target))).map_err(|e| format!("log: {e}"))
}

fn read_server(words: &mut Words<'_>) -> Result<Command, String> {
    let text = words.next("a server number")?;
    let id = number("server", text, 0, u64::from(ServerId::MAX))?;
    let id = ServerId::new(id).ok_or_else(|| format!("server: \"{text}\" is not a server number"))?;
    let mut changes = Vec::new();
    while let Some(word) = words.optional() {
        let what = format!("server {id} {word}");
        let limit = u64::from(u32::MAX);
        changes.push(match word {
            "acl" => ServerChange::Acl(words.acl(&what)?),
            "address" => {
                let text = words.next("an address")?;
                ServerChange::Address(if text == "(unknown" {
                    words.unknown_family();
                    Place::nowhere()
                } else if text.starts_with('/') {
                    Place::Unix(PathBuf::from(text))
                } else {
                    Place::Tcp(Host::new(text.trim_start_matches('[').trim_end_matches(']')))
                })
            }
            "port" => match words.next("a port")? {
                "0" => ServerChange::Port(Port::Number(0)),
                text => ServerChange::Port(Port::parse(text).map_err(|e| format!("server {id}: {e}"))?),
            },
            "max" => ServerChange::Max(words.number(&what, 0, limit)?),
            "hard" => ServerChange::Hard(words.number(&what, 0, limit)?),
            "blacklist" => ServerChange::Blacklist(words.seconds(&what, 0)?),
            "weight" => ServerChange::Weight(words.number(&what, 0, limit)?),
            "prio" => ServerChange::Prio(words.number(&what, 0, limit)?),
            _ => {
                let valid = "acl, address, port, max, hard, blacklist, weight, prio";
                return Err(format!("server {id}: \"{word}\" cannot be set; there are: {valid}"));
            }
        });
    }
    if changes.is_empty() {
        return Err(format!("server {id}: nothing to change"));
    }
    Ok(Command::Server(id, changes))
}
