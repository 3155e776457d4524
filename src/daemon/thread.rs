//! Threads: each has a name, a stack of a known size, and an event for its end.
//!
//! pen cannot do without any of the threads that [`start`] starts. The end of one is an event, and the supervisor then ends the
//! process (see [`Event::Ended`]). A panic while a client of the control port is served ends the service for that client alone
//! (see [`contain`]).

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use crossbeam_channel::bounded;

use super::events::Event;
use super::mailbox::Handle;
use crate::error::Error;
use crate::sys::address_space;
use crate::sys::log::Log;

/// The stack of most threads, in bytes. No buffer lies on it. Pages that are not touched cost nothing; a session touches three.
pub const STACK: usize = 128 * 1024;

/// The stack of a thread that prepares commands, in bytes. Country data consists of nested maps, which its reader follows
/// recursively, up to 128 deep.
pub const DEEP_STACK: usize = 1024 * 1024;

/// Starts a thread that pen cannot do without: its end, by return or by panic, is an event. The name has at most 15 bytes
/// (pthread_setname_np(3)).
pub fn start(
    name: &'static str,
    stack: usize,
    events: &Handle<Event>,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    start_until(name, stack, events, || false, work)
}

/// As [`start`], for a thread that may be retired: its end is no event if `is_retired` by then.
pub fn start_until(
    name: &'static str,
    stack: usize,
    events: &Handle<Event>,
    is_retired: impl Fn() -> bool + Send + 'static,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let events = events.clone();
    spawn(name, stack, move || {
        // The panic hook has told of the panic. What it left half done is not used any more, as the process ends.
        let _ = caught(work);
        if !is_retired() {
            // Without a supervisor the process is about to end already.
            let _ = events.send(Event::Ended(name));
        }
    })
    .map_err(|error| Error::System(format!("cannot start the {name}"), error))
}

/// Serves one client of a thread that goes on. A panic is logged.
pub fn contain(name: &'static str, log: &Log, work: impl FnOnce()) {
    if caught(work).is_err() {
        log.error(format_args!("{name}: ended by a fault in pen; please report it"));
    }
}

/// Does work in a thread of its own and waits for it, so that what it changes about its thread, such as the priority, ends with it.
/// The error is that no thread could be had, or that the work has panicked, which the panic hook has told.
pub fn apart<T: Send + 'static>(name: &'static str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = bounded(1);
    // The receiver waits.
    spawn(name, STACK, move || drop(caught(|| drop(done.send(work())))))?;
    result.recv().map_err(|_| io::Error::other("ended by a fault in pen"))
}

/// Does the work of a thread that may end when it is done, but not by a panic: that is an event.
pub fn watch(name: &'static str, events: &Handle<Event>, work: impl FnOnce()) {
    if caught(work).is_err() {
        // Without a supervisor the process is about to end already.
        let _ = events.send(Event::Ended(name));
    }
}

/// Starts a thread that may end when its work is done, but not by a panic: that is an event. pen can do without it.
pub fn start_watched(
    name: &'static str,
    stack: usize,
    events: &Handle<Event>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    spawn(name, stack, move || watch(name, &events, work))
}

fn caught(work: impl FnOnce()) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(work))
}

/// Starts a thread that is not watched.
pub(super) fn spawn(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let stack = address_space::stack(stack)?;
    let place = Place::take();
    let work = move || {
        let _place = place;
        work();
    };
    Builder::new().name(name.to_string()).stack_size(stack).spawn(work).map(drop)
}

/// How many threads there are besides the first one.
static LIVING: AtomicUsize = AtomicUsize::new(0);

/// How many threads this process has.
pub fn count() -> usize {
    1 + LIVING.load(Ordering::Relaxed)
}

/// A thread that is counted.
struct Place;

impl Place {
    fn take() -> Self {
        LIVING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mailbox;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    /// A test fails after that time instead of waiting for ever.
    const DEADLINE: Option<Duration> = Some(Duration::from_secs(30));

    #[test]
    fn only_the_panic_of_a_watched_thread_is_an_event() {
        let (events, inbox) = mailbox::to_this_thread(1);
        watch("returns", &events, || {});
        watch("panics", &events, || panic!("on purpose"));
        assert!(matches!(inbox.next(DEADLINE), Some(Event::Ended("panics"))));
    }

    #[test]
    fn the_end_of_a_thread_is_an_event_whether_it_panics_or_returns() {
        let (events, inbox) = mailbox::to_this_thread(1);
        start("panics", STACK, &events, || panic!("on purpose")).unwrap();
        assert!(matches!(inbox.next(DEADLINE), Some(Event::Ended("panics"))));
        start("returns", STACK, &events, || {}).unwrap();
        assert!(matches!(inbox.next(DEADLINE), Some(Event::Ended("returns"))));
    }

    #[test]
    fn the_end_of_a_retired_thread_is_no_event_even_by_a_panic() {
        let (events, inbox) = mailbox::to_this_thread(1);
        let retired = Arc::new(AtomicBool::new(false));
        let (told, work) = (Arc::clone(&retired), Arc::clone(&retired));
        let (held, over) = mpsc::channel::<()>();
        let is_retired = move || {
            let _held = &held;
            told.load(Ordering::SeqCst)
        };
        start_until("retires", STACK, &events, is_retired, move || {
            work.store(true, Ordering::SeqCst);
            panic!("on purpose");
        })
        .unwrap();
        // What it holds is dropped after the event, if there is one.
        over.recv_timeout(Duration::from_secs(30)).unwrap_err();
        assert!(retired.load(Ordering::SeqCst));
        assert!(inbox.next(Some(Duration::ZERO)).is_none());
    }

    #[test]
    fn a_panic_that_is_contained_is_logged_and_an_end_is_not() {
        let (messages, queue) = crossbeam_channel::bounded(8);
        let log = Log::new(messages);
        contain("ends", &log, || {});
        contain("client", &log, || panic!("on purpose"));
        let text = format!("{:?}", queue.try_recv().unwrap());
        assert!(text.contains("client: ended by a fault in pen"), "{text}");
        assert!(queue.is_empty());
    }

    #[test]
    fn what_work_apart_changes_about_its_thread_ends_with_it() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let lowered = apart("apart", move || {
            crate::sys::priority::give_way();
            nice()
        });
        assert!(lowered.unwrap() >= before);
        assert_eq!(nice(), before);
        assert_eq!(
            apart("panics", || panic!("on purpose")).map(|()| 0).unwrap_err().to_string(),
            "ended by a fault in pen"
        );
    }

    #[test]
    fn threads_are_counted_while_they_live() {
        // Other tests have threads of their own, which come and go.
        let held: Vec<_> = (0..100)
            .map(|_| {
                let (end, ended) = mpsc::channel::<()>();
                spawn("held", STACK, move || {
                    // It fails when the test lets go.
                    let _ = ended.recv();
                })
                .unwrap();
                end
            })
            .collect();
        assert!(count() > 100);
        drop(held);
        let late = std::time::Instant::now() + Duration::from_secs(30);
        while count() > 100 {
            assert!(std::time::Instant::now() < late, "{}", count());
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_has_its_name() {
        let (said, heard) = mpsc::channel();
        let (events, _inbox) = mailbox::to_this_thread(1);
        start("a name", STACK, &events, move || said.send(std::thread::current().name().map(String::from)).unwrap())
            .unwrap();
        assert_eq!(heard.recv_timeout(Duration::from_secs(30)).unwrap().as_deref(), Some("a name"));
    }
}
