//! The checks of servers: what is checked, what follows from the results, and who is told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::Supervisor;
use crate::daemon::complaints::Complaints;
use crate::daemon::events::{Event, Follower};
use crate::daemon::mailbox::Handle;
use crate::daemon::monitor::{Monitor, Report, Watcher};
use crate::daemon::notify::Notifier;
use crate::daemon::pool::WorkerId;
use crate::daemon::session::job::Order;
use crate::endpoint::{Address, Host};
use crate::error::reason;
use crate::id::ServerId;
use crate::net::probe::reach::{Reach, Tls};
use crate::net::tls::Keyring;
use crate::policy::changes::{CHECKS_AT_ONCE, ServerEvent};
use crate::policy::check::kind::Kind;
use crate::policy::check::roster::Service;
use crate::policy::checked::Found;
use crate::policy::proxy::writer::local;
use crate::policy::servers::Server;
use crate::policy::settings::Settings;

/// How many clients may watch: half of the places of the control port, so that it can still be used.
const FOLLOWERS: usize = 32;

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Has those servers checked that are to be checked by now.
    pub(super) fn plan_checks(&mut self, now: Instant) {
        for event in self.balancer.end_checks(now) {
            self.changed(event, now);
        }
        let settings = Arc::clone(self.balancer.settings());
        let servers = self.balancer.servers_to_check(now);
        if servers.is_empty() && self.checking.monitor.is_none() {
            return;
        }
        let services = servers.iter().filter_map(|(id, server)| service(*id, server, &settings, &self.keyring));
        self.checking.late = Some(services.collect());
        if self.checking.monitor.is_none() {
            let told =
                Told { events: self.front.events().clone(), complaints: Complaints::new(self.log.clone(), "checks: ") };
            match Monitor::start(CHECKS_AT_ONCE, told, self.front.events()) {
                Ok(monitor) => self.checking.monitor = Some(monitor),
                Err(error) => return self.remind(error, now),
            }
        }
        self.checking.catch_up();
    }

    /// A check has brought this.
    pub(super) fn checked(&mut self, id: ServerId, name: &str, found: Found, now: Instant) {
        if let Some(event) = self.balancer.checked(id, Some(name), found, now) {
            self.changed(event, now);
        }
    }

    /// A server has changed: tells all who want to know, and ends its sessions if that is wanted.
    pub(super) fn changed(&mut self, event: ServerEvent, now: Instant) {
        if event.is_news() {
            match event.to {
                "down" | "blacklisted" => {
                    self.log.warning(event.message());
                    self.tell_if_none_is_left(now);
                }
                _ => self.log.notice(event.message()),
            }
        }
        for conn in self.balancer.sessions_to_close(event.server) {
            if let Some(live) = self.live(conn) {
                live.close();
            }
        }
        self.front.begin_epoch();
        if event.is_news() {
            self.announce(event);
        }
    }

    /// Tells those who watch, and the program of `notify`.
    pub(super) fn announce(&mut self, event: ServerEvent) {
        if let Some(program) = self.balancer.settings().checks.notify.clone() {
            if self.checking.notifier.is_none() {
                match Notifier::start(self.front.events(), self.log.clone()) {
                    Ok(notifier) => self.checking.notifier = Some(notifier),
                    Err(error) => self.log.error(error),
                }
            }
            if let Some(notifier) = &self.checking.notifier {
                notifier.tell(program, event.clone());
            }
        }
        let event = Arc::new(event);
        // One that takes nothing any more is dropped, and finds the end.
        self.checking.followers.retain(|follower| follower.news.try_send(Arc::clone(&event)).is_ok());
    }

    /// A client wants to hear of changes. Tells whether it will.
    pub(super) fn follow(&mut self, follower: Follower) -> bool {
        self.checking.followers.retain(|follower| follower.is_there.strong_count() > 0);
        let fits = self.checking.followers.len() < FOLLOWERS;
        if fits {
            self.checking.followers.push(follower);
        }
        fits
    }
}

/// How a server is checked.
fn service(id: ServerId, server: &Server, settings: &Settings, keyring: &Keyring) -> Option<Service<Reach>> {
    let checks = &settings.checks;
    let kind = Arc::clone(server.checks.kind(checks)?);
    let port = server.checks.port(checks);
    let at = |address: &Address| match (address, port) {
        (Address::Ip(ip), Some(port)) => Address::Ip(SocketAddr::new(ip.ip(), port)),
        _ => address.clone(),
    };
    let host = server.endpoint().host();
    let failure =
        host.and_then(Host::failure).map(|cause| Arc::from(format!("{}: {cause}", host.map_or("", Host::name))));
    let target = Reach {
        addresses: server.target().addresses.iter().map(at).collect(),
        unresolved: failure,
        source: settings.source,
        header: server.proxy().filter(|_| !kind.is_udp()).map(local).unwrap_or_default(),
        tls: tls(server, &kind, keyring),
    };
    let (name, address) = (id.to_string().into(), server.target().name.as_str().into());
    Some(Service { name, address, kind, pace: server.checks.pace(checks), target })
}

/// How TLS is spoken in a check.
fn tls(server: &Server, kind: &Kind, keyring: &Keyring) -> Option<Tls> {
    let trust = &server.tls().trust;
    let connector = keyring.checker(trust).filter(|_| kind.needs_tls()).cloned().map(Arc::new)?;
    // A Unix socket has no name. TLS servers behind one are usually asked for this.
    let host = || server.endpoint().host().map_or("localhost", Host::name);
    let name = server.tls().name.as_deref().or(kind.tls_host()).unwrap_or_else(host);
    Some(Tls { name: name.into(), trust: Arc::new(trust.clone()), connector })
}

/// Passes on what the monitor tells.
struct Told {
    events: Handle<Event>,
    complaints: Complaints,
}

impl Watcher for Told {
    fn checked(&mut self, report: &Report<'_>) {
        let Report { service, outcome, took, .. } = report;
        let Some(id) = service.name.parse().ok().and_then(ServerId::new) else { return };
        let words = outcome.words(&service.kind).to_string();
        let found = Box::new(Found { outcome: **outcome, words, took: *took });
        // It fails when the process is about to end.
        let _ = self.events.send(Event::Checked(id, Arc::clone(&service.address), found));
    }

    fn prevented(&mut self, service: &Service<Reach>, error: &io::Error) {
        let (name, cause) = (&service.name, reason(error));
        self.complaints.tell(format_args!("server {name} cannot be checked: {cause}"), Instant::now());
    }
}
