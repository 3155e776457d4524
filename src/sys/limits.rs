//! The limit on open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are neither sessions nor pipes: standard streams, listeners, logs, signals, and some to spare.
const OTHERS: u64 = 32;

/// Descriptors of one pipe.
const PER_PIPE: u64 = 2;

/// Descriptors that are good to have: clients of the control port, some idlers.
const SPARE: u64 = 128;

/// Descriptors of one session: the client's and the server's.
const PER_SESSION: u64 = 2;

/// Raises the soft limit on open files to what that many sessions need, as far as the hard limit (and, for root, the
/// kernel) lets it; `pipes` are needed besides. Tells how many sessions there are descriptors for, at most `sessions`.
pub fn raise_open_files(sessions: usize, pipes: usize) -> usize {
    let others = OTHERS + pipes as u64 * PER_PIPE;
    let needed = sessions as u64 * PER_SESSION + others;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let wished = needed + SPARE;
    if current >= wished {
        return sessions;
    }
    let raised = set(wished, limit.maximum.map(|max| max.max(wished)))
        .or_else(|_| set(limit.maximum.unwrap_or(wished).min(wished).max(current), limit.maximum))
        .unwrap_or(current);
    let possible = raised.saturating_sub(others) / PER_SESSION;
    sessions.min(possible.max(1) as usize)
}

fn set(current: u64, maximum: Option<u64>) -> io::Result<u64> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })?;
    Ok(current)
}
