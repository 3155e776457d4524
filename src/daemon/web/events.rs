//! `/api/events`: changes of servers as they happen, as server-sent events (HTML Living Standard, section 9.2).

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::RecvTimeoutError;

use crate::daemon::seat::Seat;
use crate::net::peer::Peer;
use crate::sys::clock::Clock;

/// The most clients that watch. As many again can do so at the control port.
pub(super) const MOST: usize = 16;

/// How often pen looks whether the client has left.
const LOOK: Duration = Duration::from_secs(1);

/// How often a client that hears of nothing gets a comment, so that no program in between takes the connection for dead.
const REST: Duration = Duration::from_secs(15);

/// How long a client is to wait before it asks again, in milliseconds.
const RETRY: u32 = 3000;

/// Writes changes until the client leaves.
pub(super) fn stream(peer: &Peer, seat: &Seat, out: &mut dyn Write) -> io::Result<()> {
    let clock = Clock::local();
    write!(out, "retry: {RETRY}\n\n")?;
    out.flush()?;
    let mut said = Instant::now();
    loop {
        match seat.changes.recv_timeout(LOOK) {
            Ok(change) => {
                let time = clock.format_with_offset(SystemTime::now());
                write!(out, "event: change\ndata: {}\n\n", change.json(&time).trim_end())?;
                out.flush()?;
                said = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if said.elapsed() >= REST => {
                out.write_all(b":\n\n")?;
                out.flush()?;
                said = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {}
            // It was too slow, or pen ends. It asks again, and sees that it has missed something.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if peer.has_left() {
            return Ok(());
        }
    }
}
