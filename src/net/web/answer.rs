//! Answers of the web page.

use std::io::{self, BufWriter, Write};

use crate::net::peer::{Peer, Reply};
use crate::policy::web::request::{Method, Request};
use crate::policy::web::status::phrase;

/// Bytes that are collected before they are sent.
const PIECE: usize = 16 * 1024;

/// What browsers are told about every answer. Pages contain no script, style or image of others, are in no frame, and send forms to
/// pen only. The origin of a form must be told, so its referrer is not hidden from pen itself.
const CAUTION: &str = "\
Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n\
X-Content-Type-Options: nosniff\r\n\
X-Frame-Options: DENY\r\n\
Referrer-Policy: same-origin\r\n\
Cross-Origin-Resource-Policy: same-origin\r\n";

/// How an answer begins.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Its status.
    pub status: u16,
    /// The type of its body.
    pub kind: &'static str,
    /// How long a browser may keep it, in seconds.
    pub age: u32,
    /// Further lines, each a name and a value without control characters.
    pub lines: &'a [(&'static str, &'a str)],
}

/// Where an answer to a request is written.
#[derive(Debug)]
pub struct Answerer<'a> {
    peer: &'a Peer,
    /// The client wants a body.
    has_body: bool,
    /// The body is in chunks (RFC 9112 section 7.1), so that the client sees whether it is whole.
    chunks: bool,
}

impl<'a> Answerer<'a> {
    /// To that request; `None`, to what is none.
    pub fn new(peer: &'a Peer, request: Option<&Request>) -> Self {
        let has_body = request.is_none_or(|request| request.method != Method::Head);
        Self { peer, has_body, chunks: request.is_some_and(|request| request.chunks) }
    }

    /// Answers with a body that is there.
    pub fn answer(&self, head: &Head<'_>, body: &str) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(PIECE, Reply(self.peer));
        write!(out, "{}Content-Length: {}\r\n\r\n", begin(head), body.len())?;
        if self.has_body {
            out.write_all(body.as_bytes())?;
        }
        end(out)
    }

    /// Answers with a body that is written as it is made.
    pub fn stream(&self, head: &Head<'_>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut reply = Reply(self.peer);
        let coding = if self.chunks { "Transfer-Encoding: chunked\r\n" } else { "" };
        reply.write_all(format!("{}{coding}\r\n", begin(head)).as_bytes())?;
        if !self.has_body {
            return Ok(());
        }
        let mut out = BufWriter::with_capacity(PIECE, Chunks { reply, chunks: self.chunks });
        match write(&mut out) {
            Ok(()) => end(out)?,
            Err(error) => {
                // Nothing more is sent, not even by the drop of the writer.
                let _ = out.into_parts();
                return Err(error);
            }
        }
        if self.chunks { Reply(self.peer).write_all(b"0\r\n\r\n") } else { Ok(()) }
    }
}

fn begin(head: &Head<'_>) -> String {
    let Head { status, kind, age, lines } = head;
    let cache = if *age == 0 { String::from("no-store") } else { format!("max-age={age}") };
    let lines: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "HTTP/1.1 {status} {}\r\nServer: pen\r\nConnection: close\r\nContent-Type: {kind}\r\nCache-Control: {cache}\r\n{CAUTION}{lines}",
        phrase(*status)
    )
}

/// Sends what is left. After an error nothing more is sent.
fn end<W: Write>(mut out: BufWriter<W>) -> io::Result<()> {
    let flushed = out.flush();
    let _ = out.into_parts();
    flushed
}

/// Makes chunks of what is written, if they are wanted.
struct Chunks<'a> {
    reply: Reply<'a>,
    chunks: bool,
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunks && !bytes.is_empty() {
            self.reply.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
            self.reply.write_all(bytes)?;
            self.reply.write_all(b"\r\n")?;
        } else {
            self.reply.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
