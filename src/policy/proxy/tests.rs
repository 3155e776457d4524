//! Headers there and back.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::reader::{Fault, Reader};
use super::writer::{about_tls, header, local};
use super::*;

/// What a header says that comes in these pieces, and the bytes that are left behind it.
fn read(accepts: Accepts, pieces: &[&[u8]]) -> Result<(Option<Announced>, Vec<u8>), Fault> {
    let mut reader = Reader::new(accepts);
    let mut announced = None;
    let mut left = Vec::new();
    for piece in pieces {
        let mut piece = *piece;
        while announced.is_none() && !piece.is_empty() {
            let (count, found) = reader.take(piece)?;
            assert!(count > 0, "it would be asked for ever");
            piece = &piece[count..];
            announced = found;
        }
        left.extend_from_slice(piece);
    }
    Ok((announced, left))
}

fn ends(bytes: &[u8]) -> Result<Ends, Fault> {
    read(Accepts::Any, &[bytes]).map(|(announced, left)| {
        assert!(left.is_empty());
        announced.expect("a whole header").ends
    })
}

fn tcp(source: &str, destination: &str) -> Ends {
    Ends::tcp(source.parse().unwrap(), destination.parse().unwrap())
}

#[test]
fn lines_are_those_of_the_specification() {
    let longest =
        "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let all = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    assert_eq!(ends(longest.as_bytes()), Ok(tcp(all, all)));
    let unknown = format!("PROXY UNKNOWN {}", &longest["PROXY TCP6 ".len()..]);
    assert_eq!(unknown.len(), LONGEST_LINE);
    assert_eq!(ends(unknown.as_bytes()), Ok(Ends::Unknown));
    assert_eq!(ends(b"PROXY UNKNOWN\r\n"), Ok(Ends::Unknown));
    assert_eq!(ends(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), Ok(tcp("192.0.2.1:56324", "192.0.2.2:443")));
    assert_eq!(ends(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 1\r\n"), Ok(tcp("192.0.2.1:0", "[::1]:1")));
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 056 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +56 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 443\r\n",
        "PROXY TCP4 ::1 ::2 1 443\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 443\n",
        "PROXY \r\n",
        "PROXY \u{e9}\r\n",
        &format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)),
    ] {
        assert_eq!(read(Accepts::Any, &[line.as_bytes()]), Err(Fault::Wrong(Version::V1)), "{line:?}");
    }
    for line in ["PUT / HTTP/1.1\r\n", "PROXy ", "GET ", "\r\n\r\n\0\r\nQUIT\r", "\r\n\r\nG", "\u{16}\u{3}", "\0"] {
        assert_eq!(read(Accepts::Any, &[line.as_bytes()]), Err(Fault::None), "{line:?}");
    }
    assert_eq!(read(Accepts::Any, &[b"PROXY TCP4 192."]), Ok((None, Vec::new())), "it may still become one");
}

/// A header of v2 with this command and family, and what follows them.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    [&SIGNATURE[..], &[command, family], &(body.len() as u16).to_be_bytes(), body].concat()
}

#[test]
fn what_names_no_address_is_the_sender_itself() {
    for (command, family) in
        [(0x20, 0), (0x20, 0x11), (0x21, 0), (0x21, 0x12), (0x21, 0x22), (0x21, 0x32), (0x21, 0x44)]
    {
        assert_eq!(ends(&binary(command, family, &[])), Ok(Ends::Unknown), "{command:x} {family:x}");
        assert_eq!(ends(&binary(command, family, &[9; 500])), Ok(Ends::Unknown), "{command:x} {family:x}");
    }
}

#[test]
fn binary_headers_that_are_wrong_are_refused() {
    let address = [192, 0, 2, 1, 192, 0, 2, 2, 0, 9, 1, 0];
    assert_eq!(ends(&binary(0x21, 0x11, &address)), Ok(tcp("192.0.2.1:9", "192.0.2.2:256")));
    let wrong = Err(Fault::Wrong(Version::V2));
    for (command, family, body) in [
        (0x11, 0x11, &address[..]),
        (0x22, 0x11, &address),
        (0x21, 0x11, &address[..11]),
        (0x21, 0x21, &[0; 35]),
        (0x21, 0x31, &[0; 215]),
        (0x21, 0x11, &[&address[..], &[1]].concat()),
        (0x21, 0x11, &[&address[..], &[1, 0, 3, 0, 0]].concat()),
    ] {
        assert_eq!(ends(&binary(command, family, body)), wrong, "{command:x} {family:x} {body:?}");
    }
    let good = header(Version::V2, &tcp("192.0.2.1:9", "192.0.2.2:256"), &[]);
    for place in 29..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert_ne!(ends(&bad), ends(&good), "at {place}");
    }
    let mut bad = good.clone();
    bad[16] ^= 1;
    assert_eq!(ends(&bad), Err(Fault::Checksum));
    let twice = binary(0x21, 0x11, &[&address[..], &[3, 0, 4, 0, 0, 0, 0], &[3, 0, 4, 0, 0, 0, 0]].concat());
    assert!(ends(&twice).is_err());
}

