//! Reads the answer to a check of HTTP, of HTTP/1.0 (RFC 1945) or HTTP/1.1 (RFC 9112), in pieces of any size.
//!
//! Of a line only its beginning is kept, and nothing of the body.

use super::excerpt::Excerpt;
use super::finding::{Finding, Outcome};
use super::kind::Http;

/// As much of a line as is kept, in bytes: more than a field that says how long the body is.
const KEPT: usize = 96;

/// How far an answer has been read.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    stage: Stage,
    line: Line,
    status: Option<(u16, Excerpt)>,
    /// What the head says about the body.
    length: Option<u64>,
    chunked: bool,
    /// How much of the text for the body was found at the end of what has come.
    matched: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Status,
    Head,
    /// In a body, or in a chunk, of which this much is to come.
    Body(u64),
    Chunk(u64),
    /// In a body that the end of the connection ends.
    UntilEnd,
    ChunkLength,
    ChunkEnd,
}

/// The beginning of the line that is under way.
#[derive(Clone, Copy, Debug)]
struct Line {
    bytes: [u8; KEPT],
    length: usize,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(KEPT - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
    }

    /// Takes the line, without the CR before its LF.
    fn take(&mut self) -> ([u8; KEPT], usize) {
        let length = std::mem::take(&mut self.length);
        let has_return = length > 0 && self.bytes[length - 1] == b'\r';
        (self.bytes, length - usize::from(has_return))
    }
}

impl Default for Answer {
    fn default() -> Self {
        let line = Line { bytes: [0; KEPT], length: 0 };
        Self { stage: Stage::Status, line, status: None, length: None, chunked: false, matched: 0 }
    }
}

impl Answer {
    /// Reads on. `None`: it takes more to judge the answer.
    pub fn read(&mut self, http: &Http, mut bytes: &[u8]) -> Option<Outcome> {
        while !bytes.is_empty() {
            let (taken, outcome) = match self.stage {
                Stage::Body(left) | Stage::Chunk(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let outcome = self.search(http, &bytes[..here]);
                    let left = left - here as u64;
                    let is_chunk = matches!(self.stage, Stage::Chunk(_));
                    self.stage = match (is_chunk, left) {
                        (true, 0) => Stage::ChunkEnd,
                        (true, left) => Stage::Chunk(left),
                        (false, left) => Stage::Body(left),
                    };
                    let is_over = !is_chunk && left == 0;
                    (here, outcome.or_else(|| is_over.then(|| self.body_ended())))
                }
                Stage::UntilEnd => (bytes.len(), self.search(http, bytes)),
                _ => self.read_line(http, bytes),
            };
            if outcome.is_some() {
                return outcome;
            }
            bytes = &bytes[taken..];
        }
        None
    }

    /// The connection has ended.
    pub fn end(&self) -> Outcome {
        match self.stage {
            Stage::Status if self.line.length == 0 => closed("closed before an answer"),
            Stage::Status => no_http(&self.line.bytes[..self.line.length]),
            Stage::Head => closed("closed within the head of the answer"),
            _ => self.body_ended(),
        }
    }

    /// Reads on in a line.
    fn read_line(&mut self, http: &Http, bytes: &[u8]) -> (usize, Option<Outcome>) {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.line.push(bytes);
            let is_wrong = self.stage == Stage::Status && !may_be_http(&self.line.bytes[..self.line.length]);
            return (bytes.len(), is_wrong.then(|| no_http(&self.line.bytes[..self.line.length])));
        };
        self.line.push(&bytes[..end]);
        let (line, length) = self.line.take();
        (end + 1, self.take_line(http, &line[..length]))
    }

    fn take_line(&mut self, http: &Http, line: &[u8]) -> Option<Outcome> {
        match self.stage {
            Stage::Status => {
                let Some((status, phrase)) = status(line) else { return Some(no_http(line)) };
                self.status = Some((status, phrase));
                self.stage = Stage::Head;
                let (first, last) = http.status;
                // Others may follow an interim answer (RFC 9110 section 15.2).
                let is_last = !(100..200).contains(&status) || status == 101;
                (is_last && !(first..=last).contains(&status)).then(|| Outcome::failure(self.found()))
            }
            Stage::Head if line.is_empty() => self.after_head(http),
            Stage::Head => {
                self.field(line);
                None
            }
            Stage::ChunkLength => match chunk_length(line) {
                Some(0) => Some(self.body_ended()),
                Some(length) => {
                    self.stage = Stage::Chunk(length);
                    None
                }
                None => Some(closed("a chunk of the body has no length")),
            },
            _ if line.is_empty() => {
                self.stage = Stage::ChunkLength;
                None
            }
            _ => Some(closed("a chunk of the body is longer than it says")),
        }
    }

    /// Takes notice of a line of the head. What it says about the body decides only where its text is searched.
    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        }
    }

    fn after_head(&mut self, http: &Http) -> Option<Outcome> {
        let status = self.status.map_or(0, |(status, _)| status);
        if (100..200).contains(&status) && status != 101 {
            *self = Self::default();
            return None;
        }
        if http.body.as_ref().is_none_or(|text| text.bytes().is_empty()) {
            return Some(Outcome::success(self.found()));
        }
        self.stage = match self.length {
            _ if matches!(status, 101 | 204 | 304) => return Some(self.body_ended()),
            _ if self.chunked => Stage::ChunkLength,
            Some(0) => return Some(self.body_ended()),
            Some(length) => Stage::Body(length),
            None => Stage::UntilEnd,
        };
        None
    }

    fn search(&mut self, http: &Http, bytes: &[u8]) -> Option<Outcome> {
        http.body.as_ref()?.search(&mut self.matched, bytes).map(|_| Outcome::success(self.found()))
    }

    /// Its text was not found.
    fn body_ended(&self) -> Outcome {
        Outcome::failure(Finding::NoBody)
    }

    fn found(&self) -> Finding {
        let (status, phrase) = self.status.unwrap_or((0, Excerpt::EMPTY));
        Finding::Status(status, phrase)
    }
}

fn closed(words: &'static str) -> Outcome {
    Outcome::failure(Finding::Words(words))
}

fn no_http(line: &[u8]) -> Outcome {
    let mut text = Excerpt::new(b"not HTTP: ");
    text.extend(line);
    Outcome::failure(Finding::Text(text))
}

/// Whether a status line may begin with these bytes.
fn may_be_http(line: &[u8]) -> bool {
    let begin = b"HTTP/";
    let count = line.len().min(begin.len());
    line[..count] == begin[..count]
}

/// The status and the phrase of a status line (RFC 1945 section 6.1).
fn status(line: &[u8]) -> Option<(u16, Excerpt)> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let blank = rest.iter().position(|byte| *byte == b' ')?;
    let (version, rest) = (&rest[..blank], rest[blank..].trim_ascii_start());
    let digits = version.iter().filter(|byte| byte.is_ascii_digit()).count();
    let dots = version.iter().filter(|byte| **byte == b'.').count();
    if digits == 0 || dots > 1 || digits + dots != version.len() || rest.len() < 3 {
        return None;
    }
    let (code, phrase) = rest.split_at(3);
    let ends = phrase.first().is_none_or(|byte| *byte == b' ');
    let code = std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    code.parse().ok().filter(|code| ends && *code >= 100).map(|code| (code, Excerpt::new(phrase.trim_ascii())))
}

/// The length in the first line of a chunk (RFC 9112 section 7.1).
fn chunk_length(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}
