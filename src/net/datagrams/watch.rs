//! Waits for many sockets at once (epoll(7)), and for other threads.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{Errno, read, write};

/// How many sockets are looked at in one go. With more of them ready the others come in the next.
const AT_ONCE: usize = 64;

/// Names the [`Waker`].
const WAKER: u64 = u64::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub struct Watch {
    epoll: OwnedFd,
    waker: Waker,
}

/// What a [`Watch`] has found.
pub struct Ready(Vec<epoll::Event>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Ready {
    /// Nothing.
    pub fn new() -> Self {
        Self(Vec::with_capacity(AT_ONCE))
    }

    /// Whether another thread has woken this one.
    pub fn is_woken(&self) -> bool {
        self.0.iter().any(|event| event.data.u64() == WAKER)
    }

    /// The names of the sockets that are ready.
    pub fn names(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|event| event.data.u64()).filter(|name| *name != WAKER)
    }
}

impl Default for Ready {
    fn default() -> Self {
        Self::new()
    }
}

/// Wakes the owner of a [`Watch`].
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Wakes it, now or when it is about to sleep.
    pub fn wake(&self) {
        // It fails when the counter is full: then it was woken before.
        let _ = write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Watch {
    /// One that watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let waker = Waker(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        let watch = Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, waker };
        epoll::add(&watch.epoll, &*watch.waker.0, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(watch)
    }

    /// Wakes the thread that waits here.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Tells of this socket as long as there is something to be read from it.
    pub fn add(&self, socket: impl AsFd, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(name), EventFlags::IN)?)
    }

    /// Tells of this socket once each time it has an error.
    pub fn add_errors(&self, socket: impl AsFd, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(name), EventFlags::ET)?)
    }

    /// Forgets this socket, which others may have open as well.
    pub fn remove(&self, socket: impl AsFd) {
        // It fails if it is not watched.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits for sockets until that time, and tells which are ready.
    pub fn wait(&self, until: Option<Instant>, ready: &mut Ready) -> io::Result<()> {
        ready.0.clear();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A time that the kernel has no number for is no limit.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match epoll::wait(&self.epoll, spare_capacity(&mut ready.0), left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready.is_woken() {
            // It fails when another look has found the same.
            let _ = read(&*self.waker.0, &mut [0_u8; 8]);
        }
        Ok(())
    }
}
