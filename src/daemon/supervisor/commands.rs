//! What administrators ask of the supervisor: commands.

use std::time::{Instant, SystemTime};

use crossbeam_channel::Receiver;

use super::{Due, Running, Supervisor};
use crate::daemon::events::Prepared;
use crate::daemon::idlers::Wanted;
use crate::daemon::pool::WorkerId;
use crate::daemon::session::job::Order;
use crate::error::Error;
use crate::id::ConnId;
use crate::net::connect::ConnectOptions;
use crate::net::tls::Keyring;
use crate::policy::command::Command;
use crate::policy::command::apply::{Effect, Outcome};
use crate::policy::command::room::not_enough;
use crate::policy::report::Context;
use crate::policy::report::SocketStats;

/// The error for commands between which and their keys others have come.
const CHANGED: &str = "another command has changed what TLS needs at the same time: try again";

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Applies what was prepared, whole or not at all. Gives the reply of the last command, and the effects that are left to
    /// the caller, and tells whether pen is to end.
    pub(super) fn obey(&mut self, prepared: Prepared, now: Instant) -> Result<(Outcome, bool), Error> {
        let Prepared { commands, keyring, listeners, access_log, .. } = prepared;
        let possible = self.make_room(&commands).and_then(|()| self.has_keys(&commands, keyring.as_deref()));
        if let Err(error) = possible {
            if let Some(listeners) = listeners {
                self.front.decline(&listeners);
            }
            return Err(error);
        }
        if let Some(listeners) = listeners {
            self.front.listen(listeners, &self.log, now)?;
            self.name = self.front.names().into();
            self.due.grant = true;
        }
        if let Some(keyring) = keyring {
            self.keyring = keyring;
            self.due.checks = true;
        }
        if let Some(destination) = access_log {
            self.helpers.access_log.switch(destination);
        }
        let mut whole = Outcome::default();
        let (mut exit, mut refused) = (false, false);
        let names = commands.iter().any(Command::may_change_names);
        let changes = commands.iter().any(Command::is_change);
        for command in commands {
            let Outcome { reply, effects } = self.apply(command, now);
            // Only a command that comes alone has a reader for its reply; a refusal is told in any case.
            let refuses = effects.contains(&Effect::Refuse);
            if refuses || !refused {
                whole.reply = reply;
            }
            refused |= refuses;
            let (effects, exits) = self.carry_out(effects, now);
            whole.effects.extend(effects);
            exit |= exits;
        }
        if names {
            let _ = self.helpers.resolver.try_send(());
        }
        self.due.checks |= changes;
        self.settle(now);
        if changes {
            self.front.begin_epoch();
        }
        Ok((whole, exit))
    }

    /// Whether the keys are those of what will be configured. It may have changed since they were read.
    fn has_keys(&self, commands: &[Command], keyring: Option<&Keyring>) -> Result<(), Error> {
        let fits = match keyring {
            Some(keyring) => keyring.serves(&self.balancer.tls_config().after(commands)),
            None => !commands.iter().any(Command::is_tls),
        };
        if fits { Ok(()) } else { Err(Error::Config(String::from(CHANGED))) }
    }

    /// Does what all commands together have made due. It takes a time that grows with the number of servers, so it is done once for
    /// all of them.
    pub fn settle(&mut self, now: Instant) {
        self.balancer.settle_lists();
        let Due { grant, idlers, checks } = std::mem::take(&mut self.due);
        let before = self.checking.at_once;
        if checks {
            self.plan_checks(now);
        }
        let grant = grant || self.checking.at_once != before;
        if grant || idlers {
            self.front.renew_grant(self.balancer.settings(), self.balancer.checks_at_once(), &self.log);
        }
        if idlers {
            let (count, targets) = self.balancer.idlers(now);
            let options = ConnectOptions::from(&**self.balancer.settings());
            self.helpers.idlers.send(Wanted { count, targets, options });
        }
    }

    /// Has the memory ready for what the commands put into the tables. If there is not enough nothing changes.
    fn make_room(&mut self, commands: &[Command]) -> Result<(), Error> {
        match self.balancer.make_room(commands).map_err(Error::Config)? {
            Some(sessions) => self.make_room_for(sessions),
            None => Ok(()),
        }
    }

    /// Has the memory ready for so many sessions at once.
    pub fn make_room_for(&mut self, sessions: usize) -> Result<(), Error> {
        let reserved = self.sessions.try_reserve(sessions);
        reserved.map_err(|_lack| Error::Config(not_enough(format_args!("conn_max {sessions}"))))
    }

    /// Carries out what commands ask of the threads. Gives back what may wait for a disk, and tells whether pen is to end.
    pub fn carry_out(&mut self, effects: Vec<Effect>, now: Instant) -> (Vec<Effect>, bool) {
        let mut exit = false;
        let mut left = Vec::new();
        for effect in effects {
            match effect {
                Effect::DebugLevel(level) => self.log.set_debug(level),
                Effect::SyslogFacility(facility) => self.log.set_facility(facility),
                Effect::ConnMax => self.due.grant = true,
                Effect::Close(conn) => {
                    if let Some(live) = self.live(conn) {
                        live.close();
                    }
                }
                Effect::Idlers => self.due.idlers = true,
                Effect::Exit => exit = true,
                Effect::Changed(event) => self.changed(event, now),
                Effect::Notice(text) => self.log.notice(text),
                Effect::Reopen => self.helpers.access_log.reopen(),
                Effect::Refuse | Effect::Tell(_) | Effect::TellAll(_) | Effect::WriteFile(..) => left.push(effect),
            }
        }
        (left, exit)
    }

    fn apply(&mut self, command: Command, now: Instant) -> Outcome {
        let sessions = &self.sessions.running;
        let socket_stats = |conn: ConnId| stats(sessions, conn);
        let time = self.clock.format(SystemTime::now());
        let (idlers, most) = (self.helpers.idle, self.front.grant.sessions);
        self.balancer.apply(command, &Context { now, time: &time, socket_stats: &socket_stats, idlers, most })
    }
}

pub(super) fn stats(sessions: &[Option<Running>], conn: ConnId) -> SocketStats {
    sessions.get(conn.index()).and_then(Option::as_ref).map_or(SocketStats::default(), Running::socket_stats)
}
