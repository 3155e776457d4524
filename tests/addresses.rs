//! Addresses: IPv4, IPv6, Unix sockets, service names, hosts with several addresses, and the ways between them.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use nix::unistd::{Uid, setfsuid};
use rustix::process::Signal;
use socket2::SockAddr;

use crate::harness::{
    Backend, Blackhole, Client, Control, Daemon, Hosts, Launch, Pen, Scratch, free_port, greet, is_free, is_root, run,
    skip, visit,
};

fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        skip("this host has no IPv6");
    }
    has
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A TCP service with a name, whose port on that address everybody may listen on and nobody does.
fn free_service(address: &str) -> Option<(String, u16)> {
    let services = fs::read_to_string("/etc/services").unwrap_or_default();
    let found = services.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?.parse().ok()?);
        let usable = port > 1024 && !name.starts_with('#') && is_free(SocketAddr::new(ip(address), port));
        usable.then(|| (name.to_string(), port))
    });
    if found.is_none() {
        skip("/etc/services names no TCP service whose port is free");
    }
    found
}

#[test]
fn a_bare_port_listens_on_every_ipv4_address() {
    let server = Backend::named("a");
    let port = free_port();
    let pen = Launch::ours().listener(port).servers(&[&server]).start();
    for address in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
        let client = Client::connect_to(&SocketAddr::new(ip(address), port).into(), None);
        assert_eq!(client.line().as_deref(), Some("a"), "{address}");
    }
    if has_ipv6() {
        assert!(Client::try_connect(&SocketAddr::new(ip("::1"), port).into(), None).is_err());
    }
    drop(pen);
}

#[test]
fn a_host_before_the_port_is_the_only_address_listened_on() {
    let server = Backend::named("a");
    let port = free_port();
    let _pen = Launch::ours().listener(format!("127.0.0.2:{port}")).servers(&[&server]).start();
    let connect = |address| Client::try_connect(&SocketAddr::new(ip(address), port).into(), None);
    assert_eq!(connect("127.0.0.2").unwrap().line().as_deref(), Some("a"));
    assert!(connect("127.0.0.1").is_err());
}

#[test]
fn a_name_before_the_port_is_looked_up() {
    let server = Backend::named("a");
    let pen = Launch::ours().listener(format!("localhost:{}", free_port())).servers(&[&server]).start();
    assert_eq!(Client::connect(&pen).line().as_deref(), Some("a"));
}

#[test]
fn an_ipv6_listener_serves_ipv4_servers() {
    if !has_ipv6() {
        return;
    }
    let server = Backend::named("a");
    let pen = Launch::ours().listener(format!("[::1]:{}", free_port())).servers(&[&server]).start();
    assert_eq!(visit(&pen, "::1").as_deref(), Some("a"));
    let connect = Client::try_connect(&SocketAddr::new(ip("127.0.0.1"), pen.port()).into(), None);
    assert!(connect.is_err(), "an IPv6 address listens on IPv4 too");
}

#[test]
fn an_ipv4_listener_serves_ipv6_servers() {
    if !has_ipv6() {
        return;
    }
    let server = Backend::on("six", ip("::1"), free_port(), greet);
    let pen = Pen::start(&[], &[&server]);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("six"));
}

#[test]
fn three_colons_listen_on_both_families() {
    if !has_ipv6() {
        return;
    }
    let server = Backend::named("a");
    let pen = Launch::ours().listener(format!(":::{}", free_port())).servers(&[&server]).start();
    assert_eq!(visit(&pen, "::1").as_deref(), Some("a"));
    let four = SocketAddr::new(ip("127.0.0.1"), pen.port()).into();
    assert_eq!(Client::connect_to(&four, None).line().as_deref(), Some("a"));
}

#[test]
fn an_ipv4_client_is_the_same_client_on_a_listener_for_both_families() {
    if !has_ipv6() {
        return;
    }
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let pen = Launch::ours()
        .listener(format!(":::{}", free_port()))
        .options(&["-O", "acl 1 permit 127.0.0.2", "-O", "client_acl 1"])
        .servers(&[&a, &b])
        .start();
    let from = |source| Client::connect_to(&SocketAddr::new(ip("127.0.0.1"), pen.port()).into(), Some(ip(source)));
    assert_eq!(from("127.0.0.2").line().as_deref(), Some("a"));
    assert_eq!(from("127.0.0.3").line(), None);
    assert!(pen.statistics().contains("address 127.0.0.2\n"));
}

