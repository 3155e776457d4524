//! The log of connections: a line for each, when it is over, in a form that `log_format` sets.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::quoted::printable;
use super::stamp::Utc;
use crate::endpoint::ClientAddr;
use crate::policy::country::Country;

/// What is known about a connection that is over.
#[derive(Clone, Debug)]
pub struct Connection {
    /// When it came: since 1970, in UTC.
    pub start: Duration,
    /// Where it came from.
    pub client: ClientAddr,
    /// The client's port; `None` for a Unix socket.
    pub client_port: Option<u16>,
    /// The country that it came from.
    pub country: Option<Country>,
    /// The server's address, or the path of its socket; `None`: it has reached none.
    pub server: Option<String>,
    /// The server's port.
    pub server_port: Option<u16>,
    /// How long it took to connect to the server, from the first attempt, also to another one.
    pub connect: Option<Duration>,
    /// How long it lasted.
    pub duration: Duration,
    /// Bytes to the server.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
    /// How it ended.
    pub end: Ending,
    /// The version of TLS that the client speaks.
    pub tls_version: Option<String>,
    /// The name that the client has asked for in TLS.
    pub tls_name: Option<String>,
}

impl Connection {
    /// A connection of which no more is known.
    pub fn new(start: Duration, client: Option<SocketAddr>, end: Ending) -> Self {
        Self {
            start,
            client: ClientAddr::new(client.map(|client| client.ip())),
            client_port: client.map(|client| client.port()),
            country: None,
            server: None,
            server_port: None,
            connect: None,
            duration: Duration::ZERO,
            up: 0,
            down: 0,
            end,
            tls_version: None,
            tls_name: None,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides were done, or one was and that was enough.
    Done,
    /// The client's connection broke, or it went before it had a server.
    Client,
    /// The server's connection broke.
    Server,
    /// Nothing moved for the idle timeout or the half-closed timeout.
    Idle,
    /// It was closed by a command.
    Closed,
    /// `client_acl` or a limit refused the client.
    Refused,
    /// No server could be connected to.
    NoServer,
    /// The client did not speak TLS as it should.
    Tls,
    /// The client's proxy did not announce it as it should.
    Proxy,
    /// pen answered itself: `dummy`.
    Dummy,
    /// It was ended by a fault in pen.
    Fault,
}

impl Ending {
    /// The word for it in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Client => "client",
            Self::Server => "server",
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::NoServer => "no_server",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Dummy => "dummy",
            Self::Fault => "fault",
        }
    }

    /// Whether the client was refused, for any reason. Such clients cost little, so there may be very many.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Tls | Self::Proxy)
    }
}

/// A form of lines, as it was written and as it is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFormat {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
    /// All fields, as a JSON object.
    Json,
}

/// Something that is known about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Start,
    Client,
    ClientPort,
    Country,
    Server,
    ServerPort,
    Connect,
    Duration,
    Up,
    Down,
    End,
    TlsVersion,
    TlsName,
}

/// The fields with their names, in the order of the form `json`.
const FIELDS: [(&str, Field); 13] = [
    ("start", Field::Start),
    ("client", Field::Client),
    ("client_port", Field::ClientPort),
    ("country", Field::Country),
    ("server", Field::Server),
    ("server_port", Field::ServerPort),
    ("connect", Field::Connect),
    ("duration", Field::Duration),
    ("up", Field::Up),
    ("down", Field::Down),
    ("end", Field::End),
    ("tls_version", Field::TlsVersion),
    ("tls_name", Field::TlsName),
];

/// The form that is called `connections`.
const CONNECTIONS: &str = "$start $client:$client_port $server:$server_port connect=$connect duration=$duration up=$up \
                           down=$down end=$end country=$country tls=$tls_version name=$tls_name";

impl LogFormat {
    /// Reads a form: the name of one, or a text with fields in it. `None` is pen 0.34.1's log of requests, which is no form of this
    /// kind.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let parts = match text {
            "requests" => return Ok(None),
            "connections" => parts(CONNECTIONS)?,
            "json" => vec![Part::Json],
            text if text.contains('$') => parts(text)?,
            text => return Err(format!("\"{text}\" is neither requests, connections, json nor a text with $ in it")),
        };
        Ok(Some(Self { text: text.to_string(), parts }))
    }

    /// Whether the country is needed.
    pub fn asks_for_country(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Json | Part::Field(Field::Country)))
    }

    /// The line of a connection, with its end.
    pub fn line(&self, connection: &Connection) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field(field) => line.push_str(&field.text(connection).unwrap_or_else(|| String::from("-"))),
                Part::Json => json(connection, &mut line),
            }
        }
        line.push('\n');
        line
    }
}

/// As it was written.
impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Takes a text with fields in it apart.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            parts.push(Part::Text(before.to_string()));
        }
        if let Some(after) = after.strip_prefix('$') {
            parts.push(Part::Text(String::from("$")));
            rest = after;
            continue;
        }
        let bare = || {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at(end)
        };
        let (name, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| format!("\"${after}\" lacks a \"}}\""))?,
            None => bare(),
        };
        let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) else {
            let known = FIELDS.map(|(name, _)| format!("${name}")).join(", ");
            return Err(format!("\"${name}\" is unknown; there are: {known}"));
        };
        parts.push(Part::Field(*field));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_string()));
    }
    Ok(parts)
}

