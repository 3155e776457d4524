//! Flows: what a client sends from one address and port, and what is answered. A flow is a connection of the balancer's tables, which has
//! a server from its first datagram on and changes it when the server fails or leaves.

pub mod silence;
pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::silence::Silence;
use super::balancer::{Balancer, Choice, MOST_CONNECTS, Transition};
use super::connections::Connection;
use super::facts::ClientFacts;
use super::refusal::Refusal;
use super::select::Unfit;
use super::servers::{Health, Target};
use crate::id::{ConnId, ServerId, Upstream};

/// How often a flow that has only a server of last resort asks for a better one.
pub const RECHECK: Duration = Duration::from_secs(1);

/// What becomes of a flow after the servers have changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Recheck {
    /// Its server stays.
    Stays,
    /// It has this one now.
    Moves(Choice),
    /// It is not served any more, and is still to be closed.
    Refused(Refusal),
}

impl Balancer {
    /// The first datagram of a flow has come.
    pub fn begin_flow(&mut self, facts: ClientFacts, now: Instant) -> Result<(ConnId, Choice), Refusal> {
        let id = self.connections.insert(Connection::new(facts.clone(), now));
        match self.choose(id, facts, now) {
            Ok(choice) => Ok((id, choice)),
            Err(why) => {
                self.close(id, now);
                Err(why)
            }
        }
    }

    /// A datagram that is a flow of its own has come (`udp_responses 0` with `roundrobin`): it goes to this server. `tried`: nobody
    /// listens there.
    pub fn pass(
        &mut self,
        facts: ClientFacts,
        bytes: u64,
        tried: &[Arc<Target>],
        now: Instant,
    ) -> Result<(Choice, Option<Transition>), Refusal> {
        if !tried.is_empty() && (self.settings.stubborn || tried.len() >= MOST_CONNECTS) {
            return Err(Refusal::ServerFailed);
        }
        let is_tried = |target: &Arc<Target>| tried.iter().any(|other| Arc::ptr_eq(other, target));
        if self.abuse().is_some_and(is_tried) && self.is_denied(&facts)? {
            return Err(Refusal::AbuseFailed);
        }
        let mut connection = Connection::new(facts, now);
        let numbered = self.servers.iter().enumerate();
        connection.tried = numbered
            .filter(|(_, server)| is_tried(server.target()))
            .filter_map(|(number, _)| ServerId::new(number))
            .collect();
        connection.emergency_failed = self.settings.emergency.as_ref().is_some_and(is_tried);
        let choice = self.choose_for(&mut connection, now)?;
        let id = self.connections.insert(connection);
        self.account(id, bytes, 0);
        self.flow_ended(id, now);
        self.close(id, now);
        let transition = if choice.unproven { self.passes(&choice, now) } else { None };
        Ok((choice, transition))
    }

    /// A server that is not known to be there gets a datagram that it need not answer. If nobody listens there, that comes as an error,
    /// for which pen waits for as long as a connect may take.
    fn passes(&mut self, choice: &Choice, now: Instant) -> Option<Transition> {
        let Upstream::Regular(id) = choice.upstream else { return None };
        let first = self.servers[id.index()].silence.passes(now);
        if now.saturating_duration_since(first) < self.settings.timeout {
            return None;
        }
        self.servers[id.index()].silence = Silence::default();
        self.proven(&choice.target, now)
    }

    /// Another datagram of a flow has come after something about the servers has changed.
    pub fn recheck_flow(&mut self, id: ConnId, now: Instant) -> Recheck {
        let Some(mut connection) = self.connections.remove(id) else { return Recheck::Refused(Refusal::Gone) };
        connection.facts.forget_country();
        let outcome = self.recheck(&mut connection, now);
        self.put_back(id, connection);
        outcome
    }

    fn recheck(&mut self, connection: &mut Connection, now: Instant) -> Recheck {
        let denied = match self.is_denied(&connection.facts) {
            Ok(denied) => denied,
            Err(why) => return Recheck::Refused(why),
        };
        if self.keeps_server(connection, denied, now) {
            return Recheck::Stays;
        }
        let before = (connection.upstream, connection.target.clone());
        if let Some(upstream) = connection.upstream {
            self.give_back(connection, upstream, false, now);
        }
        (connection.emergency_failed, connection.last) = (false, None);
        connection.tried.clear();
        match self.choose_for(connection, now) {
            Err(why) => {
                if let Some(upstream) = before.0 {
                    self.count_flow(upstream, connection.since, now);
                }
                Recheck::Refused(why)
            }
            // There is still no better one than before. One that is on trial now must be reported.
            Ok(choice) if !choice.unproven && (Some(choice.upstream), Some(choice.target.clone())) == before => {
                Recheck::Stays
            }
            Ok(choice) => Recheck::Moves(choice),
        }
    }

