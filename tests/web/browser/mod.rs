//! The page in a real browser: Debian's Chromium. The tests share two, and use each one after the other: mostly they wait for the page.

mod accessibility;
mod controls;
mod driver;
mod hostile;
mod keyboard;
mod live;
mod looks;
mod tab;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use driver::Driver;

use super::Page;
use crate::harness::{program, skip};

/// The name and the password of the user whom `controlled` lets change servers.
const ALICE: &str = "alice:se:cret";

/// The browsers of the tests that run or wait now. Each ends with the last of its tests.
static SHARED: [Mutex<Weak<Mutex<Driver>>>; 2] = [const { Mutex::new(Weak::new()) }; 2];

/// Runs a test with a browser when no other test has it.
#[track_caller]
fn browse(test: impl FnOnce(&Driver)) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if program("chromedriver").is_none() {
        return skip("chromedriver is not installed");
    }
    let place = &SHARED[NEXT.fetch_add(1, Ordering::Relaxed) % SHARED.len()];
    let browser = {
        let mut shared = place.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Mutex::new(Driver::start()));
            *shared = Arc::downgrade(&new);
            new
        })
    };
    // A test that has failed has closed its tab.
    let driver: MutexGuard<'_, Driver> = browser.lock().unwrap_or_else(PoisonError::into_inner);
    test(&driver);
}

/// Holds in the status page when it shows that state of a server.
fn state_shown(number: usize, words: &str) -> String {
    format!("document.querySelector('#server-{number} .state')?.innerText.trim() === {words:?}")
}

impl Page {
    /// The address of a page.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }
}
