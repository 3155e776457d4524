//! Clients whose handshake fails. They delay no other client.

use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;
use rustix::process::Signal;

use crate::harness::{
    Backend, Client, Control, Hello, Launch, Pen, Scratch, TlsEnd, certificates, client_hello, curl, echo, free_port,
    wait_until,
};
use crate::tls_options::web;

/// The counters of handshakes.
fn counts(pen: &Pen) -> serde_json::Value {
    counts_at(&pen.control())
}

fn counts_at(control: &Control) -> serde_json::Value {
    serde_json::from_str(&control.say("handshakes json")).unwrap()
}

/// Waits until so many handshakes have failed for that reason.
#[track_caller]
fn wait_for_failures(pen: &Pen, reason: &str, count: u64) {
    wait_until(&format!("{count} times {reason}"), || counts(pen)["failed"][reason].as_u64() == Some(count));
}

fn launch(options: &[&str], a: &Backend) -> Launch {
    Launch::ours().control().options(&["-E", &certificates().pem]).options(options).servers(&[a])
}

fn pen(options: &[&str], a: &Backend) -> Pen {
    launch(options, a).start()
}

#[test]
fn three_hundred_clients_that_say_nothing_or_rubbish_do_not_stop_a_good_one() {
    let a = Backend::new("a", echo);
    // They are not cut off while the test runs.
    let pen = pen(&["-O", "ssl_handshake_timeout 3600"], &a);
    let hello = client_hello();
    let bad: Vec<_> = (0..300)
        .map(|number: usize| {
            let client = Client::from(&format!("127.0.0.{}", 2 + number % 50), &pen);
            match number % 4 {
                0 => {}
                1 => client.send(&hello[..1 + number % (hello.len() - 1)]),
                2 => client.send(&hello),
                _ => client.send("\x16\x03\x01\x02"),
            }
            client
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(Hello::new().echoes(&pen), Ok(()));
    }
    assert_eq!(a.visits(), 5);
    // Those which did not shake hands are all still there.
    assert_eq!(counts(&pen)["failed"]["timeout"], 0);
    drop(bad);
    pen.wait_for_connections(0, 0);
    wait_for_failures(&pen, "closed", 300);
}

#[test]
fn a_client_that_is_silent_or_slow_is_dropped_in_time_and_no_server_hears_of_it() {
    let a = Backend::new("a", echo);
    let pen = pen(&["-O", "ssl_handshake_timeout 1"], &a);
    let hello = client_hello();
    let silent = Client::connect(&pen);
    let half = Client::connect(&pen);
    half.send(&hello[..40]);
    let whole = Client::connect(&pen);
    whole.send(&hello);
    let start = Instant::now();
    let slow = Client::connect(&pen);
    let mut sent = 0;
    // A byte, whenever it has not been dropped meanwhile.
    while slow.hears_nothing_for(Duration::from_millis(50)) && slow.try_send(&hello[sent..=sent]).is_ok() {
        sent += 1;
    }
    assert!(sent < hello.len() - 1, "it could say nearly all that it wanted");
    assert!(start.elapsed() >= Duration::from_millis(900));
    for client in [silent, half] {
        assert_eq!(client.rest().0, b"");
    }
    whole.rest();
    wait_for_failures(&pen, "timeout", 4);
    pen.wait_for_line("client 127.0.0.1: no TLS: timed out");
    assert_eq!(a.visits(), 0);
    assert!(pen.control().say("servers").contains(" state up"));
    // The time was for the handshake only.
    let mut client = Hello::new().connect(&pen);
    client.assert_echo("hello");
    assert!(client.client().hears_nothing_for(Duration::from_millis(1500)));
    client.assert_echo("hello");
}

#[test]
fn what_is_not_tls_is_dropped_at_once_and_told_and_counted() {
    let a = Backend::new("a", echo);
    let pen = pen(&["-O", "ssl_handshake_timeout 3600"], &a);
    // A greeting of SSH, an SSL 2 hello as scanners send it, zeros, and a record that cannot be.
    let ssl2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05\x00\x80\x06\x00\x40\x07\x00\xc0challenge-of-16!";
    let too_long = b"\x16\x03\x01\xff\xff\x01\x00\x00\xff";
    let garbage: [&[u8]; 5] =
        [b"SSH-2.0-OpenSSH_9.2\r\n", ssl2, &[0; 100], too_long, b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7"];
    for bytes in garbage {
        let client = Client::connect(&pen);
        client.send(bytes);
        client.rest();
    }
    let sum = || {
        ["not_tls", "no_common", "other"].map(|key| counts(&pen)["failed"][key].as_u64().unwrap()).iter().sum::<u64>()
    };
    wait_until("all to be counted", || sum() == 5);
    assert!(counts(&pen)["failed"]["not_tls"].as_u64() >= Some(3), "{}", counts(&pen));
    pen.wait_for_line("client 127.0.0.1: no TLS: what it sent is not TLS");
    // Versions of long ago: SSL 3, in an otherwise good hello.
    let old = b"\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00\x00\x04\x00\x05\x00\x0a\x01\x00";
    let client = Client::connect(&pen);
    client.send(old);
    client.rest();
    wait_until("SSL 3", || counts(&pen)["failed"]["no_common"].as_u64() >= Some(1));
    assert_eq!(a.visits(), 0);
    assert!(pen.control().say("servers").contains(" state up"));
}

#[test]
fn plain_http_is_told_what_is_wrong() {
    let a = Backend::new("a", echo);
    let pen = pen(&[], &a);
    let requests = [
        "GET / HTTP/1.1\r\nHost: pen.test\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "POST /form HTTP/1.1\r\nHost: pen.test\r\nContent-Length: 5\r\n\r\nhello",
        "OPTIONS * HTTP/1.1\r\nHost: pen.test\r\n\r\n",
        "DELETE /x HTTP/1.1\r\nHost: pen.test\r\n\r\n",
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let client = Client::connect(&pen);
        // In two parts, the first of which is short.
        client.send(&request[..2]);
        client.send(&request[2..]);
        let answer = client.text();
        assert!(answer.starts_with("HTTP/1.") && answer[8..].starts_with(" 400 "), "{request}: {answer}");
        assert!(answer.contains("Connection: close\r\n") && answer.contains("\r\n\r\n"), "{request}: {answer}");
        wait_for_failures(&pen, "plain_http", number as u64 + 1);
    }
    // An upload does not turn the answer into a reset.
    let client = Client::connect(&pen);
    client.send("PUT /large HTTP/1.1\r\nHost: pen.test\r\nContent-Length: 1000000\r\n\r\n");
    // pen may have ended by now.
    let _ = client.try_send(vec![b'x'; 1_000_000]);
    assert!(client.text().contains(" 400 "));
    pen.wait_for_line("client 127.0.0.1: no TLS: plain HTTP");
    assert_eq!(a.visits(), 0);
    let words = ["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://127.0.0.1:{}/", pen.port())];
    let answer = std::process::Command::new("curl").args(["--max-time", "20"]).args(words).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "400");
}

