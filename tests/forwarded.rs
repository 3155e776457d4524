//! Headers in HTTP requests: what servers get of what clients send, with `-H` and its settings.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Client, End, Launch, Pen, Scratch, Visit, answer_at_the_end, echo, free_port, greet, run, wait_until,
};
use crate::request_log::{ANSWER, ask, http};

/// What a request from 127.0.0.2 gets.
const OURS: &str = "X-Forwarded-Proto: http\r\nX-Forwarded-For: 127.0.0.2\r\n";

const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\n";

/// A pen with these commands in front of that server.
fn pen(commands: &[&str], backend: &Backend) -> Pen {
    let options: Vec<_> = commands.iter().flat_map(|command| ["-O", command]).collect();
    Launch::ours().control().options(&options).servers(&[backend]).start()
}

/// What the server gets when a client from 127.0.0.2 sends this and ends, through a pen with these commands.
#[track_caller]
fn through(commands: &[&str], stream: impl AsRef<[u8]>) -> String {
    let backend = Backend::new("sink", answer_at_the_end);
    let pen = pen(commands, &backend);
    let client = Client::from("127.0.0.2", &pen);
    client.send(stream);
    client.finish();
    client.rest();
    let visit = backend.visit(0);
    visit.wait_end();
    visit.received()
}

#[test]
fn every_request_of_a_connection_has_the_headers_once() {
    let backend = Backend::new("web", http);
    let pen = pen(&["http"], &backend);
    ask(&pen, &["GET /1 HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /2 HTTP/1.0\r\n\r\n", "M-SEARCH * HTTP/1.1\r\n\r\n"]);
    let all = format!(
        "GET /1 HTTP/1.1\r\nHost: x\r\n{OURS}\r\nDELETE /2 HTTP/1.0\r\n{OURS}\r\nM-SEARCH * HTTP/1.1\r\n{OURS}\r\n"
    );
    assert_eq!(backend.visit(0).received(), all);
    let three = "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 19\r\n\r\nGET /c HTTP/1.1\r\n\r\n\
                 HEAD /d HTTP/1.1\r\n\r\n";
    let expected = format!(
        "GET /a HTTP/1.1\r\n{OURS}\r\nPOST /b HTTP/1.1\r\nContent-Length: 19\r\n{OURS}\r\nGET /c HTTP/1.1\r\n\r\n\
         HEAD /d HTTP/1.1\r\n{OURS}\r\n"
    );
    assert_eq!(through(&["http"], three), expected);
    assert_eq!(through(&["http", "http_strict"], three), expected);
    assert_eq!(through(&[], three), three, "without it nothing is changed");
    assert_eq!(pen.control().say("requests"), "decorated: 3\nunchanged: 0\nrefused: 0\n");
    assert_eq!(pen.control().say("requests json"), "{\"decorated\":3,\"unchanged\":0,\"refused\":0}\n");
    assert!(pen.control().say("status").contains("HTTP requests: 3 decorated, 0 unchanged, 0 refused"));
}

#[test]
fn chunks_come_through_and_trailers_get_nothing() {
    let chunks = "4;a=b\r\nGET \r\n00a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
    let stream = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}GET / HTTP/1.1\r\n\r\n");
    let expected =
        format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{OURS}\r\n{chunks}GET / HTTP/1.1\r\n{OURS}\r\n");
    assert_eq!(through(&["http"], &stream), expected);
    assert_eq!(through(&["http", "http_strict"], &stream), expected);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_one_head() {
    let backend = Backend::new("web", http);
    let pen = pen(&["http"], &backend);
    let client = Client::from("127.0.0.2", &pen);
    for request in ["GET /1 HTTP/1.1\r\nHost: x\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n"] {
        for byte in request.as_bytes() {
            client.send([*byte]);
            thread::yield_now();
        }
        assert_eq!(client.bytes(ANSWER.len()), ANSWER);
    }
    let all = format!("GET /1 HTTP/1.1\r\nHost: x\r\n{OURS}\r\nGET /2 HTTP/1.1\r\n{OURS}\r\n");
    assert_eq!(backend.visit(0).received(), all);
}

