//! The rows of the settings of checks, and what a server says about its own.

use super::server::ServerChange;
use super::setting::{Kind, Setting, Value};
use crate::policy::checks::{Checks, OnDown, ServerChecks};

/// The most checks in a row that can be asked for.
pub(super) const MOST_IN_A_ROW: u64 = 1000;

/// The highest port.
pub(super) const HIGHEST_PORT: u64 = 65_535;

macro_rules! row {
    ($word:literal, $usage:expr, $help:literal, $kind:expr, $checks:ident, $value:ident, $get:expr, $set:expr) => {
        Setting::new(
            $word,
            $usage,
            $help,
            $kind,
            |settings| {
                let $checks = &settings.checks;
                $get
            },
            |settings, $value| {
                let $checks = &mut settings.checks;
                $set
            },
        )
    };
}

macro_rules! seconds {
    ($word:literal, $least:literal, $help:literal, $($field:ident).+) => {
        row!($word, concat!($word, " [SECONDS]"), $help, Kind::Seconds($least), c, v, Value::Seconds(c.$($field).+), {
            if let Value::Seconds(v) = v {
                c.$($field).+ = v;
            }
        })
    };
}

macro_rules! number {
    ($word:literal, $least:literal, $help:literal, $($field:ident).+) => {
        row!(
            $word,
            concat!($word, " [N]"),
            $help,
            Kind::Number { least: $least, most: MOST_IN_A_ROW, grows: false },
            c,
            v,
            Value::Number(u64::from(c.$($field).+)),
            {
                if let Value::Number(v) = v {
                    c.$($field).+ = v as u32;
                }
            }
        )
    };
}

/// The settings.
pub(super) const CHECKS: &[Setting] = &[
    row!(
        "check",
        "check [KIND ...] | no check",
        "how servers are checked: tcp, banner, http, https, tls, expect, udp, dns, exec, file",
        Kind::Check,
        c,
        v,
        Value::Check(c.kind.clone()),
        {
            if let Value::Check(v) = v {
                c.kind = v;
            }
        }
    ),
    seconds!("check_interval", 1, "how often a server is checked", pace.interval),
    seconds!("check_timeout", 1, "how long a check may wait for the connection, and then for the answer", pace.timeout),
    number!("check_rise", 1, "so many successes in a row bring a server up", pace.limits.rise),
    number!("check_fall", 1, "so many failures in a row bring a server down", pace.limits.fall),
    row!(
        "check_port",
        "check_port [PORT] | no check_port",
        "the port of checks, where it is not the server's",
        Kind::OptionalNumber { least: 1, most: HIGHEST_PORT },
        c,
        v,
        Value::OptionalNumber(c.port.map(u64::from)),
        {
            if let Value::OptionalNumber(v) = v {
                c.port = v.map(|v| v as u16);
            }
        }
    ),
    row!(
        "check_first",
        "[no] check_first",
        "servers get clients only after their first check",
        Kind::Switch,
        c,
        v,
        Value::Switch(c.first),
        {
            if let Value::Switch(v) = v {
                c.first = v;
            }
        }
    ),
    row!(
        "check_on_down",
        "check_on_down [keep|close]",
        "what becomes of the sessions of a server that is down",
        Kind::Choice {
            words: || OnDown::WORDS.iter().map(|(word, _)| *word).collect(),
            not: "\"%\" is unknown",
            lists: true,
            missing: None,
        },
        c,
        v,
        Value::Choice(c.on_down.word()),
        {
            if let Some((_, what)) = OnDown::WORDS.iter().find(|(word, _)| v == Value::Choice(word)) {
                c.on_down = *what;
            }
        }
    ),
    seconds!("slow_start", 0, "how long a server that is back takes fewer clients; 0, not at all", slow_start),
    number!(
        "observe",
        0,
        "so many sessions in a row without a byte of the server are a failed check; 0, none",
        observe
    ),
    row!(
        "notify",
        "notify [PROGRAM] | no notify",
        "a program that is run when a server changes its state",
        Kind::Program,
        c,
        v,
        Value::Path(c.notify.clone()),
        {
            if let Value::Path(v) = v {
                c.notify = v;
            }
        }
    ),
];

impl ServerChecks {
    /// Makes a change, if it is one of these.
    pub(super) fn change(&mut self, change: &ServerChange) {
        match change {
            ServerChange::Check(kind) => self.kind.clone_from(kind),
            ServerChange::CheckInterval(time) => self.interval = *time,
            ServerChange::CheckTimeout(time) => self.timeout = *time,
            ServerChange::CheckRise(count) => self.rise = *count,
            ServerChange::CheckFall(count) => self.fall = *count,
            ServerChange::CheckPort(port) => self.port = *port,
            _ => {}
        }
    }

    /// The changes that make it of a new one. The check itself is the last, as it takes the rest of its line.
    pub(super) fn changes(&self) -> Vec<ServerChange> {
        let Self { kind, interval, timeout, rise, fall, port } = self;
        [
            interval.map(|time| ServerChange::CheckInterval(Some(time))),
            timeout.map(|time| ServerChange::CheckTimeout(Some(time))),
            rise.map(|count| ServerChange::CheckRise(Some(count))),
            fall.map(|count| ServerChange::CheckFall(Some(count))),
            port.map(|port| ServerChange::CheckPort(Some(port))),
            kind.as_ref().map(|kind| ServerChange::Check(Some(kind.clone()))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Whether servers that say nothing are checked by TLS.
pub(super) fn all_need_tls(checks: &Checks) -> bool {
    checks.kind.as_ref().is_some_and(|kind| kind.needs_tls())
}
