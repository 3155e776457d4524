//! What administrators ask of the supervisor: commands, statistics, reloads.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crossbeam_channel::Receiver;

use super::{Running, Supervisor};
use crate::daemon::acceptor;
use crate::daemon::events::Commands;
use crate::daemon::idlers::Wanted;
use crate::daemon::pool::WorkerId;
use crate::daemon::reloader::Task;
use crate::daemon::session::job::Order;
use crate::error::Error;
use crate::id::ConnId;
use crate::net::connect::ConnectOptions;
use crate::net::listener::Listener;
use crate::net::relay::pipes;
use crate::policy::command::Command;
use crate::policy::command::apply::{Effect, Outcome};
use crate::policy::report::Context;
use crate::policy::report::SocketStats;
use crate::sys::limits::raise_open_files;

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Carries out commands, one after the other. Tells whether pen is to end.
    pub(super) fn obey(&mut self, Commands { commands, listener, reply }: Commands, now: Instant) -> bool {
        self.account();
        if let Some(Err(error)) = listener.map(|listener| self.listen(listener)) {
            // Whoever asked may be gone: then nobody needs to know.
            let _ = reply.try_send(Err(error));
            return false;
        }
        let mut outcome = Outcome::default();
        let mut exit = false;
        for command in commands {
            let Outcome { reply, effects } = self.apply(command, now);
            outcome.reply.push_str(&reply);
            for effect in effects {
                match effect {
                    Effect::DebugLevel(level) => self.log.set_debug(level),
                    Effect::SyslogFacility(facility) => self.log.set_facility(facility),
                    Effect::ConnMax(max) => {
                        self.sessions_max = raise_open_files(max, pipes::MOST);
                        self.permits.limit(self.sessions_max);
                    }
                    Effect::Close(conn) => {
                        if let Some(live) = self.live(conn) {
                            live.close();
                        }
                    }
                    Effect::Idlers(count, targets) => {
                        let options = ConnectOptions::from(&**self.balancer.settings());
                        self.wanted = Some(Wanted { count, targets, options });
                    }
                    Effect::Exit => exit = true,
                    Effect::Tell(_) | Effect::WriteFile(..) => outcome.effects.push(effect),
                }
            }
        }
        // Whoever asked may be gone: then nobody needs to know.
        let _ = reply.try_send(Ok(outcome));
        exit
    }

    fn apply(&mut self, command: Command, now: Instant) -> Outcome {
        let sessions = &self.sessions;
        let socket_stats = |conn: ConnId| stats(sessions, conn);
        let time = self.clock.format(SystemTime::now());
        self.balancer.apply(command, &Context { now, time: &time, socket_stats: &socket_stats, idlers: self.idle })
    }

    /// Takes another listener; the sessions of the old one go on.
    fn listen(&mut self, listener: Arc<Listener>) -> Result<(), Error> {
        if let Err(error) =
            acceptor::start(Arc::clone(&listener), self.permits.clone(), &self.doorway, self.log.clone())
        {
            listener.retire();
            return Err(error);
        }
        std::mem::replace(&mut self.listener, listener).retire();
        Ok(())
    }

    /// HUP came. The reloader is told at once, or as soon as it has room for another task.
    pub(super) fn reload(&mut self) {
        if self.file.is_none() {
            self.log.debug(1, || String::from("HUP: there is no file to read again"));
        }
        self.reload_due = true;
        self.tell_clerk();
    }

    pub(super) fn tell_clerk(&mut self) {
        if self.reload_due {
            self.reload_due =
                self.reloader.try_send(Task::Reload(self.file.clone())).is_err_and(|error| error.is_full());
        }
    }

    pub(super) fn statistics(&mut self, now: Instant) {
        self.account();
        let socket_stats = |conn: ConnId| stats(&self.sessions, conn);
        let time = self.clock.format(SystemTime::now());
        let context = Context { now, time: &time, socket_stats: &socket_stats, idlers: self.idle };
        match self.balancer.settings().web_stats.clone() {
            // When the reloader is that busy it has a page to write already.
            Some(file) => drop(self.reloader.try_send(Task::Publish(file, self.balancer.page(&context)))),
            None => self.log.report(self.balancer.statistics(&context)),
        }
    }

    /// Books what has gone through the running sessions.
    fn account(&mut self) {
        for conn in self.balancer.connection_ids() {
            if let Some(live) = self.live(conn) {
                let (sent, received) = live.take_counts();
                self.balancer.account(conn, sent, received);
            }
        }
    }
}

fn stats(sessions: &[Option<Running>], conn: ConnId) -> SocketStats {
    sessions.get(conn.index()).and_then(Option::as_ref).map_or(SocketStats::default(), Running::socket_stats)
}
