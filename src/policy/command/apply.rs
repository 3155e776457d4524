//! Commands carried out: the one way in which anything is configured, and its inverse.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Command;
use super::server::ServerChange;
use crate::endpoint::Port;
use crate::id::{ConnId, ServerId};
use crate::policy::balancer::Balancer;
use crate::policy::clients::Clients;
use crate::policy::country::GeoipFile;
use crate::policy::report::Context;
use crate::policy::report::query::Query;
use crate::policy::servers::{Health, Place, Server, Target};
use crate::policy::settings::Facility;

/// What a command brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For whoever said it; ends with a newline unless it is empty.
    pub reply: String,
    /// For the shell.
    pub effects: Vec<Effect>,
}

impl Outcome {
    pub(super) fn reply(reply: String) -> Self {
        Self { reply, effects: Vec::new() }
    }
}

/// What a command asks of the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell this much about what happens, 0 to 3.
    DebugLevel(u8),
    /// Speak to syslog as this facility.
    SyslogFacility(Facility),
    /// Serve this many connections at once.
    ConnMax(usize),
    /// End a session.
    Close(ConnId),
    /// Keep so many idle connections to these servers.
    Idlers(usize, Vec<Arc<Target>>),
    /// Tell whoever asked which country data is in use.
    Tell(GeoipFile),
    /// End pen.
    Exit,
    /// Write a file, whole or not at all; when that fails, answer with these words and the cause.
    WriteFile(PathBuf, String, &'static str),
}

impl Balancer {
    /// Carries out a command. Its names must be resolved, and its files included.
    pub fn apply(&mut self, command: Command, context: &Context<'_>) -> Outcome {
        let target = |at: Option<(Place, Port)>| {
            at.map(|(place, port)| Arc::new(Target::new(&place, port.number().unwrap_or(0))))
        };
        match command {
            Command::Abuse(at) => {
                self.abuse = target(at.clone());
                self.abuse_at = at;
            }
            Command::Emergency(at) => {
                self.emergency = target(at.clone());
                self.emergency_at = at;
            }
            Command::Acl { list, permit, whom } => self.acls[list.index()].push(permit, whom),
            Command::NoAcl(list) => self.acls[list.index()].clear(),
            Command::Geoip(Some(file)) => {
                let named = file.is_named();
                self.geoip = Some(file);
                if named {
                    return Outcome::reply(self.answer(&Query::Geoip, context));
                }
            }
            // What was found in a usual place stays: nobody has named it.
            Command::Geoip(None) => self.geoip = self.geoip.take().filter(|file| !file.is_named()),
            Command::Renew(old, new) => {
                if let Some(in_use) = self.geoip.as_mut().filter(|in_use| in_use.edition() == old.edition()) {
                    in_use.share(&new);
                }
            }
            Command::Server(id, changes) => {
                self.change_server(id, changes, context.now);
                if self.settings.idlers > 0 {
                    return Outcome { reply: String::new(), effects: vec![self.idlers()] };
                }
            }
            Command::Close(number) => return self.close_command(number),
            Command::Exit if self.identity.may_exit => {
                return Outcome { reply: String::new(), effects: vec![Effect::Exit] };
            }
            Command::Exit => return Outcome::reply(String::from("Exit is not enabled; restart with -X flag\n")),
            Command::Listen(text, _) => {
                self.listen = text;
                self.listen_commanded = true;
                return Outcome::reply(self.answer(&Query::Listen, context));
            }
            Command::Show(Query::Geoip) => {
                let effects = self.geoip.iter().cloned().map(Effect::Tell).collect();
                return Outcome { reply: self.answer(&Query::Geoip, context), effects };
            }
            Command::Show(query) => return Outcome::reply(self.answer(&query, context)),
            Command::Write(file) => return self.write(file, context),
            other => return self.set(other, context),
        }
        Outcome::default()
    }

