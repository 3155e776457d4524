//! The address space that the process has left (`RLIMIT_AS`), and what a new thread needs of it.
//!
//! A new thread allocates more than its stack, before any code of its own runs: the standard library a stack for its signal handlers,
//! and the C library a heap. The process is aborted when one of them cannot be had, so there must be enough before the thread starts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

/// What must be left, in bytes: for what a few threads that start at the same time allocate, and for the others' work meanwhile.
const LEAST: u64 = 8 * 1024 * 1024;

/// What a new thread's heap takes at once, in bytes (glibc's `HEAP_MAX_SIZE` where addresses have 64 bits). Only if there is not as
/// much left does the thread share a heap.
const HEAP: u64 = 64 * 1024 * 1024;

/// The size of this process, open since there was a /proc.
static STATM: OnceLock<Option<File>> = OnceLock::new();

/// Opens what tells how large the process is: to be called before it enters a jail.
pub fn open() {
    STATM.get_or_init(|| File::open("/proc/self/statm").ok());
}

/// How large the stack of a new thread must be that needs so many bytes. It fails if too little address space is left.
pub fn stack(size: usize) -> io::Result<usize> {
    open();
    let Some(limit) = getrlimit(Resource::As).current else { return Ok(size) };
    let Some(used) = STATM.get().and_then(|statm| used(statm.as_ref()?)) else { return Ok(size) };
    fit(size, limit.saturating_sub(used)).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// The same with so much left. New heaps may take all but the remainder of a division by [`HEAP`]. If that is little, the stack is
/// made larger, so that the last heap does not fit any more, and the threads that all start with pen find room.
fn fit(size: usize, left: u64) -> Option<usize> {
    let after = left.checked_sub(size as u64).filter(|after| *after >= LEAST)?;
    if after < HEAP || after % HEAP >= 2 * LEAST {
        return Some(size);
    }
    Some(size + 4 * LEAST as usize)
}

/// How many bytes of this process are in memory.
#[cfg(feature = "web")]
pub fn resident() -> Option<u64> {
    open();
    number(STATM.get()?.as_ref()?, 1)
}

fn used(statm: &File) -> Option<u64> {
    number(statm, 0)
}

/// The number at that place of the file, which counts pages, in bytes.
fn number(statm: &File, place: usize) -> Option<u64> {
    let mut text = [0; 64];
    let count = statm.read_at(&mut text, 0).ok()?;
    let pages: u64 = std::str::from_utf8(&text[..count]).ok()?.split(' ').nth(place)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_heaps_take_enough_is_left() {
        const SIZE: usize = 128 * 1024;
        for left in (0..4 * HEAP).step_by(64 * 1024) {
            let Some(stack) = fit(SIZE, left) else {
                assert!(left < LEAST + SIZE as u64);
                continue;
            };
            let mut after = left - stack as u64;
            while after >= HEAP {
                after -= HEAP;
            }
            assert!(after >= LEAST, "{left}");
        }
    }

    #[test]
    fn the_size_of_this_process_is_known() {
        open();
        let statm = STATM.get().unwrap().as_ref().unwrap();
        let before = used(statm).unwrap();
        let large: Vec<u8> = Vec::with_capacity(HEAP as usize);
        assert!(used(statm).unwrap() >= before + HEAP / 2, "{before}");
        std::hint::black_box(&large);
    }
}
