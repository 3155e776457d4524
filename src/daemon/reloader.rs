//! The reloader: does at HUP what may wait for a disk or for DNS. It reads again what was read at the start: the configuration
//! file, if there is one, and country data that has changed.

use std::io;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::control::executor::{Executor, Reloaded, is_the_end};
use super::thread::{self, DEEP_STACK};
use crate::error::Error;
use crate::policy::plural::counted;
use crate::sys::log::Log;
use crate::sys::service_manager::ServiceManager;

/// How many changes a reload tells one by one. `write` tells them all.
const MOST_TOLD: usize = 20;

/// Starts the thread, and returns how to wake it. The channel holds one: a HUP that finds no room came before the thread has begun with
/// the one that has it, and is done with that.
pub fn start(
    executor: Executor,
    file: Option<PathBuf>,
    manager: ServiceManager,
    log: Log,
) -> Result<Sender<()>, Error> {
    let (wake, hups) = bounded(1);
    let events = executor.events.clone();
    let work = move || {
        serve(&hups, || {
            manager.is_reloading();
            reload(&executor, file.as_deref(), &log);
            manager.is_ready();
        });
    };
    thread::start("reloader", DEEP_STACK, &events, work)?;
    Ok(wake)
}

/// Reloads for each HUP until no more can come.
fn serve(hups: &Receiver<()>, reload: impl Fn()) {
    for () in hups {
        reload();
    }
}

fn reload(executor: &Executor, file: Option<&Path>, log: &Log) {
    match file {
        None => {
            if !renew_keys(executor, log) {
                log.debug(1, || String::from("HUP: there is no file to read again"));
            }
        }
        Some(path) => match executor.reload(path) {
            Ok(reloaded) => tell(&reloaded, path, log),
            Err(error) if is_the_end(&error) => return,
            Err(error) => {
                log.error(format_args!("the old configuration stays: {error}"));
                renew_keys(executor, log);
            }
        },
    }
    renew(executor, log);
}

fn tell(reloaded: &Reloaded, path: &Path, log: &Log) {
    let Reloaded { count, failures, warnings, unmentioned, changes } = reloaded;
    let path = path.display();
    failures.iter().for_each(|failure| log.error(failure));
    warnings.iter().for_each(|warning| log.warning(warning));
    let (count, changed) = (counted(*count, "command", "commands"), counted(changes.len(), "change", "changes"));
    log.notice(format_args!("{path}: read again, {count}, {changed}"));
    for change in changes.iter().take(MOST_TOLD) {
        log.notice(format_args!("{path}: {change}"));
    }
    if let Some(first) = unmentioned.first() {
        let (more, stay, they) = match unmentioned.len() {
            1 => (String::new(), "stays", "it"),
            count => (format!(" and {}", counted(count - 1, "other", "others")), "stay", "they"),
        };
        log.notice(format_args!(
            "{path}: does not mention server {first}{more}, which {stay} in use; \
             with \"no servers\" at its beginning {they} would be removed"
        ));
    }
}

/// What a reload of the file does too. `false`: there are no certificates and keys.
fn renew_keys(executor: &Executor, log: &Log) -> bool {
    match executor.renew_keys() {
        Ok(None) => return false,
        Ok(Some(warnings)) => {
            warnings.iter().for_each(|warning| log.warning(warning));
            log.notice("certificates and keys: read again");
        }
        Err(error) if is_the_end(&error) => {}
        Err(error) => log.error(format_args!("the old certificates and keys stay: {error}")),
    }
    true
}

fn renew(executor: &Executor, log: &Log) {
    let is_jailed = executor.loader.root.jail().is_some();
    match executor.renew_countries() {
        Ok(None) => {}
        Ok(Some(path)) => log.notice(format_args!("{}: read again", path.display())),
        // In a jail this is the usual case, unless there is a copy.
        Err(Error::System(what, cause)) if is_jailed && cause.kind() == io::ErrorKind::NotFound => {
            log.debug(1, || format!("the country data stays: {what}: not in the jail"));
        }
        Err(error) if is_the_end(&error) => {}
        Err(error) => log.error(format_args!("the old country data stays: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn hups_during_a_slow_reload_lead_to_one_more_reload() {
        let (wake, hups) = bounded(1);
        let ((begin, begun), (finish, finished)) = (bounded(16), bounded(0));
        let reloader = std::thread::spawn(move || {
            let reload = || {
                begin.send(()).unwrap();
                finished.recv().unwrap();
            };
            serve(&hups, reload);
        });
        let deadline = Duration::from_secs(30);
        wake.try_send(()).unwrap();
        begun.recv_timeout(deadline).unwrap();
        // The second is kept, and those after it are the same.
        wake.try_send(()).unwrap();
        (0..10).for_each(|_| assert!(wake.try_send(()).is_err()));
        finish.send(()).unwrap();
        begun.recv_timeout(deadline).unwrap();
        drop(wake);
        finish.send(()).unwrap();
        reloader.join().unwrap();
        assert!(begun.try_recv().is_err());
    }
}