#[test]
fn ipv6_clients_are_told_apart() {
    if !has_ipv6() {
        return;
    }
    let server = Backend::named("a");
    let pen = Launch::ours()
        .listener(format!("[::]:{}", free_port()))
        .options(&["-O", "acl 1 permit ::1", "-O", "client_acl 1"])
        .servers(&[&server])
        .start();
    assert_eq!(visit(&pen, "::1").as_deref(), Some("a"));
    assert!(pen.statistics().contains("address ::1\n"));
}

#[test]
fn a_server_without_a_port_has_the_listeners() {
    let port = free_port();
    let server = Backend::on("a", ip("127.0.0.2"), port, greet);
    let emergency = Backend::on("e", ip("127.0.0.3"), port, greet);
    let pen = Launch::ours()
        .listener(format!("127.0.0.1:{port}"))
        .options(&["-e", "127.0.0.3", "-b0"])
        .servers(&[&"127.0.0.2"])
        .start();
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    server.stop();
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("e"));
    assert_eq!(emergency.visits(), 1);
}

#[test]
fn empty_fields_of_a_server_have_their_defaults() {
    let port = free_port();
    let _server = Backend::on("a", ip("127.0.0.2"), port, greet);
    let pen = Launch::ours().listener(format!("127.0.0.1:{port}")).servers(&[&"127.0.0.2:::3"]).start();
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    let statistics = pen.statistics();
    assert!(statistics.contains("(0 soft, 3 hard)"), "{statistics}");
}

#[test]
fn services_have_names() {
    let Some((name, port)) = free_service("127.77.0.1") else { return };
    let server = Backend::on("a", ip("127.77.0.1"), port, greet);
    let pen = Pen::start(&[], &[&format!("127.77.0.1:{name}")]);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    assert_eq!(server.port(), port);
}

#[test]
fn the_listeners_service_may_be_named_and_is_the_servers_too() {
    let Some((name, port)) = free_service("127.78.0.1") else { return };
    let _server = Backend::on("a", ip("127.78.0.2"), port, greet);
    let pen = Launch::ours().listener(format!("127.78.0.1:{name}")).servers(&[&"127.78.0.2"]).start();
    assert_eq!(pen.port(), port);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
}

#[test]
fn a_unix_socket_is_listened_on_and_removed_in_the_end() {
    let scratch = Scratch::new();
    let server = Backend::named("a");
    for signal in [Signal::TERM, Signal::INT] {
        let path = scratch.join("pen.sock");
        let mut pen = Launch::ours().listener(path.display()).servers(&[&server]).start();
        let client = Client::connect(&pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        client.assert_echo("through a file");
        pen.signal(signal);
        assert!(pen.wait_exit().success());
        assert!(!path.exists(), "the socket outlives {signal:?}");
    }
}

/// What a client that is not root hears first at a socket that everybody may connect to.
#[track_caller]
fn heard_by_nobody(path: &Path) -> Option<String> {
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o666, "{}", path.display());
    let address = SockAddr::unix(path).unwrap();
    let client = thread::spawn(move || {
        if is_root() {
            // It holds for this thread alone, and takes root's right to pass all permissions from it.
            setfsuid(Uid::from_raw(65534));
        }
        Client::connect_to(&address, None).line()
    });
    client.join().unwrap()
}

#[test]
fn a_unix_socket_is_for_everybody_whatever_the_umask() {
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (first, second) = (scratch.join("first.sock"), scratch.join("second.sock"));
    let listener = first.display().to_string();
    let daemon = Daemon::start(scratch.path(), &scratch.join("pid"), &["-p", "pid", &listener, &server.to_string()]);
    assert_eq!(heard_by_nobody(&first).as_deref(), Some("a"));
    daemon.signal(Signal::TERM);
    daemon.wait_end();

    let strict = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let pen = Launch::ours().wrapper(&strict).listener(&listener).control().servers(&[&server]).start();
    assert_eq!(heard_by_nobody(&first).as_deref(), Some("a"));
    let control = pen.control();
    assert_eq!(control.say(&format!("listen {}", second.display())), format!("{}\n", second.display()));
    assert_eq!(heard_by_nobody(&second).as_deref(), Some("a"));
    // The umask is as it was.
    assert_eq!(control.say(&format!("write {}", scratch.join("written").display())), "");
    assert_eq!(fs::metadata(scratch.join("written")).unwrap().permissions().mode() & 0o7777, 0o600);
    let status = fs::read_to_string(format!("/proc/{}/status", pen.pid())).unwrap();
    assert!(status.contains("Umask:\t0077\n"), "{status}");
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.join("stale.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = Backend::named("a");
    let pen = Launch::ours().listener(path.display()).servers(&[&server]).start();
    assert_eq!(Client::connect(&pen).line().as_deref(), Some("a"));
}

#[test]
fn a_unix_socket_in_use_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.join("live.sock");
    let owner = Backend::unix("owner", &path, greet);
    let text = path.display().to_string();
    let (status, pen) = run(&["-f", &text, "127.0.0.1:9"]);
    assert_eq!(status.code(), Some(1));
    assert_eq!(pen.stderr(), format!("pen: can't bind local address {text}: Address already in use\n"));
    let client = Client::connect_to(&SockAddr::unix(&path).unwrap(), None);
    assert_eq!(client.line().as_deref(), Some("owner"));
    drop(owner);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.join("letter.txt");
    fs::write(&path, "Dear Ulric").unwrap();
    let text = path.display().to_string();
    let (status, pen) = run(&["-f", &text, "127.0.0.1:9"]);
    assert_eq!(status.code(), Some(1));
    assert!(pen.stderr().starts_with(&format!("pen: can't bind local address {text}: ")), "{}", pen.stderr());
    assert_eq!(fs::read_to_string(&path).unwrap(), "Dear Ulric");
}

