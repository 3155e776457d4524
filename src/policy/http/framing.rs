//! Where heads and bodies begin and end in what a client sends, in pieces of any size: HTTP/1 (RFC 9112). It does not change the data.
//!
//! Where it is not certain any more at which byte the next request begins, nothing further is found: a body must never pass for a
//! request.

use std::borrow::Cow;

use super::fields::{Body, chunk_length, field, is_token, says_length};

/// As much of a line as is kept, in bytes. It is what fits into a datagram of pen's, beside two addresses.
pub(super) const KEPT: usize = 1000;

/// The longest method, in bytes. The registered ones have up to 17.
const LONGEST_METHOD: u32 = 32;

/// The longest request target, in bytes: more than web servers take. What goes on for longer is something else.
pub(super) const LONGEST_TARGET: u32 = 64 * 1024;

/// What stands at the end of a request line, before a digit.
const VERSION: &[u8] = b"HTTP/1.";

/// Before a request.
const START: State = State::Request(Part::Method(0));

/// The state of one stream of requests. It is small, and at most [`KEPT`] bytes are kept between two reads.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
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
    /// What should be a request line, and is none: what there is of it, up to [`KEPT`] bytes.
    NoRequestLine(Cow<'a, [u8]>),
    /// The end of a head.
    Head,
    /// It cannot be told any more where a request begins.
    Lost,
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
    /// No more requests can be found.
    Lost,
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

impl Default for Framing {
    fn default() -> Self {
        Self { state: START, line: Vec::new(), cut: false, body: Body::default() }
    }
}

impl Framing {
    /// Takes bytes up to the next thing that is found in them, and returns how many it took: at least one, if there is one.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8]) -> (usize, Found<'a>) {
        match self.state {
            State::Request(part) => self.request_line(part, bytes),
            State::Length(left) => self.pass(left, bytes, State::Length, START),
            State::Chunk(left) => self.pass(left, bytes, State::Chunk, State::ChunkEnd),
            State::Head | State::ChunkLength | State::ChunkEnd | State::Trailer => self.other_line(bytes),
            State::Lost => (bytes.len(), Found::Nothing),
        }
    }

    /// Gives up: nothing further is found.
    pub(super) fn give_up(&mut self) {
        self.enter(State::Lost);
    }

    /// Whether nothing further can be found.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// What there is of a request line that is under way, up to [`KEPT`] bytes of it.
    pub(super) fn begun_request_line(&self) -> Option<&[u8]> {
        matches!(self.state, State::Request(_)).then_some(&self.line[..]).filter(|line| !line.is_empty())
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
                Step::Done => {
                    let line = self.complete(&bytes[blank..at]);
                    self.body = Body::of_request(line.starts_with(b"CONNECT "));
                    self.enter(State::Head);
                    return (at + 1, Found::RequestLine(line));
                }
                Step::Wrong => {
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
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let found = if line.is_empty() && matches!(self.state, State::Head) { Found::Head } else { Found::Nothing };
        match self.after_line(line) {
            Some(state) => self.enter(state),
            None => {
                self.give_up();
                return (end + 1, if self.body.tunnel { found } else { Found::Lost });
            }
        }
        (end + 1, found)
    }

    /// What comes after this line. `None`: it cannot be told.
    fn after_line(&mut self, line: &[u8]) -> Option<State> {
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
            (State::Trailer, false) => field(line).filter(|(name, _)| !says_length(name)).map(|_| State::Trailer),
            _ => None,
        }
    }

    /// Passes over a part of a body.
    fn pass<'a>(&mut self, left: u64, bytes: &'a [u8], rest: fn(u64) -> State, next: State) -> (usize, Found<'a>) {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.state = match left - here as u64 {
            0 => next,
            left => rest(left),
        };
        (here, Found::Nothing)
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
}

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
