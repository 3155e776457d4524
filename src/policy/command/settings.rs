//! The table of settings: a row each. Parsing, `help`, the getter, `write` and the command that sets it all follow from the row.

use std::sync::Arc;

use super::check::CHECKS;
use super::setting::{Kind, Setting, Touches, Value};
use super::ssl::SSL;
use super::udp::UDP;
use super::web::WEB;
use crate::policy::clients::Clients;
use crate::policy::http::forwarded::{Existing, Style};
use crate::policy::proxy::Accepts;
use crate::policy::servers::Target;
use crate::policy::settings::{Facility, FastClose, Tracking};

/// The most connections that can be asked for: more than any kernel has descriptors for.
const MOST_CONNECTIONS: u64 = 1_000_000;

/// The most idlers.
const MOST_IDLERS: u64 = 1000;

/// A row whose value is the field of that name.
macro_rules! row {
    ($word:ident, $usage:expr, $help:literal, $kind:expr, $variant:ident) => {
        row!($word, $usage, $help, $kind, |s| Value::$variant(s.$word.clone()), |s, v| {
            if let Value::$variant(v) = v {
                s.$word = v;
            }
        })
    };
    ($word:ident, $usage:expr, $help:literal, $kind:expr, $get:expr, $set:expr) => {
        Setting::new(stringify!($word), $usage, $help, $kind, $get, $set)
    };
}

macro_rules! switch {
    ($word:ident, $help:literal) => {
        row!($word, concat!("[no] ", stringify!($word)), $help, Kind::Switch, Switch)
    };
}

macro_rules! seconds {
    ($word:ident, $least:literal, $help:literal) => {
        row!($word, concat!(stringify!($word), " [SECONDS]"), $help, Kind::Seconds($least), Seconds)
    };
}

macro_rules! acl {
    ($word:ident, $help:literal) => {
        row!($word, concat!(stringify!($word), " [N]"), $help, Kind::Acl, Acl)
    };
}

macro_rules! number {
    ($word:ident, $what:literal, $least:literal, $most:expr, $help:literal) => {
        row!(
            $word,
            concat!(stringify!($word), " [", $what, "]"),
            $help,
            Kind::Number { least: $least, most: $most, grows: false },
            |s| Value::Number(s.$word as u64),
            |s, v| {
                if let Value::Number(v) = v {
                    s.$word = v as _;
                }
            }
        )
    };
}

macro_rules! server {
    ($word:ident, $help:literal) => {
        row!(
            $word,
            concat!(stringify!($word), " HOST[:PORT] | no ", stringify!($word)),
            $help,
            Kind::Server,
            |s| Value::Server(s.$word.as_ref().map(|target| target.endpoint.clone())),
            |s, v| {
                if let Value::Server(v) = v {
                    let endpoint = v.map(|new| match &s.$word {
                        Some(old) => new.or_addresses_of(&old.endpoint),
                        None => new,
                    });
                    s.$word = endpoint.map(|endpoint| Arc::new(Target::new(endpoint)));
                }
            }
        )
    };
}

/// A row for a limit in seconds, where 0 is none.
macro_rules! limit {
    ($word:ident, $help:literal) => {
        row!(
            $word,
            concat!(stringify!($word), " [SECONDS]"),
            $help,
            Kind::Seconds(0),
            |s| Value::Seconds(s.$word.unwrap_or_default()),
            |s, v| {
                if let Value::Seconds(v) = v {
                    s.$word = Some(v).filter(|time| !time.is_zero());
                }
            }
        )
    };
}

/// A row whose field is one of its type's `WORDS`.
macro_rules! choice {
    ($word:ident, $usage:expr, $type:ty, $not:expr, $lists:expr, $missing:expr, $help:literal) => {
        row!(
            $word,
            $usage,
            $help,
            Kind::Choice {
                words: || <$type>::WORDS.iter().map(|(word, _)| *word).collect(),
                not: $not,
                lists: $lists,
                missing: $missing,
            },
            |s| Value::Choice(s.$word.word()),
            |s, v| {
                if let Value::Choice(v) = v {
                    if let Some((_, value)) = <$type>::WORDS.iter().find(|(word, _)| *word == v) {
                        s.$word = *value;
                    }
                }
            }
        )
    };
}

/// The settings that `write` prints before the servers, in its order: pen's.
pub const BEFORE_SERVERS: &[Setting] = &[
    switch!(ascii, "dump traffic (debug 3) in ASCII instead of hexadecimal"),
    seconds!(blacklist, 0, "how long a server that failed is left alone"),
    acl!(client_acl, "the access list that clients must pass"),
    acl!(control_acl, "the access list that clients of the control port must pass"),
    number!(debug, "LEVEL", 0, 255, "how much is told: 0 nothing, 1 decisions, 2 sessions, 3 traffic")
        .touching(Touches::Log),
    switch!(hash, "choose the first server by a hash of the client's address"),
    switch!(
        http,
        "tell the servers in each HTTP request where it comes from (-H): X-Forwarded-For and X-Forwarded-Proto"
    ),
    row!(log, "log [FILE|HOST:PORT] | no log", "where requests are logged: in a file, or by penlogd", Kind::Log, Log),
    switch!(roundrobin, "servers in turn, without remembering clients"),
];

