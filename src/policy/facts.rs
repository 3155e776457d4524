//! What is known about a client: the facts by which access lists and selection decide.

use std::cell::OnceCell;
use std::net::SocketAddr;

use super::country::{Country, Geography};
use crate::endpoint::ClientAddr;

/// The facts about one client. The country is looked up when a list first asks for it, and once for a decision.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// Its address.
    pub address: ClientAddr,
    /// Its port; `None` for a client of a Unix socket.
    pub port: Option<u16>,
    country: OnceCell<Option<Country>>,
}

impl ClientFacts {
    /// The client at the other end of a socket; `None` for a Unix socket.
    pub fn of(peer: Option<SocketAddr>) -> Self {
        Self::new(ClientAddr::new(peer.map(|peer| peer.ip())), peer.map(|peer| peer.port()))
    }

    /// The client with this address and port.
    pub fn new(address: ClientAddr, port: Option<u16>) -> Self {
        Self { address, port, country: OnceCell::new() }
    }

    /// For a later decision the country is looked up again, since the country data may be others by then.
    pub fn forget_country(&mut self) {
        self.country.take();
    }

    /// The country that it comes from; `None` if that is not known.
    pub fn country(&self, geography: Option<&dyn Geography>) -> Option<Country> {
        *self.country.get_or_init(|| geography?.country_of(self.address.ip()?))
    }
}