#[test]
fn bare_line_feeds_and_long_heads_are_http_too() {
    assert_eq!(through(&["http"], "GET / HTTP/1.1\nHost: x\n\n"), format!("GET / HTTP/1.1\nHost: x\n{OURS}\n"));
    let long = format!("GET / HTTP/1.1\r\n{}", format!("X-Long: {}\r\n", "y".repeat(1000)).repeat(60));
    assert_eq!(through(&["http"], format!("{long}\r\n")), format!("{long}{OURS}\r\n"));
}

#[test]
fn headers_of_pens_names_stay_join_or_go() {
    for forged in ["X-Forwarded-For: 198.51.100.9\r\n", "x-forwarded-FOR:198.51.100.9\r\nX-Forwarded-For: ::2\r\n"] {
        let request = format!("GET / HTTP/1.1\r\n{forged}Host: x\r\n\r\n");
        let of = |existing: &str| through(&["http", existing], &request);
        let proto = "X-Forwarded-Proto: http\r\n";
        assert_eq!(of("http_forwarded keep"), format!("GET / HTTP/1.1\r\n{forged}Host: x\r\n{proto}\r\n"));
        let list = if forged.contains("::2") { "198.51.100.9, ::2" } else { "198.51.100.9" };
        assert_eq!(
            of("http_forwarded append"),
            format!("GET / HTTP/1.1\r\nHost: x\r\n{proto}X-Forwarded-For: {list}, 127.0.0.2\r\n\r\n")
        );
        assert_eq!(of("http_forwarded replace"), format!("GET / HTTP/1.1\r\nHost: x\r\n{OURS}\r\n"));
    }
    let folded = "GET / HTTP/1.1\r\nX-Forwarded-For:\r\n 198.51.100.9,\r\n\t::2\r\nHost: x\r\n\r\n";
    let of = |existing: &str| through(&["http", existing], folded);
    assert_eq!(of("http_forwarded replace"), format!("GET / HTTP/1.1\r\nHost: x\r\n{OURS}\r\n"));
    assert!(of("http_forwarded append").contains("X-Forwarded-For: 198.51.100.9, ::2, 127.0.0.2\r\n"));
    assert!(of("http_forwarded keep").contains("X-Forwarded-For: 198.51.100.9, ::2\r\n"));
}

#[test]
fn other_headers_can_be_added_and_name_the_client_otherwise() {
    let backend = Backend::new("web", http);
    let pen = Launch::ours()
        .control()
        .listener(format!("[::1]:{}", free_port()))
        .options(&["-H", "-O", "http_header X-Port %l of %c", "-O", "http_header X-Request-Id %i"])
        .servers(&[&backend])
        .start();
    let control = pen.control();
    assert_eq!(control.say("http_header"), "X-Port %l of %c\nX-Request-Id %i\n");
    control.tell(&["http_header x-port %%%l"]);
    assert_eq!(control.say("http_forwarded_style rfc7239"), "rfc7239\n");
    let request = "GET / HTTP/1.1\r\n\r\n";
    let client = Client::connect(&pen);
    for _ in 0..2 {
        client.send(request);
        client.bytes(ANSWER.len());
    }
    let heard = backend.visit(0).received();
    let port = pen.address().as_socket().unwrap().port();
    let begin = format!("GET / HTTP/1.1\r\nForwarded: for=\"[::1]\";proto=http\r\nx-port: %{port}\r\nX-Request-Id: ");
    assert_eq!(heard.matches(&begin).count(), 2, "{heard}");
    let ids: Vec<_> = heard.lines().filter_map(|line| line.strip_prefix("X-Request-Id: ")).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(control.say("http_forwarded_style both"), "both\n");
    control.tell(&["no http_header"]);
    assert_eq!(control.say("http_header"), "");
    let again = Client::connect(&pen);
    again.send(request);
    again.bytes(ANSWER.len());
    assert_eq!(
        backend.visit(1).received(),
        "GET / HTTP/1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: ::1\r\nForwarded: for=\"[::1]\";proto=http\r\n\r\n"
    );
}

