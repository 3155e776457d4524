//! Finds the requests in the data of a client, for the log. It does not change the data.
//!
//! In a stream that begins as HTTP every request counts, also one behind another, and bodies do not. Any other stream is taken
//! read by read; that it is another shows at the latest when the server speaks before the first line has ended.

use super::framing::{Found, Framing, KEPT};

/// The state of one client's stream. It is small, and at most 1000 bytes are kept between two reads.
#[derive(Debug, Default)]
pub struct Requests {
    framing: Framing,
    stream: Stream,
}

/// What a stream has shown itself to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    /// No request was found yet.
    #[default]
    Unknown,
    /// HTTP.
    Http,
    /// Something else.
    Other,
}

impl Requests {
    /// Takes what one read has brought. `found` is given the first line of each request, without its end, up to 1000 bytes of it.
    pub fn feed(&mut self, mut bytes: &[u8], found: &mut dyn FnMut(&[u8])) {
        if self.stream == Stream::Other {
            return found(first_line(bytes));
        }
        while !bytes.is_empty() {
            let (count, what) = self.framing.step(bytes);
            bytes = &bytes[count..];
            match what {
                Found::RequestLine(line) => {
                    found(first_line(&line));
                    self.stream = Stream::Http;
                }
                Found::NoRequestLine(line) if self.stream == Stream::Unknown => {
                    found(first_line(&line));
                    self.stream = Stream::Other;
                }
                _ => {}
            }
        }
    }

    /// The server has spoken. No web server does before the first line is whole, so if that was not HTTP it was whole without.
    pub fn answered(&mut self, found: &mut dyn FnMut(&[u8])) {
        if self.stream != Stream::Unknown {
            return;
        }
        if let Some(line) = self.framing.begun_request_line() {
            found(first_line(line));
            self.stream = Stream::Other;
            self.framing.give_up();
        }
    }

    /// The stream is over. What looked like the beginning of a request until now was something else, and counts.
    pub fn finish(&mut self, found: &mut dyn FnMut(&[u8])) {
        self.answered(found);
        self.framing.give_up();
        self.stream = Stream::Http;
    }

    /// In how many of the bytes that come next nothing can be found; [`u64::MAX`]: in none that come. Those that do not come here are to
    /// be told to [`Requests::skip`].
    pub fn unseen(&self) -> u64 {
        if self.stream == Stream::Other { 0 } else { self.framing.unseen() }
    }

    /// So many bytes were passed on and did not come here.
    pub fn skip(&mut self, count: u64) {
        self.framing.skip(count);
    }
}

