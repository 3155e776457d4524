//! Makes a listening TCP socket ignore new connections, and heed them again. Those that have begun go on: their handshakes end, and
//! they are queued.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockFilter, SockRef};

/// The byte of the TCP header with the flags (RFC 9293 section 3.1).
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

// Instructions of the packet filter: <linux/bpf_common.h>.
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// The kernel drops segments that ask for a new connection. Their senders ask again, after a second for the first time (RFC 6298
/// section 2.1).
pub(super) fn ignore_new(socket: &OwnedFd) -> io::Result<()> {
    // A filter of a TCP socket sees the segment from its header on.
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(socket).attach_filter(&program)
}

/// Undoes it.
pub(super) fn heed_new(socket: &OwnedFd) -> io::Result<()> {
    SockRef::from(socket).detach_filter()
}
