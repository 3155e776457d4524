//! Executes commands for the control port and the reloader. Everything that may block is done here and not in the supervisor:
//! files are read and names resolved before, files are written after.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Sender, bounded};

use super::countries;
use super::loader::Loader;
use super::reports::Reports;
use crate::daemon::access_log::AccessLog;
use crate::daemon::door::Door;
use crate::daemon::events::{Event, Prepared, Unresolved};
use crate::daemon::mailbox::Handle;
use crate::daemon::thread;
use crate::endpoint::Host;
use crate::error::{Error, reason};
use crate::id::{ServerId, Upstream};
use crate::net::control::Verdict;
use crate::net::listener::Traffic;
use crate::net::tls::Keyring;
use crate::policy::command::Command;
use crate::policy::command::apply::{Effect, Outcome};
use crate::policy::command::file::{self, Located};
use crate::policy::command::setting::Value;
use crate::policy::command::settings;
use crate::policy::command::tls::Parties;
use crate::policy::country::GeoipFile;
use crate::policy::report::query::Query;
use crate::sys::files;
use crate::sys::privileges::may_be_transparent;
use crate::sys::root::Root;

/// The reply to `transparent` where it would make every connect to a server fail.
const NOT_TRANSPARENT: &str =
    "transparent: pen has no right to its clients' addresses; it keeps it only if started with transparent";

/// The error once the supervisor has ended.
const ABOUT_TO_END: &str = "is about to end";

/// Whether the error is only that pen ends, which has been logged.
pub fn is_the_end(error: &Error) -> bool {
    matches!(error, Error::System(_, cause) if cause.to_string() == ABOUT_TO_END)
}

/// Why a client of the control port cannot have programs run.
const NO_PROGRAMS: &str = "programs can be set on the command line and in the file of -F only";

/// Executes commands. Copies use the same supervisor.
#[derive(Clone, Debug)]
pub struct Executor {
    /// To the supervisor.
    pub events: Handle<Event>,
    /// For files and names.
    pub loader: Loader,
    /// Of listeners that commands open.
    pub traffic: Traffic,
    /// The request log.
    pub access_log: AccessLog,
    /// Held while certificates and keys are read and applied.
    pub keys: Arc<Mutex<()>>,
    /// The web page.
    pub web: Door,
    /// Whose turn it is among the reports that ask the supervisor.
    pub turn: Arc<Mutex<()>>,
}

/// What a reload has done.
#[derive(Debug)]
pub struct Reloaded {
    /// How many commands the file has.
    pub count: usize,
    /// Sentences about files that could not be written.
    pub failures: Vec<String>,
    /// What is odd about certificates and keys that were read.
    pub warnings: Vec<String>,
    /// Servers in use that the file does not mention.
    pub unmentioned: Vec<ServerId>,
    /// The commands that are now true and were not before.
    pub changes: Vec<String>,
}

/// What has come of commands.
struct Done {
    /// The reply of the last one, and the effects of all.
    outcome: Outcome,
    /// Files that could not be written.
    failures: Vec<String>,
    /// Names that cannot be looked up.
    unresolved: Vec<String>,
    /// What is odd about certificates and keys that were read.
    warnings: Vec<String>,
}

/// Whether certificates and keys are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// If the commands are about them.
    AsNeeded,
    /// In any case: they may have changed.
    Again,
    /// Likewise, but if they cannot be read those that are in use stay, where the commands need no others.
    AgainIfPossible,
}

impl Executor {
    /// Reads one line, carries it out, writes the reply, and tells whether the command was carried out. It fails when the reply cannot
    /// be written.
    pub fn say(&self, line: &str, out: &mut dyn Write) -> io::Result<Verdict> {
        let command = Command::parse(line, self.loader.port.as_ref());
        if let Ok(Command::Show(query)) = &command {
            if let Some(written) = self.reports().write(query, out) {
                return written;
            }
        }
        let (verdict, reply) = match command {
            Err(wrong) => (Verdict::Refused, wrong.reply()),
            Ok(command) => {
                let silent = matches!(command, Command::Include(_));
                match self.perform_for_client(command) {
                    Ok(Done { failures, .. }) if !failures.is_empty() => (Verdict::Refused, failures.join("\n") + "\n"),
                    Ok(Done { outcome: Outcome { reply, effects }, .. }) if effects.contains(&Effect::Refuse) => {
                        (Verdict::Refused, reply)
                    }
                    Ok(Done { unresolved, warnings, .. }) if silent => {
                        let lines = unresolved.iter().chain(&warnings);
                        (Verdict::Accepted, lines.map(|line| format!("{line}\n")).collect())
                    }
                    Ok(Done { outcome: Outcome { reply, .. }, warnings, .. }) => (
                        Verdict::Accepted,
                        reply + &warnings.iter().map(|line| format!("{line}\n")).collect::<String>(),
                    ),
                    Err(error) => (Verdict::Refused, format!("{error}\n")),
                }
            }
        };
        out.write_all(reply.as_bytes())?;
        Ok(verdict)
    }