#[test]
fn clients_of_a_unix_socket_are_unknown_and_mapped_addresses_are_ipv4() {
    let (backend, scratch) = (Backend::new("web", http), Scratch::new());
    let path = scratch.join("socket").display().to_string();
    let pen = Launch::ours().listener(&path).options(&["-H"]).servers(&[&backend]).start();
    let client = Client::connect(&pen);
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.bytes(ANSWER.len());
    assert!(backend.visit(0).received().contains("\r\nX-Forwarded-For: unknown\r\n"));
    let dual = Launch::ours().listener(format!(":::{}", free_port())).options(&["-H"]).servers(&[&backend]).start();
    let port = dual.address().as_socket().unwrap().port();
    let client = Client::connect_to(
        &std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
        Some("127.0.0.2".parse().unwrap()),
    );
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.bytes(ANSWER.len());
    assert!(backend.visit(1).received().contains("\r\nX-Forwarded-For: 127.0.0.2\r\n"));
}

#[test]
fn bad_settings_are_refused_and_what_is_set_is_written_and_read_again() {
    let (backend, scratch) = (Backend::new("web", http), Scratch::new());
    let file = scratch.join("pen.conf");
    std::fs::write(&file, "http\nhttp_header A 1\nhttp_header B 2\n").unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&backend]).start();
    let control = pen.control();
    for (line, answer) in [
        ("http_forwarded drop", "http_forwarded: \"drop\" is not keep, append or replace\n"),
        ("http_forwarded_style y", "http_forwarded_style: \"y\" is not x, rfc7239 or both\n"),
        ("http_header X", "\"http_header X\": a value is missing\n"),
        ("http_header X: 5", "http_header: \"X:\" is not the name of a header\n"),
        ("http_header Host x", "http_header: Host cannot be set\n"),
        ("http_header X 5%", "http_header X: \"%\" means nothing; there are: %c, %p, %l, %i, %%\n"),
        ("no http_header X", "http_header X: there is none of that name\n"),
        ("http_strict yes", "\"http_strict yes\": nothing is expected from \"yes\" on\n"),
    ] {
        assert_eq!(control.say(line), answer);
    }
    for number in 2..50 {
        control.tell(&[&format!("http_header X-{number} {number}")]);
    }
    assert_eq!(control.say("http_header X-50 50"), "http_header X-50: there are 50 already\n");
    control.tell(&["http_strict", "no http"]);
    assert_eq!(control.say("http_forwarded append"), "append\n");
    let written = control.configuration();
    for line in ["no http", "http_strict", "http_forwarded append", "http_forwarded_style x", "http_header B 2"] {
        assert!(written.lines().any(|other| other == line), "{line}: {written}");
    }
    // At HUP the list is that of the file.
    pen.signal(rustix::process::Signal::HUP);
    pen.wait_for_line("read again");
    assert_eq!(control.say("http_header"), "A 1\nB 2\n");
    assert!(control.configuration().contains("\nhttp\n"));
    control.tell(&[&format!("include {}", written_to(&scratch, &written).display())]);
    assert_eq!(control.configuration(), written);
}

#[test]
fn what_has_no_effect_is_told_at_start_and_by_check() {
    let backend = Backend::new("web", http);
    pen(&["http_strict"], &backend).wait_for_line("http_strict has no effect without http (-H)");
    for (options, told) in [
        (&["-O", "http_strict"][..], "http_strict has no effect without http (-H)"),
        (&["-O", "accept_proxy any"], "accept_proxy is on, and proxy_acl is empty"),
    ] {
        let (status, process) = run(&[&["--check"], options, &["80", "127.0.0.1:9"]].concat());
        assert!(status.success() && process.stderr().contains(told), "{}", process.stderr());
        let (_, process) = run(&[&["--check", "-H"], options, &["/tmp/socket", "127.0.0.1:9"]].concat());
        assert_eq!(process.stderr(), "", "{options:?}");
    }
}

fn written_to(scratch: &Scratch, text: &str) -> std::path::PathBuf {
    let path = scratch.join("other.conf");
    std::fs::write(&path, text).unwrap();
    path
}

