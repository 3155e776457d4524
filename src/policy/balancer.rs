//! The one place where the tables change: commands, assignments, failures, ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acl::Acl;
pub use super::admission::{Admission, Wait};
use super::clients::Clients;
use super::connections::{Connection, Connections};
use super::counters::{Refusals, StandIns};
use super::country::{Country, Geography, GeoipFile};
use super::facts::ClientFacts;
use super::hash;
use super::identity::Identity;
use super::proxy::Accepts;
use super::refusal::Refusal;
use super::select::{View, Why, chill, rule};
use super::servers::{Health, Server, Target};
use super::settings::Settings;
use super::tls::Handshakes;
use crate::endpoint::ClientAddr;
use crate::id::{AclId, ConnId, ServerId, Upstream};

/// The state that decides: settings, servers, access lists, clients, connections.
///
/// It receives events and returns decisions. It does no I/O.
#[derive(Debug)]
pub struct Balancer {
    pub(super) settings: Arc<Settings>,
    pub(super) servers: Vec<Server>,
    pub(super) acls: [Acl; AclId::COUNT],
    /// The source of the countries that access lists need.
    pub(super) geoip: Option<GeoipFile>,
    pub(super) clients: Clients,
    pub(super) connections: Connections,
    /// The server that round robin chose last for any client. It continues after it.
    pub(super) current: Option<ServerId>,
    pub(super) identity: Identity,
    /// The listener, as it was written.
    pub(super) listen: String,
    /// Whether a command set it, and not the command line.
    pub(super) listen_commanded: bool,
    pub(super) handshakes: Handshakes,
    pub(super) refusals: Refusals,
    pub(super) stand_ins: StandIns,
    /// How many choices there were. It wraps.
    choices: u32,
    /// From now on the tables only grow (penctl(1)).
    pub(super) serving: bool,
}

/// To how many servers a client is passed on at most. Each connect may take the whole `timeout`, and each server that fails is left
/// alone by the clients that follow.
pub(super) const MOST_CONNECTS: usize = 100;

/// A server for a connection, and why this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub upstream: Upstream,
    /// Where.
    pub target: Arc<Target>,
    /// Why.
    pub why: Why,
    /// The server is on trial: report it when the connect succeeds.
    pub unproven: bool,
}

/// A change in a server's state, to be logged once.
#[derive(Debug, PartialEq, Eq)]
pub enum Transition {
    /// It failed and is blacklisted for that time.
    Blacklisted(Upstream, Arc<Target>, Duration),
    /// It works again.
    Up(Upstream, Arc<Target>),
}

impl Balancer {
    /// An empty one, that listens at `listen`.
    pub fn new(identity: Identity, listen: String) -> Self {
        let settings = Settings::default();
        Self {
            clients: Clients::new(settings.clients_max),
            settings: Arc::new(settings),
            servers: Vec::new(),
            acls: Default::default(),
            geoip: None,
            connections: Connections::default(),
            current: None,
            identity,
            listen,
            listen_commanded: false,
            handshakes: Handshakes::default(),
            refusals: Refusals::default(),
            stand_ins: StandIns::default(),
            choices: 0,
            serving: false,
        }
    }

    /// The configuration is complete, and this process works with it: from now on the tables only grow.
    pub fn begin_serving(&mut self, pid: u32, now: Instant) {
        self.identity.pid = pid;
        self.identity.started = Some(now);
        self.serving = true;
    }

    /// Whether a client may use the control port.
    pub fn admits_to_control(&self, client: ClientAddr) -> bool {
        self.permits(self.settings.control_acl, &ClientFacts::new(client, None))
    }

