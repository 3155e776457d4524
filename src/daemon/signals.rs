//! The signal thread: turns signals into events.

use std::io;
use std::thread;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::event::{Event, Signal};

/// Starts the thread. From now on these signals do not kill pen.
pub fn start(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
    thread::Builder::new().name(String::from("signals")).stack_size(super::pool::STACK).spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGHUP => Signal::Reload,
                SIGUSR1 => Signal::Statistics,
                _ => Signal::Terminate,
            };
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
        // Only the end of the process ends this loop; should it ever end otherwise, pen could not be stopped any more.
        let _ = events.send(Event::Died("signal thread"));
    })?;
    Ok(())
}
