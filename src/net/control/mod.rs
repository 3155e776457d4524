//! The bytes of the control port (penctl(1), CONTROL PORT).

pub mod ask;
pub mod conversation;

/// The longest command, in bytes.
pub const LONGEST: usize = 8192;
