//! Requests are found in a stream of bytes wherever its reads begin and end.

use pen::policy::http::requests::Requests;
use proptest::collection::vec;
use proptest::prelude::*;

/// What is found in a stream that comes in these reads and then ends.
fn found(reads: &[&[u8]]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut found = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
    let mut requests = Requests::default();
    reads.iter().for_each(|read| requests.feed(read, &mut found));
    requests.finish(&mut found);
    lines
}

/// A request and its first line.
pub(crate) fn request() -> impl Strategy<Value = (Vec<u8>, String)> {
    let target = "/[a-z?&=%/]{0,20}";
    let content = prop_oneof![vec(any::<u8>(), 0..60), Just(b"GET /not HTTP/1.1\r\nHost: x\r\n\r\n".to_vec())];
    let body = (any::<bool>(), vec(content, 0..3), "(X-[a-z]{1,5}: [a-z ]{0,9}\r\n){0,3}");
    ("GET|POST|M-SEARCH", target, "1\\.[01]", body).prop_map(|(method, target, version, (chunked, parts, fields))| {
        let line = format!("{method} {target} HTTP/{version}");
        let mut bytes = format!("{line}\r\n{fields}").into_bytes();
        if chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for part in parts.iter().filter(|part| !part.is_empty()) {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("0\r\n{fields}\r\n").as_bytes());
        } else {
            let body = parts.concat();
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        }
        (bytes, line)
    })
}

/// The stream in reads that end at these places.
pub(crate) fn split(stream: &[u8], places: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    let mut places: Vec<_> = places.iter().map(|place| place.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_stream_is_split_its_requests_are_the_same(
        requests in vec(request(), 1..6),
        places in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let lines: Vec<_> = requests.into_iter().map(|(_, line)| line).collect();
        prop_assert_eq!(found(&split(&stream, places)), lines);
    }

    #[test]
    fn no_stream_panics_and_http_that_goes_wrong_splits_alike(
        head in "GET / HTTP/1\\.1\r\n([A-Za-z-]{1,9}[: ]{1,2}[a-z0-9]{0,5}\r\n){0,3}(Content-Length: [0-9]{1,2}\r\n)?",
        rest in "(\r\n|GET /b HTTP/1.1\r\n|[0-9a-f]{1,2}|[ -~]|\\PC){0,40}",
        places in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream = format!("{head}{rest}").into_bytes();
        prop_assert_eq!(found(&split(&stream, places)), found(&[&stream]));
    }

    #[test]
    fn noise_is_taken(stream in vec(any::<u8>(), 0..300), places in vec(any::<prop::sample::Index>(), 0..20)) {
        found(&split(&stream, places));
    }
}
