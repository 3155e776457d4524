//! Waiting for a condition: the only place in the tests that sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before the test has failed: far longer than it takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(2);

/// Lets so much time pass, where nothing is to happen.
pub(crate) fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until the probe finds something, and returns that.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        thread::sleep(STEP);
    }
}
