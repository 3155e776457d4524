//! The request log: what it says, where it goes, and that nothing else can be made of it.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use rustix::process::Signal;

use crate::harness::{
    Backend, Client, Launch, Pen, Process, Program, Scratch, Visit, answer_at_the_end, echo, free_port, program, run,
    skip, wait_for, wait_until,
};

/// A web server: a short answer to everything that ends like the head of a request.
pub(crate) fn http(visit: &Visit) -> std::io::Result<()> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match visit.read(&mut buffer)? {
            0 => return visit.finish(),
            count => heard.extend_from_slice(&buffer[..count]),
        }
        if heard.ends_with(b"\r\n\r\n") {
            heard.clear();
            visit.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    }
}

pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Says each of these as one packet, and hears an answer to each.
#[track_caller]
pub(crate) fn ask(pen: &Pen, requests: &[&str]) {
    let client = Client::from("127.0.0.2", pen);
    for request in requests {
        client.send(request);
        assert_eq!(client.bytes(ANSWER.len()), ANSWER, "{request}");
    }
}

/// Says each of these as one packet to a server that repeats what it hears.
#[track_caller]
fn say(pen: &Pen, packets: &[&[u8]]) {
    let client = Client::from("127.0.0.2", pen);
    for packet in packets {
        client.send(packet);
        assert_eq!(client.bytes(packet.len()), *packet);
    }
}

/// The file's lines, without the time, which must be about now.
#[track_caller]
pub(crate) fn lines(file: &Path) -> Vec<String> {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let line = |line: &str| {
        let fields: Vec<_> = line.splitn(3, ' ').collect();
        let time: u64 = fields[1].parse().unwrap_or_else(|_| panic!("no time: {line}"));
        assert!((now - 60..=now).contains(&time), "{line}");
        format!("{} {}", fields[0], fields[2])
    };
    text.split_terminator('\n').map(line).collect()
}

/// Waits until the file has these lines, each without its time.
#[track_caller]
fn wait_for_lines(file: &Path, expected: &[&str]) {
    wait_until(&format!("{expected:?}"), || lines(file).len() >= expected.len());
    assert_eq!(lines(file), expected);
}

/// Our pen with a log, in front of a server with this behaviour.
fn logged(serve: impl Fn(&Visit) -> std::io::Result<()> + Send + Sync + 'static) -> (Scratch, PathBuf, Backend, Pen) {
    let (scratch, backend) = (Scratch::new(), Backend::new("a", serve));
    let file = scratch.join("log");
    let pen = Launch::ours().control().options(&["-l", &file.display().to_string()]).servers(&[&backend]).start();
    (scratch, file, backend, pen)
}

/// Both pens, or ours alone.
fn programs() -> impl Iterator<Item = Program> {
    [Program::Ours, Program::Theirs].into_iter().filter(|program| {
        program.is_installed() || {
            skip("Debian's package \"pen\" is not installed");
            false
        }
    })
}

#[test]
fn a_file_has_the_lines_of_pen_0_34_1() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200));
    let (web, other) = (Backend::new("web", http), Backend::new("other", echo));
    for program in programs() {
        let scratch = Scratch::new();
        let file = scratch.join("log");
        let options = ["-r", "-l", &file.display().to_string()];
        let mut pen = Launch::of(program).options(&options).servers(&[&web]).start();
        ask(&pen, &["GET /one HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /t\u{e4}w\u{f6} HTTP/1.0\r\n\r\n", &long]);
        pen.terminate();
        let mut pen = Launch::of(program).options(&options).servers(&[&other]).start();
        say(&pen, &[b"EHLO x\r\nMAIL\r\n", b"DATA\n", b"\n", b"\r\nfoo", b"no end"]);
        pen.terminate();
        let expected = [
            "127.0.0.2 127.0.0.1 GET /one HTTP/1.1",
            "127.0.0.2 127.0.0.1 HEAD /t..w.. HTTP/1.0",
            &format!("127.0.0.2 127.0.0.1 {}", &long[..100]),
            "127.0.0.2 127.0.0.1 EHLO x",
            "127.0.0.2 127.0.0.1 DATA",
            "127.0.0.2 127.0.0.1 ",
            "127.0.0.2 127.0.0.1 ",
            "127.0.0.2 127.0.0.1 no end",
        ];
        assert_eq!(lines(&file), expected, "{program:?}");
    }
}

