//! Buffers and pipes for those who are awake.
//!
//! A relay needs its buffer only between two sleeps, so a few buffers serve any number of sessions: an idle session has none,
//! and the buffer that is used next is the one that is still in the processor's cache. (On the stack it would cost every
//! session all of its pages, since Rust probes large stack frames page by page: 47 kB an idle connection instead of 15.)

use std::mem;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Bytes of a buffer: what one read can bring.
pub const SIZE: usize = 64 * 1024;

/// How many unused buffers are kept. More than that are in use only while that many threads run at once.
const KEPT: usize = 8;

/// How many unused pipes are kept.
const KEPT_PIPES: usize = 4;

/// What a pipe should hold, in bytes; the kernel may grant less.
pub const PIPE: usize = 256 * 1024;

/// How many pipes there may be, in use and unused. They are two descriptors each, which the limit on open files allows for.
pub const PIPES: usize = 8;

/// The unused buffers and pipes; copies share them.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    unused: Arc<Mutex<Vec<Vec<u8>>>>,
    pipes: Arc<Mutex<Pipes>>,
}

#[derive(Debug, Default)]
struct Pipes {
    unused: Vec<Pipe>,
    /// In use and unused.
    count: usize,
}

/// A pipe that bytes go through from one socket to another.
#[derive(Debug)]
pub struct Pipe {
    /// Where they go in.
    pub writer: OwnedFd,
    /// Where they come out.
    pub reader: OwnedFd,
    /// How many are inside.
    pub held: usize,
}

impl Scratch {
    /// A buffer, empty and with room for [`SIZE`] bytes; it goes back when it is dropped.
    pub fn borrow(&self) -> Borrowed<'_> {
        let buffer = self.unused.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed { buffer: buffer.unwrap_or_else(|| Vec::with_capacity(SIZE)), home: self }
    }

    /// An empty pipe, to be given back with [`Scratch::return_pipe`]. `None`: there are none left, or the system has none.
    pub fn pipe(&self) -> Option<Pipe> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipes.unused.pop() {
            return Some(pipe);
        }
        if pipes.count == PIPES {
            return None;
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller pipe works too, only not as well.
        let _ = fcntl_setpipe_size(&writer, PIPE);
        pipes.count += 1;
        Some(Pipe { writer, reader, held: 0 })
    }

    /// Gives a pipe back. One that is not empty belongs to a session that has broken, and is closed.
    pub fn return_pipe(&self, pipe: Pipe) {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.held == 0 && pipes.unused.len() < KEPT_PIPES {
            pipes.unused.push(pipe);
        } else {
            pipes.count -= 1;
        }
    }
}

/// A borrowed buffer.
#[derive(Debug)]
pub struct Borrowed<'a> {
    buffer: Vec<u8>,
    home: &'a Scratch,
}

impl Deref for Borrowed<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for Borrowed<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        let mut unused = self.home.unused.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len() < KEPT {
            unused.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_pipes_and_a_broken_ones_place_is_free_again() {
        let scratch = Scratch::default();
        let mut pipes: Vec<_> = std::iter::from_fn(|| scratch.pipe()).collect();
        assert_eq!(pipes.len(), PIPES);
        let mut broken = pipes.pop().unwrap();
        broken.held = 1;
        scratch.return_pipe(broken);
        assert!(scratch.pipe().is_some());
        assert!(scratch.pipe().is_none());
    }

    #[test]
    fn the_last_buffer_given_back_is_the_next_one_lent() {
        let scratch = Scratch::default();
        let first = scratch.borrow();
        let mut second = scratch.borrow();
        second.push(7);
        let place = second.as_ptr();
        drop(first);
        drop(second);
        let third = scratch.borrow();
        assert_eq!((third.as_ptr(), third.len(), third.capacity()), (place, 0, SIZE));
    }
}
