//! What administrators ask of the supervisor: commands, reloads.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Session, Supervisor};
use crate::daemon::acceptor;
use crate::daemon::events::Commands;
use crate::daemon::mailbox::Mailbox;
use crate::daemon::pool::WorkerId;
use crate::daemon::reloader::Task;
use crate::daemon::session::job::Order;
use crate::error::Error;
use crate::id::ConnId;
use crate::net::listener::Listener;
use crate::net::relay::pipes;
use crate::policy::command::Command;
use crate::policy::command::apply::{Effect, Outcome};
use crate::policy::report::Context;
use crate::policy::report::SocketStats;
use crate::sys::limits::raise_open_files;

impl<F: Fn(WorkerId, Mailbox<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Carries out commands, one after the other. Tells whether pen is to end.
    pub(super) fn obey(&mut self, Commands { commands, listener, reply }: Commands, now: Instant) -> bool {
        if let Some(Err(error)) = listener.map(|listener| self.listen(listener)) {
            // Whoever asked may be gone: then nobody needs to know.
            let _ = reply.try_send(Err(Error::System(String::from("cannot start an acceptor"), error)));
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
                        if let Some(link) = self.link(conn) {
                            link.close();
                        }
                    }
                    Effect::Idlers(count, targets) => self.wanted = Some((count, targets)),
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
        let socket_stats =
            |conn: ConnId| sessions.get(conn.index()).map_or(SocketStats::default(), Session::socket_stats);
        let time = self.clock.format(SystemTime::now());
        self.balancer.apply(command, &Context { now, time: &time, socket_stats: &socket_stats, idlers: self.idle })
    }

    /// Takes another listener; the sessions of the old one go on.
    fn listen(&mut self, listener: Arc<Listener>) -> io::Result<()> {
        let (permits, doorway, log) = (self.permits.clone(), self.doorway.clone(), self.log.clone());
        if let Err(error) = acceptor::start(Arc::clone(&listener), permits, doorway, log) {
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
}
