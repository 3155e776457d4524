//! The limit on sessions: an acceptor waits for a free permit before it accepts, so clients above the limit wait in the kernel's queue.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::idle::Idle;
use crate::sys::limits::Grant;

/// The permits that are left.
#[derive(Clone, Debug)]
pub struct Permits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    count: Mutex<Count>,
    released: Condvar,
    idle: Idle,
}

#[derive(Debug)]
struct Count {
    used: usize,
    max: usize,
    /// What sessions and idle connections share, if anything bounds it.
    grant: Option<Grant>,
    /// Sessions that lack what a new client would take.
    starving: usize,
    /// How many acceptors wait; with none, no thread needs to be woken.
    waiting: usize,
    /// The limit that was told to be reached.
    told: usize,
}

/// The right to one session; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
}

impl Count {
    fn idle_room(&self) -> usize {
        self.grant.map_or(usize::MAX, |grant| grant.idlers(self.used))
    }

    fn is_exhausted(&self) -> bool {
        self.used >= self.max || self.starving > 0
    }
}

impl Permits {
    /// So many at once.
    pub fn new(max: usize) -> Self {
        let count = Mutex::new(Count { used: 0, max, grant: None, starving: 0, waiting: 0, told: 0 });
        Self { shared: Arc::new(Shared { count, released: Condvar::new(), idle: Idle::default() }) }
    }

    /// Changes the limit. Sessions above a lower one go on; it holds for those to come.
    pub fn limit(&self, max: usize) {
        self.shared.lock().max = max;
        self.shared.released.notify_all();
    }

    /// Waits until there is a permit, or `enough` holds ([`Self::wake`]). An acceptor that waits for a client has none, so that clients of
    /// another listener can have it. `full` is told the limit when all permits are given out, once for each limit.
    pub fn wait_for_free(&self, enough: impl Fn() -> bool, full: impl FnOnce(usize)) {
        let mut count = self.shared.lock();
        let most = count.max;
        if count.used >= most && std::mem::replace(&mut count.told, most) != most {
            full(most);
        }
        while count.is_exhausted() && !enough() {
            count = self.shared.wait(count);
        }
    }

    /// Lets those who wait look again.
    pub fn wake(&self) {
        // With the lock, so that no acceptor is between its look and its wait.
        let _count = self.shared.lock();
        self.shared.released.notify_all();
    }

    /// Sessions and idle connections are to share this from now on.
    pub fn share(&self, grant: Grant) {
        self.shared.lock().grant = Some(grant);
    }

    /// How many idle connections have room beside the sessions.
    pub fn idle_room(&self) -> usize {
        self.shared.lock().idle_room()
    }

    /// The connections that give way when descriptors run out.
    pub fn idle(&self) -> Idle {
        self.shared.idle.clone()
    }

    /// Waits for a permit.
    pub fn acquire(&self) -> Permit {
        let mut count = self.shared.lock();
        while count.is_exhausted() {
            count = self.shared.wait(count);
        }
        count.used += 1;
        let room = count.idle_room();
        drop(count);
        self.shared.idle.shrink_to(room);
        Permit { shared: Arc::clone(&self.shared) }
    }

    /// Waits until a session ends, for so long at most.
    pub fn wait_for_release(&self, time: Duration) {
        let mut count = self.shared.lock();
        count.waiting += 1;
        // Whether it was a release or the time does not matter: the caller tries again.
        let waited = self.shared.released.wait_timeout(count, time);
        let (mut count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        count.waiting -= 1;
    }
}

impl Permit {
    /// The session lacks descriptors: idle connections give way, at most so many. `false`: there are none.
    pub fn make_way(&self, count: usize) -> bool {
        self.shared.idle.give_way(count)
    }

    /// The session lacks descriptors or memory: no permits are given until it has them or gives up.
    pub fn starve(&self) -> Starving<'_> {
        self.shared.lock().starving += 1;
        Starving { shared: &self.shared }
    }

    /// Whether every session waits for descriptors or memory, so that none can release any.
    pub fn starves_in_vain(&self) -> bool {
        let count = self.shared.lock();
        count.used <= count.starving
    }
}

/// Marks a session that waits for descriptors or memory, until it is dropped.
#[derive(Debug)]
pub struct Starving<'a> {
    shared: &'a Shared,
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.shared.give_back(|count| count.starving -= 1);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.give_back(|count| count.used -= 1);
    }
}

impl Shared {
    fn give_back(&self, what: impl FnOnce(&mut Count)) {
        let mut count = self.lock();
        what(&mut count);
        if count.waiting > 0 {
            // All, since one that waits for a client next has no use for the permit.
            self.released.notify_all();
        }
    }

    fn wait<'a>(&self, mut count: MutexGuard<'a, Count>) -> MutexGuard<'a, Count> {
        count.waiting += 1;
        let mut count = self.released.wait(count).unwrap_or_else(PoisonError::into_inner);
        count.waiting -= 1;
        count
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{RecvTimeoutError, bounded};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn no_permit_is_given_beyond_the_limit_until_one_comes_back() {
        let permits = Permits::new(1);
        let first = permits.acquire();
        let (given, taken) = bounded(1);
        let waiting = permits.clone();
        let waiter = thread::spawn(move || given.send(waiting.acquire()));
        assert_eq!(taken.recv_timeout(Duration::from_millis(50)).err(), Some(RecvTimeoutError::Timeout));
        drop(first);
        assert!(taken.recv_timeout(Duration::from_secs(10)).is_ok());
        assert!(waiter.join().is_ok());
    }

    #[test]
    fn no_permit_is_given_while_a_session_starves() {
        let permits = Permits::new(9);
        let session = permits.acquire();
        let starving = session.starve();
        assert!(session.starves_in_vain());
        let waiting = permits.clone();
        let (given, taken) = bounded(1);
        let waiter = thread::spawn(move || given.send(waiting.acquire()));
        assert_eq!(taken.recv_timeout(Duration::from_millis(50)).err(), Some(RecvTimeoutError::Timeout));
        drop(starving);
        assert!(taken.recv_timeout(Duration::from_secs(10)).is_ok());
        assert!(waiter.join().is_ok());
    }

    #[test]
    fn a_session_starves_in_vain_when_nobody_has_what_it_needs() {
        let permits = Permits::new(9);
        let [one, other] = [(); 2].map(|()| permits.acquire());
        let starving = one.starve();
        assert!(!one.starves_in_vain(), "the other has what it needs");
        let too = other.starve();
        assert!(one.starves_in_vain());
        drop(too);
        assert!(!one.starves_in_vain(), "the other has what it needs");
        drop(other);
        assert!(one.starves_in_vain());
        drop(starving);
    }

    #[test]
    fn who_waits_for_a_free_permit_does_not_take_it() {
        let permits = Permits::new(1);
        permits.wait_for_free(|| false, drop);
        permits.wait_for_free(|| false, drop);
        let taken = permits.acquire();
        let enough = Arc::new(AtomicBool::new(false));
        let (waiting, said) = (permits.clone(), Arc::clone(&enough));
        let waiter = thread::spawn(move || waiting.wait_for_free(|| said.load(Ordering::SeqCst), drop));
        enough.store(true, Ordering::SeqCst);
        permits.wake();
        assert!(waiter.join().is_ok());
        drop(taken);
        permits.wait_for_free(|| false, drop);
    }

    #[test]
    fn a_raised_limit_wakes_who_waits() {
        let permits = Permits::new(0);
        let waiting = permits.clone();
        let waiter = thread::spawn(move || waiting.acquire());
        permits.limit(1);
        assert!(waiter.join().is_ok());
    }
}