/// Those that it prints behind the servers: pen's in pen's order, then ours.
pub const AFTER_SERVERS: &[Setting] = &[
    switch!(stubborn, "no failover"),
    choice!(
        tcp_fastclose,
        "tcp_fastclose up|down|both|off",
        FastClose,
        "\"%\" is not up, down, both or off",
        false,
        Some("do_cmd: ignoring tcp_fastclose without argument"),
        "which closing end closes both"
    ),
    switch!(tcp_nodelay, "TCP_NODELAY on the sockets of sessions"),
    seconds!(timeout, 1, "how long a connect may take"),
    row!(
        tracking,
        "tracking [SECONDS] | no tracking",
        "how long clients are remembered; 0, for ever",
        Kind::OptionalSeconds,
        |s| Value::OptionalSeconds(s.tracking.time()),
        |s, v| {
            if let Value::OptionalSeconds(v) = v {
                s.tracking = Tracking::from(v);
            }
        }
    ),
    row!(web_stats, "web_stats [FILE] | no web_stats", "the file for the status page", Kind::Path, Path),
    switch!(weight, "choose by weight").touching(Touches::Weights),
    switch!(prio, "choose by priority"),
    switch!(abort_on_error, "dump core when pen must give up"),
    choice!(
        accept_proxy,
        "accept_proxy [off|v1|v2|any]",
        Accepts,
        "\"%\" is not off, v1, v2 or any",
        false,
        None,
        "which PROXY header clients must send first, with the address that counts as theirs"
    ),
    server!(abuse, "the server for clients that client_acl denies"),
    number!(clients_max, "N", 1, Clients::MAX as u64, "size of the client table; it can only grow")
        .growing()
        .touching(Touches::Clients),
    number!(conn_max, "N", 1, MOST_CONNECTIONS, "most simultaneous connections; it can only grow")
        .growing()
        .touching(Touches::Sessions),
    switch!(dummy, "answer HTTP requests with a tiny page instead of balancing"),
    server!(emergency, "the server for when no other is left"),
    limit!(
        half_closed_timeout,
        "end sessions of which one side has ended and the other is silent for so long; 0, never"
    ),
    choice!(
        http_forwarded,
        "http_forwarded [keep|append|replace]",
        Existing,
        "\"%\" is not keep, append or replace",
        false,
        None,
        "what is done with an X-Forwarded-For that a request has already"
    ),
    choice!(
        http_forwarded_style,
        "http_forwarded_style [x|rfc7239|both]",
        Style,
        "\"%\" is not x, rfc7239 or both",
        false,
        None,
        "which headers name the client: X-Forwarded-For, Forwarded, or both"
    ),
    switch!(http_strict, "answer 400 to HTTP requests that servers might read in different ways"),
    limit!(idle_timeout, "end sessions that are silent for so long; 0, never")
        .shown(|value, _| format!("Idle timeout: {} seconds\n", value.line().trim_end())),
    number!(idlers, "N", 0, MOST_IDLERS, "keep N idle connections to the servers")
        .touching(Touches::Idlers)
        .shown(|value, context| format!("Idlers: {}/{}", context.idlers, value.line())),
    switch!(keepalive, "SO_KEEPALIVE on the sockets of sessions"),
    row!(
        log_format,
        "log_format [requests|connections|json|FORMAT] | no log_format",
        "what a line of the log tells: of a request, or of a connection",
        Kind::Format,
        Format
    ),
    switch!(peek, "choose the server after the client's first bytes"),
    acl!(proxy_acl, "the access list of those that may send a PROXY header"),
    seconds!(proxy_timeout, 1, "how long the PROXY header of a client may take"),
    row!(
        resolve,
        "resolve [SECONDS] | no resolve",
        "look the names of the servers up again that often; 0, never",
        Kind::Interval,
        OptionalSeconds
    ),
    row!(source, "source ADDRESS | no source", "local address towards the servers", Kind::Address, Address)
        .touching(Touches::Idlers),
    choice!(
        syslog_facility,
        "syslog_facility [NAME]",
        Facility,
        "\"%\" is not a facility",
        true,
        None,
        "the facility of messages to syslog"
    )
    .touching(Touches::Log),
    switch!(transparent, "the client's address as the source address towards the server"),
];

/// All settings.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    BEFORE_SERVERS.iter().chain(AFTER_SERVERS).chain(SSL).chain(CHECKS).chain(UDP).chain(WEB)
}

