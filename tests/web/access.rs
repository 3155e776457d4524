//! Who may look at the page, where it is, and what happens when that changes or pen ends.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Answer, Page, answer, server};
use crate::harness::{
    Backend, Client, Control, Launch, Scratch, free_port, is_root, program, run, skip, visit, wait_until,
};

/// What is answered at that address to a client from there.
fn health_at(address: SocketAddr, source: &str) -> Option<Answer> {
    let client = Client::try_connect(&address.into(), Some(source.parse().unwrap())).ok()?;
    client.send("GET /health HTTP/1.0\r\n\r\n");
    Some(answer(&client))
}

/// Whether the page is at that port of this host.
fn is_at(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect(address).is_ok() && health_at(address, "127.0.0.1").is_some_and(|found| found.status == 200)
}

#[test]
fn only_this_host_may_look_unless_a_list_says_otherwise() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let port = page.at.rsplit(':').next().unwrap().parse().unwrap();
    page.control.set(&format!("web [::]:{port}"));
    let (four, six) = (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::new("::1".parse().unwrap(), port));
    let status = |address: SocketAddr, source: &str| health_at(address, source).map(|found| found.status);
    // 127.0.0.1 comes there as ::ffff:127.0.0.1.
    assert_eq!([status(four, "127.0.0.1"), status(four, "127.8.9.10"), status(six, "::1")], [Some(200); 3]);
    // An address of this host that others can reach is not this host alone.
    let outward = UdpSocket::bind("0.0.0.0:0").unwrap();
    if outward.connect("192.0.2.1:9").is_ok() {
        let own = outward.local_addr().unwrap().ip();
        if !own.is_loopback() {
            assert_eq!(status(SocketAddr::new(own, port), &own.to_string()), Some(403));
        }
    }
    page.control.tell(&["acl 3 permit 127.0.0.2", "acl 4 deny ::1", "acl 4 permit ::/0"]);
    page.control.set("web_acl 3");
    assert_eq!(
        [status(four, "127.0.0.1"), status(four, "127.0.0.2"), status(six, "::1")],
        [Some(403), Some(200), Some(403)]
    );
    page.control.set("web_acl 4");
    assert_eq!(status(six, "::1"), Some(403));
    page.control.set("no web_acl");
    assert_eq!([status(four, "127.0.0.1"), status(six, "::1")], [Some(200); 2]);
}

#[test]
fn denied_clients_are_told_so_and_logged_once_a_second() {
    let a = server("a");
    let page = Page::with(&["acl 3 deny 127.0.0.0/8", "web_acl 3"], &[&a]);
    let start = Instant::now();
    for _ in 0..100 {
        // It need not even ask.
        let client = page.connect();
        let found = answer(&client);
        assert_eq!(found.status, 403);
        assert!(found.body.contains("web_acl"), "{}", found.body);
    }
    page.pen.wait_for_line("web: web_acl denies 127.0.0.1");
    let lines = page.pen.stderr().matches("web_acl denies").count();
    assert!(lines as u64 <= start.elapsed().as_secs() + 1, "{lines} lines in {:?}", start.elapsed());
}

