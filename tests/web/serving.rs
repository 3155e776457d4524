//! What is answered, and where the page is.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use super::{Page, answer, read, server};
use crate::harness::{Backend, Client, Control, Launch, Scratch, free_port, is_root, run, skip, visit, wait_until};

#[test]
fn every_page_is_there_and_no_other_one() {
    let (a, b) = (server("a"), server("b"));
    let page = Page::with(&[], &[&a, &b]);
    assert_eq!(visit(&page.pen, "127.0.0.2").as_deref(), Some("a"));
    for (target, kind, words) in [
        ("/", "text/html; charset=utf-8", "<!DOCTYPE html>"),
        ("/servers/1", "text/html; charset=utf-8", "Server 1"),
        ("/clients", "text/html; charset=utf-8", "127.0.0.2"),
        ("/connections", "text/html; charset=utf-8", "<!DOCTYPE html>"),
        ("/explain", "text/html; charset=utf-8", "<form"),
        ("/explain?client=127.0.0.2", "text/html; charset=utf-8", "it used server 0"),
        ("/explain?client=%3Cb%3E", "text/html; charset=utf-8", "&lt;b&gt;"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "pen_server_up"),
        ("/health", "text/plain; charset=utf-8", "ok: 2 servers up\n"),
        ("/api/servers", "application/json", "[{\"server\":0,"),
        ("/api/connections", "application/json", "["),
        ("/api/clients", "application/json", "127.0.0.2"),
        ("/pen.css", "text/css; charset=utf-8", "{"),
        ("/pen.js", "text/javascript; charset=utf-8", "fetch"),
        ("/pen.svg", "image/svg+xml", "<svg"),
    ] {
        let found = page.get(target);
        assert_eq!((found.status, found.head["content-type"].as_str()), (200, kind), "{target}");
        assert!(found.body.contains(words), "{target}: {}", found.body);
        assert!(found.head["content-security-policy"].starts_with("default-src 'none';"), "{target}");
        // The head alone has the same lines.
        let head = page.ask(&format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{target}");
        assert_eq!(head.head["content-type"], kind);
    }
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /servers/7 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /servers/-1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /clients?from=x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("POST /servers/0 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ("POST /servers/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", 413),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
    ] {
        let found = page.ask(request);
        assert_eq!(found.status, status, "{request}");
        assert!(found.body.contains("<!DOCTYPE html>"), "{request}");
    }
    assert_eq!(page.ask("PUT /servers/0 HTTP/1.1\r\nHost: localhost\r\n\r\n").head["allow"], "GET, HEAD, POST");
}

#[test]
fn the_json_is_that_of_the_control_port() {
    let held = Backend::named("held");
    let page = Page::with(&[], &[&held]);
    let client = Client::from("127.0.0.3", &page.pen);
    client.send("x");
    wait_until("the session to be there", || page.control.say("connections json").contains("127.0.0.3"));
    for (target, line) in [
        ("/api/servers", "servers json"),
        ("/api/connections", "connections json"),
        ("/api/clients", "recent json"),
        ("/api/clients?since=9999", "recent 9999 json"),
    ] {
        // Ages may change between the two.
        wait_until(&format!("{target} to be as {line}"), || page.get(target).body == page.control.say(line));
        let parsed: serde_json::Value = serde_json::from_str(&page.get(target).body).unwrap();
        assert_eq!(parsed.as_array().unwrap().len(), 1, "{target}");
    }
}

#[test]
fn health_tells_whether_a_client_would_get_a_server() {
    let (a, b) = (server("a"), server("b"));
    let page = Page::with(&[], &[&a, &b]);
    let health = || {
        let found = page.get("/health");
        (found.status, found.body)
    };
    assert_eq!(health(), (200, String::from("ok: 2 servers up\n")));
    page.control.tell(&["server 0 drain"]);
    assert_eq!(health(), (200, String::from("ok: 1 server up\n")));
    page.control.tell(&["server 1 maint"]);
    let reason = String::from("no server can take a client: 1 drain, 1 maint\n");
    assert_eq!(health(), (503, reason.clone()));
    // The same by penctl, whose exit status tells it.
    let (status, penctl) = crate::harness::Ctl(crate::harness::Program::Ours).run(&[page.control.text(), "health"]);
    assert_eq!((status.code(), penctl.stdout() + &penctl.stderr()), (Some(2), reason));
    page.control.tell(&["server 1 ready"]);
    assert_eq!(page.control.penctl(&["health"]), "ok: 1 server up\n");
}

#[test]
fn an_old_client_gets_no_chunks() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let found = page.ask("GET /api/servers HTTP/1.0\r\n\r\n");
    assert!(!found.head.contains_key("transfer-encoding"));
    assert_eq!(found.body, page.control.say("servers json"));
}

