//! The command language: everything that steers pen is one of these, wherever it was said.
//!
//! [`commands`] reads them, `Display` prints them back in the form in which they are read.

pub mod apply;
pub mod file;
pub mod parse;
pub mod server;
pub mod table;
mod write;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use self::parse::{ParseError, Words};
use self::server::ServerChange;
use crate::endpoint::{Endpoint, Host, Port};
use crate::id::{AclId, ServerId};
use crate::policy::acl::Whom;
use crate::policy::country::GeoipFile;
use crate::policy::report::query::Query;
use crate::policy::servers::Place;
use crate::policy::settings::{Facility, FastClose, LogTarget, Tracking};

/// One command (penctl(1)).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `[no] abort_on_error`.
    AbortOnError(bool),
    /// `abuse HOST[:PORT]`, `no abuse`, `-B`: the server for clients that `client_acl` denies.
    Abuse(Option<(Place, Port)>),
    /// `acl N permit|deny …`: adds an entry to a list.
    Acl {
        /// The list.
        list: AclId,
        /// Permit or deny.
        permit: bool,
        /// Whom.
        whom: Whom,
    },
    /// `no acl N`: empties a list.
    NoAcl(AclId),
    /// `[no] ascii`, `-a`.
    Ascii(bool),
    /// `blacklist T`, `-b`, in whole seconds.
    Blacklist(Duration),
    /// `client_acl N`.
    ClientAcl(AclId),
    /// `clients_max N`, `-c`.
    ClientsMax(usize),
    /// `close N`.
    Close(usize),
    /// `conn_max N`, `-x`.
    ConnMax(usize),
    /// `control_acl N`.
    ControlAcl(AclId),
    /// `debug N`, `-d`.
    Debug(u8),
    /// `[no] dummy`.
    Dummy(bool),
    /// `emergency HOST[:PORT]`, `no emergency`, `-e`: the server of last resort.
    Emergency(Option<(Place, Port)>),
    /// `exit`.
    Exit,
    /// `geoip FILE`, `no geoip`: what knows the countries of addresses. A name without its content must be read first.
    Geoip(Option<GeoipFile>),
    /// `[no] hash`, `-h`.
    Hash(bool),
    /// `idle_timeout N`, in whole seconds; `None` for 0.
    IdleTimeout(Option<Duration>),
    /// `idlers N`.
    Idlers(usize),
    /// `include FILE`: replaced by what the file says before anything is carried out.
    Include(PathBuf),
    /// `[no] keepalive`.
    Keepalive(bool),
    /// `listen [ADDRESS:]PORT`, as it was written and as it is understood.
    Listen(String, Endpoint),
    /// `log FILE`, `log HOST:PORT`, `no log`, `-l`.
    Log(Option<LogTarget>),
    /// A command that changes nothing, as it was written: an obsolete word, or the `no` form of what is not there.
    Nothing(String),
    /// `[no] peek`.
    Peek(bool),
    /// `[no] prio`.
    Prio(bool),
    /// The file of `geoip` has changed since it was read, and was read again. Nobody says this, and it means nothing if somebody
    /// has said `geoip` meanwhile.
    Renew(GeoipFile, GeoipFile),
    /// `[no] roundrobin`, `-r`.
    Roundrobin(bool),
    /// `server N …`: changes a server, or adds it.
    Server(ServerId, Vec<ServerChange>),
    /// A question.
    Show(Query),
    /// `source IP`, `no source`.
    Source(Option<IpAddr>),
    /// `[no] stubborn`, `-s`.
    Stubborn(bool),
    /// `syslog_facility NAME`.
    SyslogFacility(Facility),
    /// `tcp_fastclose up|down|both|off`.
    TcpFastclose(FastClose),
    /// `[no] tcp_nodelay`.
    TcpNodelay(bool),
    /// `timeout N`, `-t`, in whole seconds.
    Timeout(Duration),
    /// `tracking N`, `no tracking`, `-T`, `-N`, in whole seconds.
    Tracking(Tracking),
    /// `[no] transparent`.
    Transparent(bool),
    /// `web_stats FILE`, `no web_stats`, `-w`.
    WebStats(Option<PathBuf>),
    /// `[no] weight`, `-W`.
    Weight(bool),
    /// `write [FILE]`.
    Write(Option<PathBuf>),
}

