//! The reloader: does for the supervisor what may wait for a disk or for DNS.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Sender, bounded};

use super::control::executor::{Executor, STACK};
use crate::error::Error;
use crate::sys::log::Log;

/// Tasks that may wait; more signals than that in a row mean the same thing again.
const TASKS: usize = 16;

/// What there is to do.
#[derive(Debug)]
pub enum Task {
    /// Open the log again, and read again what was read at the start: the configuration file, if there is one, and country data
    /// that has changed.
    Reload(Option<PathBuf>),
}

/// Starts the thread.
pub fn start(executor: Executor, log: Log) -> io::Result<Sender<Task>> {
    let (tasks, inbox) = bounded(TASKS);
    thread::Builder::new().name(String::from("reloader")).stack_size(STACK).spawn(move || {
        for task in inbox {
            match task {
                Task::Reload(path) => {
                    if let Err(error) = executor.access_log.reopen() {
                        log.error(error);
                    }
                    if let Some(path) = path {
                        reload(&executor, &path, &log);
                    }
                    renew(&executor, &log);
                }
            }
        }
    })?;
    Ok(tasks)
}

fn reload(executor: &Executor, path: &Path, log: &Log) {
    match executor.reload(path) {
        Ok(count) => log.notice(format_args!("{}: read again, {count} commands", path.display())),
        Err(error) => log.error(format_args!("the old configuration stays: {error}")),
    }
}

fn renew(executor: &Executor, log: &Log) {
    let is_jailed = executor.loader.root.jail().is_some();
    match executor.renew_countries() {
        Ok(None) => {}
        Ok(Some(path)) => log.notice(format_args!("{}: read again", path.display())),
        // In a jail nothing else is to be expected, unless somebody has put a copy there.
        Err(Error::System(what, cause)) if is_jailed && cause.kind() == io::ErrorKind::NotFound => {
            log.debug(1, || format!("the country data stays: {what}: not in the jail"));
        }
        Err(error) => log.error(format_args!("the old country data stays: {error}")),
    }
}
