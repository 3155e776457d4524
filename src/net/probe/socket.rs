//! Sockets for checks: they never wait, and their errors in words.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};

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
