//! Counts of requests that another thread takes while the session runs.

use crossbeam_utils::atomic::AtomicCell;

use crate::policy::http::counts::Counts;

/// The requests of one session that were not booked yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    decorated: AtomicCell<u64>,
    unchanged: AtomicCell<u64>,
    refused: AtomicCell<u64>,
}

impl Tally {
    /// There were more.
    pub(super) fn add(&self, more: Counts) {
        let Counts { decorated, unchanged, refused } = more;
        for (cell, count) in [(&self.decorated, decorated), (&self.unchanged, unchanged), (&self.refused, refused)] {
            if count > 0 {
                cell.fetch_add(count);
            }
        }
    }

    /// Those since the last call.
    pub(super) fn take(&self) -> Counts {
        Counts { decorated: self.decorated.swap(0), unchanged: self.unchanged.swap(0), refused: self.refused.swap(0) }
    }
}
