//! The one place where the tables change: commands, assignments, failures, ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acl::Acl;
use super::clients::Clients;
use super::command::{Command, ServerChange};
use super::connections::{Connection, Connections};
use super::select::{View, Why, hash};
use super::servers::{Health, Place, Server, Target};
use super::settings::Settings;
use crate::endpoint::{ClientAddr, Port};
use crate::id::{AclId, ConnId, ServerId, Upstream};

/// All that pen knows and decides by: settings, servers, lists, clients, connections.
///
/// It is told what happened and answers what to do; it does nothing itself.
#[derive(Debug)]
pub struct Balancer {
    pub(super) settings: Arc<Settings>,
    pub(super) servers: Vec<Server>,
    acls: [Acl; AclId::COUNT],
    pub(super) clients: Clients,
    pub(super) connections: Connections,
    emergency: Option<Arc<Target>>,
    abuse: Option<Arc<Target>>,
    /// The server chosen last for any client: where round robin goes on.
    pub(super) current: Option<ServerId>,
}

/// What a command asks of the world outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell this much about what happens, 0 to 3.
    DebugLevel(u8),
    /// Serve this many connections at once.
    ConnMax(usize),
}

/// A server for a connection, and why this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub upstream: Upstream,
    /// Where.
    pub target: Arc<Target>,
    /// Why.
    pub why: Why,
    /// It is not known whether the server works again: say so when the connect succeeds.
    pub unproven: bool,
}

/// The answer to a client's arrival.
#[derive(Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Connect it to this server.
    Connect(ConnId, Choice),
    /// Answer it as a web server would.
    Dummy(ConnId),
    /// There is no server for it.
    Refuse(&'static str),
}

/// A change in a server's state, to be logged once.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It failed and is left alone for that time.
    Blacklisted(Upstream, Arc<Target>, Duration),
    /// It works again.
    Up(Upstream, Arc<Target>),
}

impl Balancer {
    /// An empty one, with tables of these sizes (`-c`, `-x`); they can grow later and never shrink (penctl(1)).
    pub fn new(clients_max: usize, conn_max: usize) -> Self {
        let clients = Clients::new(clients_max);
        let settings = Settings { clients_max: clients.max(), conn_max, ..Settings::default() };
        Self {
            clients,
            settings: Arc::new(settings),
            servers: Vec::new(),
            acls: Default::default(),
            connections: Connections::default(),
            emergency: None,
            abuse: None,
            current: None,
        }
    }

    /// The settings of this moment, to be handed to a session.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether any client can ever be served.
    pub fn has_servers(&self) -> bool {
        self.settings.dummy || self.emergency.is_some() || self.servers.iter().any(|s| !s.is_empty())
    }

    /// Whether selection is by weight although no server has one, so that new clients are turned away.
    pub fn lacks_weights(&self) -> bool {
        self.settings.weight && !self.settings.prio && self.servers.iter().all(|s| s.weight == 0)
    }

    /// Carries out a command: the one way in which anything is configured. Its names must be resolved.
    pub fn apply(&mut self, command: Command, now: Instant) -> Option<Effect> {
        let target = |at: Option<(Place, Port)>| {
            at.map(|(place, port)| Arc::new(Target::new(&place, port.number().unwrap_or(0))))
        };
        match command {
            Command::Abuse(at) => self.abuse = target(at),
            Command::Emergency(at) => self.emergency = target(at),
            Command::Acl { list, permit, net } => self.acls[list.index()].push(permit, net),
            Command::NoAcl(list) => self.acls[list.index()].clear(),
            Command::Server(id, changes) => self.change_server(id, changes, now),
            other => return self.set(other),
        }
        None
    }

    fn set(&mut self, command: Command) -> Option<Effect> {
        let settings = Arc::make_mut(&mut self.settings);
        match command {
            Command::Ascii(on) => settings.ascii = on,
            Command::Blacklist(time) => settings.blacklist = time,
            Command::ClientAcl(list) => settings.client_acl = list,
            Command::ClientsMax(max) => {
                self.clients.grow(max);
                settings.clients_max = self.clients.max();
            }
            Command::ConnMax(max) => {
                settings.conn_max = settings.conn_max.max(max);
                return Some(Effect::ConnMax(settings.conn_max));
            }
            Command::Debug(level) => {
                settings.debug = level;
                return Some(Effect::DebugLevel(level));
            }
            Command::Dummy(on) => settings.dummy = on,
            Command::Hash(on) => settings.hash = on,
            Command::IdleTimeout(time) => settings.idle_timeout = time,
            Command::Keepalive(on) => settings.keepalive = on,
            Command::Prio(on) => settings.prio = on,
            Command::Roundrobin(on) => settings.roundrobin = on,
            Command::Source(ip) => settings.source = ip,
            Command::Stubborn(on) => settings.stubborn = on,
            Command::TcpFastclose(ends) => settings.fastclose = ends,
            Command::TcpNodelay(on) => settings.nodelay = on,
            Command::Timeout(time) => settings.timeout = time,
            Command::Tracking(tracking) => settings.tracking = tracking,
            Command::Transparent(on) => settings.transparent = on,
            Command::Weight(on) => settings.weight = on,
            // Carried out by `apply`.
            Command::Abuse(_)
            | Command::Emergency(_)
            | Command::Acl { .. }
            | Command::NoAcl(_)
            | Command::Server(..) => {}
        }
        None
    }

