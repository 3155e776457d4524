//! What pen was started as: facts that commands can ask for and `write` prints, but that policy does not decide by.

use std::path::PathBuf;

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// It stays in the foreground, `-f`.
    pub foreground: bool,
    /// Whom it runs as, as it was written, `-u`; empty if that was not asked for.
    pub user: String,
    /// The directory that is the whole file system for it, `-j`.
    pub jail: Option<PathBuf>,
    /// Where its process id is written, `-p`.
    pub pidfile: Option<PathBuf>,
    /// The control port as it was given; empty without one.
    pub control: String,
    /// The configuration file that `write` writes to when it is not told another, `-F`.
    pub file: Option<PathBuf>,
    /// `exit` works, `-X`.
    pub may_exit: bool,
}
