//! Clients of the web page that mean no good, or know no better: each costs itself only.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Socket, Type};

use super::{Page, answer, server};
use crate::harness::{Backend, Client, Launch, Pen, Scratch, free_port, let_pass, visit, wait_for, wait_until};

/// The threads of pen that have this name, with their nice values.
pub(super) fn threads(pen: &Pen, name: &str) -> BTreeSet<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pen.pid())).unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim_end() == name));
    // proc_pid_stat(5): the name, the second field, may contain blanks; the nice value is the 19th.
    let nice = |stat: String| stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap();
    named
        .filter_map(|task| Some((task.display().to_string(), nice(fs::read_to_string(task.join("stat")).ok()?))))
        .collect()
}

/// Bytes that make no sense, the same each time.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// The answer to bytes of which pen need not take all.
fn try_ask(page: &Page, bytes: &[u8]) -> Option<u16> {
    let client = page.connect();
    let _ = client.try_send(bytes);
    client.finish_if_it_can();
    let text = String::from_utf8_lossy(&client.rest().0).into_owned();
    (!text.is_empty()).then(|| super::read(&text).status)
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "x".repeat(1_000_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(101));
    let escaped = format!("GET /explain?client={} HTTP/1.1\r\nHost: localhost\r\n\r\n", "%41".repeat(5000));
    for (request, statuses) in [
        // HTTP/0.9 has no heads, and its answers none either.
        ("GET /\r\n", &[400, 505][..]),
        ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400]),
        ("GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n", &[400, 505]),
        ("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\0\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n", &[400]),
        // A line that goes on in the next one (RFC 9112 section 5.2).
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\nx", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length:\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x1\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\n", &[413]),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[411],
        ),
        ("GET /servers/0%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("GET /%c0%af HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400]),
        ("GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[405]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}", &[400]),
        (&long, &[431]),
        (&many, &[431]),
        // As proxies ask.
        ("GET http://any.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200]),
        ("GET http://any.example HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200]),
        (&escaped, &[200]),
        // What follows a whole request is no second one.
        ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200]),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n\0\0\0", &[200]),
    ] {
        let found = try_ask(&page, request.as_bytes());
        let shown = &request[..request.len().min(100)];
        assert!(found.is_some_and(|status| statuses.contains(&status)), "{shown:?}: {found:?}");
    }
    assert_eq!(page.get("/health").status, 200);
}

