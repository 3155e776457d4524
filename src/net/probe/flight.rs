//! One check on its socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::reach::{Found, Reach};
use super::socket;
use crate::net::tls::{Handshake, Session, Step};
use crate::policy::check::excerpt::Excerpt;
use crate::policy::check::exchange::{Exchange, Next, Phase};
use crate::policy::check::finding::{Finding, Outcome};
use crate::policy::check::kind::Kind;
use crate::policy::check::roster::Service;

/// Bytes that are read at a time. A datagram has no more.
const READ: usize = 64 * 1024;

/// What all checks read into, and make their queries in. Each needs it only while it is looked at.
#[derive(Debug)]
pub(super) struct Room {
    read: Vec<u8>,
    query: Vec<u8>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { read: vec![0; READ], query: Vec::with_capacity(READ) }
    }
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// The place of its service in the list.
    pub(super) place: usize,
    exchange: Exchange,
    socket: Socket,
    layer: Layer,
    /// Which of the addresses is tried, and until when.
    address: usize,
    patience: Instant,
    /// How much of the query was sent.
    sent: usize,
}

/// TLS shares its socket.
#[derive(Debug)]
enum Socket {
    Own(OwnedFd),
    Shared(Arc<OwnedFd>),
}

/// What the bytes go through.
#[derive(Debug)]
enum Layer {
    /// Nothing, or TLS has not begun.
    None,
    Handshake(Box<Handshake>),
    Tls(Box<Session>),
}

/// How far a check has come: to its end, or not yet. The error is that this host cannot make it.
pub(super) type Progress = Result<Option<Outcome>, Errno>;

impl Flight {
    /// Begins to connect to the first address that can be tried. The error is that the check is over already.
    pub(super) fn begin(
        place: usize,
        service: &Service<Reach>,
        id: u16,
        now: Instant,
        room: &mut Room,
    ) -> Result<Self, Found> {
        let Connecting { address, fd, is_ready } = match connect(service, 0) {
            Some(Ok(connecting)) => connecting,
            Some(Err(error)) => return Err(socket::judge(error)),
            None => {
                let cause = service.target.unresolved.as_deref().unwrap_or("it has no address");
                return Err(Ok(Outcome::failure(Finding::Text(Excerpt::new(cause.as_bytes())))));
            }
        };
        let exchange = Exchange::begin(service.pace.timeout, id, now);
        let socket = Socket::of(fd, service);
        let mut flight = Self { place, exchange, socket, layer: Layer::None, address, patience: now, sent: 0 };
        flight.share_time(service, now);
        let progress = if is_ready { flight.go_on(service, PollFlags::OUT, room, now) } else { Ok(None) };
        progress.transpose().map_or(Ok(flight), Err)
    }

    /// When it is late.
    pub(super) fn deadline(&self) -> Instant {
        match self.exchange.phase() {
            Phase::Connect => self.patience,
            _ => self.exchange.deadline(),
        }
    }

