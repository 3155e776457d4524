//! One session in its worker: connect, copy, report.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::dump::Dump;
use super::headers::{Decorator, Headers};
use super::job::{Closed, Job, Link, Order, Server, Task};
use super::requests::{Listener, RequestLog};
use super::trail::Trail;
use crate::daemon::access_log::AccessLog;
use crate::daemon::complaints::Complaints;
use crate::daemon::events::{Event, Handshake};
use crate::daemon::live::Live;
use crate::daemon::mailbox::Handle;
use crate::daemon::permits::Permit;
use crate::daemon::pool::WorkerId;
use crate::endpoint::ClientAddr;
use crate::error::reason;
use crate::id::ConnId;
use crate::net::connect::{break_off, peer_name, set_client_options};
use crate::net::dummy;
use crate::net::relay::buffers::Buffers;
use crate::net::relay::half::Way;
use crate::net::relay::pipes::Pipes;
use crate::net::relay::stream::Stream;
use crate::net::relay::yields::Yields;
use crate::net::relay::{End, Relay, first_bytes};
use crate::net::tls::Terminator;
use crate::policy::balancer::Wait;
use crate::policy::facts::ClientFacts;
use crate::policy::proxy::Announced;
use crate::policy::settings::Settings;
use crate::policy::weblog::Parties;
use crate::policy::weblog::connection::Ending;
use crate::sys::log::Log;

/// The most bytes that are read from a client before its server is chosen (`peek`).
const FIRST: usize = 16 * 1024;

/// A job while it is being done.
#[derive(Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) conn: ConnId,
    pub(super) link: &'a Link,
    /// Where the connection comes from.
    pub(super) peer: Option<SocketAddr>,
    /// What the proxy there has announced, if one has.
    pub(super) announced: Option<&'a Announced>,
    pub(super) settings: &'a Settings,
    pub(super) trail: &'a Trail<'a>,
    pub(super) permit: &'a Permit,
    pub(super) orders: &'a Receiver<Order>,
}

impl Session<'_> {
    /// Where the client comes from; `None`: from a Unix socket.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.announced.map_or(self.peer, |announced| announced.client(self.peer))
    }

    /// The client's address alone.
    pub(super) fn address(&self) -> ClientAddr {
        ClientAddr::new(self.client().map(|client| client.ip()))
    }
}

/// What a worker needs besides its jobs.
#[derive(Clone, Debug)]
pub struct Worker {
    /// To the supervisor, which wakes up.
    pub events: Handle<Event>,
    /// To the supervisor, which does not.
    pub closed: Sender<Closed>,
    /// Messages to the administrator.
    pub log: Log,
    /// Messages that clients cause.
    pub complaints: Arc<Complaints>,
    /// Messages about clients that send no proper PROXY header.
    pub announcements: Arc<Complaints>,
    /// The request log.
    pub access_log: AccessLog,
    /// Buffers for relays.
    pub buffers: Buffers,
    /// Pipes for relays.
    pub pipes: Pipes,
    /// Whether it pays for relays to yield.
    pub yields: Yields,
}

impl Worker {
    /// Executes jobs until the pool closes the channel.
    pub fn work(&self, worker: WorkerId, orders: &Receiver<Order>) {
        for order in orders {
            // A late answer to a job that is over already is of no interest.
            let Order::Serve(Job { conn, link, peer, task, terminator, settings, permit }) = order else { continue };
            let trail = Trail::new(&settings, peer);
            let served = catch_unwind(AssertUnwindSafe(|| {
                let (link, settings, permit, trail) = (&*link, &*settings, &permit, &trail);
                let session = Session { conn, link, peer, announced: None, settings, trail, permit, orders };
                self.serve(&session, task, terminator.as_deref());
            }));
            if served.is_err() {
                trail.ends(Ending::Fault);
                self.log.error(format_args!("connection {conn}: ended by a fault in pen; please report it"));
            }
            trail.log(&link, &self.access_log);
            let (sent, received) = link.take_counts();
            // First, so that a client that sees the connection end and comes again finds the slot free. The supervisor is gone
            // only when the process is about to end.
            let (end, requests) = (trail.end(link.cold.load(Ordering::Relaxed)), link.take_requests());
            let _ = self.closed.send(Closed { conn, worker, end, sent, received, requests });
            // The sockets close here, unless the supervisor is looking at them just now.
            drop(link);
            drop(permit);
        }
    }

