//! The configuration: read and checked before anything is started.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::daemon::control::loader::{Lengths, Loader};
use crate::daemon::datagrams;
use crate::daemon::events::{Prepared, Unresolved};
use crate::endpoint::Address;
use crate::error::Error;
use crate::net::listener::Traffic;
use crate::net::resolve::{Names, Place};
use crate::net::tls::Keyring;
use crate::policy::balancer::Balancer;
use crate::policy::command::Command;
use crate::policy::command::apply::Effect;
use crate::policy::command::file::{Located, rebuild_lists};
use crate::policy::command::udp;
use crate::policy::identity::Identity;
use crate::policy::listeners::Listeners;
use crate::policy::lookups::RETRY;
use crate::policy::report::Context;
use crate::sys::clock::Clock;
use crate::sys::key_files::KeyFiles;
use crate::sys::privileges::{Account, is_root, may_become};
use crate::sys::program::runnable;
use crate::sys::root::Root;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// Where to listen. A file may set it instead.
    pub listeners: Option<Listeners>,
    /// How many clients the kernel may queue before they are accepted.
    pub backlog: i32,
    /// The control port.
    pub control: Option<Listeners>,
    /// The user to run as.
    pub user: Option<Account>,
    /// The commands of the command line, in order.
    pub commands: Vec<Command>,
    /// What `write` repeats, and the file that is read after the commands.
    pub identity: Identity,
}

/// A configuration that has been read and understood.
#[derive(Debug)]
pub struct Config {
    /// Configured, and without connections.
    pub balancer: Balancer,
    /// Where clients come in.
    pub places: Vec<Place>,
    /// What comes in there.
    pub traffic: Traffic,
    /// The control port; no place if there is none.
    pub control: Vec<Place>,
    /// The web page; likewise.
    pub web: Vec<Place>,
    /// What the balancer was configured with. Nothing is open yet.
    pub prepared: Prepared,
    /// Certificates and keys. They are read before pen gives up the right to read them.
    pub keyring: Arc<Keyring>,
    /// What is odd about them.
    pub key_warnings: Vec<String>,
    /// What the commands ask of the world outside.
    pub effects: Vec<Effect>,
    /// What the commands were read with, outside the jail.
    pub loader: Loader,
}

/// Reads and resolves everything without starting anything. What a start only warns of, since pen may be of use without it, is an
/// error here; `warn` is told the rest.
pub fn check(options: Options, warn: &dyn Fn(&str)) -> Result<(), Error> {
    let config = Config::make(&options, &|_| ())?;
    config.tell_unresolved(warn);
    config.key_warnings.iter().for_each(|text| warn(text));
    let Config { balancer, control, loader, .. } = config;
    if let Some(file) = &options.identity.file {
        // A start goes on without it.
        loader.read(file)?;
    }
    if let Some(server) = balancer.lacks_port() {
        return Err(Error::Config(format!("server {server} has an address and no port, so that it is not used")));
    }
    if balancer.lacks_weights() {
        return Err(Error::Config(String::from(LACKS_WEIGHTS)));
    }
    if let Some(account) = options.user.as_ref().filter(|account| !may_become(account)) {
        return Err(Error::Config(format!("-u: only root can run as another user (user id {})", account.uid)));
    }
    if control_is_exposed(&balancer, &control) {
        warn(CONTROL_IS_EXPOSED);
    }
    if balancer.every_client_may_announce() {
        warn(EVERY_CLIENT_MAY_ANNOUNCE);
    }
    if balancer.is_strict_in_vain() {
        warn(STRICT_IN_VAIN);
    }
    if balancer.settings().web.control_is_in_vain() {
        warn(CONTROL_IN_VAIN);
    }
    let jail = Root::new(options.identity.jail.as_deref())?;
    balancer.programs().into_iter().try_for_each(|program| runnable(&jail.outside(program)))
}

/// The warning about a choice by weight without weights.
pub const LACKS_WEIGHTS: &str = "selection is by weight, but every server has weight 0: new clients will be refused";

/// The warning about requests that are not looked at.
pub const STRICT_IN_VAIN: &str = "http_strict has no effect without http (-H)";

/// The warning about a web page where nobody may change anything, although it is allowed.
pub const CONTROL_IN_VAIN: &str =
    "web_control is on, but without web_password nobody can change servers over a network";

/// The warning about PROXY headers from everybody.
pub const EVERY_CLIENT_MAY_ANNOUNCE: &str =
    "accept_proxy is on, and proxy_acl is empty: every client can announce any address as its own";

/// The warning about a control port for everybody.
pub const CONTROL_IS_EXPOSED: &str =
    "the control port is open to the whole network: give it an address, as in -C 127.0.0.1:8888, or set control_acl";

