//! Applies commands. This is the only way to change the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::ServerChange;
use super::setting::{Setting, Touches, Value};
use super::{Command, table};
use crate::endpoint::Host;
use crate::id::{ConnId, ServerId, Upstream};
use crate::policy::balancer::Balancer;
use crate::policy::changes::ServerEvent;
use crate::policy::clients::Clients;
use crate::policy::country::GeoipFile;
use crate::policy::report::Context;
use crate::policy::report::query::Query;
use crate::policy::servers::{AdminState, Health, Server, State, Target};
use crate::policy::settings::{Facility, Settings};

/// The result of a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The reply; it ends with a newline unless it is empty.
    pub reply: String,
    /// For the shell.
    pub effects: Vec<Effect>,
}

impl Outcome {
    pub(super) fn reply(reply: String) -> Self {
        Self { reply, effects: Vec::new() }
    }

    /// For a command that is not carried out: the reply says why.
    pub(super) fn refusal(reply: String) -> Self {
        Self { reply, effects: vec![Effect::Refuse] }
    }
}

/// The I/O that a command requires.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Set this debug level, 0 to 3.
    DebugLevel(u8),
    /// Use this syslog facility.
    SyslogFacility(Facility),
    /// How many connections are served at once has changed.
    ConnMax,
    /// End a session.
    Close(ConnId),
    /// The idle connections that are to be kept have changed: see [`Balancer::idlers`].
    Idlers,
    /// Open the request log again.
    Reopen,
    /// Tell the caller that the command was not carried out.
    Refuse,
    /// Return the country data in use to the caller.
    Tell(GeoipFile),
    /// Return the whole configuration to the caller.
    TellAll(Vec<Command>),
    /// End pen.
    Exit,
    /// Tell those who watch.
    Changed(ServerEvent),
    /// Log this.
    Notice(String),
    /// Write a file, whole or not at all; when that fails, answer with these words and the cause.
    WriteFile(PathBuf, String, &'static str),
}

impl Balancer {
    /// Carries out a command. Its names must be resolved, and its files included.
    pub fn apply(&mut self, command: Command, context: &Context<'_>) -> Outcome {
        match command {
            Command::Acl { list, permit, whom } => self.acls[list.index()].push(permit, whom),
            Command::NoAcl(list) => self.acls[list.index()].clear(),
            Command::Geoip(Some(file)) => {
                let named = file.is_named();
                self.geoip = Some(file);
                if named {
                    return Outcome::reply(self.answer(&Query::Geoip, context));
                }
            }
            // What was found in a usual place stays: no command has named it.
            Command::Geoip(None) => self.geoip = self.geoip.take().filter(|file| !file.is_named()),
            Command::Renew(old, new) => {
                if let Some(in_use) = self.geoip.as_mut().filter(|in_use| in_use.edition() == old.edition()) {
                    in_use.share(&new);
                }
            }
            Command::Server(id, changes) => {
                let is_result = changes.iter().any(|change| matches!(change, ServerChange::Result(..)));
                let mut effects = self.change_server(id, changes, context.now);
                effects.extend(self.idlers_changed());
                let is_missing = is_result && self.servers[id.index()].is_empty();
                effects.extend(is_missing.then_some(Effect::Refuse));
                let reply = if is_missing { no_server(id) } else { String::new() };
                return Outcome { reply, effects };
            }
            Command::Resolved(upstream, host) => {
                let change = self.relocate(upstream, host, context.now).map(Effect::Notice);
                let idlers = change.as_ref().and_then(|_| self.idlers_changed());
                return Outcome { reply: String::new(), effects: change.into_iter().chain(idlers).collect() };
            }
            Command::NoServer(id) => match self.servers.get_mut(id.index()).filter(|server| !server.is_as_new()) {
                None => return Outcome::refusal(no_server(id)),
                Some(server) => {
                    server.reset(true, context.now);
                    return Outcome { reply: String::new(), effects: self.idlers_changed().into_iter().collect() };
                }
            },
            Command::NoServers(spared) => {
                for (number, server) in self.servers.iter_mut().enumerate() {
                    let is_spared = ServerId::new(number).is_some_and(|id| spared.binary_search(&id).is_ok());
                    server.reset(!is_spared, context.now);
                }
                return Outcome { reply: String::new(), effects: self.idlers_changed().into_iter().collect() };
            }
            Command::HttpHeader(header) => return self.set_header(header),
            Command::NoHttpHeader(name) => return self.remove_headers(name),
            Command::Close(number) => return self.close_command(number),
            Command::Exit if self.identity.may_exit => {
                return Outcome { reply: String::new(), effects: vec![Effect::Exit] };
            }
            Command::Exit => return Outcome::refusal(String::from("Exit is not enabled; restart with -X flag\n")),
            Command::Listen(listeners) => {
                self.listen = listeners.text().to_string();
                self.listen_commanded = true;
                return Outcome::reply(self.answer(&Query::Listen, context));
            }
            Command::Show(Query::Health) => {
                return self.availability(context.now).map_or_else(Outcome::refusal, Outcome::reply);
            }
            Command::Show(Query::Geoip) => {
                let effects = self.geoip.iter().cloned().map(Effect::Tell).collect();
                return Outcome { reply: self.answer(&Query::Geoip, context), effects };
            }
            Command::Show(Query::Configuration) => {
                let effects = vec![Effect::TellAll(self.to_commands(context.now))];
                return Outcome { reply: String::new(), effects };
            }
            Command::Show(Query::Connection(number)) if number >= self.settings.conn_max as u64 => {
                return Outcome::refusal(out_of_range(number));
            }
            Command::Show(query) => return Outcome::reply(self.answer(&query, context)),
            Command::Get(setting) => return Outcome::reply(setting.answer(&self.settings, context)),
            Command::Set(setting, value) => return self.set(setting, value, context),
            Command::Reopen => return Outcome { reply: String::new(), effects: vec![Effect::Reopen] },
            Command::Help(word) => return table::help(word.as_deref()).map_or_else(Outcome::refusal, Outcome::reply),
            Command::Write(file) => return self.write(file, context),
            // Replaced by what the file says before it comes here, or without a meaning.
            Command::Include(_) | Command::Nothing(_) => {}
        }
        Outcome::default()
    }

