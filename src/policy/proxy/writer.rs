//! Makes the PROXY header that a server gets before the bytes of its client.

use std::net::{IpAddr, SocketAddr};

use super::checksum::crc32c;
use super::{Ends, FIXED, PATH, SIGNATURE, Tls, Version, types};

/// The bytes of the checksum, with its type and length.
const CHECKSUM: usize = 7;

/// A header for a connection with these ends. `more`: what else v2 is to say, in its own form.
pub fn header(version: Version, ends: &Ends, more: &[u8]) -> Vec<u8> {
    match (version, ends) {
        (Version::V1, Ends::Tcp(source, destination)) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.port(), destination.port());
            format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip()).into_bytes()
        }
        (Version::V1, _) => b"PROXY UNKNOWN\r\n".to_vec(),
        (Version::V2, Ends::Unknown) => binary(0x20, 0, &[], more),
        (Version::V2, Ends::Tcp(source, destination) | Ends::Udp(source, destination)) => {
            let family = if source.is_ipv4() { 0x10 } else { 0x20 };
            let transport = if matches!(ends, Ends::Tcp(..)) { 1 } else { 2 };
            let mut addresses = [octets(source), octets(destination)].concat();
            addresses.extend([source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
            binary(0x21, family | transport, &addresses, more)
        }
        (Version::V2, Ends::Unix(source, destination)) => {
            let mut addresses = [0; 2 * PATH];
            for (place, path) in [(0, source), (PATH, destination)] {
                let length = path.len().min(PATH);
                addresses[place..place + length].copy_from_slice(&path[..length]);
            }
            binary(0x21, 0x31, &addresses, more)
        }
    }
}

/// A header for a connection of pen's own.
pub fn local(version: Version) -> Vec<u8> {
    header(version, &Ends::Unknown, &[])
}

/// What v2 says about the client's TLS. It takes the place of what was announced about that.
pub fn about_tls(tls: &Tls, announced: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = announced;
    while let [kind, high, low, ..] = rest {
        let length = (3 + usize::from(u16::from_be_bytes([*high, *low]))).min(rest.len());
        if ![types::SSL, types::AUTHORITY, types::ALPN].contains(kind) {
            all.extend_from_slice(&rest[..length]);
        }
        rest = &rest[length..];
    }
    if let Some(protocol) = &tls.protocol {
        push(&mut all, types::ALPN, protocol);
    }
    if let Some(name) = &tls.name {
        push(&mut all, types::AUTHORITY, name.as_bytes());
    }
    // PP2_CLIENT_SSL; with a certificate PP2_CLIENT_CERT_CONN and PP2_CLIENT_CERT_SESS. Without one there is nothing verified.
    let client = if tls.has_certificate { 7 } else { 1 };
    let mut ssl = vec![client, 0, 0, 0, u8::from(!tls.has_certificate)];
    push(&mut ssl, types::SSL_VERSION, tls.version.as_bytes());
    push(&mut ssl, types::SSL_CIPHER, tls.cipher.as_bytes());
    if let Some(name) = &tls.common_name {
        push(&mut ssl, types::SSL_CN, name.as_bytes());
    }
    push(&mut all, types::SSL, &ssl);
    all
}

/// Appends a value with its type and length. One that is too long is left out.
fn push(all: &mut Vec<u8>, kind: u8, value: &[u8]) {
    if let Ok(length) = u16::try_from(value.len()) {
        all.push(kind);
        all.extend(length.to_be_bytes());
        all.extend_from_slice(value);
    }
}

fn binary(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
    let most = usize::from(u16::MAX) - addresses.len() - CHECKSUM;
    let more = if more.len() > most { &[] } else { more };
    let length = (addresses.len() + more.len() + CHECKSUM) as u16;
    let mut bytes = Vec::with_capacity(FIXED + usize::from(length));
    bytes.extend(SIGNATURE);
    bytes.extend([command, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(addresses);
    bytes.extend_from_slice(more);
    push(&mut bytes, types::CRC32C, &[0; 4]);
    let checksum = crc32c(&bytes).to_be_bytes();
    let place = bytes.len() - checksum.len();
    bytes[place..].copy_from_slice(&checksum);
    bytes
}

fn octets(end: &SocketAddr) -> Vec<u8> {
    match end.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
