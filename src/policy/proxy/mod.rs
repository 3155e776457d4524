//! The PROXY protocol: what a proxy says about the client before it passes on its bytes, and what pen says to servers. The versions are
//! those of HAProxy's proxy-protocol.txt: a line of text (v1), and binary (v2).

mod checksum;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod writer;

use std::net::SocketAddr;

use crate::endpoint::ClientAddr;

/// The bytes that every header of v2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What every header of v1 begins with.
const WORD: &[u8; 6] = b"PROXY ";

/// The longest header of v1, in bytes.
const LONGEST_LINE: usize = 107;

/// The bytes of v2 before the addresses.
const FIXED: usize = 16;

/// The bytes of a path of a Unix socket in v2.
const PATH: usize = 108;

/// The types of what may follow the addresses of v2 (section 2.2).
mod types {
    pub(super) const ALPN: u8 = 0x01;
    pub(super) const AUTHORITY: u8 = 0x02;
    pub(super) const CRC32C: u8 = 0x03;
    pub(super) const NOOP: u8 = 0x04;
    pub(super) const SSL: u8 = 0x20;
    pub(super) const SSL_VERSION: u8 = 0x21;
    pub(super) const SSL_CN: u8 = 0x22;
    pub(super) const SSL_CIPHER: u8 = 0x23;
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Text.
    V1,
    /// Binary.
    V2,
}

impl Version {
    /// The word that stands for it in commands.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Which headers clients must send: `accept_proxy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepts {
    /// None.
    #[default]
    Off,
    /// One of this version.
    Only(Version),
    /// One of either version.
    Any,
}

impl Accepts {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 4] =
        [("off", Self::Off), ("v1", Self::Only(Version::V1)), ("v2", Self::Only(Version::V2)), ("any", Self::Any)];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Only(version) => version.word(),
            Self::Any => "any",
        }
    }

    fn takes(self, version: Version) -> bool {
        self == Self::Any || self == Self::Only(version)
    }
}

/// The two ends of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Not told: the sender speaks for itself, or does not know.
    Unknown,
    /// Where the client comes from, and where it connected to. Both addresses are of one family.
    Tcp(SocketAddr, SocketAddr),
    /// The same of datagrams.
    Udp(SocketAddr, SocketAddr),
    /// The paths of Unix sockets; an empty one has no name.
    Unix(Vec<u8>, Vec<u8>),
}

impl Ends {
    /// Of a TCP connection. An IPv4-mapped address is the IPv4 address if the other one is one, too.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        let (source, destination) = alike(source, destination);
        Self::Tcp(source, destination)
    }

    /// Of a flow of datagrams, with addresses as in [`Ends::tcp`].
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        let (source, destination) = alike(source, destination);
        Self::Udp(source, destination)
    }
}

/// Both as addresses of one family.
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    match (plain(source), plain(destination)) {
        (source @ SocketAddr::V4(_), destination @ SocketAddr::V4(_)) => (source, destination),
        (source, destination) => (mapped(source), mapped(destination)),
    }
}

fn mapped(end: SocketAddr) -> SocketAddr {
    match end {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(v6) => SocketAddr::new((*v6.ip()).into(), v6.port()),
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The ends of the client's connection to the sender.
    pub ends: Ends,
    /// It was made with TLS.
    pub is_secure: bool,
    /// What else v2 says, in its own form, without the checksum.
    pub more: Vec<u8>,
}

impl Announced {
    /// Where the client comes from; `peer` is where its connection does. `None`: from a Unix socket.
    pub fn client(&self, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        match self.ends {
            Ends::Unknown => peer,
            Ends::Tcp(source, _) | Ends::Udp(source, _) => Some(source),
            Ends::Unix(..) => None,
        }
    }

    /// The client's address alone.
    pub fn address(&self, peer: Option<SocketAddr>) -> ClientAddr {
        ClientAddr::new(self.client(peer).map(|client| client.ip()))
    }
}

/// What the handshake of a client has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The version, as OpenSSL names it: `TLSv1.3`.
    pub version: String,
    /// The cipher, as OpenSSL names it.
    pub cipher: String,
    /// The name of the server that it asked for.
    pub name: Option<String>,
    /// The application protocol that was agreed on.
    pub protocol: Option<Vec<u8>>,
    /// The client has shown a certificate, and it was verified.
    pub has_certificate: bool,
    /// The common name of its subject.
    pub common_name: Option<String>,
}
