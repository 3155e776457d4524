//! Commands made ready: files read and included, country data read, names resolved, listeners and logs opened. All that may wait for
//! a disk or for DNS.

use std::path::Path;
use std::sync::Arc;

use super::countries::Supply;
use crate::daemon::events::Prepared;
use crate::endpoint::Port;
use crate::error::Error;
use crate::net::listener::{Access, Listener};
use crate::net::resolve::Names;
use crate::policy::command::Command;
use crate::policy::command::file::{self, Located};
use crate::policy::command::setting::Value;
use crate::policy::country::GeoipFile;
use crate::sys::access_log::Destination;
use crate::sys::files;
use crate::sys::root::Root;

/// How deep files may include files.
const DEEPEST: usize = 8;

/// What it takes to make commands ready.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The port of servers that name none.
    pub port: Option<Port>,
    /// Where the names of files begin.
    pub root: Root,
    /// What names of hosts and services mean.
    pub names: Arc<Names>,
}

impl Loader {
    /// Reads a configuration file and what it includes.
    pub fn read(&self, path: &Path) -> Result<Vec<Located>, Error> {
        self.read_at(path, 0)
    }

    fn read_at(&self, path: &Path, depth: usize) -> Result<Vec<Located>, Error> {
        let name = path.display().to_string();
        let text = files::read(&self.root.name(path))
            .map_err(|error| Error::System(format!("Can't read config file '{name}'"), error))?;
        let commands = file::parse(&name, &text, self.port.as_ref()).map_err(Error::Config)?;
        self.expand(commands, depth)
    }

    /// Puts the commands of included files in the place of the command that includes them.
    fn expand(&self, commands: Vec<Located>, depth: usize) -> Result<Vec<Located>, Error> {
        let mut expanded = Vec::with_capacity(commands.len());
        for located in commands {
            match &located.command {
                Command::Include(path) if depth >= DEEPEST => {
                    let path = path.display();
                    return Err(placed(
                        &located.place,
                        &format!("include {path}: files include files more than {DEEPEST} deep"),
                    ));
                }
                Command::Include(path) => {
                    let included = self.read_at(path, depth + 1);
                    expanded.extend(included.map_err(|error| match error {
                        Error::Config(lines) => Error::Config(lines),
                        other => placed(&located.place, &other.to_string()),
                    })?);
                }
                _ => expanded.push(located),
            }
        }
        Ok(expanded)
    }

    /// Includes files, reads country data and resolves names. Blocks for as long as that takes. Nothing is opened yet: at the start
    /// that comes later. `geoip` tells which country data pen has before the commands.
    pub fn prepare(
        &self,
        commands: Vec<Located>,
        geoip: &dyn Fn() -> Result<Option<GeoipFile>, Error>,
    ) -> Result<Prepared, Error> {
        let mut supply = Supply::new(&self.root, geoip);
        let mut prepared = Prepared::default();
        let mut commands = self.expand(commands, 0)?;
        file::spare_servers(&mut commands);
        for Located { place, mut command } in commands {
            let found = supply.serve(&mut command).map_err(|error| placed(&place, &error.to_string()))?;
            prepared.commands.extend(found.map(|file| Command::Geoip(Some(file))));
            self.names.resolve(&mut command).map_err(|error| placed(&place, &error.to_string()))?;
            prepared.commands.push(command);
        }
        Ok(prepared)
    }

    /// Opens where the request log goes after the last `log` command, if there is one.
    pub fn open_access_log(&self, prepared: &mut Prepared) -> Result<(), Error> {
        let last = prepared.commands.iter().rev().find_map(|command| match command {
            Command::Set(_, Value::Log(target)) => Some(target.as_ref()),
            _ => None,
        });
        if let Some(target) = last {
            let destination = target.map(|target| Destination::open(target, &self.root)).transpose()?;
            prepared.access_log = Some(destination.map(Box::new));
        }
        Ok(())
    }

    /// Opens the listener that the last `listen` command asks for, if there is one and `now` tells another; the first of its
    /// addresses that can be had, for everybody.
    pub fn open_listener(
        &self,
        prepared: &mut Prepared,
        backlog: i32,
        now: impl FnOnce() -> Result<String, Error>,
    ) -> Result<(), Error> {
        let last = prepared.commands.iter().rev().find_map(|command| match command {
            Command::Listen(text, endpoint) => Some((text, endpoint)),
            _ => None,
        });
        if let Some((text, endpoint)) = last {
            if now()? != *text {
                let addresses = self.names.listener(endpoint)?;
                let listener = Listener::open_first(text, &addresses, backlog, Access::Everybody)?;
                prepared.listener = Some(Arc::new(listener));
            }
        }
        Ok(())
    }
}

fn placed(place: &str, text: &str) -> Error {
    Error::Config(if place.is_empty() { text.to_string() } else { format!("{place}: {text}") })
}