#[test]
fn what_is_answered_without_the_end_of_a_line_is_a_line_and_term_does_not_lose_it() {
    let other = Backend::new("other", echo);
    for program in programs() {
        let scratch = Scratch::new();
        let file = scratch.join("log");
        let options = ["-r", "-l", &file.display().to_string()];
        let mut pen = Launch::of(program).options(&options).servers(&[&other]).start();
        let client = Client::from("127.0.0.2", &pen);
        for packet in ["PING", "PING", "GET key"] {
            client.send(packet);
            assert_eq!(client.bytes(packet.len()), packet.as_bytes());
        }
        pen.terminate();
        let expected = ["PING", "PING", "GET key"].map(|packet| format!("127.0.0.2 127.0.0.1 {packet}"));
        assert_eq!(lines(&file), expected, "{program:?}");
    }
}

#[test]
fn penlogd_hears_the_lines_of_pen_0_34_1() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(300));
    let web = Backend::new("web", http);
    for program in programs() {
        let penlogd = UdpSocket::bind("127.0.0.1:0").unwrap();
        penlogd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let place = penlogd.local_addr().unwrap().to_string();
        let pen = Launch::of(program).options(&["-l", &place]).servers(&[&web]).start();
        ask(&pen, &["GET /one HTTP/1.1\r\nHost: x\r\n\r\n", &long]);
        for line in ["GET /one HTTP/1.1", long.trim_end()] {
            let mut datagram = [0; 2000];
            let count = penlogd.recv(&mut datagram).unwrap();
            let expected = format!("+ 127.0.0.2 127.0.0.1 {line}\n");
            assert_eq!(String::from_utf8_lossy(&datagram[..count]), expected, "{program:?}");
        }
    }
}

#[test]
fn the_penlogd_of_pen_0_34_1_understands_it() {
    let Some(penlogd) = program("penlogd").filter(|_| Program::Theirs.is_installed()) else {
        return skip("Debian's package \"pen\" is not installed");
    };
    let (scratch, web, port) = (Scratch::new(), Backend::new("web", http), free_port());
    let merged = scratch.join("merged");
    let mut command = Command::new(penlogd);
    command.args(["-f", "-l"]).arg(&merged).arg(port.to_string());
    let penlogd = Process::start(command);
    let table = || fs::read_to_string("/proc/net/udp").unwrap();
    wait_until("penlogd to listen", || table().contains(&format!(":{port:04X} ")));
    let pen = Launch::ours().options(&["-l", &format!("127.0.0.1:{port}")]).servers(&[&web]).start();
    // A web server tells penlogd of its requests, and penlogd puts the client that pen has told of in the place of pen. It
    // comes into the way of neither if the web server is the faster one, so both are told until it has worked.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    wait_until("the merged line", || {
        ask(&pen, &["GET /merged HTTP/1.1\r\n\r\n"]);
        let line = b"127.0.0.1 - - [22/Nov/2026:00:00:00 +0000] \"GET /merged HTTP/1.1\" 200 2\n";
        server.send_to(line, ("127.0.0.1", port)).unwrap();
        penlogd.signal(Signal::HUP);
        fs::read_to_string(&merged).unwrap_or_default().contains("127.0.0.2 - - ")
    });
    // A TERM just behind a HUP does not always end it, so it is killed with its handle.
}

#[test]
fn clients_and_servers_have_their_addresses_of_either_family() {
    let (scratch, one) = (Scratch::new(), "::1".parse().unwrap());
    let file = scratch.join("log");
    let text = file.display().to_string();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let web = Backend::on("web", one, free_port(), http);
    let pen = Launch::ours().listener(format!(":::{}", free_port())).options(&["-l", &text]).servers(&[&web]).start();
    for ip in ["::1", "127.0.0.1"] {
        let address = std::net::SocketAddr::new(ip.parse().unwrap(), pen.port());
        let client = Client::connect_to(&address.into(), None);
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.bytes(ANSWER.len()), ANSWER);
    }
    // pen 0.34.1 says ::ffff:127.0.0.1; but it is the same client wherever it comes in.
    wait_for_lines(&file, &["::1 ::1 GET / HTTP/1.0", "127.0.0.1 ::1 GET / HTTP/1.0"]);
}

