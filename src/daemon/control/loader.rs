//! Commands made ready: files read and included, country data read, names resolved, listeners and logs opened. All that may wait for
//! a disk or for DNS.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::countries::Supply;
use crate::daemon::events::{Prepared, Unresolved};
use crate::endpoint::Port;
use crate::error::Error;
use crate::net::listener::{Access, Listener, Traffic};
use crate::net::resolve::{Names, Place};
use crate::policy::command::Command;
use crate::policy::command::file::{self, Located};
use crate::policy::command::setting::Value;
use crate::policy::command::udp;
use crate::policy::country::GeoipFile;
use crate::policy::listeners::Listeners;
use crate::policy::settings::LogTarget;
use crate::sys::access_log::Destination;
use crate::sys::files;
use crate::sys::key_files::KeyFiles;
#[cfg(feature = "web")]
use crate::sys::passwords;
use crate::sys::root::Root;

/// How deep files may include files.
const DEEPEST: usize = 8;

/// The most lines that one load may read from all its files, one read twice counted twice. 10000 servers and an access list of
/// all networks of some countries need fewer. Each of them takes up to 300 bytes while the load lasts.
const LINES: usize = 100_000;

/// The most bytes that one load may read from all its files: as many as the largest file has.
const BYTES: u64 = files::LARGEST;

/// The most country data that one load may read and files that it may write: each is in memory until the load is over.
const FILES: usize = 8;

/// Why there is no web page.
const NO_ROOT: &str = "Won't open the web page running as root; use -u to run as different user";

/// The reply to a command that finds the page elsewhere than a moment before.
const WEB_MOVED: &str = "web: another command has just moved it; try again";

/// What comes in at the web page. The kernel queues as many clients as are served at a time: more would wait for long.
pub const WEB_TRAFFIC: Traffic = Traffic::Connections { backlog: 64 };

/// What one load may still read.
struct Room {
    lines: usize,
    bytes: u64,
    /// It reads the file of `-F`, which another program may be writing just now.
    is_again: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { lines: LINES, bytes: BYTES, is_again: false }
    }
}

impl Room {
    /// Counts a file that was read. The error names its first line that is too many.
    fn take(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let lines = text.lines().count();
        if lines > self.lines {
            let place = format!("{name}:{}", self.lines + 1);
            return Err(placed(&place, &format!("all files of one load have at most {LINES} lines")));
        }
        self.lines -= lines;
        self.bytes = self.bytes.saturating_sub(text.len() as u64);
        Ok(())
    }
}

/// The length of each file when it was read last, so that a copy that is not complete yet can be told from a file without a newline
/// at its end. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Lengths(Arc<Mutex<HashMap<PathBuf, usize>>>);

impl Lengths {
    /// As many files are remembered. What is forgotten is only not recognised.
    const MOST: usize = 1000;

    /// Refuses a text whose last line has no end if it was longer before.
    fn check(&self, path: &Path, name: &str, text: &str) -> Result<(), Error> {
        let before = self.all().get(path).copied();
        if !text.ends_with('\n') && before.is_some_and(|before| text.len() < before) {
            let place = format!("{name}:{}", text.lines().count().max(1));
            return Err(placed(
                &place,
                "the file ends here, without a newline, and is shorter than it was: it is not complete",
            ));
        }
        Ok(())
    }

    /// Notes the length of a text that makes sense.
    fn note(&self, path: &Path, length: usize) {
        let mut lengths = self.all();
        if lengths.len() >= Self::MOST {
            lengths.clear();
        }
        lengths.insert(path.to_path_buf(), length);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        // A panic cannot leave it inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to make commands ready.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The port of servers that name none.
    pub port: Option<Port>,
    /// Where the names of files begin.
    pub root: Root,
    /// For certificates and keys.
    pub key_files: KeyFiles,
    /// What names of hosts and services mean.
    pub names: Arc<Names>,
    /// It is for datagrams.
    pub udp: bool,
    /// The jail that pen is not in yet.
    pub confined: Option<Root>,
    /// pen runs as root, and nobody has said that it may.
    pub is_exposed_root: bool,
    /// The lengths of files that were read.
    pub lengths: Lengths,
}

impl Loader {
    /// Reads the configuration file of `-F` and what it includes.
    pub fn read(&self, path: &Path) -> Result<Vec<Located>, Error> {
        let mut all = Vec::new();
        self.read_into(&mut all, path, 0, &mut Room { is_again: true, ..Room::default() })?;
        Ok(all)
    }

