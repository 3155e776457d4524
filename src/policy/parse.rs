//! Reads the command language. Every error names the culprit and what would have been valid.

use std::path::PathBuf;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

use super::acl::Net;
use super::clients::Clients;
use super::command::{Command, ServerChange};
use super::servers::Place;
use super::settings::{FastClose, Tracking};
use crate::endpoint::{Host, Port, split_fields};
use crate::id::{AclId, ServerId};

/// The longest time that can be set, a year in seconds: long enough for anyone, short enough to add to any clock.
pub const LONGEST: u64 = 31_536_000;

/// The most connections that can be asked for: more than any kernel has descriptors for.
pub const MOST_CONNECTIONS: u64 = 1_000_000;

type Switch = fn(bool) -> Command;

/// Switches: the word, and the command it makes with and without `no`.
const SWITCHES: [(&str, Switch); 10] = [
    ("ascii", Command::Ascii),
    ("dummy", Command::Dummy),
    ("hash", Command::Hash),
    ("keepalive", Command::Keepalive),
    ("prio", Command::Prio),
    ("roundrobin", Command::Roundrobin),
    ("stubborn", Command::Stubborn),
    ("tcp_nodelay", Command::TcpNodelay),
    ("transparent", Command::Transparent),
    ("weight", Command::Weight),
];

/// The other words that begin a command.
const WORDS: &str = "abuse, acl, blacklist, client_acl, clients_max, conn_max, debug, emergency, idle_timeout, server, \
                     source, tcp_fastclose, timeout, tracking";

impl Command {
    /// Reads one command. A server that names no port gets `port`, that of the listener, if there is one.
    pub fn parse(line: &str, port: Option<&Port>) -> Result<Self, String> {
        let mut words = Words::new(line);
        let command = parse(&mut words, port)?;
        words.end()?;
        Ok(command)
    }

    /// Reads a server as an operand gives it, `host:port:soft:hard:weight:prio` (pen(1)), into the command that adds it.
    /// Everything but the host may be left out or empty; a server without a port gets `port`.
    pub fn parse_server(id: ServerId, text: &str, port: Option<&Port>) -> Result<Self, String> {
        let fields = split_fields(text)?;
        let (place, port) = parse_place(text, &fields, port)?;
        let mut changes = vec![ServerChange::Address(place), ServerChange::Port(port)];
        for (position, field) in fields.iter().enumerate().skip(2).filter(|(_, field)| !field.is_empty()) {
            let value = |what| number(what, field, 0, u64::from(u32::MAX));
            changes.push(match position {
                2 => ServerChange::Max(value("soft limit")?),
                3 => ServerChange::Hard(value("hard limit")?),
                4 => ServerChange::Weight(value("weight")?),
                5 => ServerChange::Prio(value("prio")?),
                _ => return Err(format!("\"{text}\" has more than host:port:soft:hard:weight:prio")),
            });
        }
        Ok(Self::Server(id, changes))
    }
}

/// Reads a whole number within bounds.
pub fn number<T: TryFrom<u64>>(what: &str, text: &str, least: u64, most: u64) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { u64::from_str(text).ok() } else { None };
    value
        .filter(|n| (least..=most).contains(n))
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("{what}: \"{text}\" is not a number from {least} to {most}"))
}

/// Reads a time in whole seconds.
pub fn seconds(what: &str, text: &str, least: u64) -> Result<Duration, String> {
    number(what, text, least, LONGEST).map(Duration::from_secs)
}