    /// The settings of this context, to be handed to a session.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// A client has come: it gets a slot, or is refused. A server is chosen later, by [`Balancer::choose`].
    pub fn admit(&mut self, facts: ClientFacts, now: Instant) -> Admission {
        if self.settings.accept_proxy == Accepts::Off {
            return match self.is_denied(&facts) {
                Ok(denied) => self.enter(Connection::new(facts, now), denied, now),
                Err(why) => Admission::Refused(why),
            };
        }
        if !self.permits(self.settings.proxy_acl, &facts) {
            return Admission::Refused(Refusal::ProxyAcl);
        }
        Admission::Later(self.connections.insert(Connection::new(facts, now)), Wait::Announcement)
    }

    /// Whether `client_acl` denies a client. The error: it is refused for that.
    pub(super) fn is_denied(&self, facts: &ClientFacts) -> Result<bool, Refusal> {
        let denied = !self.permits(self.settings.client_acl, facts);
        if denied && self.abuse().is_none() { Err(Refusal::ClientAcl) } else { Ok(denied) }
    }

    /// Gives a client a slot: the one that was freed last.
    pub(super) fn enter(&mut self, mut connection: Connection, denied: bool, now: Instant) -> Admission {
        if self.settings.dummy {
            self.remember(&mut connection, now);
            return Admission::Dummy(self.connections.insert(connection));
        }
        let conn = self.connections.insert(connection);
        // The abuse server does not depend on what the client says.
        match (self.settings.peek && !denied, self.settings.terminates_tls()) {
            (true, _) => Admission::Later(conn, Wait::FirstBytes),
            (false, true) => Admission::Later(conn, Wait::No),
            (false, false) => Admission::AtOnce(conn),
        }
    }

    /// Chooses for a client that was admitted; `facts` are those known by now. After an error the connection is still to be closed.
    pub fn choose(&mut self, id: ConnId, facts: ClientFacts, now: Instant) -> Result<Choice, Refusal> {
        let mut connection = self.connections.remove(id).ok_or(Refusal::Gone)?;
        connection.facts = facts;
        let outcome = self.choose_for(&mut connection, now);
        self.put_back(id, connection);
        outcome
    }

    /// Chooses the next server after a failed connect. `blame`: the failure is the server's. `None`: no server is left.
    pub fn fail_over(&mut self, id: ConnId, blame: bool, now: Instant) -> (Option<Choice>, Option<Transition>) {
        let Some(mut connection) = self.connections.remove(id) else { return (None, None) };
        connection.facts.forget_country();
        let failed = connection.upstream;
        let transition = failed.and_then(|upstream| {
            self.connect_failed(upstream);
            self.give_back(&mut connection, upstream, blame, now)
        });
        let next = match failed {
            Some(Upstream::Regular(server)) if !self.settings.stubborn => {
                let at = connection.tried.binary_search(&server).unwrap_or_else(|at| at);
                connection.tried.insert(at, server);
                let emergency = !connection.emergency_failed;
                if connection.tried.len() < MOST_CONNECTS {
                    self.choose_other(&self.view_of(&connection, now), connection.hash, emergency)
                } else {
                    self.emergency().filter(|_| emergency)
                }
            }
            Some(Upstream::Emergency) => {
                connection.emergency_failed = true;
                let last = self.view_of(&connection, now).last_resort();
                last.map(|id| self.regular(id, Why::LastResort))
            }
            _ => None,
        };
        let next = next.map(|mut choice| {
            self.take(&mut connection, &mut choice, now);
            choice
        });
        self.put_back(id, connection);
        (next, transition)
    }

    /// A connect to a server on trial succeeded. If the server has moved in the meantime, this changes nothing.
    pub fn proven(&mut self, target: &Arc<Target>, now: Instant) -> Option<Transition> {
        let number = self.servers.iter().position(|server| Arc::ptr_eq(server.target(), target))?;
        let server = &mut self.servers[number];
        let was = std::mem::replace(&mut server.health, Health::Up);
        if was != Health::Up {
            server.checked.is_back(now);
        }
        server.note(now);
        let upstream = Upstream::Regular(ServerId::new(number)?);
        (was != Health::Up).then(|| Transition::Up(upstream, Arc::clone(target)))
    }