    /// Whether the line asks for more than an answer.
    pub fn is_change(&self, line: &str) -> bool {
        Command::parse(line, self.loader.port.as_ref()).is_ok_and(|command| command.is_change())
    }

    /// Reports over the tables.
    pub fn reports(&self) -> Reports {
        Reports { events: self.events.clone(), root: self.loader.root.clone(), turn: Arc::clone(&self.turn) }
    }

    /// Reads a configuration file and carries it out, whole or not at all. Access lists that it mentions are rebuilt.
    pub fn reload(&self, path: &Path) -> Result<Reloaded, Error> {
        let mut commands = self.loader.read(path)?;
        let before = self.configuration()?;
        let count = commands.len();
        let mentioned = file::mentioned_servers(&commands);
        if let Some(in_use) = self.geoip()? {
            // What comes from the file in use need not be read for this; in a jail it could not be.
            for located in &mut commands {
                if let Command::Geoip(Some(file)) = &mut located.command {
                    file.share(&in_use);
                }
            }
        }
        let Done { mut failures, outcome: Outcome { reply, effects }, warnings, .. } =
            self.perform(file::rebuild_lists(commands), Keys::AgainIfPossible)?;
        if effects.contains(&Effect::Refuse) {
            failures.push(format!("{}: {}", path.display(), reply.trim_end()));
        }
        let after = self.configuration()?;
        Ok(Reloaded {
            count,
            failures,
            warnings,
            unmentioned: mentioned.map_or_else(Vec::new, |mentioned| file::unmentioned_servers(&after, &mentioned)),
            changes: file::changes(&before, &after),
        })
    }

    /// The configuration as commands, as `write` makes them.
    fn configuration(&self) -> Result<Vec<Command>, Error> {
        let effects = self.send(vec![Command::Show(Query::Configuration)])?.effects;
        let found =
            effects.into_iter().find_map(|effect| if let Effect::TellAll(all) = effect { Some(all) } else { None });
        Ok(found.unwrap_or_default())
    }

    /// Reads the country data again if its file has changed; when that fails the old data stays. Tells which file was read.
    pub fn renew_countries(&self) -> Result<Option<PathBuf>, Error> {
        let Some(in_use) = self.geoip()? else { return Ok(None) };
        let Some(file) = countries::renew(&in_use, &self.loader.root)? else { return Ok(None) };
        let path = in_use.path().to_path_buf();
        self.send(vec![Command::Renew(in_use, file)])?;
        Ok(Some(path))
    }

    /// Reads certificates and keys again, if any are in use. Tells what is odd about them.
    pub fn renew_keys(&self) -> Result<Option<Vec<String>>, Error> {
        let (config, _) = self.ask(Event::Keys)?;
        if !config.needs_tls() {
            return Ok(None);
        }
        self.perform(Vec::new(), Keys::Again).map(|done| Some(done.warnings))
    }

    /// A name was looked up again: the server follows if it still has that name.
    pub fn relocate(&self, upstream: Upstream, host: Host) -> Result<(), Error> {
        self.send(vec![Command::Resolved(upstream, host)]).map(drop)
    }

    /// The country data in use.
    fn geoip(&self) -> Result<Option<GeoipFile>, Error> {
        let effects = self.send(vec![Command::Show(Query::Geoip)])?.effects;
        Ok(effects.into_iter().find_map(|effect| if let Effect::Tell(file) = effect { Some(file) } else { None }))
    }

    /// Carries out a command of a client.
    fn perform_for_client(&self, command: Command) -> Result<Done, Error> {
        let prepared = self.loader.prepare(vec![Located { place: String::new(), command }], &|| self.geoip())?;
        match prepared.commands.iter().find(|command| command.runs_program()) {
            Some(command) => Err(Error::Config(format!("{command}: {NO_PROGRAMS}"))),
            // It was left out, and came alone.
            None if prepared.commands.is_empty() && !prepared.warnings.is_empty() => {
                Err(Error::Config(prepared.warnings.join("\n")))
            }
            None => self.perform_prepared(prepared, Keys::AsNeeded),
        }
    }

    /// Carries out commands, all or none. A name that cannot be looked up is an error only in a command of its own: one in a file costs
    /// its server alone.
    fn perform(&self, commands: Vec<Located>, keys: Keys) -> Result<Done, Error> {
        let prepared = self.loader.prepare(commands, &|| self.geoip())?;
        self.perform_prepared(prepared, keys)
    }

