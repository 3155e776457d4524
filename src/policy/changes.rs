//! Changes of servers, as those are told who watch.

use std::time::Instant;

use super::balancer::Balancer;
use super::check::finding::{Finding, Outcome};
use super::check::tally;
use super::checked::{Found, observed};
use super::checks::{OnDown, ServerChecks};
use super::report::json::string;
use super::servers::{Server, State};
use crate::id::{ConnId, ServerId, Upstream};

/// How many checks of servers there are at a time at most. Each takes a descriptor. With the default times, 64 servers that all hang take
/// ten seconds for a round.
pub const CHECKS_AT_ONCE: usize = 64;

/// A server has changed its state, or what its checks have found has changed while an administrator's word hides that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Which.
    pub server: ServerId,
    /// Its name as logs have it.
    pub name: String,
    /// The state before, in a word.
    pub from: &'static str,
    /// The state now, in a word.
    pub to: &'static str,
    /// Why.
    pub reason: String,
    /// How many checks have failed.
    pub failures: u32,
    /// The same in words, behind a comma; empty where it is no matter.
    pub count: String,
}

impl ServerEvent {
    /// Whether it is told: its state has changed.
    pub fn is_news(&self) -> bool {
        self.from != self.to
    }

    /// As a line of `watch`, at that time: `TIME server 1 (10.0.0.2:80) up -> down: http: 503 Service Unavailable, 3 failures`.
    pub fn line(&self, time: &str) -> String {
        let Self { server, name, from, to, .. } = self;
        format!("{time} server {server} ({name}) {from} -> {to}{}\n", self.cause())
    }

    /// As a line of `watch json`, at that time.
    pub fn json(&self, time: &str) -> String {
        let Self { server, name, from, to, reason, failures, .. } = self;
        let (time, name, reason) = (string(time), string(name), string(reason));
        format!(
            "{{\"time\":{time},\"server\":{server},\"name\":{name},\"from\":\"{from}\",\"to\":\"{to}\",\"reason\":{reason},\
             \"failures\":{failures}}}\n"
        )
    }

    /// As a line of the log.
    pub fn message(&self) -> String {
        let Self { server, name, from, to, .. } = self;
        format!("server {server} ({name}): {from} -> {to}{}", self.cause())
    }

    /// The arguments of the program of `notify`: number, name, state before, state now, reason, failures.
    pub fn arguments(&self) -> [String; 6] {
        let Self { server, name, from, to, reason, failures, .. } = self.clone();
        [server.to_string(), name, from.to_string(), to.to_string(), reason, failures.to_string()]
    }

    fn cause(&self) -> String {
        let Self { reason, count, .. } = self;
        if reason.is_empty() { String::new() } else { format!(": {reason}{count}") }
    }
}

impl Balancer {
    /// A check of a server, if it is still there, has brought this. A failure of fewer than are needed changes nothing.
    pub fn checked(&mut self, id: ServerId, name: Option<&str>, found: Found, now: Instant) -> Option<ServerEvent> {
        let limits = self.servers.get(id.index())?.checks.pace(&self.settings.checks).limits;
        let server = &mut self.servers[id.index()];
        if name.is_some_and(|name| name != server.target().name) || server.is_empty() {
            return None;
        }
        let before = server.state(now);
        let words = found.words.clone();
        let change = server.checked.record(found, limits, now);
        server.note(now);
        change.map(|change| {
            let event = event(id, server, before, words, change.failures, now);
            let is_first = change.from == tally::State::Unknown && before == State::Down;
            let from = if is_first { "unknown" } else { event.from };
            ServerEvent { from, count: change.to_string(), ..event }
        })
    }

    /// A session with a server has ended. `cold`: the server has ended it before its first byte.
    pub fn observe(&mut self, id: ConnId, cold: bool, now: Instant) -> Option<ServerEvent> {
        let most = self.settings.checks.observe;
        let connection = self.connections.find(id)?;
        let (Some(Upstream::Regular(server)), Some(target)) = (connection.upstream, connection.target.clone()) else {
            return None;
        };
        let slot = &mut self.servers[server.index()];
        if !slot.checked.observe(cold, most) || slot.target().name != target.name {
            return None;
        }
        let words = format!("observed: {most} sessions ended before their first byte");
        if slot.checked.exists() {
            return self.checked(server, Some(&target.name), Found::elsewhere(observed(), words), now);
        }
        // No check would bring it back.
        let before = slot.state(now);
        slot.blacklist(now + self.settings.blacklist);
        slot.note(now);
        Some(event(server, slot, before, words, 0, now)).filter(ServerEvent::is_news)
    }

