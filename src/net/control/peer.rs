//! A client of the control port, as the thread that serves it and the thread that accepts see it.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout, socket_peercred};
use rustix::net::{Shutdown, shutdown};

use super::PATIENCE;
use crate::net::connect::break_off;
use crate::sys::poll::poll;

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

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Begins to wait for the client. [`Errno::CONNABORTED`]: it was dropped.
    pub(super) fn awaiting(&self, flags: PollFlags, since: Instant) -> Result<Awaiting<'_>, Errno> {
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
pub(super) struct Awaiting<'a>(&'a Peer);

impl Awaiting<'_> {
    /// Ends the wait. [`Errno::CONNABORTED`]: the client was dropped meanwhile.
    pub(super) fn finish(self) -> Result<(), Errno> {
        if self.0.is_dropped() { Err(Errno::CONNABORTED) } else { Ok(()) }
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.lock().awaited = None;
    }
}