#[test]
fn unix_sockets_have_names_in_it_too() {
    let scratch = Scratch::new();
    let (file, socket) = (scratch.join("log"), scratch.join("server"));
    let web = Backend::unix("web", &socket, http);
    let listener = scratch.join("pen").display().to_string();
    let options = ["-l", &file.display().to_string()];
    let pen = Launch::ours().listener(listener).options(&options).servers(&[&web]).start();
    let client = Client::connect(&pen);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.bytes(ANSWER.len()), ANSWER);
    wait_for_lines(&file, &[&format!("local {} GET / HTTP/1.0", socket.display())]);
}

#[test]
fn the_server_is_the_one_that_it_came_to_in_the_end() {
    let scratch = Scratch::new();
    let file = scratch.join("log");
    let down = Backend::down("down");
    let web = Backend::on("web", "127.0.0.7".parse().unwrap(), free_port(), http);
    let pen = Pen::start(&["-l", &file.display().to_string()], &[&down, &web]);
    ask(&pen, &["GET / HTTP/1.1\r\n\r\n"]);
    wait_for_lines(&file, &["127.0.0.2 127.0.0.7 GET / HTTP/1.1"]);
}

#[test]
fn every_request_of_a_connection_is_a_line_however_it_comes() {
    let (_scratch, file, _backend, pen) = logged(http);
    let client = Client::from("127.0.0.2", &pen);
    for part in ["GET /spl", "it HTTP/1.1\r", "\nHost: a", "\r\n\r\n"] {
        client.send(part);
        assert!(part.ends_with("\r\n\r\n") || client.hears_nothing_for(Duration::from_millis(20)));
    }
    assert_eq!(client.bytes(ANSWER.len()), ANSWER);
    client.send("GET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n\r\nGET /4 HTTP/1.1\r\n\r\n");
    assert_eq!(client.bytes(ANSWER.len()), ANSWER);
    client.send("GET /5 HTTP/1.1\r\n\r\n");
    assert_eq!(client.bytes(ANSWER.len()), ANSWER);
    let expected = ["/split", "/2", "/3", "/4", "/5"].map(|name| format!("127.0.0.2 127.0.0.1 GET {name} HTTP/1.1"));
    wait_for_lines(&file, &expected.each_ref().map(String::as_str));
}

#[test]
fn bodies_that_look_like_requests_are_none() {
    let (_scratch, file, backend, pen) = logged(answer_at_the_end);
    let client = Client::from("127.0.0.2", &pen);
    let evil = "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n";
    let plain = format!("POST /plain HTTP/1.1\r\nContent-Length: {}\r\n\r\n", 2 * evil.len());
    // Each in packets of their own, so that each is read by itself.
    let packets = [&plain, evil, evil, "POST /chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"];
    let chunk = format!("{:x}\r\n{evil}\r\n", evil.len());
    let last = "0\r\nX-Trailer: 1\r\n\r\nGET /last HTTP/1.1\r\n\r\n";
    let mut heard = 0;
    for packet in packets.into_iter().chain([chunk.as_str(), last]) {
        client.send(packet);
        heard += packet.len() as u64;
        wait_until("the server to hear it", || backend.visit(0).count() == heard);
    }
    client.finish();
    client.text();
    let expected =
        ["POST /plain", "POST /chunked", "GET /last"].map(|what| format!("127.0.0.2 127.0.0.1 {what} HTTP/1.1"));
    wait_for_lines(&file, &expected.each_ref().map(String::as_str));
}

#[test]
fn a_client_cannot_command_a_terminal_or_write_lines_of_its_own() {
    let (_scratch, file, _backend, pen) = logged(echo);
    say(&pen, &[b"GET /\x1b[2J\x9b1m HTTP/1.1\r\n\r\n", b"\x1b]0;evil\x07\ttab\x7f\x00\n1.2.3.4 5 6.7.8.9 evil\n"]);
    wait_for_lines(&file, &["127.0.0.2 127.0.0.1 GET /.[2J.1m HTTP/1.1", "127.0.0.2 127.0.0.1 .]0;evil..tab.."]);
    assert!(fs::read(&file).unwrap().iter().all(|byte| *byte == b'\n' || (b' '..=b'~').contains(byte)));
}

#[test]
fn curl_is_logged() {
    let Some(curl) = program("curl") else { return skip("curl is not installed") };
    let (_scratch, file, _backend, pen) = logged(http);
    let mut command = Command::new(curl);
    let page = |name: &str| format!("http://127.0.0.1:{}/{name}", pen.port());
    command.args(["-s", "--interface", "127.0.0.2", &page("a"), &page("b")]);
    let mut curl = Process::start(command);
    assert!(curl.wait_exit().success());
    assert_eq!(curl.stdout(), "okok");
    wait_for_lines(&file, &["127.0.0.2 127.0.0.1 GET /a HTTP/1.1", "127.0.0.2 127.0.0.1 GET /b HTTP/1.1"]);
}