#[test]
fn clients_that_leave_before_the_handshake_are_counted_as_such() {
    let a = Backend::new("a", echo);
    let pen = pen(&[], &a);
    drop(Client::connect(&pen));
    Client::connect(&pen).reset();
    let client = Client::connect(&pen);
    client.send(&client_hello()[..30]);
    drop(client);
    let client = Client::connect(&pen);
    client.send(client_hello());
    client.finish();
    client.rest();
    wait_for_failures(&pen, "closed", 4);
    assert_eq!(a.visits(), 0);
    // So do port scanners and simple checks of health, again and again.
    assert!(!pen.stderr().contains("no TLS"), "{}", pen.stderr());
    // A client that does not trust pen sends an alert.
    let strange = certificates();
    assert!(Hello::new().trusting(strange.stranger.cert()).try_connect(&pen).is_err());
    wait_until("an alert", || {
        let failed = counts(&pen)["failed"].clone();
        failed["certificate"].as_u64().unwrap() + failed["other"].as_u64().unwrap() == 1
    });
}

#[test]
fn the_log_has_one_line_a_second_and_the_number_of_the_others() {
    let a = Backend::new("a", echo);
    let pen = pen(&[], &a);
    let start = Instant::now();
    for _ in 0..200 {
        let client = Client::connect(&pen);
        client.send("rubbish, rubbish");
        client.rest();
    }
    wait_for_failures(&pen, "not_tls", 200);
    let lines = || pen.stderr().lines().filter(|line| line.contains("no TLS")).count() as u64;
    assert!(lines() <= 2 + 2 * start.elapsed().as_secs(), "{}", pen.stderr());
    assert!(pen.stderr().contains("client 127.0.0.1: no TLS: what it sent is not TLS"));
    // The next one after a second tells how many it stands for, so that then all are told.
    let mut sent = 200;
    wait_until("all to be told", || {
        let client = Client::connect(&pen);
        client.send("rubbish, rubbish");
        client.rest();
        sent += 1;
        wait_for_failures(&pen, "not_tls", sent);
        let stderr = pen.stderr();
        let left_out = |line: &str| line.split_once(" (")?.1.split_once(" earlier message")?.0.parse::<u64>().ok();
        let told = stderr.lines().filter(|line| line.contains("no TLS")).map(|line| 1 + left_out(line).unwrap_or(0));
        let told = told.sum::<u64>();
        assert!(told <= sent, "{told} of {sent}: {stderr}");
        told == sent
    });
}

