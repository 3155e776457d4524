//! How many bytes have gone one way, for threads that look on.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::atomic::AtomicCell;

/// Bytes of one direction, readable by other threads while the relay runs.
#[derive(Debug, Default)]
pub struct Meter {
    /// Delivered. Not every processor has an atomic integer of 64 bits, which this type hides.
    delivered: AtomicCell<u64>,
    /// So many of these were taken into account.
    taken: AtomicCell<u64>,
    /// Read and not delivered yet.
    pending: AtomicUsize,
}

impl Meter {
    /// The bytes delivered since the last call.
    pub fn take(&self) -> u64 {
        let total = self.total();
        // Two threads may take at the same time: then one of them has taken the other's share.
        total.saturating_sub(self.taken.fetch_max(total))
    }

    /// All bytes that were delivered.
    pub fn total(&self) -> u64 {
        self.delivered.load()
    }

    /// The bytes that wait to be delivered.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed) as u64
    }

    /// So many bytes more were delivered.
    pub fn delivered(&self, count: usize) {
        self.delivered.fetch_add(count as u64);
    }

    /// So many bytes wait to be delivered.
    pub(super) fn holds(&self, count: usize) {
        self.pending.store(count, Ordering::Relaxed);
    }
}
