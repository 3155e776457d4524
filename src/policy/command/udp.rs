//! The rows of the settings of datagrams, and commands that make no sense with them.

use super::Command;
use super::server::ServerChange;
use super::setting::{Kind, Setting, Value};
use crate::endpoint::Endpoint;
use crate::policy::proxy::Version;
use crate::policy::udp::HeaderIn;

/// The most answers to a datagram, and the most silent flows, that can be asked for.
const MOST: u64 = 1_000_000;

/// The settings.
pub(super) const UDP: &[Setting] = &[
    Setting::new(
        "udp_timeout",
        "udp_timeout [SECONDS]",
        "how long a flow lasts after its last answer, or its first datagram",
        Kind::Seconds(1),
        |s| Value::Seconds(s.udp.timeout),
        |s, v| {
            if let Value::Seconds(v) = v {
                s.udp.timeout = v;
            }
        },
    ),
    Setting::new(
        "udp_responses",
        "udp_responses [N] | no udp_responses",
        "how many answers a datagram gets",
        Kind::OptionalNumber { least: 0, most: MOST },
        |s| Value::OptionalNumber(s.udp.responses.map(u64::from)),
        |s, v| {
            if let Value::OptionalNumber(v) = v {
                s.udp.responses = v.map(|v| v as u32);
            }
        },
    ),
    Setting::new(
        "udp_silence",
        "udp_silence [N]",
        "blacklist a server that does not answer N new flows in a row; 0, never",
        Kind::Number { least: 0, most: MOST, grows: false },
        |s| Value::Number(u64::from(s.udp.silence)),
        |s, v| {
            if let Value::Number(v) = v {
                s.udp.silence = v as u32;
            }
        },
    ),
    Setting::new(
        "udp_proxy",
        "udp_proxy [first|each]",
        "which datagrams of a flow begin with the PROXY header",
        Kind::Choice {
            words: || HeaderIn::WORDS.iter().map(|(word, _)| *word).collect(),
            not: "\"%\" is unknown",
            lists: true,
            missing: None,
        },
        |s| Value::Choice(s.udp.proxy.word()),
        |s, v| {
            if let Some((_, which)) = HeaderIn::WORDS.iter().find(|(word, _)| v == Value::Choice(word)) {
                s.udp.proxy = *which;
            }
        },
    ),
];

/// Why a command cannot be carried out by a pen for datagrams. What merely has no effect there is no reason.
pub fn objection(command: &Command) -> Option<&'static str> {
    const UNIX: &str = "a Unix domain socket cannot be used with -U";
    let is_path = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Unix(_));
    match command {
        Command::Listen(listeners) if listeners.places().iter().any(|(_, endpoint)| is_path(endpoint)) => Some(UNIX),
        Command::Set(_, Value::Server(Some(endpoint))) if is_path(endpoint) => Some(UNIX),
        Command::Set(setting, Value::Path(Some(_))) if setting.word == "ssl_certificate" => {
            Some("TLS with clients needs TCP: it cannot be used with -U")
        }
        Command::Set(setting, Value::Choice(word)) if setting.word == "accept_proxy" && *word != "off" => {
            Some("PROXY headers of clients need TCP: they cannot be used with -U")
        }
        Command::Set(setting, Value::Switch(true)) if setting.word == "dummy" => {
            Some("the built-in web server needs TCP: it cannot be used with -U")
        }
        Command::Server(_, changes) => changes.iter().find_map(|change| match change {
            ServerChange::Address(endpoint) if is_path(endpoint) => Some(UNIX),
            ServerChange::Tls(true) => Some("TLS with servers needs TCP: it cannot be used with -U"),
            ServerChange::SendProxy(Some(Version::V1)) => Some("send_proxy v1 needs TCP: with -U there is v2"),
            _ => None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_tcp_is_refused_and_what_has_no_effect_is_not() {
        for (line, expected) in [
            ("listen /run/x", Some("Unix")),
            ("server 0 address /run/x", Some("Unix")),
            ("emergency /run/x", Some("Unix")),
            ("ssl_certificate /x", Some("TLS")),
            ("server 0 tls on", Some("TLS")),
            ("server 0 send_proxy v1", Some("v2")),
            ("accept_proxy any", Some("PROXY")),
            ("dummy", Some("web server")),
            ("no ssl_certificate", None),
            ("server 0 tls off", None),
            ("server 0 send_proxy v2", None),
            ("accept_proxy off", None),
            ("no dummy", None),
            ("http", None),
            ("listen 53", None),
        ] {
            let objection = objection(&Command::parse(line, None).unwrap());
            assert_eq!(objection.is_some(), expected.is_some(), "{line}");
            assert!(objection.unwrap_or_default().contains(expected.unwrap_or_default()), "{line}: {objection:?}");
        }
    }
}
