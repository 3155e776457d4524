//! Finds the requests in the data of a client, in pieces of any size: HTTP/1 (RFC 9112). It does not change the data.
//!
//! In a stream that begins as HTTP every request counts, also one behind another, and bodies do not. Any other stream is taken
//! read by read; that it is another shows at the latest when the server speaks before the first line has ended. Where it is not
//! certain any more at which byte the next request begins, nothing further is found: a body must never pass for a request.

use std::borrow::Cow;

use super::framing::{Body, chunk_length, field, is_token};

/// As much of a line as is kept, in bytes. It is what fits into a datagram of pen's, beside two addresses.
pub const KEPT: usize = 1000;

/// The longest method, in bytes. The registered ones have up to 17.
const LONGEST_METHOD: u32 = 32;

/// The longest request target, in bytes: more than web servers take. What goes on for longer is something else.
const LONGEST_TARGET: u32 = 64 * 1024;

/// What stands at the end of a request line, before a digit.
const VERSION: &[u8] = b"HTTP/1.";

/// The state of one client's stream. It is small, and at most [`KEPT`] bytes are kept between two reads.
#[derive(Debug)]
pub struct Requests {
    state: State,
    /// The line that is under way: what came of it in earlier reads.
    line: Vec<u8>,
    /// More of that line came than is kept.
    cut: bool,
    /// No request was found yet.
    first: bool,
    /// What the head says about the body.
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In a request line, or before it.
    Request(Part),
    /// In the lines of a head.
    Head,
    /// In a body, or in a chunk of one, of which this much is to come.
    Length(u64),
    Chunk(u64),
    /// In the line that gives the length of a chunk, in the line end after a chunk, and in the lines after the last one.
    ChunkLength,
    ChunkEnd,
    Trailer,
    /// The stream is not HTTP.
    Other,
    /// No more requests can be found.
    Deaf,
}

/// Where in a request line: `method SP target SP HTTP/1.digit`, then the line's end. With what is there already.
#[derive(Clone, Copy, Debug)]
enum Part {
    Method(u32),
    Target(u32),
    Version(usize),
    End,
}

/// What a byte means to a request line.
enum Step {
    On(Part),
    Done,
    Wrong,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            state: State::Request(Part::Method(0)),
            line: Vec::new(),
            cut: false,
            first: true,
            body: Body::default(),
        }
    }
}

