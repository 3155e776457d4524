//! One side of a session as the relay sees it: bytes in, bytes out, an end, and never a wait.
//!
//! The descriptor stays with its owner, who may shut it down from another thread.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// A connected socket, and what is spoken on it.
#[derive(Debug)]
pub enum Stream<'a> {
    /// The bytes themselves.
    Plain(&'a OwnedFd),
}

impl Stream<'_> {
    /// The socket, for poll(2).
    pub(super) fn socket(&self) -> &OwnedFd {
        match self {
            Self::Plain(socket) => socket,
        }
    }

    /// Reads into the free space of the buffer, once. 0 bytes are the end. [`Errno::AGAIN`]: there is nothing to read.
    pub(super) fn recv(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => recv(socket, spare_capacity(buffer), RecvFlags::DONTWAIT).map(|(_, count)| count),
        }
    }

    /// Writes what can be written without waiting, and returns the number of bytes. `more`: further bytes or the end follow at once.
    pub(super) fn send(&mut self, bytes: &[u8], more: bool) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => {
                let more = if more { SendFlags::MORE } else { SendFlags::empty() };
                send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more)
            }
        }
    }

    /// Ends this direction: the peer reads the end of the data.
    pub(super) fn end(&mut self) {
        match self {
            // It fails when the peer is gone. The other direction finds that.
            Self::Plain(socket) => drop(shutdown(socket, Shutdown::Write)),
        }
    }

    /// What the protocol on the socket waits for, besides what the relay wants.
    pub(super) fn wants(&self) -> PollFlags {
        match self {
            Self::Plain(_) => PollFlags::empty(),
        }
    }

    /// Whether a read would find bytes that were taken from the socket already. poll(2) does not know of them.
    pub(super) fn has_buffered(&self) -> bool {
        match self {
            Self::Plain(_) => false,
        }
    }

    /// The socket if its bytes are the session's bytes, so that they can be spliced.
    pub(super) fn plain(&self) -> Option<&OwnedFd> {
        match self {
            Self::Plain(socket) => Some(socket),
        }
    }
}
