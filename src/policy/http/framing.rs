//! Where heads and bodies begin and end in one direction of a connection, in pieces of any size: HTTP/1 (RFC 9112). It does not change
//! the data.
//!
//! Where it is not certain any more at which byte the next message begins, nothing further is found: a body must never pass for a
//! request.

use std::borrow::Cow;

use super::fields::{Body, chunk_length, field, is_exact, is_exact_chunk_length, says_length};
use super::request_line::{Part, Step};

/// As much of a line as is kept, in bytes. It is what fits into a datagram of pen's, beside two addresses.
pub const KEPT: usize = 1000;

/// The state of one direction. It is small, and at most [`KEPT`] bytes are kept between two reads.
#[derive(Debug)]
pub(super) struct Framing {
    /// Where a message begins.
    start: State,
    state: State,
    /// What servers might read in different ways is not accepted.
    strict: bool,
    /// The line that is under way: what came of it in earlier reads.
    line: Vec<u8>,
    /// More of that line came than is kept.
    cut: bool,
    /// What the head says about the body.
    body: Body,
}

/// What some bytes have brought.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// More of what was under way.
    Nothing,
    /// A request line, without its end, up to [`KEPT`] bytes of it.
    RequestLine(Cow<'a, [u8]>),
    /// A line in the place of a request line that is none: the part of it that has come, up to [`KEPT`] bytes.
    NoRequestLine(Cow<'a, [u8]>),
    /// The status of an answer.
    StatusLine(u16),
    /// The end of a head.
    Head,
    /// It cannot be told any more where a message begins.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a request line, or before it.
    Request(Part),
    /// In a status line, or before it.
    Status,
    /// In the lines of a head.
    Head,
    /// In a body, or in a chunk of one, of which this much is to come.
    Length(u64),
    Chunk(u64),
    /// In the line that gives the length of a chunk, in the line end after a chunk, and in the lines after the last one.
    ChunkLength,
    ChunkEnd,
    Trailer,
    /// Nothing more can be found.
    Lost,
}

/// What follows a line.
enum Next {
    State(State),
    /// What follows the head is no message: a tunnel, or an answer that goes on until the connection ends.
    Bytes,
    Unknown,
}

impl Default for Framing {
    fn default() -> Self {
        Self::of_requests(false)
    }
}

impl Framing {
    /// Of what a client sends. `strict`: what servers might read in different ways is not accepted.
    pub(super) fn of_requests(strict: bool) -> Self {
        Self::new(State::Request(Part::Method(0)), strict)
    }

    /// Of what a server answers.
    pub(super) fn of_answers() -> Self {
        Self::new(State::Status, false)
    }

    fn new(start: State, strict: bool) -> Self {
        Self { start, state: start, strict, line: Vec::new(), cut: false, body: Body::default() }
    }

    /// Takes bytes up to the next thing that is found in them, and returns how many it took: at least one, if there is one.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8]) -> (usize, Found<'a>) {
        match self.state {
            State::Request(part) => self.request_line(part, bytes),
            State::Length(_) | State::Chunk(_) => {
                let here = usize::try_from(self.unseen()).unwrap_or(usize::MAX).min(bytes.len());
                self.skip(here as u64);
                (here, Found::Nothing)
            }
            State::Lost => (bytes.len(), Found::Nothing),
            _ => self.other_line(bytes),
        }
    }

    /// How many of the bytes that come next are of no interest; [`u64::MAX`]: all.
    pub(super) fn unseen(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            State::Lost => u64::MAX,
            _ => 0,
        }
    }

    /// Passes over so many bytes that are of no interest.
    pub(super) fn skip(&mut self, count: u64) {
        self.state = match self.state {
            State::Length(left) if left > count => State::Length(left - count),
            State::Length(_) => self.start,
            State::Chunk(left) if left > count => State::Chunk(left - count),
            State::Chunk(_) => State::ChunkEnd,
            state => state,
        };
    }

    /// The head that is under way has no body behind it, whatever it says.
    pub(super) fn without_body(&mut self) {
        self.body.is_none = true;
    }

    /// Gives up: nothing further is found.
    pub(super) fn give_up(&mut self) {
        self.enter(State::Lost);
    }

    /// Whether nothing further can be found.
    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// Whether a message is to begin with the next byte.
    pub(super) fn is_between(&self) -> bool {
        self.state == self.start && self.line.is_empty()
    }

    /// Whether a request line is under way or to come.
    pub(super) fn is_before_head(&self) -> bool {
        matches!(self.state, State::Request(_))
    }

    /// The part of the current request line that has come, up to [`KEPT`] bytes.
    pub(super) fn begun_request_line(&self) -> Option<&[u8]> {
        self.is_before_head().then_some(&self.line[..]).filter(|line| !line.is_empty())
    }

    /// Reads on in a request line.
    fn request_line<'a>(&mut self, mut part: Part, bytes: &'a [u8]) -> (usize, Found<'a>) {
        let mut blank = 0;
        if let Part::Method(0) = part {
            // Empty lines before a request are ignored (RFC 9112 section 2.2).
            blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        }
        for (at, byte) in bytes.iter().enumerate().skip(blank) {
            part = match part.step(*byte) {
                Step::On(part) => part,
                Step::Done if !self.strict || matches!(part, Part::End { digit: b'0' | b'1', returns: 1 }) => {
                    let old = matches!(part, Part::End { digit: b'0', .. });
                    let line = self.complete(&bytes[blank..at]);
                    self.body = Body::of_request(line.starts_with(b"CONNECT "), old, self.strict);
                    self.enter(State::Head);
                    return (at + 1, Found::RequestLine(line));
                }
                Step::Done | Step::Wrong => {
                    let line = self.complete(&bytes[blank..]);
                    self.give_up();
                    return (bytes.len(), Found::NoRequestLine(line));
                }
            };
        }
        self.keep(&bytes[blank..]);
        self.state = State::Request(part);
        (bytes.len(), Found::Nothing)
    }

    /// Reads on in a line that is no request's.
    fn other_line<'a>(&mut self, bytes: &'a [u8]) -> (usize, Found<'a>) {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.keep(bytes);
            return (bytes.len(), Found::Nothing);
        };
        let line = self.complete(&bytes[..end]);
        let is_head = self.state == State::Head && line.strip_suffix(b"\r").unwrap_or(&line).is_empty();
        let found = match self.after_line(&line) {
            Next::State(state) => {
                let found = match self.state {
                    State::Status => status(&line).map_or(Found::Nothing, Found::StatusLine),
                    _ if is_head => Found::Head,
                    _ => Found::Nothing,
                };
                self.enter(state);
                found
            }
            Next::Bytes => {
                self.give_up();
                Found::Head
            }
            Next::Unknown => {
                self.give_up();
                Found::Lost
            }
        };
        (end + 1, found)
    }

    /// What comes after this line, which ends in its CR if it has one.
    fn after_line(&mut self, line: &[u8]) -> Next {
        // The lines of a head are looked at as a whole, when they are all there.
        if self.strict && self.state != State::Head && (self.cut || !is_exact(line)) {
            return Next::Unknown;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let next = match (self.state, line.is_empty()) {
            (State::Status, _) => status(line).map(|status| {
                self.body = Body::of_answer(matches!(status, 100..200 | 204 | 304));
                State::Head
            }),
            (State::Head, true) => return self.after_head(),
            (State::Head, false) => self.body.heed(line, self.cut).map(|()| State::Head),
            (State::ChunkLength, _) if self.strict && !is_exact_chunk_length(line) => None,
            (State::ChunkLength, _) => chunk_length(line).map(|length| match length {
                0 => State::Trailer,
                length => State::Chunk(length),
            }),
            (State::ChunkEnd, true) => Some(State::ChunkLength),
            (State::Trailer, true) => Some(self.start),
            (State::Trailer, false) => field(line).filter(|(name, _)| !says_length(name)).map(|_| State::Trailer),
            _ => None,
        };
        next.map_or(Next::Unknown, Next::State)
    }

    fn after_head(&self) -> Next {
        let Body { length, chunked, tunnel, is_none, .. } = self.body;
        match length {
            // Servers might take the body for the beginning of the tunnel, or not.
            _ if tunnel && self.strict && (chunked || length.is_some()) => Next::Unknown,
            _ if tunnel => Next::Bytes,
            _ if is_none => Next::State(self.start),
            _ if chunked => Next::State(State::ChunkLength),
            Some(0) => Next::State(self.start),
            Some(length) => Next::State(State::Length(length)),
            None if self.start == State::Status => Next::Bytes,
            None => Next::State(self.start),
        }
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

    /// The line is over. Nothing of it is kept while a connection rests between two messages.
    fn enter(&mut self, state: State) {
        self.state = state;
        self.cut = false;
        self.line = Vec::new();
    }
}

/// The status in a status line (RFC 9112 section 4).
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    match rest {
        [b'0'..=b'9', b' ', code @ ..] if code.len() == 3 || matches!(code.get(3), Some(b' ' | b'\r')) => {
            let digits = std::str::from_utf8(&code[..3]).ok()?;
            digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
        }
        _ => None,
    }
}
