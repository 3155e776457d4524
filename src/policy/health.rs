//! In what state a server is, by connects and by what an administrator has said.

use std::time::Instant;

/// The health of a server, as observed by connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is not known to have failed.
    Up,
    /// A connect failed. It gets no clients until that time; then one client tries it.
    Blacklisted {
        /// When it may be tried again.
        until: Instant,
    },
    /// The blacklist time is over and one client tries it. Other clients use other servers in the meantime.
    Trial,
}

/// What an administrator has said about a server. It ends only when an administrator says something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminState {
    /// It is in service: `ready`.
    #[default]
    Ready,
    /// It gets clients only as a last resort until that time: `blacklist T`.
    Blacklisted {
        /// When it is in service again.
        until: Instant,
    },
    /// It gets clients only as a last resort: `drain`.
    Drain,
    /// It gets no clients: `maint`.
    Maint,
}

/// The state of a server as reports name it, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The slot holds no server.
    Empty,
    /// Its name cannot be looked up.
    Unresolved,
    /// See [`AdminState::Maint`].
    Maint,
    /// See [`AdminState::Drain`].
    Drain,
    /// An administrator or a failed connect has blacklisted it, and no connect has succeeded since.
    Blacklisted,
    /// Its checks fail, or it is not checked yet and must be.
    Down,
    /// It is at its soft limit.
    Full,
    /// It gets clients.
    Up,
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unresolved => "unresolved",
            Self::Maint => "maint",
            Self::Drain => "drain",
            Self::Blacklisted => "blacklisted",
            Self::Down => "down",
            Self::Full => "full",
            Self::Up => "up",
        }
    }
}
