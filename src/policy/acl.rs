//! Access control lists: which addresses a list permits (penctl(1), `acl`).

use std::collections::TryReserveError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::country::{Country, Geography};
use super::facts::ClientFacts;

/// A set of addresses that one entry of a list matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// An IPv4 address and a mask, which need not be contiguous.
    V4(Ipv4Addr, Ipv4Addr),
    /// An IPv6 address and the number of its leading bits that count, 0 to 128.
    V6(Ipv6Addr, u8),
}

impl Net {
    /// Reads what follows `permit` or `deny`: `10.0.0.0 255.0.0.0`, `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`, `::1`.
    pub fn parse(source: &str, mask: Option<&str>) -> Result<Self, String> {
        let (address, length) = match source.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (source, None),
        };
        let bits = |most: u8| match length {
            None => Ok(most),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| *n <= most)
                .ok_or_else(|| format!("\"{text}\" is not a prefix length from 0 to {most}")),
        };
        match (address.parse(), mask) {
            (Err(_), _) => Err(format!("\"{address}\" is not an IPv4 or IPv6 address")),
            (Ok(IpAddr::V6(_)), Some(_)) => Err(String::from("an IPv6 address takes a /length, not a mask")),
            (Ok(IpAddr::V6(ip)), None) => {
                let net = Self::V6(ip, bits(128)?).canonical();
                let length = "the prefix length of an IPv4-mapped address is from 96 to 128";
                net.ok_or_else(|| format!("\"{source}\": {length}"))
            }
            (Ok(IpAddr::V4(_)), Some(_)) if length.is_some() => {
                Err(String::from("a /length and a mask exclude each other"))
            }
            (Ok(IpAddr::V4(ip)), Some(mask)) => {
                let mask = mask.parse().map_err(|_| format!("\"{mask}\" is not a mask like 255.255.255.0"))?;
                Ok(Self::V4(ip, mask))
            }
            (Ok(IpAddr::V4(ip)), None) => Ok(Self::v4(ip, bits(32)?)),
        }
    }

    fn v4(ip: Ipv4Addr, bits: u8) -> Self {
        Self::V4(ip, Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)))
    }

    /// An IPv4-mapped address or network (RFC 4291 section 2.5.5.2) means the IPv4 one, since clients have those. `None`: the length
    /// is most likely meant as that of an IPv4 network, which the entry would not match.
    fn canonical(self) -> Option<Self> {
        let Self::V6(ip, bits) = self else { return Some(self) };
        match ip.to_ipv4_mapped() {
            Some(ip) => bits.checked_sub(96).map(|bits| Self::v4(ip, bits)),
            None => Some(self),
        }
    }

    /// Whether the address is in the set. An address of the other family never is.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(net, mask), IpAddr::V4(ip)) => (u32::from(net) ^ u32::from(ip)) & u32::from(mask) == 0,
            (Self::V6(net, bits), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                (u128::from(net) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// As `write` prints it and [`Net::parse`] reads it.
impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(net, mask) => write!(f, "{net} {mask}"),
            Self::V6(net, bits) => write!(f, "{net}/{bits}"),
        }
    }
}

/// What one entry of a list matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The clients with these addresses.
    Net(Net),
    /// The clients from this country.
    Country(Country),
}

impl Whom {
    fn includes(self, ip: IpAddr, facts: &ClientFacts, geography: Option<&dyn Geography>) -> bool {
        match self {
            Self::Net(net) => net.contains(ip),
            Self::Country(country) => facts.country(geography) == Some(country),
        }
    }
}

/// As `write` prints it.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => net.fmt(f),
            Self::Country(country) => write!(f, "country {country}"),
        }
    }
}

/// One list: its entries in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<(bool, Whom)>,
}

impl Acl {
    /// Has the memory ready for so many entries more.
    pub fn try_reserve(&mut self, more: usize) -> Result<(), TryReserveError> {
        self.entries.try_reserve(more)
    }

    /// Adds an entry behind the others.
    pub fn push(&mut self, permit: bool, whom: Whom) {
        self.entries.push((permit, whom));
    }

    /// The entries, each a permit or a deny.
    pub fn entries(&self) -> &[(bool, Whom)] {
        &self.entries
    }

    /// Whether the country of a client matters.
    pub fn asks_for_countries(&self) -> bool {
        self.entries.iter().any(|(_, whom)| matches!(whom, Whom::Country(_)))
    }

