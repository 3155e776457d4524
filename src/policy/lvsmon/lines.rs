//! What lvsmon tells: a line for each change, and a line for each service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::check::finding::Outcome;
use crate::policy::check::kind::Kind;
use crate::policy::check::tally::{Change, State};
use crate::policy::plural::counted;
use crate::policy::report::json::string;

/// A change of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it was found, since 1970 in UTC.
    pub time: Duration,
    /// Its name.
    pub name: Arc<str>,
    /// Its address as it was written.
    pub address: Arc<str>,
    /// What it is asked.
    pub kind: Arc<Kind>,
    /// What the check has brought.
    pub outcome: Outcome,
    /// The change.
    pub change: Change,
}

impl Event {
    /// As JSON (RFC 8259), with that time before it.
    pub fn json(&self, time: &str) -> String {
        let Self { name, address, kind, outcome, change, .. } = self;
        format!(
            "{{\"time\":{},\"service\":{},\"address\":{},\"from\":\"{}\",\"to\":\"{}\",\"check\":\"{}\",\"reason\":{},\"failures\":{}}}",
            string(time),
            string(name),
            string(address),
            change.from,
            change.to,
            kind.word(),
            string(&outcome.reason(kind).to_string()),
            change.failures
        )
    }

    /// The arguments of the program that is run: name, address, state before, state now, reason, failures.
    pub fn arguments(&self) -> [String; 6] {
        let Self { name, address, kind, outcome, change, .. } = self;
        [
            name.to_string(),
            address.to_string(),
            change.from.to_string(),
            change.to.to_string(),
            outcome.words(kind).to_string(),
            change.failures.to_string(),
        ]
    }
}

/// `service www1 (10.0.0.1:80) up -> down: http: 503 Service Unavailable, 3 failures`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, kind, outcome, change, .. } = self;
        write!(f, "service {name} ({address}) {} -> {}: {}{change}", change.from, change.to, outcome.words(kind))
    }
}

/// What a service is taken for.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address as it was written.
    pub address: &'a str,
    /// What it is asked.
    pub kind: &'a Kind,
    /// The state.
    pub state: State,
    /// Since when.
    pub since: String,
    /// What the last check has brought.
    pub outcome: Outcome,
    /// How many checks have failed.
    pub failures: u32,
}

impl Standing<'_> {
    /// As JSON, with that time before it.
    pub fn json(&self, time: &str) -> String {
        let Self { name, address, kind, state, since, outcome, failures } = self;
        format!(
            "{{\"time\":{},\"service\":{},\"address\":{},\"state\":\"{state}\",\"since\":{},\"check\":\"{}\",\"reason\":{},\"failures\":{failures}}}",
            string(time),
            string(name),
            string(address),
            string(since),
            kind.word(),
            string(&outcome.reason(kind).to_string()),
        )
    }
}

/// `service www1 (10.0.0.1:80) is down since 2026-11-25T20:33:32+01:00: http: 503 Service Unavailable, 7 failures`.
impl fmt::Display for Standing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, kind, state, since, outcome, failures } = self;
        write!(f, "service {name} ({address}) is {state} since {since}: {}", outcome.words(kind))?;
        match failures {
            0 => Ok(()),
            _ => write!(f, ", {}", counted(*failures, "failure", "failures")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::check::excerpt::Excerpt;
    use crate::policy::check::finding::Finding;

    #[test]
    fn a_change_and_a_state_are_told_to_people_and_to_programs() {
        let kind = Arc::new(Kind::parse("http").unwrap());
        let outcome = Outcome::failure(Finding::Status(503, Excerpt::new(b"\"Service\" Unavailable")));
        let change = Change { from: State::Up, to: State::Down, failures: 3 };
        let time = Duration::ZERO;
        let event = Event {
            time,
            name: "www1".into(),
            address: "10.0.0.1:80".into(),
            kind: Arc::clone(&kind),
            outcome,
            change,
        };
        assert_eq!(
            event.to_string(),
            "service www1 (10.0.0.1:80) up -> down: http: 503 \"Service\" Unavailable, 3 failures"
        );
        assert_eq!(
            event.json("now"),
            "{\"time\":\"now\",\"service\":\"www1\",\"address\":\"10.0.0.1:80\",\"from\":\"up\",\"to\":\"down\",\"check\":\"http\",\
             \"reason\":\"503 \\\"Service\\\" Unavailable\",\"failures\":3}"
        );
        assert_eq!(event.arguments(), ["www1", "10.0.0.1:80", "up", "down", "http: 503 \"Service\" Unavailable", "3"]);
        let standing = Standing {
            name: "www1",
            address: "10.0.0.1:80",
            kind: &kind,
            state: State::Down,
            since: String::from("then"),
            outcome,
            failures: 1,
        };
        assert_eq!(
            standing.to_string(),
            "service www1 (10.0.0.1:80) is down since then: http: 503 \"Service\" Unavailable, 1 failure"
        );
        let json: serde_json::Value = serde_json::from_str(&standing.json("now")).unwrap();
        assert_eq!((&json["state"], &json["failures"]), (&"down".into(), &1.into()));
    }
}
