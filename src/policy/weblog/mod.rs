//! Records of requests: those of pen's request log and the lines that they make, and those of web servers' logs.

pub mod connection;
pub mod json;
pub mod matcher;
pub mod merge;
pub mod quoted;
pub mod record;
pub mod refusals;
pub mod stamp;
pub mod waiting;

use std::sync::Arc;

use super::settings::LogTarget;
use crate::endpoint::ClientAddr;

/// As much of a request as a line in a file has, in bytes: pen 0.34.1's measure, which mergelogs(1) knows.
const LONGEST_IN_FILE: usize = 100;

/// The longest datagram, in bytes: what penlogd(1) reads.
const LONGEST_DATAGRAM: usize = 1024;

/// The two ends of a session, as the log names them.
#[derive(Debug)]
pub struct Parties {
    /// Where the client comes from.
    pub client: ClientAddr,
    /// The address it was connected to, without the port.
    pub server: String,
}

/// A request that is to be logged.
#[derive(Debug)]
pub struct Record(Kind);

#[derive(Debug)]
enum Kind {
    /// pen has read it.
    Read {
        parties: Arc<Parties>,
        /// Seconds since 1970.
        time: u64,
        line: Box<[u8]>,
    },
    /// Its line is made, and has its end.
    Ready(Box<[u8]>),
}

impl Record {
    /// A request of which this is the first line, read at this time: seconds since 1970.
    pub fn new(parties: Arc<Parties>, time: u64, line: &[u8]) -> Self {
        Self(Kind::Read { parties, time, line: line.into() })
    }

    /// A request whose line was made elsewhere; it must have its end.
    pub fn ready(line: &[u8]) -> Self {
        Self(Kind::Ready(line.into()))
    }

    /// Adds the line that it makes in such a log. Whatever is not printable ASCII becomes a dot, so that nothing that a client
    /// sends commands a terminal or adds a line of its own.
    pub fn render(&self, target: &LogTarget, text: &mut Vec<u8>) {
        let (parties, time, line) = match &self.0 {
            Kind::Read { parties, time, line } => (parties, time, line),
            Kind::Ready(line) => return text.extend_from_slice(line),
        };
        let Parties { client, server } = &**parties;
        let (head, most) = match target {
            LogTarget::File(_) => (format!("{client} {time} {server} "), LONGEST_IN_FILE),
            LogTarget::Udp(..) => {
                let head = format!("+ {client} {server} ");
                let most = LONGEST_DATAGRAM.saturating_sub(head.len() + 1);
                (head, most)
            }
        };
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(&quoted::printable(&line[..line.len().min(most)]));
        text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn record(line: &[u8]) -> Record {
        let parties = Parties { client: ClientAddr::Local, server: String::from("192.0.2.1") };
        Record::new(Arc::new(parties), 7, line)
    }

    fn rendered(line: &[u8], target: &LogTarget) -> String {
        let mut text = Vec::new();
        record(line).render(target, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_are_pens_and_harmless() {
        let (file, udp) = (LogTarget::File(PathBuf::from("/x")), LogTarget::parse("a:1").unwrap());
        assert_eq!(rendered(b"GET / HTTP/1.1", &file), "local 7 192.0.2.1 GET / HTTP/1.1\n");
        assert_eq!(rendered(b"GET / HTTP/1.1", &udp), "+ local 192.0.2.1 GET / HTTP/1.1\n");
        assert_eq!(rendered(b"\x1b[2J\t\x7f\xc3\xa4~", &file), "local 7 192.0.2.1 .[2J....~\n");
        assert_eq!(rendered(&[b'x'; 1000], &file), format!("local 7 192.0.2.1 {}\n", "x".repeat(100)));
        assert_eq!(rendered(&[b'x'; 1010], &udp).len(), 1024);
    }
}
