//! Names of servers: those that cannot be looked up, and those that mean something else after a while.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{Backend, Client, Hosts, Launch, Pen, Scratch, free_port, greet, visit, wait_until};

/// A pen with a control port and a configuration file.
struct Configured {
    pen: Pen,
    file: String,
    _folder: Scratch,
}

impl Configured {
    /// Each with a server of its own, which has this name and port in the file.
    fn start(hosts: &Hosts, text: &str, options: &[&str]) -> Self {
        let folder = Scratch::new();
        let file = folder.join("pen.conf").display().to_string();
        fs::write(&file, text).unwrap();
        let launch = Launch::ours().control().options(&["-F", &file]).options(options);
        Self { pen: hosts.launch(launch).start(), file, _folder: folder }
    }

    /// Writes the file anew, sends HUP and waits until it has been read.
    #[track_caller]
    fn reload(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
        let before = self.pen.stderr_length();
        self.pen.signal(Signal::HUP);
        wait_until("the file to be read again", || self.pen.stderr_after(before).contains(": read again, "));
    }

    /// The state of a server, in words.
    #[track_caller]
    fn state(&self, server: usize) -> String {
        let json = self.pen.control().say("servers json");
        let row = json.lines().nth(server).unwrap_or_else(|| panic!("no server {server}: {json}"));
        row.split_once("\"status\":\"").unwrap().1.split('"').next().unwrap().to_string()
    }

    /// How its line begins in the report that scripts read.
    #[track_caller]
    fn line(&self, server: usize) -> String {
        let text = self.pen.control().say("servers");
        text.lines().nth(server).unwrap().split(" conn ").next().unwrap().to_string()
    }

    fn visit(&self) -> Option<String> {
        visit(&self.pen, "127.0.0.1")
    }
}

fn on(name: &str, address: &str, port: u16) -> Backend {
    Backend::on(name, address.parse().unwrap(), port, greet)
}

#[test]
fn at_hup_a_name_that_cannot_be_looked_up_costs_its_server_alone() {
    let Some(hosts) = Hosts::new("127.70.0.1 one.test\n127.70.0.2 two.test\n") else { return };
    let port = free_port();
    let (_one, two, three) = (on("one", "127.70.0.1", port), on("two", "127.70.0.2", port), Backend::named("three"));
    let text = |first: &str, second: &str, time: u32| {
        format!(
            "roundrobin\nserver 0 address {first} port {port}\nserver 1 address {second} port {port}\nblacklist {time}\n"
        )
    };
    let configured = Configured::start(&hosts, &text("one.test", "two.test", 7), &[]);
    let session = Client::connect(&configured.pen);
    assert_eq!(session.line().as_deref(), Some("one"));

    // The first keeps its name, and so its addresses; the second gets another.
    hosts.rewrite("");
    let third = format!("server 2 address 127.0.0.1 port {}\n", three.port());
    configured.reload(&(text("one.test", "none.test", 8) + &third));
    let pen = &configured.pen;
    pen.wait_for_line(&format!(
        "server 0 (one.test:{port}): cannot be looked up: Name or service not known; it keeps its addresses"
    ));
    pen.wait_for_line(&format!(
        "server 1 (none.test:{port}): cannot be looked up: Name or service not known; tried again every 30 s"
    ));
    assert_eq!(pen.control().say("blacklist"), "8\n");
    assert_eq!(configured.line(0), format!("0 addr 127.70.0.1 port {port}"));
    assert_eq!(configured.line(1), format!("1 addr none.test port {port}"));
    assert_eq!([0, 1, 2].map(|server| configured.state(server)), ["up", "unresolved", "up"]);
    let mut served: Vec<_> = (0..4).map(|_| configured.visit().unwrap()).collect();
    served.sort();
    assert_eq!(served, ["one", "one", "three", "three"]);
    assert_eq!(two.visits(), 0);
    session.assert_echo("still here");

    // It keeps its slot and its name wherever they are told.
    let told = pen.control().say("explain 127.0.0.1");
    assert!(told.contains(&format!("server 1 (none.test:{port}): unresolved: Name or service not known\n")), "{told}");
    let line = format!("server 1 acl 0 address none.test port {port} max 0 hard 0 ");
    assert!(pen.control().configuration().contains(&line), "{}", pen.control().configuration());
    let folder = Scratch::new();
    pen.control().say(&format!("web_stats {}", folder.join("page.html").display()));
    assert!(pen.control().say("status").contains(">unresolved<"));

    // Another port is no reason to forget the addresses, and the old name brings them back only by a lookup.
    pen.control().tell(&["server 1 port 9"]);
    assert_eq!(configured.line(1), "1 addr none.test port 9");
    hosts.rewrite("127.70.0.1 one.test\n127.70.0.2 two.test\n");
    configured.reload(&text("one.test", "two.test", 7));
    assert_eq!(configured.state(1), "up");
    assert_eq!(configured.line(1), format!("1 addr 127.70.0.2 port {port}"));
}

