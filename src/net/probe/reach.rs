//! How a service that is checked is reached.

use std::net::IpAddr;
use std::sync::Arc;

use rustix::io::Errno;

use crate::endpoint::Address;
use crate::net::tls::Connector;
use crate::policy::check::finding::Outcome;
use crate::policy::tls::Trust;

/// How a service is reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    /// Its addresses, in the order in which they are tried. One that accepts a connection is enough.
    pub addresses: Vec<Address>,
    /// Why there are none.
    pub unresolved: Option<Arc<str>>,
    /// The local address.
    pub source: Option<IpAddr>,
    /// What a connection begins with: a PROXY header, or nothing.
    pub header: Vec<u8>,
    /// How TLS is spoken to it.
    pub tls: Option<Tls>,
}

/// How TLS is spoken to a service.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The name that is asked for and verified.
    pub name: Arc<str>,
    /// What the connector was made of.
    pub trust: Arc<Trust>,
    /// It makes the handshakes.
    pub connector: Arc<Connector>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.trust) == (&other.name, &other.trust)
    }
}

/// What a check has brought; the error is that this host could not make it.
pub type Found = Result<Outcome, Errno>;