fn parse(words: &mut Words<'_>, port: Option<&Port>) -> Result<Command, String> {
    let first = words.next("a command")?;
    let (on, word) = if first == "no" { (false, words.next("a command after \"no\"")?) } else { (true, first) };
    if let Some((_, switch)) = SWITCHES.iter().find(|(name, _)| *name == word) {
        return Ok(switch(on));
    }
    match (word, on) {
        ("abuse", true) => parse_upstream(words, port).map(Some).map(Command::Abuse),
        ("abuse", false) => Ok(Command::Abuse(None)),
        ("acl", true) => parse_acl(words),
        ("acl", false) => Ok(Command::NoAcl(words.acl("no acl")?)),
        ("blacklist", true) => Ok(Command::Blacklist(words.seconds("blacklist", 0)?)),
        ("client_acl", true) => Ok(Command::ClientAcl(words.acl("client_acl")?)),
        ("clients_max", true) => Ok(Command::ClientsMax(words.number("clients_max", 1, Clients::MAX as u64)?)),
        ("conn_max", true) => Ok(Command::ConnMax(words.number("conn_max", 1, MOST_CONNECTIONS)?)),
        ("debug", true) => Ok(Command::Debug(words.number("debug", 0, 255)?)),
        ("emergency", true) => parse_upstream(words, port).map(Some).map(Command::Emergency),
        ("emergency", false) => Ok(Command::Emergency(None)),
        ("idle_timeout", true) => {
            let time = words.seconds("idle_timeout", 0)?;
            Ok(Command::IdleTimeout(Some(time).filter(|time| !time.is_zero())))
        }
        ("server", true) => parse_server_changes(words),
        ("source", true) => {
            let text = words.next("a local address")?;
            let ip = text.parse().map_err(|_| format!("source: \"{text}\" is not an IPv4 or IPv6 address"))?;
            Ok(Command::Source(Some(ip)))
        }
        ("source", false) => Ok(Command::Source(None)),
        ("tcp_fastclose", true) => {
            let text = words.next("up, down, both or off")?;
            let ends = FastClose::WORDS.iter().find(|(word, _)| *word == text);
            let (_, ends) = ends.ok_or_else(|| format!("tcp_fastclose: \"{text}\" is not up, down, both or off"))?;
            Ok(Command::TcpFastclose(*ends))
        }
        ("timeout", true) => Ok(Command::Timeout(words.seconds("timeout", 1)?)),
        ("tracking", true) => Ok(Command::Tracking(match words.seconds("tracking", 0)? {
            Duration::ZERO => Tracking::Forever,
            time => Tracking::For(time),
        })),
        ("tracking", false) => Ok(Command::Tracking(Tracking::Off)),
        _ => {
            let switches: Vec<_> = SWITCHES.iter().map(|(name, _)| *name).collect();
            let no = if on { "" } else { "no " };
            Err(format!("unknown command \"{no}{word}\"; there are: {WORDS}, [no] {}", switches.join(", [no] ")))
        }
    }
}

fn parse_acl(words: &mut Words<'_>) -> Result<Command, String> {
    let list = words.acl("acl")?;
    let permit = match words.next("permit or deny")? {
        "permit" => true,
        "deny" => false,
        other => return Err(format!("acl: \"{other}\" is neither permit nor deny")),
    };
    let source = words.next("an address")?;
    let net = Net::parse(source, words.optional()).map_err(|e| format!("acl: {e}"))?;
    Ok(Command::Acl { list, permit, net })
}

