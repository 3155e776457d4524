//! Clients of pen, from whatever address they like.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{SockAddr, Socket, Type};

use super::pen::Pen;
use super::wait::DEADLINE;

/// A connected client. Everything it waits for has a deadline.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side has nothing more to say.
    Closed,
    /// The other side broke it off.
    Reset,
}

/// Connects from that address, and tells which server answered: the first line it said. `None`: refused.
#[track_caller]
pub(crate) fn visit(pen: &Pen, ip: &str) -> Option<String> {
    Client::from(ip, pen).line()
}

impl Client {
    /// Connects to pen from wherever the kernel chooses.
    #[track_caller]
    pub(crate) fn connect(pen: &Pen) -> Self {
        Self::connect_to(&pen.address(), None)
    }

    /// Connects to pen from that address.
    #[track_caller]
    pub(crate) fn from(ip: &str, pen: &Pen) -> Self {
        Self::connect_to(&pen.address(), Some(ip.parse().unwrap()))
    }

    /// Connects to any address.
    #[track_caller]
    pub(crate) fn connect_to(address: &SockAddr, source: Option<IpAddr>) -> Self {
        Self::try_connect(address, source).unwrap_or_else(|error| panic!("cannot connect to {address:?}: {error}"))
    }

    /// Connects to any address, if it can.
    pub(crate) fn try_connect(address: &SockAddr, source: Option<IpAddr>) -> io::Result<Self> {
        Self::try_connect_at(address, source.map(|ip| SocketAddr::new(ip, 0)))
    }

    /// Connects to pen from that address and port.
    #[track_caller]
    pub(crate) fn at(source: SocketAddr, pen: &Pen) -> Self {
        Self::try_connect_at(&pen.address(), Some(source)).unwrap_or_else(|error| panic!("from {source}: {error}"))
    }

    fn try_connect_at(address: &SockAddr, source: Option<SocketAddr>) -> io::Result<Self> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        socket.set_write_timeout(Some(DEADLINE))?;
        socket.connect(address)?;
        Ok(Self { socket })
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }

    /// Says one byte as urgent data (tcp(7)).
    pub(crate) fn send_urgent(&self, byte: u8) {
        assert_eq!(self.socket.send_out_of_band(&[byte]).unwrap(), 1);
    }

    /// Says something.
    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        (&self.socket).write_all(bytes.as_ref()).unwrap();
    }

    /// Sends, if the connection is still there.
    pub(crate) fn try_send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        (&self.socket).write_all(bytes.as_ref())
    }

    /// Has nothing more to say.
    pub(crate) fn finish(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Has nothing more to say, also if nobody hears that.
    pub(crate) fn finish_if_it_can(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Sends small parts at once.
    #[cfg(feature = "tls")]
    pub(crate) fn hurry(&self) {
        // A Unix socket always does.
        let _ = self.socket.set_tcp_nodelay(true);
    }

    /// The same connection once more.
    #[cfg(feature = "tls")]
    pub(crate) fn duplicate(&self) -> Self {
        Self { socket: self.socket.try_clone().unwrap() }
    }

    /// Has nothing more to say, if there still is a connection.
    #[cfg(feature = "tls")]
    pub(crate) fn try_finish(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Breaks off.
    pub(crate) fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The next line without its end; `None` if the connection ends first.
    #[track_caller]
    pub(crate) fn line(&self) -> Option<String> {
        read_line(|part| self.read(part))
    }

    /// So many bytes.
    #[track_caller]
    pub(crate) fn bytes(&self, count: usize) -> Vec<u8> {
        read_exactly(count, |part| self.read(part))
    }

    /// Everything until the connection ends, and how it does.
    #[track_caller]
    pub(crate) fn rest(&self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 * 1024];
        loop {
            match self.read(&mut part) {
                Ok(0) => return (bytes, End::Closed),
                Ok(count) => bytes.extend_from_slice(&part[..count]),
                Err(_) => return (bytes, End::Reset),
            }
        }
    }

    /// Everything until the other side has nothing more to say, as text.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let (bytes, end) = self.rest();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(end, End::Closed, "after {text:?}");
        text
    }

    /// This comes next.
    #[track_caller]
    pub(crate) fn assert_hears(&self, words: &str) {
        assert_eq!(String::from_utf8_lossy(&self.bytes(words.len())), words);
    }

    /// Says something and hears it again: the connection and its server are alive.
    #[track_caller]
    pub(crate) fn assert_echo(&self, words: &str) {
        self.send(words);
        self.assert_hears(words);
    }

    /// Whether nothing comes for about so long, not even an end. What comes is lost.
    pub(crate) fn hears_nothing_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let nothing = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
        matches!((&self.socket).read(&mut [0]), Err(error) if nothing.contains(&error.kind()))
    }

    /// Whether something has come that was not read yet, or an end.
    pub(crate) fn has_heard(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        self.socket.peek(&mut [std::mem::MaybeUninit::uninit()]).is_ok()
    }

    /// Reads what there is; an error is the end of the connection, and too long a silence the end of the test.
    #[track_caller]
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        loop {
            match (&self.socket).read(buffer) {
                // With a timeout, whatever wakes the thread ends the call (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("heard nothing for {:?}", start.elapsed())
                }
                result => return result,
            }
        }
    }
}

/// The next line without its end; `None` if there is no whole one.
#[track_caller]
pub(super) fn read_line<E>(mut read: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while read(&mut byte).is_ok_and(|count| count > 0) {
        if byte == *b"\n" {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
        line.extend(byte);
    }
    None
}

/// So many bytes.
#[track_caller]
pub(super) fn read_exactly<E: Debug>(count: usize, mut read: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match read(&mut bytes[filled..]) {
            Ok(more @ 1..) => filled += more,
            end => panic!("{filled} of {count} bytes, then {end:?}"),
        }
    }
    bytes
}