#[test]
fn dumps_and_the_log_do_not_disturb_each_other() {
    let (_scratch, file, _backend, pen) = logged(http);
    assert_eq!(pen.control().say("debug 3"), "3\n");
    assert_eq!(pen.control().say("ascii"), "");
    ask(&pen, &["GET / HTTP/1.1\r\n\r\n"]);
    pen.wait_for_line("client -> server 18: GET / HTTP/1.1....");
    wait_for_lines(&file, &["127.0.0.2 127.0.0.1 GET / HTTP/1.1"]);
}

#[test]
fn the_log_is_moved_switched_off_and_on_by_command() {
    let (scratch, first, backend, pen) = logged(http);
    let control = pen.control();
    let text = |path: &Path| path.display().to_string();
    let (second, third) = (scratch.join("a second log"), scratch.join("third"));
    assert_eq!(control.say("log"), format!("{}\n", text(&first)));
    let held = Client::from("127.0.0.2", &pen);
    let ask_again = |name: &str| {
        held.send(format!("GET /{name} HTTP/1.1\r\n\r\n"));
        assert_eq!(held.bytes(ANSWER.len()), ANSWER);
    };
    ask_again("1");
    assert_eq!(control.say(&format!("log {}", text(&second))), format!("{}\n", text(&second)));
    assert_eq!(control.say("log"), format!("{}\n", text(&second)));
    ask_again("2");
    // What cannot be opened changes nothing.
    for (wrong, cause) in [
        ("/no/such/folder/log", "Can't open logfile /no/such/folder/log: No such file or directory\n"),
        ("/", "Can't open logfile /: Is a directory\n"),
        ("127.0.0.1:x y", "log: \"127.0.0.1:x y\": blanks and control characters are not possible in an address\n"),
        ("127.0.0.1:99999", "log: port \"99999\" is not a number from 1 to 65535\n"),
        (":99", "log: \":99\" names no host\n"),
    ] {
        assert_eq!(control.say(&format!("log {wrong}")), cause);
    }
    let unknown = control.say("log no-such-host.invalid:99");
    assert!(unknown.starts_with("unknown or invalid address [no-such-host.invalid]: "), "{unknown}");
    ask_again("3");
    assert!(control.configuration().contains(&format!("\nlog {}\n", text(&second))));
    assert_eq!(control.say("no log"), "");
    assert_eq!(control.say("log"), "");
    assert!(control.configuration().contains("\nno log\n"));
    ask_again("4");
    ask(&pen, &["GET /5 HTTP/1.1\r\n\r\n"]);
    let unlogged = Client::from("127.0.0.3", &pen);
    backend.visit(2);
    assert_eq!(control.say(&format!("log {}", text(&third))), format!("{}\n", text(&third)));
    // A connection that began while the log was off stays out of it.
    unlogged.send("GET /6 HTTP/1.1\r\n\r\n");
    assert_eq!(unlogged.bytes(ANSWER.len()), ANSWER);
    ask_again("7");
    wait_for_lines(&first, &["127.0.0.2 127.0.0.1 GET /1 HTTP/1.1"]);
    wait_for_lines(&second, &["127.0.0.2 127.0.0.1 GET /2 HTTP/1.1", "127.0.0.2 127.0.0.1 GET /3 HTTP/1.1"]);
    wait_for_lines(&third, &["127.0.0.2 127.0.0.1 GET /7 HTTP/1.1"]);
    assert!(pen.stderr().lines().all(|line| line.contains(": control port: ")), "{}", pen.stderr());
}

