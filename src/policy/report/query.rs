//! The questions of the command language.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name; `commands::COMMANDS` says what it asks")]
pub enum Query {
    Blacklist,
    ClientAcl,
    ClientsMax,
    ConnMax,
    Connection(u64),
    Connections,
    Control,
    ControlAcl,
    Debug,
    Explain(IpAddr),
    Geoip,
    Help(Option<String>),
    IdleTimeout,
    Idlers,
    Listen,
    Log,
    Mode,
    Pid,
    Recent(Duration, Format),
    Servers(Format),
    Socket(u64),
    Status,
    SyslogFacility,
    Timeout,
    Tracking,
    Version,
    WebStats,
}

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As pen has always given it.
    Text,
    /// As JSON (RFC 8259).
    Json,
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Blacklist => "blacklist",
            Self::ClientAcl => "client_acl",
            Self::ClientsMax => "clients_max",
            Self::ConnMax => "conn_max",
            Self::Connection(n) => return write!(f, "connection {n}"),
            Self::Connections => "connections",
            Self::Control => "control",
            Self::ControlAcl => "control_acl",
            Self::Debug => "debug",
            Self::Explain(ip) => return write!(f, "explain {ip}"),
            Self::Geoip => "geoip",
            Self::Help(None) => "help",
            Self::Help(Some(word)) => return write!(f, "help {word}"),
            Self::IdleTimeout => "idle_timeout",
            Self::Idlers => "idlers",
            Self::Listen => "listen",
            Self::Log => "log",
            Self::Mode => "mode",
            Self::Pid => "pid",
            Self::Recent(time, Format::Text) => return write!(f, "recent {}", time.as_secs()),
            Self::Recent(time, Format::Json) => return write!(f, "recent {} json", time.as_secs()),
            Self::Servers(Format::Text) => "servers",
            Self::Servers(Format::Json) => "servers json",
            Self::Socket(n) => return write!(f, "socket {n}"),
            Self::Status => "status",
            Self::SyslogFacility => "syslog_facility",
            Self::Timeout => "timeout",
            Self::Tracking => "tracking",
            Self::Version => "version",
            Self::WebStats => "web_stats",
        };
        f.write_str(word)
    }
}
