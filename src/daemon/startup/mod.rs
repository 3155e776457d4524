//! Starts pen: everything that can fail is done first, then the threads start.

mod bound;
pub mod config;
mod wiring;

use std::panic::AssertUnwindSafe;
use std::time::{Instant, SystemTime};
use std::{io, panic, process};

use self::bound::Bound;
use self::config::{Config, Options};
use self::wiring::{Wired, Wiring};
use crate::daemon::access_log::AccessLog;
use crate::daemon::control::executor::write_files;
use crate::daemon::control::loader::Loader;
use crate::daemon::control::reports;
use crate::daemon::detach::Readiness;
use crate::daemon::logger::{Logger, Output};
use crate::daemon::{detach, mailbox, signals};
use crate::error::Error;
use crate::net::relay::pipes;
use crate::net::tls::Keyring;
use crate::policy::balancer::Balancer;
use crate::policy::command::Command;
use crate::policy::report::query::Query;
use crate::policy::settings::Settings;
use crate::sys::clock::Clock;
use crate::sys::limits::{Demand, Grant, Host};
use crate::sys::log::Log;
#[cfg(feature = "web")]
use crate::sys::passwords;
use crate::sys::privileges::{Confinement, is_root, may_be_transparent};
use crate::sys::program::runnable;
use crate::sys::root::Root;
use crate::sys::service_manager::ServiceManager;
use crate::sys::syslog::Syslog;

/// Events that may wait for the supervisor. Who sends more waits, which slows down accepting and nothing else.
const EVENTS: usize = 256;

/// What the messages of this program begin with in syslog.
const NAME: &str = "pen";

/// To be called first of all, before the command line is looked at: looking up a user or a host may take long.
pub fn begin() {
    signals::hold_requests();
}

/// Runs pen until a signal ends it; in the background, if the configuration says so, and then this returns here as soon as pen
/// works there.
pub fn run(options: Options, warn: &dyn Fn(&str)) -> Result<(), Error> {
    detach::close_inherited();
    // In the background it is not the process that was started.
    let manager = if options.identity.foreground { ServiceManager::find() } else { ServiceManager::default() };
    let config = Config::make(&options, warn)?;
    let root = Root::new(options.identity.jail.as_deref())?;
    if options.identity.foreground {
        return serve(&options, config, root, (&mut Readiness::nobody(), &manager));
    }
    config.tell_unresolved(warn);
    detach::in_background(|readiness| serve(&options, config, root, (readiness, &manager)))
}

/// Opens the sockets, enters the jail, drops privileges, starts the threads, and runs the supervisor.
fn serve(
    options: &Options,
    config: Config,
    root: Root,
    (readiness, manager): (&mut Readiness, &ServiceManager),
) -> Result<(), Error> {
    // Not earlier: TERM must end a slow name lookup, and nothing needs an orderly end yet.
    signals::hold();
    let mut bound = Bound::open(options, &config)?;
    let exposed = config::control_is_exposed(&config.balancer, &config.control);
    let Config { balancer, traffic, mut prepared, keyring, key_warnings, effects, loader, .. } = config;
    let key_files = loader.key_files.clone().confined(root.clone());
    let loader = Loader { root: root.clone(), confined: None, key_files, ..loader };
    // Read, and raised, while the rights for that are there.
    let host = Host::read();
    let Settings { conn_max, idlers, .. } = **balancer.settings();
    let (listeners, pages) = (bound.count(), balancer.settings().web.listeners());
    let flows = options.identity.udp;
    let pipes = if flows { 0 } else { pipes::MOST };
    let checks = balancer.checks_at_once();
    let granted = || host.grant(Demand { flows, sessions: conn_max, listeners, pages, pipes, idlers, checks });
    granted();
    let clock = Clock::local();
    let foreground = options.identity.foreground;
    let output = if foreground { Output::Stderr } else { Output::Syslog(Syslog::open(NAME)) };
    let transparent = balancer.settings().transparent;
    let confinement = Confinement { jail: root.jail(), account: options.user.as_ref(), transparent };
    bound.enter(&root, || confinement.enter_jail())?;
    if let Some(path) = &options.identity.pidfile {
        bound.write_pid(NAME, &root.name(path), options.user.as_ref())?;
    }
    confinement.give_up_rights()?;
    // What the user has that pen runs as from now on.
    let grant = granted();
    // As the user who must be able to open it again at HUP.
    loader.open_access_log(&mut prepared, || Ok(String::new()))?;
    // Only the administrator who starts pen has asked for these files.
    let mut failures = write_files(&effects, &root);
    if prepared.commands.contains(&Command::Show(Query::Status)) {
        failures.extend(reports::publish_first(&balancer, clock.format(SystemTime::now()), &root).err());
    }
    if !failures.is_empty() {
        return Err(Error::Config(failures.join("\n")));
    }

    let (events, inbox) = mailbox::to_this_thread(EVENTS);
    let logger = Logger::start(output, clock.clone(), &events)?;
    let log = logger.log.clone();
    log.set_debug(balancer.settings().debug);
    log.set_facility(balancer.settings().syslog_facility);
    key_warnings.iter().for_each(|text| log.warning(text));
    tell_oddities(options, &balancer, (grant, exposed), &loader, &log);
    if !foreground {
        let log = log.clone();
        panic::set_hook(Box::new(move |fault| log.error(fault)));
    }
    let destination = prepared.access_log.flatten().map(|destination| *destination);
    let access_log = AccessLog::start(destination, root, log.clone(), &events)?;
    let wiring = Wiring {
        events,
        inbox,
        log: log.clone(),
        access_log: access_log.clone(),
        clock,
        loader,
        keyring,
        host,
        grant,
        traffic,
        manager: manager.clone(),
    };
    let Wired { mut supervisor, places, web } = wiring.start(options, balancer, &mut bound)?;
    let (_, exit) = supervisor.carry_out(effects, Instant::now());
    supervisor.settle(Instant::now());
    let outcome = readiness.ready().and_then(|()| {
        manager.is_ready();
        if exit { Ok(()) } else { survive(|| supervisor.run()) }
    });
    manager.is_stopping();
    let aborts = supervisor.aborts_on_error();
    // No thread waits for the supervisor after this.
    drop(supervisor);
    if let Some(places) = places {
        places.finish();
    }
    web.key().open(Vec::new());
    access_log.finish();
    drop(bound);
    finish(outcome, &logger, foreground, aborts)
}

