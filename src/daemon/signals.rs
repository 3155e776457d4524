//! The signal thread: TERM and INT go to the main thread, and the program decides what HUP and USR1 mean.

use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::events::Event;
use super::mailbox::Handle;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::sys::log::Log;

/// The signals that mean something, for the mask of a thread.
fn mask() -> SigSet {
    SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2])
}

/// Holds HUP, USR1 and USR2 back from the first moment on: they would kill a process that does not look at them yet, and what they
/// ask for is done after the start. TERM and INT still end it, also while it waits for a name server; there is nothing to clean up.
pub fn hold_requests() {
    // It fails only for an argument that makes no sense.
    let _ = SigSet::from_iter([Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2]).thread_block();
}

/// Holds these signals back from the calling thread and from all that it starts. They are delivered to the signal thread, and
/// until that is there they wait. No other thread is interrupted by them.
///
/// Also, a file that may not grow any more (RLIMIT_FSIZE) is from now on an error of the write (EFBIG), and not the end of pen.
pub fn hold() {
    // Both fail only for an argument that makes no sense.
    let _ = mask().thread_block();
    // Caught, and then not looked at: without unsafe code a signal cannot be ignored.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// What an administrator can wish by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// HUP: files are to be opened or read again.
    Reload,
    /// USR1: a report.
    Report,
}

/// Starts the thread. From now on these signals do not kill the process. `heed` must not block.
pub fn start(events: &Handle<Event>, log: Log, heed: impl Fn(Wish) + Send + 'static) -> Result<(), Error> {
    let caught = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2]);
    let mut signals = caught.map_err(|error| Error::System(String::from("cannot catch signals"), error))?;
    let supervisor = events.clone();
    thread::start("signal thread", STACK, events, move || {
        // See `hold`.
        let _ = mask().thread_unblock();
        for signal in signals.forever() {
            match signal {
                SIGHUP => heed(Wish::Reload),
                SIGUSR1 => heed(Wish::Report),
                // Reserved: it must do no harm, as its default would.
                SIGUSR2 => log.notice("USR2: has no meaning"),
                _ => {
                    log.notice(format_args!("{}: ends", if signal == SIGINT { "INT" } else { "TERM" }));
                    if supervisor.send(Event::Terminate).is_err() {
                        return;
                    }
                }
            }
        }
    })
}
