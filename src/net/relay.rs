//! Copies bytes both ways between a client and a server until both ends are done: the heart of pen.
//!
//! One thread serves both directions and sleeps in poll(2). Reads and writes never block: a relay that waits in a write to
//! a server which itself waits in a write to the relay would stand still for ever. What could not be written waits in the
//! buffer of its direction, and its source is not read until that is gone; so a slow peer costs its own session only.
//!
//! The end of one side's data is passed on as the end of that direction, when everything before it has been delivered. When
//! something breaks on the server's side, what the server had said is still delivered; when the client is gone there is
//! nobody to deliver to, and the session ends.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::dialogue::{Dialogue, Hope, Moved, Ready};
use super::scratch::{SIZE, Scratch};
use crate::policy::settings::FastClose;

/// How many full buffers one direction may copy before the other is looked at again.
const STREAK: u32 = 16;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Towards the server.
    Up,
    /// Towards the client.
    Down,
}

/// Bytes of one direction, readable by others while the relay runs.
#[derive(Debug, Default)]
pub struct Meter {
    /// Delivered since somebody last took the count.
    delivered: AtomicU64,
    /// Read and not delivered yet.
    pending: AtomicU64,
}

impl Meter {
    /// The bytes delivered since the last call.
    pub fn take(&self) -> u64 {
        self.delivered.swap(0, Ordering::Relaxed)
    }

    /// The bytes that wait to be delivered.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
}

/// What a relay works between, and by which rules.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "the tap is a closure")]
pub struct Relay<'a> {
    /// The client's socket.
    pub client: &'a OwnedFd,
    /// The server's socket.
    pub server: &'a OwnedFd,
    /// Counts what goes to the server.
    pub up: &'a Meter,
    /// Counts what goes to the client.
    pub down: &'a Meter,
    /// Where the buffers come from.
    pub scratch: &'a Scratch,
    /// How long both may be silent; `None`, for ever.
    pub idle_timeout: Option<Duration>,
    /// Which end closes both.
    pub fastclose: FastClose,
    /// Sees everything that is read, in the order in which it was read.
    pub tap: &'a dyn Fn(Way, &[u8]),
}

/// How a session ended.
#[derive(Debug)]
pub enum End {
    /// Both sides said that they were done.
    Finished,
    /// One side was done, and `tcp_fastclose` said that this is enough.
    FastClosed,
    /// Nothing moved for the whole idle timeout.
    Idle,
    /// The client's connection broke.
    ClientBroke(io::Error),
    /// The server's connection broke; what it had sent before was delivered.
    ServerBroke(io::Error),
}

impl Relay<'_> {
    /// Copies until the session has ended.
    pub fn run(self) -> End {
        let mut up = Flow::new(Way::Up, self.client, self.server, self.up);
        let mut down = Flow::new(Way::Down, self.server, self.client, self.down);
        let mut dialogue = Dialogue::new();
        let mut deaf = Deaf::default();
        let mut broken = None;
        let mut streak = 0;
        // The client often speaks first and has spoken already.
        let mut ready = Ready { up: true, down: false };
        loop {
            let (mut moved_up, mut moved_down) = (Moved::Nothing, Moved::Nothing);
            let mut buffer = self.scratch.borrow();
            if ready.up {
                match up.pump(&mut buffer, self.tap, down.finished) {
                    Ok(Moved::Finished) if self.fastclose.down => return End::FastClosed,
                    Ok(moved) => moved_up = moved,
                    Err(Broken::Source(error)) => return End::ClientBroke(error.into()),
                    Err(Broken::Sink(error)) => {
                        up.discard();
                        broken = Some(error);
                    }
                }
            }
            if ready.down {
                match down.pump(&mut buffer, self.tap, up.finished) {
                    Ok(Moved::Finished) if self.fastclose.up => return End::FastClosed,
                    Ok(moved) => moved_down = moved,
                    Err(Broken::Source(error)) => return End::ServerBroke(error.into()),
                    Err(Broken::Sink(error)) => return End::ClientBroke(error.into()),
                }
            }
            drop(buffer);
            if down.finished {
                match broken {
                    Some(error) => return End::ServerBroke(error.into()),
                    None if up.finished => return End::Finished,
                    None => {}
                }
            }
            ready = match dialogue.step(moved_up, moved_down) {
                Hope::Now(next) if streak < STREAK => {
                    streak += 1;
                    next
                }
                Hope::AfterOthers(next) => {
                    thread::yield_now();
                    next
                }
                _ => {
                    streak = 0;
                    match self.wait(&up, &down, &mut deaf) {
                        Ok(Some(found)) => {
                            dialogue.woken(found);
                            found
                        }
                        Ok(None) => return End::Idle,
                        Err(error) => return End::ClientBroke(error.into()),
                    }
                }
            };
        }
    }

    /// Sleeps until a direction can go on. `None`: nothing did for the whole idle timeout.
    fn wait(&self, up: &Flow<'_>, down: &Flow<'_>, deaf: &mut Deaf) -> Result<Option<Ready>, Errno> {
        let wanted_of_client = up.reading() | down.writing();
        let wanted_of_server = down.reading() | up.writing();
        let mut sockets = [PollFd::new(self.client, wanted_of_client), PollFd::new(self.server, wanted_of_server)];
        let heard = match (deaf.client && wanted_of_client.is_empty(), deaf.server && wanted_of_server.is_empty()) {
            (true, false) => &mut sockets[1..],
            (false, true) => &mut sockets[..1],
            _ => &mut sockets[..],
        };
        match poll(heard, limit(self.idle_timeout).as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Some(Ready::default())),
            Err(error) => return Err(error),
        }
        let [client, server] = sockets.map(|socket| socket.revents());
        // A socket of which nothing is wanted still reports its end. The client's is the session's; the server's will be found
        // when its turn to be read comes, and until then must not be reported again and again.
        if wanted_of_client.is_empty() && client.contains(PollFlags::ERR) {
            return Err(Errno::CONNRESET);
        }
        deaf.client |= wanted_of_client.is_empty() && !client.is_empty();
        deaf.server |= wanted_of_server.is_empty() && !server.is_empty();
        let ends = PollFlags::HUP | PollFlags::ERR;
        let is = |found: PollFlags, wanted: PollFlags| !wanted.is_empty() && found.intersects(wanted | ends);
        Ok(Some(Ready {
            up: is(client, up.reading()) || is(server, up.writing()),
            down: is(server, down.reading()) || is(client, down.writing()),
        }))
    }
}

