//! One session, as its worker lives it: connect, copy, report.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::job::{Closed, Job, Link, Order, Proof, Task};
use super::requests::RequestLog;
use crate::daemon::access_log::AccessLog;
use crate::daemon::events::Event;
use crate::daemon::mailbox::{Handle, Mailbox};
use crate::daemon::permits::Permit;
use crate::daemon::pool::WorkerId;
use crate::endpoint::ClientAddr;
use crate::error::reason;
use crate::id::ConnId;
use crate::net::connect::{Fault, break_off, connect_any, is_gone, peer_name, set_options};
use crate::net::dummy;
use crate::net::relay::buffers::Buffers;
use crate::net::relay::crowd::Crowd;
use crate::net::relay::half::{Tap, Way};
use crate::net::relay::pipes::Pipes;
use crate::net::relay::{End, Relay, first_bytes};
use crate::policy::facts::ClientFacts;
use crate::policy::servers::Target;
use crate::policy::settings::Settings;
use crate::sys::access_log::Parties;
use crate::sys::log::{Log, dump};

/// How long to wait before connecting again when this host is short of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// How much longer than a connect may take a session waits for what this host is short of.
const HUNGER: Duration = Duration::from_secs(30);

/// A job while it is being done.
#[derive(Clone, Copy)]
struct Session<'a> {
    conn: ConnId,
    link: &'a Link,
    peer: Option<SocketAddr>,
    settings: &'a Settings,
    permit: &'a Permit,
    inbox: &'a Mailbox<Order>,
}

/// What a worker needs besides its jobs.
#[derive(Clone, Debug)]
pub struct Worker {
    /// To the supervisor, which wakes up.
    pub events: Handle<Event>,
    /// To the supervisor, which does not.
    pub closed: Sender<Closed>,
    /// What is worth telling.
    pub log: Log,
    /// The request log.
    pub access_log: AccessLog,
    /// Buffers for relays.
    pub buffers: Buffers,
    /// Pipes for relays.
    pub pipes: Pipes,
    /// Who else wants the processors.
    pub crowd: Crowd,
}

impl Worker {
    /// A worker's life: one job after the other, until the pool closes its post.
    pub fn work(&self, worker: WorkerId, inbox: &Mailbox<Order>) {
        while let Some(order) = inbox.next(None) {
            // A late answer to a job that is over already is of no interest.
            let Order::Serve(Job { conn, link, peer, task, settings, permit }) = order else { continue };
            let served = catch_unwind(AssertUnwindSafe(|| {
                self.serve(&Session { conn, link: &link, peer, settings: &settings, permit: &permit, inbox }, task);
            }));
            if served.is_err() {
                self.log.error(format_args!("connection {conn}: ended by a fault in pen; please report it"));
            }
            let (sent, received) = link.take_counts();
            // First, so that whoever sees the connection end and comes again finds the place free. The supervisor is gone only
            // when the process is about to be.
            let _ = self.closed.send(Closed { conn, worker, sent, received });
            // The sockets close here, unless the supervisor is looking at them just now.
            drop(link);
            drop(permit);
        }
    }

    fn serve(&self, session: &Session<'_>, task: Task) {
        let Session { conn, link, peer, settings, inbox, .. } = *session;
        let start = Instant::now();
        let (target, proof) = match task {
            Task::Connect(target, proof) => (target, proof),
            Task::Peek => {
                if !first_bytes(&link.client, settings.idle_timeout)
                    || self.events.send(Event::Spoke(conn, ClientFacts::of(peer))).is_err()
                {
                    return;
                }
                match inbox.next(None) {
                    Some(Order::Retry(target, proof)) => (target, proof),
                    _ => return,
                }
            }
            Task::Dummy(name) => {
                let outcome = dummy::answer(&link.client, &name);
                return self.log.debug(2, || match outcome {
                    Ok((asked, answered)) => {
                        format!("connection {conn}: {asked} bytes asked, {answered} bytes answered")
                    }
                    Err(error) => format!("connection {conn}: {}", reason(&error)),
                });
            }
        };
        if peer.is_some() {
            if let Err(error) = set_options(&link.client, settings) {
                return self.log.debug(2, || format!("connection {conn}: client: {}", reason(&error)));
            }
        }
        let Some(server) = self.connect(session, target, proof) else { return };
        let server = link.server.get_or_init(|| server);
        if link.closing.load(Ordering::SeqCst) {
            return;
        }
        let request_log = self.request_log(session, server);
        let end = Relay {
            client: &link.client,
            server,
            up: &link.up,
            down: &link.down,
            buffers: &self.buffers,
            pipes: &self.pipes,
            crowd: &self.crowd,
            idle_timeout: settings.idle_timeout,
            fastclose: settings.fastclose,
            tap: Tap {
                wanted: &|way| self.log.debug_level() >= 3 || is_recorded(&request_log, way),
                show: &|way, bytes| {
                    if let Some(request_log) = &request_log {
                        request_log.borrow_mut().hear(way, bytes);
                    }
                    self.log.debug(3, || traffic(conn, way, bytes, settings.ascii));
                },
            },
        }
        .run();
        if let Some(request_log) = request_log {
            request_log.borrow_mut().finish();
        }
        if let End::ClientBroke(_) = end {
            break_off(server);
        }
        self.log.debug(2, || {
            format!("connection {conn}: closed after {:.3} s: {}", start.elapsed().as_secs_f64(), ending(&end))
        });
    }

