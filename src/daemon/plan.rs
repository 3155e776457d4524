//! What pen is to do, read and understood before anything is started.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::reading::Reading;
use crate::endpoint::{Address, Endpoint};
use crate::error::Error;
use crate::net::privileges::Account;
use crate::net::resolve::Names;
use crate::net::root::Root;
use crate::policy::balancer::Balancer;
use crate::policy::command::Command;
use crate::policy::configure::{Effect, Moment};
use crate::policy::file::{Located, rebuild_lists};
use crate::policy::identity::Identity;

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
#[derive(Debug)]
pub struct Plan {
    /// Configured, and without connections.
    pub balancer: Balancer,
    /// Where clients come in, as it was written, and its addresses.
    pub listener: (String, Vec<Address>),
    /// Where commands come in, likewise.
    pub control: Option<(String, Vec<Address>)>,
    /// What the commands ask of the world outside.
    pub effects: Vec<Effect>,
    /// What the commands were read with, outside the jail.
    pub reading: Reading,
}

/// Reads and resolves everything without starting anything. `warn` is told what is odd but no reason to stop.
pub fn check(config: Config, warn: &dyn Fn(&str)) -> Result<(), Error> {
    Plan::make(&config, warn)?;
    Root::new(config.identity.jail.as_deref()).map(drop)
}

impl Plan {
    /// Applies the command line and the file to a new balancer, and looks up all names: whoever interrupts a resolver that takes
    /// its time finds that there is nothing to end in peace yet.
    pub fn make(config: &Config, warn: &dyn Fn(&str)) -> Result<Self, Error> {
        let mut listener = config.listener.clone();
        let reading = Reading {
            port: listener.as_ref().and_then(|(_, endpoint)| endpoint.port().cloned()),
            root: Root::new(None)?,
            names: Arc::new(Names::new(config.identity.jail.is_some())),
        };
        let said = config.commands.iter().map(|command| Located { place: String::new(), command: command.clone() });
        let mut commands = reading.prepare(said.collect(), &|| Ok(None))?;
        if let Some(file) = &config.identity.file {
            match reading.read(file) {
                Ok(lines) => {
                    let said = commands.iter().rev().find_map(|command| match command {
                        Command::Geoip(file) => Some(file.clone()),
                        _ => None,
                    });
                    let said = said.flatten();
                    commands.extend(reading.prepare(rebuild_lists(lines), &|| Ok(said.clone()))?);
                }
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
        let resolved = |(text, endpoint)| reading.names.listener(&endpoint).map(|addresses| (text, addresses));
        let listener = resolved(listener)?;
        let control = config.control.clone().map(resolved).transpose()?;
        Ok(Self { balancer, listener, control, effects, reading })
    }
}
