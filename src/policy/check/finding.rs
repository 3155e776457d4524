//! What a check has found, in words.

use std::fmt;
use std::time::Duration;

use super::excerpt::Excerpt;
use super::kind::Kind;
use super::quoting::Quoted;

/// What one check has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it has succeeded.
    pub succeeded: bool,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This.
    Words(&'static str),
    /// A text that is not known beforehand, such as an error of TLS.
    Text(Excerpt),
    /// What was waited for, and for how long.
    TimedOut(Wait, Duration),
    /// An HTTP status with its phrase.
    Status(u16, Excerpt),
    /// The text of `body` is not in the body.
    NoBody,
    /// A greeting. Whether it is the right one is the success of the check.
    Banner(Excerpt),
    /// An answer, to the step of that number, that lacks what was expected; and how long more of it was waited for, if it was.
    Answer(u8, Excerpt, Option<Duration>),
    /// The answer code of a name server.
    Rcode(u8),
    /// How many records a name server has answered with.
    Records(u16),
    /// The exit status of a program.
    Exit(i32),
    /// The signal that has ended a program.
    Signal(i32),
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A connection.
    Connect,
    /// A TLS handshake.
    Handshake,
    /// An answer.
    Answer,
    /// A program.
    Program,
}

impl Outcome {
    /// A success.
    pub fn success(finding: Finding) -> Self {
        Self { succeeded: true, finding }
    }

    /// A failure.
    pub fn failure(finding: Finding) -> Self {
        Self { succeeded: false, finding }
    }

    /// Nothing was found in that time.
    pub fn timed_out(wait: Wait, time: Duration) -> Self {
        Self::failure(Finding::TimedOut(wait, time))
    }

    /// In words: `http: 503 Service Unavailable`.
    pub fn words<'a>(&'a self, kind: &'a Kind) -> impl fmt::Display {
        Told { outcome: self, kind }
    }

    /// The same without the kind: `503 Service Unavailable`.
    pub fn reason<'a>(&'a self, kind: &'a Kind) -> impl fmt::Display {
        Reason(Told { outcome: self, kind })
    }
}

#[derive(Clone, Copy)]
struct Told<'a> {
    outcome: &'a Outcome,
    kind: &'a Kind,
}

struct Reason<'a>(Told<'a>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), Reason(*self))
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { outcome, kind } = self.0;
        match &outcome.finding {
            Finding::Words(words) => f.write_str(words),
            Finding::Text(text) => text.fmt(f),
            Finding::TimedOut(wait, time) => {
                let what = match wait {
                    Wait::Connect => "",
                    Wait::Handshake => "the TLS handshake ",
                    Wait::Answer => "the answer ",
                    Wait::Program => "the program ",
                };
                write!(f, "{what}timed out after {}", Seconds(*time))
            }
            Finding::Status(status, phrase) if phrase.is_empty() => status.fmt(f),
            Finding::Status(status, phrase) => write!(f, "{status} {phrase}"),
            Finding::NoBody => write!(f, "the body does not contain {}", Quoted(kind.expected(0))),
            Finding::Banner(banner) if outcome.succeeded => write!(f, "banner \"{banner}\""),
            Finding::Banner(banner) => write!(f, "banner \"{banner}\" instead of {}", Quoted(kind.expected(0))),
            Finding::Answer(step, answer, wait) => {
                write!(f, "answer \"{answer}\" instead of {}", Quoted(kind.expected(usize::from(*step))))?;
                wait.map_or(Ok(()), |time| write!(f, ", timed out after {}", Seconds(time)))
            }
            Finding::Rcode(code) => match RCODES.get(usize::from(*code)) {
                Some(name) => f.write_str(name),
                None => write!(f, "answer code {code}"),
            },
            Finding::Records(0) => f.write_str("no address in the answer"),
            Finding::Records(1) => f.write_str("1 record"),
            Finding::Records(count) => write!(f, "{count} records"),
            Finding::Exit(status) => write!(f, "exit status {status}"),
            Finding::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// The answer codes of name servers (RFC 1035 section 4.1.1).
const RCODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/// A time in seconds, without zeros that say nothing: `3 s`, `0.25 s`.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, outcome: Outcome) -> String {
        outcome.words(&Kind::parse(kind).unwrap()).to_string()
    }

    #[test]
    fn findings_are_told_in_words() {
        let three = Duration::from_secs(3);
        let excerpt = |text: &str| Excerpt::new(text.as_bytes());
        let failure = Outcome::failure;
        for (kind, outcome, words) in [
            ("tcp", failure(Finding::Words("connection refused")), "tcp: connection refused"),
            ("tcp", Outcome::timed_out(Wait::Connect, three), "tcp: timed out after 3 s"),
            ("http", Outcome::timed_out(Wait::Answer, three / 2), "http: the answer timed out after 1.5 s"),
            ("http", failure(Finding::Status(404, excerpt("Not Found"))), "http: 404 Not Found"),
            ("http", failure(Finding::Status(404, Excerpt::EMPTY)), "http: 404"),
            ("http body \"a b\"", failure(Finding::NoBody), "http: the body does not contain \"a b\""),
            ("banner 220", failure(Finding::Banner(excerpt("554 no"))), "banner: banner \"554 no\" instead of \"220\""),
            ("banner", Outcome::success(Finding::Banner(excerpt("220 a"))), "banner: banner \"220 a\""),
            (
                "expect \"\" 220 \"QUIT\\r\\n\" 221",
                failure(Finding::Answer(1, excerpt("500"), Some(three))),
                "expect: answer \"500\" instead of \"221\", timed out after 3 s",
            ),
            ("dns a", failure(Finding::Rcode(3)), "dns: NXDOMAIN"),
            ("dns a", failure(Finding::Rcode(9)), "dns: answer code 9"),
            ("dns a", failure(Finding::Records(0)), "dns: no address in the answer"),
            ("dns a", Outcome::success(Finding::Records(1)), "dns: 1 record"),
            ("exec /a", failure(Finding::Exit(2)), "exec: exit status 2"),
            ("exec /a", failure(Finding::Signal(9)), "exec: ended by signal 9"),
            ("exec /a", Outcome::timed_out(Wait::Program, three), "exec: the program timed out after 3 s"),
        ] {
            assert_eq!(told(kind, outcome), words);
        }
    }
}
