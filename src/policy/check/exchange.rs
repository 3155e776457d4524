//! One check under way: which phase it is in, until when, and what the bytes that come mean.

use std::time::{Duration, Instant};

use super::dns;
use super::excerpt::Excerpt;
use super::finding::{Finding, Outcome, Wait};
use super::http::Answer;
use super::kind::Kind;
use super::pattern::{Compared, Pattern};

/// What a check does. Between two checks of a service it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It connects.
    Connect,
    /// It makes a TLS handshake.
    Handshake,
    /// It sends.
    Query,
    /// It receives.
    Receive,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This phase; perhaps the same again.
    Go(Phase),
    /// The check is over.
    Done(Outcome),
}

/// A check under way. It holds no bytes beyond an excerpt.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    phase: Phase,
    timeout: Duration,
    deadline: Instant,
    /// The number of a question to a name server.
    id: u16,
    /// The step of `expect`.
    step: u8,
    /// How much of the expected text the bytes so far end in.
    matched: u16,
    /// What has come in this step.
    seen: Excerpt,
    /// What has come of HTTP.
    answer: Answer,
}

impl Exchange {
    /// Begins to connect. The connection, with its TLS handshake, and then the answer may take `timeout` each. `id` must not be one that
    /// others can guess.
    pub fn begin(timeout: Duration, id: u16, now: Instant) -> Self {
        Self {
            phase: Phase::Connect,
            timeout,
            deadline: now + timeout,
            id,
            step: 0,
            matched: 0,
            seen: Excerpt::EMPTY,
            answer: Answer::default(),
        }
    }

    /// What it does.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When that must be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A connection was made.
    pub fn connected(&mut self, kind: &Kind, now: Instant) -> Next {
        if kind.needs_tls() {
            return self.go(Phase::Handshake);
        }
        self.deadline = now + self.timeout;
        match kind {
            Kind::Tcp => Next::Done(Outcome::success(Finding::Words("connected"))),
            _ => self.ask(kind),
        }
    }

    /// The TLS handshake is done.
    pub fn secured(&mut self, kind: &Kind, now: Instant) -> Next {
        self.deadline = now + self.timeout;
        match kind {
            Kind::Tls => Next::Done(Outcome::success(Finding::Words("the TLS handshake is done"))),
            _ => self.ask(kind),
        }
    }

    /// Appends what is to be sent. `service` is the service as it was written.
    pub fn query(&self, kind: &Kind, service: &str, query: &mut Vec<u8>) {
        match kind {
            Kind::Http(http) => http.request(service, query),
            Kind::Expect(steps) => {
                query.extend_from_slice(steps.get(usize::from(self.step)).map_or(&[], |step| &step.send));
            }
            Kind::Udp { send, .. } => query.extend_from_slice(send),
            Kind::Dns(name) => dns::question(name, self.id, query),
            _ => {}
        }
    }

    /// All of it was sent.
    pub fn sent(&mut self, kind: &Kind) -> Next {
        match kind {
            Kind::Expect(steps)
                if steps.get(usize::from(self.step)).is_some_and(|step| step.expect.bytes().is_empty()) =>
            {
                self.step += 1;
                self.ask(kind)
            }
            _ => self.go(Phase::Receive),
        }
    }

    /// These bytes have come, at least one; or a datagram, of any length.
    pub fn received(&mut self, kind: &Kind, bytes: &[u8]) -> Next {
        let outcome = match kind {
            Kind::Banner(text) => self.greeted(text, bytes),
            Kind::Http(http) => self.answer.read(http, bytes),
            Kind::Expect(_) => return self.expected(kind, bytes),
            Kind::Udp { expect, .. } => self.datagram(expect.as_ref(), bytes),
            Kind::Dns(name) => dns::answer(name, self.id, bytes),
            Kind::Tcp | Kind::Tls | Kind::Exec(_) | Kind::File { .. } => None,
        };
        outcome.map_or(Next::Go(Phase::Receive), Next::Done)
    }

    /// The connection has ended.
    pub fn ended(&self, kind: &Kind) -> Outcome {
        match kind {
            Kind::Http(_) => self.answer.end(),
            _ if self.seen.is_empty() => Outcome::failure(Finding::Words("closed before an answer")),
            Kind::Banner(_) => Outcome::failure(Finding::Banner(self.seen)),
            _ => Outcome::failure(Finding::Answer(self.step, self.seen, None)),
        }
    }

    /// The deadline has come.
    pub fn timed_out(&self, kind: &Kind) -> Outcome {
        let wait = match self.phase {
            Phase::Connect => Wait::Connect,
            Phase::Handshake => Wait::Handshake,
            // Nothing was to come but a refusal.
            Phase::Receive if matches!(kind, Kind::Udp { expect: None, .. }) => {
                return Outcome::success(Finding::Words("not refused"));
            }
            _ if !self.seen.is_empty() => {
                return Outcome::failure(Finding::Answer(self.step, self.seen, Some(self.timeout)));
            }
            _ => Wait::Answer,
        };
        Outcome::timed_out(wait, self.timeout)
    }

    fn go(&mut self, phase: Phase) -> Next {
        self.phase = phase;
        Next::Go(phase)
    }

    /// Asks, or listens first.
    fn ask(&mut self, kind: &Kind) -> Next {
        match kind {
            Kind::Banner(_) => self.go(Phase::Receive),
            Kind::Expect(steps) => {
                (self.matched, self.seen) = (0, Excerpt::EMPTY);
                for step in &steps[usize::from(self.step).min(steps.len())..] {
                    match (step.send.is_empty(), step.expect.bytes().is_empty()) {
                        (false, _) => return self.go(Phase::Query),
                        (true, false) => return self.go(Phase::Receive),
                        (true, true) => self.step += 1,
                    }
                }
                Next::Done(Outcome::success(Finding::Words("answers as expected")))
            }
            _ => self.go(Phase::Query),
        }
    }

    fn greeted(&mut self, text: &Pattern, bytes: &[u8]) -> Option<Outcome> {
        self.seen.extend(bytes);
        match text.compare(&mut self.matched, bytes) {
            Compared::Equal => Some(Outcome::success(Finding::Banner(self.seen))),
            Compared::Begun => None,
            Compared::Different => Some(Outcome::failure(Finding::Banner(self.seen))),
        }
    }

    fn expected(&mut self, kind: &Kind, mut bytes: &[u8]) -> Next {
        let Kind::Expect(steps) = kind else { return Next::Go(Phase::Receive) };
        while let Some(step) = steps.get(usize::from(self.step)) {
            self.seen.extend(bytes);
            let Some(taken) = step.expect.search(&mut self.matched, bytes) else { return Next::Go(Phase::Receive) };
            bytes = &bytes[taken..];
            self.step += 1;
            // What came before the next query is no answer to it.
            let next = self.ask(kind);
            if next != Next::Go(Phase::Receive) || bytes.is_empty() {
                return next;
            }
        }
        self.ask(kind)
    }

    fn datagram(&mut self, expect: Option<&Pattern>, bytes: &[u8]) -> Option<Outcome> {
        let found = expect.is_none_or(|text| text.search(&mut 0, bytes).is_some());
        if found {
            return Some(Outcome::success(Finding::Words("answered")));
        }
        self.seen = Excerpt::new(bytes);
        None
    }
}