    /// Empties the list, which then permits everybody. Its memory stays for the entries that may follow; see [`Acl::settle`].
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Gives back memory of which less than half is used.
    pub fn settle(&mut self) {
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to_fit();
        }
    }

    /// The first entry that matches decides. Where none does, the answer is the opposite of the last entry: a list that
    /// ends in a permit means "these and no others" (observed of pen 0.34.1). An empty list permits everybody.
    ///
    /// A client of a Unix socket has no address, so no entry matches it; it already had to pass the file permissions,
    /// and is permitted.
    pub fn permits(&self, facts: &ClientFacts, geography: Option<&dyn Geography>) -> bool {
        let Some(ip) = facts.address.ip() else { return true };
        match self.entries.iter().find(|(_, whom)| whom.includes(ip, facts, geography)) {
            Some((permit, _)) => *permit,
            None => self.entries.last().is_none_or(|(permit, _)| !permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ClientAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn acl(entries: &[(bool, &str)]) -> Acl {
        let mut acl = Acl::default();
        for (permit, net) in entries {
            let (source, mask) = net.split_once(' ').map_or((*net, None), |(s, m)| (s, Some(m)));
            acl.push(*permit, Whom::Net(Net::parse(source, mask).unwrap()));
        }
        acl
    }

    fn permits(list: &Acl, client: &str) -> bool {
        permits_by(None, list, client)
    }

    fn permits_by(geography: Option<&dyn Geography>, list: &Acl, client: &str) -> bool {
        let address = ClientAddr::new(client.parse().ok());
        list.permits(&ClientFacts::new(address, None), geography)
    }

    /// Knows that 10.x.x.x is in Sweden and 11.x.x.x in Norway, and how often it was asked.
    #[derive(Debug, Default)]
    struct Nordic(AtomicUsize);

    impl Geography for Nordic {
        fn country_of(&self, ip: IpAddr) -> Option<Country> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match ip {
                IpAddr::V4(ip) if ip.octets()[0] == 10 => Country::parse("SE"),
                IpAddr::V4(ip) if ip.octets()[0] == 11 => Country::parse("NO"),
                _ => None,
            }
        }
    }

    fn country(code: &str) -> Whom {
        Whom::Country(Country::parse(code).unwrap())
    }

    #[test]
    fn a_mapped_address_or_network_means_the_ipv4_one() {
        for (entry, inside, outside) in [
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:c000:0200/120", "::ffff:192.0.2.255", "192.0.3.0"),
        ] {
            let list = acl(&[(false, entry)]);
            assert!(!permits(&list, inside) && permits(&list, outside), "{entry}");
        }
        let all = acl(&[(false, "::ffff:0:0/96")]);
        assert!(!permits(&all, "192.0.2.1") && permits(&all, "2001:db8::1"));
        assert_eq!(Net::parse("::ffff:10.0.0.0/104", None).unwrap().to_string(), "10.0.0.0 255.0.0.0");
        let error = Net::parse("::ffff:10.0.0.0/8", None).unwrap_err();
        assert_eq!(error, "\"::ffff:10.0.0.0/8\": the prefix length of an IPv4-mapped address is from 96 to 128");
        assert!(Net::parse("::/0", None).is_ok());
    }

    #[test]
    fn an_empty_list_permits_everybody() {
        assert!(permits(&acl(&[]), "192.0.2.1"));
        assert!(permits(&acl(&[]), "local"));
    }

    #[test]
    fn the_first_match_decides_and_the_last_entry_turns_round_for_the_rest() {
        let list = acl(&[(false, "10.1.0.0 255.255.0.0"), (true, "10.0.0.0/8")]);
        assert!(!permits(&list, "10.1.2.3"));
        assert!(permits(&list, "10.2.2.3"));
        assert!(!permits(&list, "11.0.0.1"));
        assert!(permits(&acl(&[(false, "10.0.0.0/8")]), "11.0.0.1"));
    }

    #[test]
    fn all_bits_of_an_ipv6_address_count() {
        let list = acl(&[(true, "2001:db8::/33")]);
        assert!(permits(&list, "2001:db8:7fff::1"));
        assert!(!permits(&list, "2001:db8:8000::1"));
        assert!(permits(&acl(&[(true, "::/0")]), "2001:db8::1"));
    }

    #[test]
    fn a_country_is_an_entry_like_any_other() {
        let nordic = Nordic::default();
        let mut list = acl(&[(false, "10.1.0.0/16")]);
        list.push(true, country("SE"));
        assert!(list.asks_for_countries());
        let permits = |list: &Acl, client: &str| permits_by(Some(&nordic), list, client);
        assert!(permits(&list, "10.2.0.1"));
        assert!(!permits(&list, "10.1.0.1"), "the first match decides");
        assert!(!permits(&list, "11.0.0.1"), "the last entry turns round for the rest");
        assert!(!permits(&list, "192.0.2.1"), "an address of no country is in none");
        assert!(permits(&list, "local"));
        list.clear();
        list.push(false, country("NO"));
        assert!(!permits(&list, "11.0.0.1") && !permits(&list, "::ffff:11.0.0.1") && permits(&list, "192.0.2.1"));
    }

    #[test]
    fn without_data_a_country_matches_nobody() {
        let mut list = Acl::default();
        list.push(true, country("SE"));
        assert!(!permits(&list, "10.2.0.1"));
    }

    #[test]
    fn the_country_of_a_client_is_looked_up_once_and_only_if_a_list_asks() {
        let nordic = Nordic::default();
        let address = ClientAddr::new("10.2.0.1".parse().ok());
        let facts = ClientFacts::new(address, None);
        let permits = |list: &Acl| list.permits(&facts, Some(&nordic));
        let mut list = acl(&[(false, "10.1.0.0/16"), (true, "10.3.0.0/16")]);
        assert!(!permits(&list));
        assert_eq!(nordic.0.load(Ordering::Relaxed), 0);
        ["DK", "NO", "SE"].iter().for_each(|code| list.push(true, country(code)));
        assert!(permits(&list) && permits(&list));
        assert_eq!(nordic.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn nets_print_as_they_are_read() {
        for text in ["10.0.0.0 255.0.0.0", "192.0.2.1 255.255.255.255", "2001:db8::/32", "::1/128", "0.0.0.0 0.0.0.0"] {
            let (source, mask) = text.split_once(' ').map_or((text, None), |(s, m)| (s, Some(m)));
            assert_eq!(Net::parse(source, mask).unwrap().to_string(), text);
        }
        assert_eq!(Net::parse("10.0.0.0/8", None), Net::parse("10.0.0.0", Some("255.0.0.0")));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (source, mask) in [
            ("10.0.0", None),
            ("10.0.0.0/33", None),
            ("::/129", None),
            ("::1", Some("255.0.0.0")),
            ("10.0.0.0", Some("8")),
            ("10.0.0.0/8", Some("255.0.0.0")),
        ] {
            assert!(Net::parse(source, mask).is_err(), "{source} {mask:?}");
        }
    }
}
