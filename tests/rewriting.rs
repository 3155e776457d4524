//! Headers are put into the requests of a stream wherever its reads begin and end, and nothing else is changed.

use pen::endpoint::ClientAddr;
use pen::policy::http::forwarded::{Existing, Rules};
use pen::policy::http::header::Client;
use pen::policy::http::requests::Requests;
use pen::policy::http::rewriter::Rewriter;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::requests::{request, split};

const OURS: &[u8] = b"X-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.7\r\n";

fn rewriter(existing: Existing, strict: bool) -> Rewriter<'static> {
    let address = ClientAddr::new(Some("192.0.2.7".parse().unwrap()));
    let client = Client { address, port: Some(9), listener: Some(80), is_secure: false, id: String::from("a") };
    Rewriter::new(Rules { existing, ..Rules::default() }, client, strict)
}

/// What is passed on of a stream that comes in these reads and then ends, and whether it was refused.
fn passed(rewriter: &mut Rewriter<'_>, reads: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    for read in reads {
        let mut rest = *read;
        // Some of what need not be seen is spliced.
        let unseen = usize::try_from(rewriter.unseen()).unwrap_or(usize::MAX).min(rest.len() / 2);
        rewriter.skip(unseen as u64);
        all.extend_from_slice(&rest[..unseen]);
        rest = &rest[unseen..];
        let mut bytes = rest.to_vec();
        rewriter.pass(&mut bytes);
        all.extend(bytes);
    }
    let mut bytes = Vec::new();
    rewriter.end(&mut bytes);
    all.extend(bytes);
    (all, rewriter.take_counts().refused > 0)
}

/// The request with the headers at the end of its head.
fn decorated(request: &[u8]) -> Vec<u8> {
    let end = request.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 2;
    [&request[..end], OURS, &request[end..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_stream_is_split_each_request_gets_the_headers_and_nothing_else_changes(
        requests in vec(request(), 1..6),
        places in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<u8> = requests.iter().flat_map(|(bytes, _)| decorated(bytes)).collect();
        for existing in [Existing::Keep, Existing::Append, Existing::Replace] {
            let (all, _) = passed(&mut rewriter(existing, false), &split(&stream, places.clone()));
            prop_assert_eq!(String::from_utf8_lossy(&all), String::from_utf8_lossy(&expected));
        }
    }

    #[test]
    fn what_strict_passes_on_has_the_requests_that_it_has_without_and_none_else(
        head in "(GET|POST|CONNECT) / HTTP/1\\.[01]\r?\n([A-Za-z-]{1,9}[: ]{1,2}[a-z0-9]{0,5}\r?\n){0,3}\
                 (Content-Length: [0-9]{1,2}\r\n)?(Transfer-Encoding: ?(chunked|x)\r\n)?",
        rest in "(\r\n|GET /b HTTP/1.1\r\n|[0-9a-f]{1,2}\r\n|[ -~]|\\PC){0,40}",
        places in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream = format!("{head}{rest}").into_bytes();
        let (strict, refused) = passed(&mut rewriter(Existing::Keep, true), &split(&stream, places.clone()));
        let (lenient, _) = passed(&mut rewriter(Existing::Keep, false), &split(&stream, places));
        let found = |bytes: &[u8]| {
            let mut lines = Vec::new();
            let mut requests = Requests::default();
            requests.feed(bytes, &mut |line| lines.push(line.to_vec()));
            lines
        };
        // Nothing is a request to the server that was none to pen.
        let (seen, known) = (found(&strict), found(&stream));
        prop_assert!(seen.iter().all(|line| line.is_empty() || known.contains(line)), "{:?} {:?}", seen, known);
        if !refused {
            prop_assert_eq!(seen, found(&lenient));
        }
    }

    #[test]
    fn noise_passes_unchanged_or_not_at_all(
        stream in vec(any::<u8>(), 0..300),
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (all, _) = passed(&mut rewriter(Existing::Replace, false), &split(&stream, places.clone()));
        prop_assert_eq!(&all, &stream);
        let (all, _) = passed(&mut rewriter(Existing::Replace, true), &split(&stream, places));
        prop_assert!(all.is_empty());
    }
}