    /// The socket, for poll(2).
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Own(socket) => socket.as_fd(),
            Socket::Shared(socket) => socket.as_fd(),
        }
    }

    /// What to wait for.
    pub(super) fn waits_for(&self) -> PollFlags {
        match (self.exchange.phase(), &self.layer) {
            (_, Layer::Handshake(handshake)) => handshake.waits_for(),
            (Phase::Receive, Layer::Tls(session)) => session.to_read(),
            (_, Layer::Tls(session)) => session.to_write(),
            (Phase::Receive, Layer::None) => PollFlags::IN,
            (_, Layer::None) => PollFlags::OUT,
        }
    }

    /// What it has waited for is there: that is what poll(2) has found.
    pub(super) fn go_on(
        &mut self,
        service: &Service<Reach>,
        found: PollFlags,
        room: &mut Room,
        now: Instant,
    ) -> Progress {
        let kind = &service.kind;
        let mut next = Next::Go(self.exchange.phase());
        if self.exchange.phase() == Phase::Connect {
            let failed = found.intersects(PollFlags::ERR | PollFlags::HUP);
            if let (true, Err(error)) = (failed, socket_error(self.socket()).and_then(|state| state)) {
                return self.try_next(service, Some(error), room, now);
            }
            // What others expect does not come back from this end.
            let may_be_deceived = matches!(**kind, Kind::Tcp | Kind::Expect(_));
            if may_be_deceived && socket::leads_to_itself(self.socket(), &service.target.addresses[self.address]) {
                return self.try_next(service, Some(Errno::CONNREFUSED), room, now);
            }
            next = self.exchange.connected(kind, now);
            if !service.target.header.is_empty() && !kind.is_udp() {
                // The buffer of a new socket has room for it. An error is found by what follows.
                let _ = send(self.socket(), &service.target.header, SendFlags::NOSIGNAL);
            }
        }
        loop {
            let step = match next {
                Next::Done(outcome) => return Ok(Some(outcome)),
                Next::Go(Phase::Connect) => return Ok(None),
                Next::Go(Phase::Handshake) => self.shake_hands(service, now),
                Next::Go(Phase::Query) => self.send(service, room),
                Next::Go(Phase::Receive) => self.receive(service, room),
            };
            next = match step {
                Ok(Some(next)) => next,
                Ok(None) | Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => next,
                Err(error) => return socket::judge(error).map(Some),
            };
        }
    }

    /// The deadline has come.
    pub(super) fn late(&mut self, service: &Service<Reach>, room: &mut Room, now: Instant) -> Progress {
        match self.exchange.phase() {
            Phase::Connect => self.try_next(service, None, room, now),
            _ => Ok(Some(self.exchange.timed_out(&service.kind))),
        }
    }

    /// Gives the current address an even share of the time that is left.
    fn share_time(&mut self, service: &Service<Reach>, now: Instant) {
        let left = service.target.addresses.len().saturating_sub(self.address).max(1) as u32;
        self.patience = now + self.exchange.deadline().saturating_duration_since(now) / left;
    }

    /// Tries the next address after this error, or because the current one does not answer.
    fn try_next(&mut self, service: &Service<Reach>, error: Option<Errno>, room: &mut Room, now: Instant) -> Progress {
        let next = if now < self.exchange.deadline() { connect(service, self.address + 1) } else { None };
        match (next, error) {
            (Some(Ok(Connecting { address, fd, is_ready })), _) => {
                (self.address, self.socket) = (address, Socket::of(fd, service));
                self.share_time(service, now);
                if is_ready { self.go_on(service, PollFlags::OUT, room, now) } else { Ok(None) }
            }
            (Some(Err(error)), _) | (None, Some(error)) => socket::judge(error).map(Some),
            (None, None) => Ok(Some(self.exchange.timed_out(&service.kind))),
        }
    }

    fn shake_hands(&mut self, service: &Service<Reach>, now: Instant) -> Result<Option<Next>, Errno> {
        let failed = |text: &str| Ok(Some(Next::Done(Outcome::failure(Finding::Text(Excerpt::new(text.as_bytes()))))));
        let step = match (std::mem::replace(&mut self.layer, Layer::None), &service.target.tls, &self.socket) {
            (Layer::Handshake(handshake), ..) => handshake.go_on(),
            (_, Some(tls), Socket::Shared(socket)) => tls.connector.begin(&tls.name, Arc::clone(socket)),
            _ => return failed("TLS is not configured"),
        };
        match step {
            Ok(Step::Done(session)) => {
                self.layer = Layer::Tls(Box::new(session));
                Ok(Some(self.exchange.secured(&service.kind, now)))
            }
            Ok(Step::Waits(handshake)) => {
                self.layer = Layer::Handshake(Box::new(handshake));
                Ok(None)
            }
            Err(error) => {
                let text = error.to_string();
                failed(text.strip_prefix("TLS: ").unwrap_or(&text))
            }
        }
    }

    fn send(&mut self, service: &Service<Reach>, room: &mut Room) -> Result<Option<Next>, Errno> {
        room.query.clear();
        self.exchange.query(&service.kind, &service.address, &mut room.query);
        let rest = &room.query[self.sent.min(room.query.len())..];
        self.sent += match &mut self.layer {
            Layer::Tls(session) => session.send(rest, false)?,
            _ => send(self.socket(), rest, SendFlags::NOSIGNAL)?,
        };
        if self.sent < room.query.len() {
            return Ok(None);
        }
        self.sent = 0;
        Ok(Some(self.exchange.sent(&service.kind)))
    }

    fn receive(&mut self, service: &Service<Reach>, room: &mut Room) -> Result<Option<Next>, Errno> {
        let kind = &service.kind;
        let mut more = false;
        let received = match &mut self.layer {
            Layer::Tls(session) => {
                room.read.clear();
                let received = session.recv(&mut room.read);
                more = session.has_buffered();
                match received {
                    // Many servers close without telling it in TLS.
                    Err(Errno::CONNRESET) => Ok(0),
                    received => received,
                }
            }
            _ => {
                room.read.resize(READ, 0);
                recv(self.socket(), &mut room.read[..], RecvFlags::empty()).map(|(_, count)| count)
            }
        }?;
        if received == 0 && !kind.is_udp() {
            return Ok(Some(Next::Done(self.exchange.ended(kind))));
        }
        let next = self.exchange.received(kind, &room.read[..received]);
        // The next call of poll(2) finds what is left in the socket.
        let is_all = next == Next::Go(Phase::Receive) && !more;
        Ok(if is_all { None } else { Some(next) })
    }
}

impl Socket {
    fn of(fd: OwnedFd, service: &Service<Reach>) -> Self {
        if service.kind.needs_tls() { Self::Shared(Arc::new(fd)) } else { Self::Own(fd) }
    }
}

/// A connection that was begun: to which address, and whether it is there already.
struct Connecting {
    address: usize,
    fd: OwnedFd,
    is_ready: bool,
}

/// Begins to connect to the first address from that one on that does not fail at once. `None`: there are no more addresses. The error is
/// the last address's.
fn connect(service: &Service<Reach>, first: usize) -> Option<Result<Connecting, Errno>> {
    let target = &service.target;
    let mut last = None;
    for (address, place) in target.addresses.iter().enumerate().skip(first) {
        match socket::begin(place, service.kind.is_udp(), target.source) {
            Ok((fd, is_ready)) => return Some(Ok(Connecting { address, fd, is_ready })),
            Err(error) => last = Some(Err(error)),
        }
    }
    last
}
