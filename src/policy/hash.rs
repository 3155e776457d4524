//! The hashes behind `hash`: of a client, of a server, and which servers are nearest to a client (weighted rendezvous hashing).
//!
//! They are the same on every host and after every restart, so that two balancers send a client to the same server.

use std::hash::Hasher;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use crate::endpoint::{Address, ClientAddr};

/// The hash of a client: of all bytes of its address and, if it is given, of the port.
pub fn of_client(client: ClientAddr, port: Option<u16>) -> u64 {
    let mut fnv = Fnv::default();
    if let Some(ip) = client.ip() {
        fnv.address(ip);
    }
    if let Some(port) = port {
        fnv.write(&port.to_be_bytes());
    }
    fnv.finish()
}

/// The hash of a server: of one of its addresses, the same one whatever their order.
pub fn of_server(addresses: &[Address]) -> u64 {
    let hash = |address: &Address| {
        let mut fnv = Fnv::default();
        match address {
            Address::Ip(address) => {
                fnv.address(address.ip());
                fnv.write(&address.port().to_be_bytes());
            }
            Address::Unix(path) => fnv.write(path.as_os_str().as_bytes()),
        }
        fnv.finish()
    };
    addresses.iter().map(hash).min().unwrap_or(0)
}

/// How far a server of that weight is from a client: a client belongs to the server with the least distance. Each server gets
/// clients in proportion to its weight, and what happens to one server changes nothing between two others.
pub fn distance(client: u64, server: u64, weight: u32) -> f64 {
    // From 0, exclusive, to 1: the logarithm of a uniform number, divided by the weight, is exponentially distributed.
    let uniform = (mix(client ^ server) as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    -uniform.ln() / f64::from(weight)
}

/// 64-bit FNV-1a, with the finaliser of MurmurHash3, since FNV alone mixes its low bits poorly.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.write(&ip.octets()),
            IpAddr::V6(ip) => self.write(&ip.octets()),
        }
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

/// The finaliser of MurmurHash3: each bit of the result depends on each bit of the number.
fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> u64 {
        of_server(&[Address::Ip(([10, 0, 0, number], 80).into())])
    }

    fn client(number: u32) -> u64 {
        of_client(ClientAddr::new(Some(std::net::Ipv4Addr::from(number).into())), None)
    }

    /// The position of the nearest of these servers, each with its weight.
    fn nearest(client: u64, servers: &[(u64, u32)]) -> usize {
        let distances = servers.iter().map(|(server, weight)| distance(client, *server, *weight));
        distances.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0
    }

    #[test]
    fn every_kind_of_network_spreads() {
        // pen 0.34.1 takes the address modulo the number of servers, so that all of x.x.x.0/30, .4/30 … may meet.
        for (name, step) in [("neighbours", 1u32), ("every fourth", 4), ("every /24", 256), ("every /16", 65536)] {
            for count in [2u8, 3, 4, 8] {
                let servers: Vec<_> = (1..=count).map(|number| (server(number), 1)).collect();
                let mut hits = vec![0u32; count.into()];
                for i in 0..1000u32 {
                    hits[nearest(client(0x0a00_0000u32.wrapping_add(i.wrapping_mul(step))), &servers)] += 1;
                }
                let fair = 1000 / u32::from(count);
                assert!(hits.iter().all(|h| *h > fair * 3 / 4 && *h < fair * 5 / 4), "{name}, {count}: {hits:?}");
            }
        }
    }

    #[test]
    fn servers_get_clients_in_proportion_to_their_weights() {
        let servers: Vec<_> = (1..=4).map(|number| (server(number), number.into())).collect();
        let mut hits = [0i32; 4];
        for i in 0..10_000 {
            hits[nearest(client(i), &servers)] += 1;
        }
        for (hits, expected) in hits.into_iter().zip([1000, 2000, 3000, 4000]) {
            assert!((hits - expected).abs() < 200, "{hits} instead of {expected}");
        }
    }

    #[test]
    fn the_port_counts_when_it_is_given() {
        let client = ClientAddr::new(Some("192.0.2.1".parse().unwrap()));
        assert_ne!(of_client(client, Some(1)), of_client(client, Some(2)));
        assert_eq!(of_client(client, None), of_client(client, None));
    }

    #[test]
    fn the_order_of_a_servers_addresses_does_not_count() {
        let (a, b) = (Address::Ip(([10, 0, 0, 1], 80).into()), Address::Ip(([10, 0, 0, 2], 80).into()));
        assert_eq!(of_server(&[a.clone(), b.clone()]), of_server(&[b, a]));
    }
}