/// Waits until the client has said something, or has ended. `false`: it did neither for the whole idle timeout, or broke.
pub fn first_bytes(client: &OwnedFd, idle_timeout: Option<Duration>) -> bool {
    loop {
        match poll(&mut [PollFd::new(client, PollFlags::IN)], limit(idle_timeout).as_ref()) {
            Ok(found) => return found > 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn limit(idle_timeout: Option<Duration>) -> Option<Timespec> {
    idle_timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 })
}

/// Sockets that have reported their end while nothing was wanted of them.
#[derive(Default)]
struct Deaf {
    client: bool,
    server: bool,
}

/// One direction.
struct Flow<'a> {
    way: Way,
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    meter: &'a Meter,
    /// What was read and not delivered, from `start` on.
    pending: Vec<u8>,
    start: usize,
    discarding: bool,
    /// The end was seen and passed on.
    finished: bool,
}

/// Which socket of a direction broke.
enum Broken {
    Source(Errno),
    Sink(Errno),
}

impl<'a> Flow<'a> {
    fn new(way: Way, from: &'a OwnedFd, to: &'a OwnedFd, meter: &'a Meter) -> Self {
        Self { way, from, to, meter, pending: Vec::new(), start: 0, discarding: false, finished: false }
    }

    /// What to wait for at the source.
    fn reading(&self) -> PollFlags {
        if self.finished || !self.pending.is_empty() { PollFlags::empty() } else { PollFlags::IN }
    }

    /// What to wait for at the sink.
    fn writing(&self) -> PollFlags {
        if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT }
    }

    /// The sink is gone: from now on the source is read so that its data do not stand in the way of closing it in peace.
    fn discard(&mut self) {
        self.discarding = true;
        self.settle(Vec::new());
    }

    /// Moves what can be moved without waiting. `last`: the other direction has finished, so that the end of this one is the
    /// end of the session and the sockets are about to be closed.
    fn pump(&mut self, buffer: &mut Vec<u8>, tap: &dyn Fn(Way, &[u8]), last: bool) -> Result<Moved, Broken> {
        if self.finished {
            return Ok(Moved::Nothing);
        }
        if !self.pending.is_empty() {
            return self.flush();
        }
        buffer.clear();
        let bytes = match recv(self.from, spare_capacity(buffer), RecvFlags::DONTWAIT) {
            Ok(_) => &buffer[..],
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Moved::Nothing),
            Err(error) => return Err(Broken::Source(error)),
        };
        if bytes.is_empty() {
            self.finished = true;
            if !self.discarding && !last {
                // It fails when the other side is gone, which that side's own direction will find.
                let _ = shutdown(self.to, Shutdown::Write);
            }
            return Ok(Moved::Finished);
        }
        if self.discarding {
            return Ok(Moved::Full);
        }
        tap(self.way, bytes);
        let sent = self.deliver(bytes)?;
        if sent < bytes.len() {
            self.settle(bytes[sent..].to_vec());
        }
        Ok(if bytes.len() == SIZE { Moved::Full } else { Moved::Some })
    }

    fn flush(&mut self) -> Result<Moved, Broken> {
        let sent = self.deliver(&self.pending[self.start..])?;
        self.start += sent;
        if self.start == self.pending.len() {
            self.settle(Vec::new());
            return Ok(Moved::Full);
        }
        self.meter.pending.store((self.pending.len() - self.start) as u64, Ordering::Relaxed);
        Ok(Moved::Nothing)
    }

    /// How many of the bytes the sink took.
    fn deliver(&self, bytes: &[u8]) -> Result<usize, Broken> {
        match send(self.to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.meter.delivered.fetch_add(sent as u64, Ordering::Relaxed);
                Ok(sent)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(Broken::Sink(error)),
        }
    }

    fn settle(&mut self, pending: Vec<u8>) {
        self.meter.pending.store(pending.len() as u64, Ordering::Relaxed);
        self.pending = pending;
        self.start = 0;
    }
}
