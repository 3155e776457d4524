//! What pen was started as: facts that commands can ask for and `write` prints, but that policy does not decide by.

use std::path::PathBuf;

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// The options that `write` repeats in its heading, in pen's order: `-f -X -c 3000 …`, without the listener.
    pub options: String,
    /// The control port as it was given; empty without one.
    pub control: String,
    /// The configuration file that `write` writes to when it is not told another, `-F`.
    pub file: Option<PathBuf>,
    /// `exit` works, `-X`.
    pub may_exit: bool,
}