#[test]
fn events_come_as_they_happen_until_the_client_leaves() {
    let (a, b) = (server("a"), server("b"));
    let page = Page::with(&[], &[&a, &b]);
    let client = page.connect();
    client.send(format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", page.at));
    // Within the lines of the head, of a chunk and of an event.
    let lines = |wanted: &str| {
        let mut all = std::iter::from_fn(|| client.line()).take(20);
        all.find(|line| line.starts_with(wanted)).unwrap_or_else(|| panic!("no {wanted}"))
    };
    assert_eq!(lines("Content-Type: "), "Content-Type: text/event-stream\r");
    lines("retry: ");
    page.control.tell(&["server 1 drain"]);
    assert_eq!(lines("event: "), "event: change");
    let data = lines("data: ");
    let event: serde_json::Value = serde_json::from_str(&data[6..]).unwrap();
    assert_eq!((&event["server"], &event["to"]), (&1.into(), &"drain".into()));
    drop(client);
    wait_until("its thread to have another client", || {
        page.control.tell(&["server 1 ready", "server 1 drain"]);
        page.get("/health").status == 200
    });
    let body = page.get("/").body;
    assert!(body.contains("drain"), "{body}");
}

#[test]
fn the_page_moves_and_closes_without_a_restart() {
    let a = server("a");
    let mut page = Page::with(&[], &[&a]);
    let old = page.at.clone();
    let slow = page.connect();
    wait_until("the page to be there", || page.get("/health").status == 200);
    let new = format!("127.0.0.1:{}", free_port());
    assert_eq!(page.control.say(&format!("web {new}")), format!("{new}\n"));
    page.at = new.clone();
    assert_eq!(page.get("/health").status, 200);
    assert!(TcpStream::connect(&old).is_err());
    // A client that had come before is served.
    slow.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(answer(&slow).status, 200);
    // What cannot be opened changes nothing.
    let taken = Backend::named("taken");
    let refused = page.control.say(&format!("web {taken}"));
    assert!(refused.contains("can't bind") || refused.contains("in use"), "{refused}");
    assert_eq!(page.control.say("web"), format!("{new}\n"));
    assert_eq!(page.get("/health").status, 200);
    // Neither does what is the same.
    assert_eq!(page.control.say(&format!("web {new}")), format!("{new}\n"));
    assert_eq!(page.get("/health").status, 200);
    // More addresses, one of them overlapping.
    let port = new.rsplit(':').next().unwrap();
    let both = format!("0.0.0.0:{port} [::1]:{port}");
    assert_eq!(page.control.say(&format!("web {both}")), format!("{both}\n"));
    assert_eq!(page.get("/health").status, 200);
    assert!(page.control.configuration().contains(&format!("\nweb {both}\n")));
    assert_eq!(page.control.say("no web"), "off\n");
    assert!(TcpStream::connect(&new).is_err());
    assert!(page.control.configuration().contains("\nno web\n"));
}

#[test]
fn the_file_decides_at_start_and_at_hup() {
    let (a, scratch) = (server("a"), Scratch::new());
    let (one, two) = (free_port(), free_port());
    let file = scratch.join("pen.conf");
    fs::write(&file, format!("web 127.0.0.1:{one}\n")).unwrap();
    let pen = Launch::ours().control().options(&["-F", file.to_str().unwrap()]).servers(&[&a]).start();
    let health = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(health(one));
    fs::write(&file, format!("web 127.0.0.1:{two}\n")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the page to have moved", || health(two) && !health(one));
    fs::write(&file, "no web\n").unwrap();
    pen.signal(Signal::HUP);
    wait_until("the page to be gone", || !health(two));
}

#[test]
fn what_cannot_be_opened_is_an_error_at_start() {
    let taken = Backend::named("taken");
    let port = free_port().to_string();
    for (command, words) in [
        (format!("web {taken}"), "Address already in use"),
        (String::from("web /nowhere/at/all"), "No such file"),
        (String::from("web"), ""),
        (String::from("web 1.2.3"), "1.2.3"),
        (String::from("web_acl 10"), "web_acl"),
        (String::from("web_password /nowhere/passwords"), "/nowhere/passwords"),
    ] {
        let mut arguments = vec!["-f", "-O", &command, &port, "127.0.0.1:1"];
        if is_root() {
            arguments.splice(0..0, ["-u", "root"]);
        }
        if words.is_empty() {
            arguments.insert(0, "--check");
        }
        let (status, pen) = run(&arguments);
        let stderr = pen.stderr();
        assert_eq!(status.success(), words.is_empty(), "{command}: {stderr}");
        assert!(stderr.contains(words), "{command}: {stderr}");
    }
}

#[test]
fn root_without_a_user_opens_no_page() {
    if !is_root() {
        skip("this needs root");
        return;
    }
    let (a, port) = (server("a"), free_port());
    let words = "Won't open the web page running as root; use -u to run as different user";
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    fs::write(&file, format!("web 127.0.0.1:{port}\nweb_acl 3\n")).unwrap();
    let pen = Launch::ours().uncounted().options(&["-F", file.to_str().unwrap()]).servers(&[&a]).start();
    pen.wait_for_line(words);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.signal(Signal::HUP);
    wait_until("HUP to say the same", || pen.stderr().matches(words).count() == 2);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_unix_socket_is_for_the_user_alone_and_goes_with_pen() {
    use std::os::unix::fs::PermissionsExt;
    let (a, scratch) = (server("a"), Scratch::new());
    let path = scratch.join("web");
    let web = format!("web {}", path.display());
    let mut pen = Launch::ours().control().options(&["-O", &web]).servers(&[&a]).start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let client = Control::at(path.to_str().unwrap()).connect();
    client.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(answer(&client).status, 200);
    let other = scratch.join("other");
    pen.control().set(&format!("web {}", other.display()));
    assert!(!path.exists() && other.exists());
    pen.terminate();
    assert!(!other.exists());
}

#[test]
fn a_request_in_pieces_is_understood_and_one_that_stops_is_ended() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let (slow, silent) = (page.connect(), page.connect());
    for piece in ["GE", "T /hea", "lth HTTP/1.1\r", "\nHost: localhost\r\n\r"] {
        slow.send(piece);
        assert!(slow.hears_nothing_for(Duration::from_millis(20)));
    }
    slow.send("\n");
    assert_eq!(answer(&slow).status, 200);
    silent.send("GET / HTTP/1.1\r\n");
    silent.finish();
    assert_eq!(answer(&silent).status, 400);
    // Who connects in advance and leaves costs nothing.
    let quiet = page.connect();
    quiet.finish();
    assert_eq!(quiet.rest().0, b"");
    let late = page.connect();
    late.send("GET / HT");
    assert_eq!(answer(&late).status, 408);
    assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").body, "x");
}
