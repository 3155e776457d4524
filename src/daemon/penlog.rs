//! penlog: passes the lines that a web server writes on to penlogd.
//!
//! A web server that writes into a pipe waits while the pipe is full, and some end with the program that reads it. So penlog always
//! reads on, whatever becomes of the lines.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, read};
use rustix::stdio::stdin;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::signals;
use crate::endpoint::{Address, Endpoint};
use crate::error::{Error, reason};
use crate::net::log_sender::LogSender;
use crate::net::resolve::Names;
use crate::policy::plural::counted;
use crate::sys::poll::poll;

/// How much is read at once, in bytes: what a pipe holds by default (pipe(7)).
const BLOCK: usize = 64 * 1024;

/// The longest line that is kept until its end has come, in bytes: no more of a line fits into a datagram.
const LONGEST: usize = 64 * 1024;

/// How often it is told how many lines were lost.
const REMIND: Duration = Duration::from_secs(60);

/// How long TERM waits for what the web server has written already.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// Where penlogd is.
    pub server: Endpoint,
    /// The address to send from.
    pub source: Option<IpAddr>,
}

/// To be called first of all. HUP, which is meant for the web server, does not end penlog.
pub fn begin() {
    signals::hold_requests();
}

/// Passes lines on until the input ends or a signal comes. `warn` is told what was lost.
pub fn run(options: &Options, warn: &dyn Fn(&str)) -> Result<(), Error> {
    let addresses = Names::default().listener(&options.server)?.into_iter().filter_map(|address| match address {
        Address::Ip(address) => Some(address),
        Address::Unix(_) => None,
    });
    let addresses: Vec<SocketAddr> = addresses.collect();
    let failed = |error| Error::System(format!("cannot send to {}", options.server), error);
    let sender = LogSender::new(addresses, options.source).map_err(failed)?;
    let (stop, wakes) = UnixStream::pair().map_err(failed)?;
    for signal in [SIGTERM, SIGINT] {
        wakes.try_clone().and_then(|wakes| pipe::register(signal, wakes)).map_err(failed)?;
    }
    let mut relay = LineRelay { sender, line: Vec::new(), server: options.server.to_string(), told: None, warn };
    let outcome = relay.run(&stop);
    relay.sender.finish();
    relay.tell(None);
    outcome
}

struct LineRelay<'a> {
    sender: LogSender,
    /// The line that is under way.
    line: Vec<u8>,
    server: String,
    /// When losses were told last.
    told: Option<Instant>,
    warn: &'a dyn Fn(&str),
}

impl LineRelay<'_> {
    fn run(&mut self, stop: &UnixStream) -> Result<(), Error> {
        let failed = |error: Errno| Error::System(String::from("Can't read standard input"), error.into());
        let mut block = vec![0; BLOCK];
        let mut end: Option<Instant> = None;
        loop {
            let (readable, stopped) = wait(stop, self.time_left(end)).map_err(failed)?;
            if stopped {
                end = end.or(Some(Instant::now() + FINISH_TIME));
            }
            if end.is_some_and(|end| !readable || Instant::now() > end) {
                return Ok(());
            }
            self.tell(Some(REMIND));
            if !readable {
                continue;
            }
            match read(stdin(), &mut block) {
                Ok(0) => {
                    if !self.line.is_empty() {
                        self.take(b"\n");
                    }
                    return Ok(());
                }
                Ok(count) => block[..count].split_inclusive(|byte| *byte == b'\n').for_each(|part| self.take(part)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// How long to wait for the input: once it is to end, not at all.
    fn time_left(&self, end: Option<Instant>) -> Option<Duration> {
        if end.is_some() {
            return Some(Duration::ZERO);
        }
        let told = self.told.filter(|_| self.sender.has_lost());
        told.map(|told| (told + REMIND).saturating_duration_since(Instant::now()))
    }

    /// Takes a line, or a part of one.
    fn take(&mut self, part: &[u8]) {
        let is_whole = part.last() == Some(&b'\n');
        if self.line.is_empty() && is_whole {
            return self.pass(part);
        }
        let room = LONGEST.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        if is_whole {
            if self.line.last() != Some(&b'\n') {
                self.line.push(b'\n');
            }
            let line = std::mem::take(&mut self.line);
            self.pass(&line);
        }
    }

    fn pass(&mut self, line: &[u8]) {
        if line != b"\n" {
            self.sender.send(line);
        }
    }

    /// Tells how many lines were lost, if any were: at once, and then not before that time has passed.
    fn tell(&mut self, pause: Option<Duration>) {
        let is_early = self.told.zip(pause).is_some_and(|(told, pause)| told.elapsed() < pause);
        if !self.sender.has_lost() || is_early {
            return;
        }
        let lost = self.sender.take_lost();
        let cause = lost.cause.as_ref().map_or_else(String::new, |cause: &io::Error| format!(": {}", reason(cause)));
        let lines = counted(lost.lines, "line", "lines");
        (self.warn)(&format!("{lines} lost on the way to {}{cause}", self.server));
        self.told = Some(Instant::now());
    }
}

/// Waits for the standard input, or for a signal, for so long. Returns whether each has come.
fn wait(stop: &UnixStream, time: Option<Duration>) -> Result<(bool, bool), Errno> {
    let input = stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    match poll(&mut polled, time) {
        Ok(_) | Err(Errno::INTR) => Ok((!polled[0].revents().is_empty(), !polled[1].revents().is_empty())),
        Err(error) => Err(error),
    }
}