    /// A command has changed a server that was in that state before.
    pub fn changed_by_command(&self, id: ServerId, before: State, now: Instant) -> Option<ServerEvent> {
        let server = &self.servers[id.index()];
        // What makes a slot a server is no news.
        let is_server = |state| !matches!(state, State::Empty | State::Unresolved);
        let event = event(id, server, before, String::from("by command"), server.checked.failures(), now);
        (event.is_news() && is_server(before) && is_server(server.state(now))).then_some(event)
    }

    /// A connect has changed a server. That is no news while what an administrator has said, or checks have found, hides it.
    pub fn transition(
        &self,
        upstream: Upstream,
        from: &'static str,
        to: &'static str,
        cause: &str,
        now: Instant,
    ) -> Option<ServerEvent> {
        let Upstream::Regular(id) = upstream else { return None };
        let server = &self.servers[id.index()];
        let event = event(id, server, server.state(now), cause.to_string(), server.checked.failures(), now);
        Some(ServerEvent { from, ..event }).filter(|event| event.to == to)
    }

    /// A result from elsewhere counts as one of a check.
    pub fn reported(&mut self, id: ServerId, succeeded: bool, reason: &str, now: Instant) -> Option<ServerEvent> {
        let words = if reason.is_empty() {
            String::from("reported")
        } else {
            format!("reported: {}", reason.replace(char::is_control, "."))
        };
        let outcome = Outcome { succeeded, finding: Finding::Words("reported") };
        self.checked(id, None, Found::elsewhere(outcome, words), now)
    }

    /// The sessions that end because their server is down.
    pub fn sessions_to_close(&self, id: ServerId) -> Vec<ConnId> {
        if self.settings.checks.on_down == OnDown::Keep || !self.servers[id.index()].checked.is_down() {
            return Vec::new();
        }
        let is_its = |upstream| upstream == Some(Upstream::Regular(id));
        self.connections.from(0).filter(|(_, c)| c.is_some_and(|c| is_its(c.upstream))).map(|(conn, _)| conn).collect()
    }

    /// Servers that are not to be checked any more are as servers without a check. Gives the changes.
    pub fn end_checks(&mut self, now: Instant) -> Vec<ServerEvent> {
        let checks = &self.settings.checks;
        let mut events = Vec::new();
        for (number, server) in self.servers.iter_mut().enumerate() {
            let is_checked = server.is_empty() || server.checks.kind(checks).is_some();
            let Some(id) = ServerId::new(number).filter(|_| !is_checked) else { continue };
            let before = server.state(now);
            server.checked.end();
            server.note(now);
            let event = event(id, server, before, String::from("not checked any more"), 0, now);
            events.extend(Some(event).filter(ServerEvent::is_news));
        }
        events
    }

    /// How many servers are checked at a time at most.
    pub fn checks_at_once(&self) -> usize {
        let checks = &self.settings.checks;
        let checked = |server: &&Server| !server.is_empty() && server.checks.kind(checks).is_some();
        self.servers.iter().filter(checked).count().min(CHECKS_AT_ONCE)
    }

    /// The servers that are to be checked.
    pub fn servers_to_check(&mut self, now: Instant) -> Vec<(ServerId, &Server)> {
        let checks = &self.settings.checks;
        let mut checked = Vec::new();
        for (number, server) in self.servers.iter_mut().enumerate() {
            let Some(id) = ServerId::new(number) else { break };
            if server.is_empty() || ServerChecks::kind(&server.checks, checks).is_none() {
                continue;
            }
            server.checked.begin(checks.first, now);
            server.note(now);
            checked.push((id, &*server));
        }
        checked
    }
}

/// The event of a server that was in that state before.
fn event(id: ServerId, server: &Server, before: State, reason: String, failures: u32, now: Instant) -> ServerEvent {
    let name = server.target().name.clone();
    // A server that is full has nothing wrong with it.
    let word = |state: State| if state == State::Full { State::Up.word() } else { state.word() };
    let (from, to) = (word(before), word(server.state(now)));
    ServerEvent { server: id, name, from, to, reason, failures, count: String::new() }
}
