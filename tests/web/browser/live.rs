//! The page refreshes itself, and what its reader does stays.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::tab::Tab;
use super::{ALICE, browse, state_shown};
use crate::checks::FAST;
use crate::harness::{Backend, Client, greet, wait_until};
use crate::web::changes::{controlled, passwords};
use crate::web::{Page, server};

/// What only this document has: it was not loaded again.
const MARK: &str = "window.loaded = 'once'; document.querySelector('main').mark = 'same'";
const MARKS: &str = "window.loaded + document.querySelector('main').mark";

/// Waits for the page to be refreshed, as its time shows.
fn wait_refresh(tab: &Tab<'_>) {
    let time = tab.text("document.querySelector('main time').textContent");
    tab.wait(&format!("document.querySelector('main time').textContent !== {time:?}"));
}

#[test]
fn the_page_tells_that_a_server_is_down_and_its_reader_goes_on() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let commands = [&FAST[..], &["check tcp", "web_control", "conn_max 500"]].concat();
        let page = Page::with(&commands, &[&a, &b]);
        let held: Vec<_> = (0..120).map(|_| Client::connect(&page.pen)).collect();
        wait_until("the connections", || page.pen.connections(0) + page.pen.connections(1) == 120);
        let tab = Tab::new(driver);
        tab.open(&page.url("/"));
        tab.run(MARK);
        tab.wait(&state_shown(1, "up"));
        tab.click("#menu-0 summary");
        tab.run("scrollTo(0, 900); document.querySelector('#menu-0 button').focus({ preventScroll: true })");
        let before = tab.run("return scrollY");
        wait_refresh(&tab);
        b.stop();
        tab.wait(&state_shown(1, "down"));
        tab.wait("document.querySelector('.verdict').innerText.includes('1 of 2 servers is down')");
        // The reason and the event are told, too.
        tab.wait("document.querySelector('#server-1 .reason').innerText.includes('refused')");
        tab.wait("document.body.innerText.match(/up → down/)");
        wait_refresh(&tab);
        assert_eq!(tab.text("document.getElementById('menu-0').open"), "true");
        assert_eq!(tab.text("document.activeElement.closest('details')?.id"), "menu-0");
        // What is above may have become higher. What is read stays where it is on the screen.
        let moved = tab.run_with("return scrollY - arguments[0]", &[before]).as_f64().unwrap();
        assert!((0.0..200.0).contains(&moved), "the page has moved by {moved}");
        assert_eq!(tab.text(MARKS), "oncesame");
        assert_eq!(tab.text("document.title"), "pen: 1 of 2 servers is down.");
        b.start();
        tab.wait(&state_shown(1, "up"));
        assert_eq!(tab.log(), [""; 0]);
        drop(held);
    });
}

#[test]
fn what_was_typed_stays_when_the_page_is_refreshed() {
    browse(|driver| {
        let a = server("a");
        let page = Page::with(&["web_control"], &[&a]);
        let tab = Tab::new(driver);
        tab.open(&page.url("/servers/0"));
        tab.run(MARK);
        tab.fill("#blacklist", "77");
        tab.click("#sure");
        tab.fill("#weight", "12");
        tab.run("scrollTo(0, 300)");
        let place = tab.text("scrollY");
        page.control.tell(&["server 0 weight 5", "server 0 maint"]);
        tab.wait("document.querySelector('.is').innerText.includes('maintenance')");
        for (expression, expected) in [
            ("document.getElementById('weight').value", "12"),
            ("document.getElementById('blacklist').value", "77"),
            ("document.getElementById('sure').checked", "true"),
            ("document.activeElement.id", "weight"),
            (MARKS, "oncesame"),
            ("scrollY", place.as_str()),
        ] {
            assert_eq!(tab.text(expression), expected, "{expression}");
        }
        assert_eq!(tab.log(), [""; 0]);
    });
}

#[test]
fn the_page_tells_that_pen_does_not_answer_and_recovers() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let Some((page, scratch)) = controlled(&[&a, &b]) else { return };
        let tab = Tab::new(driver);
        tab.credentials(ALICE);
        tab.open(&page.url("/"));
        tab.run(MARK);
        let silent =
            "/^pen does not answer since \\d\\d:\\d\\d:\\d\\d$/.test(document.getElementById('notice').innerText)";
        // It waits for an answer for 20 s. Here 3 s are enough.
        tab.run("const timeout = AbortSignal.timeout; AbortSignal.timeout = () => timeout.call(AbortSignal, 3000)");
        page.pen.signal(Signal::STOP);
        tab.wait(silent);
        assert_eq!(tab.text("document.getElementById('notice').getAttribute('role')"), "status");
        tab.picture("silent", 800);
        page.pen.signal(Signal::CONT);
        tab.wait("document.getElementById('notice').innerText === 'pen answers again'");
        tab.wait("document.getElementById('notice').innerText === ''");
        // Another pen in the same place has other servers in other states, and another token.
        let at = page.at.clone();
        drop(page);
        tab.wait(silent);
        let path = passwords(&scratch, &[("alice", "se:cret")]).unwrap();
        let page = Page::at(at, &["web_control", &format!("web_password {path}")], &[&a, &b]);
        page.control.tell(&["server 1 maint"]);
        tab.wait(&state_shown(1, "maintenance"));
        tab.wait("document.getElementById('notice').innerText === ''");
        tab.click("#menu-1 summary");
        tab.click("#menu-1 button[value=ready]");
        tab.wait(&state_shown(1, "up"));
        // Events are heard again: this takes no longer than one refresh.
        page.control.tell(&["server 0 drain"]);
        tab.wait(&state_shown(0, "draining"));
        assert_eq!(tab.text(MARKS), "oncesame");
    });
}

#[test]
fn an_event_is_shown_before_the_next_refresh() {
    browse(|driver| {
        let a = Backend::new("a", greet);
        let page = Page::with(&[], &[&a]);
        let tab = Tab::new(driver);
        tab.open(&page.url("/"));
        // After a refresh the clock brings the next one in 5 s and more. What is seen sooner is seen because pen has told of it. On a busy
        // machine that may take longer now and then.
        let is_soon = (0..5).any(|number| {
            let (word, shown) = if number % 2 == 0 { ("maint", "maintenance") } else { ("ready", "up") };
            wait_refresh(&tab);
            let begin = Instant::now();
            page.control.tell(&[&format!("server 0 {word}")]);
            tab.wait(&state_shown(0, shown));
            begin.elapsed() < Duration::from_secs(4)
        });
        assert!(is_soon);
    });
}
