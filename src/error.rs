//! Errors that prevent a start. The `Display` form is the message for the user.

use std::fmt;
use std::io;

/// Why a program cannot start.
///
/// The wording of the variants that scripts may look for is pen's (`can't bind local address`, `unknown or
/// invalid address [H]`), with the cause added.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong: an unknown option, a bad value, a missing operand.
    Usage(String),
    /// A listening address that cannot be bound: its text and the cause.
    Bind(String, io::Error),
    /// A host or service name that does not resolve, and the cause.
    Address(String, String),
    /// A configuration file with bad lines; each is named in a line of its own.
    Config(String),
    /// The error that the daemon reported.
    Daemon(String),
    /// A failed system call: the operation and the cause.
    System(String, io::Error),
}

impl Error {
    /// Why, without what.
    pub fn cause(&self) -> String {
        match self {
            Self::Usage(what) | Self::Config(what) | Self::Daemon(what) => what.clone(),
            Self::Address(_, cause) => cause.clone(),
            Self::Bind(_, cause) | Self::System(_, cause) => reason(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Config(what) | Self::Daemon(what) => f.write_str(what),
            Self::Bind(address, cause) => write!(f, "can't bind local address {address}: {}", reason(cause)),
            Self::Address(host, cause) => write!(f, "unknown or invalid address [{host}]: {cause}"),
            Self::System(what, cause) => write!(f, "{what}: {}", reason(cause)),
        }
    }
}

impl std::error::Error for Error {}

/// An operating system error as administrators know it: without Rust's `(os error 111)`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}
