//! Puts headers into the requests of a client, in pieces of any size, and passes on everything else as it is.
//!
//! A head waits here until it is whole; request lines, bodies and whatever is not HTTP do not wait. With `http_strict` request lines wait,
//! too, and a stream that servers might read in different ways is refused: nothing of the request in question is passed on, if it is the
//! head, and nothing behind the fault, if it is the body.

use super::answers::{Answers, Asked, Turn};
use super::counts::Counts;
use super::forwarded::{Rules, decorated};
use super::framing::{Found, Framing};
use super::header::Client;

/// The longest head that gets headers, in bytes. It is in memory while it comes; heads of 64 KiB and more occur.
const LONGEST_HEAD: usize = 256 * 1024;

/// What a client is answered whose request is refused.
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
Connection: close\r\n\r\nBad Request\n";

/// The state of one client's stream.
#[derive(Debug)]
pub struct Rewriter<'a> {
    rules: Rules<'a>,
    client: Client,
    strict: bool,
    mode: Mode,
    framing: Framing,
    answers: Answers,
    /// The part of the current head that has come, unless it is too long; with `http_strict`, of its request line, too.
    held: Option<Held>,
    /// What the request that is under way means to its answer.
    asked: Asked,
    /// The server has ended its side.
    server_ended: bool,
    /// How many requests there were.
    number: u64,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The stream is HTTP, or may be.
    Http,
    /// A CONNECT is not answered yet. What comes before that belongs to the tunnel.
    Connect,
    /// Nothing is changed any more.
    Through,
    /// Nothing is passed on any more.
    Refused {
        /// A part of the request in question has been.
        begun: bool,
    },
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Where the lines of the head begin in it.
    lines: usize,
}

impl<'a> Rewriter<'a> {
    /// For a stream of this client, by these rules. `strict`: `http_strict`.
    pub fn new(rules: Rules<'a>, client: Client, strict: bool) -> Self {
        Self {
            rules,
            client,
            strict,
            mode: Mode::Http,
            framing: Framing::of_requests(strict),
            answers: Answers::default(),
            held: None,
            asked: Asked::Any,
            server_ended: false,
            number: 0,
            counts: Counts::default(),
        }
    }

    /// Takes what one read of the client has brought, and leaves what is to be passed on.
    pub fn pass(&mut self, bytes: &mut Vec<u8>) {
        if self.unseen() >= bytes.len() as u64 {
            return self.skip(bytes.len() as u64);
        }
        let mut passed = Vec::with_capacity(bytes.len() + 256);
        let mut rest = &bytes[..];
        while self.mode == Mode::Http && !rest.is_empty() {
            rest = self.step(rest, &mut passed);
        }
        match self.mode {
            Mode::Connect if self.strict && !rest.is_empty() => self.refuse(true),
            Mode::Connect if !rest.is_empty() => self.go_through(),
            Mode::Http if self.held.as_ref().is_some_and(|held| held.bytes.len() > LONGEST_HEAD) => {
                if self.strict {
                    self.refuse(false);
                } else {
                    self.counts.unchanged += 1;
                    passed.extend(self.held.take().unwrap_or_default().bytes);
                }
            }
            _ => {}
        }
        if self.mode == Mode::Through {
            passed.extend(self.held.take().unwrap_or_default().bytes);
            passed.extend_from_slice(rest);
        }
        bytes.clear();
        bytes.extend_from_slice(&passed);
    }

    /// The client has ended its side. Leaves what is to be passed on before that.
    pub fn end(&mut self, bytes: &mut Vec<u8>) {
        let held = self.held.take().unwrap_or_default().bytes;
        if !self.strict && self.mode == Mode::Http && self.framing.begun_request_line().is_some() {
            self.counts.unchanged += 1;
            return self.go_through();
        }
        if held.is_empty() || (self.strict && held.trim_ascii().is_empty()) {
            return;
        }
        if self.strict && self.mode == Mode::Http {
            return self.refuse(false);
        }
        bytes.extend(held);
        self.counts.unchanged += 1;
        self.go_through();
    }

