//! A writer of MaxMind DB files, as small as the format allows (MaxMind DB File Format Specification 2.0): an IPv6 tree with
//! records of 24 bits, so that a test knows exactly which network is where.

use std::net::IpAddr;

/// What a record of the search tree says of the addresses below it.
#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    /// An offset in the data section.
    Data(usize),
}

/// A database in which these networks (`127.0.0.0/8`, `2001:db8::/32`) are in these countries. Of nested ones the wider comes
/// first; an empty country is none.
pub(crate) fn countries(networks: &[(&str, &str)]) -> Vec<u8> {
    let record = |country: &str| match country {
        "" => map(&[("continent", map(&[("code", text("EU"))]))]),
        code => map(&[("continent", map(&[("code", text("EU"))])), ("country", map(&[("iso_code", text(code))]))]),
    };
    database(&networks.iter().map(|(network, country)| (*network, record(country))).collect::<Vec<_>>())
}

/// A database in which these networks have these values.
pub(crate) fn database(networks: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Nothing; 2]];
    let mut data: Vec<u8> = Vec::new();
    for (network, value) in networks {
        insert(&mut nodes, network, Record::Data(data.len()));
        data.extend(value);
    }
    let mut file = Vec::new();
    for record in nodes.iter().flatten() {
        // The number of nodes means nothing, and what is above it points into the data, behind 16 bytes that separate.
        let number = match record {
            Record::Nothing => nodes.len(),
            Record::Node(node) => *node,
            Record::Data(offset) => nodes.len() + 16 + offset,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(map(&[
        ("node_count", number(6, nodes.len())),
        ("record_size", number(5, 24)),
        ("ip_version", number(5, 6)),
        ("database_type", text("Test-Country")),
        // An array and a number of 64 bits have their type in a second byte.
        ("languages", vec![0, 4]),
        ("binary_format_major_version", number(5, 2)),
        ("binary_format_minor_version", number(5, 0)),
        ("build_epoch", vec![4, 2, 0x65, 0, 0, 0]),
        ("description", map(&[("en", text("made for a test"))])),
    ]));
    file
}

fn insert(nodes: &mut Vec<[Record; 2]>, network: &str, value: Record) {
    let (address, length) = network.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    let (bits, length) = match address.parse().unwrap() {
        // IPv4 lies at the beginning of IPv6.
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 96 + length),
        IpAddr::V6(ip) => (u128::from(ip), length),
    };
    let mut node = 0;
    for depth in 0..length {
        let side = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == length {
            nodes[node][side] = value;
            return;
        }
        node = match nodes[node][side] {
            Record::Node(next) => next,
            // A wider network is divided.
            other => {
                nodes.push([other; 2]);
                nodes[node][side] = Record::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

/// A map of fewer than 29 entries.
pub(crate) fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    assert!(entries.len() < 29);
    let mut bytes = vec![7 << 5 | u8::try_from(entries.len()).unwrap()];
    for (key, value) in entries {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}

/// A string of fewer than 29 bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    assert!(text.len() < 29);
    [&[2 << 5 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// An unsigned number: of type 5 with 16 bits, of type 6 with 32.
fn number(kind: u8, number: usize) -> Vec<u8> {
    let bytes = u32::try_from(number).unwrap().to_be_bytes();
    let bytes = if kind == 5 { &bytes[2..] } else { &bytes[..] };
    [&[kind << 5 | u8::try_from(bytes.len()).unwrap()], bytes].concat()
}
