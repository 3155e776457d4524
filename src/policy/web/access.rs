//! Who may look at the web page.

use std::net::IpAddr;

use crate::endpoint::ClientAddr;
use crate::policy::balancer::Balancer;
use crate::policy::facts::ClientFacts;

impl Balancer {
    /// Whether a client may look at the web page.
    pub fn admits_to_web(&self, client: ClientAddr) -> bool {
        match self.settings().web.acl {
            Some(list) => self.permits(list, &ClientFacts::new(client, None)),
            None => is_local(client),
        }
    }
}

/// Whether a client is on this host.
fn is_local(client: ClientAddr) -> bool {
    match client {
        ClientAddr::Local => true,
        ClientAddr::Ip(IpAddr::V4(ip)) => ip.is_loopback(),
        ClientAddr::Ip(IpAddr::V6(ip)) => ip.is_loopback(),
    }
}
