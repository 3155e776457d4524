//! A line becomes a command.

use std::fmt;

use super::server::ServerChange;
use super::words::{Words, number};
use super::{Command, settings, table};
use crate::endpoint::{Endpoint, Port, split_fields};
use crate::id::ServerId;

/// Why a line is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// No command begins with this.
    Unknown(String),
    /// What follows the command's word is not what it takes.
    Value(String),
}

impl From<String> for ParseError {
    fn from(text: String) -> Self {
        Self::Value(text)
    }
}

impl ParseError {
    /// What the control port answers: for an unknown command pen's words, which scripts may know.
    pub fn reply(&self) -> String {
        match self {
            Self::Unknown(word) => {
                let probably =
                    table::closest(word).map_or_else(String::new, |probably| format!("; did you mean \"{probably}\"?"));
                format!("do_cmd: ignoring command starting with '{word}'{probably}\n")
            }
            Self::Value(text) => format!("{text}\n"),
        }
    }
}

/// For files and the command line: with the words that would have been valid.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => {
                let valid: Vec<_> = table::entries().iter().map(|entry| entry.word).collect();
                write!(f, "unknown command \"{word}\"")?;
                if let Some(probably) = table::closest(word) {
                    write!(f, "; did you mean \"{probably}\"?")?;
                }
                write!(f, "; there are: {}", valid.join(", "))
            }
            Self::Value(text) => f.write_str(text),
        }
    }
}

impl Command {
    /// Reads one command. A server that names no port gets `port`, that of the listener, if there is one.
    pub fn parse(line: &str, port: Option<&Port>) -> Result<Self, ParseError> {
        let mut words = Words::new(line, port);
        let first = words.next("a command")?;
        let (no, word) = if first == "no" { (true, words.next("a command after \"no\"")?) } else { (false, first) };
        let command = match settings::find(word) {
            Some(setting) => match setting.none().filter(|_| no) {
                Some(none) => Self::Set(setting, none),
                None if no => return Err(ParseError::Unknown(format!("no {word}"))),
                None if setting.is_shown() && words.is_empty() => Self::Get(setting),
                None => Self::Set(setting, setting.read(word, &mut words)?),
            },
            None => table::read(no, word, &mut words)
                .ok_or_else(|| ParseError::Unknown(if no { format!("no {word}") } else { word.to_string() }))??,
        };
        words.end()?;
        Ok(command)
    }

    /// Reads a server as an operand gives it, `host:port:soft:hard:weight:prio` (pen(1)), into the command that adds it.
    /// Everything but the host may be left out or empty; a server without a port gets `port`.
    pub fn parse_server(id: ServerId, text: &str, port: Option<&Port>) -> Result<Self, String> {
        let fields = split_fields(text)?;
        if fields.len() > 6 {
            return Err(format!("\"{text}\" has more than host:port:soft:hard:weight:prio"));
        }
        let (endpoint, port) = Endpoint::from_fields(text, &fields, port)?;
        let mut changes = vec![ServerChange::Address(endpoint), ServerChange::Port(port)];
        for (position, field) in fields.iter().enumerate().skip(2).filter(|(_, field)| !field.is_empty()) {
            let value = |what| number(what, field, 0, u64::from(u32::MAX));
            changes.push(match position {
                2 => ServerChange::Max(value("soft limit")?),
                3 => ServerChange::Hard(value("hard limit")?),
                4 => ServerChange::Weight(value("weight")?),
                _ => ServerChange::Prio(value("prio")?),
            });
        }
        Ok(Self::Server(id, changes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            "half_closed_timeout 0",
            "idle_timeout 0",
            "idle_timeout 9",
            "no keepalive",
            "log /var/log/my pen.log",
            "log [::1]:9999",
            "no log",
            "server 3 acl 1 address 10.0.0.1 port 80 max 1 hard 2 blacklist 3 weight 4 prio 5",
            "server 0 address ::1 port 0",
            "server 1 address /run/s",
            "server 1 check_interval 5 check_timeout - check_rise 1 check_port 8080 check http /up status 200",
            "server 1 check off",
            "server 1 check -",
            "server 1 down it is on fire",
            "check expect \"EHLO x\\r\\n\" 250",
            "no check",
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
                "server 1: \"color\" cannot be set; there are: acl, address, port, max, hard, blacklist, weight, prio, \
                 tls, tls_verify, tls_name, tls_ca, tls_cert, tls_key, send_proxy, check, check_interval, check_timeout, \
                 check_rise, check_fall, check_port, up, down, drain, maint, ready, close",
            ),
            ("server 1", "server 1: nothing to change"),
            ("tcp_nodelay yes", "\"tcp_nodelay yes\": nothing is expected from \"yes\" on"),
            ("tcp_fastclose", "do_cmd: ignoring tcp_fastclose without argument"),
            ("log www:", "log: \"www:\" names no port"),
            ("dsr_if", "dsr_if is not supported by this version of pen"),
        ] {
            assert_eq!(read(line), Err(ParseError::Value(error.to_string())));
        }
        let unknown = read("no such").unwrap_err();
        assert!(
            unknown
                .to_string()
                .starts_with("unknown command \"no such\"; there are: abort_on_error, abuse, accept_proxy, acl,")
        );
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
}
