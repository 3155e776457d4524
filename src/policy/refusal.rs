//! Why clients are refused.

use std::fmt;

/// Why a client is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `client_acl` denies it, and there is no abuse server.
    ClientAcl,
    /// `client_acl` denies it, and the abuse server has failed.
    AbuseFailed,
    /// `proxy_acl` does not permit it to send a PROXY header.
    ProxyAcl,
    /// Its server cannot be used, and pen is `stubborn`.
    Stubborn,
    /// Its datagram has reached no server: pen is `stubborn`, or too many have failed.
    ServerFailed,
    /// No server can be used.
    NoServer,
    /// This host is short of descriptors, memory or threads.
    Shortage,
    /// Its connection has ended in the meantime.
    Gone,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ClientAcl,
        Self::AbuseFailed,
        Self::ProxyAcl,
        Self::Stubborn,
        Self::ServerFailed,
        Self::NoServer,
        Self::Shortage,
        Self::Gone,
    ];

    /// As logs and `explain` put it.
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientAcl => "denied by client_acl",
            Self::AbuseFailed => "denied by client_acl, and the abuse server has failed",
            Self::ProxyAcl => "denied by proxy_acl",
            Self::Stubborn => "its server is unavailable, and pen is stubborn",
            Self::ServerFailed => "its server has failed",
            Self::NoServer => "no server is available",
            Self::Shortage => "this host is short of descriptors or memory",
            Self::Gone => "the connection is gone",
        }
    }

    /// A word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientAcl => "client_acl",
            Self::AbuseFailed => "abuse_failed",
            Self::ProxyAcl => "proxy_acl",
            Self::Stubborn => "stubborn",
            Self::ServerFailed => "server_failed",
            Self::NoServer => "no_server",
            Self::Shortage => "shortage",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_place_and_its_own_word() {
        for (number, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, number);
            let others = Refusal::ALL.iter().skip(number + 1);
            assert!(others.clone().all(|other| (other.word(), other.text()) != (refusal.word(), refusal.text())));
        }
    }
}