#[test]
fn the_first_answer_does_not_wait_for_what_the_handshake_has_sent() {
    let a = Backend::new("a", echo);
    let pen = pen(&[], &a);
    let fastest = (0..50).map(|_| {
        let mut client = Hello::new().version(SslVersion::TLS1_3).connect(&pen);
        let start = Instant::now();
        client.assert_echo("hello");
        start.elapsed()
    });
    // A client confirms what it need not answer after 40 ms.
    let fastest = fastest.min();
    assert!(fastest < Some(Duration::from_millis(35)), "{fastest:?}");
}

#[test]
fn what_was_counted_is_shown_in_every_report() {
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let page = scratch.join("page.html").display().to_string();
    let pen = pen(&["-w", &page], &a);
    for _ in 0..2 {
        assert_eq!(Hello::new().echoes(&pen), Ok(()));
    }
    drop(Client::connect(&pen));
    wait_for_failures(&pen, "closed", 1);
    let told = counts(&pen);
    assert_eq!((&told["done"], &told["resumed"]), (&2.into(), &0.into()));
    let keys: Vec<_> = told["failed"].as_object().unwrap().keys().cloned().collect();
    let mut expected = ["timeout", "closed", "plain_http", "not_tls", "no_common", "certificate", "other"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let text = pen.control().say("handshakes");
    for line in ["done: 2", "resumed: 0", "failed, closed by the client: 1", "failed, timeout: 0"] {
        assert!(text.lines().any(|told| told == line), "{line}: {text}");
    }
    let status = pen.control().say("status");
    assert!(status.contains("TLS handshakes: 2 done, 0 of them resumed; failed: 1 closed by the client"), "{status}");
    assert!(pen.control().penctl(&["handshakes"]).contains("done: 2"));
}

#[test]
fn the_limit_on_connections_counts_from_their_beginning() {
    let a = Backend::new("a", echo);
    let pen = pen(&["-x2", "-O", "ssl_handshake_timeout 2"], &a);
    let silent = [Client::connect(&pen), Client::connect(&pen)];
    pen.wait_for_line("2 connections, the limit");
    // It waits in the queue of the kernel until one of the others is dropped.
    assert_eq!(Hello::new().echoes(&pen), Ok(()));
    assert!(counts(&pen)["failed"]["timeout"].as_u64() >= Some(1));
    for client in silent {
        client.rest();
    }
    assert_eq!(Hello::new().echoes(&pen), Ok(()));
}

#[test]
fn a_client_that_may_not_come_in_gets_no_handshake() {
    let a = Backend::new("a", echo);
    let denied = ["-O", "acl 1 deny 127.0.0.9", "-O", "acl 1 permit 0.0.0.0/0", "-O", "client_acl 1"];
    let pen = pen(&denied, &a);
    // It ends before it has said anything.
    assert_eq!(Client::from("127.0.0.9", &pen).rest().0, b"");
    let client = Client::from("127.0.0.9", &pen);
    // pen may have ended it by now.
    let _ = client.try_send(client_hello());
    assert_eq!(client.rest().0, b"");
    assert_eq!(Hello::new().echoes(&pen), Ok(()));
    let told = counts(&pen);
    assert_eq!(told["done"], 1, "{told}");
    assert!(told["failed"].as_object().unwrap().values().all(|count| *count == 0), "{told}");
    assert!(!pen.stderr().contains("no TLS"), "{}", pen.stderr());
}

#[test]
fn a_denied_client_speaks_tls_with_pen_when_the_abuse_server_takes_it() {
    let (a, abuse) = (Backend::named("a"), Backend::named("abuse"));
    let denied = ["-O", "acl 1 deny 127.0.0.9", "-O", "acl 1 permit 0.0.0.0/0", "-O", "client_acl 1"];
    let pen = launch(&denied, &a).options(&["-B", &abuse.to_string()]).start();
    let mut client = Hello::new().over(Client::from("127.0.0.9", &pen)).unwrap();
    assert_eq!(client.line().as_deref(), Some("abuse"));
    let mut client = Hello::new().connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
}

#[test]
fn a_command_and_term_end_a_handshake() {
    let a = Backend::new("a", echo);
    let mut pen = pen(&["-O", "ssl_handshake_timeout 3600"], &a);
    let client = Client::connect(&pen);
    client.send(&client_hello()[..20]);
    wait_until("the connection", || pen.control().say("connections").contains("127.0.0.1"));
    pen.control().say("close 0");
    assert_eq!(client.rest().0, b"");
    let client = Client::connect(&pen);
    client.send(&client_hello()[..20]);
    wait_until("the connection", || pen.control().say("connections").contains("127.0.0.1"));
    pen.signal(Signal::TERM);
    assert!(pen.wait_exit().success());
}

#[test]
fn a_client_whom_no_server_takes_is_not_told_that_this_was_all() {
    let a = Backend::down("a");
    let pen = pen(&[], &a);
    let mut client = Hello::new().connect(&pen);
    let (heard, end) = client.rest();
    assert_eq!(heard, b"");
    assert_ne!(end, TlsEnd::Notified);
    // And the next server is taken.
    let b = Backend::named("b");
    pen.control().tell(&[&format!("server 1 address 127.0.0.1 port {}", b.port())]);
    let mut client = Hello::new().connect(&pen);
    assert_eq!(client.line().as_deref(), Some("b"));
}

#[test]
fn the_page_of_pen_itself_and_peek_and_logs_and_dumps_work_with_tls() {
    let (a, scratch, authority) = (Backend::new("a", web), Scratch::new(), certificates().authority.cert());
    let dummy = launch(&["-O", "dummy"], &a).start();
    let answer = curl(dummy.port(), "", &["--cacert", authority]);
    assert!(answer.success && !answer.text.is_empty(), "{answer:?}");
    let log = scratch.join("log").display().to_string();
    let pen = launch(&["-O", "peek", "-l", &log, "-ddd", "-a"], &a).start();
    let answer = curl(pen.port(), "page", &["--cacert", authority]);
    assert_eq!((answer.success, answer.text.as_str()), (true, "hello\n"));
    wait_until("the line", || std::fs::read_to_string(&log).unwrap_or_default().contains(" GET /page HTTP/1.1"));
    pen.wait_for_line("GET /page");
}

#[test]
fn listeners_of_every_kind_speak_tls() {
    let (a, scratch) = (Backend::new("a", web), Scratch::new());
    let path = scratch.join("socket").display().to_string();
    let options = ["-E", &certificates().pem];
    let _local = Launch::ours().options(&options).listener(&path).servers(&[&a]).start();
    let answer = curl(443, "", &["--unix-socket", &path, "--cacert", certificates().authority.cert()]);
    assert_eq!((answer.success, answer.text.as_str()), (true, "hello\n"));
    let b = Backend::new("b", echo);
    let six = launch(&[], &b).listener(format!("[::1]:{}", free_port())).start();
    assert_eq!(Hello::new().echoes(&six), Ok(()));
}

#[test]
fn a_session_that_no_side_has_ended_ends_without_a_close_notify() {
    let a = Backend::new("a", echo);
    let pen = pen(&["-O", "idle_timeout 1"], &a);
    let mut client = Hello::new().connect(&pen);
    client.assert_echo("hello");
    assert_eq!(client.rest(), (Vec::new(), TlsEnd::Cut));
    pen.control().say("idle_timeout 0");
    let mut client = Hello::new().connect(&pen);
    client.assert_echo("hello");
    pen.control().say("close 0");
    assert_ne!(client.rest().1, TlsEnd::Notified);
}

#[test]
fn with_peek_a_handshake_counts_although_nothing_follows_it() {
    let a = Backend::new("a", echo);
    let pen = pen(&["-O", "peek"], &a);
    drop(Hello::new().version(SslVersion::TLS1_2).connect(&pen));
    wait_until("the handshake", || counts(&pen)["done"] == 1);
    assert_eq!(a.visits(), 0);
}
