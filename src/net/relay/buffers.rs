//! Buffers for sessions that are awake.
//!
//! A relay needs its buffer only between two sleeps, so a few buffers serve any number of sessions: an idle session has none,
//! and the buffer that is used next is the one that is still in the processor's cache. (On the stack it would cost every
//! session all of its pages, since Rust probes large stack frames page by page: 47 kB an idle connection instead of 15.)

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a buffer: the most that one read can bring.
pub(super) const SIZE: usize = 64 * 1024;

/// The most unused buffers that are kept. More than that are in use only while that many threads run at once.
const KEPT: usize = 8;

/// The unused buffers. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    unused: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// A buffer, empty and with room for [`SIZE`] bytes. It goes back when it is dropped.
    pub(super) fn borrow(&self) -> Borrowed<'_> {
        let buffer = self.unused.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed { buffer: buffer.unwrap_or_else(|| Vec::with_capacity(SIZE)), home: self }
    }
}

/// A borrowed buffer.
#[derive(Debug)]
pub(super) struct Borrowed<'a> {
    buffer: Vec<u8>,
    home: &'a Buffers,
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
        // A filter may have enlarged it. The next read must not bring more than others do.
        buffer.shrink_to(SIZE);
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
    fn the_last_buffer_given_back_is_the_next_one_lent() {
        let buffers = Buffers::default();
        let first = buffers.borrow();
        let mut second = buffers.borrow();
        second.push(7);
        let place = second.as_ptr();
        drop(first);
        drop(second);
        let mut third = buffers.borrow();
        assert_eq!((third.as_ptr(), third.len(), third.capacity()), (place, 0, SIZE));
        third.resize(4 * SIZE, 0);
        drop(third);
        assert_eq!(buffers.borrow().capacity(), SIZE);
    }
}
