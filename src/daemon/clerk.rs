//! The clerk: does for the supervisor what may wait for a disk or for DNS.

use std::io;
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::{Sender, bounded};

use super::pool::STACK;
use super::steering::Steering;
use crate::error::reason;
use crate::net::files;
use crate::net::log::Log;

/// Tasks that may wait; more signals than that in a row mean the same thing again.
const TASKS: usize = 16;

/// What there is to do.
#[derive(Debug)]
pub enum Task {
    /// Open the log again, and read the configuration file again if there is one.
    Reload(Option<PathBuf>),
    /// Write the status page.
    Publish(PathBuf, String),
}

/// Starts the thread.
pub fn start(steering: Steering, log: Log) -> io::Result<Sender<Task>> {
    let (tasks, inbox) = bounded(TASKS);
    thread::Builder::new().name(String::from("clerk")).stack_size(STACK).spawn(move || {
        for task in inbox {
            match task {
                Task::Reload(path) => {
                    if let Err(error) = steering.recorder.reopen() {
                        log.error(error);
                    }
                    let Some(path) = path else { continue };
                    match steering.reload(&path) {
                        Ok(count) => log.notice(format_args!("{}: read again, {count} commands", path.display())),
                        Err(error) => log.error(format_args!("the old configuration stays: {error}")),
                    }
                }
                Task::Publish(path, page) => {
                    if let Err(error) = files::replace(&steering.reading.root.name(&path), &page) {
                        log.error(format_args!("Unable to create webstats: {}: {}", path.display(), reason(&error)));
                    }
                }
            }
        }
    })?;
    Ok(tasks)
}
