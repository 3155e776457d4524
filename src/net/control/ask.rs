//! penctl's end of the control port.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::{ENQUIRY, Verdict};
use crate::endpoint::Address;
use crate::error::reason;
use crate::net::connect::{ConnectOptions, connect_any};
use crate::net::timed::recv_until;

/// What one command may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long connecting, sending and the reply may take together.
    pub time: Duration,
    /// How many bytes the reply may have.
    pub bytes: u64,
}

/// Why there is no complete reply. The `Display` form is the message for the user.
#[derive(Debug)]
pub enum AskError {
    /// The connection was not possible, or was lost.
    Lost(io::Error),
    /// The time is over.
    Late(Duration),
    /// The reply has more than this number of bytes.
    Large(u64),
    /// The connection has ended before the end of the reply.
    Cut,
    /// The reply cannot be written.
    Output(io::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(cause) => write!(f, "error connecting to server: {}", reason(cause)),
            Self::Late(time) => write!(f, "no complete reply within {} s", time.as_secs_f64()),
            Self::Large(bytes) => write!(f, "the reply is longer than {bytes} bytes"),
            Self::Cut => f.write_str("the reply was cut short: pen has ended the connection"),
            Self::Output(cause) => write!(f, "standard output: {}", reason(cause)),
        }
    }
}

impl From<Errno> for AskError {
    fn from(error: Errno) -> Self {
        Self::Lost(error.into())
    }
}

/// Sends one command to the first address that can be reached, and writes the reply to `out` as it comes. If `out` has no reader any
/// more, the rest of the reply is dropped. A pen that gives no verdict, such as pen 0.34.1, has accepted.
pub fn ask(addresses: &[Address], command: &str, limits: Limits, out: &mut dyn Write) -> Result<Verdict, AskError> {
    let deadline = Deadline::after(limits.time);
    let mut request = [command.as_bytes(), b"\n"].concat();
    request.extend([ENQUIRY, b"\n"].concat());
    let connection = Connection::open(addresses, &request, deadline)?;
    let mut reply = Output { out, is_closed: false };
    let mut left = limits.bytes;
    // The verdict is the last byte of all.
    let mut last = None;
    let mut part = [0; 16 * 1024];
    loop {
        let count = connection.read(&mut part)?;
        let Some((newest, others)) = part[..count].split_last() else { break };
        left = left.checked_sub(others.len() as u64 + 1).ok_or(AskError::Large(limits.bytes))?;
        if let Some(byte) = last.replace(*newest) {
            reply.write(&[byte])?;
        }
        reply.write(others)?;
    }
    if let Some(verdict) = last.and_then(Verdict::from_byte) {
        reply.flush()?;
        return Ok(verdict);
    }
    reply.write(last.as_slice())?;
    reply.flush()?;
    // pen 0.34.1 gives no verdict; this pen always does, unless it was interrupted. After `exit` pen 0.34.1 cannot be asked.
    if command.trim() != "exit" && gives_verdicts(addresses, deadline)? {
        return Err(AskError::Cut);
    }
    Ok(Verdict::Accepted)
}

/// Sends a command whose reply has no end before this program's, such as `watch`, and writes what comes as it comes. The verdict of a
/// pen that refuses it, or has ended.
pub fn follow(addresses: &[Address], command: &str, time: Duration, out: &mut dyn Write) -> Result<Verdict, AskError> {
    let deadline = Deadline::after(time);
    let request = [command.as_bytes(), b"\n", ENQUIRY, b"\n"].concat();
    let connection = Connection::open_both_ways(addresses, &request, deadline)?;
    let mut reply = Output { out, is_closed: false };
    let mut part = [0; 16 * 1024];
    loop {
        let count = match recv(&connection.socket, &mut part, RecvFlags::empty()) {
            Ok((count, _)) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some((last, others)) = part[..count].split_last() else { return Err(AskError::Cut) };
        if let Some(verdict) = Verdict::from_byte(*last) {
            reply.write(others)?;
            reply.flush()?;
            return Ok(verdict);
        }
        reply.write(&part[..count])?;
        reply.flush()?;
        if reply.is_closed {
            return Ok(Verdict::Accepted);
        }
    }
}

/// Whether a verdict is the answer to an enquiry.
fn gives_verdicts(addresses: &[Address], deadline: Deadline) -> Result<bool, AskError> {
    let connection = Connection::open(addresses, &[ENQUIRY, b"\n"].concat(), deadline)?;
    let mut answer = [0];
    let count = connection.read(&mut answer)?;
    Ok(count == 1 && Verdict::from_byte(answer[0]).is_some())
}

/// Until when, and how long that was at first.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    time: Duration,
    end: Instant,
}

