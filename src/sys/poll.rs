//! poll(2) with a time limit.

use std::time::Duration;

use rustix::event::{self, PollFd, Timespec};
use rustix::io::Errno;

/// Waits until one of these is ready, for at most that time; `None`: without a limit. Returns how many are ready. [`Errno::INTR`]: a
/// signal has ended the wait.
pub fn poll(polled: &mut [PollFd<'_>], time: Option<Duration>) -> Result<usize, Errno> {
    // A time that the kernel has no number for is no limit.
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    event::poll(polled, time.as_ref())
}
