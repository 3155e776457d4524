//! pen's end of the control port: lines in, replies out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{ENQUIRY, LONGEST};
use crate::net::peer::{PATIENCE, Peer, Reply};

/// How long an answered client that has not ended its side may take for another command. pen's own penctl waits for the end
/// of the connection, so it must not be long.
const GRACE: Duration = Duration::from_millis(30);

/// What the next line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A command. It is empty if the line is.
    Command(String),
    /// The client asks for the verdict: [`ENQUIRY`].
    Enquiry,
    /// More than [`LONGEST`] bytes without a newline. The rest of the line is skipped.
    TooLong,
    /// The client was lost, or took too long, in the middle of a line. The partial line must not be executed.
    Cut,
    /// There is none: the client has ended its side, or was lost.
    End,
    /// A client that has sent no line yet has sent nothing in time.
    Late,
}

/// pen's end of a connection to the control port.
#[derive(Debug)]
pub struct Conversation {
    peer: Arc<Peer>,
    buffer: Vec<u8>,
    answered: bool,
    /// What comes before the next newline belongs to a line that is too long.
    skips: bool,
    /// The client sends nothing more.
    ended: bool,
}

impl Conversation {
    /// With a client that was just accepted.
    pub fn new(peer: Arc<Peer>) -> Self {
        Self { peer, buffer: Vec::new(), answered: false, skips: false, ended: false }
    }

    /// Waits for the next line.
    pub fn line(&mut self) -> Line {
        let start = Instant::now();
        let time = if self.answered { GRACE } else { PATIENCE };
        loop {
            let end = self.buffer.iter().position(|b| *b == b'\n');
            if self.skips {
                self.buffer.drain(..end.map_or(self.buffer.len(), |end| end + 1));
                self.skips = end.is_none();
            } else if let Some(end) = end.filter(|end| *end <= LONGEST) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return understood(&line[..end]);
            } else if self.buffer.len() > LONGEST {
                self.skips = true;
                return Line::TooLong;
            }
            if self.skips || end.is_none() {
                if self.ended && self.buffer.is_empty() {
                    return Line::End;
                } else if self.ended {
                    // As pen 0.34.1 does, whose clients need not send a newline.
                    return understood(&std::mem::take(&mut self.buffer));
                }
                let mut part = [0; 2048];
                match self.peer.read(&mut part, start, time) {
                    Ok(0) => self.ended = true,
                    Ok(count) => self.buffer.extend_from_slice(&part[..count]),
                    Err(Errno::TIMEDOUT) if self.buffer.is_empty() && !self.answered => return Line::Late,
                    Err(_) if self.buffer.is_empty() => return Line::End,
                    Err(_) => {
                        self.ended = true;
                        self.buffer.clear();
                        return Line::Cut;
                    }
                }
            }
        }
    }

    /// Begins a reply.
    pub fn reply(&mut self) -> Reply<'_> {
        self.answered = true;
        Reply(&self.peer)
    }

    /// Whether the client has ended its side. What it has said before is dropped.
    pub fn has_left(&mut self) -> bool {
        self.ended |= self.peer.has_left();
        self.ended
    }

    /// Ends the connection so that the client gets what was sent.
    pub fn finish(self) {
        self.peer.finish();
    }
}

/// What a whole line is.
fn understood(line: &[u8]) -> Line {
    if line.trim_ascii() == ENQUIRY { Line::Enquiry } else { Line::Command(printable(line)) }
}

/// Bytes from the network as text that is safe to repeat on a terminal and in a log.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().map(|c| if c.is_control() && c != '\t' { '.' } else { c }).collect()
}