    /// Takes what the server has sent.
    pub fn answered(&mut self, bytes: &[u8]) {
        // No web server speaks before the first request line is whole, so if that was not HTTP it was whole without.
        let may_be_other = self.mode == Mode::Http && self.number == 0 && !self.strict;
        if may_be_other && self.framing.begun_request_line().is_some() {
            self.counts.unchanged += 1;
            return self.go_through();
        }
        match (self.answers.feed(bytes), self.mode) {
            (Some(Turn::Tunnel), Mode::Http | Mode::Connect) => self.mode = Mode::Through,
            (Some(Turn::Declined), Mode::Connect) => {
                self.mode = Mode::Http;
                self.framing = Framing::of_requests(self.strict);
            }
            _ => {}
        }
    }

    /// The server has ended its side.
    pub fn answers_ended(&mut self) {
        self.server_ended = true;
    }

    /// How many of the client's next bytes need not come here; [`u64::MAX`]: all. Those are to be told to [`Rewriter::skip`].
    pub fn unseen(&self) -> u64 {
        match self.mode {
            Mode::Http => self.framing.unseen(),
            Mode::Through if self.held.is_none() => u64::MAX,
            _ => 0,
        }
    }

    /// So many of the client's bytes were passed on and did not come here.
    pub fn skip(&mut self, count: u64) {
        self.framing.skip(count);
    }

    /// How many of the server's next bytes need not come here; [`u64::MAX`]: all. Those are to be told to [`Rewriter::skip_answer`].
    pub fn unseen_of_answer(&self) -> u64 {
        if self.mode == Mode::Through { u64::MAX } else { self.answers.unseen() }
    }

    /// So many of the server's bytes were passed on and did not come here.
    pub fn skip_answer(&mut self, count: u64) {
        self.answers.skip(count);
    }