    fn set(&mut self, setting: &Setting, value: Value, context: &Context<'_>) -> Outcome {
        let failure = value.failure().map(String::from);
        setting.set(Arc::make_mut(&mut self.settings), value, self.serving);
        let mut effects = match setting.touches {
            Touches::Nothing => Vec::new(),
            Touches::Clients => {
                self.resize_clients();
                Vec::new()
            }
            Touches::Sessions => vec![Effect::ConnMax],
            Touches::Idlers => vec![Effect::Idlers],
            Touches::Weights if self.lacks_weights() => {
                let reply = format!("{}: every server has weight 0, so that new clients are refused\n", setting.word);
                return Outcome::reply(reply);
            }
            Touches::Weights => Vec::new(),
            Touches::Log => {
                let Settings { debug, syslog_facility, .. } = *self.settings;
                vec![Effect::DebugLevel(debug), Effect::SyslogFacility(syslog_facility)]
            }
        };
        if let Some(cause) = failure {
            effects.extend(match setting.word {
                "abuse" => self.lookup_failed(Upstream::Abuse, &cause),
                "emergency" => self.lookup_failed(Upstream::Emergency, &cause),
                word => {
                    let value = setting.value(&self.settings).text().unwrap_or_default();
                    Some(Effect::Notice(format!("{word} ({value}): cannot be looked up: {cause}; it stays open")))
                }
            });
        }
        Outcome { reply: setting.answer(&self.settings, context), effects }
    }

    fn resize_clients(&mut self) {
        let max = self.settings.clients_max;
        if self.serving || max > self.clients.max() {
            self.clients.grow(max);
        } else {
            self.clients = Clients::new(max);
        }
    }