/// Answers as soon as the first line is whole.
fn hasty(visit: &Visit) -> io::Result<()> {
    let mut heard = Vec::new();
    let mut buffer = [0; 1000];
    while !heard.contains(&b'\n') {
        let count = visit.read(&mut buffer)?;
        heard.extend_from_slice(&buffer[..count]);
    }
    visit.write(b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\n\r\n")?;
    visit.finish()?;
    visit.read_all()
}

#[test]
fn a_server_that_answers_before_the_head_is_whole_is_heard() {
    let backend = Backend::new("hasty", hasty);
    let pen = pen(&["http"], &backend);
    let client = Client::connect(&pen);
    client.send("GET /long HTTP/1.1\r\nHost: ");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 414 URI Too Long\r");
}

#[test]
fn what_is_not_http_passes_at_once_and_unchanged() {
    let backend = Backend::new("echo", echo);
    let pen = pen(&["http"], &backend);
    let others =
        ["\u{16}\u{3}\u{1}\u{2}hello", "EHLO x\r\n", "GET key", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /\r\n"];
    for words in others {
        let client = Client::connect(&pen);
        client.assert_echo(words);
        client.assert_echo("GET / HTTP/1.1\r\n\r\n");
    }
    let counted = format!("decorated: 0\nunchanged: {}\nrefused: 0\n", others.len());
    wait_until("the count", || pen.control().say("requests") == counted);
    for head in ["X : y\r\n", "no colon\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n", " X: y\r\n", "X: a\rb\r\n"]
    {
        let stream = format!("GET / HTTP/1.1\r\n{head}\r\n");
        assert_eq!(through(&["http", "http_forwarded replace"], &stream), stream);
    }
    // A server that speaks first.
    let greeter = Backend::new("greeter", greet);
    let pen = self::pen(&["http"], &greeter);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("greeter"));
    client.assert_echo("hello");
}

/// Accepts an upgrade or a CONNECT, and repeats what it hears then.
fn tunnel(visit: &Visit) -> io::Result<()> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 1000]);
    while !heard.ends_with(b"\r\n\r\n") {
        let count = visit.read(&mut buffer)?;
        heard.extend_from_slice(&buffer[..count]);
    }
    let status = if heard.starts_with(b"CONNECT") { "200 OK" } else { "101 Switching Protocols" };
    // What the server says then may come in the same packet.
    visit.write(format!("HTTP/1.1 {status}\r\n\r\nwelcome\n").as_bytes())?;
    echo(visit)
}

#[test]
fn behind_an_upgrade_or_a_connect_nothing_is_changed() {
    for commands in [&["http"][..], &["http", "http_strict"]] {
        let backend = Backend::new("tunnel", tunnel);
        let pen = pen(commands, &backend);
        for request in
            ["GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", "CONNECT a:1 HTTP/1.1\r\n"]
        {
            let client = Client::from("127.0.0.2", &pen);
            client.send(format!("{request}\r\n"));
            while client.line().unwrap() != "welcome" {}
            client.assert_echo("GET / HTTP/1.1\r\n\r\n");
            client.assert_echo("\u{1}\u{2}GET");
            client.assert_echo(" / HTTP/1.1\r\n\r\n");
            let heard = backend.visit(backend.visits() - 1).received();
            assert!(heard.starts_with(&format!("{request}{OURS}\r\nGET / HTTP/1.1\r\n\r\n\u{1}")), "{heard}");
        }
    }
}

#[test]
fn the_body_waits_for_continue_and_so_does_pen_not() {
    let backend = Backend::new("careful", |visit: &Visit| {
        let (mut heard, mut buffer) = (Vec::new(), [0; 1000]);
        while !heard.ends_with(b"\r\n\r\n") {
            let count = visit.read(&mut buffer)?;
            heard.extend_from_slice(&buffer[..count]);
        }
        visit.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        visit.read(&mut buffer)?;
        visit.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        visit.finish()?;
        visit.read_all()
    });
    let pen = pen(&["http"], &backend);
    let client = Client::connect(&pen);
    client.send("PUT / HTTP/1.1\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 100 Continue\r");
    client.send([b'x'; 5000]);
    client.line();
    assert_eq!(client.line().unwrap(), "HTTP/1.1 413 Content Too Large\r");
}

#[test]
fn the_end_of_the_client_comes_behind_all_that_it_sent() {
    for (stream, expected) in [
        ("GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHo".to_string()),
        ("GET / HTTP/1.1\r\n\r", "GET / HTTP/1.1\r\n\r".to_string()),
        ("GET / HTTP/1.1\r\n\r\n", format!("GET / HTTP/1.1\r\n{OURS}\r\n")),
        (
            "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
            format!("PUT / HTTP/1.1\r\nContent-Length: 9\r\n{OURS}\r\nabc"),
        ),
    ] {
        assert_eq!(through(&["http"], stream), expected);
    }
}