/// Whether all hosts can use the control port.
pub fn control_is_exposed(balancer: &Balancer, control: &[Place]) -> bool {
    let is_any = |address: &Address| matches!(address, Address::Ip(address) if address.ip().is_unspecified());
    control.iter().flat_map(|place| &place.addresses).any(is_any) && balancer.control_is_open()
}

impl Config {
    /// Applies the command line and the file to a new balancer, and looks up all names. A signal that interrupts a resolver that takes
    /// long ends pen, which has nothing to clean up yet.
    pub fn make(options: &Options, warn: &dyn Fn(&str)) -> Result<Self, Error> {
        let mut listeners = options.listeners.clone();
        // A jail that cannot be entered is told after the errors of the file.
        let confined = Root::new(options.identity.jail.as_deref()).ok();
        let loader = Loader {
            port: listeners.as_ref().and_then(Listeners::port).cloned(),
            key_files: KeyFiles::new(Root::new(None)?, confined.clone()),
            confined,
            root: Root::new(None)?,
            names: Arc::new(Names::new(options.identity.jail.is_some(), options.identity.udp)),
            udp: options.identity.udp,
            is_exposed_root: options.user.is_none() && is_root(),
            lengths: Lengths::default(),
        };
        let located = |command: &Command| Located { place: String::new(), command: command.clone() };
        // What the command line writes shall have everything in it, also what comes from the file.
        let (writing, mut commands): (Vec<_>, Vec<_>) =
            options.commands.iter().map(located).partition(|located| matches!(located.command, Command::Write(_)));
        if let Some(file) = &options.identity.file {
            match loader.read(file) {
                Ok(lines) => commands.extend(rebuild_lists(lines)),
                Err(Error::System(what, cause)) if cause.kind() == io::ErrorKind::NotFound => {
                    warn(&Error::System(what, cause).to_string());
                }
                Err(error) => return Err(error),
            }
        }
        commands.extend(writing);
        let prepared = loader.prepare(commands, &|| Ok(None))?;
        prepared.warnings.iter().for_each(|text| warn(text));
        let text = listeners.as_ref().map_or_else(String::new, |listeners| listeners.text().to_string());
        let mut balancer = Balancer::new(options.identity.clone(), text);
        let mut effects = Vec::new();
        let time = Clock::local().format(SystemTime::now());
        let context = Context { time: &time, ..Context::start(Instant::now()) };
        balancer.make_room(&prepared.commands).map_err(Error::Config)?;
        for command in &prepared.commands {
            if let Command::Listen(wanted) = command {
                listeners = Some(wanted.clone());
            }
            effects.extend(balancer.apply(command.clone(), &context).effects);
        }
        // pen can work without a server, but not without all of them.
        let needed = |unresolved: &&Unresolved| !unresolved.is_server || !balancer.can_serve();
        let errors: Vec<_> = prepared.unresolved.iter().filter(needed).map(Unresolved::to_string).collect();
        if !errors.is_empty() {
            return Err(Error::Config(errors.join("\n")));
        }
        if let Some(operand) = options.listeners.clone().map(Command::Listen).filter(|_| options.identity.udp) {
            udp::objection(&operand).map_or(Ok(()), |why| Err(Error::Config(format!("{operand}: {why}"))))?;
        }
        let listeners = listeners.ok_or_else(|| Error::Usage(String::from("no listening port given")))?;
        if !balancer.has_servers() && options.identity.file.is_none() && options.control.is_none() {
            return Err(Error::Usage(String::from("no server given")));
        }
        let places = loader.names.places(&listeners)?;
        let traffic = if options.identity.udp {
            Traffic::Datagrams { sockets: datagrams::threads(balancer.settings().conn_max) }
        } else {
            Traffic::Connections { backlog: options.backlog }
        };
        let control = options.control.as_ref().map(|control| loader.names.places(control)).transpose()?;
        let control = control.unwrap_or_default();
        let web = balancer.settings().web.at.as_ref().map(|web| loader.names.places(web)).transpose()?;
        let web = web.unwrap_or_default();
        let mut key_warnings = Vec::new();
        let keyring =
            Keyring::load(balancer.tls_config(), &loader.key_files, None, &mut |text| key_warnings.push(text))?;
        let keyring = Arc::new(keyring);
        Ok(Self { balancer, places, traffic, control, web, prepared, keyring, key_warnings, effects, loader })
    }

    /// Tells of names that cannot be looked up where the log does not: on a terminal.
    pub fn tell_unresolved(&self, warn: &dyn Fn(&str)) {
        for unresolved in &self.prepared.unresolved {
            warn(&format!("{unresolved}; tried again every {} s", RETRY.as_secs()));
        }
    }
}