/// Ends the log with the error, if there is one, and has everything written. With `aborts` an error ends the process here. Otherwise
/// it is returned; in the foreground the caller is to report it.
fn finish(outcome: Result<(), Error>, logger: &Logger, foreground: bool, aborts: bool) -> Result<(), Error> {
    let aborts = aborts && outcome.is_err();
    if let (Err(error), true) = (&outcome, aborts || !foreground) {
        logger.log.error(error);
    }
    logger.flush();
    if aborts {
        process::abort();
    }
    outcome
}

/// Logs warnings about the configuration, and about what this host does not grant to it. `exposed`: all hosts can use the control port.
fn tell_oddities(options: &Options, balancer: &Balancer, (grant, exposed): (Grant, bool), loader: &Loader, log: &Log) {
    let settings = balancer.settings();
    if is_root() {
        let advice = if options.user.is_none() { "; -u makes it run as another user" } else { "" };
        log.warning(format_args!("runs as root{advice}"));
    }
    if let Some(warning) = grant.warning(settings.conn_max) {
        log.warning(warning);
    }
    if settings.transparent && !may_be_transparent() {
        log.warning("transparent is on, but only root may use clients' addresses: connections to servers will fail");
    }
    // In a jail, or for another user, the name may stand for another file, or for none, or for none to read.
    let is_jailed = loader.root.jail().is_some();
    let moved = is_jailed || options.user.is_some();
    match options.identity.file.as_ref().filter(|_| moved).map(|file| loader.read(file)) {
        // That was told when it was read for the first time.
        Some(Err(Error::System(_, cause))) if !is_jailed && cause.kind() == io::ErrorKind::NotFound => {}
        Some(Err(error)) => log.warning(format_args!("HUP will not read the file again: {error}")),
        _ => {}
    }
    let config = balancer.tls_config();
    if moved && config.needs_tls() {
        if let Err(error) = Keyring::load(config, &loader.key_files, None, &mut |_| {}) {
            log.warning(format_args!("HUP will not read certificates and keys again: {error}"));
        }
    }
    for error in balancer.programs().into_iter().filter_map(|program| runnable(program).err()) {
        log.warning(error);
    }
    #[cfg(feature = "web")]
    if let Some(error) = settings.web.password.as_ref().and_then(|path| passwords::read(&loader.root.name(path)).err())
    {
        log.warning(format_args!("web_password: {error}"));
    }
    if settings.web.control_is_in_vain() {
        log.warning(config::CONTROL_IN_VAIN);
    }
    if balancer.lacks_weights() {
        log.warning(config::LACKS_WEIGHTS);
    }
    if let Some(server) = balancer.lacks_port() {
        log.warning(format_args!("server {server} has an address and no port, so that it is not used"));
    }
    if balancer.is_strict_in_vain() {
        log.warning(config::STRICT_IN_VAIN);
    }
    if balancer.every_client_may_announce() {
        log.warning(config::EVERY_CLIENT_MAY_ANNOUNCE);
    }
    if exposed {
        log.warning(config::CONTROL_IS_EXPOSED);
    }
}

/// Makes an error of a panic, so that what was logged before it is written after it, too.
fn survive(work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    // Whatever is left half done by it is not used any more.
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::System(String::from("supervisor"), io::Error::other("ended unexpectedly"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command as Program;

    /// Set in the process that a test starts to see how it ends.
    const CHILD: &str = "PEN_TEST_ABORTS";

    #[test]
    fn the_error_that_makes_pen_abort_is_logged_before() {
        if env::var_os(CHILD).is_some() {
            let (events, _inbox) = mailbox::to_this_thread(1);
            let logger = Logger::start(Output::Stderr, Clock::local(), &events).unwrap();
            finish(Err(Error::Config(String::from("the cause"))), &logger, true, true).unwrap();
        }
        let own = env::current_exe().unwrap();
        let name = "daemon::startup::tests::the_error_that_makes_pen_abort_is_logged_before";
        // No core file: the abort is on purpose.
        let mut child = Program::new("sh");
        child.args(["-c", "ulimit -c 0; exec \"$@\"", "sh"]).arg(own).args(["--exact", name, "--nocapture"]);
        let ended = child.env(CHILD, "1").output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), Some(6), "{:?}: {stderr}", ended.status);
        assert!(stderr.lines().any(|line| line.ends_with(": the cause")), "{stderr}");
    }

    #[test]
    fn no_error_and_no_wish_to_abort_end_in_peace() {
        let (events, _inbox) = mailbox::to_this_thread(1);
        let logger = Logger::start(Output::Stderr, Clock::local(), &events).unwrap();
        assert!(finish(Ok(()), &logger, true, true).is_ok());
        assert!(finish(Err(Error::Config(String::from("the cause"))), &logger, true, false).is_err());
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = survive(|| panic!("on purpose")).unwrap_err().to_string();
        assert_eq!(error, "supervisor: ended unexpectedly");
        assert!(survive(|| Ok(())).is_ok());
    }
}
