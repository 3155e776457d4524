//! Copies bytes both ways between a client and a server until both ends are done: the heart of pen.
//!
//! One thread serves both directions and sleeps in poll(2). Reads and writes never block: a relay that waits in a write to
//! a server which itself waits in a write to the relay would stand still for ever. What could not be written waits in the
//! buffer of its direction, and its source is not read until that is gone; so a slow peer costs its own session only.
//!
//! The end of one side's data is passed on as the end of that direction, when everything before it has been delivered. When
//! something breaks on the server's side, what the server had said is still delivered; when the client is gone there is
//! nobody to deliver to, and the session ends.

pub mod buffers;
pub mod crowd;
pub mod half;
mod pace;
pub mod pipes;
mod turns;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::buffers::Buffers;
use self::crowd::Crowd;
use self::half::{Broken, Half, Meter, Tap, Way};
use self::pace::Pace;
use self::pipes::Pipes;
use self::turns::{Hope, Moved, Ready, Turns};
use crate::policy::settings::FastClose;

/// How many full buffers one direction may copy before the other is looked at again.
const STREAK: u32 = 16;

/// Below this share of the processors' time, in thousandths, nobody is let run in place of sleeping: with the programs that want
/// the rest it would take longer. Measured: the share at which one is as good as the other.
const ROOM: u32 = 62;

/// What a relay works between, and by which rules.
#[derive(Clone, Copy, Debug)]
pub struct Relay<'a> {
    /// The client's socket.
    pub client: &'a OwnedFd,
    /// The server's socket.
    pub server: &'a OwnedFd,
    /// Counts what goes to the server.
    pub up: &'a Meter,
    /// Counts what goes to the client.
    pub down: &'a Meter,
    /// Where buffers come from.
    pub buffers: &'a Buffers,
    /// Where pipes come from.
    pub pipes: &'a Pipes,
    /// Who else wants the processors.
    pub crowd: &'a Crowd,
    /// How long both may be silent; `None`, for ever.
    pub idle_timeout: Option<Duration>,
    /// Which end closes both.
    pub fastclose: FastClose,
    /// Sees what is read.
    pub tap: Tap<'a>,
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
    #[inline(never)]
    pub fn run(self) -> End {
        let mut up = Half::new(Way::Up, [self.client, self.server], self.up, self.tap, self.pipes);
        let mut down = Half::new(Way::Down, [self.server, self.client], self.down, self.tap, self.pipes);
        let mut turns = Turns::new();
        let mut pace = Pace::default();
        let mut deaf = Deaf::default();
        let mut broken = None;
        let mut streak = 0;
        // The client often speaks first and has spoken already.
        let mut ready = Ready { up: true, down: false };
        loop {
            let (mut moved_up, mut moved_down) = (Moved::Nothing, Moved::Nothing);
            let mut buffer = self.buffers.borrow();
            if ready.up {
                match up.pump(&mut buffer, down.finished) {
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
                match down.pump(&mut buffer, up.finished) {
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
            let hope = match turns.step(moved_up, moved_down) {
                Hope::AfterOthers(_) if self.crowd.leaves_less_than(ROOM) => {
                    pace.give_back();
                    Hope::None
                }
                hope => hope,
            };
            ready = match hope {
                Hope::Now(next) if streak < STREAK => {
                    streak += 1;
                    next
                }
                Hope::AfterOthers(next) => {
                    pace.keep(turns.slice());
                    self.crowd.let_run();
                    next
                }
                _ => {
                    streak = 0;
                    match self.wait(&up, &down, &mut deaf) {
                        Ok(Some(found)) => {
                            turns.woken(found);
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
    fn wait(&self, up: &Half<'_>, down: &Half<'_>, deaf: &mut Deaf) -> Result<Option<Ready>, Errno> {
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
