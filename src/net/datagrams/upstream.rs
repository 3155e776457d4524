//! Sockets that are connected to servers.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{SendAncillaryBuffer, SendFlags, connect, send, sendmsg};

use super::{datagram, grow};
use crate::net::connect::{ConnectOptions, bind_source};

/// A socket that sends to that server and receives from it alone. `client`: where the client comes from; it matters in transparent mode
/// only. Nothing is sent, so that an error is this host's or the way's.
pub fn open(server: SocketAddr, options: &ConnectOptions, client: SocketAddr) -> io::Result<OwnedFd> {
    let socket = datagram(server)?;
    bind_source(&socket, server, options, Some(client))?;
    grow(&socket);
    connect(&socket, &server).map_err(|error| match error {
        // All ports of this host are taken (udp_lib_get_port in the kernel).
        Errno::AGAIN => Errno::ADDRNOTAVAIL,
        error => error,
    })?;
    Ok(socket)
}

/// Sends a datagram behind a header, which may be empty. Never blocks. An error may be that of a datagram before it, and then nothing
/// was sent: a connected socket tells so that nobody listens there (udp(7)).
pub fn deliver(socket: &OwnedFd, header: &[u8], payload: &[u8]) -> Result<(), Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut may_be_earlier = true;
    loop {
        let sent = if header.is_empty() {
            send(socket, payload, flags)
        } else {
            sendmsg(socket, &[IoSlice::new(header), IoSlice::new(payload)], &mut SendAncillaryBuffer::default(), flags)
        };
        match sent {
            Err(Errno::INTR) => {}
            // So a router tells that an earlier datagram was too long for the way behind it. This one may not be, and the kernel cuts it
            // into fragments if it is.
            Err(Errno::MSGSIZE) if may_be_earlier => may_be_earlier = false,
            sent => return sent.map(drop),
        }
    }
}

/// The error of a socket, if it has one. It is told once. That a datagram was too long for its way ([`deliver`]) is none.
pub fn error(socket: &OwnedFd) -> Option<io::Error> {
    match socket_error(socket) {
        Ok(Err(Errno::MSGSIZE)) => None,
        Ok(Err(error)) => Some(error.into()),
        _ => None,
    }
}
