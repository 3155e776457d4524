//! From a configuration to a running pen: everything that can fail is done first, then the threads start.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::chown;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, unbounded};
use rustix::fs::Mode;
use rustix::process::umask;

use super::event::Order;
use super::logger::Logger;
use super::permits::Permits;
use super::pool::{Pool, WorkerId};
use super::session::Desk;
use super::steering::{self, Steering};
use super::supervisor::Supervisor;
use super::{acceptor, clerk, control, idlers, signals};
use crate::endpoint::{Address, Endpoint};
use crate::error::Error;
use crate::net::clock::Clock;
use crate::net::privileges::Account;
use crate::net::scratch::Scratch;
use crate::net::socket::Listener;
use crate::net::{limits, resolve};
use crate::policy::balancer::Balancer;
use crate::policy::command::Command;
use crate::policy::configure::{Effect, Moment};
use crate::policy::file::{Located, rebuild_lists};
use crate::policy::identity::Identity;

/// Events that may wait for the supervisor. Who sends more waits, which slows down accepting and nothing else.
const EVENTS: usize = 256;

/// How many clients of the control port the kernel may queue.
const CONTROL_BACKLOG: i32 = 64;

/// What the command line says.
#[derive(Debug)]
pub struct Config {
    /// Where clients come in, as it was written and as it is understood; a file may say it instead.
    pub listener: Option<(String, Endpoint)>,
    /// How many clients the kernel may queue before they are accepted.
    pub backlog: i32,
    /// Where commands come in, likewise.
    pub control: Option<(String, Endpoint)>,
    /// Whom to become.
    pub user: Option<Account>,
    /// What is said on the command line, in order.
    pub commands: Vec<Command>,
    /// What `write` repeats, and the file that is read after the commands.
    pub identity: Identity,
}

/// A configuration that has been read and understood.
struct Plan {
    balancer: Balancer,
    listener: (String, Endpoint),
    effects: Vec<Effect>,
}

/// Reads and resolves everything without starting anything. `warn` is told what is odd but no reason to stop.
pub fn check(config: Config, warn: &dyn Fn(&str)) -> Result<(), Error> {
    resolve::listener(&plan(&config, warn)?.listener.1).map(drop)
}

/// Runs pen until a signal ends it.
pub fn run(config: Config, warn: &dyn Fn(&str)) -> Result<(), Error> {
    let Plan { mut balancer, listener: (text, endpoint), effects } = plan(&config, warn)?;
    // Not before: until now there was nothing to end in peace, and the resolver may take its time.
    signals::hold();
    let listener = steering::open(&endpoint, &text, config.backlog)?;
    let gate = config.control.as_ref().map(|(text, endpoint)| open_control(text, endpoint, config.user)).transpose()?;
    let conn_max = balancer.settings().conn_max;
    let sessions = limits::raise_open_files(conn_max);
    let clock = Clock::local();
    if let Some(account) = config.user {
        account.assume()?;
    }

    let system = |what: &str| {
        let what = format!("cannot start the {what}");
        move |error| Error::System(what, error)
    };
    let logger = Logger::start(clock.clone()).map_err(system("logger"))?;
    let log = logger.log.clone();
    log.set_debug(balancer.settings().debug);
    if sessions < conn_max {
        log.warning(format_args!(
            "the limit on open files is enough for {sessions} connections, not {conn_max}: see ulimit -n"
        ));
    }
    if balancer.lacks_weights() {
        log.warning("selection is by weight, but every server has weight 0: new clients will be refused");
    }
    let (events, inbox) = bounded(EVENTS);
    // Without a bound of its own: see `Closed`.
    let (closed, ended) = unbounded();
    let permits = Permits::new(sessions);
    // The same as in `plan`, so that a file means the same at the start and later.
    let port = config.listener.as_ref().and_then(|(_, endpoint)| endpoint.port().cloned());
    let steering = Steering { events: events.clone(), port, backlog: config.backlog };
    let idlers = idlers::start(events.clone()).map_err(system("idlers"))?;
    // Of several the last one counts.
    let wanted = effects.into_iter().rev().find_map(|effect| match effect {
        Effect::Idlers(count, targets) => Some((count, targets)),
        _ => None,
    });
    let file = config.identity.file.clone();
    let clerk = clerk::start(steering.clone(), log.clone()).map_err(system("clerk"))?;
    signals::start(events.clone()).map_err(system("signal thread"))?;
    if let Some(gate) = &gate {
        control::start(Arc::clone(gate), steering, log.clone()).map_err(system("control thread"))?;
    }
    balancer.begin_serving();
    acceptor::start(Arc::clone(&listener), permits.clone(), events.clone(), log.clone()).map_err(system("acceptor"))?;
    log.debug(1, || format!("pen {} listens on {}", env!("CARGO_PKG_VERSION"), listener.address()));

    let desk = Desk { events: events.clone(), closed, log: log.clone(), scratch: Scratch::default() };
    let supervisor = Supervisor {
        balancer,
        pool: Pool::new(move |worker: WorkerId, orders: Receiver<Order>| desk.work(worker, &orders)),
        permits,
        sessions_max: sessions,
        log,
        clock,
        name: listener.address().to_string().into(),
        events: inbox,
        closed: ended,
        sessions: Vec::new(),
        waiting: VecDeque::new(),
        reminded: None,
        clerk,
        idlers,
        wanted,
        idle: 0,
        doorway: events,
        listener,
        file,
    };
    let outcome = supervisor.run();
    if let Some(gate) = gate {
        gate.remove_file();
    }
    logger.flush();
    outcome
}