    fn read_into(&self, all: &mut Vec<Located>, path: &Path, depth: usize, room: &mut Room) -> Result<(), Error> {
        let name = path.display().to_string();
        let text = files::read(&self.root.name(path), room.bytes)
            .map_err(|error| Error::System(format!("Can't read config file '{name}'"), error))?;
        room.take(&name, &text)?;
        if room.is_again {
            self.lengths.check(path, &name, &text)?;
        }
        let commands = file::parse(&name, &text, self.port.as_ref()).map_err(Error::Config)?;
        if room.is_again {
            self.lengths.note(path, text.len());
        }
        drop(text);
        self.expand_into(all, commands, depth, room)
    }

    /// Appends commands, and those of included files in the place of the command that includes them.
    fn expand_into(
        &self,
        all: &mut Vec<Located>,
        commands: Vec<Located>,
        depth: usize,
        room: &mut Room,
    ) -> Result<(), Error> {
        for located in commands {
            let Command::Include(path) = &located.command else {
                all.push(located);
                continue;
            };
            let place = &located.place;
            if depth >= DEEPEST {
                let path = path.display();
                return Err(placed(place, &format!("include {path}: files include files more than {DEEPEST} deep")));
            }
            self.read_into(all, path, depth + 1, room).map_err(|error| match error {
                Error::Config(lines) => Error::Config(lines),
                Error::System(what, cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
                    placed(place, &format!("{what}: all files of one load have at most {BYTES} bytes"))
                }
                other => placed(place, &other.to_string()),
            })?;
        }
        Ok(())
    }

    /// Includes files, reads country data and resolves names. Blocks for as long as that takes. Nothing is opened yet: at the start
    /// that comes later. `geoip` tells which country data pen has before the commands. A name of a host that cannot be looked up is no
    /// error here.
    pub fn prepare(
        &self,
        commands: Vec<Located>,
        geoip: &dyn Fn() -> Result<Option<GeoipFile>, Error>,
    ) -> Result<Prepared, Error> {
        let mut supply = Supply::new(&self.root, geoip);
        let mut prepared = Prepared::default();
        let mut all = Vec::new();
        self.expand_into(&mut all, commands, 0, &mut Room::default())?;
        file::spare_servers(&mut all);
        let mut files = 0;
        for Located { place, mut command } in all {
            files += usize::from(matches!(command, Command::Geoip(Some(_)) | Command::Write(_)));
            if files > FILES {
                return Err(placed(
                    &place,
                    &format!("{command}: one load has at most {FILES} geoip and write commands"),
                ));
            }
            if command.opens_web() {
                if !cfg!(feature = "web") {
                    return Err(placed(&place, "web: this program was built without the web page (feature web)"));
                }
                if self.is_exposed_root {
                    prepared.warnings.push(if place.is_empty() {
                        String::from(NO_ROOT)
                    } else {
                        format!("{place}: {NO_ROOT}")
                    });
                    continue;
                }
            }
            #[cfg(feature = "web")]
            if let Some(path) = command.web_password() {
                let path = self.confined.as_ref().map_or_else(|| self.root.name(path), |jail| jail.outside(path));
                passwords::read(&path).map_err(|error| placed(&place, &format!("web_password: {error}")))?;
            }
            if let Some(objection) = udp::objection(&command).filter(|_| self.udp) {
                return Err(placed(&place, objection));
            }
            let found = supply.serve(&mut command).map_err(|error| placed(&place, &error.to_string()))?;
            prepared.commands.extend(found.map(|file| Command::Geoip(Some(file))));
            let failed = self.names.resolve(&mut command).map_err(|error| placed(&place, &error.to_string()))?;
            let is_server = !matches!(command, Command::Set(_, Value::Log(_)));
            prepared.unresolved.extend(failed.map(|error| Unresolved { place, error, is_server }));
            prepared.commands.push(command);
        }
        Ok(prepared)
    }

