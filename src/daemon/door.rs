//! A place where clients that are no sessions come in, and which commands move, open and close: that of the web page.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::complaints::Complaints;
use super::crew::Crew;
use crate::error::Error;
use crate::net::listener::Listener;
use crate::sys::log::Log;

/// What messages about the web page begin with.
pub const WEB: &str = "web: ";

/// Starts those who serve. It fails for want of threads.
pub type Start = Box<dyn Fn() -> Result<Crew, Error> + Send>;

/// See the module's documentation. Copies are the same door.
#[derive(Clone)]
pub struct Door {
    state: Arc<Mutex<State>>,
    log: Log,
    /// What messages about clients begin with.
    prefix: &'static str,
}

#[derive(Default)]
struct State {
    listeners: Vec<Arc<Listener>>,
    start: Option<Start>,
    /// They are there since the door was open for the first time.
    crew: Option<Crew>,
}

/// The right to move the door, while nobody else does.
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Key<'a> {
    state: MutexGuard<'a, State>,
    door: &'a Door,
}

impl Door {
    /// It is nowhere yet. Messages about clients begin with `prefix`.
    pub fn new(log: Log, prefix: &'static str) -> Self {
        Self { state: Arc::default(), log, prefix }
    }

    /// Who will serve, as soon as it is open.
    pub fn staff(&self, start: Start) {
        self.key().state.start = Some(start);
    }

    /// Waits until nobody else moves it.
    pub fn key(&self) -> Key<'_> {
        Key { state: self.state.lock().unwrap_or_else(PoisonError::into_inner), door: self }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key().listeners()).finish()
    }
}

impl Key<'_> {
    /// Where it is.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.state.listeners
    }

    /// Starts the threads for these. What was opened in vain is closed.
    pub fn prepare(&mut self, listeners: &[Arc<Listener>]) -> Result<(), Error> {
        let started = self.start(listeners);
        if started.is_err() {
            self.decline(listeners);
        }
        started
    }

    fn start(&mut self, listeners: &[Arc<Listener>]) -> Result<(), Error> {
        let Door { log, prefix, .. } = self.door;
        let State { listeners: before, start, crew } = &mut *self.state;
        let mut new = listeners.iter().filter(|listener| !contains(before, listener)).peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        if crew.is_none() {
            *crew = start.as_ref().map(|start| start()).transpose()?;
        }
        let Some(crew) = crew else { return Ok(()) };
        let dropped = Arc::new(Complaints::new(log.clone(), prefix));
        let short = Arc::new(Complaints::new(log.clone(), prefix));
        new.try_for_each(|listener| {
            crew.accept("web listener", Arc::clone(listener), Arc::clone(&dropped), Arc::clone(&short))
        })
    }

    /// Closes what was opened in vain.
    pub fn decline(&self, listeners: &[Arc<Listener>]) {
        listeners.iter().filter(|listener| !contains(&self.state.listeners, listener)).for_each(close);
    }

    /// From now on it is there and nowhere else. The threads for that have been started.
    pub fn open(mut self, listeners: Vec<Arc<Listener>>) {
        let before = std::mem::replace(&mut self.state.listeners, listeners);
        before.iter().filter(|listener| !contains(&self.state.listeners, listener)).for_each(close);
    }
}

fn close(listener: &Arc<Listener>) {
    listener.remove_file();
    listener.end();
}

fn contains(listeners: &[Arc<Listener>], listener: &Arc<Listener>) -> bool {
    listeners.iter().any(|other| Arc::ptr_eq(other, listener))
}
