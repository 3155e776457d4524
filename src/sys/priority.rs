//! How urgent a thread is among those that want the processors.

use rustix::process::{getpriority_process, setpriority_process};

/// The nice value of work that may wait for clients (sched(7)): its share is a tenth of theirs.
const LOW: i32 = 10;

/// From now on the calling thread gives way to threads that serve clients. There is no way back without a privilege. On Linux this
/// concerns the thread alone (setpriority(2), BUGS).
pub fn give_way() {
    // If it fails the work is only less polite.
    if nice() < LOW {
        let _ = setpriority_process(None, LOW);
    }
}

/// The nice value of the calling thread.
pub fn nice() -> i32 {
    // It does not fail for the own thread.
    getpriority_process(None).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn only_the_thread_that_asks_gives_way() {
        let before = nice();
        let lowered = thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(lowered.join().unwrap(), before.max(LOW));
        assert_eq!(nice(), before);
    }
}
