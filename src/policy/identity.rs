//! The command line's facts that commands can query and `write` prints. No decision depends on them.

use std::path::PathBuf;

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
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
}
