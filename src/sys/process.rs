//! What this process uses of its host.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::address_space;
use crate::policy::report::metrics::facts::Process;

/// When it started, since 1970: noted once, since a clock that is set changes nothing about it.
static START: OnceLock<Duration> = OnceLock::new();

/// Reads it. The memory is known in a jail, too. The number of open descriptors needs a /proc, which few jails have: pen does not keep that
/// directory open, since it leads out of the jail. `uptime` and `threads` are the caller's knowledge.
pub fn read(uptime: Duration, threads: usize) -> Process {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = *START.get_or_init(|| now().saturating_sub(uptime));
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Process {
        start,
        cpu: Duration::try_from(cpu).unwrap_or_default(),
        resident: address_space::resident(),
        // One of them is for the directory itself.
        open_files: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64),
        max_files: getrlimit(Resource::Nofile).current,
        threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_this_process_uses_is_known() {
        let before = read(Duration::ZERO, 1);
        let files: Vec<_> = (0..200).map(|_| File::open("/dev/null").unwrap()).collect();
        let memory = vec![1u8; 64 << 20];
        let after = read(Duration::ZERO, 1);
        // Other tests open and close some meanwhile.
        assert!(after.open_files.unwrap() >= before.open_files.unwrap() + 100, "{before:?} {after:?}");
        assert!(after.resident.unwrap() >= before.resident.unwrap() + (32 << 20), "{before:?} {after:?}");
        assert!(after.cpu > before.cpu && after.cpu < Duration::from_secs(100_000), "{before:?} {after:?}");
        assert!(after.max_files.is_none_or(|max| max >= after.open_files.unwrap()));
        drop(files);
        std::hint::black_box(&memory);
    }
}
