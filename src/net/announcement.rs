//! PROXY headers on sockets: what a proxy announces about its client, and what a server is told.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, getsockname, recv};

use super::connect::local_address;
use super::timed::ready_until;
use crate::error::reason;
use crate::policy::proxy::reader::{Fault, Reader};
use crate::policy::proxy::{Accepts, Announced, Ends};

/// Why there is no header.
#[derive(Debug)]
pub enum Failure {
    /// What came is none.
    Fault(Fault),
    /// The connection has ended.
    Closed,
    /// It was not whole at the deadline.
    Timeout,
    /// The connection has broken.
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Closed => f.write_str("closed the connection before its PROXY header was whole"),
            Self::Timeout => f.write_str("sent no whole PROXY header in time"),
            Self::Broken(error) => write!(f, "has broken the connection: {}", reason(error)),
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        if error == Errno::TIMEDOUT { Self::Timeout } else { Self::Broken(error.into()) }
    }
}

/// Reads the header that a client begins with, and nothing behind it.
#[inline(never)]
pub fn receive(socket: &OwnedFd, accepts: Accepts, deadline: Instant) -> Result<Announced, Failure> {
    let mut reader = Reader::new(accepts);
    let mut next = [0; 2048];
    loop {
        ready_until(socket, PollFlags::IN, deadline)?;
        let count = match recv(socket, &mut next, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Failure::Closed),
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let (mut own, announced) = reader.take(&next[..count]).map_err(Failure::Fault)?;
        while own > 0 {
            match recv(socket, &mut next[..own], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(Failure::Closed),
                Ok((_, count)) => own -= count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(announced) = announced {
            return Ok(announced);
        }
    }
}

/// Sends a header to a server.
pub fn send(socket: &OwnedFd, header: &[u8], deadline: Instant) -> io::Result<()> {
    let mut rest = header;
    while !rest.is_empty() {
        match rustix::net::send(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::AGAIN) => ready_until(socket, PollFlags::OUT, deadline)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The ends of a client's connection to pen. `peer`: where it comes from; `None`: from a Unix socket.
pub fn ends(client: &OwnedFd, peer: Option<SocketAddr>) -> Ends {
    match (peer, local_address(client)) {
        (Some(peer), Some(local)) => Ends::tcp(peer, local),
        (Some(_), None) => Ends::Unknown,
        (None, _) => {
            let address = getsockname(client).ok().and_then(|address| SocketAddrUnix::try_from(address).ok());
            let path = address.as_ref().and_then(SocketAddrUnix::path_bytes);
            Ends::Unix(Vec::new(), path.map(<[u8]>::to_vec).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use crate::policy::proxy::Version;
    use crate::policy::proxy::writer::header;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn no_byte_behind_the_header_is_taken_however_it_comes() {
        let told = Ends::tcp("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        for version in [Version::V1, Version::V2] {
            let stream = [header(version, &told, &[&[7, 8, 0][..], &[0; 2048]].concat()), b"data".to_vec()].concat();
            for step in [1, 5, stream.len()] {
                let (mut client, pen) = UnixStream::pair().unwrap();
                let pen = OwnedFd::from(pen);
                let sent = stream.clone();
                let sender = std::thread::spawn(move || {
                    sent.chunks(step).for_each(|part| client.write_all(part).unwrap());
                });
                let announced = receive(&pen, Accepts::Any, soon()).unwrap();
                sender.join().unwrap();
                assert_eq!(announced.ends, told);
                let mut left = String::new();
                UnixStream::from(pen).read_to_string(&mut left).unwrap();
                assert_eq!(left, "data");
            }
        }
    }

    #[test]
    fn a_header_that_does_not_come_is_not_waited_for_for_ever() {
        let (mut client, pen) = UnixStream::pair().unwrap();
        let pen = OwnedFd::from(pen);
        client.write_all(b"PROXY TCP4 192.0.2").unwrap();
        let deadline = Instant::now() + Duration::from_millis(100);
        assert!(matches!(receive(&pen, Accepts::Any, deadline), Err(Failure::Timeout)));
        assert!(Instant::now() >= deadline);
        drop(client);
        assert!(matches!(receive(&pen, Accepts::Any, soon()), Err(Failure::Closed)));
    }
}