    fn change_server(&mut self, id: ServerId, changes: Vec<ServerChange>, now: Instant) {
        if self.servers.len() <= id.index() {
            self.servers.resize_with(id.index() + 1, Server::default);
        }
        let server = &mut self.servers[id.index()];
        let (mut place, mut port) = (server.place().clone(), server.port());
        for change in &changes {
            match change {
                ServerChange::Address(new) => place = new.clone(),
                ServerChange::Port(new) => port = new.number().unwrap_or(0),
                _ => {}
            }
        }
        server.move_to(place, port);
        for change in changes {
            match change {
                ServerChange::Address(_) | ServerChange::Port(_) => {}
                ServerChange::Acl(list) => server.acl = list,
                ServerChange::Max(n) => server.soft = n,
                ServerChange::Hard(n) => server.hard = n,
                ServerChange::Blacklist(Duration::ZERO) => server.health = Health::Up,
                ServerChange::Blacklist(time) => server.health = Health::Blacklisted { until: now + time },
                ServerChange::Weight(n) => server.weight = n,
                ServerChange::Prio(n) => server.prio = n,
            }
        }
    }

    /// A client has arrived, from that port: which server does it get?
    pub fn assign(&mut self, address: ClientAddr, port: Option<u16>, now: Instant) -> Assignment {
        let settings = Arc::clone(&self.settings);
        let denied = !self.acls[settings.client_acl.index()].permits(address);
        if denied && self.abuse.is_none() {
            return Assignment::Refuse("denied by client_acl");
        }
        let (client, remembered) = self.clients.arrive(address, settings.tracking, now);
        let last = remembered.filter(|_| settings.tracks());
        let mut connection = Connection {
            client,
            address,
            upstream: None,
            target: None,
            last,
            tried: Vec::new(),
            trial: false,
            since: now,
            sent: 0,
            received: 0,
        };
        if settings.dummy {
            return Assignment::Dummy(self.connections.insert(connection));
        }
        let chosen = match &self.abuse {
            Some(target) if denied => Ok(choice(Upstream::Abuse, target, Why::Abuse)),
            _ => {
                let hash = hash(address, port.filter(|_| settings.roundrobin));
                self.choose(&connection, hash, now)
            }
        };
        match chosen {
            Err(why) => Assignment::Refuse(why),
            Ok(mut choice) => {
                self.take(&mut connection, &mut choice);
                Assignment::Connect(self.connections.insert(connection), choice)
            }
        }
    }

    /// The connect failed, by the server's fault (`blame`) or by a shortage on this side: where next? `None`: nowhere.
    pub fn fail_over(&mut self, id: ConnId, blame: bool, now: Instant) -> (Option<Choice>, Option<Turn>) {
        let Some(mut connection) = self.connections.remove(id) else { return (None, None) };
        let failed = connection.upstream;
        let turn = failed.and_then(|upstream| self.give_back(&mut connection, upstream, blame, now));
        let next = match failed {
            Some(Upstream::Regular(server)) if !self.settings.stubborn => {
                connection.tried.push(server);
                self.choose_other(&connection, Some(server), now)
            }
            Some(Upstream::Emergency) => {
                let last = self.view(&connection, now).last_resort();
                last.map(|id| self.regular(id, Why::LastResort))
            }
            _ => None,
        };
        let next = next.map(|mut choice| {
            self.take(&mut connection, &mut choice);
            choice
        });
        let slot = self.connections.insert(connection);
        debug_assert_eq!(slot, id, "the slot freed last is used first");
        (next, turn)
    }

    /// A connect to an unproven server succeeded.
    pub fn connected(&mut self, id: ConnId) -> Option<Turn> {
        let connection = self.connections.find(id)?;
        connection.trial = false;
        let upstream = connection.upstream?;
        let Upstream::Regular(server) = upstream else { return None };
        let server = &mut self.servers[server.index()];
        if server.health == Health::Up {
            return None;
        }
        server.health = Health::Up;
        Some(Turn::Up(upstream, Arc::clone(server.target())))
    }

