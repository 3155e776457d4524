//! Addresses: their text form, and their form for sockets.
//!
//! Parsing is pure; turning a name into addresses is `net::resolve`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A host as it was written, with the addresses it stands for. A literal address knows them at once; a name
/// has none until it was resolved.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    addresses: Vec<IpAddr>,
    failure: Option<String>,
}

/// Two hosts are the same when they were written alike, whatever their names resolve to today.
impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Host {}

impl Host {
    /// A host name, or an IPv4 or IPv6 address (without brackets). An IPv4-mapped IPv6 address stands for the IPv4 address.
    pub fn new(name: &str) -> Self {
        let addresses = name.parse().map(|ip: IpAddr| vec![ip.to_canonical()]).unwrap_or_default();
        Self { name: name.to_string(), addresses, failure: None }
    }

    /// All local IPv4 addresses: what a bare port listens on.
    pub fn any() -> Self {
        let addresses = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        Self { name: String::from("0.0.0.0"), addresses, failure: None }
    }

    /// As it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In the order in which they are to be tried; empty for a name that was not resolved yet.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Fills in what the name stands for; IPv4-mapped IPv6 addresses as the IPv4 addresses.
    pub fn resolved(&mut self, addresses: Vec<IpAddr>) {
        (self.addresses, self.failure) = (addresses.iter().map(IpAddr::to_canonical).collect(), None);
    }

    /// Notes that the name cannot be looked up, and the cause.
    pub fn failed(&mut self, cause: String) {
        (self.addresses, self.failure) = (Vec::new(), Some(cause));
    }

    /// Why the name cannot be looked up; `None` for one that was resolved, or was not looked up yet.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether it is a name, whose addresses may change.
    pub fn is_name(&self) -> bool {
        self.name.parse::<IpAddr>().is_err()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A port as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// 1 to 65535; 0 only where it marks an empty slot of the server table.
    Number(u16),
    /// A service name (`http`), to be looked up before use.
    Service(String),
}

impl Port {
    /// Reads a number from 1 to 65535 or something that may be a service name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(0) | Err(_) => Err(format!("port \"{text}\" is not a number from 1 to 65535")),
                Ok(number) => Ok(Self::Number(number)),
            };
        }
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'.' | b'*' | b'/');
        let starts_well = text.as_bytes()[0].is_ascii_alphanumeric();
        if starts_well && text.bytes().all(name) {
            Ok(Self::Service(text.to_string()))
        } else {
            Err(format!("port \"{text}\" is neither a number from 1 to 65535 nor a service name"))
        }
    }

    /// The number, if it is known already.
    pub fn number(&self) -> Option<u16> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Service(_) => None,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Service(name) => f.write_str(name),
        }
    }
}

