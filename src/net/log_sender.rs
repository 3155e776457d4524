//! Sends lines to penlogd, one in each datagram, and counts those that are known to be lost.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::log_port::LARGEST;
use crate::sys::poll::poll;

/// How long lines wait in each second, all together, until the kernel has room for them. It makes room at the speed of the network, or
/// not at all, for example while the neighbour's address is not known. In this time a pipe (pipe(7)) takes what a web server writes that
/// answers 2,000 requests a second, and the rest of the second is left to catch up.
const PATIENCE: Duration = Duration::from_millis(100);

/// See the module's documentation.
#[derive(Debug)]
pub struct LogSender {
    /// Where penlogd may be. Another one is used when one refuses a line or cannot be reached.
    addresses: Vec<SocketAddr>,
    /// The one in use.
    at: usize,
    /// The address to send from.
    source: Option<IpAddr>,
    socket: Option<UdpSocket>,
    patience: Patience,
    lost: Lost,
}

/// How long lines may still wait.
#[derive(Debug)]
struct Patience {
    /// When the second began.
    second: Instant,
    /// How much is left of it.
    left: Duration,
}

/// Why a line was not sent.
enum Failure {
    /// There is no way to this address.
    NoWay(io::Error),
    /// An earlier line has not arrived, nor will others to this address.
    Earlier(io::Error),
    /// It is the line's own, whatever the address.
    Own(io::Error),
}

/// Lines that were lost.
#[derive(Debug, Default)]
pub struct Lost {
    /// How many.
    pub lines: u64,
    /// The last cause.
    pub cause: Option<io::Error>,
}