#[test]
fn the_page_is_there_in_a_jail_with_passwords_from_the_jail_and_moves_there() {
    let Some(htpasswd) = program("htpasswd").filter(|_| is_root()) else {
        return skip("only root can make a jail, and htpasswd must be installed");
    };
    let (a, jail) = (server("a"), Scratch::new());
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["etc", "var"] {
        fs::create_dir(jail.join(folder)).unwrap();
    }
    chown(jail.join("var"), Some(65534), Some(65534)).unwrap();
    let passwords = jail.join("etc/passwd.web");
    let made = std::process::Command::new(htpasswd)
        .args(["-c", "-b", "-B", "-C", "5"])
        .arg(&passwords)
        .args(["alice", "secret"])
        .output();
    assert!(made.unwrap().status.success());
    let (one, two, controls) = (free_port(), free_port(), free_port());
    let file = jail.join("etc/pen.conf");
    let lines = "web_control\nweb_password /etc/passwd.web\n";
    fs::write(&file, format!("web 127.0.0.1:{one}\n{lines}")).unwrap();
    let control = format!("127.0.0.1:{controls}");
    let root = jail.path().display().to_string();
    // The relative name means the same file outside, at start, and in the jail.
    let folder = jail.join("etc").display().to_string();
    let mut pen = Launch::ours()
        .wrapper(&["sh", "-c", "cd \"$0\" && exec \"$@\"", &folder])
        .control_for_somebody_else(&control)
        .options(&["-j", &root, "-u", "nobody", "-F", "pen.conf"])
        .servers(&[&a])
        .start();
    let page = |port: u16| format!("127.0.0.1:{port}").parse::<SocketAddr>().unwrap();
    let ask = |address: SocketAddr, request: String| {
        let client = Client::connect_to(&address.into(), None);
        client.send(request);
        answer(&client)
    };
    let body = ask(page(one), String::from("GET /servers/0 HTTP/1.0\r\n\r\n")).body;
    let token = body.split_once("name=\"token\" value=\"").unwrap().1.split('"').next().unwrap().to_string();
    let form = format!("token={token}&action=drain");
    let post = format!(
        "POST /servers/0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(ask(page(one), post).status, 303);
    pen.wait_for_line("web: alice (127.0.0.1): server 0 drain");
    pen.control().tell(&["server 0 ready"]);
    // At HUP it moves, to a Unix socket in the jail too.
    fs::write(&file, format!("web 127.0.0.1:{two} /var/web\n{lines}")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the page to have moved", || is_at(two) && TcpStream::connect(page(one)).is_err());
    let socket = jail.join("var/web");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let client = Control::at(socket.to_str().unwrap()).connect();
    client.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(answer(&client).status, 200);
    pen.terminate();
    assert!(!socket.exists());
}

#[test]
fn what_the_user_may_not_open_leaves_the_page_where_it_was() {
    if !is_root() {
        return skip("only root may start with a port below 1024");
    }
    let least = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if least.trim().parse::<u16>().unwrap() < 1024 {
        return skip("every user may open ports below 1024 here");
    }
    let mut low = (600..1024).filter(|port| crate::harness::is_free(SocketAddr::from(([127, 0, 0, 1], *port))));
    let (one, two) = (low.next().unwrap(), low.next().unwrap());
    let (a, scratch) = (server("a"), Scratch::new());
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = scratch.join("pen.conf");
    fs::write(&file, format!("web 127.0.0.1:{one}\n")).unwrap();
    let control = format!("127.0.0.1:{}", free_port());
    let options = ["-u", "nobody", "-F", file.to_str().unwrap()];
    let pen = Launch::ours().control_for_somebody_else(control).options(&options).servers(&[&a]).start();
    assert!(is_at(one));
    fs::write(&file, format!("blacklist 77\nweb 127.0.0.1:{two}\n")).unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line("Permission denied");
    assert!(is_at(one) && !is_at(two));
    let control = pen.control();
    assert_eq!(control.say("web"), format!("127.0.0.1:{one}\n"));
    assert_ne!(control.say("blacklist"), "77\n");
}

#[test]
fn a_file_with_an_error_moves_nothing() {
    let (a, scratch) = (server("a"), Scratch::new());
    let (one, two) = (free_port(), free_port());
    let (file, socket) = (scratch.join("pen.conf"), scratch.join("web"));
    fs::write(&file, format!("web 127.0.0.1:{one}\n")).unwrap();
    let pen = Launch::ours().control().options(&["-F", file.to_str().unwrap()]).servers(&[&a]).start();
    let taken = Backend::named("taken");
    let before = pen.descriptors().len();
    for wrong in [
        String::from("nonsense"),
        format!("listen {taken}"),
        String::from("web_password /nowhere"),
        String::from("log /nowhere/at/all"),
        String::from("ssl_certificate /nowhere.pem"),
    ] {
        let length = pen.stderr_length();
        fs::write(&file, format!("web 127.0.0.1:{two} {}\n{wrong}\n", socket.display())).unwrap();
        pen.signal(Signal::HUP);
        wait_until("an error", || pen.stderr_after(length).contains("HUP"));
        assert!(is_at(one) && TcpStream::connect(("127.0.0.1", two)).is_err() && !socket.exists(), "{wrong}");
        assert_eq!(pen.control().say("web"), format!("127.0.0.1:{one}\n"), "{wrong}");
    }
    wait_until("nothing to be left open", || pen.descriptors().len() <= before);
}

#[test]
fn commands_that_move_the_page_at_once_leave_it_where_the_last_one_says() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let ports = [free_port(), free_port(), free_port()];
    thread::scope(|scope| {
        for number in 0..50 {
            let (control, port) = (&page.control, ports[number % 3]);
            scope.spawn(move || {
                control.say(&if number % 10 == 9 { String::from("no web") } else { format!("web 127.0.0.1:{port}") })
            });
        }
    });
    let now = page.control.say("web");
    for port in ports {
        assert_eq!(is_at(port), now == format!("127.0.0.1:{port}\n"), "{now}");
    }
    page.control.set(&format!("web {}", page.at));
    assert_eq!(page.get("/health").status, 200);
}

#[test]
fn the_page_takes_no_descriptors_from_the_sessions() {
    let a = Backend::named("a");
    let limit = "ulimit -n 80; exec \"$@\"";
    let mut wrapper = vec!["sh", "-c", limit, "sh"];
    let setpriv = program("setpriv");
    if is_root() {
        let Some(setpriv) = &setpriv else { return skip("setpriv is not installed") };
        wrapper.splice(0..0, [setpriv.as_str(), "--bounding-set=-sys_resource"]);
    }
    for at_start in [true, false] {
        let at = format!("127.0.0.1:{}", free_port());
        let web = format!("web {at}");
        let options = ["-x", "400", "-O", if at_start { &web } else { "blacklist 1" }];
        let pen = Launch::ours().wrapper(&wrapper).control().options(&options).servers(&[&a]).start();
        let control = pen.control();
        control.set(&web);
        let granted = |line: &str| line.split("enough for ").nth(1)?.split(' ').next()?.parse::<usize>().ok();
        let told = || pen.stderr().lines().filter_map(granted).collect::<Vec<_>>();
        // The page that is opened later changes what was told at the start.
        let changes = if at_start { 1 } else { 2 };
        wait_until("the limit", || told().len() == changes);
        let sessions = told()[changes - 1];
        assert!((20..40).contains(&sessions), "{sessions}");
        let page = Page { pen, control, at };
        let silent: Vec<_> = (0..60).map(|_| page.connect()).collect();
        page.pen.wait_for_line("gives way");
        let clients: Vec<_> = (0..sessions).map(|_| Client::connect(&page.pen)).collect();
        for client in &clients {
            assert_eq!(client.line().as_deref(), Some("a"));
        }
        assert_eq!(page.get("/health").status, 200);
        assert!(!page.pen.stderr().contains("annot"), "{}", page.pen.stderr());
        drop(silent);
    }
}

#[test]
fn what_is_configured_is_written_and_read_again() {
    let (a, scratch) = (server("a"), Scratch::new());
    let path = scratch.join("web");
    let page = Page::with(&["web_acl 3", "web_control"], &[&a]);
    let both = format!("web {} [::1]:{} {}", page.at, free_port(), path.display());
    page.control.set(&both);
    let text = page.control.configuration();
    for line in [both.as_str(), "web_acl 3", "web_control"] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let file = scratch.join("pen.conf");
    fs::write(&file, &text).unwrap();
    assert_eq!(page.control.say(&format!("include {}", file.display())), "");
    assert_eq!(page.control.configuration(), text);
    let check = |lines: &str| {
        fs::write(&file, lines).unwrap();
        let user = if is_root() { &["-u", "root"][..] } else { &[] };
        let arguments = [&["--check", "-F", file.to_str().unwrap()], user, &["127.0.0.1:1", "127.0.0.1:9"]].concat();
        let (status, pen) = run(&arguments);
        (status.success(), pen.stderr())
    };
    assert_eq!(check(&format!("{both}\nweb_acl 3\nno web_password\nno web_control\n")), (true, String::new()));
    assert_eq!(check("no web\nno web_acl\n"), (true, String::new()));
    for (line, words) in [
        ("web 1.2.3.4.5:80", "1.2.3.4.5"),
        ("web 127.0.0.1:70000", "70000"),
        ("web_acl x", "web_acl"),
        ("web_acl 10", "web_acl"),
        ("web_control maybe", "web_control"),
        ("web_password /nowhere", "pen.conf:1"),
    ] {
        let (is_good, stderr) = check(line);
        assert!(!is_good && stderr.contains(words), "{line}: {stderr}");
    }
}

#[test]
fn pen_ends_at_once_while_clients_watch_and_another_one_takes_its_place() {
    let a = server("a");
    let at = format!("127.0.0.1:{}", free_port());
    let web = format!("web {at}");
    for exits in [false, true] {
        let options = ["-X", "-O", &web];
        let mut pen = Launch::ours().control().options(&options[usize::from(!exits)..]).servers(&[&a]).start();
        let address = at.parse::<SocketAddr>().unwrap().into();
        let watchers: Vec<_> = (0..10).map(|_| Client::connect_to(&address, None)).collect();
        for client in &watchers {
            client.send("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 OK\r"));
        }
        pen.signal(Signal::HUP);
        let start = Instant::now();
        if exits {
            pen.control().connect().send("exit\n");
            wait_until("the end", || pen.ended().is_some());
        } else {
            pen.terminate();
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        for client in &watchers {
            client.rest();
        }
    }
    let pen = Launch::ours().control().options(&["-O", &web]).servers(&[&a]).start();
    assert_eq!(health_at(at.parse().unwrap(), "127.0.0.1").unwrap().status, 200);
    drop(pen);
}

#[test]
fn the_end_of_pen_waits_for_no_name_of_the_page() {
    if !is_root() {
        return skip("only root can give pen a resolver of its own");
    }
    let (a, scratch) = (server("a"), Scratch::new());
    let names = UdpSocket::bind("127.68.0.2:53").unwrap();
    names.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let resolver = scratch.join("resolv.conf");
    fs::write(&resolver, "nameserver 127.68.0.2\noptions timeout:30 attempts:1\n").unwrap();
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut pen = Launch::ours()
        .wrapper(&["unshare", "-m", "sh", "-c", script, &resolver.display().to_string()])
        .control()
        .servers(&[&a])
        .start();
    let slow = pen.control().connect();
    slow.send("web slow.example:80\n");
    // The question has come, and is not answered.
    names.recv(&mut [0; 512]).unwrap();
    // Another command does not wait for it either.
    let web = format!("web 127.0.0.1:{}", free_port());
    pen.control().set(&web);
    let start = Instant::now();
    pen.terminate();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn pen_can_balance_its_own_page_and_has_one_beside_datagrams() {
    let a = server("a");
    let mut page = Page::with(&[], &[&a]);
    let front = Launch::ours().servers(&[&page.at]).start();
    let own = std::mem::replace(&mut page.at, format!("127.0.0.1:{}", front.port()));
    assert_eq!(page.get("/health").body, "ok: 1 server up\n");
    assert_eq!(page.get("/").status, 200);
    // Its own page as its own server.
    let (host, port) = own.split_once(':').unwrap();
    page.control.tell(&[&format!("server 0 address {host} port {port}")]);
    page.at = format!("127.0.0.1:{}", page.pen.port());
    assert_eq!(page.get("/health").body, "ok: 1 server up\n");
    let port = free_port();
    let web = format!("web 127.0.0.1:{port}");
    let _datagrams = Launch::ours().control().options(&["-U", "-O", &web]).servers(&[&"127.0.0.1:9"]).start();
    assert!(is_at(port));
}

#[test]
fn names_of_servers_are_inert_wherever_they_are_shown() {
    let scratch = Scratch::new();
    let path = scratch.join("a\"b<script>x'&\\n${}");
    let a = Backend::unix("a", &path, crate::harness::greet);
    let page = Page::with(&[], &[&a]);
    assert_eq!(visit(&page.pen, "127.0.0.2").as_deref(), Some("a"));
    for target in ["/", "/servers/0", "/clients", "/connections", "/explain?client=127.0.0.2"] {
        let body = page.get(target).body;
        assert!(!body.contains("<script>x") && !body.contains("a\"b"), "{target}: {body}");
    }
    let json: serde_json::Value = serde_json::from_str(&page.get("/api/servers").body).unwrap();
    assert!(json.to_string().contains("<script>x"), "{json}");
    let metrics = page.get("/metrics").body;
    let label = metrics.lines().find(|line| line.contains("<script>x")).unwrap();
    assert!(label.contains("a\\\"b<script>x'&\\\\n"), "{label}");
    // What is asked is not believed either.
    for (asked, forbidden) in [
        ("%3Cscript%3Ex%3C%2Fscript%3E", "<script>x"),
        ("%22+onfocus%3Dx+%22", "\" onfocus"),
        ("127.0.0.2%0Ano+web", "off\n"),
        ("127.0.0.2+%3Bexit", "ends"),
    ] {
        let found = page.get(&format!("/explain?client={asked}"));
        assert!(found.status == 200 && !found.body.contains(forbidden), "{asked}: {}", found.body);
    }
    assert_eq!(page.get("/health").status, 200);
}

#[test]
fn a_port_that_something_else_has_is_told() {
    let a = server("a");
    let page = Page::with(&[], &[&a]);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let reply = page.control.say(&format!("web {} {at}", page.at));
    assert!(reply.contains("in use"), "{reply}");
    assert_eq!(page.get("/health").status, 200);
}

#[test]
fn another_site_s_name_does_not_stand_for_the_page() {
    let a = server("a");
    let mut page = Page::with(&[], &[&a]);
    let ask = |page: &Page, host: &str| page.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
    let port = page.at.rsplit(':').next().unwrap().to_string();
    for (host, status) in
        [("evil.example", 403), ("127.0.0.1", 200), ("LOCALHOST", 200), ("localhost.evil.example", 403)]
    {
        assert_eq!(ask(&page, &format!("{host}:{port}")), status, "{host}");
    }
    // A name that the command gives is the page's.
    page.at = format!("127.0.0.1:{port}");
    page.control.set(&format!("web localhost:{port}"));
    assert_eq!(ask(&page, "evil.example"), 403);
    // With a list, those whom it permits may use any name.
    page.control.tell(&["acl 3 permit 127.0.0.0/8", "acl 3 permit ::1", "acl 3 deny 0.0.0.0/0"]);
    page.control.set("web_acl 3");
    assert_eq!(ask(&page, "evil.example"), 200);
}
