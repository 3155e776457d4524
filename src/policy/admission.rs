//! What a client that has come is answered.

use super::refusal::Refusal;
use crate::id::ConnId;

/// What a choice waits for, besides the handshake where TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing.
    No,
    /// The PROXY header of the client's proxy: `accept_proxy`. Then it is admitted anew.
    Announcement,
    /// The client's first bytes: `peek`.
    FirstBytes,
}

/// The answer to a client that has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Choose for it now.
    AtOnce(ConnId),
    /// Choose for it when more is known: when TLS is spoken, or when it has sent its PROXY header or its first bytes.
    Later(ConnId, Wait),
    /// pen answers it itself (`dummy`).
    Dummy(ConnId),
    /// It is not served.
    Refused(Refusal),
}