impl LogSender {
    /// Sends to the first of these addresses that is of the family of `source`.
    pub fn new(addresses: Vec<SocketAddr>, source: Option<IpAddr>) -> Result<Self, io::Error> {
        let mut addresses = addresses;
        addresses.retain(|address| source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()));
        // The penlogd of pen 0.34.1 listens at IPv4 addresses alone.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(io::Error::other("the two addresses are of different families"));
        }
        let patience = Patience { second: Instant::now(), left: PATIENCE };
        let mut sender = Self { addresses, at: 0, source, socket: None, patience, lost: Lost::default() };
        if source.is_some() {
            // It may be no address of this host.
            sender.socket = Some(sender.connected()?);
        }
        Ok(sender)
    }

    /// Sends a line, with its end. What is too long for a datagram is left out.
    pub fn send(&mut self, line: &[u8]) {
        for _ in 0..=self.addresses.len() {
            match self.try_send(line) {
                Ok(()) => return,
                Err(Failure::NoWay(error)) => {
                    self.lost.cause = Some(error);
                    self.go_elsewhere();
                }
                Err(Failure::Earlier(error)) => {
                    let is_refused = error.kind() == ErrorKind::ConnectionRefused;
                    self.lose(error);
                    // A socket that was refused works again as soon as penlogd does.
                    if !is_refused || self.addresses.len() > 1 {
                        self.go_elsewhere();
                    }
                }
                Err(Failure::Own(error)) => return self.lose(error),
            }
        }
        self.lost.lines += 1;
    }

    /// Asks for the error of the last line, as far as it is known.
    pub fn finish(&mut self) {
        if let Some(error) = self.socket.as_ref().and_then(|socket| socket.take_error().ok().flatten()) {
            self.lose(error);
        }
    }

    /// Whether lines were lost since the last call of `take_lost`.
    pub fn has_lost(&self) -> bool {
        self.lost.lines > 0
    }

    /// The lines that were lost since the last call.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    fn lose(&mut self, error: io::Error) {
        self.lost.lines += 1;
        self.lost.cause = Some(error);
    }

    fn go_elsewhere(&mut self) {
        self.at = (self.at + 1) % self.addresses.len();
        self.socket = None;
    }

    fn try_send(&mut self, line: &[u8]) -> Result<(), Failure> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connected().map_err(Failure::NoWay)?,
        };
        let socket = self.socket.insert(socket);
        loop {
            let sent = match line {
                [start @ .., _] if line.len() > LARGEST => socket.send(&[&start[..LARGEST - 1], b"\n"].concat()),
                line => socket.send(line),
            };
            let Err(error) = sent else { return Ok(()) };
            match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock if self.patience.wait(socket) => {}
                ErrorKind::WouldBlock => {
                    let why = "they came faster than the network took them";
                    return Err(Failure::Own(io::Error::other(why)));
                }
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                    return Err(Failure::Earlier(error));
                }
                _ => return Err(Failure::Own(error)),
            }
        }
    }

    fn connected(&self) -> io::Result<UdpSocket> {
        let to = self.addresses[self.at];
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((self.source.unwrap_or(any), 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(to)?;
        Ok(socket)
    }
}

impl Patience {
    /// Waits until the kernel has room, if there is time for that. Returns whether it may have.
    fn wait(&mut self, socket: &UdpSocket) -> bool {
        let start = Instant::now();
        if start.duration_since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: start, left: PATIENCE };
        }
        if self.left.is_zero() {
            return false;
        }
        // After an error there is nothing to wait for, and after a signal the rest is still there: the next call to send tells.
        let found = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(self.left));
        self.left = self.left.saturating_sub(start.elapsed());
        found != Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UdpSocket) -> Vec<u8> {
        let mut part = vec![0; LARGEST];
        let count = socket.recv(&mut part).unwrap();
        part.truncate(count);
        part
    }

    fn listener() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    #[test]
    fn what_nobody_takes_is_counted_and_the_rest_arrives() {
        let socket = listener();
        let address = socket.local_addr().unwrap();
        let mut sender = LogSender::new(vec![address], None).unwrap();
        sender.send(b"1\n");
        assert_eq!(received(&socket), b"1\n");
        drop(socket);
        (2..7).for_each(|n| sender.send(format!("{n}\n").as_bytes()));
        sender.finish();
        let lost = sender.take_lost();
        assert_eq!((lost.lines, lost.cause.unwrap().kind()), (5, ErrorKind::ConnectionRefused));
        let socket = UdpSocket::bind(address).unwrap();
        sender.send(b"7\n");
        assert_eq!((received(&socket), sender.has_lost()), (b"7\n".to_vec(), false));
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let (socket, gone) = (listener(), listener().local_addr().unwrap());
        let addresses = vec![gone, socket.local_addr().unwrap()];
        let mut sender = LogSender::new(addresses, Some("127.0.0.9".parse().unwrap())).unwrap();
        sender.send(b"1\n");
        sender.send(b"2\n");
        assert_eq!((received(&socket), sender.take_lost().lines), (b"2\n".to_vec(), 1));
        let mut part = [0; 9];
        sender.send(b"3\n");
        assert_eq!(socket.recv_from(&mut part).unwrap().1.ip().to_string(), "127.0.0.9");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_at_its_end() {
        let socket = listener();
        let mut sender = LogSender::new(vec![socket.local_addr().unwrap()], None).unwrap();
        for (length, expected) in [(LARGEST - 1, LARGEST), (LARGEST, LARGEST), (1 << 20, LARGEST)] {
            sender.send(&[&vec![b'x'; length][..], b"\n"].concat());
            let found = received(&socket);
            assert_eq!((found.len(), found.last()), (expected, Some(&b'\n')));
        }
        assert!(!sender.has_lost());
    }

    #[test]
    fn an_address_that_cannot_be_sent_from_is_refused() {
        let to = vec!["127.0.0.1:9".parse().unwrap()];
        let refused = |ip: &str| LogSender::new(to.clone(), Some(ip.parse().unwrap())).unwrap_err().to_string();
        assert_eq!(refused("::1"), "the two addresses are of different families");
        assert!(refused("192.0.2.1").starts_with("Cannot assign requested address"));
    }
}
