//! Copies bytes both ways between a client and a server until both ends are done: the heart of pen.
//!
//! One thread serves both halves. Writes never block: a relay that waits in a write to a server which itself waits in a write to
//! the relay would stand still for ever. What could not be written waits in its half, and that half's source is not read until it
//! is gone; so a slow peer costs its own session only.
//!
//! The end of one side's data is passed on as the end of that direction, when everything before it has been delivered. When the
//! server's side breaks, what the server had sent is still delivered, and then the client's side is broken too. When a server ends
//! before the client does, what it had sent arrives whole (`linger`). When the client is gone, the session ends.

pub mod buffers;
#[cfg(test)]
mod end_tests;
pub mod filter;
#[cfg(test)]
mod filter_tests;
pub mod half;
#[cfg(test)]
mod half_tests;
mod linger;
pub mod meter;
pub mod pipes;
pub mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;
mod turns;
mod verdict;
pub mod yields;

use std::io;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use self::buffers::Buffers;
use self::filter::Filter;
use self::half::{Broken, Half, Moved, Sides, Way};
use self::linger::Linger;
use self::meter::Meter;
use self::pipes::Pipes;
use self::stream::Stream;
use self::turns::{Next, Ready, Turns};
use self::yields::Yields;
use crate::policy::settings::FastClose;
use crate::sys::poll::poll;

/// How many full buffers one half may copy before the other is looked at again.
const STREAK: u32 = 16;

/// What a relay works between, and by which rules.
#[expect(missing_debug_implementations, reason = "a filter has none")]
pub struct Relay<'a> {
    /// The client's side.
    pub client: Stream<'a>,
    /// The server's side.
    pub server: Stream<'a>,
    /// Counts what goes to the server.
    pub up: &'a Meter,
    /// Counts what goes to the client.
    pub down: &'a Meter,
    /// Sees what goes to the server.
    pub up_filter: &'a mut dyn Filter,
    /// Sees what goes to the client.
    pub down_filter: &'a mut dyn Filter,
    /// What the client has sent and was read already.
    pub early: Vec<u8>,
    /// Where buffers come from.
    pub buffers: &'a Buffers,
    /// Where pipes come from.
    pub pipes: &'a Pipes,
    /// Whether yields pay; a copy for this relay.
    pub yields: Yields,
    /// How long one side may be silent when the other has ended; `None`, for ever.
    pub half_closed_timeout: Option<Duration>,
    /// How long both sides may be silent; `None`, for ever.
    pub idle_timeout: Option<Duration>,
    /// Which end closes both.
    pub fastclose: FastClose,
    /// The session is to end at once, and both sockets were shut down for that.
    pub closing: &'a AtomicBool,
}

/// How a session ended.
#[derive(Debug)]
pub enum End {
    /// Both sides said that they were done.
    Finished,
    /// The side was done whose data go this way, and `tcp_fastclose` said that this is enough.
    FastClosed(Way),
    /// The server was done, and has closed the connection while the client still sent.
    ServerClosed,
    /// Nothing moved for the whole idle timeout.
    Idle,
    /// One side had ended, and nothing moved for the whole half-closed timeout.
    HalfClosed,
    /// The client's connection broke.
    ClientBroke(io::Error),
    /// The server's connection broke; what it had sent before was delivered. The client's is to be broken off.
    ServerBroke(io::Error),
}

impl Relay<'_> {
    /// Copies until the session has ended.
    #[inline(never)]
    pub fn run(self) -> End {
        let Relay { client, server, pipes, yields, .. } = self;
        let mut course = Course {
            client,
            server,
            up: Half::new(self.up, self.up_filter, pipes, self.early),
            down: Half::new(self.down, self.down_filter, pipes, Vec::new()).answering(),
            heard: Heard::default(),
            buffers: self.buffers,
            half_closed_timeout: self.half_closed_timeout,
            idle_timeout: self.idle_timeout,
            fastclose: self.fastclose,
            closing: self.closing,
        };
        let end = course.copy(&yields);
        course.leave(&end);
        end
    }
}

/// A relay that runs.
struct Course<'a> {
    client: Stream<'a>,
    server: Stream<'a>,
    up: Half<'a>,
    down: Half<'a>,
    heard: Heard,
    buffers: &'a Buffers,
    half_closed_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    fastclose: FastClose,
    closing: &'a AtomicBool,
}