#[test]
fn a_socket_that_somebody_else_put_in_its_place_is_not_removed() {
    let scratch = Scratch::new();
    let path = scratch.join("pen.sock");
    let server = Backend::named("a");
    let mut pen = Launch::ours().listener(path.display()).servers(&[&server]).start();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    pen.terminate();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}

#[test]
fn a_path_too_long_for_a_socket_is_named() {
    let path = format!("/tmp/{}", "x".repeat(200));
    let (status, pen) = run(&["-f", &path, "127.0.0.1:9"]);
    assert_eq!(status.code(), Some(1));
    assert!(pen.stderr().contains(&path), "{}", pen.stderr());
}

#[test]
fn a_server_may_be_a_unix_socket() {
    let scratch = Scratch::new();
    let server = Backend::unix("filed", &scratch.join("server.sock"), greet);
    let pen = Pen::start(&[], &[&format!("{server}::2:3")]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("filed"));
    client.assert_echo("through a file");
    let statistics = pen.statistics();
    assert!(statistics.contains("(2 soft, 3 hard)"), "{statistics}");
}

#[test]
fn a_unix_socket_leads_to_a_unix_socket() {
    let scratch = Scratch::new();
    let server = Backend::unix("filed", &scratch.join("server.sock"), greet);
    let pen = Launch::ours().listener(scratch.join("pen.sock").display()).servers(&[&server]).start();
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("filed"));
    client.finish();
    assert_eq!(client.text(), "");
}

#[test]
fn clients_of_a_unix_socket_share_one_memory_and_pass_every_list() {
    let scratch = Scratch::new();
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let pen = Launch::ours()
        .listener(scratch.join("pen.sock").display())
        .options(&["-O", "acl 1 permit 192.0.2.1", "-O", "client_acl 1"])
        .servers(&[&a, &b])
        .start();
    for _ in 0..3 {
        assert_eq!(Client::connect(&pen).line().as_deref(), Some("a"));
    }
    assert!(pen.statistics().contains("address local\n"));
}

#[test]
fn a_unix_socket_server_that_is_gone_is_failed_over() {
    let scratch = Scratch::new();
    let next = Backend::named("next");
    let missing = scratch.join("missing.sock");
    let pen = Pen::start(&[], &[&missing.display(), &next]);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("next"));
    pen.wait_for_line("blacklisted 30 s: No such file or directory");
}

#[test]
fn the_emergency_and_the_abuse_server_may_be_unix_sockets() {
    let scratch = Scratch::new();
    let emergency = Backend::unix("emergency", &scratch.join("e.sock"), greet);
    let abuse = Backend::unix("abuse", &scratch.join("b.sock"), greet);
    let down = Backend::down("a");
    let pen = Launch::ours()
        .options(&["-e", &emergency.to_string(), "-B", &abuse.to_string()])
        .options(&["-O", "acl 1 deny 127.0.0.9", "-O", "client_acl 1"])
        .servers(&[&down])
        .start();
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("emergency"));
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("abuse"));
}

