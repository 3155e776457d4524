//! A client that is no session, as the thread that serves it and the thread that accepts see it.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout, socket_peercred};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::connect::break_off;
use super::timed::recv_until;
use crate::sys::poll::poll;

/// How long a client may take for a command or a request, and how long it may take nothing of a reply.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answered client may take to end its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// The send buffer, in bytes. The kernel would let it grow to megabytes, and says that there is room again only when a third of it is
/// free: a client that reads slowly would seem to take nothing.
const SEND_BUFFER: usize = 64 * 1024;

/// A connected client. One thread serves it. Another one can drop it for the sake of other clients.
#[derive(Debug)]
pub struct Peer {
    socket: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What pen waits for, and since when; `None` while pen works for the client.
    awaited: Option<(PollFlags, Instant)>,
    is_dropped: bool,
}

impl Peer {
    /// A client that was just accepted.
    pub fn new(socket: OwnedFd) -> Self {
        // Both fail for a socket that is gone, which the next call finds out; the second one also for a Unix socket.
        let _ = set_socket_send_buffer_size(&socket, SEND_BUFFER);
        // The kernel now and then finds room for some more bytes, although the client has taken none. So for TCP it is the kernel that
        // knows since when the client takes nothing (tcp(7), TCP_USER_TIMEOUT).
        let _ = set_tcp_user_timeout(&socket, PATIENCE.as_millis() as u32);
        Self { socket, state: Mutex::default() }
    }

    /// The number of the user at the other end of a Unix socket (unix(7), SO_PEERCRED).
    pub fn user(&self) -> Option<u32> {
        socket_peercred(&self.socket).ok().map(|peer| peer.uid.as_raw())
    }

    /// Since when pen has waited for this client: to end a line, or to take a part of a reply. `None`: pen does not wait for it, or need
    /// not wait any more.
    pub fn silent_since(&self) -> Option<Instant> {
        let (flags, since) = self.lock().awaited?;
        let mut found = [PollFd::new(&self.socket, flags)];
        // Whatever fails here, the thread that serves the client finds out.
        let is_ready = poll(&mut found, Some(Duration::ZERO)) != Ok(0);
        (!is_ready).then_some(since)
    }

    /// Whether pen works for this client.
    pub fn is_served(&self) -> bool {
        let state = self.lock();
        state.awaited.is_none() && !state.is_dropped
    }

    /// Ends the connection with a reset, so that a reply does not look complete. The thread that serves the client stops as soon as it
    /// waits for the client.
    pub fn drop_off(&self) {
        let mut state = self.lock();
        state.is_dropped = true;
        break_off(&self.socket);
        // This wakes the thread. The reset follows when the thread closes the socket, and nothing before tells the client of an end: what
        // waits to be sent comes first.
        let way = if matches!(state.awaited, Some((PollFlags::OUT, _))) { Shutdown::Write } else { Shutdown::Read };
        // It fails when the client is gone.
        let _ = shutdown(&self.socket, way);
    }

    /// Whether it was dropped.
    pub fn is_dropped(&self) -> bool {
        self.lock().is_dropped
    }

    /// Reads a part within that time after the start; 0 is the end. [`Errno::TIMEDOUT`]: the time is over; [`Errno::CONNABORTED`]: the
    /// client was dropped.
    pub fn read(&self, part: &mut [u8], start: Instant, time: Duration) -> Result<usize, Errno> {
        let awaiting = self.awaiting(PollFlags::IN, start)?;
        let count = recv_until(&self.socket, part, start + time)?;
        // Its end may be that of a client that was dropped, whose last line is not finished.
        awaiting.finish()?;
        Ok(count)
    }

    /// Whether the client has ended its side, or was dropped. What it has said before is lost.
    pub fn has_left(&self) -> bool {
        let mut scrap = [0; 2048];
        loop {
            match recv(&self.socket, &mut scrap, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return true,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.is_dropped(),
                Err(_) => return true,
            }
        }
    }

    /// Ends the connection so that the client gets what was sent: unread input would make the kernel reset it.
    pub fn finish(&self) {
        let start = Instant::now();
        // Failing means that the client is gone.
        let _ = self.awaiting(PollFlags::IN, start).map(|_| shutdown(&self.socket, Shutdown::Write));
        let mut scrap = [0; 4096];
        while let Ok(1..) = self.read(&mut scrap, start, FAREWELL) {}
    }

    /// Begins to wait for the client. [`Errno::CONNABORTED`]: it was dropped.
    fn awaiting(&self, flags: PollFlags, since: Instant) -> Result<Awaiting<'_>, Errno> {
        let mut state = self.lock();
        if state.is_dropped {
            return Err(Errno::CONNABORTED);
        }
        state.awaited = Some((flags, since));
        Ok(Awaiting(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a client that pen waits for, until it is dropped.
#[derive(Debug)]
struct Awaiting<'a>(&'a Peer);

impl Awaiting<'_> {
    /// Ends the wait. [`Errno::CONNABORTED`]: the client was dropped meanwhile.
    fn finish(self) -> Result<(), Errno> {
        if self.0.is_dropped() { Err(Errno::CONNABORTED) } else { Ok(()) }
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.lock().awaited = None;
    }
}

/// Where a reply is written. A write fails when the client has taken nothing for 10 seconds; a client that reads slowly is served.
#[derive(Debug)]
pub struct Reply<'a>(pub &'a Peer);

impl Write for Reply<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            match send(&self.0.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                sent => return Ok(sent?),
            }
            let left = (start + PATIENCE).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::TIMEDOUT.into());
            }
            let awaiting = self.0.awaiting(PollFlags::OUT, start)?;
            // The poll is repeated if a signal ends it.
            match poll(&mut [PollFd::new(&self.0.socket, PollFlags::OUT)], Some(left)) {
                Ok(_) | Err(Errno::INTR) => awaiting.finish()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