impl Course<'_> {
    /// Copies until there is nothing left to copy.
    fn copy(&mut self, yields: &Yields) -> End {
        let mut turns = Turns::new();
        let mut streak = 0;
        // The client often speaks first and has spoken already.
        let mut ready = Ready::only(Way::Up);
        let mut woken_at = Instant::now();
        loop {
            let (moved_up, moved_down) = match self.pump(ready) {
                Ok(moved) => moved,
                Err(end) => return end,
            };
            ready = match turns.step(moved_up, moved_down) {
                Next::Try(next) if streak < STREAK => {
                    streak += 1;
                    next
                }
                Next::Yield(way) if yields.pay(woken_at) => {
                    let start = Instant::now();
                    thread::yield_now();
                    woken_at = Instant::now();
                    yields.note(woken_at - start, woken_at);
                    turns.yielded();
                    Ready::only(way)
                }
                _ => {
                    streak = 0;
                    match self.wait() {
                        Ok(found) => {
                            woken_at = Instant::now();
                            turns.woken(found);
                            found
                        }
                        Err(end) => return end,
                    }
                }
            };
        }
    }

    /// Moves what can be moved in the directions that are ready; the error is the end.
    fn pump(&mut self, ready: Ready) -> Result<(Moved, Moved), End> {
        let Self { client, server, up, down, fastclose, .. } = self;
        let (mut moved_up, mut moved_down) = (Moved::Nothing, Moved::Nothing);
        let mut buffer = self.buffers.borrow();
        // The server's direction comes first: a server that has answered and closes with a request unread resets the connection, and
        // then its kernel drops what pen had no room for.
        if ready.down {
            let mut sides = Sides { source: server, sink: client };
            match down.pump(&mut sides, &mut buffer, up.finished) {
                Ok(Moved::Finished) if fastclose.up => return Err(End::FastClosed(Way::Down)),
                Ok(moved) => moved_down = moved,
                Err(Broken::Source(error)) => return Err(End::ServerBroke(error.into())),
                Err(Broken::Sink(error)) => return Err(End::ClientBroke(error.into())),
            }
        }
        if ready.up {
            let mut sides = Sides { source: client, sink: server };
            match up.pump(&mut sides, &mut buffer, down.finished) {
                Ok(Moved::Finished) if fastclose.down => return Err(End::FastClosed(Way::Up)),
                Ok(moved) => moved_up = moved,
                Err(Broken::Source(error)) => return Err(End::ClientBroke(error.into())),
                Err(Broken::Sink(error)) => {
                    up.discard();
                    down.source_broke(error);
                }
            }
        }
        let mut sides = Sides { source: server, sink: client };
        if let Err(Broken::Source(error) | Broken::Sink(error)) =
            verdict::carry_out((up, down), &mut sides, &mut buffer)
        {
            return Err(End::ClientBroke(error.into()));
        }
        match (moved_up, moved_down) {
            (Moved::Nothing, Moved::Nothing) => {}
            (Moved::Nothing, _) => up.interrupt(),
            (_, Moved::Nothing) => down.interrupt(),
            _ => {}
        }
        match (down.finished, up.is_discarding(), up.finished) {
            (true, true, _) => Err(End::ServerClosed),
            (true, false, true) => Err(End::Finished),
            _ => Ok((moved_up, moved_down)),
        }
    }

    /// Sleeps until a half can go on; the error is the end.
    fn wait(&mut self) -> Result<Ready, End> {
        let (timeout, pipe_timeout) = (self.timeout(), self.pipe_timeout());
        let Self { client, server, up, down, heard, .. } = self;
        let buffered = Ready {
            up: client.has_buffered() && !up.reading().is_empty(),
            down: server.has_buffered() && !down.reading().is_empty(),
        };
        if buffered.up || buffered.down {
            return Ok(buffered);
        }
        let ending = |stream: &Stream<'_>| if stream.is_ending() { PollFlags::OUT } else { PollFlags::empty() };
        let wanted_of_client = client.waits_for(up.reading() | down.writing()) | ending(client);
        let wanted_of_server = server.waits_for(down.reading() | up.writing()) | ending(server);
        let mut sockets = [
            PollFd::new(client.socket(), wanted_of_client | heard.client.wanted(up)),
            PollFd::new(server.socket(), wanted_of_server | heard.server.wanted(down)),
        ];
        let polled = match (
            heard.client.gone && wanted_of_client.is_empty(),
            heard.server.gone && wanted_of_server.is_empty(),
        ) {
            (true, false) => &mut sockets[1..],
            (false, true) => &mut sockets[..1],
            _ => &mut sockets[..],
        };
        match poll(polled, [timeout, pipe_timeout].into_iter().flatten().min()) {
            Ok(0) if pipe_timeout.is_some_and(|left| timeout.is_none_or(|time| left < time)) => {
                return Ok(Ready::default());
            }
            Ok(0) if timeout == self.idle_timeout => return Err(End::Idle),
            Ok(0) => return Err(End::HalfClosed),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(End::ClientBroke(error.into())),
        }
        let [client_found, server_found] = sockets.map(|socket| socket.revents());
        // A socket of which nothing is wanted still reports its end. The client's is the session's; the server's will be found
        // when its turn to be read comes.
        if wanted_of_client.is_empty() && client_found.contains(PollFlags::ERR) {
            return Err(End::ClientBroke(Errno::CONNRESET.into()));
        }
        heard.client.note(client_found, wanted_of_client);
        heard.server.note(server_found, wanted_of_server);
        let ends = PollFlags::HUP | PollFlags::ERR;
        let is = |found: PollFlags, wanted: PollFlags| !wanted.is_empty() && found.intersects(wanted | ends);
        client.go_on();
        server.go_on();
        let of_client = |wanted| is(client_found, client.waits_for(wanted));
        let of_server = |wanted| is(server_found, server.waits_for(wanted));
        Ok(Ready {
            up: of_client(up.reading()) || of_server(up.writing()),
            down: of_server(down.reading()) || of_client(down.writing()),
        })
    }

    /// For how long a pipe may stay where it is, if one is stuck.
    fn pipe_timeout(&mut self) -> Option<Duration> {
        let due = |course: &Self| [course.up.due(), course.down.due()].into_iter().flatten().min();
        due(self)?;
        let now = Instant::now();
        self.up.look_at_pipe(now);
        self.down.look_at_pipe(now);
        Some(due(self)?.saturating_duration_since(now))
    }

    /// For how long nothing may move.
    fn timeout(&self) -> Option<Duration> {
        let Self { up, down, heard, .. } = self;
        let half_closed =
            up.finished || down.finished || up.is_discarding() || heard.client.ended || heard.server.ended;
        let limits = [self.half_closed_timeout.filter(|_| half_closed), self.idle_timeout];
        limits.into_iter().flatten().min()
    }

    /// Sees to it that what was written arrives before the sockets are closed.
    fn leave(&mut self, end: &End) {
        let Self { client, server, up, buffers, idle_timeout, closing, .. } = self;
        let (dropped, hears) = (up.dropped, up.is_discarding() || !up.writing().is_empty());
        let linger = Linger { buffers, idle_timeout: *idle_timeout, dropped, hears, silence: linger::SILENCE, closing };
        match end {
            // Without an end of its direction, which would tell the client that it has all.
            End::ServerBroke(_) => Linger { hears: dropped > 0, ..linger }.wait(client),
            End::ServerClosed | End::FastClosed(Way::Down) => {
                server.end();
                client.end();
                linger.tell_end(client);
                linger.wait(client);
            }
            // What the server goes on to send does not matter, so it need not be silent.
            End::FastClosed(Way::Up) => {
                client.end();
                server.end();
                linger.tell_end(server);
                Linger { silence: Duration::ZERO, ..linger }.wait(server);
            }
            End::Finished => {
                linger.tell_end(client);
                linger.tell_end(server);
            }
            // A TLS client may have been cut off behind bytes that are still under way.
            End::ClientBroke(_) if client.plain().is_none() => {
                Linger { hears: false, silence: Duration::ZERO, ..linger }.wait(server);
            }
            // No side has told an end that could be passed on. A TLS peer sees that from the missing close_notify.
            End::Idle | End::HalfClosed | End::ClientBroke(_) => {}
        }
    }
}