/// Something to listen on, or a place to connect to, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a port.
    Tcp(Host, Port),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// `[host:]port`, `[v6]:port`, `:::port` or `/path/to/socket`: a place to listen on (pen(1)). Without a host
    /// it is all local IPv4 addresses, as pen's users are used to; `:::port` is all addresses of both families.
    pub fn parse_listener(text: &str) -> Result<Self, String> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?}: blanks and control characters are not possible in an address"));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or_else(|| format!("\"{text}\" is not [address]:port"))?,
            None => text.rsplit_once(':').unwrap_or(("", text)),
        };
        if port.is_empty() {
            return Err(format!("\"{text}\" names no port"));
        }
        let port = Port::parse(port)?;
        let host = if host.is_empty() { Host::any() } else { Host::new(host) };
        if host.name.contains(':') && host.addresses.is_empty() {
            return Err(format!("\"{host}\" is not an IPv6 address"));
        }
        Ok(Self::Tcp(host, port))
    }

    /// `host[:port]` or `/path/to/socket`: a server. `default` is the port of one that names none.
    pub fn parse_server(text: &str, default: Option<&Port>) -> Result<Self, String> {
        let fields = split_fields(text)?;
        if fields.len() > 2 {
            return Err(format!("\"{text}\" is not host:port"));
        }
        Ok(Self::from_fields(text, &fields, default)?.0)
    }

    /// The first two fields of a server, host and port; `text` is the whole, for errors. Tells the port also where the server is a
    /// Unix domain socket.
    pub fn from_fields(text: &str, fields: &[&str], default: Option<&Port>) -> Result<(Self, Port), String> {
        let host = fields[0];
        if host.is_empty() {
            return Err(format!("\"{text}\" names no host"));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?}: blanks and control characters are not possible in an address"));
        }
        let port = match fields.get(1) {
            Some(port) if !port.is_empty() => Some(Port::parse(port).map_err(|e| format!("\"{text}\": {e}"))?),
            _ => default.cloned(),
        };
        if host.starts_with('/') {
            return Ok((Self::Unix(PathBuf::from(host)), port.unwrap_or(Port::Number(0))));
        }
        if text.starts_with('[') && Host::new(host).addresses().is_empty() {
            return Err(format!("\"{text}\": \"{host}\" is not an IPv6 address"));
        }
        let port = port.ok_or_else(|| format!("\"{text}\" names no port, and the listener has none to take over"))?;
        Ok((Self::Tcp(Host::new(host), port.clone()), port))
    }

    /// A host alone, in brackets or not, or the path of a Unix domain socket: port 0 stands for the port that is told apart.
    pub fn without_port(text: &str) -> Self {
        if text.starts_with('/') {
            return Self::Unix(PathBuf::from(text));
        }
        Self::Tcp(Host::new(text.trim_start_matches('[').trim_end_matches(']')), Port::Number(0))
    }

    /// `0.0.0.0` and port 0, the endpoint of an empty slot of the server table.
    pub fn nowhere() -> Self {
        Self::Tcp(Host::any(), Port::Number(0))
    }

    /// The same host with that port.
    pub fn with_port(self, port: Port) -> Self {
        match self {
            Self::Tcp(host, _) => Self::Tcp(host, port),
            unix @ Self::Unix(_) => unix,
        }
    }

    /// The host without the port, or the path.
    pub fn place(&self) -> String {
        match self {
            Self::Tcp(host, _) => host.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<&Port> {
        match self {
            Self::Tcp(_, port) => Some(port),
            Self::Unix(_) => None,
        }
    }

    /// The host, where there is one.
    pub fn host(&self) -> Option<&Host> {
        match self {
            Self::Tcp(host, _) => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// Takes over the addresses of another endpoint with the same host if its own name cannot be looked up.
    pub fn or_addresses_of(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Tcp(host, port), Self::Tcp(known, _))
                if host.failure.is_some() && host == *known && !known.addresses.is_empty() =>
            {
                Self::Tcp(known.clone(), port)
            }
            (own, _) => own,
        }
    }

    /// The host and the port that may have to be looked up.
    pub fn names(&mut self) -> Option<(&mut Host, &mut Port)> {
        match self {
            Self::Tcp(host, port) => Some((host, port)),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.name.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Splits `a:b:c` at its colons, but not at those inside a bracketed IPv6 address in front.
pub fn split_fields(text: &str) -> Result<Vec<&str>, String> {
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(text.split(':').collect());
    };
    let (host, rest) = rest.split_once(']').ok_or_else(|| format!("\"{text}\" lacks a \"]\""))?;
    let mut fields = vec![host];
    match rest.strip_prefix(':') {
        Some(rest) => fields.extend(rest.split(':')),
        None if rest.is_empty() => {}
        None => return Err(format!("\"{text}\" has no \":\" after \"]\"")),
    }
    Ok(fields)
}

/// One address a socket can connect to or listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6, with the port.
    Ip(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The identity of a client: its address without the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientAddr {
    /// An IPv4 client is the same whether it came to an IPv4 or to a dual-stack listener.
    Ip(IpAddr),
    /// All clients of a Unix socket are one client.
    Local,
}

impl ClientAddr {
    /// Takes an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) for the IPv4 address it is.
    pub fn new(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Local, |ip| Self::Ip(ip.to_canonical()))
    }

    /// The address, unless the client came through a Unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip),
            Self::Local => None,
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(text: &str) -> String {
        Endpoint::parse_listener(text).map_or_else(|e| format!("error: {e}"), |e| e.to_string())
    }

    #[test]
    fn listeners_are_read_as_pen_reads_them() {
        assert_eq!(listener("8080"), "0.0.0.0:8080");
        assert_eq!(listener("http"), "0.0.0.0:http");
        assert_eq!(listener("www.example:80"), "www.example:80");
        assert_eq!(listener(":::80"), "[::]:80");
        assert_eq!(listener("[::1]:80"), "[::1]:80");
        assert_eq!(listener(":80"), "0.0.0.0:80");
        assert_eq!(listener("/run/pen.sock"), "/run/pen.sock");
    }

    #[test]
    fn a_listener_that_makes_no_sense_is_refused_by_name() {
        assert_eq!(listener("0"), "error: port \"0\" is not a number from 1 to 65535");
        assert_eq!(listener("a:99999"), "error: port \"99999\" is not a number from 1 to 65535");
        assert_eq!(listener("[::1]80"), "error: \"[::1]80\" is not [address]:port");
        assert_eq!(listener("::1"), "error: \":\" is not an IPv6 address");
        assert_eq!(listener("a:"), "error: \"a:\" names no port");
        assert_eq!(listener(""), "error: \"\" names no port");
        assert_eq!(listener("1:-5"), "error: port \"-5\" is neither a number from 1 to 65535 nor a service name");
    }

    #[test]
    fn fields_leave_a_bracketed_address_whole() {
        assert_eq!(split_fields("[2001:db8::1]:80:5").unwrap(), ["2001:db8::1", "80", "5"]);
        assert_eq!(split_fields("[::1]").unwrap(), ["::1"]);
        assert_eq!(split_fields("www1:8000:10").unwrap(), ["www1", "8000", "10"]);
        assert!(split_fields("[::1").is_err());
        assert!(split_fields("[::1]80").is_err());
    }

    #[test]
    fn a_mapped_ipv4_host_is_written_as_it_was_and_used_as_ipv4() {
        let mut host = Host::new("::ffff:192.0.2.7");
        let ipv4: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!((host.name(), host.addresses()), ("::ffff:192.0.2.7", &[ipv4][..]));
        host.resolved(vec!["::1".parse().unwrap(), "::ffff:192.0.2.7".parse().unwrap()]);
        assert_eq!(host.addresses(), ["::1".parse().unwrap(), ipv4]);
    }

    #[test]
    fn a_mapped_ipv4_client_is_that_ipv4_client() {
        let mapped = ClientAddr::new(Some("::ffff:192.0.2.7".parse().unwrap()));
        assert_eq!(mapped, ClientAddr::new(Some("192.0.2.7".parse().unwrap())));
    }
}