fn parse_server_changes(words: &mut Words<'_>) -> Result<Command, String> {
    let text = words.next("a server number")?;
    let id = number(&format!("server {text}"), text, 0, u64::from(ServerId::MAX))?;
    let id = ServerId::new(id).ok_or_else(|| format!("server: \"{text}\" is not a server number"))?;
    let mut changes = Vec::new();
    while let Some(word) = words.optional() {
        let what = format!("server {id} {word}");
        let limit = u64::from(u32::MAX);
        changes.push(match word {
            "acl" => ServerChange::Acl(words.acl(&what)?),
            "address" => {
                let text = words.next("an address")?;
                ServerChange::Address(if text.starts_with('/') {
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

/// `host[:port]` or `/path` as the next word.
fn parse_upstream(words: &mut Words<'_>, port: Option<&Port>) -> Result<(Place, Port), String> {
    let text = words.next("host:port")?;
    let fields = split_fields(text)?;
    if fields.len() > 2 {
        return Err(format!("\"{text}\" is not host:port"));
    }
    parse_place(text, &fields, port)
}

/// The first two fields of a server, host and port.
fn parse_place(text: &str, fields: &[&str], default: Option<&Port>) -> Result<(Place, Port), String> {
    let host = fields[0];
    if host.is_empty() {
        return Err(format!("\"{text}\" names no host"));
    }
    let port = match fields.get(1) {
        Some(port) if !port.is_empty() => Some(Port::parse(port).map_err(|e| format!("\"{text}\": {e}"))?),
        _ => default.cloned(),
    };
    if host.starts_with('/') {
        return Ok((Place::Unix(PathBuf::from(host)), port.unwrap_or(Port::Number(0))));
    }
    if text.starts_with('[') && Host::new(host).addresses().is_empty() {
        return Err(format!("\"{text}\": \"{host}\" is not an IPv6 address"));
    }
    let port = port.ok_or_else(|| format!("\"{text}\" names no port, and the listener has none to take over"))?;
    Ok((Place::Tcp(Host::new(host)), port))
}

/// The words of one line.
struct Words<'a> {
    line: &'a str,
    rest: SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self { line, rest: line.split_ascii_whitespace() }
    }

    fn optional(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.rest.next().ok_or_else(|| format!("\"{}\": {what} is missing", self.line.trim()))
    }

    fn number<T: TryFrom<u64>>(&mut self, what: &str, least: u64, most: u64) -> Result<T, String> {
        number(what, self.next("a number")?, least, most)
    }

    fn seconds(&mut self, what: &str, least: u64) -> Result<Duration, String> {
        seconds(what, self.next("a number of seconds")?, least)
    }

    fn acl(&mut self, what: &str) -> Result<AclId, String> {
        let text = self.next("the number of an access list")?;
        let list = number(what, text, 0, 9).ok().and_then(AclId::new);
        list.ok_or_else(|| format!("{what}: \"{text}\" is not an access list from 0 to 9"))
    }

    fn end(&mut self) -> Result<(), String> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => Err(format!("\"{}\": nothing is expected from \"{word}\" on", self.line.trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Command, String> {
        Command::parse(line, Some(&Port::Number(80)))
    }

    #[test]
    fn a_command_prints_as_it_is_read() {
        for line in [
            "abuse /run/x.sock",
            "no abuse",
            "acl 1 permit 10.0.0.0 255.0.0.0",
            "acl 9 deny 2001:db8::/32",
            "no acl 3",
            "ascii",
            "no ascii",
            "blacklist 0",
            "client_acl 4",
            "clients_max 7",
            "conn_max 9",
            "debug 2",
            "no dummy",
            "emergency [::1]:25",
            "emergency www:http",
            "idle_timeout 0",
            "idle_timeout 9",
            "no keepalive",
            "server 3 acl 1 address 10.0.0.1 port 80 max 1 hard 2 blacklist 3 weight 4 prio 5",
            "server 0 address ::1 port 0",
            "server 1 address /run/s",
            "source ::1",
            "no source",
            "tcp_fastclose both",
            "tcp_nodelay",
            "timeout 3",
            "tracking 0",
            "tracking 60",
            "no tracking",
            "transparent",
        ] {
            assert_eq!(read(line).map(|c| c.to_string()).as_deref(), Ok(line));
        }
        assert_eq!(read("  emergency \t www ").unwrap().to_string(), "emergency www:80");
    }

    #[test]
    fn an_error_names_the_culprit() {
        for (line, error) in [
            ("", "\"\": a command is missing"),
            ("acl 10 permit ::1", "acl: \"10\" is not an access list from 0 to 9"),
            ("acl 1 allow ::1", "acl: \"allow\" is neither permit nor deny"),
            ("acl 1 permit", "\"acl 1 permit\": an address is missing"),
            ("blacklist abc", "blacklist: \"abc\" is not a number from 0 to 31536000"),
            ("blacklist -1", "blacklist: \"-1\" is not a number from 0 to 31536000"),
            ("conn_max 99999999", "conn_max: \"99999999\" is not a number from 1 to 1000000"),
            ("timeout 0", "timeout: \"0\" is not a number from 1 to 31536000"),
            ("server 99999999 port 1", "server 99999999: \"99999999\" is not a number from 0 to 9999"),
            (
                "server 1 color red",
                "server 1: \"color\" cannot be set; there are: acl, address, port, max, hard, blacklist, weight, prio",
            ),
            ("server 1", "server 1: nothing to change"),
            ("tcp_nodelay yes", "\"tcp_nodelay yes\": nothing is expected from \"yes\" on"),
            ("tcp_fastclose", "\"tcp_fastclose\": up, down, both or off is missing"),
        ] {
            assert_eq!(read(line), Err(error.to_string()));
        }
        assert!(read("no such").unwrap_err().starts_with("unknown command \"no such\"; there are: abuse, acl,"));
        assert!(Command::parse("emergency www", None).is_err());
    }

    #[test]
    fn a_server_operand_becomes_the_command_that_adds_it() {
        let server = |text: &str| Command::parse_server(ServerId::new(2).unwrap(), text, Some(&Port::Number(80)));
        let reads = |text| server(text).map(|c| c.to_string());
        assert_eq!(reads("www1:8000:10").as_deref(), Ok("server 2 address www1 port 8000 max 10"));
        assert_eq!(reads("www3").as_deref(), Ok("server 2 address www3 port 80"));
        assert_eq!(
            reads("[::1]:25:1:2:3:4").as_deref(),
            Ok("server 2 address ::1 port 25 max 1 hard 2 weight 3 prio 4")
        );
        assert_eq!(reads("a::::5").as_deref(), Ok("server 2 address a port 80 weight 5"));
        assert_eq!(reads("/run/s::9").as_deref(), Ok("server 2 address /run/s port 80 max 9"));
        assert_eq!(reads("a:0"), Err(String::from("\"a:0\": port \"0\" is not a number from 1 to 65535")));
        assert_eq!(reads("a:1:x"), Err(String::from("soft limit: \"x\" is not a number from 0 to 4294967295")));
        assert!(reads("a:1:2:3:4:5:6").is_err());
        assert!(reads(":80").is_err());
        assert!(reads("[nonsense]:80").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_read_prints_back_to_the_same_command(line in "(no )?[a-z_]{3,14}( [a-z0-9:./]{1,9}){0,6}") {
            if let Ok(command) = read(&line) {
                prop_assert_eq!(read(&command.to_string()), Ok(command));
            }
        }

        #[test]
        fn no_line_panics_the_parser(line in ".{0,80}") {
            let _ = read(&line);
        }
    }
}