#[test]
fn bulk_is_spliced_where_no_request_can_be_in_it() {
    const TOTAL: usize = 8 << 20;
    let Some(strace) = program("strace") else { return skip("strace is not installed") };
    let scratch = Scratch::new();
    let source = Backend::new("source", |visit: &Visit| {
        visit.read(&mut [0; 1000])?;
        visit.write(&vec![b'x'; TOTAL])?;
        visit.finish()
    });
    let sink = Backend::new("sink", answer_at_the_end);
    let body = format!("POST / HTTP/1.1\r\nContent-Length: {TOTAL}\r\n\r\n");
    let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let small = "8\r\naaaaaaaa\r\n".repeat(TOTAL / 13);
    for (server, head, bulk, spliced) in [
        (&source, "GET / HTTP/1.1\r\n\r\n", String::new(), true),
        (&sink, &body, "x".repeat(TOTAL), true),
        (&sink, &body, "x".repeat(TOTAL) + "GET /next HTTP/1.1\r\n\r\n", true),
        (&sink, chunks, small + "0\r\n\r\nGET /next HTTP/1.1\r\n\r\n", false),
        (&sink, "CONNECT a:80 HTTP/1.1\r\n\r\n", "x".repeat(TOTAL), true),
    ] {
        let (trace, file) = (scratch.join("trace"), scratch.join("log"));
        let trace = trace.display().to_string();
        let wrapper = [&strace, "-D", "-f", "-qq", "-e", "trace=splice,exit_group", "-o", &trace];
        let options = ["-l", &file.display().to_string()];
        let mut pen = Launch::ours().wrapper(&wrapper).options(&options).servers(&[server]).start();
        let client = Client::connect(&pen);
        client.send(head);
        client.send(&bulk);
        client.finish();
        client.text();
        pen.terminate();
        let next = if bulk.contains("/next") { vec!["GET /next HTTP/1.1"] } else { Vec::new() };
        let found: Vec<_> = lines(&file).into_iter().skip(1).collect();
        assert!(found.iter().map(|line| line.splitn(3, ' ').last().unwrap()).eq(next), "{head}: {found:?}");
        fs::remove_file(&file).unwrap();
        // strace writes its last lines after pen has ended.
        let trace =
            wait_for("the trace", || fs::read_to_string(&trace).ok().filter(|text| text.contains("exit_group")));
        assert_eq!(trace.contains("splice("), spliced, "{head}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_keeps_pen_from_starting() {
    let scratch = Scratch::new();
    let (socket, pipe) = (scratch.join("socket"), scratch.join("pipe"));
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let opened = |path: &Path, cause: &str| {
        (path.display().to_string(), format!("Can't open logfile {}: {cause}", path.display()))
    };
    for (name, message) in [
        opened(Path::new("/no/such/folder/log"), "No such file or directory"),
        opened(Path::new("/"), "Is a directory"),
        opened(&socket, "No such device or address"),
        // Nobody reads it.
        opened(&pipe, "No such device or address"),
        (String::from("no-such-host.invalid:99"), String::from("unknown or invalid address [no-such-host.invalid]")),
        (String::from("127.0.0.1:"), String::from("-l: \"127.0.0.1:\" names no port")),
        (String::from("a\nb"), String::from("control characters")),
    ] {
        let (status, pen) = run(&["-f", "-l", &name, &free_port().to_string(), "127.0.0.1:9"]);
        assert_eq!(status.code(), Some(1), "{name}");
        assert!(pen.stderr().contains(&message), "{name}: {}", pen.stderr());
        assert_eq!(pen.stderr().lines().count(), 1, "{}", pen.stderr());
    }
}

#[test]
fn a_pipe_that_somebody_reads_is_a_log_and_one_that_stands_still_stops_nobody() {
    const CLIENTS: usize = 8;
    const EACH: usize = 700;
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let pipe = scratch.join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let pen = Pen::start(&["-l", &pipe.display().to_string()], &[&web]);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask(&pen, &vec!["GET /with/a/rather/long/name/so/that/it/fills/up HTTP/1.1\r\n\r\n"; EACH]));
        }
    });
    pen.wait_for_line(&format!("Can't write logfile {}: nobody reads it", pipe.display()));
    fcntl_setfl(reader.as_fd(), OFlags::NONBLOCK).unwrap();
    let mut text = Vec::new();
    let mut read = || {
        let mut part = [0; 65536];
        while let Ok(count @ 1..) = std::io::Read::read(&mut (&reader), &mut part) {
            text.extend_from_slice(&part[..count]);
        }
        text.clone()
    };
    let line = wait_for("it to be written again", || {
        read();
        pen.line("is written again; ")
    });
    ask(&pen, &["GET /last HTTP/1.1\r\n\r\n"]);
    let text = wait_for("the last line", || Some(read()).filter(|text| text.ends_with(b" GET /last HTTP/1.1\n")));
    let lost: usize = line.split("; ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let written = String::from_utf8(text).unwrap().lines().count();
    assert!(lost > 0);
    assert_eq!(written + lost, CLIENTS * EACH + 1);
}