/// The setting of that word.
pub fn find(word: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.word == word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::policy::balancer::Balancer;
    use crate::policy::command::Command;
    use crate::policy::identity::Identity;
    use crate::policy::report::Context;
    use crate::policy::settings::Settings;

    /// Values that the setting can take, each of them another than its default.
    fn samples(setting: &Setting) -> Vec<Value> {
        let default = setting.value(&Settings::default());
        let samples = match setting.kind {
            Kind::Switch => vec![Value::Switch(true), Value::Switch(false)],
            Kind::Number { least, most, .. } => vec![Value::Number(least), Value::Number(most.min(99))],
            Kind::OptionalNumber { least, most } => {
                [None, Some(least), Some(most.min(99))].map(Value::OptionalNumber).to_vec()
            }
            Kind::Seconds(least) => [least, 77].map(|n| Value::Seconds(Duration::from_secs(n))).to_vec(),
            Kind::OptionalSeconds => {
                [None, Some(0), Some(77)].map(|n| Value::OptionalSeconds(n.map(Duration::from_secs))).to_vec()
            }
            Kind::Interval => {
                [None, Some(1), Some(77)].map(|n| Value::OptionalSeconds(n.map(Duration::from_secs))).to_vec()
            }
            Kind::Acl => vec![Value::Acl(crate::id::AclId::new(7).unwrap())],
            Kind::Choice { words, .. } => words().into_iter().map(Value::Choice).collect(),
            Kind::Words { valid, .. } => {
                let word = valid.last().copied().unwrap_or("http/1.1");
                vec![Value::Words(vec![word.to_string()]), Value::Words(Vec::new())]
            }
            Kind::Check => ["tcp", "http /up status 200"]
                .map(|text| setting.read("x", &mut crate::policy::command::words::Words::new(text, None)).unwrap())
                .to_vec(),
            Kind::Path
            | Kind::Program
            | Kind::Text
            | Kind::Log
            | Kind::Format
            | Kind::Places
            | Kind::Server
            | Kind::Address => {
                let text = match setting.kind {
                    Kind::Server => "192.0.2.1:80",
                    Kind::Places => "127.0.0.1:8080 [::1]:8080 /run/pen-web",
                    Kind::Address => "2001:db8::1",
                    Kind::Format => "a $client  $$",
                    _ => "/a file",
                };
                vec![setting.read("x", &mut crate::policy::command::words::Words::new(text, None)).unwrap()]
            }
        };
        samples.into_iter().filter(|sample| *sample != default).collect()
    }

    #[test]
    fn no_word_is_there_twice() {
        let words: BTreeSet<_> = all().map(|setting| setting.word).collect();
        assert_eq!(words.len(), all().count());
    }

    #[test]
    fn what_is_set_is_got_printed_parsed_and_written_once() {
        for setting in all() {
            let samples = samples(setting);
            assert!(!samples.is_empty(), "{}", setting.word);
            for value in samples {
                let mut settings = Settings::default();
                setting.set(&mut settings, value.clone(), false);
                assert_eq!(setting.value(&settings), value, "{}", setting.word);
                for other in all().filter(|other| *other != setting) {
                    assert_eq!(other.value(&settings), other.value(&Settings::default()), "{}", setting.word);
                }
                let (command, now) = (Command::Set(setting, value), Instant::now());
                let line = command.to_string();
                assert_eq!(Command::parse(&line, None).as_ref(), Ok(&command), "{line}");
                let mut balancer = Balancer::new(Identity::default(), String::from("80"));
                balancer.apply(command.clone(), &Context::start(now));
                let written = balancer.to_commands(now);
                assert_eq!(written.iter().filter(|other| **other == command).count(), 1, "{line}");
                // And back to the default, which for many is the `no` form.
                let default = Command::Set(setting, setting.value(&Settings::default()));
                let line = default.to_string();
                assert_eq!(Command::parse(&line, None).as_ref(), Ok(&default), "{line}");
                balancer.apply(default.clone(), &Context::start(now));
                assert!(balancer.to_commands(now).contains(&default), "{line}");
                assert_eq!(setting.value(balancer.settings()), setting.value(&Settings::default()), "{line}");
            }
        }
    }

    #[test]
    fn a_word_alone_shows_the_value_or_tells_what_is_missing() {
        for setting in all() {
            let parsed = Command::parse(setting.word, None);
            match setting.kind {
                Kind::Switch => assert_eq!(parsed, Ok(Command::Set(setting, Value::Switch(true)))),
                _ if setting.is_shown() => assert_eq!(parsed, Ok(Command::Get(setting))),
                _ => assert!(parsed.is_err(), "{}", setting.word),
            }
            let no = Command::parse(&format!("no {}", setting.word), None);
            assert_eq!(no.ok(), setting.none().map(|none| Command::Set(setting, none)), "{}", setting.word);
        }
    }

    #[test]
    fn what_can_only_grow_does_not_shrink_once_pen_serves() {
        for word in ["clients_max", "conn_max"] {
            let (setting, mut settings) = (find(word).unwrap(), Settings::default());
            for (new, serving, expected) in [(10, false, 10), (20, true, 20), (5, true, 20)] {
                setting.set(&mut settings, Value::Number(new), serving);
                assert_eq!(setting.value(&settings), Value::Number(expected));
            }
        }
    }
}