impl Requests {
    /// Takes what one read has brought. `found` is given the first line of each request, without its end, up to [`KEPT`] bytes
    /// of it.
    pub fn feed(&mut self, mut bytes: &[u8], found: &mut dyn FnMut(&[u8])) {
        if matches!(self.state, State::Other) {
            return found(first_line(bytes));
        }
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Request(part) => self.request_line(part, bytes, found),
                State::Length(left) => self.pass(left, bytes, State::Length, START),
                State::Chunk(left) => self.pass(left, bytes, State::Chunk, State::ChunkEnd),
                State::Head | State::ChunkLength | State::ChunkEnd | State::Trailer => self.other_line(bytes),
                State::Other | State::Deaf => return,
            };
        }
    }

    /// The server has spoken. No web server does before the first line is whole, so if that was not HTTP it was whole without.
    pub fn answered(&mut self, found: &mut dyn FnMut(&[u8])) {
        if matches!(self.state, State::Request(_)) && self.first && !self.line.is_empty() {
            found(first_line(&self.line));
            self.enter(State::Other);
        }
    }

    /// The stream is over. What looked like the beginning of a request until now was something else, and counts.
    pub fn finish(&mut self, found: &mut dyn FnMut(&[u8])) {
        self.answered(found);
        self.state = State::Deaf;
    }

    /// Whether anything can still be found.
    pub fn is_deaf(&self) -> bool {
        matches!(self.state, State::Deaf)
    }

    /// Reads on in a request line. Returns what follows it.
    fn request_line<'a>(&mut self, mut part: Part, mut bytes: &'a [u8], found: &mut dyn FnMut(&[u8])) -> &'a [u8] {
        if let Part::Method(0) = part {
            // Empty lines before a request are ignored (RFC 9112 section 2.2).
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            bytes = &bytes[blank..];
        }
        for (at, byte) in bytes.iter().enumerate() {
            part = match part.step(*byte) {
                Step::On(part) => part,
                Step::Done => {
                    let line = self.complete(&bytes[..at]);
                    found(first_line(&line));
                    self.body = Body { tunnel: line.starts_with(b"CONNECT "), ..Body::default() };
                    self.first = false;
                    self.enter(State::Head);
                    return &bytes[at + 1..];
                }
                Step::Wrong if self.first => {
                    found(first_line(&self.complete(bytes)));
                    self.enter(State::Other);
                    return &[];
                }
                Step::Wrong => return self.give_up(),
            };
        }
        self.keep(bytes);
        self.state = State::Request(part);
        &[]
    }

    /// Reads on in a line that is no request's. Returns what follows it.
    fn other_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.keep(bytes);
            return &[];
        };
        let line = self.complete(&bytes[..end]);
        match self.after_line(&line) {
            Some(state) => self.enter(state),
            None => return self.give_up(),
        }
        &bytes[end + 1..]
    }

    /// What comes after this line. `None`: it cannot be told.
    fn after_line(&mut self, line: &[u8]) -> Option<State> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (self.state, line.is_empty()) {
            (State::Head, true) => match self.body {
                Body { tunnel: true, .. } => None,
                Body { chunked: true, .. } => Some(State::ChunkLength),
                Body { length, .. } => Some(length.filter(|n| *n > 0).map_or(START, State::Length)),
            },
            (State::Head, false) => self.body.heed(line, self.cut).map(|()| State::Head),
            (State::ChunkLength, _) => match chunk_length(line)? {
                0 => Some(State::Trailer),
                length => Some(State::Chunk(length)),
            },
            (State::ChunkEnd, true) => Some(State::ChunkLength),
            (State::Trailer, true) => Some(START),
            (State::Trailer, false) => field(line).map(|_| State::Trailer),
            _ => None,
        }
    }

    /// Passes over a part of a body. Returns what follows it.
    fn pass<'a>(&mut self, left: u64, bytes: &'a [u8], rest: fn(u64) -> State, next: State) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.state = match left - here as u64 {
            0 => next,
            left => rest(left),
        };
        &bytes[here..]
    }

    /// The line that ends with these bytes, or as much of it as counts. Most come whole, and need not be copied.
    fn complete<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.line.is_empty() {
            self.cut = bytes.len() > KEPT;
            return Cow::Borrowed(&bytes[..bytes.len().min(KEPT)]);
        }
        self.keep(bytes);
        Cow::Owned(std::mem::take(&mut self.line))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The line is over. Nothing of it is kept while a connection rests between two requests.
    fn enter(&mut self, state: State) {
        self.state = state;
        self.cut = false;
        self.line = Vec::new();
    }

    fn give_up<'a>(&mut self) -> &'a [u8] {
        self.enter(State::Deaf);
        &[]
    }
}

/// Before a request.
const START: State = State::Request(Part::Method(0));

impl Part {
    fn step(self, byte: u8) -> Step {
        match (self, byte) {
            (Self::Method(length), b' ') if length > 0 => Step::On(Self::Target(0)),
            (Self::Method(length), _) if length < LONGEST_METHOD && is_token(byte) => {
                Step::On(Self::Method(length + 1))
            }
            (Self::Target(length), b' ') if length > 0 => Step::On(Self::Version(0)),
            (Self::Target(length), b'!'..=b'~' | 0x80..) if length < LONGEST_TARGET => {
                Step::On(Self::Target(length + 1))
            }
            (Self::Version(there), _) if VERSION.get(there) == Some(&byte) => Step::On(Self::Version(there + 1)),
            (Self::Version(there), b'0'..=b'9') if there == VERSION.len() => Step::On(Self::End),
            (Self::End, b'\r') => Step::On(Self::End),
            (Self::End, b'\n') => Step::Done,
            _ => Step::Wrong,
        }
    }
}

/// What comes before the first end of a line, up to [`KEPT`] bytes of it.
fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(KEPT)];
    bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a stream that comes in these reads and then ends.
    fn found(reads: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut found = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let mut requests = Requests::default();
        for read in reads {
            requests.feed(read, &mut found);
            assert!(requests.line.len() <= KEPT);
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
