//! The thread that receives lines and puts clients into them.

use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::daemon::access_log::AccessLog;
use crate::daemon::complaints::Complaints;
use crate::daemon::events::Event;
use crate::daemon::mailbox::Handle;
use crate::daemon::thread::{self, STACK};
use crate::error::{Error, reason};
use crate::net::log_port::{LARGEST, LogPort};
use crate::policy::acl::Net;
use crate::policy::plural::counted;
use crate::policy::weblog::Record;
use crate::policy::weblog::matcher::{Limits, Matcher};
use crate::policy::weblog::quoted::{dot_controls, printable};
use crate::policy::weblog::record::{Fields, PenLine, WebLine};
use crate::sys::log::Log;

/// Datagrams that are taken in a row before those who wait are looked after.
const TURN: usize = 64;

/// How long the end waits for lines that were sent and not received yet.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// How long a port that cannot be read is left alone.
const AGAIN: Duration = Duration::from_millis(100);

/// So much of a line is told in a message, in bytes.
const TOLD: usize = 200;

/// What is received, and how.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) limits: Limits,
    /// Who may send. Empty: everyone.
    pub(super) senders: Vec<Net>,
    pub(super) fields: Fields,
}

/// What has come so far, for reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    pens: u64,
    webs: u64,
    matched: u64,
    unmatched: u64,
    unused: u64,
    unreadable: u64,
    refused: u64,
    dropped: u64,
    waiting: (usize, usize),
}

/// The end of the thread.
#[derive(Debug)]
pub(super) struct Finished(crossbeam_channel::Receiver<()>);

impl Finished {
    /// Waits until all that came was handed to the log, but not for long.
    pub(super) fn wait(self) {
        // It is disconnected when the thread has ended.
        let _ = self.0.recv_timeout(2 * FINISH_TIME);
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Receiver {
    port: LogPort,
    rules: Rules,
    matcher: Matcher,
    access_log: AccessLog,
    log: Log,
    tally: Tally,
    /// Of this turn.
    counts: Counts,
    unreadable: Complaints,
    refused: Complaints,
    dropped: Complaints,
    /// Lines that are complete.
    text: Vec<u8>,
}

impl Receiver {
    pub(super) fn new(port: LogPort, rules: Rules, access_log: AccessLog, log: Log, tally: Tally) -> Self {
        let complaints = |about| Complaints::new(log.clone(), about);
        Self {
            port,
            matcher: Matcher::new(rules.limits),
            rules,
            access_log,
            tally,
            counts: Counts::default(),
            unreadable: complaints("unreadable line: "),
            refused: complaints("refused: "),
            dropped: complaints("lost: "),
            log,
            text: Vec::new(),
        }
    }

    /// Starts the thread.
    pub(super) fn start(mut self, events: &Handle<Event>) -> Result<Finished, Error> {
        let (ends, end) = bounded(0);
        thread::start("receiver", STACK, events, move || {
            let _ends: Sender<()> = ends;
            self.run();
        })?;
        Ok(Finished(end))
    }

    fn run(&mut self) {
        let mut datagram = vec![0; LARGEST];
        loop {
            match self.port.wait(self.matcher.deadline()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.complain(&error),
            }
            self.turn(&mut datagram);
        }
        let end = Instant::now() + FINISH_TIME;
        while self.turn(&mut datagram) && Instant::now() < end {}
        self.matcher.finish(&mut self.text);
        self.hand_over();
    }

    /// Takes some datagrams. Returns whether there may be more.
    fn turn(&mut self, datagram: &mut [u8]) -> bool {
        let now = Instant::now();
        let mut is_over = false;
        for _ in 0..TURN {
            match self.port.receive(datagram) {
                Ok(Some(found)) => {
                    if found.dropped > 0 {
                        self.counts.dropped += u64::from(found.dropped);
                        let datagrams = counted(found.dropped, "datagram", "datagrams");
                        self.dropped.tell(format_args!("{datagrams} that came faster than they could be taken"), now);
                    }
                    self.take(&mut datagram[..found.length], found.source, now);
                }
                Ok(None) => {
                    is_over = true;
                    break;
                }
                Err(error) => {
                    self.complain(&error);
                    break;
                }
            }
        }
        self.matcher.expire(now, &mut self.text);
        self.hand_over();
        !is_over
    }

    fn complain(&self, error: &io::Error) {
        self.dropped.tell(format_args!("the port cannot be read: {}", reason(error)), Instant::now());
        std::thread::park_timeout(AGAIN);
    }

    /// Takes the lines of a datagram.
    fn take(&mut self, datagram: &mut [u8], source: IpAddr, now: Instant) {
        if !self.rules.senders.is_empty() && !self.rules.senders.iter().any(|net| net.contains(source)) {
            self.counts.refused += 1;
            return self.refused.tell(format_args!("{source} may not send lines"), now);
        }
        for line in datagram.split_mut(|byte| *byte == b'\n') {
            let line = content(line);
            if line.is_empty() {
                continue;
            }
            self.log.debug(1, || format!("{source}: {}", told(line)));
            if let Some(found) = PenLine::parse_datagram(line) {
                self.counts.pens += 1;
                self.matcher.pen(now, found, &mut self.text);
            } else if let Some(found) = WebLine::parse(line, &self.rules.fields).filter(|_| !line.starts_with(b"+ ")) {
                self.counts.webs += 1;
                self.matcher.web(now, source, found, &mut self.text);
            } else {
                self.counts.unreadable += 1;
                self.unreadable.tell(format_args!("{source}: {}", told(line)), now);
            }
        }
    }

    /// Gives what is complete to the log, and makes the counts known.
    fn hand_over(&mut self) {
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            self.access_log.record(Record::ready(line));
        }
        self.text.clear();
        let found = self.matcher.take_counts();
        let new = std::mem::take(&mut self.counts);
        let mut all = self.tally.lock();
        all.pens += new.pens;
        all.webs += new.webs;
        all.matched += found.matched;
        all.unmatched += found.unmatched;
        all.unused += found.unused;
        all.unreadable += new.unreadable;
        all.refused += new.refused;
        all.dropped += new.dropped;
        all.waiting = self.matcher.waiting();
    }
}

impl Tally {
    /// A line about it.
    pub(super) fn text(&self) -> String {
        let Counts { pens, webs, matched, unmatched, unused, unreadable, refused, dropped, waiting } = *self.lock();
        let (pens, webs) = (counted(pens, "line", "lines"), counted(webs, "line", "lines"));
        let unreadable = counted(unreadable, "unreadable line", "unreadable lines");
        let mut text =
            format!("{webs} of servers: {matched} with a client, {unmatched} without, waiting: {}; ", waiting.1);
        // Writing to a string cannot fail.
        let _ = write!(text, "{pens} of pen: {unused} unused, waiting: {}; ", waiting.0);
        text + &format!("{unreadable}; datagrams: {refused} refused, {dropped} lost")
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Numbers cannot be left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line without CR and zeros at its end, and without control characters: no sender shall command a terminal that shows the log.
fn content(line: &mut [u8]) -> &[u8] {
    let length = line.iter().rposition(|byte| !matches!(byte, b'\r' | 0)).map_or(0, |last| last + 1);
    let line = &mut line[..length];
    dot_controls(line);
    line
}

fn told(line: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&printable(&line[..line.len().min(TOLD)])).into_owned();
    if line.len() > TOLD { shown + "..." } else { shown }
}
