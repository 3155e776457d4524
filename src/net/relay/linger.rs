//! The end of a session towards a side that has not ended yet: what was written to it still arrives.
//!
//! When a socket is closed while its peer still sends, the kernel answers with a reset (RFC 2525 section 2.17). The reset discards what
//! has not arrived, and the peer may take it as the end of what has. So what the peer sends is read and dropped for a while, as other
//! servers do (nginx: lingering_close).

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::buffers::Buffers;
use super::stream::Stream;
use crate::net::timed::ready_until;
use crate::sys::poll::poll;

/// The longest time in which the peer confirms nothing, or ends nothing although it has all: nginx's lingering_time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A peer that was sending and is silent for so long has stopped. A lost packet makes a gap of 1 s (RFC 6298 section 2), twice that
/// is no gap.
pub(super) const SILENCE: Duration = Duration::from_secs(2);

/// The most bytes that are read and dropped in a session. It bounds what a client can cost that never stops: reading so much takes
/// less than 0.1 s of a processor.
pub(super) const MOST: usize = 256 * 1024 * 1024;

/// The longest sleep between two looks at what the peer has confirmed, of which nothing wakes a thread.
const NAP: Duration = Duration::from_millis(50);

/// How a side is left.
pub(super) struct Linger<'a> {
    /// Where buffers come from.
    pub(super) buffers: &'a Buffers,
    /// The session's idle timeout.
    pub(super) idle_timeout: Option<Duration>,
    /// Bytes that were dropped already.
    pub(super) dropped: usize,
    /// The peer is known to be sending.
    pub(super) hears: bool,
    /// How long a peer that was sending must be silent.
    pub(super) silence: Duration,
    /// The session is to end at once.
    pub(super) closing: &'a AtomicBool,
}

impl Linger<'_> {
    /// Tells the end of this direction, which did not have room when it came. Not for ever.
    pub(super) fn tell_end(&self, peer: &mut Stream<'_>) {
        let deadline = Instant::now() + self.idle_timeout.map_or(PATIENCE, |time| time.min(PATIENCE));
        while peer.is_ending() && !self.closing.load(Ordering::SeqCst) {
            if ready_until(peer.socket(), PollFlags::OUT, deadline).is_err() {
                return;
            }
            peer.go_on();
        }
    }

    /// Waits until the peer has confirmed all that was written, and has stopped sending; not for ever.
    #[inline(never)]
    pub(super) fn wait(mut self, peer: &mut Stream<'_>) {
        let patience = self.idle_timeout.map_or(PATIENCE, |time| time.min(PATIENCE));
        let mut progress = Instant::now();
        let mut heard = self.hears.then_some(progress);
        let mut left = unconfirmed(peer.socket());
        let mut ended = false;
        let mut nap = Duration::from_millis(1);
        loop {
            let received = if ended { Err(Errno::AGAIN) } else { peer.recv(&mut self.buffers.borrow()) };
            let now = Instant::now();
            match received {
                Ok(0) => ended = true,
                Ok(count) => {
                    self.dropped += count;
                    heard = Some(now);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return,
            }
            let before = std::mem::replace(&mut left, unconfirmed(peer.socket()));
            if left < before {
                progress = now;
            }
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            let silent = ended || heard.is_none_or(|at| now - at >= self.silence);
            if (left == 0 && silent) || now - progress >= patience || self.dropped > MOST {
                return;
            }
            if received.is_ok() {
                continue;
            }
            if ended {
                // A socket of which both directions have ended would wake a poll at once.
                thread::sleep(nap);
            } else {
                // It fails only when a signal comes.
                let _ = poll(&mut [PollFd::new(peer.socket(), PollFlags::IN)], Some(nap));
            }
            nap = NAP.min(nap * 2);
        }
    }
}

/// How much memory the kernel holds for what was written to a TCP socket and its peer has not confirmed; 0 for all other sockets.
fn unconfirmed(socket: &OwnedFd) -> u32 {
    getsockopt(socket, MemInfo).map_or(0, |memory| memory[libc::SK_MEMINFO_WMEM_QUEUED as usize])
}

/// SO_MEMINFO (include/uapi/linux/sock_diag.h): Linux 4.12 and later. nix has no name for it, but a macro that makes one.
#[derive(Clone, Copy)]
struct MemInfo;

nix::getsockopt_impl!(MemInfo, libc::SOL_SOCKET, libc::SO_MEMINFO, [u32; 9], GetStruct<[u32; 9]>);
