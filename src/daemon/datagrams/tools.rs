//! What datagram threads work with, and share with the supervisor.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::daemon::access_log::AccessLog;
use crate::daemon::complaints::Complaints;
use crate::daemon::events::Event;
use crate::daemon::mailbox::Handle;
use crate::net::listener::Listener;
use crate::policy::settings::Settings;
use crate::sys::log::Log;

/// Tells that something about the servers, or a setting, has changed: flows then ask again.
#[derive(Clone, Debug, Default)]
pub struct Epoch(Arc<AtomicU32>);

impl Epoch {
    /// Another one begins.
    pub fn begin(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Which one it is.
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// The listeners of all threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors(Arc<Mutex<Vec<Arc<Listener>>>>);

impl Doors {
    /// As they are now.
    pub(super) fn all(&self) -> Vec<Arc<Listener>> {
        // A panic cannot leave the list inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is these.
    pub(super) fn set(&self, listeners: Vec<Arc<Listener>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listeners;
    }
}

/// What a thread works with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// To the supervisor.
    pub events: Handle<Event>,
    /// Messages.
    pub log: Log,
    /// Of what clients and servers cause.
    pub complaints: Arc<Complaints>,
    /// The request log.
    pub access_log: AccessLog,
    /// Begun by the supervisor.
    pub epoch: Epoch,
    /// As they are at the start.
    pub settings: Arc<Settings>,
}