    /// Opens where the request log goes after the last `log` command, if there is one. If its name cannot be looked up and `now` tells
    /// the same, that stays open.
    pub fn open_access_log(
        &self,
        prepared: &mut Prepared,
        now: impl FnOnce() -> Result<String, Error>,
    ) -> Result<(), Error> {
        let last = prepared.commands.iter().rev().find_map(|command| match command {
            Command::Set(_, Value::Log(target)) => Some(target.as_ref()),
            _ => None,
        });
        if let Some(target) = last {
            if let Some(unresolved) = prepared.unresolved.iter().rfind(|unresolved| !unresolved.is_server) {
                let stays = target.map(LogTarget::to_string) == Some(now()?);
                return if stays { Ok(()) } else { Err(Error::Config(unresolved.to_string())) };
            }
            let destination = target.map(|target| Destination::open(target, &self.root)).transpose()?;
            prepared.access_log = Some(destination.map(Box::new));
        }
        Ok(())
    }

    /// Looks up where the web page goes after the last `web` command, if there is one and `now` tells something else. That may take long,
    /// so that nothing may wait for it.
    pub fn web_places(
        &self,
        prepared: &Prepared,
        now: impl FnOnce() -> Result<String, Error>,
    ) -> Result<Option<Vec<Place>>, Error> {
        let wanted = prepared.commands.iter().rev().find_map(Command::web).flatten();
        let Some(wanted) = wanted else { return Ok(None) };
        if now()? == wanted.text() { Ok(None) } else { self.names.places(wanted).map(Some) }
    }

    /// Opens the web page at these places, which the last `web` command asks for, if `now` tells something else. `listeners` are there
    /// already.
    pub fn open_web(
        &self,
        prepared: &Prepared,
        places: Option<Vec<Place>>,
        now: impl FnOnce() -> Result<String, Error>,
        listeners: &[Arc<Listener>],
    ) -> Result<Option<Vec<Arc<Listener>>>, Error> {
        let last = prepared.commands.iter().rev().find_map(Command::web);
        let Some(wanted) = last else { return Ok(None) };
        if now()? == wanted.map_or("off", Listeners::text) {
            return Ok(None);
        }
        let places = match (wanted, places) {
            (None, _) => Vec::new(),
            (Some(_), Some(places)) => places,
            (Some(_), None) => return Err(Error::Config(String::from(WEB_MOVED))),
        };
        Listener::open_all(&places, WEB_TRAFFIC, Access::Owner, listeners).map(Some)
    }

    /// Opens what the last `listen` command asks for, if there is one and `now` tells something else, for everybody. `listeners` are
    /// there already.
    pub fn open_listeners(
        &self,
        prepared: &mut Prepared,
        traffic: Traffic,
        now: impl FnOnce() -> Result<String, Error>,
        listeners: impl FnOnce() -> Result<Vec<Arc<Listener>>, Error>,
    ) -> Result<(), Error> {
        let last = prepared.commands.iter().rev().find_map(|command| match command {
            Command::Listen(wanted) => Some(wanted),
            _ => None,
        });
        if let Some(wanted) = last {
            if now()? != wanted.text() {
                let places = self.names.places(wanted)?;
                let opened = Listener::open_all(&places, traffic, Access::Everybody, &listeners()?)?;
                prepared.listeners = Some(opened);
            }
        }
        Ok(())
    }
}

fn placed(place: &str, text: &str) -> Error {
    Error::Config(if place.is_empty() { text.to_string() } else { format!("{place}: {text}") })
}