    /// A connection has ended.
    pub fn close(&mut self, id: ConnId, now: Instant) {
        if let Some(mut connection) = self.connections.remove(id) {
            if let Some(upstream) = connection.upstream {
                self.give_back(&mut connection, upstream, false, now);
            }
        }
    }

    /// Puts a connection back into the slot it was just taken from: the slot freed last is used first.
    pub(super) fn put_back(&mut self, id: ConnId, connection: Connection) {
        let slot = self.connections.insert(connection);
        debug_assert_eq!(slot, id);
    }

    /// What knows the countries of addresses, if anything does.
    pub(super) fn geography(&self) -> Option<&dyn Geography> {
        self.geoip.as_ref().and_then(GeoipFile::geography)
    }

    /// Where a client comes from, if that is known.
    pub fn country(&self, facts: &ClientFacts) -> Option<Country> {
        facts.country(self.geography())
    }

    /// The server for clients that `client_acl` denies.
    pub(super) fn abuse(&self) -> Option<&Arc<Target>> {
        self.settings.abuse.as_ref().filter(|target| !target.is_unresolved())
    }

    pub(super) fn permits(&self, list: AclId, facts: &ClientFacts) -> bool {
        self.acls[list.index()].permits(facts, self.geography())
    }

    pub(super) fn view<'a>(
        &'a self,
        facts: &'a ClientFacts,
        last: Option<ServerId>,
        tried: &'a [ServerId],
        now: Instant,
    ) -> View<'a> {
        let (servers, acls, settings) = (self.servers.as_slice(), self.acls.as_slice(), &*self.settings);
        let weights = match rule(settings) {
            Why::Weight => true,
            Why::Hash => servers.iter().any(|server| server.weight > 0 && !server.is_empty()),
            _ => false,
        };
        let chill = chill(self.choices);
        View { servers, acls, settings, facts, geography: self.geography(), last, tried, weights, chill, now }
    }

    fn view_of<'a>(&'a self, connection: &'a Connection, now: Instant) -> View<'a> {
        self.view(&connection.facts, connection.last, &connection.tried, now)
    }

    pub(super) fn choose_for(&mut self, connection: &mut Connection, now: Instant) -> Result<Choice, Refusal> {
        let denied = self.is_denied(&connection.facts)?;
        self.remember(connection, now);
        let mut choice = match self.abuse().filter(|_| denied) {
            Some(target) => choice(Upstream::Abuse, target, Why::Abuse),
            None => {
                let view = self.view_of(connection, now);
                match (
                    self.select(&view, connection.hash, !connection.emergency_failed),
                    view.initial(self.current, connection.hash),
                ) {
                    (Ok(choice), _) => choice,
                    (Err(why), initial) => {
                        // The turn is used up. A stubborn pen would otherwise refuse every client while one server is down.
                        if let Some((server, Why::RoundRobin)) = initial {
                            self.current = Some(server);
                        }
                        return Err(why);
                    }
                }
            }
        };
        self.take(connection, &mut choice, now);
        Ok(choice)
    }

    /// Enters the client into the client table, and what that remembers of it into the connection.
    fn remember(&mut self, connection: &mut Connection, now: Instant) {
        let ClientFacts { address, port, .. } = connection.facts;
        let (client, server) = self.clients.arrive(address, self.settings.tracking, now);
        connection.client = Some(client);
        connection.last = server.filter(|_| self.settings.tracks());
        connection.hash = hash::of_client(address, port.filter(|_| self.settings.roundrobin));
    }

    pub(super) fn select(&self, view: &View<'_>, hash: u64, emergency: bool) -> Result<Choice, Refusal> {
        let initial = view.initial(self.current, hash);
        match initial {
            Some((id, why)) if view.fitness(id).is_ok() => return Ok(self.regular(id, why)),
            _ if self.settings.stubborn => return Err(Refusal::Stubborn),
            _ => {}
        }
        self.choose_other(view, hash, emergency).ok_or(Refusal::NoServer)
    }

    /// The choice for a client that cannot go back to its server: as for a new one. `emergency`: the emergency server has not failed yet.
    fn choose_other(&self, view: &View<'_>, hash: u64, emergency: bool) -> Option<Choice> {
        if let Some((id, why)) = view.by_rule(self.current, hash) {
            return Some(self.regular(id, why));
        }
        if let Some(choice) = self.emergency().filter(|_| emergency) {
            return Some(choice);
        }
        view.last_resort().map(|id| self.regular(id, Why::LastResort))
    }

    fn emergency(&self) -> Option<Choice> {
        let target = self.settings.emergency.as_ref().filter(|target| !target.is_unresolved())?;
        Some(choice(Upstream::Emergency, target, Why::Emergency))
    }

    fn regular(&self, id: ServerId, why: Why) -> Choice {
        choice(Upstream::Regular(id), self.servers[id.index()].target(), why)
    }

    /// Records a choice. The connection counts from now on, so that a burst cannot exceed a limit.
    fn take(&mut self, connection: &mut Connection, choice: &mut Choice, now: Instant) {
        connection.upstream = Some(choice.upstream);
        connection.target = Some(Arc::clone(&choice.target));
        self.stand_ins.take(choice.upstream);
        let Upstream::Regular(id) = choice.upstream else { return };
        match choice.why {
            Why::RoundRobin => self.current = Some(id),
            Why::Weight => self.take_turn(id, self.view_of(connection, now).weighted().collect()),
            _ => {}
        }
        self.choices = self.choices.wrapping_add(1);
        let server = &mut self.servers[id.index()];
        server.connections += 1;
        choice.unproven = server.health != Health::Up;
        if let Health::Blacklisted { .. } = server.health {
            server.health = Health::Trial;
            connection.trial = true;
        }
        server.note(now);
        if let Some(client) = connection.client.and_then(|client| self.clients.find(client)) {
            client.server = Some(id);
        }
    }

    /// One of these servers has its turn (smooth weighted round robin). A server that has too many connections for now is passed over,
    /// and catches up later; one that has been the only choice for long makes up for it later. Both by one round at most.
    fn take_turn(&mut self, id: ServerId, among: Vec<ServerId>) {
        let round = among.iter().map(|id| i64::from(self.servers[id.index()].weight)).sum();
        for other in among {
            let server = &mut self.servers[other.index()];
            server.turn = server.next_turn().min(round);
        }
        let server = &mut self.servers[id.index()];
        server.turn = (server.turn - round).max(-round);
    }

    /// Undoes [`Balancer::take`], and updates the server's health if the connect failed.
    pub(super) fn give_back(
        &mut self,
        connection: &mut Connection,
        upstream: Upstream,
        blame: bool,
        now: Instant,
    ) -> Option<Transition> {
        connection.upstream = None;
        let trial = std::mem::take(&mut connection.trial);
        self.stand_ins.give_back(upstream);
        let Upstream::Regular(id) = upstream else { return None };
        let time = self.settings.blacklist;
        let server = &mut self.servers[id.index()];
        server.connections = server.connections.saturating_sub(1);
        let was = server.health;
        // A server that moved in the meantime is not blacklisted for a failure of its old address.
        let blame = blame && connection.target.as_ref().is_some_and(|target| Arc::ptr_eq(target, server.target()));
        if blame {
            server.blacklist(now + time);
        } else if trial && was == Health::Trial {
            server.health = Health::Blacklisted { until: now };
        }
        server.note(now);
        (blame && was == Health::Up).then(|| Transition::Blacklisted(upstream, Arc::clone(server.target()), time))
    }
}

fn choice(upstream: Upstream, target: &Arc<Target>, why: Why) -> Choice {
    Choice { upstream, target: Arc::clone(target), why, unproven: false }
}
