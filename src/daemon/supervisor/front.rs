//! Where clients come in: the listeners in use, and those that are about to go.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::acceptor;
use crate::daemon::datagrams::Datagrams;
use crate::daemon::datagrams::tools::Epoch;
use crate::daemon::events::Event;
use crate::daemon::mailbox::Handle;
use crate::daemon::permits::Permits;
use crate::error::Error;
use crate::net::listener::Listener;
use crate::net::relay::pipes::{self, Pipes};
use crate::policy::settings::Settings;
use crate::sys::limits::{Demand, Grant, Host};
use crate::sys::log::Log;

/// How long handshakes that have begun may take to end before their listener does: light in a fibre takes as long for the way to the
/// other side of the earth and back (2 x 20,000 km at 200,000 km/s).
const HANDSHAKE: Duration = Duration::from_millis(200);

/// How long a listener for datagrams goes on after it was left, for the answers that are on their way: as long as pen waits for a server
/// in a connect, if nobody says otherwise.
const ANSWERS: Duration = Duration::from_secs(3);

/// See the module's documentation. The files of Unix sockets are removed when it is dropped.
#[derive(Debug)]
pub struct Front {
    /// Of all acceptors.
    pub permits: Permits,
    /// Whose limits they meet.
    pub host: Host,
    /// What it grants to them.
    pub grant: Grant,
    /// Of all sessions.
    pub pipes: Pipes,
    /// Of the flows of datagrams.
    pub epoch: Epoch,
    /// What carries datagrams; `None`: clients have connections, and each listener has an acceptor.
    datagrams: Option<Datagrams>,
    /// How many listeners the control port has.
    controls: usize,
    events: Handle<Event>,
    listeners: Vec<Arc<Listener>>,
    /// The kernel has queued clients of these, or may do so soon. With the time since when no new ones can come.
    leaving: Vec<(Arc<Listener>, Instant)>,
}

impl Front {
    /// Without a listener. Acceptors send clients to `events`.
    pub fn new(permits: Permits, host: Host, grant: Grant, controls: usize, events: Handle<Event>) -> Self {
        let pipes = Pipes::default();
        pipes.limit(grant.pipes);
        permits.share(grant);
        let (epoch, datagrams, listeners, leaving) = Default::default();
        Self { permits, host, grant, pipes, epoch, datagrams, controls, events, listeners, leaving }
    }

    /// To the supervisor, for further threads.
    pub(super) fn events(&self) -> &Handle<Event> {
        &self.events
    }

    /// Clients send datagrams.
    pub fn takes_datagrams(&mut self, epoch: Epoch, datagrams: Datagrams) {
        (self.epoch, self.datagrams) = (epoch, Some(datagrams));
    }

    /// How many flows each thread may have.
    pub(super) fn share(&self) -> usize {
        self.grant.sessions / self.datagrams.as_ref().map_or(1, Datagrams::threads)
    }

    /// Servers or settings may have changed: flows ask again.
    pub(super) fn begin_epoch(&self) {
        self.epoch.begin();
        if let Some(datagrams) = &self.datagrams {
            datagrams.wake();
        }
    }

    /// Asks for what so many sessions and idlers need, and for a pipe for each of some downloads. Sessions above what is granted wait.
    pub(super) fn renew_grant(&mut self, settings: &Settings, checks: usize, log: &Log) {
        let Settings { conn_max: sessions, idlers, .. } = *settings;
        let pages = settings.web.listeners();
        let listeners = self.all().len() + self.controls;
        let flows = self.datagrams.is_some();
        let pipes = if flows { 0 } else { pipes::MOST };
        let grant = self.host.grant(Demand { flows, sessions, listeners, pages, pipes, idlers, checks });
        if let Some(warning) = grant.warning(sessions).filter(|_| grant.sessions != self.grant.sessions) {
            log.warning(warning);
        }
        self.grant = grant;
        self.permits.limit(grant.sessions);
        self.permits.share(grant);
        self.pipes.limit(grant.pipes);
    }

    /// Listens there and nowhere else. Listeners that it has already go on; others serve the clients that the kernel has queued
    /// before they end. After an error nothing has changed.
    pub fn listen(&mut self, listeners: Vec<Arc<Listener>>, log: &Log, now: Instant) -> Result<(), Error> {
        if let Some(ended) = listeners.iter().find(|listener| listener.is_retired()) {
            let cause = io::Error::other("it is just being closed; try again");
            let error = Error::Bind(ended.address().to_string(), cause);
            self.decline(&listeners);
            return Err(error);
        }
        let there = self.all();
        for listener in listeners.iter().filter(|listener| !contains(&there, listener)) {
            if self.datagrams.is_some() {
                continue;
            }
            if let Err(error) = acceptor::start(Arc::clone(listener), self.permits.clone(), &self.events, log.clone()) {
                self.decline(&listeners);
                return Err(error);
            }
            log.debug(1, || format!("pen {} listens on {}", env!("CARGO_PKG_VERSION"), listener.address()));
        }
        for old in mem::replace(&mut self.listeners, listeners) {
            if !contains(&self.listeners, &old) {
                old.stop();
                self.leaving.push((old, now));
            }
        }
        let listeners = &self.listeners;
        self.leaving.retain(|(listener, _)| {
            let returns = contains(listeners, listener);
            if returns {
                listener.resume();
            }
            !returns && !listener.is_retired()
        });
        self.open_doors();
        Ok(())
    }

    /// Ends listeners that cannot be had after all, but for those that are there already.
    pub(super) fn decline(&self, listeners: &[Arc<Listener>]) {
        let there = self.all();
        for listener in listeners.iter().filter(|listener| !contains(&there, listener)) {
            listener.end();
            listener.remove_file();
        }
    }

    /// Ends the listeners that have served all their clients. Tells whether there were any.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        let before = self.leaving.len();
        let time = if self.datagrams.is_some() { ANSWERS } else { HANDSHAKE };
        self.leaving.retain(|(listener, since)| {
            let stays = now.duration_since(*since) < time || listener.has_queued();
            if !stays {
                listener.end();
            }
            stays
        });
        let released = self.leaving.len() < before;
        if released {
            self.permits.wake();
            self.open_doors();
        }
        released
    }

    /// Has datagrams come through the listeners that there are, those that are about to go among them.
    fn open_doors(&self) {
        if let Some(datagrams) = &self.datagrams {
            datagrams.serve(self.all());
        }
    }

    /// Whether listeners are about to go.
    pub(super) fn is_changing(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// All listeners, for [`Self::listen`]. None of them ends before another handshake's time.
    pub(super) fn offer(&mut self, now: Instant) -> Vec<Arc<Listener>> {
        self.leaving.iter_mut().for_each(|(_, since)| *since = now);
        self.all()
    }

    /// The addresses that clients come to.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.listeners.iter().map(|listener| listener.address().to_string()).collect();
        names.join(", ")
    }

    fn all(&self) -> Vec<Arc<Listener>> {
        self.listeners.iter().chain(self.leaving.iter().map(|(listener, _)| listener)).cloned().collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.listeners.iter().for_each(|listener| listener.remove_file());
    }
}

fn contains(listeners: &[Arc<Listener>], listener: &Arc<Listener>) -> bool {
    listeners.iter().any(|other| Arc::ptr_eq(other, listener))
}
