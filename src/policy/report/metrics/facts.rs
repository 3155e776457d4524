//! What the metrics are made of, besides the rows of the server table.

use std::time::Duration;

use crate::policy::report::batch::Summary;

/// All of it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The tables.
    pub summary: &'a Summary,
    /// The process.
    pub process: &'a Process,
}

/// What the system tells of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// When it started, since 1970.
    pub start: Duration,
    /// How long it has used processors, in user mode and in the kernel.
    pub cpu: Duration,
    /// How many bytes of it are in memory.
    pub resident: Option<u64>,
    /// How many descriptors are open.
    pub open_files: Option<u64>,
    /// How many descriptors may be open; `None`: there is no limit.
    pub max_files: Option<u64>,
    /// Its threads.
    pub threads: usize,
}