impl Command {
    /// Reads one command. A server that names no port gets `port`, that of the listener, if there is one.
    pub fn parse(line: &str, port: Option<&Port>) -> Result<Self, ParseError> {
        let mut words = Words::new(line, port);
        let command = table::read(&mut words)?;
        words.end()?;
        Ok(command)
    }

    /// The host names that must be resolved before the command can be applied.
    pub fn hosts(&mut self) -> Vec<&mut Host> {
        fn host(place: &mut Place) -> Option<&mut Host> {
            match place {
                Place::Tcp(host) => Some(host),
                Place::Unix(_) => None,
            }
        }
        match self {
            Self::Abuse(Some((place, _))) | Self::Emergency(Some((place, _))) => host(place).into_iter().collect(),
            Self::Log(Some(LogTarget::Udp(_, host, _))) => vec![host],
            Self::Server(_, changes) => changes
                .iter_mut()
                .filter_map(|change| if let ServerChange::Address(place) = change { host(place) } else { None })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The service names that must be looked up before the command can be applied.
    pub fn ports(&mut self) -> Vec<&mut Port> {
        match self {
            Self::Abuse(Some((_, port))) | Self::Emergency(Some((_, port))) => vec![port],
            Self::Log(Some(LogTarget::Udp(_, _, port))) => vec![port],
            Self::Server(_, changes) => changes
                .iter_mut()
                .filter_map(|change| if let ServerChange::Port(port) = change { Some(port) } else { None })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut switch = |on: &bool, word: &str| write!(f, "{}{word}", if *on { "" } else { "no " });
        match self {
            Self::AbortOnError(on) => switch(on, "abort_on_error"),
            Self::Ascii(on) => switch(on, "ascii"),
            Self::Dummy(on) => switch(on, "dummy"),
            Self::Hash(on) => switch(on, "hash"),
            Self::Keepalive(on) => switch(on, "keepalive"),
            Self::Peek(on) => switch(on, "peek"),
            Self::Prio(on) => switch(on, "prio"),
            Self::Roundrobin(on) => switch(on, "roundrobin"),
            Self::Stubborn(on) => switch(on, "stubborn"),
            Self::TcpNodelay(on) => switch(on, "tcp_nodelay"),
            Self::Transparent(on) => switch(on, "transparent"),
            Self::Weight(on) => switch(on, "weight"),
            Self::Abuse(None) => f.write_str("no abuse"),
            Self::Abuse(Some((place, port))) => write!(f, "abuse {}", At(place, port)),
            Self::Emergency(None) => f.write_str("no emergency"),
            Self::Emergency(Some((place, port))) => write!(f, "emergency {}", At(place, port)),
            Self::Acl { list, permit, whom } => {
                write!(f, "acl {list} {} {whom}", if *permit { "permit" } else { "deny" })
            }
            Self::NoAcl(list) => write!(f, "no acl {list}"),
            Self::Blacklist(time) => write!(f, "blacklist {}", time.as_secs()),
            Self::ClientAcl(list) => write!(f, "client_acl {list}"),
            Self::ClientsMax(n) => write!(f, "clients_max {n}"),
            Self::Close(n) => write!(f, "close {n}"),
            Self::ControlAcl(list) => write!(f, "control_acl {list}"),
            Self::Geoip(None) => f.write_str("no geoip"),
            Self::Geoip(Some(file)) | Self::Renew(_, file) => write!(f, "geoip {}", file.path().display()),
            Self::Exit => f.write_str("exit"),
            Self::Idlers(n) => write!(f, "idlers {n}"),
            Self::Include(path) => write!(f, "include {}", path.display()),
            Self::Listen(text, _) => write!(f, "listen {text}"),
            Self::Log(None) => f.write_str("no log"),
            Self::Log(Some(target)) => write!(f, "log {target}"),
            Self::Nothing(line) => f.write_str(line),
            Self::Show(query) => query.fmt(f),
            Self::WebStats(None) => f.write_str("no web_stats"),
            Self::WebStats(Some(path)) => write!(f, "web_stats {}", path.display()),
            Self::Write(None) => f.write_str("write"),
            Self::Write(Some(path)) => write!(f, "write {}", path.display()),
            Self::ConnMax(n) => write!(f, "conn_max {n}"),
            Self::Debug(level) => write!(f, "debug {level}"),
            Self::IdleTimeout(time) => write!(f, "idle_timeout {}", time.unwrap_or_default().as_secs()),
            Self::Server(id, changes) => {
                write!(f, "server {id}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Self::Source(None) => f.write_str("no source"),
            Self::Source(Some(ip)) => write!(f, "source {ip}"),
            Self::SyslogFacility(facility) => write!(f, "syslog_facility {}", facility.word()),
            Self::TcpFastclose(ends) => write!(f, "tcp_fastclose {}", ends.word()),
            Self::Timeout(time) => write!(f, "timeout {}", time.as_secs()),
            Self::Tracking(Tracking::Off) => f.write_str("no tracking"),
            Self::Tracking(Tracking::Forever) => f.write_str("tracking 0"),
            Self::Tracking(Tracking::For(time)) => write!(f, "tracking {}", time.as_secs()),
        }
    }
}

/// `host:port`, with brackets where the host has colons; a Unix socket is its path alone.
pub(super) struct At<'a>(pub(super) &'a Place, pub(super) &'a Port);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Place::Unix(path), _) => write!(f, "{}", path.display()),
            Self(Place::Tcp(host), port) if host.name().contains(':') => write!(f, "[{host}]:{port}"),
            Self(Place::Tcp(host), port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Command, ParseError> {
        Command::parse(line, Some(&Port::Number(80)))
    }

    #[test]
    fn a_command_prints_as_it_is_read() {
        for line in [
            "abuse /run/x.sock",
            "no abuse",
            "acl 1 permit 10.0.0.0 255.0.0.0",
            "acl 9 deny 2001:db8::/32",
            "acl 9 permit country SE",
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
            "geoip /usr/share/GeoIP/a b.mmdb",
            "no geoip",
            "idle_timeout 0",
            "idle_timeout 9",
            "no keepalive",
            "log /var/log/my pen.log",
            "log [::1]:9999",
            "no log",
            "server 3 acl 1 address 10.0.0.1 port 80 max 1 hard 2 blacklist 3 weight 4 prio 5",
            "server 0 address ::1 port 0",
            "server 1 address /run/s",
            "source ::1",
            "no source",
            "syslog_facility local3",
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
        let hole = read("server 2 acl 0 address (unknown address family 0 port 0 max 0 hard 0").unwrap();
        assert_eq!(hole.to_string(), "server 2 acl 0 address 0.0.0.0 port 0 max 0 hard 0");
        assert_eq!(read("include /a  b c").unwrap().to_string(), "include /a  b c");
        assert_eq!(read("  emergency \t www ").unwrap().to_string(), "emergency www:80");
    }

    #[test]
    fn an_error_names_the_culprit() {
        for (line, error) in [
            ("", "\"\": a command is missing"),
            ("acl 10 permit ::1", "acl: \"10\" is not an access list from 0 to 9"),
            ("acl 1 allow ::1", "acl: \"allow\" is neither permit nor deny"),
            ("acl 1 permit", "\"acl 1 permit\": an address is missing"),
            ("acl 1 permit country", "\"acl 1 permit country\": a country is missing"),
            ("acl 1 permit country SWE", "acl: \"SWE\" is not a country's code of two letters"),
            ("blacklist abc", "blacklist: \"abc\" is not a number from 0 to 31536000"),
            ("blacklist -1", "blacklist: \"-1\" is not a number from 0 to 31536000"),
            ("conn_max 99999999", "conn_max: \"99999999\" is not a number from 1 to 1000000"),
            ("timeout 0", "timeout: \"0\" is not a number from 1 to 31536000"),
            ("server 99999999 port 1", "server: \"99999999\" is not a number from 0 to 9999"),
            (
                "server 1 color red",
                "server 1: \"color\" cannot be set; there are: acl, address, port, max, hard, blacklist, weight, prio",
            ),
            ("server 1", "server 1: nothing to change"),
            ("tcp_nodelay yes", "\"tcp_nodelay yes\": nothing is expected from \"yes\" on"),
            ("tcp_fastclose", "do_cmd: ignoring tcp_fastclose without argument"),
            ("log www:", "log: \"www:\" names no port"),
            ("http", "http is not supported by this version of pen"),
        ] {
            assert_eq!(read(line), Err(ParseError::Value(error.to_string())));
        }
        let unknown = read("no such").unwrap_err();
        assert!(unknown.to_string().starts_with("unknown command \"no such\"; there are: abort_on_error, abuse, acl,"));
        assert_eq!(read("frob 1").unwrap_err().reply(), "do_cmd: ignoring command starting with 'frob'\n");
        assert!(Command::parse("emergency www", None).is_err());
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