    /// Adds bytes that went through a connection: `sent` to the server, `received` from it.
    pub fn account(&mut self, id: ConnId, sent: u64, received: u64) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.sent += sent;
        connection.received += received;
        if let Some(Upstream::Regular(server)) = connection.upstream {
            let server = &mut self.servers[server.index()];
            server.sent += sent;
            server.received += received;
        }
        if let Some(client) = self.clients.find(connection.client) {
            client.sent += received;
            client.received += sent;
        }
    }

    /// A connection has ended.
    pub fn close(&mut self, id: ConnId, now: Instant) {
        if let Some(mut connection) = self.connections.remove(id) {
            if let Some(upstream) = connection.upstream {
                self.give_back(&mut connection, upstream, false, now);
            }
        }
    }

    /// The numbers of all connections.
    pub fn connection_ids(&self) -> Vec<ConnId> {
        self.connections.iter().map(|(id, _)| id).collect()
    }

    fn view<'a>(&'a self, connection: &'a Connection, now: Instant) -> View<'a> {
        View {
            servers: &self.servers,
            acls: &self.acls,
            settings: &self.settings,
            client: connection.address,
            last: connection.last,
            tried: &connection.tried,
            now,
        }
    }

    fn choose(&self, connection: &Connection, hash: u64, now: Instant) -> Result<Choice, &'static str> {
        let view = self.view(connection, now);
        let initial = view.initial(self.current, hash);
        match initial {
            Some((id, why)) if view.fitness(id).is_ok() => return Ok(self.regular(id, why)),
            _ if self.settings.stubborn => return Err("its server is unavailable, and pen is stubborn"),
            _ => {}
        }
        let after = initial.map_or(self.current, |(id, _)| Some(id));
        self.choose_other(connection, after, now).ok_or("no server is available")
    }

    /// What is left when the initial choice is out.
    fn choose_other(&self, connection: &Connection, after: Option<ServerId>, now: Instant) -> Option<Choice> {
        let view = self.view(connection, now);
        if let Some(id) = view.fail_over(after) {
            return Some(self.regular(id, Why::FailedOver));
        }
        if let Some(target) = &self.emergency {
            return Some(choice(Upstream::Emergency, target, Why::Emergency));
        }
        view.last_resort().map(|id| self.regular(id, Why::LastResort))
    }

    fn regular(&self, id: ServerId, why: Why) -> Choice {
        choice(Upstream::Regular(id), self.servers[id.index()].target(), why)
    }

    /// Books a choice: the connection counts from now on, so that a burst cannot overrun a limit.
    fn take(&mut self, connection: &mut Connection, choice: &mut Choice) {
        connection.upstream = Some(choice.upstream);
        connection.target = Some(Arc::clone(&choice.target));
        let Upstream::Regular(id) = choice.upstream else { return };
        let server = &mut self.servers[id.index()];
        server.connections += 1;
        choice.unproven = server.health != Health::Up;
        if let Health::Blacklisted { .. } = server.health {
            server.health = Health::Trial;
            connection.trial = true;
        }
        self.current = Some(id);
        if let Some(client) = self.clients.find(connection.client) {
            client.server = Some(id);
        }
    }

    /// Undoes [`Balancer::take`], and draws the conclusion if the connect failed.
    fn give_back(
        &mut self,
        connection: &mut Connection,
        upstream: Upstream,
        blame: bool,
        now: Instant,
    ) -> Option<Turn> {
        connection.upstream = None;
        let trial = std::mem::take(&mut connection.trial);
        let Upstream::Regular(id) = upstream else { return None };
        let time = self.settings.blacklist;
        let server = &mut self.servers[id.index()];
        server.connections = server.connections.saturating_sub(1);
        let was = server.health;
        // A server that was moved meanwhile is not to blame for what happened at its old place.
        let blame = blame && connection.target.as_ref().is_some_and(|target| Arc::ptr_eq(target, server.target()));
        if blame {
            server.health = Health::Blacklisted { until: now + time };
        } else if trial && was == Health::Trial {
            server.health = Health::Blacklisted { until: now };
        }
        (blame && was == Health::Up).then(|| Turn::Blacklisted(upstream, Arc::clone(server.target()), time))
    }
}

fn choice(upstream: Upstream, target: &Arc<Target>, why: Why) -> Choice {
    Choice { upstream, target: Arc::clone(target), why, unproven: false }
}