    fn serve(&self, session: &Session<'_>, task: Task, terminator: Option<&Terminator>) {
        let (announced, task) = match task {
            Task::Wait(Wait::Announcement) => match self.announced(session) {
                Some((announced, task)) => (Some(announced), task),
                None => return,
            },
            task => (None, task),
        };
        let session = &Session { announced: announced.as_ref(), ..*session };
        let Session { conn, link, peer, settings, trail, orders, .. } = *session;
        trail.is_from(session.client());
        let mut early = Vec::new();
        let Some((mut client, handshake)) = self.meet(session, terminator) else { return };
        trail.met(&client);
        let route = match task {
            Task::Connect(route) => route,
            Task::Wait(wait) => {
                if wait == Wait::FirstBytes {
                    early.reserve_exact(FIRST);
                    if !first_bytes(&mut client, &mut early, settings.idle_timeout) {
                        return self.count(handshake);
                    }
                }
                if self.events.send(Event::Known(conn, ClientFacts::of(session.client()), handshake)).is_err() {
                    return;
                }
                match orders.recv() {
                    Ok(Order::Retry(route)) => route,
                    _ => return trail.ends(Ending::Refused),
                }
            }
            Task::Dummy(name) => {
                self.count(handshake);
                trail.ends(Ending::Dummy);
                return self.answer(session, &mut client, &name);
            }
        };
        if peer.is_some() {
            if let Err(error) = set_client_options(&link.client, &settings.into()) {
                return self.log.debug(2, || format!("connection {conn}: client: {}", reason(&error)));
            }
        }
        let Some(Server { socket, session: tls, took }) = self.connect(session, &client, route) else { return };
        let server = link.server.get_or_init(|| socket);
        trail.connected(server, took);
        if link.is_closing() {
            return;
        }
        let requests = self.request_log(session, server);
        let requests = requests.as_deref();
        let listener = |way| requests.map(|requests| Listener::new(requests, way));
        let headers = self.headers(session, terminator.is_some());
        let headers = headers.as_deref();
        let decorator = |way| headers.map(|headers| Decorator::new(headers, way));
        let dump = |way| Dump { conn, way, log: &self.log, ascii: settings.ascii };
        let end = Relay {
            client,
            server: tls.map_or(Stream::Plain(server), |tls| Stream::Tls(Box::new(tls))),
            up: &link.up,
            down: &link.down,
            up_filter: &mut (listener(Way::Up), (decorator(Way::Up), dump(Way::Up))),
            down_filter: &mut (listener(Way::Down), (decorator(Way::Down), dump(Way::Down))),
            early,
            buffers: &self.buffers,
            pipes: &self.pipes,
            yields: self.yields.clone(),
            half_closed_timeout: settings.half_closed_timeout,
            idle_timeout: settings.idle_timeout,
            fastclose: settings.tcp_fastclose,
            closing: &link.closing,
        }
        .run();
        if let Some(requests) = requests {
            requests.borrow_mut().finish();
        }
        trail.relay_ended(&end);
        let by_server = match end {
            End::ServerBroke(_) | End::ServerClosed => true,
            // A session without a byte either way is a probe of the port.
            End::Finished => link.up.total() > 0,
            End::FastClosed(_) | End::Idle | End::HalfClosed | End::ClientBroke(_) => false,
        };
        link.cold.store(by_server && link.down.total() == 0 && !link.is_closing(), Ordering::Relaxed);
        match end {
            End::ClientBroke(_) => break_off(server),
            End::ServerBroke(_) => break_off(&link.client),
            // What is lost then must not look like a proper end.
            End::Idle | End::HalfClosed => {
                [(&*link.client, &link.down), (server, &link.up)]
                    .into_iter()
                    .filter(|(_, meter)| meter.pending() > 0)
                    .for_each(|(socket, _)| break_off(socket));
            }
            End::Finished | End::FastClosed(_) | End::ServerClosed => {}
        }
        self.log.debug(2, || {
            format!("connection {conn}: closed after {:.3} s: {}", trail.began().elapsed().as_secs_f64(), ending(&end))
        });
    }

    /// Has a handshake counted, if there was one, behind which no server is asked for.
    fn count(&self, handshake: Option<Handshake>) {
        if let Some(handshake) = handshake {
            // The supervisor is gone only when the process is about to end.
            let _ = self.events.send(Event::Handshake(Ok(handshake)));
        }
    }

    fn answer(&self, session: &Session<'_>, client: &mut Stream<'_>, name: &str) {
        let Session { conn, .. } = *session;
        let outcome = dummy::answer(client, name);
        self.log.debug(2, || match outcome {
            Ok((asked, answered)) => format!("connection {conn}: {asked} bytes asked, {answered} bytes answered"),
            Err(error) => format!("connection {conn}: {}", reason(&error)),
        });
    }

    /// The log of the session's requests, if it has one.
    #[inline(never)]
    fn request_log(&self, session: &Session<'_>, server: &OwnedFd) -> Option<Box<RefCell<RequestLog>>> {
        session.settings.log.as_ref().filter(|_| !session.trail.is_kept())?;
        let client = session.address();
        let parties = Parties { client, server: peer_name(server) };
        Some(Box::new(RefCell::new(RequestLog::new(parties, self.access_log.clone()))))
    }

    /// What puts headers into the session's requests, if that is wanted. `is_secure`: the client speaks TLS to pen.
    #[inline(never)]
    fn headers<'a>(&self, session: &Session<'a>, is_secure: bool) -> Option<Box<RefCell<Headers<'a>>>> {
        let Session { conn, link, announced, settings, .. } = *session;
        if !settings.http {
            return None;
        }
        let is_secure = is_secure || announced.is_some_and(|announced| announced.is_secure);
        let headers = Headers::new(conn, (session.client(), is_secure), || session.ends(), settings, link);
        Some(Box::new(RefCell::new(headers)))
    }
}

fn ending(end: &End) -> String {
    match end {
        End::Finished => String::from("both sides were done"),
        End::FastClosed(_) => String::from("one side was done (tcp_fastclose)"),
        End::ServerClosed => String::from("the server was done before the client"),
        End::Idle => String::from("idle timeout"),
        End::HalfClosed => String::from("half-closed timeout"),
        End::ClientBroke(error) => format!("client: {}", reason(error)),
        End::ServerBroke(error) => format!("server: {}", reason(error)),
    }
}
