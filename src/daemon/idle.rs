//! Connections without a session yet. They give way to clients.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::policy::servers::Target;

/// A connected idler, and the server that it is connected to.
pub(super) type Idler = (Arc<Target>, OwnedFd);

/// The connected idlers. Copies share them, so that a thread that runs out of descriptors
/// need not wait for the thread that keeps the idlers.
#[derive(Clone, Debug, Default)]
pub struct Idle {
    connections: Arc<Mutex<Vec<Idler>>>,
}

impl Idle {
    /// Closes some of them, at most so many. `false`: there are none.
    pub fn give_way(&self, count: usize) -> bool {
        let mut connections = self.lock();
        let left = connections.len().saturating_sub(count);
        connections.drain(left..).count() > 0
    }

    /// Closes those above that number. Does not wait for the thread that keeps them, which looks at the number itself.
    pub fn shrink_to(&self, most: usize) {
        if let Ok(mut connections) = self.connections.try_lock() {
            connections.truncate(most);
        }
    }

    /// All of them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Idler>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