#[test]
fn a_stubborn_pen_passes_over_a_server_without_addresses() {
    let Some(hosts) = Hosts::new("") else { return };
    let a = Backend::named("a");
    for options in [["-s", "-r"].as_slice(), &["-s", "-h"], &["-W"], &["-O", "prio"], &["-h"], &[]] {
        let servers = [String::from("none.test:80:0:0:1"), format!("{a}:0:0:1"), String::from("nil.test:80:0:0:1")];
        let launch = Launch::ours().options(options).servers(&[&servers[0], &servers[1], &servers[2]]);
        let pen = hosts.launch(launch).start();
        for source in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
            assert_eq!(visit(&pen, source).as_deref(), Some("a"), "{options:?}");
        }
    }
}

#[test]
fn pen_starts_with_one_server_that_can_be_looked_up_and_not_with_none() {
    let Some(hosts) = Hosts::new("127.70.0.3 some.test\n") else { return };
    let port = free_port();
    let _some = on("some", "127.70.0.3", port);
    let text = format!("server 0 address none.test port 80\nserver 1 address some.test port {port}\n");
    let configured = Configured::start(&hosts, &text, &[]);
    assert_eq!(configured.visit().as_deref(), Some("some"));
    configured.pen.wait_for_line(
        "server 0 (none.test:80): cannot be looked up: Name or service not known; tried again every 30 s",
    );
    assert_eq!(configured.pen.stderr().lines().count(), 1, "{}", configured.pen.stderr());

    let listener = format!("127.0.0.1:{}", free_port());
    let unknown = |name: &str| format!("pen: unknown or invalid address [{name}]: Name or service not known\n");
    for (arguments, told) in [
        (["none.test:80"].as_slice(), unknown("none.test")),
        (&["none.test:80", "nil.test:80"], unknown("none.test") + &unknown("nil.test")),
        (&["-e", "none.test:80"], unknown("none.test")),
        (&["-B", "none.test:80", "nil.test:80"], unknown("none.test") + &unknown("nil.test")),
        // The log is no server.
        (&["-l", "none.test:80", "127.0.0.1:9"], unknown("none.test")),
    ] {
        let (options, servers) = arguments.split_at(if arguments[0].starts_with('-') { 2 } else { 0 });
        for first in [["-f", "-u", "root"].as_slice(), &["-u", "root"], &["--check"]] {
            let (status, pen) = hosts.run(&[first, options, &[&listener], servers].concat());
            assert_eq!(status.code(), Some(1), "{arguments:?}");
            assert_eq!(pen.stderr(), told, "{arguments:?}");
        }
    }
    let (status, pen) = hosts.run(&["--check", "-O", "dummy", &listener, "none.test:80"]);
    assert!(status.success(), "{}", pen.stderr());
}

#[test]
fn check_and_a_start_in_the_background_warn_of_a_name_with_its_place() {
    let Some(hosts) = Hosts::new("") else { return };
    let (folder, a) = (Scratch::new(), Backend::named("a"));
    let file = folder.join("pen.conf").display().to_string();
    fs::write(&file, "# Names.\nserver 1 address none.test port 80\nemergency nil.test:80\n").unwrap();
    let listener = format!("127.0.0.1:{}", free_port());
    let told = format!(
        "pen: {file}:2: unknown or invalid address [none.test]: Name or service not known; tried again every 30 s\n\
         pen: {file}:3: unknown or invalid address [nil.test]: Name or service not known; tried again every 30 s\n"
    );
    let (status, pen) = hosts.run(&["--check", "-F", &file, &listener, &a.to_string()]);
    assert_eq!((status.code(), pen.stderr()), (Some(0), told.clone()));
    assert_eq!(pen.stdout(), "the configuration makes sense\n");

    let pidfile = folder.join("pid").display().to_string();
    let (status, pen) = hosts.run(&["-u", "root", "-p", &pidfile, "-F", &file, &listener, &a.to_string()]);
    let daemon = crate::harness::Daemon::of(Path::new(&pidfile));
    assert_eq!((status.code(), pen.stderr()), (Some(0), told));
    daemon.signal(Signal::TERM);
    daemon.wait_end();
}

