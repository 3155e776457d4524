//! Commands carried out: the one way in which anything is configured, and its inverse.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acl::Acl;
use super::balancer::Balancer;
use super::change::ServerChange;
use super::clients::Clients;
use super::command::{At, Command};
use super::country::GeoipFile;
use super::identity::Identity;
use super::query::Query;
use super::report::Wire;
use super::servers::{Health, Place, Server, Target};
use super::settings::{Facility, Settings};
use crate::endpoint::{Endpoint, Port};
use crate::id::{AclId, ConnId, ServerId};

/// What only the shell can know about the moment in which a command is carried out.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Moment<'a> {
    /// The clock that everything is measured by.
    pub now: Instant,
    /// The wall clock, `YYYY-MM-DD HH:MM:SS`.
    pub time: &'a str,
    /// What the session of a connection knows of it.
    pub wire: &'a dyn Fn(ConnId) -> Wire,
    /// How many idlers are connected.
    pub idlers: usize,
}

impl Moment<'_> {
    /// A moment in which nothing runs yet.
    pub fn start(now: Instant) -> Self {
        Moment { now, time: "", wire: &|_| Wire::default(), idlers: 0 }
    }
}

/// What a command brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For whoever said it; ends with a newline unless it is empty.
    pub reply: String,
    /// For the shell.
    pub effects: Vec<Effect>,
}

