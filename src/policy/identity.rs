//! The command line's facts that commands can query and `write` prints. No decision depends on them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// When it has begun to serve; `None` before that.
    pub started: Option<Instant>,
    /// It balances datagrams, `-U`.
    pub udp: bool,
    /// It stays in the foreground, `-f`.
    pub foreground: bool,
    /// The user of `-u`, as it was written; empty without `-u`.
    pub user: String,
    /// The root directory, `-j`.
    pub jail: Option<PathBuf>,
    /// Where its process id is written, `-p`.
    pub pidfile: Option<PathBuf>,
    /// The control port as it was given; empty without one.
    pub control: String,
    /// The default file of `write`, `-F`.
    pub file: Option<PathBuf>,
    /// `exit` works, `-X`.
    pub may_exit: bool,
    /// How many clients the kernel may queue, `-q`, if it was given.
    pub backlog: Option<i32>,
}

impl Identity {
    /// How long it has served.
    pub fn uptime(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started))
    }

    /// The name of the instance: that of its configuration file, or else of its pid file, without the ending. Empty without both.
    pub fn name(&self) -> String {
        let file = self.file.as_ref().or(self.pidfile.as_ref());
        file.and_then(|file| file.file_stem()).map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }
}
