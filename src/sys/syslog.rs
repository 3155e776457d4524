//! Sends messages to syslogd(8) in the format of RFC 3164, through its local socket.
//!
//! The `syslog` crate knows the kinds of sockets. It connects once and for all, waits for as long as syslogd likes, and
//! tells the time in UTC; so connecting, deadlines and the heads of messages are made here.

use std::io::{self, BufWriter, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use syslog::{LoggerBackend, Severity};

use super::log::Level;

/// Where syslogd listens: on Linux, and on other systems. In a jail these are files of the jail.
const PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How long one message may wait for a syslogd that is busy: its queue holds but a few (unix(7), `max_dgram_qlen`).
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a syslogd that did not take a message is left alone.
pub const RETRY: Duration = Duration::from_secs(1);

/// The longest message (RFC 3164 section 4.1), in bytes.
const LONGEST: usize = 1024;

/// The way to syslogd. Where there is none, messages are not taken; it is looked for again and again.
#[expect(missing_debug_implementations, reason = "what it is made of has none")]
pub struct Syslog {
    /// The name of this program, as messages have it.
    program: &'static str,
    paths: Vec<PathBuf>,
    connection: Option<LoggerBackend>,
    /// It did not take the last message: not before this time again.
    resting: Option<Instant>,
}

impl Syslog {
    /// Connects to syslogd, if it is there.
    pub fn open(program: &'static str) -> Self {
        Self::at(program, PATHS.iter().map(PathBuf::from).collect())
    }

    fn at(program: &'static str, paths: Vec<PathBuf>) -> Self {
        let mut syslog = Self { program, paths, connection: None, resting: None };
        syslog.connection = syslog.connect();
        syslog
    }

    /// Sends one line, and tells whether it was taken: not without syslogd, and not by one that does not read. Takes half a
    /// second at most, and after a failure no time at all for a second. A line that is too long is cut.
    pub fn send(&mut self, facility: u8, level: Level, stamp: &str, line: &str) -> bool {
        if self.resting.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let taken = self.deliver(message(self.program, facility, level, stamp, line).as_bytes());
        self.resting = (!taken).then(|| Instant::now() + RETRY);
        taken
    }

    /// A syslogd that was restarted listens on another socket by the same name, so one failure is no failure.
    fn deliver(&mut self, message: &[u8]) -> bool {
        for _ in 0..2 {
            if self.connection.is_none() {
                self.connection = self.connect();
            }
            match self.connection.as_mut().map(|connection| connection.write_all(message)) {
                None => return false,
                Some(Ok(())) => return true,
                // It is there, but does not read.
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Some(Err(_)) => self.connection = None,
            }
        }
        false
    }

    fn connect(&self) -> Option<LoggerBackend> {
        self.paths.iter().find_map(|path| connect_to(path).ok())
    }
}

fn connect_to(path: &Path) -> io::Result<LoggerBackend> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match socket.connect(path) {
        Ok(()) => Ok(LoggerBackend::Unix(socket)),
        Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            // std would wait without limit for a listener whose queue is full.
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
            let path = SocketAddrUnix::new(path)?;
            retry_on_intr(|| connect(&socket, &path))?;
            Ok(LoggerBackend::UnixStream(BufWriter::new(UnixStream::from(socket))))
        }
        Err(error) => Err(error),
    }
}

/// The whole message. The process is asked for its number each time, so that it does not matter when it detached.
fn message(program: &str, facility: u8, level: Level, stamp: &str, line: &str) -> String {
    let severity = match level {
        Level::Debug => Severity::LOG_DEBUG,
        Level::Notice => Severity::LOG_NOTICE,
        Level::Warning => Severity::LOG_WARNING,
        Level::Error => Severity::LOG_ERR,
        Level::Alert => Severity::LOG_ALERT,
    };
    let mut message = format!("<{}>{stamp} {program}[{}]: {line}", facility * 8 + severity as u8, process::id());
    let mut end = LONGEST.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{bind, listen};
    use std::env;
    use std::fs;
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// A path for a socket of this test.
    fn path(name: &str) -> PathBuf {
        env::temp_dir().join(format!("pen-syslog-{name}-{}", process::id()))
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 2 * LONGEST];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_message_has_its_head_and_is_cut_between_two_characters() {
        let head = format!("<153>Nov  2 03:04:05 pen[{}]: ", process::id());
        assert_eq!(message("pen", 19, Level::Alert, "Nov  2 03:04:05", "a"), format!("{head}a"));
        for letter in ["a", "ä", "€"] {
            let cut = message("pen", 19, Level::Alert, "Nov  2 03:04:05", &letter.repeat(LONGEST));
            assert!(cut.len() <= LONGEST && cut.len() > LONGEST - letter.len() && cut.ends_with(letter), "{cut}");
        }
        assert!(message("pen", 23, Level::Debug, "", "").starts_with("<191>"));
    }

    #[test]
    fn a_syslogd_that_comes_late_goes_and_comes_back_is_found() {
        let path = path("restart");
        let mut syslog = Syslog::at("pen", vec![path.clone()]);
        assert!(!syslog.send(1, Level::Notice, "", "no syslogd"));
        let first = UnixDatagram::bind(&path).unwrap();
        assert!(!syslog.send(1, Level::Notice, "", "it is left alone for a second"));
        syslog.resting = None;
        assert!(syslog.send(1, Level::Notice, "", "one"));
        assert!(receive(&first).ends_with(": one"));
        drop(first);
        fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        assert!(syslog.send(1, Level::Notice, "", "two"), "at once, without a loss");
        assert!(receive(&second).ends_with(": two"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_syslogd_that_does_not_read_is_waited_for_once_a_second() {
        let path = path("stopped");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::at("pen", vec![path.clone()]);
        let mut sent = 0;
        while syslog.send(1, Level::Notice, "", "x") {
            sent += 1;
        }
        assert!(sent > 0);
        let start = Instant::now();
        for _ in 0..1000 {
            assert!(!syslog.send(1, Level::Notice, "", "y"));
        }
        assert!(start.elapsed() < PATIENCE);
        for _ in 0..sent {
            assert!(receive(&socket).ends_with(": x"));
        }
        syslog.resting = None;
        assert!(syslog.send(1, Level::Notice, "", "z"));
        assert!(receive(&socket).ends_with(": z"), "the connection was kept");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_stream_takes_messages_that_end_with_a_zero_byte() {
        let path = path("stream");
        let listener = UnixListener::bind(&path).unwrap();
        let mut syslog = Syslog::at("pen", vec![path.clone()]);
        let (mut stream, _) = listener.accept().unwrap();
        assert!(syslog.send(1, Level::Notice, "", "one") && syslog.send(1, Level::Notice, "", "two"));
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        drop(syslog);
        let text = reader.join().unwrap();
        let texts: Vec<_> = text.split_terminator('\0').map(|message| message.rsplit(": ").next()).collect();
        assert_eq!(texts, [Some("one"), Some("two")]);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_stream_without_a_reader_is_not_waited_for_either() {
        let path = path("mute");
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 1).unwrap();
        let mut syslog = Syslog::at("pen", vec![path.clone()]);
        while syslog.send(1, Level::Notice, "", &"x".repeat(LONGEST)) {}
        let mut waiting = Vec::new();
        let refused = loop {
            match connect_to(&path) {
                Ok(connection) => waiting.push(connection),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        fs::remove_file(&path).unwrap();
    }
}
