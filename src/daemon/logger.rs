//! The logger thread: writes what everybody has to say, so that nobody else waits for a terminal or a pipe.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use crate::net::clock::Clock;
use crate::net::log::{Entry, Log};

/// Lines that may wait to be written; more are counted as lost.
const CAPACITY: usize = 1024;

/// How long the end of pen waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The logger as its owner sees it: the handle to copy, and a way to have everything written.
#[derive(Clone, Debug)]
pub struct Logger {
    /// For everybody who has something to say.
    pub log: Log,
    flush: crossbeam_channel::Sender<Entry>,
}

impl Logger {
    /// Starts the thread.
    pub fn start(clock: Clock) -> io::Result<Self> {
        let (entries, queue) = bounded(CAPACITY);
        let log = Log::new(entries.clone());
        let counter = log.clone();
        thread::Builder::new()
            .name(String::from("logger"))
            .stack_size(super::pool::STACK)
            .spawn(move || write_entries(&queue, &counter, &clock))?;
        Ok(Self { log, flush: entries })
    }

    /// Waits until everything said so far is written, for a second at most.
    pub fn flush(&self) {
        let (done, wait) = bounded(1);
        if self.flush.send_timeout(Entry::Flush(done), FLUSH_TIME).is_ok() {
            // Late is as good as never: the process is about to end.
            let _ = wait.recv_timeout(FLUSH_TIME);
        }
    }
}

fn write_entries(queue: &Receiver<Entry>, log: &Log, clock: &Clock) {
    for entry in queue {
        match entry {
            Entry::Line(_, time, text) => write_line(clock, time, &text),
            Entry::Flush(done) => {
                // Nobody waits any more: fine.
                let _ = done.send(());
            }
        }
        if queue.is_empty() {
            match log.take_lost() {
                0 => {}
                lost => write_line(
                    clock,
                    SystemTime::now(),
                    &format!("{lost} lines lost: they came faster than they could be written"),
                ),
            }
        }
    }
}

/// One line, in one write, so that lines of several processes on one terminal do not mix.
fn write_line(clock: &Clock, time: SystemTime, text: &str) {
    let line = format!("{}: {text}\n", clock.format(time));
    // There is nobody to tell that stderr is closed.
    let _ = io::stderr().write_all(line.as_bytes());
}
