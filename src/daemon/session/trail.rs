//! What a session leaves in the log of connections.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::job::Link;
use crate::daemon::access_log::AccessLog;
use crate::net::connect::{peer_name, peer_port};
use crate::net::relay::End;
use crate::net::relay::stream::Stream;
use crate::policy::counters::SessionEnd;
use crate::policy::country::Country;
use crate::policy::settings::{LogTarget, Settings};
use crate::policy::weblog::Record;
use crate::policy::weblog::connection::{Connection, Ending, LogFormat};

/// What is known about a session so far. Without a log of connections it notes nothing that costs time.
#[derive(Debug)]
pub(super) struct Trail<'a> {
    format: Option<&'a LogFormat>,
    start: SystemTime,
    began: Instant,
    client: Cell<Option<SocketAddr>>,
    country: Cell<Option<Country>>,
    end: Cell<Ending>,
    /// How long it took to connect to the server it has.
    connect: Cell<Option<Duration>>,
    /// What costs memory.
    more: RefCell<Option<Box<More>>>,
}

#[derive(Debug, Default)]
struct More {
    server: Option<(String, Option<u16>)>,
    /// When the first attempt to connect began.
    connecting: Option<Instant>,
    /// How long it took from then until a server was connected to.
    connect: Option<Duration>,
    tls_version: Option<String>,
    tls_name: Option<String>,
}

/// The form of the log of connections, if there is such a log: penlogd(1) understands requests only.
pub(in crate::daemon) fn format(settings: &Settings) -> Option<&LogFormat> {
    settings.log_format.as_ref().filter(|_| matches!(settings.log, Some(LogTarget::File(_))))
}

impl<'a> Trail<'a> {
    /// Of a client that comes now.
    pub(super) fn new(settings: &'a Settings, peer: Option<SocketAddr>) -> Self {
        Self {
            format: format(settings),
            start: SystemTime::now(),
            began: Instant::now(),
            client: Cell::new(peer),
            country: Cell::default(),
            end: Cell::new(Ending::Client),
            connect: Cell::default(),
            more: RefCell::default(),
        }
    }

    /// Whether connections are logged.
    pub(super) fn is_kept(&self) -> bool {
        self.format.is_some()
    }

    /// When the session began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The client is another one: its proxy has announced it.
    pub(super) fn is_from(&self, client: Option<SocketAddr>) {
        self.client.set(client);
    }

    /// The client comes from there; `None`: that was told before, or is not known.
    pub(super) fn is_from_country(&self, country: Option<Country>) {
        self.country.set(country.or(self.country.get()));
    }

    /// The client's side is there.
    pub(super) fn met(&self, client: &Stream<'_>) {
        if let Stream::Tls(tls) = client {
            self.note(|more| {
                let facts = tls.facts();
                (more.tls_version, more.tls_name) = (Some(facts.version), facts.name);
            });
        }
    }

    /// A server is going to be connected to.
    pub(super) fn connects(&self) {
        self.note(|more| more.connecting = Some(Instant::now()));
    }

    /// The server was connected to, which took that long.
    pub(super) fn connected(&self, server: &OwnedFd, took: Duration) {
        self.connect.set(Some(took));
        self.note(|more| {
            more.server = Some((peer_name(server), peer_port(server)));
            more.connect = more.connecting.map(|connecting| connecting.elapsed());
        });
    }

    /// So it ends, if nothing else is said.
    pub(super) fn ends(&self, end: Ending) {
        self.end.set(end);
    }

    /// So the relay has ended.
    pub(super) fn relay_ended(&self, end: &End) {
        self.ends(match end {
            End::Finished | End::FastClosed(_) | End::ServerClosed => Ending::Done,
            End::Idle | End::HalfClosed => Ending::Idle,
            End::ClientBroke(_) => Ending::Client,
            End::ServerBroke(_) => Ending::Server,
        });
    }

    /// How it has ended now, for the counters. `cold`: the server has ended it before its first byte.
    pub(super) fn end(&self, cold: bool) -> SessionEnd {
        SessionEnd { connect: self.connect.get(), cold, length: self.began.elapsed() }
    }

    /// Logs it, now that it is over.
    #[inline(never)]
    pub(super) fn log(&self, link: &Link, log: &AccessLog) {
        let Some(format) = self.format else { return };
        let end = if link.is_closing() { Ending::Closed } else { self.end.get() };
        let record = || Record::ready(self.line(format, link, end).as_bytes());
        if end.is_refusal() { log.refused(Instant::now(), record) } else { log.record(record()) }
    }

    fn line(&self, format: &LogFormat, link: &Link, end: Ending) -> String {
        let client = self.client.get();
        let More { server, connect, tls_version, tls_name, .. } = *self.more.take().unwrap_or_default();
        let (server, server_port) = server.unzip();
        let start = self.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        format.line(&Connection {
            country: self.country.get(),
            server,
            server_port: server_port.flatten(),
            connect,
            duration: self.began.elapsed(),
            up: link.up.total(),
            down: link.down.total(),
            tls_version,
            tls_name,
            ..Connection::new(start, client, end)
        })
    }

    fn note(&self, note: impl FnOnce(&mut More)) {
        if self.is_kept() {
            note(self.more.borrow_mut().get_or_insert_default());
        }
    }
}

/// The line of a client that was refused before it had a session.
pub(in crate::daemon) fn refused(format: &LogFormat, client: Option<SocketAddr>, country: Option<Country>) -> String {
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format.line(&Connection { country, ..Connection::new(start, client, Ending::Refused) })
}
