//! Commands on their way to the supervisor, from whoever has some: files read and names resolved before, files written after.
//! All that may wait, so it is done here and never in the supervisor.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::event::{Commands, Event};
use crate::endpoint::{Endpoint, Port};
use crate::error::{Error, reason};
use crate::net::socket::Listener;
use crate::net::{files, resolve};
use crate::policy::command::Command;
use crate::policy::configure::{Effect, Outcome};
use crate::policy::file::{self, Located};
use crate::policy::query::Query;

/// How deep files may include files.
const DEEPEST: usize = 8;

/// What a command needs on its way; copies share the way.
#[derive(Clone, Debug)]
pub struct Steering {
    /// To the supervisor.
    pub events: Sender<Event>,
    /// The port of servers that name none.
    pub port: Option<Port>,
    /// For listeners that commands open.
    pub backlog: i32,
}

impl Steering {
    /// Reads one line, carries it out, and answers.
    pub fn say(&self, line: &str) -> String {
        match Command::parse(line, self.port.as_ref()) {
            Err(wrong) => wrong.reply(),
            Ok(command) => {
                let silent = matches!(command, Command::Include(_));
                match self.perform(vec![Located { place: String::new(), command }]) {
                    Ok(_) if silent => String::new(),
                    Ok(reply) => reply,
                    Err(error) => format!("{error}\n"),
                }
            }
        }
    }

    /// Reads a configuration file and carries it out, whole or not at all. Access lists that it mentions are rebuilt. Tells how
    /// many commands there were.
    pub fn reload(&self, path: &Path) -> Result<usize, Error> {
        let commands = read(path, self.port.as_ref(), 0)?;
        let count = commands.len();
        self.perform(file::rebuild_lists(commands))?;
        Ok(count)
    }

    /// Carries out commands, all or none, and gives their replies.
    fn perform(&self, commands: Vec<Located>) -> Result<String, Error> {
        let commands = prepare(commands, self.port.as_ref())?;
        let mut listener = None;
        // Of several the last one counts.
        if let Some(Command::Listen(text, endpoint)) = commands.iter().rfind(|c| matches!(c, Command::Listen(..))) {
            let now = self.send(vec![Command::Show(Query::Listen)], None)?.reply;
            if now.trim_end() != text {
                listener = Some(open(endpoint, text, self.backlog)?);
            }
        }
        let Outcome { mut reply, effects } = self.send(commands, listener)?;
        for effect in effects {
            if let Effect::WriteFile(path, text, words) = effect {
                if let Err(error) = files::replace(&path, &text) {
                    reply = format!("{words}: {}: {}\n", path.display(), reason(&error));
                }
            }
        }
        Ok(reply)
    }

    fn send(&self, commands: Vec<Command>, listener: Option<Arc<Listener>>) -> Result<Outcome, Error> {
        let gone = |_| Error::System(String::from("pen"), std::io::Error::other("is about to end"));
        let (reply, answer) = bounded(1);
        self.events.send(Event::Commands(Commands { commands, listener, reply })).map_err(|_| gone(()))?;
        answer.recv().map_err(|_| gone(()))
    }
}

/// Reads a configuration file and what it includes.
pub fn read(path: &Path, port: Option<&Port>, depth: usize) -> Result<Vec<Located>, Error> {
    let name = path.display().to_string();
    let text = files::read(path).map_err(|error| Error::System(format!("Can't read config file '{name}'"), error))?;
    let commands = file::parse(&name, &text, port).map_err(Error::Config)?;
    expand(commands, port, depth)
}

/// Puts the commands of included files in the place of the command that includes them.
fn expand(commands: Vec<Located>, port: Option<&Port>, depth: usize) -> Result<Vec<Located>, Error> {
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
                let included = read(path, port, depth + 1);
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

/// Includes files and resolves names, so that the commands can be applied. Blocks for as long as that takes.
pub fn prepare(commands: Vec<Located>, port: Option<&Port>) -> Result<Vec<Command>, Error> {
    let mut prepared = Vec::with_capacity(commands.len());
    for Located { place, mut command } in expand(commands, port, 0)? {
        resolve::command(&mut command).map_err(|error| placed(&place, &error.to_string()))?;
        prepared.push(command);
    }
    Ok(prepared)
}

/// Opens the first of a listener's addresses that can be had.
pub fn open(endpoint: &Endpoint, text: &str, backlog: i32) -> Result<Arc<Listener>, Error> {
    let mut result = Err(Error::Address(text.to_string(), String::from("no address found")));
    for address in resolve::listener(endpoint)? {
        result = Listener::open(&address, backlog).map_err(|error| Error::Bind(text.to_string(), error));
        if result.is_ok() {
            break;
        }
    }
    result.map(Arc::new)
}

fn placed(place: &str, text: &str) -> Error {
    Error::Config(if place.is_empty() { text.to_string() } else { format!("{place}: {text}") })
}
