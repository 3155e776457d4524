//! penctl's end of the control port.

use std::io;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::endpoint::Address;
use crate::net::connect::{ConnectOptions, connect_any};

/// How long penctl waits for a connection and for a reply.
const CLIENT_TIME: Duration = Duration::from_secs(15);

/// Sends one command to the first address that can be reached, and reads the whole reply.
pub fn ask(addresses: &[Address], command: &str) -> io::Result<Vec<u8>> {
    let socket = connect_any(addresses, &ConnectOptions::within(CLIENT_TIME), None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(CLIENT_TIME))?;
    let line = format!("{command}\n");
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        rest = &rest[send(&socket, rest, SendFlags::NOSIGNAL)?..];
    }
    shutdown(&socket, Shutdown::Write)?;
    let mut reply = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        match recv(&socket, &mut part, RecvFlags::empty())? {
            (_, 0) => return Ok(reply),
            (_, count) => reply.extend_from_slice(&part[..count]),
        }
    }
}
