//! One side of a session as the relay sees it: bytes in, bytes out, an end, and never a wait.
//!
//! The descriptor stays with its owner, who may shut it down from another thread.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::net::tls::Session;

/// A connected socket, and what is spoken on it.
#[derive(Debug)]
pub enum Stream<'a> {
    /// The bytes themselves.
    Plain(&'a OwnedFd),
    /// TLS.
    Tls(Box<Session>),
}

impl Stream<'_> {
    /// The socket, for poll(2).
    pub(in crate::net) fn socket(&self) -> &OwnedFd {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(session) => session.socket(),
        }
    }

    /// Reads into the free space of the buffer, once. 0 bytes are the end. [`Errno::AGAIN`]: there is nothing to read.
    pub(in crate::net) fn recv(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => recv(socket, spare_capacity(buffer), RecvFlags::DONTWAIT).map(|(_, count)| count),
            Self::Tls(session) => session.recv(buffer),
        }
    }

    /// Writes what can be written without waiting, and returns the number of bytes. What was not written must come next. `more`: further
    /// bytes or the end follow at once.
    pub(in crate::net) fn send(&mut self, bytes: &[u8], more: bool) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => {
                let more = if more { SendFlags::MORE } else { SendFlags::empty() };
                send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more)
            }
            Self::Tls(session) => session.send(bytes, more),
        }
    }

    /// Ends this direction: the peer reads the end of the data. Without room for that it has to go on later.
    pub(in crate::net) fn end(&mut self) {
        match self {
            // It fails when the peer is gone. The other direction finds that.
            Self::Plain(socket) => drop(shutdown(socket, Shutdown::Write)),
            Self::Tls(session) => session.end(),
        }
    }

    /// Whether [`Stream::end`] has to go on.
    pub(super) fn is_ending(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.is_ending(),
        }
    }

    /// Goes on with [`Stream::end`].
    pub(super) fn go_on(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(session) => session.go_on(),
        }
    }

    /// What to wait for at the socket where the relay wants to read or to write.
    pub(in crate::net) fn waits_for(&self, wanted: PollFlags) -> PollFlags {
        match self {
            Self::Plain(_) => wanted,
            Self::Tls(session) => {
                let read = if wanted.contains(PollFlags::IN) { session.to_read() } else { PollFlags::empty() };
                let write = if wanted.contains(PollFlags::OUT) { session.to_write() } else { PollFlags::empty() };
                read | write
            }
        }
    }

    /// Whether a read would find bytes that were taken from the socket already. poll(2) does not know of them.
    pub(super) fn has_buffered(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.has_buffered(),
        }
    }

    /// The socket if its bytes are the session's bytes, so that they can be spliced.
    pub(super) fn plain(&self) -> Option<&OwnedFd> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }
}
