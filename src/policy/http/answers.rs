//! Follows the answers of a server, to learn when a connection stops being HTTP: at a 101, and when a CONNECT succeeds.

use std::collections::VecDeque;

use super::framing::{Found, Framing};

/// The most requests that wait for their answers and are remembered. Clients that pipeline send some tens; with more than these the
/// answers are not followed any more.
const MOST_WAITING: usize = 1000;

/// What matters of a request to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    Any,
    /// HEAD: the answer has no body.
    Head,
    /// CONNECT: after a success the connection is a tunnel.
    Connect,
}

impl Asked {
    /// By the first line of a request.
    pub(super) fn by(line: &[u8]) -> Self {
        match line {
            line if line.starts_with(b"HEAD ") => Self::Head,
            line if line.starts_with(b"CONNECT ") => Self::Connect,
            _ => Self::Any,
        }
    }
}

/// What an answer has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// From now on the connection is not HTTP.
    Tunnel,
    /// A CONNECT was declined.
    Declined,
}

/// The state of one server's answers.
#[derive(Debug)]
pub(super) struct Answers {
    framing: Framing,
    /// The requests that wait for their answers.
    waiting: VecDeque<Asked>,
    status: u16,
}

impl Default for Answers {
    fn default() -> Self {
        Self { framing: Framing::of_answers(), waiting: VecDeque::new(), status: 0 }
    }
}

impl Answers {
    /// A request has been passed on.
    pub(super) fn expect(&mut self, asked: Asked) {
        if self.is_lost() {
            return;
        }
        if self.waiting.len() == MOST_WAITING {
            return self.give_up();
        }
        self.waiting.push_back(asked);
    }

    /// Takes what the server has sent.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Option<Turn> {
        let mut turn = None;
        while !bytes.is_empty() && !self.is_lost() {
            let (count, found) = self.framing.step(bytes);
            bytes = &bytes[count..];
            match found {
                Found::StatusLine(status) => {
                    self.status = status;
                    match (self.waiting.front(), status) {
                        // It answers no request. It is likely to be the last answer of this server.
                        (None, _) => self.give_up(),
                        (Some(Asked::Head), _) | (Some(Asked::Connect), 200..300) => self.framing.without_body(),
                        _ => {}
                    }
                }
                Found::Head => match (self.status, self.waiting.front()) {
                    (101, _) | (200..300, Some(Asked::Connect)) => {
                        self.give_up();
                        return Some(Turn::Tunnel);
                    }
                    (100..200, _) => {}
                    (_, asked) => {
                        if asked == Some(&Asked::Connect) {
                            turn = Some(Turn::Declined);
                        }
                        self.waiting.pop_front();
                    }
                },
                _ => {}
            }
        }
        turn
    }

    /// How many requests wait for the head of their answer. `None`: that is not known.
    pub(super) fn waiting(&self) -> Option<usize> {
        (!self.is_lost()).then_some(self.waiting.len())
    }

    /// Whether an answer has begun and not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.framing.is_between()
    }

    /// See [`Framing::unseen`].
    pub(super) fn unseen(&self) -> u64 {
        self.framing.unseen()
    }

    /// See [`Framing::skip`].
    pub(super) fn skip(&mut self, count: u64) {
        self.framing.skip(count);
    }

    /// The answers are not followed any more.
    pub(super) fn give_up(&mut self) {
        self.framing.give_up();
        self.waiting = VecDeque::new();
    }

    /// Whether the answers are not followed any more.
    pub(super) fn is_lost(&self) -> bool {
        self.framing.is_lost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the last answer brings, and how many requests still wait.
    fn after(asked: &[Asked], stream: &str) -> (Option<Turn>, Option<usize>) {
        let stream = stream.replace('\n', "\r\n");
        let both = [stream.as_bytes().chunks(1).collect::<Vec<_>>(), vec![stream.as_bytes()]].map(|reads| {
            let mut answers = Answers::default();
            asked.iter().for_each(|asked| answers.expect(*asked));
            let turns: Vec<_> = reads.into_iter().filter_map(|read| answers.feed(read)).collect();
            (turns.last().copied(), answers.waiting())
        });
        assert_eq!(both[0], both[1], "{stream}");
        both[0]
    }

    #[test]
    fn each_answer_is_that_of_one_request() {
        use Asked::{Any, Head};
        let two = "HTTP/1.1 200 OK\nContent-Length: 3\n\nabcHTTP/1.1 404 Not Found\nTransfer-Encoding: chunked\n\n";
        assert_eq!(after(&[Any; 3], two), (None, Some(1)));
        assert_eq!(after(&[Head, Any], "HTTP/1.1 200 OK\nContent-Length: 3\n\nHTTP/1.0 204\n\n"), (None, Some(0)));
        let interim = "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: x\n\nHTTP/1.1 304 Not Modified\n";
        assert_eq!(after(&[Any; 2], &format!("{interim}Content-Length: 9\n\n")), (None, Some(1)));
        assert_eq!(after(&[Any], "HTTP/1.1 413 Too Large\nContent-Length: 0\n\n"), (None, Some(0)));
    }

    #[test]
    fn a_tunnel_begins_behind_the_head() {
        use Asked::{Any, Connect};
        let upgrade = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n\nHTTP/1.1 200 OK\n\n";
        assert_eq!(after(&[Any; 2], upgrade), (Some(Turn::Tunnel), None));
        assert_eq!(after(&[Connect], "HTTP/1.1 200 OK\nContent-Length: 3\n\nabcdef"), (Some(Turn::Tunnel), None));
        let declined = "HTTP/1.1 405 Not Allowed\nContent-Length: 0\n\n";
        assert_eq!(after(&[Connect], declined), (Some(Turn::Declined), Some(0)));
        let body = "HTTP/1.1 200 OK\nContent-Length: 40\n\nHTTP/1.1 101 Switching Protocols\n\n\n\n";
        assert_eq!(after(&[Any], body), (None, Some(0)));
    }

    #[test]
    fn what_cannot_be_followed_is_not() {
        use Asked::Any;
        assert_eq!(after(&[], "HTTP/1.1 408 Request Timeout\n\n"), (None, None));
        assert_eq!(after(&[Any], "220 ready\n"), (None, None));
        assert_eq!(after(&[Any], "HTTP/1.1 200 OK\n\nuntil the end"), (None, None));
        assert_eq!(after(&[Any; MOST_WAITING], ""), (None, Some(MOST_WAITING)));
        assert_eq!(after(&[Any; MOST_WAITING + 1], ""), (None, None));
    }
}