/// What comes before the first end of a line, up to [`KEPT`] bytes of it.
pub fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(KEPT)];
    bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::http::request_line::LONGEST_TARGET;

    /// What is found in a stream that comes in these reads and then ends.
    fn found(reads: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut found = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let mut requests = Requests::default();
        for read in reads {
            requests.feed(read, &mut found);
            assert!(requests.framing.begun_request_line().is_none_or(|line| line.len() <= KEPT));
        }
        requests.finish(&mut found);
        lines
    }

    #[track_caller]
    fn assert_found(stream: &str, lines: &[&str]) {
        let stream = stream.replace('\n', "\r\n");
        assert_eq!(found(&[stream.as_bytes()]), lines, "{stream}");
        let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
        assert_eq!(found(&bytes), lines, "byte by byte: {stream}");
    }

    #[test]
    fn every_request_of_a_connection_is_found() {
        assert_found("GET /a HTTP/1.1\nHost: x\n\n", &["GET /a HTTP/1.1"]);
        assert_found("GET /a HTTP/1.1\n\nHEAD /b HTTP/1.0\n\n", &["GET /a HTTP/1.1", "HEAD /b HTTP/1.0"]);
        assert_found("\n\nGET /a HTTP/1.1\n\n\n\nGET /b HTTP/1.1\n", &["GET /a HTTP/1.1", "GET /b HTTP/1.1"]);
        assert_eq!(found(&[b"GET /a HTTP/1.1\n\nGET /b HTTP/1.1\n"]), ["GET /a HTTP/1.1", "GET /b HTTP/1.1"]);
    }

    #[test]
    fn a_body_that_looks_like_a_request_is_none() {
        let next = "GET /next HTTP/1.1\n\n";
        let lines = ["POST / HTTP/1.1", "GET /next HTTP/1.1"];
        assert_found(&format!("POST / HTTP/1.1\nContent-Length: 9\n\nGET /a HTTP/1.1\n\n{next}"), &lines[..1]);
        assert_found(&format!("POST / HTTP/1.1\nContent-Length: 19\n\nGET /a HTTP/1.1\n\n{next}"), &lines);
        assert_found(&format!("POST / HTTP/1.1\ncontent-length:0\n\n{next}"), &lines);
        assert_found(&format!("POST / HTTP/1.1\nX: a\n b\ncontent-length:0\n\n{next}"), &lines);
        let chunks = "13;a=b\nGET /a HTTP/1.1\n\n\n3  \nabc\n0\nX-Sum: 1\n\n";
        assert_found(&format!("POST / HTTP/1.1\nTRANSFER-Encoding: gzip, Chunked\n\n{chunks}{next}"), &lines);
    }

    #[test]
    fn nothing_is_found_behind_a_body_that_may_end_anywhere() {
        let next = "GET /a HTTP/1.1\n\n";
        for rest in [
            "Content-Length: 5\nContent-Length: 6\n\n",
            "Content-Length : 5\n\n",
            "Transfer-Encoding:\n chunked\n\n",
            &format!("Transfer-Encoding: {}, chunked\n\n", "x".repeat(KEPT)),
            "Transfer-Encoding: chunked\n\nx\n\n",
            "Transfer-Encoding: chunked\n\n1\nab\n\n",
            "Transfer-Encoding: chunked\n\n0\nno colon\n\n",
            "Transfer-Encoding: chunked\n\n0\nContent-Length: 3\n\n",
        ] {
            assert_found(&format!("POST / HTTP/1.1\n{rest}{next}"), &["POST / HTTP/1.1"]);
        }
    }

    #[test]
    fn a_stream_that_stops_being_http_is_left_alone() {
        assert_found("CONNECT a:80 HTTP/1.1\n\nGET /a HTTP/1.1\n\n", &["CONNECT a:80 HTTP/1.1"]);
        let upgrade = "GET /chat HTTP/1.1\nConnection: Upgrade\nUpgrade: x\n\n";
        assert_found(&format!("{upgrade}\u{81}\u{85}abc\nGET /a HTTP/1.1\n\n"), &["GET /chat HTTP/1.1"]);
        assert_found(&format!("{upgrade}PRI * HTTP/2.0\n\nSM\n\n"), &["GET /chat HTTP/1.1"]);
        // The server may have declined: then the connection goes on as before.
        assert_found(&format!("{upgrade}GET /a HTTP/1.1\n\n"), &["GET /chat HTTP/1.1", "GET /a HTTP/1.1"]);
        assert_found("GET /a HTTP/1.1\n\nhello\nGET /b HTTP/1.1\n\n", &["GET /a HTTP/1.1"]);
    }

    #[test]
    fn other_protocols_are_a_line_a_read() {
        assert_eq!(
            found(&[b"EHLO x\r\nMAIL\r\n", b"DATA\n", b"\r\nfoo", b"GET / HTTP/1.1\r\n\r\nGET"]),
            ["EHLO x", "DATA", "", "GET / HTTP/1.1"]
        );
        assert_eq!(found(&[b"\x16\x03\x01\x02", b"\x17abc"]), ["\x16\x03\x01\x02", "\x17abc"]);
        assert_eq!(found(&[b"GET /\r\n"]), ["GET /"], "HTTP 0.9");
        assert_eq!(found(&[b"GET / HTTP/2.0\r\n"]), ["GET / HTTP/2.0"]);
        assert_eq!(found(&[b"no end"]), ["no end"]);
        assert_eq!(found(&[b"GET /a HTTP/1.1\rx\n"]), ["GET /a HTTP/1.1"]);
        assert_eq!(found(&[b"\r\n"]), [""; 0]);
        let long = "x".repeat(3 * KEPT);
        assert_eq!(found(&[long.as_bytes(), long.as_bytes()]), [&long[..KEPT]; 2]);
    }

    #[test]
    fn what_may_still_become_a_request_is_told_when_that_is_certain() {
        assert_eq!(found(&[b"h", b"e", b"llo", b" world\nmore\n", b"next\n"]), ["hello world", "next"]);
        assert_eq!(found(&[b"GET /sp", b"lit HTTP/1.", b"1\r", b"\nHost: x\r\n\r\n"]), ["GET /split HTTP/1.1"]);
    }

    #[test]
    fn what_the_server_answers_without_a_whole_line_is_no_http() {
        for line in ["PING", "GET key", "GET / HTTP/1.1\r"] {
            let mut lines = Vec::new();
            let mut found = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
            let mut requests = Requests::default();
            // A greeting is no answer.
            requests.answered(&mut found);
            for part in [&line[..2], &line[2..]] {
                requests.feed(part.as_bytes(), &mut found);
            }
            requests.answered(&mut found);
            requests.feed(line.as_bytes(), &mut found);
            requests.finish(&mut found);
            assert_eq!(lines, [line.trim_end(); 2]);
        }
        // Between requests it says nothing of the next one.
        let mut lines = 0;
        let mut requests = Requests::default();
        for part in ["GET /a HTTP/1.1\r\n\r\nGE", "T /b HTTP/1.1\r\n\r\n"] {
            requests.feed(part.as_bytes(), &mut |_| lines += 1);
            requests.answered(&mut |_| lines += 1);
        }
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_long_target_is_cut_and_still_a_request() {
        let long = format!("/{}", "x".repeat(9000));
        let stream = format!("GET {long} HTTP/1.1\n\nGET /b HTTP/1.1\n\n");
        assert_found(&stream, &[&stream[..KEPT], "GET /b HTTP/1.1"]);
        assert_eq!(found(&[format!("GET /{}", "x".repeat(LONGEST_TARGET as usize)).as_bytes(), b"more\n"])[1], "more");
    }
}