    fn set(&mut self, command: Command, context: &Context<'_>) -> Outcome {
        let mut effects = Vec::new();
        let settings = Arc::make_mut(&mut self.settings);
        let mut query = None;
        match command {
            Command::AbortOnError(on) => settings.abort_on_error = on,
            Command::Ascii(on) => settings.ascii = on,
            Command::Blacklist(time) => (settings.blacklist, query) = (time, Some(Query::Blacklist)),
            Command::ClientAcl(list) => (settings.client_acl, query) = (list, Some(Query::ClientAcl)),
            Command::ClientsMax(max) => {
                if self.serving {
                    self.clients.grow(max);
                } else {
                    self.clients = Clients::new(max);
                }
                settings.clients_max = self.clients.max();
                query = Some(Query::ClientsMax);
            }
            Command::ConnMax(max) => {
                settings.conn_max = if self.serving { settings.conn_max.max(max) } else { max };
                effects.push(Effect::ConnMax(settings.conn_max));
                query = Some(Query::ConnMax);
            }
            Command::ControlAcl(list) => (settings.control_acl, query) = (list, Some(Query::ControlAcl)),
            Command::Debug(level) => {
                settings.debug = level;
                effects.push(Effect::DebugLevel(level));
                query = Some(Query::Debug);
            }
            Command::Dummy(on) => settings.dummy = on,
            Command::Hash(on) => settings.hash = on,
            Command::IdleTimeout(time) => (settings.idle_timeout, query) = (time, Some(Query::IdleTimeout)),
            Command::Idlers(wanted) => {
                settings.idlers = wanted;
                effects.push(self.idlers());
                query = Some(Query::Idlers);
            }
            Command::Keepalive(on) => settings.keepalive = on,
            Command::Log(target) => {
                settings.log = target;
                query = settings.log.is_some().then_some(Query::Log);
            }
            Command::Peek(on) => settings.peek = on,
            Command::Prio(on) => settings.prio = on,
            Command::Roundrobin(on) => settings.roundrobin = on,
            Command::Source(ip) => settings.source = ip,
            Command::Stubborn(on) => settings.stubborn = on,
            Command::SyslogFacility(facility) => {
                settings.syslog_facility = facility;
                effects.push(Effect::SyslogFacility(facility));
                query = Some(Query::SyslogFacility);
            }
            Command::TcpFastclose(ends) => settings.fastclose = ends,
            Command::TcpNodelay(on) => settings.nodelay = on,
            Command::Timeout(time) => (settings.timeout, query) = (time, Some(Query::Timeout)),
            Command::Tracking(tracking) => (settings.tracking, query) = (tracking, Some(Query::Tracking)),
            Command::Transparent(on) => settings.transparent = on,
            Command::WebStats(file) => {
                settings.web_stats = file;
                query = settings.web_stats.is_some().then_some(Query::WebStats);
            }
            Command::Weight(on) => settings.weight = on,
            // Carried out by `apply`, or replaced before it comes here.
            Command::Abuse(_)
            | Command::Acl { .. }
            | Command::Close(_)
            | Command::Emergency(_)
            | Command::Exit
            | Command::Geoip(_)
            | Command::Include(_)
            | Command::Listen(..)
            | Command::NoAcl(_)
            | Command::Nothing(_)
            | Command::Renew(..)
            | Command::Server(..)
            | Command::Show(_)
            | Command::Write(_) => {}
        }
        let reply = query.map_or(String::new(), |query| self.answer(&query, context));
        Outcome { reply, effects }
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

    fn close_command(&self, number: usize) -> Outcome {
        let id = u32::try_from(number).ok().map(ConnId).filter(|id| self.connections.get(*id).is_some());
        match id {
            Some(id) => {
                let reply = format!("Forcibly closing connection {number}\n");
                Outcome { reply, effects: vec![Effect::Close(id)] }
            }
            None => Outcome::reply(format!("There is no connection {number}\n")),
        }
    }

    fn idlers(&self) -> Effect {
        let servers = self.servers.iter().filter(|server| !server.is_empty());
        Effect::Idlers(self.settings.idlers, servers.map(|server| Arc::clone(server.target())).collect())
    }
}