#[test]
fn only_the_versions_that_are_wanted_are_taken() {
    let of = |accepts, version| read(accepts, &[&local(version)]).map(|(announced, _)| announced.unwrap().ends);
    for version in [Version::V1, Version::V2] {
        assert_eq!(of(Accepts::Any, version), Ok(Ends::Unknown));
        assert_eq!(of(Accepts::Only(version), version), Ok(Ends::Unknown));
        assert_eq!(of(Accepts::Off, version), Err(Fault::Unwanted(version)));
    }
    assert_eq!(of(Accepts::Only(Version::V1), Version::V2), Err(Fault::Unwanted(Version::V2)));
    assert_eq!(of(Accepts::Only(Version::V2), Version::V1), Err(Fault::Unwanted(Version::V1)));
}

#[test]
fn tls_is_told_and_takes_the_place_of_what_was_announced() {
    let tls = Tls {
        version: String::from("TLSv1.3"),
        cipher: String::from("TLS_AES_128_GCM_SHA256"),
        name: Some(String::from("www.example")),
        protocol: Some(b"http/1.1".to_vec()),
        has_certificate: true,
        common_name: Some(String::from("me")),
    };
    // What is pen's own goes, what it does not know stays.
    let more = about_tls(&tls, b"\x02\0\x03old\xea\0\x02id\x20\0\x01\x01");
    assert!(more.starts_with(b"\xea\0\x02id\x01\0\x08http/1.1\x02\0\x0bwww.example\x20\0"));
    let ssl = b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_128_GCM_SHA256\x22\0\x02me";
    assert!(more.ends_with(&[&[0, ssl.len() as u8][..], ssl].concat()));
    let bytes = header(Version::V2, &tcp("[::1]:1", "[::1]:2"), &more);
    let (announced, _) = read(Accepts::Any, &[&bytes]).unwrap();
    assert_eq!(announced, Some(Announced { ends: tcp("[::1]:1", "[::1]:2"), is_secure: true, more }));
    let without = about_tls(&Tls::default(), &[]);
    assert!(without.starts_with(&[0x20, 0, 11, 1, 0, 0, 0, 1]));
}

#[test]
fn what_does_not_fit_is_left_out() {
    let bytes = header(Version::V2, &Ends::Unix(vec![b'a'; 200], Vec::new()), &[7; 65_535]);
    assert_eq!(bytes.len(), FIXED + 2 * PATH + 7);
    assert_eq!(ends(&bytes), Ok(Ends::Unix(vec![b'a'; PATH], Vec::new())));
}

fn any_ends() -> impl Strategy<Value = Ends> {
    let ip = || prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    let end = move || (ip(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    prop_oneof![
        Just(Ends::Unknown),
        (end(), end()).prop_map(|(source, destination)| Ends::tcp(source, destination)),
        ("@?/[a-z]{0,50}", "(/[a-z]{1,50})?").prop_map(|(source, destination)| {
            Ends::Unix(source.replace('@', "\0").into_bytes(), destination.into_bytes())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_however_it_is_split_and_no_byte_more(
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        ends in any_ends(),
        values in vec((5u8..0x1f, vec(any::<u8>(), 0..700)), 0..4),
        data in vec(any::<u8>(), 0..100),
        places in vec(any::<Index>(), 0..20),
    ) {
        let mut more = Vec::new();
        for (kind, value) in values {
            more.push(kind);
            more.extend((value.len() as u16).to_be_bytes());
            more.extend(value);
        }
        let bytes = header(version, &ends, &more);
        prop_assert!(version == Version::V2 || bytes.len() <= LONGEST_LINE);
        let stream = [bytes.clone(), data.clone()].concat();
        let mut places: Vec<_> = places.iter().map(|place| place.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let pieces: Vec<_> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let (announced, left) = read(Accepts::Any, &pieces).unwrap();
        let announced = announced.unwrap();
        let is_told = version == Version::V2 || matches!(ends, Ends::Tcp(..));
        prop_assert_eq!(announced.ends, if is_told { ends.clone() } else { Ends::Unknown });
        let has_more = version == Version::V2 && ends != Ends::Unknown;
        prop_assert_eq!(announced.more, if has_more { more } else { Vec::new() });
        prop_assert_eq!(left, data);
    }

    #[test]
    fn noise_is_refused_and_never_loops(
        beginning in prop_oneof![Just(&b""[..]), Just(&b"PROXY TCP4 1"[..]), Just(&SIGNATURE[..]), Just(&b"PROXY "[..])],
        noise in vec(any::<u8>(), 0..400),
        step in 1usize..50,
    ) {
        let stream = [beginning, &noise].concat();
        let pieces: Vec<_> = stream.chunks(step).collect();
        let _ = read(Accepts::Any, &pieces);
    }
}
