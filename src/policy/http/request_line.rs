//! The request line, byte by byte: `method SP target SP HTTP/1.digit`, then the line's end (RFC 9112 section 3).

use super::fields::is_token;

/// The longest method, in bytes. The registered ones have up to 17.
const LONGEST_METHOD: u32 = 32;

/// The longest request target, in bytes: more than web servers take. What goes on for longer is something else.
pub(super) const LONGEST_TARGET: u32 = 64 * 1024;

/// What stands at the end of a request line, before a digit.
const VERSION: &[u8] = b"HTTP/1.";

/// Where in a request line. With what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Method(u32),
    Target(u32),
    Version(usize),
    End {
        /// The last digit of the version.
        digit: u8,
        /// How many CRs came after it.
        returns: u32,
    },
}

/// What a byte means to a request line.
pub(super) enum Step {
    On(Part),
    /// It is the end of the line.
    Done,
    Wrong,
}

impl Part {
    pub(super) fn step(self, byte: u8) -> Step {
        match (self, byte) {
            (Self::Method(length), b' ') if length > 0 => Step::On(Self::Target(0)),
            (Self::Method(length), _) if length < LONGEST_METHOD && is_token(byte) => {
                Step::On(Self::Method(length + 1))
            }
            (Self::Target(length), b' ') if length > 0 => Step::On(Self::Version(0)),
            (Self::Target(length), b'!'..=b'~' | 0x80..) if length < LONGEST_TARGET => {
                Step::On(Self::Target(length + 1))
            }
            (Self::Version(there), _) if VERSION.get(there) == Some(&byte) => Step::On(Self::Version(there + 1)),
            (Self::Version(there), b'0'..=b'9') if there == VERSION.len() => {
                Step::On(Self::End { digit: byte, returns: 0 })
            }
            (Self::End { digit, returns }, b'\r') => Step::On(Self::End { digit, returns: returns.saturating_add(1) }),
            (Self::End { .. }, b'\n') => Step::Done,
            _ => Step::Wrong,
        }
    }
}