#[test]
fn strict_answers_400_and_the_server_gets_nothing() {
    let backend = Backend::new("sink", answer_at_the_end);
    let pen = pen(&["http", "http_strict"], &backend);
    let bad = [
        "EHLO x\r\n",
        "\u{16}\u{3}\u{1}",
        "GET /\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\n\r\n",
        "GET / HTTP/1.1\r\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nX : y\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\r\n z\r\n\r\n",
        "GET / HTTP/1.1\r\n X: y\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close, X-Forwarded-For\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    ];
    for stream in bad {
        let client = Client::connect(&pen);
        client.send(stream);
        let (answer, end) = client.rest();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(BAD_REQUEST) && answer.ends_with("\r\n\r\nBad Request\n"), "{stream:?}: {answer}");
        assert_eq!(end, End::Closed, "{stream:?}");
    }
    for number in 0..backend.visits() {
        assert_eq!(backend.visit(number).received(), "");
    }
    let counted = format!("decorated: 0\nunchanged: 0\nrefused: {}\n", bad.len());
    wait_until("the count", || pen.control().say("requests") == counted);
}

#[test]
fn strict_cuts_a_body_off_where_it_goes_wrong() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
    let backend = Backend::new("sink", answer_at_the_end);
    let pen = pen(&["http", "http_strict"], &backend);
    for (number, fault) in [
        "x\r\n",
        " 1\r\n",
        "1 \r\n",
        "1\n",
        "+1\r\n",
        "0x1\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1;a\rb\r\n",
        "00000000000000001\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let client = Client::from("127.0.0.2", &pen);
        client.send(format!("{head}\r\n2\r\nok\r\n"));
        backend.visit(number).wait_received("ok\r\n");
        client.send(format!("{fault}GET /smuggled HTTP/1.1\r\n\r\n"));
        let (answer, _) = client.rest();
        assert!(answer.starts_with(BAD_REQUEST.as_bytes()), "{fault:?}: {}", String::from_utf8_lossy(&answer));
        let visit = backend.visit(number);
        visit.wait_end();
        assert!(visit.received().starts_with(&format!("{head}{OURS}\r\n2\r\nok\r\n")), "{fault:?}");
        assert!(!visit.received().contains("smuggled"), "{fault:?}");
    }
}

#[test]
fn strict_lets_the_answers_to_earlier_requests_come_first() {
    const PARTS: [&str; 3] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        "okHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "\r\n",
    ];
    let (go_on, next) = crossbeam_channel::bounded::<()>(0);
    let backend = Backend::new("slow", move |visit: &Visit| {
        let (mut heard, mut buffer) = (Vec::new(), [0; 1000]);
        while heard.windows(4).filter(|part| part == b"\r\n\r\n").count() < 2 {
            let count = visit.read(&mut buffer)?;
            heard.extend_from_slice(&buffer[..count]);
        }
        for part in PARTS {
            // The test has ended if it does not say so.
            next.recv().map_err(io::Error::other)?;
            visit.write(part.as_bytes())?;
        }
        visit.read_all()
    });
    let pen = pen(&["http", "http_strict"], &backend);
    let client = Client::connect(&pen);
    client.send("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\nX : y\r\n\r\n");
    // What it goes on sending does not hold that up.
    let _ = client.try_send(vec![b'x'; 3 << 20]);
    wait_until("the third request to be refused", || pen.control().say("requests").contains("refused: 1"));
    for part in PARTS {
        assert!(client.hears_nothing_for(Duration::from_millis(20)), "before {part:?}");
        go_on.send(()).unwrap();
        client.assert_hears(part);
    }
    let (refusal, _) = client.rest();
    let refusal = String::from_utf8_lossy(&refusal);
    assert!(refusal.starts_with(BAD_REQUEST), "{refusal}");
}