    fn perform_prepared(&self, mut prepared: Prepared, keys: Keys) -> Result<Done, Error> {
        if let Some(alone) = prepared.unresolved.iter().find(|unresolved| unresolved.place.is_empty()) {
            return Err(Error::Config(alone.to_string()));
        }
        let unresolved = prepared.unresolved.iter().map(Unresolved::to_string).collect();
        // Asked here, since all threads have the same rights.
        if prepared.commands.iter().any(makes_transparent) && !may_be_transparent() {
            return Err(Error::Config(String::from(NOT_TRANSPARENT)));
        }
        if prepared.commands.iter().any(|command| matches!(command, Command::Set(_, Value::Log(_)))) {
            self.access_log.has_room()?;
        }
        self.loader.open_access_log(&mut prepared, || {
            settings::find("log").map_or(Ok(String::new()), |log| self.value(Command::Get(log)))
        })?;
        let mut warnings = std::mem::take(&mut prepared.warnings);
        let is_about_keys = keys != Keys::AsNeeded || prepared.commands.iter().any(Command::is_tls);
        // From the question to the supervisor on, until the commands are applied, nothing else may change what TLS needs.
        let _keys_are_mine = is_about_keys.then(|| self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        if is_about_keys {
            let (config, before) = self.ask(Event::Keys)?;
            let ssl = config.ssl();
            let config = config.after(&prepared.commands);
            let mut again = if keys == Keys::AsNeeded { Parties::of(&prepared.commands) } else { Parties::ALL };
            again.clients |= config.ssl() != ssl;
            let stays = keys == Keys::AgainIfPossible && before.serves(&config);
            let loaded =
                Keyring::load(config, &self.loader.key_files, Some((&before, again)), &mut |text| warnings.push(text));
            prepared.keyring = Some(match loaded {
                Ok(keyring) => Arc::new(keyring),
                Err(error) if stays => {
                    warnings.push(format!("the old certificates and keys stay: {error}"));
                    before
                }
                Err(error) => return Err(error),
            });
        }
        let now = || settings::find("web").map_or(Ok(String::new()), |web| self.value(Command::Get(web)));
        let places = self.loader.web_places(&prepared, now)?;
        // Last: a listener that is not used has to be given back.
        let mut web = prepared.commands.iter().any(|command| command.web().is_some()).then(|| self.web.key());
        let mut opened = None;
        if let Some(web) = &mut web {
            opened = self.loader.open_web(&prepared, places, now, web.listeners())?;
            web.prepare(opened.as_deref().unwrap_or_default())?;
        }
        // In a file, since a line of its own does not come here.
        let publishes = prepared.commands.contains(&Command::Show(Query::Status));
        let outcome = self.open_and_apply(prepared).inspect_err(|_| {
            if let (Some(web), Some(opened)) = (&web, &opened) {
                web.decline(opened);
            }
        });
        let outcome = outcome?;
        if let (Some(web), Some(opened)) = (web, opened) {
            web.open(opened);
        }
        let mut failures = write_files(&outcome.effects, &self.loader.root);
        if publishes {
            let reports = self.reports();
            // A report gives way to clients; what this thread does next need not.
            let published = thread::apart("status page", move || reports.publish_again());
            failures.extend(published.unwrap_or_else(|error| Err(format!("status: {error}"))).err());
        }
        Ok(Done { outcome, failures, unresolved, warnings })
    }

    /// Opens the listeners, and applies all.
    fn open_and_apply(&self, mut prepared: Prepared) -> Result<Outcome, Error> {
        let now = || self.value(Command::Show(Query::Listen));
        self.loader.open_listeners(&mut prepared, self.traffic, now, || self.ask(Event::Listeners))?;
        self.apply(prepared)
    }

    /// The value that a command shows.
    fn value(&self, command: Command) -> Result<String, Error> {
        Ok(self.send(vec![command])?.reply.trim_end().to_string())
    }

    fn send(&self, commands: Vec<Command>) -> Result<Outcome, Error> {
        self.apply(Prepared { commands, ..Prepared::default() })
    }

    fn apply(&self, prepared: Prepared) -> Result<Outcome, Error> {
        self.ask(|reply| Event::Apply(prepared, reply))?
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Event) -> Result<T, Error> {
        let gone = |()| Error::System(String::from("pen"), io::Error::other(ABOUT_TO_END));
        let (reply, answer) = bounded(1);
        self.events.send(question(reply)).map_err(|_| gone(()))?;
        answer.recv().map_err(|_| gone(()))
    }
}

/// Writes the files that commands ask for. Returns a sentence for each that could not be written.
pub fn write_files(effects: &[Effect], root: &Root) -> Vec<String> {
    let mut failures = Vec::new();
    for effect in effects {
        if let Effect::WriteFile(path, text, words) = effect {
            if let Err(error) = files::replace(&root.name(path), text) {
                failures.push(format!("{words}: {}: {}", path.display(), reason(&error)));
            }
        }
    }
    failures
}

fn makes_transparent(command: &Command) -> bool {
    matches!(command, Command::Set(setting, Value::Switch(true)) if setting.word == "transparent")
}