/// Reads what a client sends first: at most as much as fits into the free space of `bytes`, and nothing if it only ends its side.
/// `false`: it sent nothing for the whole idle timeout, or broke the connection.
pub fn first_bytes(client: &mut Stream<'_>, bytes: &mut Vec<u8>, idle_timeout: Option<Duration>) -> bool {
    loop {
        if !client.has_buffered() {
            let wanted = client.waits_for(PollFlags::IN);
            match poll(&mut [PollFd::new(client.socket(), wanted)], idle_timeout) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            }
        }
        match client.recv(bytes) {
            Ok(_) => return true,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// What the sockets have reported that must not be reported again and again.
#[derive(Default)]
struct Heard {
    client: Reported,
    server: Reported,
}

#[derive(Default)]
struct Reported {
    /// It has ended its side behind data that cannot be read yet.
    ended: bool,
    /// It has ended or broken both sides, while nothing was wanted of it.
    gone: bool,
}

impl Reported {
    /// What to ask for besides what the relay wants. While its data are not read, its end shows in no other way.
    fn wanted(&self, half: &Half<'_>) -> PollFlags {
        if self.ended || half.finished || !half.reading().is_empty() { PollFlags::empty() } else { PollFlags::RDHUP }
    }

    fn note(&mut self, found: PollFlags, wanted: PollFlags) {
        self.ended |= found.contains(PollFlags::RDHUP);
        self.gone |= wanted.is_empty() && found.intersects(PollFlags::HUP | PollFlags::ERR);
    }
}
