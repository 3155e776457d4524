//! The logger thread: writes all messages, so that no other thread waits for a terminal, a pipe or syslog.

use std::io::{self, Write};
use std::slice;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::events::Event;
use super::mailbox::Handle;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::policy::plural::counted;
use crate::sys::clock::Clock;
use crate::sys::log::{Level, Log, Message, Part};
use crate::sys::syslog::{self, Syslog};

/// Lines that may wait to be written; more are counted as lost. [`Log`] bounds their bytes.
const CAPACITY: usize = 1024;

/// How long pen waits for the last lines when it ends.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Where everything is written to.
#[expect(missing_debug_implementations, reason = "what syslog is made of has none")]
pub enum Output {
    /// In the foreground: stderr, every message with its time.
    Stderr,
    /// In the background: syslog, a message for each line.
    Syslog(Syslog),
}

/// The logger as its owner sees it: the handle to copy, and a way to have everything written.
#[derive(Clone, Debug)]
pub struct Logger {
    /// The handle for all threads.
    pub log: Log,
    flush: crossbeam_channel::Sender<Message>,
}

impl Logger {
    /// Starts the thread.
    pub fn start(output: Output, clock: Clock, events: &Handle<Event>) -> Result<Self, Error> {
        let (messages, queue) = bounded(CAPACITY);
        let log = Log::new(messages.clone());
        let writer = MessageWriter { output, clock, log: log.clone(), lost: 0 };
        thread::start("logger", STACK, events, move || writer.run(&queue))?;
        Ok(Self { log, flush: messages })
    }

    /// Waits until everything said so far is written, for a second at most.
    pub fn flush(&self) {
        let (done, wait) = bounded(1);
        if self.flush.send_timeout(Message::Flush(done), FLUSH_TIME).is_ok() {
            // The process is about to end; the result is not needed.
            let _ = wait.recv_timeout(FLUSH_TIME);
        }
    }
}

/// What the thread works with.
struct MessageWriter {
    output: Output,
    clock: Clock,
    log: Log,
    /// Lines that were lost and are not reported yet.
    lost: usize,
}

impl MessageWriter {
    fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let message = if self.lost == 0 {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                // The number of lost lines is logged as soon as syslog is back.
                queue.recv_timeout(syslog::RETRY)
            };
            match message {
                Ok(Message::Line(level, time, text)) => {
                    self.lost += self.write(level, time, slice::from_ref(&text), "\n");
                    self.log.written(text.len());
                }
                Ok(Message::Report(Part { time, paragraphs, is_last, written })) => {
                    // An empty line tells where a report ends.
                    let end = if is_last { "\n" } else { "" };
                    self.lost += self.write(Level::Notice, time, &paragraphs, end);
                    drop(written);
                }
                Ok(Message::Flush(done)) => {
                    self.tell_lost();
                    // The receiver no longer waits.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if queue.is_empty() {
                self.tell_lost();
            }
        }
    }

    /// Tells how many lines were lost, if any were. What cannot be told now is told later.
    fn tell_lost(&mut self) {
        self.lost += self.log.take_lost();
        if self.lost == 0 {
            return;
        }
        let cause = match self.output {
            Output::Stderr => "they came faster than they could be written",
            Output::Syslog(_) => "syslog was away, or slower than they came",
        };
        let text = format!("{} lost: {cause}", counted(self.lost, "line", "lines"));
        if self.write(Level::Warning, SystemTime::now(), &[text], "\n") == 0 {
            self.lost = 0;
        }
    }

    /// Writes a message of one or more paragraphs, to stderr with that end. Counts the lines that are lost.
    fn write(&mut self, level: Level, time: SystemTime, paragraphs: &[String], end: &str) -> usize {
        match &mut self.output {
            Output::Stderr => {
                let stamp = self.clock.format(time);
                let mut text: String = paragraphs.iter().map(|paragraph| format!("{stamp}: {paragraph}")).collect();
                text.push_str(end);
                // In one write, so that lines of several processes on one terminal do not mix. A closed
                // stderr cannot be reported.
                let _ = io::stderr().write_all(text.as_bytes());
                0
            }
            Output::Syslog(syslog) => {
                let stamp = self.clock.format_for_syslog(time);
                let facility = self.log.facility();
                let lines = paragraphs.iter().flat_map(|paragraph| paragraph.lines()).filter(|line| !line.is_empty());
                lines.filter(|line| !syslog.send(facility, level, &stamp, line)).count()
            }
        }
    }
}
