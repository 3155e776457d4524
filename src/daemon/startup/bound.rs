//! What pen binds: the listener, the control port, the pid file. Their files are removed at the end.

use std::mem;
use std::path::Path;
use std::process;
use std::sync::Arc;

use super::config::{Config, Options};
use crate::daemon::control::loader::WEB_TRAFFIC;
use crate::endpoint::Address;
use crate::error::Error;
use crate::net::listener::{Access, Listener, Traffic};
use crate::sys::pidfile::PidFile;
use crate::sys::privileges::Account;
use crate::sys::root::Root;

/// How many clients of the control port the kernel may queue. A script can connect every 20 us (measured on one core), and pen may get
/// the processor only after some ms: with a queue that is full, a connect fails, or is repeated after a second.
const CONTROL_BACKLOG: i32 = 1024;

/// See the module's documentation. Files are removed when it is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    /// Where clients come in, until it is handed over.
    listeners: Vec<Arc<Listener>>,
    /// Where commands come in.
    pub(super) control: Vec<Arc<Listener>>,
    /// Where the web page is, until it is handed over.
    web: Vec<Arc<Listener>>,
    pidfile: Option<PidFile>,
}

impl Bound {
    /// Listens. What belongs into a jail is not touched yet.
    pub(super) fn open(options: &Options, config: &Config) -> Result<Self, Error> {
        let listeners = Listener::open_all(&config.places, config.traffic, Access::Everybody, &[])?;
        let mut bound = Self { listeners, control: Vec::new(), web: Vec::new(), pidfile: None };
        let commands = Traffic::Connections { backlog: CONTROL_BACKLOG };
        bound.control = Listener::open_all(&config.control, commands, Access::Owner, &[])?;
        bound.web = Listener::open_all(&config.web, WEB_TRAFFIC, Access::Owner, &[])?;
        if let Some(user) = &options.user {
            bound.listeners.iter().chain(&bound.web).for_each(|listener| listener.share_with(user));
            for listener in bound.control.iter().chain(&bound.web) {
                // A Unix socket is for the user that pen will run as only.
                let given = listener.give_to(user);
                given.map_err(|error| Error::System(format!("Can't chown {}", listener.address()), error))?;
            }
        }
        Ok(bound)
    }

    /// How many listeners there are, besides those of the web page.
    pub(super) fn count(&self) -> usize {
        self.listeners.len() + self.control.len()
    }

    /// Enters the jail (`enter`), then sets the sockets' paths as seen from it.
    pub(super) fn enter(&mut self, root: &Root, enter: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let alias = |listener: &Listener| match listener.address() {
            Address::Unix(path) => root.alias(path),
            Address::Ip(_) => None,
        };
        // Computed before: in the jail, outside paths cannot be resolved.
        let names: Vec<_> = self.all().map(|listener| alias(listener)).collect();
        enter()?;
        for (listener, name) in self.all().zip(names) {
            // They are not shared yet.
            if let Some(listener) = Arc::get_mut(listener) {
                listener.rename(name);
            }
        }
        Ok(())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Arc<Listener>> {
        self.listeners.iter_mut().chain(&mut self.control).chain(&mut self.web)
    }

    /// Gives the listeners away, with the duty to remove their files.
    pub(super) fn hand_over(&mut self) -> Vec<Arc<Listener>> {
        mem::take(&mut self.listeners)
    }

    /// Likewise, those of the web page.
    pub(super) fn hand_over_web(&mut self) -> Vec<Arc<Listener>> {
        mem::take(&mut self.web)
    }

    /// Writes the pid file, in the jail if there is one, while the directory that it lies in can still be written to.
    pub(super) fn write_pid(
        &mut self,
        program: &'static str,
        path: &Path,
        account: Option<&Account>,
    ) -> Result<(), Error> {
        self.pidfile = Some(PidFile::claim(program, path, process::id(), account)?);
        Ok(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.all().for_each(|listener| listener.remove_file());
    }
}
