//! Pipes for directions that carry bulk: splice(2) moves bytes through one from socket to socket.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Size of a pipe in bytes. The kernel may grant less.
pub(super) const SIZE: usize = 256 * 1024;

/// The most pipes, in use and unused, where the limit on open files allows for their descriptors: two each. A relay without a pipe
/// copies.
pub const MOST: usize = 8;

/// The most unused pipes that are kept.
const KEPT: usize = 4;

/// A bounded set of pipes. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Pipes {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    unused: Vec<Pipe>,
    /// In use and unused.
    count: usize,
    /// The most of them now.
    most: usize,
}

impl Default for Shared {
    fn default() -> Self {
        Self { unused: Vec::new(), count: 0, most: MOST }
    }
}

/// A pipe that bytes go through from one socket to another.
#[derive(Debug)]
pub(super) struct Pipe {
    writer: OwnedFd,
    reader: OwnedFd,
    held: usize,
}

impl Pipes {
    /// There may be so many, and at most [`MOST`]. Those in use above that are closed when they are given back.
    pub fn limit(&self, most: usize) {
        let mut pipes = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.most = most.min(MOST);
        while pipes.count > pipes.most && pipes.unused.pop().is_some() {
            pipes.count -= 1;
        }
    }

    /// An empty pipe, to be given back with [`Pipes::give_back`]. `None`: all are in use, or the system has none.
    pub(super) fn take(&self) -> Option<Pipe> {
        let mut pipes = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipes.unused.pop() {
            return Some(pipe);
        }
        if pipes.count >= pipes.most {
            return None;
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller pipe works too, only not as well.
        let _ = fcntl_setpipe_size(&writer, SIZE);
        pipes.count += 1;
        Some(Pipe { writer, reader, held: 0 })
    }

    /// How many are kept unused.
    #[cfg(test)]
    pub(super) fn unused(&self) -> usize {
        self.shared.lock().unwrap().unused.len()
    }

    /// Gives a pipe back. One that is not empty belongs to a session that has broken, and is closed.
    pub(super) fn give_back(&self, pipe: Pipe) {
        let mut pipes = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.held == 0 && pipes.unused.len() < KEPT && pipes.count <= pipes.most {
            pipes.unused.push(pipe);
        } else {
            pipes.count -= 1;
        }
    }
}

impl Pipe {
    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

    /// How many bytes are inside.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes in what the socket has, at most so many bytes, and returns their number. The pipe must be empty. 0: the end, or urgent data.
    /// [`Errno::AGAIN`]: nothing.
    pub(super) fn fill(&mut self, source: &OwnedFd, most: u64) -> Result<usize, Errno> {
        let most = SIZE.min(usize::try_from(most).unwrap_or(SIZE));
        self.held = splice(source, None, &self.writer, None, most, Self::FLAGS)?;
        Ok(self.held)
    }

    /// Puts out what the socket takes, and returns the number of bytes. [`Errno::AGAIN`]: none.
    pub(super) fn pour(&mut self, sink: &OwnedFd) -> Result<usize, Errno> {
        let moved = splice(&self.reader, None, sink, None, self.held, Self::FLAGS)?;
        self.held -= moved;
        Ok(moved)
    }

    /// Takes out all that is inside.
    pub(super) fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.held);
        // Neither fails nor waits for a pipe of one's own that is not empty, but for a signal.
        while let Ok(count @ 1..) = retry_on_intr(|| read(&self.reader, spare_capacity(&mut bytes))) {
            self.held -= count;
        }
        bytes
    }
}

/// Makes splice(2) return at once for this socket: unlike recv(2) and send(2), it has no flag for that. It fails only for a socket
/// that is none.
pub(super) fn never_waits(socket: &OwnedFd) -> bool {
    fcntl_getfl(socket).is_ok_and(|flags| fcntl_setfl(socket, flags | OFlags::NONBLOCK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_pipes_and_a_broken_ones_place_is_free_again() {
        let pipes = Pipes::default();
        let mut taken: Vec<_> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(taken.len(), MOST);
        let mut broken = taken.pop().unwrap();
        broken.held = 1;
        pipes.give_back(broken);
        assert!(pipes.take().is_some());
        assert!(pipes.take().is_none());
    }

    #[test]
    fn with_a_lower_limit_pipes_are_closed_and_none_are_made() {
        let pipes = Pipes::default();
        let [used, unused] = [(); 2].map(|()| pipes.take().unwrap());
        pipes.give_back(unused);
        pipes.limit(1);
        assert!(pipes.take().is_none());
        pipes.limit(0);
        pipes.give_back(used);
        assert!(pipes.take().is_none());
        pipes.limit(MOST + 1);
        assert_eq!(std::iter::from_fn(|| pipes.take()).take(MOST + 1).count(), MOST);
    }
}