impl Deadline {
    fn after(time: Duration) -> Self {
        Self { time, end: Instant::now() + time }
    }

    fn left(self) -> Result<Duration, AskError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.missed()) } else { Ok(left.max(Duration::from_millis(1))) }
    }

    fn missed(self) -> AskError {
        AskError::Late(self.time)
    }
}

/// A connection on which everything was sent.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    deadline: Deadline,
}

impl Connection {
    fn open(addresses: &[Address], request: &[u8], deadline: Deadline) -> Result<Self, AskError> {
        let connection = Self::open_both_ways(addresses, request, deadline)?;
        shutdown(&connection.socket, Shutdown::Write)?;
        Ok(connection)
    }

    /// Connects and sends; more could be sent.
    fn open_both_ways(addresses: &[Address], request: &[u8], deadline: Deadline) -> Result<Self, AskError> {
        let options = ConnectOptions::within(deadline.left()?);
        let socket = connect_any(addresses, &options, None).map_err(AskError::Lost)?;
        let mut rest = request;
        while !rest.is_empty() {
            set_socket_timeout(&socket, Timeout::Send, Some(deadline.left()?))?;
            match send(&socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(deadline.missed()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { socket, deadline })
    }

    /// Reads a part; 0 is the end.
    fn read(&self, part: &mut [u8]) -> Result<usize, AskError> {
        recv_until(&self.socket, part, self.deadline.end).map_err(|error| match error {
            Errno::TIMEDOUT => self.deadline.missed(),
            error => error.into(),
        })
    }
}

/// Where the reply goes.
struct Output<'a> {
    out: &'a mut dyn Write,
    is_closed: bool,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), AskError> {
        if self.is_closed {
            return Ok(());
        }
        let written = self.out.write_all(bytes);
        self.judge(written)
    }

    fn flush(&mut self) -> Result<(), AskError> {
        let written = self.out.flush();
        self.judge(written)
    }

    /// A reader that has left is not an error.
    fn judge(&mut self, written: io::Result<()>) -> Result<(), AskError> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.is_closed = true,
            written => written.map_err(AskError::Output)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    /// Asks a pen that sends this, with room for a reply of 8 bytes. Returns what was printed, too.
    fn reply_of(bytes: &'static [u8]) -> (Result<Verdict, String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        let pen = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
            client.write_all(bytes).unwrap();
        });
        let limits = Limits { time: Duration::from_secs(20), bytes: 8 };
        let mut printed = Vec::new();
        let verdict = ask(&[address], "pid", limits, &mut printed).map_err(|error| error.to_string());
        pen.join().unwrap();
        (verdict, printed)
    }

    #[test]
    fn the_verdict_is_the_last_byte_and_not_printed() {
        assert_eq!(reply_of(b"\x06"), (Ok(Verdict::Accepted), b"".to_vec()));
        assert_eq!(reply_of(b"1234\n\x15"), (Ok(Verdict::Refused), b"1234\n".to_vec()));
    }

    #[test]
    fn a_reply_that_is_too_long_is_an_error() {
        assert_eq!(reply_of(b"123456\n\x06").0, Ok(Verdict::Accepted));
        assert_eq!(reply_of(b"1234567\n\x06").0, Err(String::from("the reply is longer than 8 bytes")));
    }
}
