//! A TLS session over a connected socket, as the relay uses it: bytes in, bytes out, an end, and never a wait.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use native_tls::TlsStream;
use openssl::nid::Nid;
use openssl::ssl::{NameType, SslStream};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::wire::Wire;
use crate::policy::proxy::Tls;

/// The most bytes in a record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// Bytes that most requests fit into. What a record has more is asked for when it is known to be there.
const FEW: usize = 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct Session {
    layer: Layer,
    /// What the last read must wait for, if that is not the peer's bytes.
    read_waits: PollFlags,
    /// What the last write must wait for, if that is not room.
    write_waits: PollFlags,
    close: Close,
    /// TLS itself has failed. OpenSSL can take a read after that for an end.
    failed: bool,
    /// How reading has ended, if that was found behind bytes.
    end: Option<Result<usize, Errno>>,
}

/// Who made the handshake: pen as a server, or as a client.
#[derive(Debug)]
enum Layer {
    Accepted(SslStream<Wire>),
    Connected(TlsStream<Wire>),
}

/// How far this side's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    /// Not begun.
    No,
    /// There was no room for it.
    Begun,
    /// Sent, or not possible any more.
    Done,
}

impl Session {
    pub(super) fn accepted(stream: SslStream<Wire>) -> Self {
        Self::new(Layer::Accepted(stream))
    }

    pub(super) fn connected(stream: TlsStream<Wire>) -> Self {
        Self::new(Layer::Connected(stream))
    }

    fn new(layer: Layer) -> Self {
        let nothing = PollFlags::empty();
        Self { layer, read_waits: nothing, write_waits: nothing, close: Close::No, failed: false, end: None }
    }

    /// The socket, for poll(2).
    pub fn socket(&self) -> &OwnedFd {
        self.wire().socket()
    }

    /// Whether the handshake resumed a session.
    pub fn is_resumed(&self) -> bool {
        match &self.layer {
            Layer::Accepted(stream) => stream.ssl().session_reused(),
            Layer::Connected(_) => false,
        }
    }

    /// What the handshake with a client has brought.
    pub fn facts(&self) -> Tls {
        let Layer::Accepted(stream) = &self.layer else { return Tls::default() };
        let ssl = stream.ssl();
        let certificate = ssl.peer_certificate();
        let name = certificate.as_ref().and_then(|certificate| {
            let entry = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next()?;
            entry.data().to_string().ok()
        });
        Tls {
            version: ssl.version_str().to_string(),
            cipher: ssl.current_cipher().map_or_else(String::new, |cipher| cipher.name().to_string()),
            name: ssl.servername(NameType::HOST_NAME).map(String::from),
            protocol: ssl.selected_alpn_protocol().map(<[u8]>::to_vec),
            has_certificate: certificate.is_some(),
            common_name: name,
        }
    }