#[test]
fn with_resolve_new_connections_follow_a_name_and_a_missing_one_is_found() {
    let Some(hosts) = Hosts::new("127.70.0.4 moves.test\n") else { return };
    let port = free_port();
    let servers = ["4", "5", "6"].map(|last| on(last, &format!("127.70.0.{last}"), port));
    let text = format!(
        "roundrobin\nserver 0 address moves.test port {port}\nserver 1 address late.test port {port}\nresolve 1\n"
    );
    let configured = Configured::start(&hosts, &text, &["-d"]);
    let pen = &configured.pen;
    assert_eq!(pen.control().say("resolve"), "1\n");
    let session = Client::connect(pen);
    assert_eq!(session.line().as_deref(), Some("4"));
    hosts.rewrite("127.70.0.5 moves.test\n");
    pen.wait_for_line(&format!("server 0 (moves.test:{port}): 127.70.0.4 -> 127.70.0.5"));
    assert_eq!(configured.visit().as_deref(), Some("5"));
    hosts.rewrite("127.70.0.5 moves.test\n127.70.0.6 late.test\n");
    pen.wait_for_line(&format!("server 1 (late.test:{port}): unresolved -> 127.70.0.6"));
    assert_eq!(configured.state(1), "up");
    let mut served = [configured.visit().unwrap(), configured.visit().unwrap()];
    served.sort();
    assert_eq!(served, ["5", "6"]);
    session.assert_echo("still here");

    // A name that is gone is told once, keeps its addresses, and is told when it is back.
    hosts.rewrite("127.70.0.6 late.test\n");
    pen.wait_for_line(
        "moves.test: cannot be looked up again: Name or service not known; its servers keep their addresses",
    );
    assert_eq!(configured.line(0), format!("0 addr 127.70.0.5 port {port}"));
    hosts.rewrite("127.70.0.5 moves.test\n127.70.0.6 late.test\n");
    pen.wait_for_line("moves.test: can be looked up again");
    assert_eq!(pen.stderr().matches("moves.test: cannot be looked up again").count(), 1);

    assert_eq!(pen.control().say("no resolve"), "off\n");
    hosts.rewrite("127.70.0.4 moves.test\n127.70.0.6 late.test\n");
    assert_eq!(pen.control().say("resolve 1"), "1\n");
    wait_until("the server to move", || configured.line(0) == format!("0 addr 127.70.0.4 port {port}"));
    assert_eq!(pen.control().say("resolve 0"), "off\n");
    drop(servers);
}

#[test]
fn a_server_that_keeps_an_address_keeps_its_health_and_its_counters() {
    let Some(hosts) = Hosts::new("127.70.0.7 parts.test\n") else { return };
    let port = free_port();
    let (down, other, a) = (on("down", "127.70.0.7", port), on("other", "127.70.0.8", port), Backend::named("a"));
    let text = format!(
        "roundrobin\nserver 0 address parts.test port {port}\nserver 1 address 127.0.0.1 port {}\nresolve 1\nblacklist 1000\n",
        a.port()
    );
    let configured = Configured::start(&hosts, &text, &[]);
    let pen = &configured.pen;
    assert_eq!(configured.visit().as_deref(), Some("down"));
    let counters = || {
        let servers = pen.control().say("servers");
        servers.split_once(" sx ").unwrap().1.split(" state ").next().unwrap().to_string()
    };
    wait_until("the bytes", || counters() != "0 rx 0");
    let counted = counters();
    down.stop();
    wait_until("the failure", || configured.visit().is_some() && pen.line("blacklisted 1000 s").is_some());
    hosts.rewrite("127.70.0.8 parts.test\n127.70.0.7 parts.test\n");
    pen.wait_for_line("127.70.0.7 -> 127.70.0.");
    assert!(configured.state(0).starts_with("blacklisted "), "{}", configured.state(0));
    assert_eq!(counters(), counted);
    // None of the addresses stays.
    hosts.rewrite("127.70.0.9 parts.test\n");
    pen.wait_for_line(" -> 127.70.0.9");
    assert_eq!(configured.state(0), "up");
    hosts.rewrite("127.70.0.8 parts.test\n");
    pen.wait_for_line("127.70.0.9 -> 127.70.0.8");
    wait_until("the other to serve", || configured.visit().as_deref() == Some("other"));
    drop(other);
}