    fn change_server(&mut self, id: ServerId, changes: Vec<ServerChange>, now: Instant) -> Vec<Effect> {
        if self.servers.len() <= id.index() {
            self.servers.resize_with(id.index() + 1, Server::default);
        }
        let server = &mut self.servers[id.index()];
        let (mut endpoint, mut port) = (server.endpoint().clone(), server.port());
        let (mut failure, mut proxy) = (None, server.proxy());
        for change in &changes {
            match change {
                ServerChange::Address(new) => {
                    failure = new.host().and_then(Host::failure).map(String::from);
                    endpoint = new.clone().or_addresses_of(&endpoint);
                }
                ServerChange::Port(new) => port = new.number().unwrap_or(0),
                ServerChange::SendProxy(version) => proxy = *version,
                _ => {}
            }
        }
        let mut tls = server.tls().clone();
        changes.iter().for_each(|change| tls.change(change));
        server.aim(endpoint, port, (tls, proxy), now);
        let before = server.state(now);
        changes.iter().for_each(|change| server.checks.change(change));
        let (mut weights_changed, mut closes, mut results) = (false, false, Vec::new());
        for change in changes {
            match change {
                ServerChange::Acl(list) => server.acl = list,
                ServerChange::Max(n) => server.soft = n,
                ServerChange::Hard(n) => server.hard = n,
                ServerChange::Blacklist(Duration::ZERO) => {
                    server.health = Health::Up;
                    if let AdminState::Blacklisted { .. } = server.admin {
                        server.admin = AdminState::Ready;
                    }
                }
                ServerChange::Blacklist(time) => server.admin = AdminState::Blacklisted { until: now + time },
                ServerChange::Drain => server.admin = AdminState::Drain,
                ServerChange::Maint => server.admin = AdminState::Maint,
                ServerChange::Ready => {
                    (server.admin, server.health) = (AdminState::Ready, Health::Up);
                    server.checked.set_up(now);
                }
                ServerChange::Result(succeeded, reason) => results.push((succeeded, reason)),
                ServerChange::Close => closes = true,
                ServerChange::Weight(n) if n != server.weight => {
                    server.weight = n;
                    weights_changed = true;
                }
                ServerChange::Weight(_) => {}
                ServerChange::Prio(n) => server.prio = n,
                // These went into the target.
                ServerChange::Address(_)
                | ServerChange::SendProxy(_)
                | ServerChange::Port(_)
                | ServerChange::Tls(_)
                | ServerChange::TlsVerify(_)
                | ServerChange::TlsName(_)
                | ServerChange::TlsCa(_)
                | ServerChange::TlsCert(_)
                | ServerChange::TlsKey(_)
                // These went into the checks.
                | ServerChange::Check(_)
                | ServerChange::CheckInterval(_)
                | ServerChange::CheckTimeout(_)
                | ServerChange::CheckRise(_)
                | ServerChange::CheckFall(_)
                | ServerChange::CheckPort(_) => {}
            }
        }
        server.note(now);
        if weights_changed {
            // What other weights had built up.
            self.servers.iter_mut().for_each(|server| server.turn = 0);
        }
        let mut effects = if closes { self.close_all(id) } else { Vec::new() };
        effects.extend(self.changed_by_command(id, before, now).map(Effect::Changed));
        for (succeeded, reason) in results {
            let event = self.reported(id, succeeded, &reason, now);
            effects.extend(event.map(Effect::Changed));
        }
        effects.extend(failure.and_then(|cause| self.lookup_failed(Upstream::Regular(id), &cause)));
        effects
    }

    fn close_all(&self, id: ServerId) -> Vec<Effect> {
        let all = self.connections.from(0);
        let on_it = all.filter(|(_, connection)| connection.is_some_and(|c| c.upstream == Some(Upstream::Regular(id))));
        on_it.map(|(conn, _)| Effect::Close(conn)).collect()
    }

    fn close_command(&self, number: u64) -> Outcome {
        if number >= self.settings.conn_max as u64 {
            return Outcome::refusal(out_of_range(number));
        }
        let id = u32::try_from(number).ok().map(ConnId).filter(|id| self.connections.get(*id).is_some());
        match id {
            Some(id) => {
                let reply = format!("Forcibly closing connection {number}\n");
                Outcome { reply, effects: vec![Effect::Close(id)] }
            }
            None => Outcome::refusal(format!("There is no connection {number}\n")),
        }
    }

    /// How many idle connections are to be kept, and to which servers.
    pub fn idlers(&self, now: Instant) -> (usize, Vec<Arc<Target>>) {
        let servers = self.servers.iter().filter(|server| {
            !matches!(server.state(now), State::Empty | State::Unresolved | State::Maint | State::Drain)
        });
        (self.settings.idlers, servers.map(|server| Arc::clone(server.target())).collect())
    }

    /// What the idlers' thread must know after servers have changed.
    fn idlers_changed(&self) -> Option<Effect> {
        (self.settings.idlers > 0).then_some(Effect::Idlers)
    }
}

fn no_server(id: ServerId) -> String {
    format!("There is no server {id}\n")
}

/// pen's words for a number of a connection that pen cannot have.
fn out_of_range(number: u64) -> String {
    format!("Connection {number} out of range\n")
}