impl Outcome {
    fn reply(reply: String) -> Self {
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
    pub fn apply(&mut self, command: Command, moment: &Moment<'_>) -> Outcome {
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
                    return Outcome::reply(self.answer(&Query::Geoip, moment));
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
                self.change_server(id, changes, moment.now);
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
                return Outcome::reply(self.answer(&Query::Listen, moment));
            }
            Command::Show(Query::Geoip) => {
                let effects = self.geoip.iter().cloned().map(Effect::Tell).collect();
                return Outcome { reply: self.answer(&Query::Geoip, moment), effects };
            }
            Command::Show(Query::Status) => return self.status(moment),
            Command::Show(query) => return Outcome::reply(self.answer(&query, moment)),
            Command::Write(file) => return self.write(file, moment),
            other => return self.set(other, moment),
        }
        Outcome::default()
    }

    fn set(&mut self, command: Command, moment: &Moment<'_>) -> Outcome {
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
        let reply = query.map_or(String::new(), |query| self.answer(&query, moment));
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

    fn status(&self, moment: &Moment<'_>) -> Outcome {
        match &self.settings.web_stats {
            None => Outcome::reply(String::from("Unable to create webstats\n")),
            Some(file) => {
                let page = self.page(moment);
                let effects = vec![Effect::WriteFile(file.clone(), page.clone(), "Unable to create webstats")];
                Outcome { reply: page, effects }
            }
        }
    }

    fn write(&self, file: Option<PathBuf>, moment: &Moment<'_>) -> Outcome {
        match file.or_else(|| self.identity.file.clone()) {
            None => Outcome::reply(String::from("write: name a file, since pen was started without -F\n")),
            Some(file) => {
                let text = self.written(moment.time, &file);
                Outcome { reply: String::new(), effects: vec![Effect::WriteFile(file, text, "write")] }
            }
        }
    }

    /// The configuration file that `write` makes of itself. Its heading tells how to start pen with it.
    pub fn written(&self, time: &str, file: &Path) -> String {
        let Identity { foreground, user, jail, pidfile, control, may_exit, .. } = &self.identity;
        let named = |option: &str, file: &Option<PathBuf>| file.as_ref().map(|f| format!("{option} '{}'", f.display()));
        let s = &self.settings;
        let defaults = Settings::default();
        let at = |place: &Option<(Place, Port)>| place.as_ref().map(|(place, port)| At(place, port).to_string());
        let options = [
            foreground.then(|| String::from("-f")),
            may_exit.then(|| String::from("-X")),
            (s.clients_max != defaults.clients_max).then(|| format!("-c {}", s.clients_max)),
            at(&self.emergency_at).map(|at| format!("-e {at}")),
            at(&self.abuse_at).map(|at| format!("-B {at}")),
            named("-j", jail),
            named("-p", pidfile),
            (!user.is_empty()).then(|| format!("-u '{user}'")),
            (s.conn_max != defaults.conn_max).then(|| format!("-x {}", s.conn_max)),
            Some(format!("-F '{}'", file.display())),
            (!control.is_empty()).then(|| format!("-C {control}")),
            Some(self.listen.clone()),
        ];
        let options: Vec<_> = options.into_iter().flatten().collect();
        let mut text = format!("# Generated by pen {time}\n# pen {}\n", options.join(" "));
        for command in self.to_commands() {
            text.push_str(&format!("{command}\n"));
        }
        text
    }

    /// The inverse of [`Balancer::apply`]: commands that bring a fresh balancer into this configuration. First pen's, in
    /// the order of its `write`, then those that it forgets. Only `geoip` comes before all if a list needs it.
    pub fn to_commands(&self) -> Vec<Command> {
        let geoip = Command::Geoip(self.geoip.clone().filter(GeoipFile::is_named));
        let (first, later) =
            if self.acls.iter().any(Acl::asks_for_countries) { (Some(geoip), None) } else { (None, Some(geoip)) };
        let mut commands: Vec<_> = first.into_iter().collect();
        for (list, acl) in (0..).map_while(AclId::new).zip(&self.acls) {
            commands.push(Command::NoAcl(list));
            commands.extend(acl.entries().iter().map(|(permit, whom)| Command::Acl {
                list,
                permit: *permit,
                whom: *whom,
            }));
        }
        let s = &self.settings;
        let absent = |line: &str| Command::Nothing(line.to_string());
        commands.extend([
            Command::Ascii(s.ascii),
            Command::Blacklist(s.blacklist),
            Command::ClientAcl(s.client_acl),
            Command::ControlAcl(s.control_acl),
            Command::Debug(s.debug),
            Command::Hash(s.hash),
            absent("no http"),
            Command::Log(s.log.clone()),
            Command::Roundrobin(s.roundrobin),
        ]);
        commands.extend((0..).map_while(ServerId::new).zip(&self.servers).map(|(id, server)| {
            let changes = vec![
                ServerChange::Acl(server.acl),
                ServerChange::Address(server.place().clone()),
                ServerChange::Port(Port::Number(server.port())),
                ServerChange::Max(server.soft),
                ServerChange::Hard(server.hard),
                ServerChange::Weight(server.weight),
                ServerChange::Prio(server.prio),
            ];
            Command::Server(id, changes)
        }));
        commands.extend([
            Command::Stubborn(s.stubborn),
            Command::TcpFastclose(s.fastclose),
            Command::TcpNodelay(s.nodelay),
            Command::Timeout(s.timeout),
            Command::Tracking(s.tracking),
            Command::WebStats(s.web_stats.clone()),
            Command::Weight(s.weight),
            Command::Prio(s.prio),
            Command::AbortOnError(s.abort_on_error),
            Command::Abuse(self.abuse_at.clone()),
            Command::ClientsMax(s.clients_max),
            Command::ConnMax(s.conn_max),
            Command::Dummy(s.dummy),
            Command::Emergency(self.emergency_at.clone()),
            Command::IdleTimeout(s.idle_timeout),
            Command::Idlers(s.idlers),
            Command::Keepalive(s.keepalive),
            Command::Peek(s.peek),
            Command::Source(s.source),
            Command::SyslogFacility(s.syslog_facility),
            Command::Transparent(s.transparent),
        ]);
        commands.extend(later);
        if self.listen_commanded {
            commands.extend(Endpoint::parse_listener(&self.listen).map(|at| Command::Listen(self.listen.clone(), at)));
        }
        commands
    }
}
