//! The configuration: read and checked before anything is started.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::daemon::control::loader::Loader;
use crate::daemon::events::Prepared;
use crate::endpoint::{Address, Endpoint};
use crate::error::Error;
use crate::net::resolve::Names;
use crate::policy::balancer::Balancer;
use crate::policy::command::Command;
use crate::policy::command::apply::Effect;
use crate::policy::command::file::{Located, rebuild_lists};
use crate::policy::identity::Identity;
use crate::policy::report::Context;
use crate::sys::clock::Clock;
use crate::sys::privileges::Account;
use crate::sys::root::Root;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// The listener, as text and parsed. A file may set it instead.
    pub listener: Option<(String, Endpoint)>,
    /// How many clients the kernel may queue before they are accepted.
    pub backlog: i32,
    /// The control port, likewise.
    pub control: Option<(String, Endpoint)>,
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
    /// Where clients come in, as it was written, and its addresses.
    pub listener: (String, Vec<Address>),
    /// The control port, likewise.
    pub control: Option<(String, Vec<Address>)>,
    /// What the balancer was configured with. Nothing is open yet.
    pub prepared: Prepared,
    /// What the commands ask of the world outside.
    pub effects: Vec<Effect>,
    /// What the commands were read with, outside the jail.
    pub loader: Loader,
}

/// Reads and resolves everything without starting anything. `warn` is told what is odd but no reason to stop.
pub fn check(options: Options, warn: &dyn Fn(&str)) -> Result<(), Error> {
    Config::make(&options, warn)?;
    Root::new(options.identity.jail.as_deref()).map(drop)
}

impl Config {
    /// Applies the command line and the file to a new balancer, and looks up all names. A signal that interrupts a resolver that takes
    /// long ends pen, which has nothing to clean up yet.
    pub fn make(options: &Options, warn: &dyn Fn(&str)) -> Result<Self, Error> {
        let mut listener = options.listener.clone();
        let loader = Loader {
            port: listener.as_ref().and_then(|(_, endpoint)| endpoint.port().cloned()),
            root: Root::new(None)?,
            names: Arc::new(Names::new(options.identity.jail.is_some())),
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
        let text = listener.as_ref().map_or_else(String::new, |(text, _)| text.clone());
        let mut balancer = Balancer::new(options.identity.clone(), text);
        let mut effects = Vec::new();
        let time = Clock::local().format(SystemTime::now());
        let context = Context { time: &time, ..Context::start(Instant::now()) };
        for command in &prepared.commands {
            if let Command::Listen(text, endpoint) = command {
                listener = Some((text.clone(), endpoint.clone()));
            }
            effects.extend(balancer.apply(command.clone(), &context).effects);
        }
        let listener = listener.ok_or_else(|| Error::Usage(String::from("no listening port given")))?;
        if !balancer.has_servers() && options.identity.file.is_none() && options.control.is_none() {
            return Err(Error::Usage(String::from("no server given")));
        }
        let resolved = |(text, endpoint)| loader.names.listener(&endpoint).map(|addresses| (text, addresses));
        let listener = resolved(listener)?;
        let control = options.control.clone().map(resolved).transpose()?;
        Ok(Self { balancer, listener, control, prepared, effects, loader })
    }
}