#[test]
fn strict_lets_an_answer_without_a_length_come_to_its_end() {
    let (go_on, next) = crossbeam_channel::bounded::<()>(0);
    let backend = Backend::new("endless", move |visit: &Visit| {
        visit.read(&mut [0; 1000])?;
        visit.write(b"HTTP/1.1 200 OK\r\n\r\nfirst ")?;
        // The test has ended if it does not say so.
        next.recv().map_err(io::Error::other)?;
        visit.write(b"second")
    });
    for fault in ["BAD \r\n\r\n", "\0"] {
        let pen = pen(&["http", "http_strict"], &backend);
        let client = Client::connect(&pen);
        client.send("GET / HTTP/1.1\r\n\r\n");
        client.assert_hears("HTTP/1.1 200 OK\r\n\r\nfirst ");
        client.send(fault);
        wait_until("the refusal", || pen.control().say("requests").contains("refused: 1"));
        assert!(client.hears_nothing_for(Duration::from_millis(20)));
        go_on.send(()).unwrap();
        assert_eq!(client.text(), "second");
    }
}

#[test]
fn what_is_not_http_is_counted_also_if_no_line_of_it_ends() {
    let backend = Backend::new("sink", answer_at_the_end);
    let pen = pen(&["http"], &backend);
    for (number, words) in ["PING", "PING\r\n", "GET / HTTP/1.1"].into_iter().enumerate() {
        let client = Client::connect(&pen);
        client.send(words);
        client.finish();
        client.rest();
        backend.visit(number).wait_end();
        assert_eq!(backend.visit(number).received(), words);
        let counted = format!("decorated: 0\nunchanged: {}\nrefused: 0\n", number + 1);
        wait_until("the count", || pen.control().say("requests") == counted);
    }
}

#[test]
fn uploads_and_downloads_are_spliced_and_the_next_request_still_has_the_headers() {
    const TOTAL: usize = 8 << 20;
    let Some(strace) = crate::harness::program("strace") else {
        return crate::harness::skip("strace is not installed");
    };
    let scratch = Scratch::new();
    let upload = Backend::new("upload", |visit: &Visit| {
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        while total < TOTAL {
            total += visit.read(&mut buffer)?;
        }
        visit.write(ANSWER)?;
        http(visit)
    });
    let download = Backend::new("download", |visit: &Visit| {
        visit.read(&mut [0; 1000])?;
        visit.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n").as_bytes())?;
        visit.write(&vec![b'x'; TOTAL])?;
        http(visit)
    });
    for (backend, sent, heard) in [(&upload, TOTAL, ANSWER.len()), (&download, 0, TOTAL + 30)] {
        let trace = scratch.join("trace").display().to_string();
        let wrapper = [&strace, "-D", "-f", "-qq", "-e", "trace=splice,exit_group", "-o", &trace];
        let mut pen = Launch::ours().wrapper(&wrapper).options(&["-H"]).servers(&[backend]).start();
        let client = Client::from("127.0.0.2", &pen);
        let head = format!("PUT /1 HTTP/1.1\r\nContent-Length: {sent}\r\n\r\n");
        client.send(&head);
        client.send(vec![b'x'; sent]);
        client.bytes(heard);
        let (visit, first) = (backend.visit(0), head.len() + OURS.len() + sent);
        wait_until("the whole first request", || visit.count() == first as u64);
        let next = "GET /2 HTTP/1.1\r\n\r\n";
        client.send(next);
        wait_until("the next request", || visit.count() == (first + next.len() + OURS.len()) as u64);
        pen.terminate();
        wait_for_splices(Path::new(&trace));
    }
}

#[track_caller]
fn wait_for_splices(trace: &Path) {
    wait_until("the trace", || {
        let text = std::fs::read_to_string(trace).unwrap_or_default();
        text.contains("exit_group") && text.contains("splice(")
    });
}

#[test]
fn a_client_that_sends_half_a_head_delays_nobody_and_is_let_go() {
    let backend = Backend::new("web", http);
    let pen = pen(&["http", "http_strict", "idle_timeout 1"], &backend);
    let slow: Vec<_> = (0..50).map(|_| Client::connect(&pen)).collect();
    slow.iter().for_each(|client| client.send("GET / HTTP/1.1\r\nX: "));
    ask(&pen, &["GET /1 HTTP/1.1\r\n\r\n"]);
    let start = Instant::now();
    for client in slow {
        client.rest();
    }
    assert!(start.elapsed() < Duration::from_secs(15));
}