    /// The log of the session, if it has one.
    #[inline(never)]
    fn request_log(&self, session: &Session<'_>, server: &OwnedFd) -> Option<Box<RefCell<RequestLog>>> {
        session.settings.log.as_ref()?;
        let client = ClientAddr::new(session.peer.map(|peer| peer.ip()));
        let parties = Parties { client, server: peer_name(server) };
        Some(Box::new(RefCell::new(RequestLog::new(parties, self.access_log.clone()))))
    }

    /// Connects to the server, or to whichever the supervisor names when that one fails. `None`: there is none left.
    #[inline(never)]
    fn connect(&self, session: &Session<'_>, mut target: Arc<Target>, mut proof: Proof) -> Option<OwnedFd> {
        let Session { conn, inbox, .. } = *session;
        loop {
            match self.connect_patiently(session, &target) {
                Ok(server) => {
                    self.log.debug(2, || format!("connection {conn}: connected to {}", target.name));
                    if proof == Proof::Wanted {
                        self.events.send(Event::Proven(target)).ok()?;
                    }
                    return Some(server);
                }
                Err(error) => {
                    self.log.debug(1, || format!("connection {conn}: {}: {}", target.name, reason(&error)));
                    self.events.send(Event::Failed(conn, error)).ok()?;
                }
            }
            match inbox.next(None) {
                Some(Order::Retry(next, wanted)) => (target, proof) = (next, wanted),
                _ => return None,
            }
        }
    }

    /// Connects. While this host is short of descriptors or memory it waits for other sessions to end, as long as there are any
    /// and the client stays; meanwhile no client is accepted, who would need what this one waits for.
    fn connect_patiently(&self, session: &Session<'_>, target: &Target) -> io::Result<OwnedFd> {
        let Session { link, peer, settings, permit, .. } = *session;
        let deadline = Instant::now() + settings.timeout;
        let mut starving = None;
        loop {
            match connect_any(&target.addresses, settings, peer) {
                Err(error) if Fault::of(&error) == Fault::Shortage => {
                    if starving.is_none() {
                        starving = Some(permit.starve());
                        self.events.send(Event::Short(reason(&error))).map_err(|_| io::ErrorKind::BrokenPipe)?;
                    }
                    let late = Instant::now().saturating_duration_since(deadline);
                    // The pause comes last: whoever gives up here frees what another may get at its next try.
                    if late > HUNGER || (!late.is_zero() && permit.starves_in_vain()) || is_gone(&link.client, PAUSE) {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }
}

/// Whether the log still waits for what comes this way.
fn is_recorded(request_log: &Option<Box<RefCell<RequestLog>>>, way: Way) -> bool {
    way == Way::Up && request_log.as_ref().is_some_and(|request_log| request_log.borrow().listens())
}

fn traffic(conn: ConnId, way: Way, bytes: &[u8], ascii: bool) -> String {
    let arrow = match way {
        Way::Up => "client -> server",
        Way::Down => "server -> client",
    };
    format!("connection {conn}: {arrow} {}", dump(bytes, ascii))
}

fn ending(end: &End) -> String {
    match end {
        End::Finished => String::from("both sides were done"),
        End::FastClosed => String::from("one side was done (tcp_fastclose)"),
        End::Idle => String::from("idle timeout"),
        End::ClientBroke(error) => format!("client: {}", reason(error)),
        End::ServerBroke(error) => format!("server: {}", reason(error)),
    }
}
