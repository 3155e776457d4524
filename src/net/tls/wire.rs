//! The socket below TLS: never a wait, and no read(2) for the head of a record alone.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Bytes that are read at a time while few come: a handshake, or a request.
const SMALL: usize = 4096;

/// Bytes that are read at a time after those filled the room for few: four of the largest records (RFC 8446 section 5.2).
const LARGE: usize = 4 * (5 + 16384 + 256);

/// The bytes that tell what a peer speaks: a method of HTTP and a blank.
const FIRST: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<OwnedFd>,
    /// What was read and not taken, from `start` on. It has memory only while there is something in it.
    inbox: Vec<u8>,
    start: usize,
    /// How many bytes are read next.
    size: usize,
    /// The first bytes that came, however many reads they took.
    first: Vec<u8>,
    /// What was not possible without waiting.
    blocked: PollFlags,
    /// The peer has ended its side of the connection.
    pub(super) ended: bool,
    /// What has broken the connection.
    pub(super) broken: Option<Errno>,
    /// More will be written at once.
    pub(super) more: bool,
}

impl Wire {
    /// Above that socket, of which nothing was read yet.
    pub(super) fn new(socket: Arc<OwnedFd>) -> Self {
        // Nagle's algorithm would keep the first answer back until the client has confirmed the tickets, 40 ms later. It fails on a Unix
        // socket, which has no such algorithm.
        let _ = set_tcp_nodelay(&socket, true);
        Self {
            socket,
            inbox: Vec::new(),
            start: 0,
            size: SMALL,
            first: Vec::new(),
            blocked: PollFlags::empty(),
            ended: false,
            broken: None,
            more: false,
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The first bytes that came, at most a few.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// Takes what the last call has to wait for; empty if nothing.
    pub(super) fn take_blocked(&mut self) -> PollFlags {
        std::mem::replace(&mut self.blocked, PollFlags::empty())
    }

    /// Whether a whole record was read and not taken.
    pub(super) fn holds_record(&self) -> bool {
        match &self.inbox[self.start..] {
            [_, _, _, high, low, body @ ..] => body.len() >= usize::from(u16::from_be_bytes([*high, *low])),
            _ => false,
        }
    }

    fn fill(&mut self) -> Result<usize, Errno> {
        let mut inbox = Vec::with_capacity(self.size);
        let (_, count) = recv(&self.socket, spare_capacity(&mut inbox), RecvFlags::DONTWAIT)?;
        self.first.extend_from_slice(&inbox[..count.min(FIRST - self.first.len())]);
        self.size = if count == self.size { LARGE } else { SMALL };
        (self.inbox, self.start) = (inbox, 0);
        Ok(count)
    }

    /// The error as OpenSSL is told it.
    fn report(&mut self, error: Errno, wanted: PollFlags) -> io::Error {
        match error {
            Errno::AGAIN => self.blocked = wanted,
            Errno::INTR => {}
            error => {
                self.broken = Some(error);
                // OpenSSL goes on if a client has closed before it was sent tickets (TLS_ST_SW_SESSION_TICKET in its statem_srvr.c). It looks
                // for that in errno, which rustix does not set.
                nix::errno::Errno::set_raw(error.raw_os_error());
            }
        }
        error.into()
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.inbox.len() {
            match self.fill() {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) => return Err(self.report(error, PollFlags::IN)),
            }
        }
        let rest = &self.inbox[self.start..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.start += count;
        if self.start == self.inbox.len() {
            // An idle session has no buffer.
            (self.inbox, self.start) = (Vec::new(), 0);
        }
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let more = if self.more { SendFlags::MORE } else { SendFlags::empty() };
        let sent = send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more);
        sent.map_err(|error| self.report(error, PollFlags::OUT))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether these bytes can begin a handshake: a record of that type, or the hello of SSL 2 that old clients wrap a newer one in.
pub(super) fn begins_handshake(first: &[u8]) -> bool {
    matches!(first, [] | [22, ..] | [128..=255, _, 1, ..] | [128..=255] | [128..=255, _])
}

/// Whether these bytes begin a request of HTTP: a word in capitals and a space, or so far as they go.
pub(super) fn begins_http(first: &[u8]) -> bool {
    let word = first.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    word >= 3 && (word == first.len() || first[word] == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_record_is_read_with_one_call_and_counts_when_it_is_whole() {
        let (mut peer, socket) = UnixStream::pair().unwrap();
        let mut wire = Wire::new(Arc::new(socket.into()));
        peer.write_all(&[22, 3, 1, 0, 3, b'a', b'b', b'c', 23, 3, 3, 0, 2, b'd']).unwrap();
        let mut head = [0; 5];
        assert_eq!(wire.read(&mut head).unwrap(), 5);
        let mut body = [0; 3];
        assert_eq!((wire.read(&mut body).unwrap(), &body), (3, b"abc"));
        assert!(!wire.holds_record());
        assert_eq!(wire.read(&mut head).unwrap(), 5);
        assert_eq!((wire.read(&mut body).unwrap(), body[0]), (1, b'd'));
        assert_eq!(wire.read(&mut body).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(wire.take_blocked(), PollFlags::IN);
        peer.write_all(&[b'e', 23, 3, 3, 0, 1, b'f']).unwrap();
        assert_eq!((wire.read(&mut body[..1]).unwrap(), body[0]), (1, b'e'));
        assert!(wire.holds_record());
        assert_eq!(wire.first(), [22, 3, 1, 0, 3, b'a', b'b', b'c']);
    }

    #[test]
    fn what_speaks_first_is_recognised() {
        assert!(begins_handshake(&[22, 3, 1]) && begins_handshake(&[128, 46, 1, 3]) && begins_handshake(&[]));
        assert!(!begins_handshake(b"GET / HT") && !begins_handshake(b"SSH-2.0-"));
        assert!(begins_http(b"GET / HT") && begins_http(b"PROPFIND") && begins_http(b"GET"));
        assert!(!begins_http(b"SSH-2.0-") && !begins_http(b"A GET") && !begins_http(&[22, 3, 1]));
    }
}
