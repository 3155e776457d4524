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

    /// Has the threads ready for these. What was opened in vain is closed.
    pub fn prepare(&mut self, listeners: &[Arc<Listener>]) -> Result<(), Error> {
        if self.state.crew.is_none() && !listeners.is_empty() {
            match self.state.start.as_ref().map(|start| start()).transpose() {
                Ok(crew) => self.state.crew = crew,
                Err(error) => {
                    self.decline(listeners);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Closes what was opened in vain.
    pub fn decline(&self, listeners: &[Arc<Listener>]) {
        listeners.iter().filter(|listener| !contains(&self.state.listeners, listener)).for_each(close);
    }

    /// Opens it there and nowhere else.
    pub fn open(mut self, listeners: Vec<Arc<Listener>>) -> Result<(), Error> {
        let Door { log, prefix, .. } = self.door;
        let State { listeners: before, crew, .. } = &mut *self.state;
        if let Some(crew) = crew {
            let dropped = Arc::new(Complaints::new(log.clone(), prefix));
            let short = Arc::new(Complaints::new(log.clone(), prefix));
            for listener in listeners.iter().filter(|listener| !contains(before, listener)) {
                crew.accept("web listener", Arc::clone(listener), Arc::clone(&dropped), Arc::clone(&short))?;
            }
        }
        let old = std::mem::replace(before, listeners);
        old.iter().filter(|listener| !contains(before, listener)).for_each(close);
        Ok(())
    }
}

fn close(listener: &Arc<Listener>) {
    listener.remove_file();
    listener.end();
}

fn contains(listeners: &[Arc<Listener>], listener: &Arc<Listener>) -> bool {
    listeners.iter().any(|other| Arc::ptr_eq(other, listener))
}
