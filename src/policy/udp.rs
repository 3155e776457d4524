//! What is configured about datagrams (pen(1), "UDP").

use std::time::Duration;

/// The settings of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// How long a flow lasts after its last answer, or after its first datagram where there is none: `udp_timeout`.
    pub timeout: Duration,
    /// How many answers each datagram gets; `None`, any number: `udp_responses`.
    pub responses: Option<u32>,
    /// A server that does not answer so many new flows in a row has failed; 0, silence is no failure: `udp_silence`.
    pub silence: u32,
    /// Which datagrams begin with the PROXY header: `udp_proxy`.
    pub proxy: HeaderIn,
}

impl Default for Udp {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), responses: None, silence: 0, proxy: HeaderIn::First }
    }
}

/// Which datagrams of a flow begin with the PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderIn {
    /// The first to each server.
    First,
    /// Each.
    Each,
}

impl HeaderIn {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 2] = [("first", Self::First), ("each", Self::Each)];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Each => "each",
        }
    }
}
