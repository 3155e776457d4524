//! The handle for log messages, and the rules for their text.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::SystemTime;

use crossbeam_channel::{Sender, bounded};

use crate::policy::settings::Facility;

/// The most bytes of lines that wait to be written. A read of 64 KiB is 192 KiB in a dump, so this is a few of the longest lines, or
/// more ordinary ones than the queue has places for.
const LARGEST: usize = 1024 * 1024;

/// How urgent a line is, as syslog grades it (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Logged only with `-d`.
    Debug,
    /// A good change: a server is back.
    Notice,
    /// Something to know about: a server is down.
    Warning,
    /// A failure.
    Error,
    /// Action is needed: no server is left.
    Alert,
}

/// What the logger thread receives.
#[derive(Debug)]
pub enum Message {
    /// Something to tell.
    Line(Level, SystemTime, String),
    /// A part of a report.
    Report(Part),
    /// Everything before this is to be written out, then this answered.
    Flush(Sender<()>),
}

/// A part of a report that was asked for. Other lines may come between two parts.
#[derive(Debug)]
pub struct Part {
    /// When it was made.
    pub time: SystemTime,
    /// Each of one or more whole lines.
    pub paragraphs: Vec<String>,
    /// The report ends with it.
    pub is_last: bool,
    /// Dropped when it is written.
    pub written: Sender<()>,
}

/// A cheap handle to the logger thread. Telling it something never waits, except for a report: when the thread cannot
/// keep up, lines are counted as lost instead.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What `-d` says: 0 nothing, 1 decisions, 2 the life of sessions, 3 traffic.
    debug: AtomicU8,
    /// A number, as [`Facility`] has it.
    facility: AtomicU8,
    lost: AtomicUsize,
    /// Bytes of the lines that wait, and of the one that is being written.
    waiting: AtomicUsize,
    messages: Sender<Message>,
}

impl Log {
    /// A handle that speaks into this channel.
    pub fn new(messages: Sender<Message>) -> Self {
        let facility = AtomicU8::new(Facility::USER.number());
        let [lost, waiting] = [(); 2].map(|()| AtomicUsize::new(0));
        Self { inner: Arc::new(Inner { debug: AtomicU8::new(0), facility, lost, waiting, messages }) }
    }

    /// Changes how much is told, at once and for everybody.
    pub fn set_debug(&self, level: u8) {
        self.inner.debug.store(level, Ordering::Relaxed);
    }

    /// How much is told.
    pub fn debug_level(&self) -> u8 {
        self.inner.debug.load(Ordering::Relaxed)
    }

    /// Changes the facility of what is told to syslog, at once and for everybody.
    pub fn set_facility(&self, facility: Facility) {
        self.inner.facility.store(facility.number(), Ordering::Relaxed);
    }

    /// The number of the facility.
    pub fn facility(&self) -> u8 {
        self.inner.facility.load(Ordering::Relaxed)
    }

    /// Tells something that is told only at this debug level or above. A line that would find no room is not even made: every
    /// session may have a dump to make at the same time.
    pub fn debug(&self, level: u8, text: impl FnOnce() -> String) {
        if self.debug_level() < level {
            return;
        }
        if self.inner.waiting.load(Ordering::Relaxed) < LARGEST {
            self.send(Level::Debug, text());
        } else {
            self.lose();
        }
    }

    /// A good change.
    pub fn notice(&self, text: impl Display) {
        self.send(Level::Notice, text.to_string());
    }

    /// Something to know about.
    pub fn warning(&self, text: impl Display) {
        self.send(Level::Warning, text.to_string());
    }

    /// A failure.
    pub fn error(&self, text: impl Display) {
        self.send(Level::Error, text.to_string());
    }

    /// The administrator should act.
    pub fn alert(&self, text: impl Display) {
        self.send(Level::Alert, text.to_string());
    }

    /// A part of a report that was asked for, in paragraphs of whole lines. This waits until it is written, however long that takes:
    /// so no report is lost, and one that is longer than memory is no trouble.
    pub fn report(&self, paragraphs: Vec<String>) {
        self.report_part(paragraphs, false);
    }