    fn keeps_server(&self, connection: &Connection, denied: bool, now: Instant) -> bool {
        let is_same = |target: Option<&Arc<Target>>| match (&connection.target, target) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        match connection.upstream {
            Some(Upstream::Abuse) => denied && is_same(self.abuse()),
            Some(Upstream::Regular(server)) if !denied => {
                let target = self.servers.get(server.index()).map(|server| server.target());
                let fitness = self.view(&connection.facts, Some(server), &[], now).fitness(server);
                // It counts among the connections that fill the server.
                is_same(target) && (connection.trial || matches!(fitness, Ok(()) | Err(Unfit::Full)))
            }
            _ => false,
        }
    }

    /// The server of a flow has failed. `answered`: it had answered before, so that the flow begins anew. `blame`: the failure is the
    /// server's. `None`: no server is left, and the flow is still to be closed.
    pub fn fail_flow(
        &mut self,
        id: ConnId,
        answered: bool,
        blame: bool,
        now: Instant,
    ) -> (Option<Choice>, Option<Transition>) {
        if let Some(connection) = self.connections.find(id).filter(|_| answered) {
            connection.tried.clear();
            connection.emergency_failed = false;
        }
        self.fail_over(id, blame, now)
    }

    /// A flow cannot be sent to its server, and is still to be closed.
    pub fn leave_server(&mut self, id: ConnId, now: Instant) {
        if let Some(mut connection) = self.connections.remove(id) {
            if let Some(upstream) = connection.upstream {
                self.give_back(&mut connection, upstream, false, now);
            }
            self.put_back(id, connection);
        }
    }

    /// Nobody listens where a datagram without a flow went.
    pub fn target_failed(&mut self, target: &Arc<Target>, now: Instant) -> Option<Transition> {
        let number = self.servers.iter().position(|server| Arc::ptr_eq(server.target(), target))?;
        let id = ServerId::new(number)?;
        self.connect_failed(Upstream::Regular(id));
        self.blacklist_failed(id, now)
    }

    /// Blacklists a server that has failed. It is a transition if it was up.
    fn blacklist_failed(&mut self, id: ServerId, now: Instant) -> Option<Transition> {
        let time = self.settings.blacklist;
        let server = &mut self.servers[id.index()];
        server.silence = Silence::default();
        let was_up = server.blacklist(now + time);
        server.note(now);
        let target = Arc::clone(server.target());
        was_up.then_some(Transition::Blacklisted(Upstream::Regular(id), target, time))
    }

    /// Whether there is any connection.
    pub fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Whether the server of a flow is one of last resort, so that it should ask for a better one from time to time.
    pub fn is_makeshift(&self, id: ConnId) -> bool {
        let Some(Connection { upstream, trial, .. }) = self.connections.get(id) else { return false };
        match upstream {
            Some(Upstream::Regular(server)) => self.servers[server.index()].health != Health::Up && !trial,
            Some(Upstream::Emergency) => true,
            Some(Upstream::Abuse) | None => false,
        }
    }

    /// The first answer of a flow has come.
    pub fn flow_answered(&mut self, id: ConnId, now: Instant) -> Option<Transition> {
        let connection = self.connections.find(id)?;
        connection.trial = false;
        let target = Arc::clone(connection.target.as_ref()?);
        self.answered(&target, now)
    }

    fn answered(&mut self, target: &Arc<Target>, now: Instant) -> Option<Transition> {
        let server = self.servers.iter_mut().find(|server| Arc::ptr_eq(server.target(), target))?;
        server.silence = Silence::broken(now);
        self.proven(target, now)
    }

    /// A flow has got no answer for as long as a connect may take.
    pub fn flow_silent(&mut self, id: ConnId, now: Instant) -> Option<Transition> {
        let Connection { upstream, target, trial, since, .. } = self.connections.find(id)?;
        let (Some(Upstream::Regular(server)), trial, since) = (*upstream, *trial, *since) else { return None };
        let target = Arc::clone(target.as_ref()?);
        if !Arc::ptr_eq(self.servers[server.index()].target(), &target) {
            return None;
        }
        let most = self.settings.udp.silence;
        if most == 0 {
            // Silence is no failure, and nobody has said that nobody listens there.
            return if trial { self.proven(&target, now) } else { None };
        }
        let (count, first) = self.servers[server.index()].silence.goes_on(since);
        let mut others = self.servers.iter().enumerate().filter(|(number, _)| *number != server.index());
        let others_answer = others.any(|(_, other)| other.silence.was_broken_since(first));
        if trial || (count >= most && others_answer) {
            return self.blacklist_failed(server, now);
        }
        None
    }
}
