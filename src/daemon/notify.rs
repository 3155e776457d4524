//! Programs that are told of changes: one at a time, in the order of the changes.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::events::Event;
use super::mailbox::Handle;
use super::queue::Queue;
use super::thread::{self, STACK};
use crate::error::{Error, reason};
use crate::policy::changes::ServerEvent;
use crate::sys::log::Log;
use crate::sys::program;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a program with these arguments. If it fails, that is logged, with what it was to be told.
pub fn run<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>, news: &dyn Display, log: &Log) {
    let trouble = match program::run(name, arguments, PATIENCE) {
        Ok(Some(status)) => match program::exit(status) {
            Ok(0) => return,
            Ok(status) => format!("exit status {status}"),
            Err(signal) => format!("ended by signal {signal}"),
        },
        Ok(None) => format!("killed, since it took longer than {} s", PATIENCE.as_secs()),
        Err(error) => reason(&error),
    };
    log.warning(format_args!("{name}: {trouble}; it was to be told: {news}"));
}

/// The thread that runs the program of `notify`.
#[derive(Debug)]
pub struct Notifier {
    queue: Queue<(PathBuf, ServerEvent)>,
}

impl Notifier {
    /// Starts the thread.
    pub fn start(events: &Handle<Event>, log: Log) -> Result<Self, Error> {
        let queue: Queue<(PathBuf, ServerEvent)> = Queue::new("the program of notify", log.clone());
        let inbox = queue.clone();
        thread::start("notify", STACK, events, move || {
            while let Some((path, event)) = inbox.pop() {
                run(&path.to_string_lossy(), event.arguments(), &event.message(), &log);
            }
        })?;
        Ok(Self { queue })
    }

    /// Has a program told of a change. This does not wait.
    pub fn tell(&self, program: PathBuf, event: ServerEvent) {
        self.queue.push(&Arc::from(event.name.as_str()), (program, event));
    }
}
