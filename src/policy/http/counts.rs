//! How many HTTP requests there were, by what became of them.

use std::ops::AddAssign;

/// Requests in sessions with `http`. A stream that is not HTTP counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They got headers.
    pub decorated: u64,
    /// They were passed on as they were.
    pub unchanged: u64,
    /// They were refused: `http_strict`.
    pub refused: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        let Self { decorated, unchanged, refused } = more;
        self.decorated += decorated;
        self.unchanged += unchanged;
        self.refused += refused;
    }
}
