//! Sockets for checks: they never wait, and their errors in words.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, socket_with};

use crate::endpoint::Address;
use crate::error::reason;
use crate::net::connect::Fault;
use crate::policy::check::excerpt::Excerpt;
use crate::policy::check::finding::{Finding, Outcome};

/// Begins to connect to that address. Tells whether the connection is there already.
pub(super) fn begin(address: &Address, datagrams: bool, source: Option<IpAddr>) -> Result<(OwnedFd, bool), Errno> {
    let kind = if datagrams { SocketType::DGRAM } else { SocketType::STREAM };
    let family = match address {
        Address::Ip(SocketAddr::V4(_)) => AddressFamily::INET,
        Address::Ip(SocketAddr::V6(_)) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let connected = match address {
        Address::Ip(ip) => {
            if let Some(source) = source.filter(|source| source.is_ipv4() == ip.is_ipv4()) {
                // The port is chosen at connect, when the whole quadruple is known, so that source ports do not run out.
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)
                    .map_err(|error| Errno::from_raw_os_error(error as i32))?;
                bind(&socket, &SocketAddr::new(source, 0))?;
            }
            connect(&socket, ip)
        }
        Address::Unix(path) => connect(&socket, &SocketAddrUnix::new(path)?),
    };
    match connected {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// Whether a connection to that address is one to itself. The kernel makes it if nothing listens at the port and it has chosen the same one
/// for this end, which happens on this host alone.
pub(super) fn leads_to_itself(socket: impl AsFd, address: &Address) -> bool {
    let Address::Ip(peer) = address else { return false };
    getsockname(socket).ok().and_then(|own| SocketAddr::try_from(own).ok()).is_some_and(|own| own == *peer)
}

/// What an error of a socket tells about the service; the error is that it tells something about this host.
pub(super) fn judge(error: Errno) -> Result<Outcome, Errno> {
    if Fault::of(&error.into()) != Fault::Server {
        return Err(error);
    }
    Ok(Outcome::failure(match error {
        Errno::CONNREFUSED => Finding::Words("connection refused"),
        Errno::CONNRESET | Errno::PIPE => Finding::Words("connection reset"),
        Errno::HOSTUNREACH => Finding::Words("no route to host"),
        Errno::NETUNREACH => Finding::Words("network unreachable"),
        Errno::AGAIN => Finding::Words("its queue of connections is full"),
        error => Finding::Text(Excerpt::new(reason(&io::Error::from(error)).as_bytes())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::TcpListener;

    #[test]
    fn a_connection_to_itself_is_recognised() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        assert!(leads_to_itself(&socket, &Address::Ip(own.as_socket().unwrap())));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!leads_to_itself(&socket, &Address::Ip(address)));
    }
}
