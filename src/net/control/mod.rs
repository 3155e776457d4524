//! The bytes of the control port (penctl(1), CONTROL PORT).

pub mod ask;
pub mod conversation;

/// The longest command, in bytes.
pub const LONGEST: usize = 8192;

/// The line that asks for the verdict, without its newline: the answer is one byte. It begins as a comment does, since pens that do
/// not know it ignore comments. The byte is ENQ of ASCII.
pub const ENQUIRY: &[u8] = b"#\x05";

/// Whether pen has done what the commands of a connection asked for. No reply contains the bytes that stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every command since the last enquiry was carried out. ACK of ASCII.
    Accepted,
    /// At least one command was not carried out; its reply gives the reason. NAK of ASCII.
    Refused,
}

impl Verdict {
    /// As it is sent.
    pub fn byte(self) -> u8 {
        match self {
            Self::Accepted => 6,
            Self::Refused => 21,
        }
    }

    /// Reads what was sent.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Accepted, Self::Refused].into_iter().find(|verdict| verdict.byte() == byte)
    }
}