#[test]
fn an_emergency_and_an_abuse_server_may_come_late() {
    let Some(hosts) = Hosts::new("") else { return };
    let port = free_port();
    let (_emergency, _abuse) = (on("emergency", "127.70.0.10", port), on("abuse", "127.70.0.11", port));
    let down = Backend::down("a");
    let text = format!(
        "server 0 address 127.0.0.1 port {}\nblacklist 0\nemergency late.test:{port}\nabuse bad.test:{port}\n\
         acl 1 deny 127.0.0.9\nclient_acl 1\nresolve 1\n",
        down.port()
    );
    let configured = Configured::start(&hosts, &text, &[]);
    let pen = &configured.pen;
    pen.wait_for_line(&format!("emergency server (late.test:{port}): cannot be looked up: "));
    pen.wait_for_line(&format!("abuse server (bad.test:{port}): cannot be looked up: "));
    assert_eq!(visit(pen, "127.0.0.1"), None);
    assert_eq!(visit(pen, "127.0.0.9"), None);
    assert!(pen.line("using the emergency server").is_none(), "{}", pen.stderr());
    hosts.rewrite("127.70.0.10 late.test\n127.70.0.11 bad.test\n");
    pen.wait_for_line(&format!("emergency server (late.test:{port}): unresolved -> 127.70.0.10"));
    pen.wait_for_line(&format!("abuse server (bad.test:{port}): unresolved -> 127.70.0.11"));
    assert_eq!(visit(pen, "127.0.0.1").as_deref(), Some("emergency"));
    assert_eq!(visit(pen, "127.0.0.9").as_deref(), Some("abuse"));
    // They keep their addresses as servers do.
    hosts.rewrite("");
    configured.reload(&text);
    pen.wait_for_line(&format!(
        "emergency server (late.test:{port}): cannot be looked up: Name or service not known; it keeps its addresses"
    ));
    assert_eq!(visit(pen, "127.0.0.1").as_deref(), Some("emergency"));
    assert_eq!(visit(pen, "127.0.0.9").as_deref(), Some("abuse"));
}

#[test]
fn on_the_control_port_a_name_of_ones_own_is_an_error_and_one_in_a_file_costs_its_server_alone() {
    let Some(hosts) = Hosts::new("") else { return };
    let a = Backend::named("a");
    let configured = Configured::start(&hosts, &format!("server 0 address 127.0.0.1 port {}\n", a.port()), &[]);
    let control = configured.pen.control();
    let before = control.configuration();
    let unknown = "unknown or invalid address [none.test]: Name or service not known\n";
    for line in
        ["server 1 address none.test port 80", "emergency none.test:80", "abuse none.test:80", "log none.test:80"]
    {
        assert_eq!(control.say(line), unknown, "{line}");
        assert_eq!(control.configuration(), before, "{line}");
    }
    let folder = Scratch::new();
    let file = folder.join("more.conf").display().to_string();
    fs::write(&file, "blacklist 9\nserver 1 address none.test port 80\n").unwrap();
    assert_eq!(control.say(&format!("include {file}")), format!("{file}:2: {unknown}"));
    configured.pen.wait_for_line("server 1 (none.test:80): cannot be looked up: ");
    assert_eq!(control.say("blacklist"), "9\n");
    assert_eq!(configured.state(1), "unresolved");
    assert_eq!(configured.visit().as_deref(), Some("a"));
}

#[test]
fn a_log_host_that_cannot_be_looked_up_any_more_keeps_its_address_and_another_is_refused() {
    let Some(hosts) = Hosts::new("127.0.0.1 log.test\n") else { return };
    let a = Backend::new("a", crate::harness::echo);
    let log = UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let port = log.local_addr().unwrap().port();
    let text = |name: &str, time: u32| {
        format!("server 0 address 127.0.0.1 port {}\nlog {name}:{port}\nblacklist {time}\n", a.port())
    };
    let configured = Configured::start(&hosts, &text("log.test", 7), &[]);
    let pen = &configured.pen;
    let logged = |words: &str| {
        let client = Client::connect(pen);
        client.assert_echo(words);
        let mut line = [0; 200];
        let length = log.recv(&mut line).unwrap();
        assert!(String::from_utf8_lossy(&line[..length]).contains(words));
    };
    logged("first");
    hosts.rewrite("");
    configured.reload(&text("log.test", 8));
    pen.wait_for_line(&format!("log (log.test:{port}): cannot be looked up: Name or service not known; it stays open"));
    assert_eq!(pen.control().say("blacklist"), "8\n");
    logged("second");
    fs::write(&configured.file, text("none.test", 9)).unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line("the old configuration stays: ");
    assert_eq!(pen.control().say("blacklist"), "8\n");
    assert_eq!(pen.control().say("log"), format!("log.test:{port}\n"));
    logged("third");
}

#[test]
fn in_a_jail_names_are_those_of_its_own_hosts_file() {
    use std::os::unix::fs::PermissionsExt;
    let Some(hosts) = Hosts::new("127.70.0.12 inside.test\n") else { return };
    let (port, jail) = (free_port(), Scratch::new());
    let (_first, _second) = (on("first", "127.70.0.12", port), on("second", "127.70.0.13", port));
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(jail.join("etc")).unwrap();
    let root = jail.path().display().to_string();
    let launch = Launch::ours().options(&["-j", &root, "-O", "resolve 1"]).servers(&[&format!("inside.test:{port}")]);
    let pen = hosts.launch(launch).start();
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("first"));
    fs::write(jail.join("etc/hosts"), "127.70.0.13 inside.test\n").unwrap();
    pen.wait_for_line(&format!("server 0 (inside.test:{port}): 127.70.0.12 -> 127.70.0.13"));
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("second"));
}