    /// With what the session is to end now, if it is to end: the answer to a client whose request was refused. It waits for the answers to
    /// the requests before that, which may go on until the server ends its side. Empty: the client would not understand an answer.
    pub fn verdict(&self) -> Option<&'static [u8]> {
        let Mode::Refused { begun } = self.mode else { return None };
        match (self.answers.waiting(), begun, self.answers.is_amid()) {
            (None, ..) if !self.server_ended => None,
            (None, ..) | (Some(0), true, _) => Some(b""),
            (Some(0), false, false) | (Some(1), true, false) => Some(BAD_REQUEST),
            _ => None,
        }
    }

    /// What there was since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Takes bytes up to the next thing that is found in them. Returns what follows it.
    fn step<'b>(&mut self, bytes: &'b [u8], passed: &mut Vec<u8>) -> &'b [u8] {
        if self.strict && self.held.is_none() && self.framing.is_before_head() {
            self.held = Some(Held::default());
        }
        let (count, found) = self.framing.step(bytes);
        let (taken, rest) = bytes.split_at(count);
        if let Found::Lost | Found::NoRequestLine(_) = found {
            if self.strict {
                self.refuse(self.held.is_none());
            } else {
                self.counts.unchanged += 1;
                self.go_through();
                passed.extend(self.held.take().unwrap_or_default().bytes);
                passed.extend_from_slice(taken);
            }
            return rest;
        }
        self.held.as_mut().map_or(&mut *passed, |held| &mut held.bytes).extend_from_slice(taken);
        match found {
            Found::RequestLine(line) => {
                self.number += 1;
                self.asked = Asked::by(&line);
                let held = self.held.get_or_insert_default();
                held.lines = held.bytes.len();
            }
            Found::Head => self.finish_head(passed),
            _ => {}
        }
        rest
    }

    /// The head that is under way is whole.
    fn finish_head(&mut self, passed: &mut Vec<u8>) {
        if let Some(Held { bytes, lines }) = self.held.take() {
            let (line, lines) = bytes.split_at(lines);
            match decorated(lines, &self.rules, &self.client, self.number, self.strict) {
                Some(decorated) => {
                    passed.extend_from_slice(line.trim_ascii_start());
                    passed.extend(decorated);
                    self.counts.decorated += 1;
                }
                None if self.strict => return self.refuse(false),
                None => {
                    passed.extend(bytes);
                    self.counts.unchanged += 1;
                }
            }
        }
        self.answers.expect(self.asked);
        if self.framing.is_lost() {
            self.mode = Mode::Connect;
        }
    }

    /// Nothing is changed any more.
    fn go_through(&mut self) {
        self.mode = Mode::Through;
        self.answers.give_up();
    }

    fn refuse(&mut self, begun: bool) {
        self.mode = Mode::Refused { begun };
        self.held = None;
        self.counts.refused += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ClientAddr;
    use crate::policy::http::forwarded::Existing;

    fn rewriter(strict: bool) -> Rewriter<'static> {
        let address = ClientAddr::new(Some("192.0.2.7".parse().unwrap()));
        let client = Client { address, port: Some(9), listener: Some(80), is_secure: false, id: String::from("a") };
        Rewriter::new(Rules { existing: Existing::Keep, ..Rules::default() }, client, strict)
    }

    fn passed(rewriter: &mut Rewriter<'_>, text: &str) -> String {
        let mut bytes = text.replace('\n', "\r\n").into_bytes();
        rewriter.pass(&mut bytes);
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    }

    const OURS: &str = "X-Forwarded-Proto: http\nX-Forwarded-For: 192.0.2.7\n";

    #[test]
    fn each_request_gets_the_headers_and_no_body() {
        let mut r = rewriter(false);
        let post = "POST / HTTP/1.1\nContent-Length: 18\n";
        let body = "GET / HTTP/1.1\n\n";
        let whole = format!("GET / HTTP/1.0\n\n{post}\n{body}GET /b HTTP/1.1\nHost: x\n\n");
        let expected = format!("GET / HTTP/1.0\n{OURS}\n{post}{OURS}\n{body}GET /b HTTP/1.1\nHost: x\n{OURS}\n");
        assert_eq!(passed(&mut r, &whole), expected);
        assert_eq!(r.take_counts(), Counts { decorated: 3, ..Counts::default() });
    }

    #[test]
    fn what_is_not_http_does_not_wait() {
        for text in ["GET key", "EHLO x\n", "GET / HTTP/2.0\n\n", "\n", "\u{16}\u{3}\u{1}"] {
            assert_eq!(passed(&mut rewriter(false), text), text);
        }
        let mut r = rewriter(false);
        assert_eq!(passed(&mut r, "GET / HTTP"), "GET / HTTP");
        r.answered(b"+OK");
        assert_eq!(r.unseen(), u64::MAX);
        assert_eq!(passed(&mut r, "/1.1\n\n"), "/1.1\n\n");
        assert_eq!(r.take_counts(), Counts { unchanged: 1, ..Counts::default() });
    }

    #[test]
    fn the_head_waits_and_the_body_does_not() {
        let mut r = rewriter(false);
        assert_eq!(passed(&mut r, "PUT / HTTP/1.1\nContent-Le"), "PUT / HTTP/1.1\n");
        assert_eq!(passed(&mut r, "ngth: 100000\n"), "");
        assert_eq!(passed(&mut r, "\nabc"), format!("Content-Length: 100000\n{OURS}\nabc"));
        assert_eq!(r.unseen(), 99997);
        r.skip(99996);
        assert_eq!(passed(&mut r, "xG"), "xG");
        let mut rest = Vec::new();
        r.end(&mut rest);
        assert_eq!(rest, b"");
        let mut r = rewriter(false);
        assert_eq!(passed(&mut r, "GET / HTTP/1.1\nHost: x\n\r"), "GET / HTTP/1.1\n");
        r.end(&mut rest);
        assert_eq!(rest, b"Host: x\r\n\r");
    }

    #[test]
    fn a_head_that_is_too_long_passes_and_the_next_one_is_changed() {
        let long = format!("GET / HTTP/1.1\n{}", "X: y\n".repeat(60_000));
        let mut r = rewriter(false);
        let mut all = passed(&mut r, &long);
        all.push_str(&passed(&mut r, "Z: z\n\nGET / HTTP/1.1\n\n"));
        assert!(all == format!("{long}Z: z\n\nGET / HTTP/1.1\n{OURS}\n"));
        assert_eq!(r.take_counts(), Counts { decorated: 1, unchanged: 1, refused: 0 });
        let mut r = rewriter(true);
        assert_eq!(passed(&mut r, &long), "");
        assert_eq!(r.verdict(), Some(BAD_REQUEST));
    }

    #[test]
    fn a_tunnel_is_left_alone() {
        let ask = "GET /chat HTTP/1.1\nUpgrade: x\n";
        let mut r = rewriter(false);
        assert_eq!(passed(&mut r, &format!("{ask}\n")), format!("{ask}{OURS}\n"));
        r.answered(b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello");
        assert_eq!((r.unseen(), r.unseen_of_answer()), (u64::MAX, u64::MAX));
        assert_eq!(passed(&mut r, &format!("{ask}\n")), format!("{ask}\n"));
        // The server has declined.
        let mut r = rewriter(true);
        passed(&mut r, &format!("{ask}\n"));
        r.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(passed(&mut r, &format!("{ask}\n")), format!("{ask}{OURS}\n"));
        let ask = "CONNECT a:80 HTTP/1.1\n";
        for strict in [false, true] {
            let mut r = rewriter(strict);
            assert_eq!(passed(&mut r, &format!("{ask}\n")), format!("{ask}{OURS}\n"));
            r.answered(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(passed(&mut r, &format!("{ask}\n")), format!("{ask}{OURS}\n"));
            r.answered(b"HTTP/1.1 200 Yes\r\n\r\n");
            assert_eq!(passed(&mut r, &format!("{ask}\n")), format!("{ask}\n"));
        }
        // What comes before the answer belongs to the tunnel, if there will be one.
        assert_eq!(passed(&mut rewriter(false), &format!("{ask}\n{ask}\n")), format!("{ask}{OURS}\n{ask}\n"));
        let mut r = rewriter(true);
        assert_eq!(passed(&mut r, &format!("{ask}\n{ask}\n")), format!("{ask}{OURS}\n"));
        assert_eq!(r.verdict(), Some(BAD_REQUEST));
    }

    #[test]
    fn the_refusal_of_a_request_follows_the_answers_to_those_before_it() {
        let mut r = rewriter(true);
        assert_eq!(
            passed(&mut r, "GET /a HTTP/1.1\n\nGET /b HTTP/1.1\nX : y\n\nGET"),
            format!("GET /a HTTP/1.1\n{OURS}\n")
        );
        assert_eq!(r.verdict(), None);
        assert_eq!(passed(&mut r, " /c HTTP/1.1\n\n"), "");
        r.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab");
        assert_eq!(r.verdict(), None);
        r.answered(b"c");
        assert_eq!(r.verdict(), Some(BAD_REQUEST));
        assert_eq!(r.take_counts(), Counts { decorated: 1, unchanged: 0, refused: 1 });
    }

    #[test]
    fn nothing_of_a_body_passes_behind_a_fault() {
        let head = "POST / HTTP/1.1\nTransfer-Encoding: chunked\n";
        let mut r = rewriter(true);
        assert_eq!(passed(&mut r, &format!("{head}\n1\na\n1 \nbad")), format!("{head}{OURS}\n1\na\n"));
        assert_eq!(r.verdict(), Some(BAD_REQUEST));
        let mut r = rewriter(true);
        passed(&mut r, &format!("{head}\n"));
        r.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        passed(&mut r, "x");
        assert_eq!(r.verdict(), None, "the line may still become a good one");
        passed(&mut r, "\n");
        assert_eq!(r.verdict(), Some(&b""[..]), "the client has its answer");
    }
}