#[test]
fn a_name_with_several_addresses_is_listened_on_at_all_of_them() {
    let (server, port, control) = (Backend::named("a"), free_port(), free_port());
    let mut addresses = vec!["127.66.0.1", "127.66.0.2"];
    if has_ipv6() {
        addresses.push("::1");
    }
    let lines: String = addresses.iter().map(|address| format!("{address} many.test\n")).collect();
    let Some(hosts) = Hosts::new(&lines) else { return };
    let launch = Launch::ours()
        .listener(format!("many.test:{port}"))
        .options(&["-u", "root", "-C", &format!("many.test:{control}")])
        .servers(&[&server]);
    let _pen = hosts.launch(launch).start();
    for address in addresses {
        let client = Client::connect_to(&SocketAddr::new(ip(address), port).into(), None);
        assert_eq!(client.line().as_deref(), Some("a"), "{address}");
        let control = Control::at(&SocketAddr::new(ip(address), control).to_string());
        assert_eq!(control.say("listen"), format!("many.test:{port}\n"), "{address}");
    }
    assert!(is_free(SocketAddr::new(ip("127.66.0.3"), port)));
}

#[test]
fn an_address_of_a_name_that_cannot_be_had_is_named() {
    let Some(hosts) = Hosts::new("127.0.0.1 many.test\n192.0.2.1 many.test\n") else { return };
    let listener = format!("many.test:{}", free_port());
    let arguments = ["-f", "-X", "-O", "exit", &listener, "127.0.0.1:9"];
    let (status, pen) = hosts.run(&arguments);
    let address = listener.replace("many.test", "192.0.2.1");
    let cause = "Cannot assign requested address";
    assert_eq!(status.code(), Some(1));
    assert_eq!(pen.stderr(), format!("pen: can't bind local address {listener} ({address}): {cause}\n"));
}

#[test]
fn addresses_of_a_family_that_the_host_lacks_are_left_out_of_a_name_and_nowhere_else() {
    let lines = "127.0.0.1 both.test\n::1 both.test\n::1 six.test\n";
    let script =
        "ip link set lo up && { [ ! -e /proc/sys/net/ipv6 ] || echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; }";
    let Some(hosts) = Hosts::in_namespaces(lines, "-mn", script) else { return };
    for (listener, works) in [("both.test:80", true), ("six.test:80", false), ("127.0.0.1:80,[::1]:80", false)] {
        let arguments = ["-f", "-X", "-O", "exit", listener, "127.0.0.1:9"];
        let (status, pen) = hosts.run(&arguments);
        let said = pen.stderr();
        assert_eq!(status.success(), works, "{listener}: {said}");
        let culprit = if listener.contains(',') { "[::1]:80" } else { listener };
        let error = format!("can't bind local address {culprit}: ");
        assert_eq!(said.contains(&error), !works, "{said}");
    }
}

#[test]
fn every_address_of_a_server_is_tried() {
    let Some(hosts) = Hosts::new("127.66.0.1 two.test\n127.66.0.2 two.test\n") else { return };
    let port = free_port();
    let server = Backend::on("second", ip("127.66.0.2"), port, greet);
    let launch = Launch::ours().options(&["-s"]).servers(&[&format!("two.test:{port}")]);
    let pen = hosts.launch(launch).start();
    for _ in 0..2 {
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("second"));
    }
    assert_eq!(server.visits(), 2);
    assert_eq!(pen.stderr(), "", "an address that failed is no server that failed");
}

#[test]
fn a_server_of_both_families_is_reached_by_the_one_that_works() {
    if !has_ipv6() {
        return;
    }
    let Some(hosts) = Hosts::new("::1 both.test\n127.66.0.3 both.test\n") else { return };
    for (name, address) in [("six", "::1"), ("four", "127.66.0.3")] {
        let port = free_port();
        let _server = Backend::on(name, ip(address), port, greet);
        let launch = Launch::ours().options(&["-s"]).servers(&[&format!("both.test:{port}")]);
        let pen = hosts.launch(launch).start();
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some(name));
    }
}

#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_others() {
    let Some(hosts) = Hosts::new("127.66.0.4 half.test\n127.66.0.5 half.test\n") else { return };
    let port = free_port();
    // Whichever of the two is tried first.
    for (dead, alive) in [("127.66.0.4", "127.66.0.5"), ("127.66.0.5", "127.66.0.4")] {
        let _blackhole = Blackhole::on(ip(dead), port);
        let _server = Backend::on("alive", ip(alive), port, greet);
        let launch = Launch::ours().options(&["-s", "-t2"]).servers(&[&format!("half.test:{port}")]);
        let pen = hosts.launch(launch).start();
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("alive"));
        assert_eq!(pen.stderr(), "");
    }
}
