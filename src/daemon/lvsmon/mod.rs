//! lvsmon: checks services, and tells of changes.
//!
//! One thread checks. Those who are told may be slow, so each has a thread and a queue of its own.

mod loader;
mod reloader;
mod teller;
mod threads;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, panic, process, thread};

use self::loader::{Loaded, Loader, check_programs};
pub use self::teller::Print;
use self::threads::{Wired, Wiring};
use super::detach::{self, Readiness};
use super::events::Event;
use super::logger::{Logger, Output};
use super::mailbox::{self, Mailbox};
use super::signals;
use crate::error::Error;
use crate::policy::check::roster::Pace;
use crate::policy::plural::counted;
use crate::sys::clock::Clock;
use crate::sys::key_files::KeyFiles;
use crate::sys::limits;
use crate::sys::log::Log;
use crate::sys::pidfile::PidFile;
use crate::sys::privileges::{Account, Confinement, is_root};
use crate::sys::program::runnable;
use crate::sys::root::Root;
use crate::sys::syslog::Syslog;

/// What its messages begin with in syslog.
const NAME: &str = "lvsmon";

/// Events that may wait: those of signals, and of threads that end.
const EVENTS: usize = 16;

/// The most checks at a time, if there are descriptors for them. With the default times, 10,000 services that all hang have 6,000.
const CHECKS: usize = 16_384;

/// The same where all services are checked once and at once: many may be on the same host, which is not to be flooded.
const CHECKS_ONCE: usize = 1000;

/// How long lvsmon waits before it ends with an error, so that an init that starts it again and again has time for other things.
const PAUSE: Duration = Duration::from_millis(500);

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// The file with the services.
    pub file: PathBuf,
    /// How services are checked where the file does not say otherwise.
    pub pace: Pace,
    /// Each is checked once.
    pub once: bool,
    /// Lines are JSON.
    pub json: bool,
    /// The program that is run at each change.
    pub exec: Option<String>,
    /// It stays in the foreground.
    pub foreground: bool,
    /// The directory to be confined to.
    pub jail: Option<PathBuf>,
    /// The file for the process id.
    pub pidfile: Option<PathBuf>,
    /// The user to run as.
    pub user: Option<Account>,
    /// How lines are printed.
    pub print: Print,
}

/// How lvsmon has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Well,
    /// Each service was checked once, and not all are up.
    SomeDown,
}

/// To be called first of all, before the command line is looked at: looking up a user or a host may take long.
pub fn begin() {
    signals::hold_requests();
}

/// To be called before the end with an error.
pub fn pause() {
    thread::sleep(PAUSE);
}

/// Runs lvsmon until a signal ends it; in the background, if the options say so, and then this returns as soon as it works there.
pub fn run(options: Options) -> Result<End, Error> {
    detach::close_inherited();
    let root = Root::new(options.jail.as_deref())?;
    let free = Root::new(None)?;
    let mut loader =
        Loader::new(options.file.clone(), free.clone(), KeyFiles::new(free, Some(root.clone())), options.pace);
    // In the background this comes before the fork, so that errors are told in lines of their own.
    let loaded = loader.load()?;
    if options.foreground || options.once {
        return serve(options, &root, (loader, loaded), &mut Readiness::nobody());
    }
    detach::in_background(|readiness| serve(options, &root, (loader, loaded), readiness).map(drop)).map(|()| End::Well)
}

/// Enters the jail, drops privileges, starts the threads, and waits for the end.
fn serve(
    options: Options,
    root: &Root,
    (loader, mut loaded): (Loader, Loaded),
    readiness: &mut Readiness,
) -> Result<End, Error> {
    // Not earlier: TERM must end a slow name lookup.
    signals::hold();
    let checks = limits::descriptors(if options.once { CHECKS_ONCE } else { CHECKS });
    let clock = Clock::local();
    let is_front = options.foreground || options.once;
    let messages = if is_front { Output::Stderr } else { Output::Syslog(Syslog::open(NAME)) };
    let confinement = Confinement { jail: root.jail(), account: options.user.as_ref(), transparent: false };
    confinement.enter_jail()?;
    let claim = |path: &PathBuf| PidFile::claim(NAME, &root.name(path), process::id(), options.user.as_ref());
    let pidfile = options.pidfile.as_ref().map(claim).transpose()?;
    if options.user.is_some() {
        // Otherwise its programs may still gain rights, such as ping(8).
        confinement.give_up_rights()?;
    }
    check_programs(&loaded.services)?;
    options.exec.as_ref().map_or(Ok(()), |program| runnable(Path::new(program)))?;
    let mut loader = loader.confined(root.clone());

    let (events, inbox) = mailbox::to_this_thread(EVENTS);
    let logger = Logger::start(messages, clock.clone(), &events)?;
    let log = logger.log.clone();
    let count = loaded.services.len();
    loaded.warnings.drain(..).for_each(|warning| log.warning(warning));
    if !options.once {
        tell_oddities(&options, &mut loader, &log);
    }
    if !is_front {
        let log = log.clone();
        panic::set_hook(Box::new(move |fault| log.error(fault)));
    }
    let Options { once, json, print, exec, .. } = options;
    let wiring = Wiring { clock, log: log.clone(), events, checks, print: is_front.then_some(print), json, exec };
    let outcome = wiring.start(loader, loaded, once).and_then(|wired| {
        readiness.ready()?;
        if !once {
            let services = counted(count, "service", "services");
            log.notice(format_args!("{NAME} {} starting, {services}", env!("CARGO_PKG_VERSION")));
        }
        let outcome = wait(&inbox).and_then(|()| if once { print_all(&wired, print) } else { Ok(End::Well) });
        wired.finish();
        outcome
    });
    drop(pidfile);
    if let (Err(error), false) = (&outcome, is_front) {
        log.error(error);
    }
    logger.flush();
    outcome
}

/// Prints the states of all services.
fn print_all(wired: &Wired, print: Print) -> Result<End, Error> {
    let (lines, all_up) = wired.standings();
    let failed = |error| Error::System(String::from("standard output"), error);
    lines.iter().try_for_each(|line| print(line)).map_err(failed)?;
    Ok(if all_up { End::Well } else { End::SomeDown })
}

/// Waits for the end.
fn wait(inbox: &Mailbox<Event>) -> Result<(), Error> {
    loop {
        match inbox.next(None) {
            Some(Event::Terminate) => return Ok(()),
            // Its cause was told.
            Some(Event::Ended(name)) => {
                return Err(Error::System(name.to_string(), io::Error::other("ended unexpectedly")));
            }
            _ => {}
        }
    }
}

fn tell_oddities(options: &Options, loader: &mut Loader, log: &Log) {
    if is_root() && options.user.is_none() {
        log.warning("runs as root; --user makes it run as another user");
    }
    // In a jail, or for another user, the name may stand for another file, or for none, or for none to read.
    if options.jail.is_some() || options.user.is_some() {
        if let Err(error) = loader.load() {
            log.warning(format_args!("HUP will not read the file again: {error}"));
        }
    }
}
