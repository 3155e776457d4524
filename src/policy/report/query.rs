//! The questions of the command language.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name; `help` says what it asks")]
pub enum Query {
    Configuration,
    Connection(u64),
    Connections(Format),
    Control,
    Explain(IpAddr),
    Geoip,
    Handshakes(Format),
    Health,
    HttpHeaders,
    Listen,
    Mode,
    Pid,
    Recent(Duration, Format),
    Requests(Format),
    Servers(Format),
    Socket(u64),
    Status,
    Summary,
    Version,
    Watch(Format),
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
            Self::Connection(n) => return write!(f, "connection {n}"),
            Self::Configuration => "configuration",
            Self::Connections(Format::Text) => "connections",
            Self::Connections(Format::Json) => "connections json",
            Self::Control => "control",
            Self::Explain(ip) => return write!(f, "explain {ip}"),
            Self::Geoip => "geoip",
            Self::Handshakes(Format::Text) => "handshakes",
            Self::Handshakes(Format::Json) => "handshakes json",
            Self::Health => "health",
            Self::HttpHeaders => "http_header",
            Self::Listen => "listen",
            Self::Mode => "mode",
            Self::Pid => "pid",
            Self::Recent(time, Format::Text) => return write!(f, "recent {}", time.as_secs()),
            Self::Recent(time, Format::Json) => return write!(f, "recent {} json", time.as_secs()),
            Self::Requests(Format::Text) => "requests",
            Self::Requests(Format::Json) => "requests json",
            Self::Servers(Format::Text) => "servers",
            Self::Servers(Format::Json) => "servers json",
            Self::Socket(n) => return write!(f, "socket {n}"),
            Self::Status => "status",
            Self::Summary => "summary",
            Self::Version => "version",
            Self::Watch(Format::Text) => "watch",
            Self::Watch(Format::Json) => "watch json",
        };
        f.write_str(word)
    }
}
