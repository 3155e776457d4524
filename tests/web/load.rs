//! Thousands of clients of the web page: sessions go on beside them, and nothing is left of them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use socket2::{SockAddr, Socket, Type};

use super::hostile::threads;
use super::{Page, server};
use crate::harness::{visit, wait_until};

/// The sessions whose time is taken.
const SESSIONS: usize = 200;

/// The time that half of them may take at most: a hundred times what one takes on an idle host.
const MEDIAN: Duration = Duration::from_millis(50);

/// What such a page may take of memory in a build for tests, with 64 clients.
const MEMORY: usize = 100_000_000;

/// Clients that come until it is dropped.
struct Crowd {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Of clients that say this and stay, so many at once; the oldest ones make room for others that come as fast as they can.
    fn new(page: &Page, words: &'static str, most: usize) -> Self {
        let (is_over, count, address) = (Arc::default(), Arc::default(), page.address());
        let (over, came) = (Arc::clone(&is_over), Arc::clone(&count));
        let thread = thread::spawn(move || come(&address, words, most, (&over, &came)));
        Self { is_over, count, thread: Some(thread) }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

fn come(address: &SockAddr, words: &str, most: usize, (is_over, count): (&AtomicBool, &AtomicUsize)) {
    let mut held = VecDeque::new();
    for number in 0usize.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let socket = Socket::new(address.domain(), Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 1 + (number % 200) as u8, 1 + (number / 200 % 250) as u8));
        socket.bind(&SockAddr::from(std::net::SocketAddr::new(source, 0))).unwrap();
        // It is on its way, or the queue is full.
        let _ = socket.connect(address);
        let _ = socket.send(words.as_bytes());
        held.push_back(socket);
        count.fetch_add(1, Ordering::Relaxed);
        if held.len() > most {
            held.pop_front();
        } else if held.len() == most {
            // They stay for a moment.
            thread::yield_now();
        }
    }
}

/// How long sessions take, the middle one of many.
fn median(page: &Page) -> Duration {
    let mut times: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let start = Instant::now();
            assert_eq!(visit(&page.pen, &format!("127.0.0.{}", 2 + number % 100)).as_deref(), Some("a"));
            start.elapsed()
        })
        .collect();
    times.sort();
    times[SESSIONS / 2]
}

/// Sessions beside such a crowd, until that many have come.
fn sessions_go_on_beside(words: &'static str, most: usize, least: usize) {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    assert_eq!(page.get("/health").status, 200);
    median(&page);
    wait_until("threads that are not needed to end", || page.pen.threads() < 40);
    let descriptors = page.pen.descriptors().len();
    let (start, length) = (Instant::now(), page.pen.stderr_length());
    let crowd = Crowd::new(&page, words, most);
    wait_until("the crowd", || crowd.count() >= least);
    let middle = median(&page);
    assert!(middle < MEDIAN, "{middle:?}");
    // An administrator is heard.
    assert_eq!(page.control.say("web"), format!("{}\n", page.at));
    drop(crowd);
    let said = page.pen.stderr_after(length);
    let most = 4 * (start.elapsed().as_secs() + 1);
    assert!(said.lines().count() as u64 <= most, "{} lines in {:?}", said.lines().count(), start.elapsed());
    assert!(page.pen.peak_memory() < MEMORY, "{}", page.pen.peak_memory());
    wait_until("the page to serve as before", || page.get("/health").status == 200);
    wait_until("descriptors and threads to be as before", || {
        page.pen.descriptors().len() <= descriptors && threads(&page.pen, "web client").len() <= 2
    });
}

/// How many clients a test can have: as many as that, if the limit on open files is no lower.
fn clients(wished: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    wished.min(usize::try_from(limit / 2).unwrap_or(usize::MAX))
}

#[test]
fn sessions_go_on_beside_ten_thousand_clients_that_stay() {
    let most = clients(10_000);
    sessions_go_on_beside("GET / HTTP/1.1\r\nHost: localhost\r\nA: ", most, most);
}

#[test]
fn sessions_go_on_beside_clients_that_come_and_go_as_fast_as_they_can() {
    sessions_go_on_beside("", 10, 20_000);
}

#[test]
fn sessions_go_on_beside_a_flood_of_requests() {
    sessions_go_on_beside("GET /metrics HTTP/1.0\r\n\r\n", clients(1000), 3000);
}
