//! Connecting to servers: deadlines, local addresses, the options of a session's sockets, and whose fault a failure is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_socket_linger, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getpeername, getsockname, socket_with,
};

use super::timed::connect_within;
use crate::endpoint::Address;
use crate::policy::settings::Settings;
use crate::sys::poll::poll;

/// How to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// How long all addresses together may take.
    pub timeout: Duration,
    /// The local address.
    pub source: Option<IpAddr>,
    /// The client's address is the local address.
    pub transparent: bool,
    /// TCP_NODELAY on the socket.
    pub nodelay: bool,
    /// SO_KEEPALIVE on the socket.
    pub keepalive: bool,
}

impl ConnectOptions {
    /// With this timeout, and otherwise as the kernel does it.
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, source: None, transparent: false, nodelay: false, keepalive: false }
    }
}

impl From<&Settings> for ConnectOptions {
    fn from(settings: &Settings) -> Self {
        let Settings { timeout, source, transparent, tcp_nodelay: nodelay, keepalive, .. } = *settings;
        Self { timeout, source, transparent, nodelay, keepalive }
    }
}

/// Connects to a server, and gives the socket its options. `client` is where the client
/// comes from; it matters in transparent mode only. The error is the last address's.
///
/// All addresses are tried within the connect timeout; each may use an even share of what is left of it, so that one
/// that does not answer does not keep the others from being tried.
pub fn connect_any(addresses: &[Address], options: &ConnectOptions, client: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let deadline = Instant::now() + options.timeout;
    let mut result = Err(Errno::ADDRNOTAVAIL.into());
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now()) / (addresses.len() - tried) as u32;
        if left.is_zero() {
            return Err(Errno::TIMEDOUT.into());
        }
        result = connect_one(address, options, client, left);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn connect_one(
    address: &Address,
    options: &ConnectOptions,
    client: Option<SocketAddr>,
    time: Duration,
) -> io::Result<OwnedFd> {
    let socket = stream(address)?;
    match address {
        Address::Ip(ip) => bind_source(&socket, *ip, options, client)?,
        Address::Unix(_) => {}
    }
    match address {
        Address::Ip(ip) => {
            connect_within(&socket, ip, time)?;
            if options.nodelay {
                set_tcp_nodelay(&socket, true)?;
            }
            if options.keepalive {
                set_socket_keepalive(&socket, true)?;
            }
        }
        Address::Unix(path) => connect_within(&socket, &SocketAddrUnix::new(path)?, time)?,
    }
    Ok(socket)
}

/// The options of a client's socket. They make no sense on a Unix socket. SO_KEEPALIVE is on already, by its listener.
pub fn set_client_options(socket: &OwnedFd, options: &ConnectOptions) -> io::Result<()> {
    if options.nodelay {
        set_tcp_nodelay(socket, true)?;
    }
    if !options.keepalive {
        set_socket_keepalive(socket, false)?;
    }
    Ok(())
}

/// Where a connected socket leads to: an address without the port, or the path of a Unix socket.
pub fn peer_name(socket: &OwnedFd) -> String {
    let peer = getpeername(socket).ok().flatten();
    let ip =
        peer.clone().and_then(|peer| SocketAddr::try_from(peer).ok()).map(|peer| peer.ip().to_canonical().to_string());
    let path = || SocketAddrUnix::try_from(peer?).ok()?.path().map(|path| path.to_string_lossy().into_owned());
    // It is not connected any more, or the other end is a Unix socket without a name.
    ip.or_else(path).unwrap_or_else(|| String::from("unknown"))
}

/// The local address of a connected socket: where its peer connected to. `None` for a Unix socket.
pub fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    getsockname(socket).ok().and_then(|address| SocketAddr::try_from(address).ok())
}

/// The port that the socket is connected to; `None` for a Unix socket.
pub fn peer_port(socket: &OwnedFd) -> Option<u16> {
    SocketAddr::try_from(getpeername(socket).ok().flatten()?).ok().map(|peer| peer.port())
}

/// Makes the end of this socket a reset (SO_LINGER 0, socket(7)), so that the other end does not take what it got for all.
pub fn break_off(socket: &OwnedFd) {
    // It fails when the connection has ended already.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

/// Whether the other end closes or breaks the connection within that time.
pub fn is_gone(socket: &OwnedFd, time: Duration) -> bool {
    let mut heard = [PollFd::new(socket, PollFlags::empty())];
    // An error is treated as a timeout: the caller tries again.
    poll(&mut heard, Some(time)).is_ok_and(|found| found > 0)
}

/// The cause of a failed connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server, or the way there.
    Server,
    /// This host: it lacks descriptors or memory at the moment.
    Shortage,
    /// This host: it has no free port, or must not use the configured local address.
    Local,
}

impl Fault {
    /// Judges by the error.
    pub fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Shortage,
            Some(Errno::ADDRNOTAVAIL | Errno::PERM | Errno::ADDRINUSE) => Self::Local,
            _ => Self::Server,
        }
    }
}

/// Gives the socket the local address that `transparent` or `source` ask for. An address of the other family than the
/// server's cannot be used and is left alone.
pub(super) fn bind_source(
    socket: &OwnedFd,
    server: SocketAddr,
    options: &ConnectOptions,
    client: Option<SocketAddr>,
) -> io::Result<()> {
    let same_family = |ip: &IpAddr| ip.is_ipv4() == server.is_ipv4();
    let client = client.map(|client| client.ip().to_canonical()).filter(|_| options.transparent);
    let client = client.filter(same_family);
    let Some(ip) = client.or(options.source.filter(same_family)) else { return Ok(()) };
    // Linux takes both IPv4 options for IPv6 sockets too, and they are the same flags (ipv6(7), net/ipv6/ipv6_sockglue.c).
    if client.is_some() {
        setsockopt(socket, sockopt::IpTransparent, &true)?;
    }
    // The port is chosen at connect, when the whole quadruple is known, so that source ports do not run out.
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    Ok(bind(socket, &SocketAddr::new(ip, 0))?)
}

/// A socket for connections of that address's family.
pub(super) fn stream(address: &Address) -> Result<OwnedFd, Errno> {
    let family = match address {
        Address::Ip(SocketAddr::V4(_)) => AddressFamily::INET,
        Address::Ip(SocketAddr::V6(_)) => AddressFamily::INET6,
        Address::Unix(_) => AddressFamily::UNIX,
    };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}