impl Field {
    /// What it is, if it is known. It has no blanks, quotes and backslashes, whatever a client sends.
    fn text(self, connection: &Connection) -> Option<String> {
        Some(match self {
            Self::Start => moment(connection.start),
            Self::Client => connection.client.to_string(),
            Self::ClientPort => connection.client_port?.to_string(),
            Self::Country => connection.country?.to_string(),
            Self::Server => harmless(connection.server.as_deref()?),
            Self::ServerPort => connection.server_port?.to_string(),
            Self::Connect => seconds(connection.connect?),
            Self::Duration => seconds(connection.duration),
            Self::Up => connection.up.to_string(),
            Self::Down => connection.down.to_string(),
            Self::End => connection.end.word().to_string(),
            Self::TlsVersion => harmless(connection.tls_version.as_deref()?),
            Self::TlsName => harmless(connection.tls_name.as_deref()?),
        })
    }

    fn is_number(self) -> bool {
        use Field::{ClientPort, Connect, Down, Duration, ServerPort, Up};
        matches!(self, ClientPort | ServerPort | Connect | Duration | Up | Down)
    }
}

/// Adds all that is known, as an object of JSON (RFC 8259).
fn json(connection: &Connection, line: &mut String) {
    let mut separator = '{';
    for (name, field) in FIELDS {
        let value = match field.text(connection) {
            Some(text) if field.is_number() => text,
            Some(text) => format!("\"{text}\""),
            None => String::from("null"),
        };
        // Writing to a string cannot fail.
        let _ = write!(line, "{separator}\"{name}\":{value}");
        separator = ',';
    }
    line.push('}');
}

fn harmless(text: &str) -> String {
    let shown = String::from_utf8_lossy(&printable(text.as_bytes())).into_owned();
    shown.replace([' ', '"', '\\'], ".")
}

fn seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

/// A moment in the form of RFC 3339, in UTC.
fn moment(time: Duration) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let Utc { year, month, day, hour, minute, second } = Utc::at(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            start: Duration::from_millis(1_791_640_536_007),
            client: ClientAddr::new(Some("::ffff:192.0.2.1".parse().unwrap())),
            client_port: Some(4711),
            country: Some(Country::parse("SE").unwrap()),
            server: Some(String::from("10.0.0.1")),
            server_port: Some(80),
            connect: Some(Duration::from_micros(1500)),
            duration: Duration::from_millis(61_001),
            up: 5,
            down: 1 << 40,
            end: Ending::Done,
            tls_version: Some(String::from("TLSv1.3")),
            tls_name: Some(String::from("a\"\\ \n\u{e4}")),
        }
    }

    fn bare() -> Connection {
        Connection {
            duration: Duration::from_millis(61_001),
            up: 5,
            down: 1 << 40,
            ..Connection::new(Duration::from_millis(1_791_640_536_007), None, Ending::Refused)
        }
    }

    fn line(format: &str, connection: &Connection) -> String {
        LogFormat::parse(format).unwrap().unwrap().line(connection)
    }

    #[test]
    fn each_form_tells_what_is_known() {
        assert_eq!(
            line("connections", &connection()),
            "2026-10-10T13:55:36.007Z 192.0.2.1:4711 10.0.0.1:80 connect=0.001 duration=61.001 up=5 down=1099511627776 \
             end=done country=SE tls=TLSv1.3 name=a......\n"
        );
        assert_eq!(
            line("json", &bare()),
            "{\"start\":\"2026-10-10T13:55:36.007Z\",\"client\":\"local\",\"client_port\":null,\"country\":null,\"server\":null,\
             \"server_port\":null,\"connect\":null,\"duration\":61.001,\"up\":5,\"down\":1099511627776,\"end\":\"refused\",\
             \"tls_version\":null,\"tls_name\":null}\n"
        );
        assert_eq!(line("$$ ${up}b, $down$end:$tls_name", &bare()), "$ 5b, 1099511627776refused:-\n");
        assert!(line("json", &connection()).contains("\"tls_name\":\"a......\"}"));
    }

    #[test]
    fn a_form_is_written_as_it_was_and_knows_whether_it_needs_the_country() {
        for (text, country) in [("connections", true), ("json", true), ("a  $up", false), ("$country", true)] {
            let format = LogFormat::parse(text).unwrap().unwrap();
            assert_eq!((format.to_string().as_str(), format.asks_for_country()), (text, country));
        }
        assert_eq!(LogFormat::parse("requests"), Ok(None));
    }

    #[test]
    fn what_makes_no_form_is_named() {
        let error = |text: &str| LogFormat::parse(text).unwrap_err();
        assert_eq!(
            error("conections"),
            "\"conections\" is neither requests, connections, json nor a text with $ in it"
        );
        assert!(error("$up $sent").starts_with("\"$sent\" is unknown; there are: $start, $client, "));
        assert!(error("$ up").starts_with("\"$\" is unknown; "));
        assert_eq!(error("${up"), "\"${up\" lacks a \"}\"");
    }
}