/// Applies the command line and the file to a new balancer.
fn plan(config: &Config, warn: &dyn Fn(&str)) -> Result<Plan, Error> {
    let mut listener = config.listener.clone();
    let port = listener.as_ref().and_then(|(_, endpoint)| endpoint.port().cloned());
    let said = config.commands.iter().map(|command| Located { place: String::new(), command: command.clone() });
    let mut commands = steering::prepare(said.collect(), port.as_ref())?;
    if let Some(file) = &config.identity.file {
        match steering::read(file, port.as_ref(), 0) {
            Ok(lines) => commands.extend(steering::prepare(rebuild_lists(lines), port.as_ref())?),
            Err(Error::System(what, cause)) if cause.kind() == io::ErrorKind::NotFound => {
                warn(&Error::System(what, cause).to_string());
            }
            Err(error) => return Err(error),
        }
    }
    let text = listener.as_ref().map_or_else(String::new, |(text, _)| text.clone());
    let mut balancer = Balancer::new(config.identity.clone(), text);
    let mut effects = Vec::new();
    let now = Instant::now();
    for command in commands {
        if let Command::Listen(text, endpoint) = &command {
            listener = Some((text.clone(), endpoint.clone()));
        }
        effects.extend(balancer.apply(command, &Moment::start(now)).effects);
    }
    let listener = listener.ok_or_else(|| Error::Usage(String::from("no listening port given")))?;
    if !balancer.has_servers() && config.identity.file.is_none() && config.control.is_none() {
        return Err(Error::Usage(String::from("no server given")));
    }
    Ok(Plan { balancer, listener, effects })
}

/// Opens the control port. A Unix socket is for the user that pen will run as and nobody else.
fn open_control(text: &str, endpoint: &Endpoint, user: Option<Account>) -> Result<Arc<Listener>, Error> {
    // There are no other threads yet whose files this could concern.
    let mask = umask(Mode::from_bits_retain(0o177));
    let opened = steering::open(endpoint, text, CONTROL_BACKLOG);
    umask(mask);
    let gate = opened?;
    if let (Address::Unix(path), Some(Account { uid, gid })) = (gate.address(), user) {
        chown(path, Some(uid), Some(gid)).map_err(|error| Error::System(format!("Can't chown {text}"), error))?;
    }
    Ok(gate)
}