#[test]
fn bytes_that_make_no_sense_and_ends_in_the_middle_leave_nothing_behind() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    assert_eq!(page.get("/health").status, 200);
    let before = page.pen.descriptors().len();
    let whole = format!("POST /servers/0 HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\ntoken=abc", page.at);
    for seed in 0..300 {
        let cut = seed as usize % whole.len();
        let client = page.connect();
        let _ = match seed % 3 {
            0 => client.try_send(garbage(seed, 1 + cut * 17)),
            1 => client.try_send(&whole[..cut]),
            _ => client.try_send([&whole.as_bytes()[..cut], &garbage(seed, 40)].concat()),
        };
        match seed % 4 {
            0 => client.reset(),
            1 => drop(client),
            2 => client.finish_if_it_can(),
            _ => {
                client.finish_if_it_can();
                client.rest();
            }
        }
    }
    wait_until("the descriptors to be as before", || page.pen.descriptors().len() <= before);
    assert_eq!(page.get("/health").status, 200);
    assert!(!page.pen.stderr().contains("fault"), "{}", page.pen.stderr());
    assert_eq!(visit(&page.pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn a_head_and_a_body_without_an_end_are_ended() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let start = Instant::now();
    // One sends as fast as it can, the other ones a byte now and then.
    let fast = page.connect();
    let rush = thread::spawn(move || while fast.try_send("A: b\r\n".repeat(1000)).is_ok() {});
    let (head, body) = (page.connect(), page.connect());
    head.send("GET / HTTP/1.1\r\nHost: localhost\r\nA: ");
    body.send("POST /servers/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4096\r\n\r\n");
    let is_over = |client: &Client| client.try_send("x").is_err() || client.has_heard();
    wait_until("the end of both", || {
        let_pass(Duration::from_millis(100));
        is_over(&head) & is_over(&body)
    });
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    for client in [head, body] {
        let text = String::from_utf8_lossy(&client.rest().0).into_owned();
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
    }
    wait_until("the end of the one that rushes", || rush.is_finished());
}

#[test]
fn answers_that_are_not_taken_keep_no_thread() {
    let a = server("a");
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let servers: String = (0..10_000).map(|number| format!("server {number} address 192.0.2.1 port 80\n")).collect();
    fs::write(&file, servers).unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let web = format!("web {at}");
    let options = ["-F", file.to_str().unwrap(), "-O", &web];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    let control = pen.control();
    let page = Page { pen, control, at };
    let before = page.pen.descriptors().len();
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let client = page.connect();
            client.send("GET /api/servers HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    wait_until("threads for them", || threads(&page.pen, "web client").len() >= 20);
    // pen does not collect for them what they do not take.
    wait_until("them to be given up", || page.pen.descriptors().len() <= before);
    assert!(page.pen.peak_memory() < 120_000_000, "{}", page.pen.peak_memory());
    for client in deaf {
        // What came is not whole, and says so.
        assert!(!client.rest().0.ends_with(b"0\r\n\r\n"));
    }
}

#[test]
fn those_who_watch_on_the_page_leave_room_for_the_control_port() {
    let (a, b) = (server("a"), server("b"));
    let page = Page::with(&[], &[&a, &b]);
    let mut watchers = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let client = page.connect();
        client.send(format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", page.at));
        match client.line().as_deref() {
            Some("HTTP/1.1 200 OK\r") => watchers.push(client),
            Some("HTTP/1.1 503 Service Unavailable\r") => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((watchers.len(), refused), (16, 24));
    let watch = page.control.connect();
    watch.send("watch\n");
    let heard = thread::spawn(move || watch.line());
    wait_until("a client of the control port to hear of a change", || {
        page.control.tell(&["server 1 drain", "server 1 ready"]);
        heard.is_finished()
    });
    assert!(heard.join().unwrap().is_some());
    // The page goes on, and those who leave make room.
    assert_eq!(page.get("/health").status, 200);
    drop(watchers);
    let client = wait_for("a place to be free again", || {
        let client = page.connect();
        client.send(format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", page.at));
        (client.line().as_deref() == Some("HTTP/1.1 200 OK\r")).then_some(client)
    });
    drop(client);
}

#[test]
fn a_watcher_that_reads_nothing_is_left_behind() {
    let (a, b) = (Backend::named("a"), server("b"));
    let page = Page::with(&[], &[&a, &b]);
    // It is the first client: the descriptor of an earlier one might be counted.
    let before = page.pen.descriptors().len();
    let deaf = page.connect();
    deaf.send(format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", page.at));
    assert_eq!(deaf.line().as_deref(), Some("HTTP/1.1 200 OK\r"));
    // From now on it reads nothing. What it does not take fills the buffers of the kernel, and then its queue.
    for _ in 0..10 {
        page.control.write("server 1 drain\nserver 1 ready\n".repeat(500).as_bytes());
    }
    wait_until("pen to give it up", || page.pen.descriptors().len() <= before);
    drop(deaf);
}

#[test]
fn the_threads_of_the_page_give_way_and_stay() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    for name in ["web client", "web listener"] {
        wait_until("its threads to give way", || {
            let found = threads(&page.pen, name);
            !found.is_empty() && found.iter().all(|(_, nice)| *nice >= 10)
        });
    }
    assert_eq!(page.get("/").status, 200);
    let before = threads(&page.pen, "web client");
    for _ in 0..20 {
        assert_eq!(page.get("/").status, 200);
    }
    // There may be more of them, for clients that have not left yet.
    assert!(before.is_subset(&threads(&page.pen, "web client")));
    let nice = |name: &str| threads(&page.pen, name).into_iter().map(|(_, nice)| nice).max();
    assert_eq!(visit(&page.pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(nice("acceptor"), nice("pen"));
}

#[test]
fn an_honest_client_is_served_beside_silent_ones() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let silent: Vec<_> = (0..64).map(|_| page.connect()).collect();
    wait_until("all places to be taken", || threads(&page.pen, "web client").len() == 64);
    let length = page.pen.stderr_length();
    assert_eq!(page.get("/health").status, 200);
    page.pen.wait_for_line("web: 64 clients: 127.0.0.1 gives way, silent for");
    assert_eq!(page.pen.stderr_after(length).matches("gives way").count(), 1);
    drop(silent);
    wait_until("threads that are not needed to end", || threads(&page.pen, "web client").len() <= 2);
    let client = page.connect();
    client.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(answer(&client).status, 200);
}

#[test]
fn a_flood_of_clients_leaves_time_to_those_who_were_there_before() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let _silent: Vec<_> = (0..64).map(|_| page.connect()).collect();
    wait_until("all places to be taken", || threads(&page.pen, "web client").len() == 64);
    // Who connects, and asks a fifth of a second later, while others have come.
    let is_served = || {
        let client = page.connect();
        let is_over = Arc::new(AtomicBool::new(false));
        let flood = (Arc::clone(&is_over), page.address());
        let flood = thread::spawn(move || {
            let (is_over, address) = flood;
            let mut held = VecDeque::new();
            while !is_over.load(Ordering::Relaxed) {
                let client = Socket::new(address.domain(), Type::STREAM, None).unwrap();
                client.set_nonblocking(true).unwrap();
                // It is on its way, or the queue is full.
                let _ = client.connect(&address);
                held.push_back(client);
                if held.len() > 500 {
                    held.pop_front();
                }
            }
        });
        let_pass(Duration::from_millis(200));
        let served = client.try_send("GET /health HTTP/1.0\r\n\r\n").is_ok() && client.line().is_some();
        is_over.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        served
    };
    assert!((0..5).any(|_| is_served()));
}
