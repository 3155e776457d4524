//! penlogd: hears of requests from pen and from web servers, and writes the lines of the servers with the clients in them.
//!
//! One thread receives and matches; the thread of the request log writes, as it does for pen. So a full disk or a rotation loses no more
//! than there.

mod receiver;

use std::path::PathBuf;
use std::{io, panic, process};

use self::receiver::{Receiver, Rules, Tally};
use super::access_log::AccessLog;
use super::detach::{self, Readiness};
use super::events::Event;
use super::logger::{Logger, Output};
use super::mailbox;
use super::signals::{self, Wish};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::net::log_port::LogPort;
use crate::net::resolve::Names;
use crate::policy::acl::Net;
use crate::policy::settings::LogTarget;
use crate::policy::weblog::matcher::Limits;
use crate::policy::weblog::record::Fields;
use crate::sys::access_log::Destination;
use crate::sys::clock::Clock;
use crate::sys::files;
use crate::sys::pidfile::PidFile;
use crate::sys::privileges::{Account, Confinement, is_root};
use crate::sys::root::Root;
use crate::sys::syslog::Syslog;

/// What its messages begin with in syslog.
const NAME: &str = "penlogd";

/// Events that may wait: those of signals, and of threads that end.
const EVENTS: usize = 16;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// Where it listens, as it was written and as it is understood.
    pub listener: (String, Endpoint),
    /// It stays in the foreground.
    pub foreground: bool,
    /// The file to write to; `None` is the standard output.
    pub log: Option<PathBuf>,
    /// The directory to be confined to.
    pub jail: Option<PathBuf>,
    /// The file for the process id.
    pub pidfile: Option<PathBuf>,
    /// The user to run as.
    pub user: Option<Account>,
    /// Each line that comes is logged, too.
    pub debug: u8,
    /// How many lines wait for each other.
    pub limits: Limits,
    /// Who may send. Empty: everyone.
    pub senders: Vec<Net>,
    /// The names in lines that are JSON.
    pub fields: Fields,
}

/// To be called first of all, before the command line is looked at: looking up a user or a host may take long.
pub fn begin() {
    signals::hold_requests();
}

/// Runs penlogd until a signal ends it; in the background, if the options say so, and then this returns as soon as it works there.
pub fn run(options: Options) -> Result<(), Error> {
    detach::close_inherited();
    let root = Root::new(options.jail.as_deref())?;
    if options.foreground {
        return serve(options, &root, None, &mut Readiness::nobody());
    }
    // In the background there is another one.
    let output = options.log.is_none().then(|| open(&options, &root)).transpose()?;
    detach::in_background(|readiness| serve(options, &root, output, readiness))
}

/// Opens what it writes to.
fn open(options: &Options, root: &Root) -> Result<Destination, Error> {
    let path = options.log.clone().unwrap_or_else(|| PathBuf::from("/dev/stdout"));
    Destination::open(&LogTarget::File(path), root)
}

/// Opens the port, enters the jail, drops privileges, starts the threads, and waits for the end.
fn serve(options: Options, root: &Root, output: Option<Destination>, readiness: &mut Readiness) -> Result<(), Error> {
    let (text, endpoint) = &options.listener;
    let addresses = Names::default().listener(endpoint)?;
    // Not earlier: TERM must end a slow name lookup.
    signals::hold();
    let (port, stopper) = LogPort::open(text, &addresses)?;
    let clock = Clock::local();
    let foreground = options.foreground;
    let messages = if foreground { Output::Stderr } else { Output::Syslog(Syslog::open(NAME)) };
    let confinement = Confinement { jail: root.jail(), account: options.user.as_ref(), transparent: false };
    confinement.enter_jail()?;
    let is_same = |(log, pidfile): (&PathBuf, &PathBuf)| files::is_same(&root.name(log), &root.name(pidfile));
    if options.log.iter().zip(&options.pidfile).any(is_same) {
        return Err(Error::Usage(String::from("-l and -p name the same file")));
    }
    let claim = |path: &PathBuf| PidFile::claim(NAME, &root.name(path), process::id(), options.user.as_ref());
    let pidfile = options.pidfile.as_ref().map(claim).transpose()?;
    confinement.give_up_rights()?;
    // As the user who must be able to open it again at HUP.
    let destination = output.map_or_else(|| open(&options, root), Ok)?;

    let (events, inbox) = mailbox::to_this_thread(EVENTS);
    let logger = Logger::start(messages, clock, &events)?;
    let log = logger.log.clone();
    log.set_debug(options.debug);
    if is_root() && options.user.is_none() {
        log.warning("runs as root; -u makes it run as another user");
    }
    if options.senders.is_empty() {
        log.notice("everyone may send lines to it; -a limits that");
    }
    if !foreground {
        let log = log.clone();
        panic::set_hook(Box::new(move |fault| log.error(fault)));
    }
    let access_log = AccessLog::start(Some(destination), root.clone(), log.clone(), &events)?;
    let tally = Tally::default();
    let rules = Rules { limits: options.limits, senders: options.senders, fields: options.fields };
    let finished = Receiver::new(port, rules, access_log.clone(), log.clone(), tally.clone()).start(&events)?;
    let (reopened, told) = (options.log.map(|_| access_log.clone()), log.clone());
    signals::start(&events, log.clone(), move |wish| match (wish, &reopened) {
        (Wish::Reload, Some(access_log)) => {
            told.notice("HUP: opens the log file again");
            access_log.reopen();
        }
        (Wish::Reload, None) => told.notice("HUP: the standard output stays open"),
        (Wish::Report, _) => told.notice(tally.text()),
    })?;
    log.notice(format_args!("{NAME} {} starting, listens on {text}", env!("CARGO_PKG_VERSION")));
    let outcome = readiness.ready().and_then(|()| {
        loop {
            match inbox.next(None) {
                Some(Event::Terminate) => break Ok(()),
                Some(Event::Ended(name)) => {
                    break Err(Error::System(name.to_string(), io::Error::other("ended unexpectedly")));
                }
                _ => {}
            }
        }
    });
    // It writes what it has, and what the kernel has for it.
    drop(stopper);
    finished.wait();
    access_log.finish();
    drop(pidfile);
    if let (Err(error), false) = (&outcome, foreground) {
        log.error(error);
    }
    logger.flush();
    outcome
}