    /// The last part of a report; it waits likewise.
    pub fn end_report(&self, paragraphs: Vec<String>) {
        self.report_part(paragraphs, true);
    }

    fn report_part(&self, paragraphs: Vec<String>, is_last: bool) {
        let (written, wait) = bounded(0);
        let part = Part { time: SystemTime::now(), paragraphs, is_last, written };
        // It fails when the logger has ended.
        if self.inner.messages.send(Message::Report(part)).is_ok() {
            // Nothing is sent: this ends when the other end is dropped.
            let _ = wait.recv();
        }
    }

    /// How many lines were lost since the last call.
    pub fn take_lost(&self) -> usize {
        self.inner.lost.swap(0, Ordering::Relaxed)
    }

    /// A line of so many bytes is written, or lost after all: others find its room.
    pub fn written(&self, size: usize) {
        self.inner.waiting.fetch_sub(size, Ordering::Relaxed);
    }

    /// Queues a line. One that is longer than all that may wait finds room while no other line waits.
    fn send(&self, level: Level, text: String) {
        let size = text.len();
        let before = self.inner.waiting.fetch_add(size, Ordering::Relaxed);
        let has_room = before == 0 || before + size <= LARGEST;
        let line = Message::Line(level, SystemTime::now(), text);
        // It also fails when the logger has ended.
        if !has_room || self.inner.messages.try_send(line).is_err() {
            self.written(size);
            self.lose();
        }
    }

    fn lose(&self) {
        self.inner.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// A dump of traffic as pen prints it: the number of bytes, then each in hexadecimal, or, with `ascii`, as a character.
/// Control bytes become a dot, so that nothing a peer sends reaches the administrator's terminal as a command.
pub fn dump(bytes: &[u8], ascii: bool) -> String {
    let mut text = format!("{}:", bytes.len());
    if ascii {
        text.push(' ');
        text.extend(bytes.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' }));
    } else {
        for byte in bytes {
            text.push_str(&format!(" {byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_pens_and_harmless() {
        assert_eq!(dump(b"Hello\r\nWorld", true), "12: Hello..World");
        assert_eq!(dump(b"\x1b[2JHe", false), "6: 1b 5b 32 4a 48 65");
        assert_eq!(dump(b"\x1b[2JHe\xff", true), "7: .[2JHe.");
    }

    #[test]
    fn a_full_channel_loses_lines_and_does_not_wait() {
        let (messages, queue) = crossbeam_channel::bounded(1);
        let log = Log::new(messages);
        log.warning("one");
        log.warning("two");
        log.debug(1, || unreachable!("nobody asked"));
        assert_eq!(queue.len(), 1);
        assert_eq!((log.take_lost(), log.take_lost()), (1, 0));
    }

    #[test]
    fn the_lines_that_wait_have_a_bound_in_bytes() {
        let (messages, queue) = crossbeam_channel::bounded(1000);
        let log = Log::new(messages);
        log.set_debug(3);
        let line = "x".repeat(LARGEST / 4);
        (0..6).for_each(|_| log.warning(&line));
        assert_eq!((queue.len(), log.take_lost()), (4, 2));
        log.debug(3, || unreachable!("it would find no room"));
        log.warning("short");
        assert_eq!((queue.len(), log.take_lost()), (4, 2));
        log.written(line.len());
        log.debug(3, || String::from("short"));
        assert_eq!((queue.len(), log.take_lost()), (5, 0));
    }

    #[test]
    fn a_line_that_is_longer_than_the_bound_is_taken_when_it_is_alone() {
        let (messages, queue) = crossbeam_channel::bounded(1000);
        let log = Log::new(messages);
        let line = "x".repeat(2 * LARGEST);
        log.error(&line);
        log.error("another");
        assert_eq!((queue.len(), log.take_lost()), (1, 1));
        log.written(line.len());
        log.error("another");
        assert_eq!((queue.len(), log.take_lost()), (2, 0));
    }
}
