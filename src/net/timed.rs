//! Blocking calls on sockets with a time limit, which go on when they are interrupted.
//!
//! The kernel does not restart such a call when the process was stopped and continued, frozen and thawed, or a tracer has come
//! (signal(7)). It fails with EINTR, although the peer has done nothing wrong.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, connect, recv};

use crate::sys::poll::poll;

/// The shortest time limit: 0 would be none (socket(7)).
const LEAST: Duration = Duration::from_millis(1);

/// Connects within that time. [`Errno::TIMEDOUT`]: the peer has not answered.
pub(super) fn connect_within(socket: &OwnedFd, address: &impl SocketAddrArg, time: Duration) -> Result<(), Errno> {
    // connect(2) on a blocking socket gives up after SO_SNDTIMEO (socket(7)): no poll, no O_NONBLOCK and back.
    repeat(socket, Timeout::Send, Instant::now() + time, || match connect(socket, address) {
        // The second call for an interrupted connect waits for that one, and the last error is that it still goes on.
        Err(Errno::INPROGRESS | Errno::ALREADY | Errno::AGAIN) => Err(Errno::TIMEDOUT),
        result => result,
    })
}

/// Reads once. 0 bytes are the end. [`Errno::TIMEDOUT`]: nothing has come until the deadline.
pub(super) fn recv_until(socket: &OwnedFd, part: &mut [u8], deadline: Instant) -> Result<usize, Errno> {
    if deadline <= Instant::now() {
        return Err(Errno::TIMEDOUT);
    }
    repeat(socket, Timeout::Recv, deadline, || match recv(socket, &mut *part, RecvFlags::empty()) {
        Err(Errno::AGAIN) => Err(Errno::TIMEDOUT),
        result => result.map(|(_, count)| count),
    })
}

/// Waits until one of these is possible on the socket. [`Errno::TIMEDOUT`]: the deadline has come.
pub(super) fn ready_until(socket: &OwnedFd, wanted: PollFlags, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(socket, wanted)], Some(left)) {
            Ok(0) if left.is_zero() => return Err(Errno::TIMEDOUT),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Makes the call with the time that is left until the deadline as its limit. After an interruption it is made once more even if no
/// time is left: what it waits for may have come while the process was stopped.
fn repeat<T>(
    socket: &OwnedFd,
    limit: Timeout,
    deadline: Instant,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        set_socket_timeout(socket, limit, Some(left.max(LEAST)))?;
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