    /// Reads into the free space of the buffer, as many records as have come. 0 bytes are the end, which the peer has told in TLS.
    /// [`Errno::AGAIN`]: there is nothing to read. An end that it has not told is [`Errno::CONNRESET`], and what is not TLS, [`Errno::PROTO`].
    pub fn recv(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        if let Some(end) = self.end.take() {
            return end;
        }
        let start = buffer.len();
        let mut end = start;
        while buffer.capacity() > end && (end == start || self.has_buffered()) {
            // Bytes of a Vec must be initialised, so only as many as are likely to be needed.
            let room = if end == start { FEW } else { RECORD };
            buffer.resize((end + room).min(buffer.capacity()), 0);
            let result = self.read(&mut buffer[end..]);
            match result {
                Ok(count @ 1..) => end += count,
                _ if end == start => {
                    buffer.truncate(end);
                    return result;
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                _ => {
                    self.end = Some(result);
                    break;
                }
            }
        }
        buffer.truncate(end);
        Ok(end - start)
    }

    fn read(&mut self, part: &mut [u8]) -> Result<usize, Errno> {
        let outcome = match &mut self.layer {
            Layer::Accepted(stream) => stream.read(part),
            Layer::Connected(stream) => stream.read(part),
        };
        let blocked = self.wire_mut().take_blocked();
        self.read_waits = if outcome.is_err() { blocked.difference(PollFlags::IN) } else { PollFlags::empty() };
        let wire = self.wire();
        match outcome {
            // An older OpenSSL takes the end of the connection for that of the session.
            Ok(0) if wire.ended || self.failed => Err(Errno::CONNRESET),
            Ok(count) => Ok(count),
            Err(error) => Err(self.judge(&error)),
        }
    }

    /// Writes what can be written without waiting, and returns the number of bytes. What was not written must come again, and first.
    /// `more`: further bytes or the end follow at once.
    pub fn send(&mut self, bytes: &[u8], more: bool) -> Result<usize, Errno> {
        let mut sent = 0;
        while sent < bytes.len() {
            let part = &bytes[sent..];
            self.wire_mut().more = more || part.len() > RECORD;
            let outcome = match &mut self.layer {
                Layer::Accepted(stream) => stream.write(part),
                Layer::Connected(stream) => stream.write(part),
            };
            let blocked = self.wire_mut().take_blocked();
            self.write_waits = blocked.difference(PollFlags::OUT);
            match outcome {
                Ok(count) => sent += count,
                Err(_) if sent > 0 && !blocked.is_empty() => break,
                Err(error) => return Err(self.judge(&error)),
            }
        }
        Ok(sent)
    }

    /// What an error of the layer means.
    fn judge(&mut self, error: &io::Error) -> Errno {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Errno::AGAIN;
        }
        if error.kind() == io::ErrorKind::Interrupted {
            return Errno::INTR;
        }
        // OpenSSL forbids a close_notify after an error (SSL_shutdown(3)).
        self.close = Close::Done;
        let wire = self.wire();
        let (broken, ended) = (wire.broken, wire.ended);
        self.failed |= broken.is_none() && !ended;
        broken.unwrap_or(if ended { Errno::CONNRESET } else { Errno::PROTO })
    }

    /// Ends this direction: the peer is told in TLS (close_notify), and then that the connection has ended.
    pub fn end(&mut self) {
        if self.close == Close::No {
            self.close = Close::Begun;
            self.go_on();
        }
    }

    /// Whether the end has not found room yet.
    pub fn is_ending(&self) -> bool {
        self.close == Close::Begun
    }

    /// Tries again what had no room.
    pub fn go_on(&mut self) {
        if self.close != Close::Begun {
            return;
        }
        self.wire_mut().more = true;
        let outcome = match &mut self.layer {
            Layer::Accepted(stream) => {
                stream.shutdown().map(drop).map_err(|error| error.into_io_error().unwrap_or_else(io::Error::other))
            }
            Layer::Connected(stream) => stream.shutdown(),
        };
        self.wire_mut().take_blocked();
        if outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            return;
        }
        self.close = Close::Done;
        // It fails when the peer is gone. The other direction finds that.
        let _ = shutdown(self.socket(), Shutdown::Write);
    }

    /// What to wait for instead of [`PollFlags::IN`] where the relay wants to read.
    pub fn to_read(&self) -> PollFlags {
        if self.read_waits.is_empty() { PollFlags::IN } else { self.read_waits }
    }

    /// What to wait for instead of [`PollFlags::OUT`] where the relay wants to write.
    pub fn to_write(&self) -> PollFlags {
        if self.write_waits.is_empty() { PollFlags::OUT } else { self.write_waits }
    }

    /// Whether a read would find bytes that were taken from the socket already.
    pub fn has_buffered(&self) -> bool {
        if !self.read_waits.is_empty() {
            return false;
        }
        let pending = match &self.layer {
            Layer::Accepted(stream) => stream.ssl().pending() > 0,
            Layer::Connected(stream) => stream.buffered_read_size().is_ok_and(|size| size > 0),
        };
        pending || self.end.is_some() || self.wire().holds_record()
    }

    fn wire(&self) -> &Wire {
        match &self.layer {
            Layer::Accepted(stream) => stream.get_ref(),
            Layer::Connected(stream) => stream.get_ref(),
        }
    }

    fn wire_mut(&mut self) -> &mut Wire {
        match &mut self.layer {
            Layer::Accepted(stream) => stream.get_mut(),
            Layer::Connected(stream) => stream.get_mut(),
        }
    }
}
