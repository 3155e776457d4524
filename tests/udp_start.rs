//! Starting a pen for datagrams: what is refused, where it gets its configuration from, as whom it runs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{
    Control, Daemon, Launch, Process, Program, Scratch, UdpClient, UdpServer, attempt, free_port, free_udp_port,
    is_root, program, run, skip, wait_until,
};

/// What a pen says that ends at once with an error.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let (status, pen) = run(arguments);
    assert_eq!(status.code(), Some(1), "{arguments:?}: {}", pen.stderr());
    assert_eq!(pen.stderr().lines().count(), 1, "{arguments:?}: {}", pen.stderr());
    pen.stderr()
}

/// What does not go with `-U`: options, and what is said.
const REFUSED: &[(&[&str], &str)] = &[
    (&["/run/pen.sock", "127.0.0.1:9"], "Unix domain socket"),
    (&["127.0.0.1:1", "/run/server.sock"], "Unix domain socket"),
    (&["-e", "/run/server.sock", "127.0.0.1:1", "127.0.0.1:9"], "Unix domain socket"),
    (&["-B", "/run/server.sock", "127.0.0.1:1", "127.0.0.1:9"], "Unix domain socket"),
    (&["-O", "accept_proxy any", "127.0.0.1:1", "127.0.0.1:9"], "PROXY headers"),
    (&["-O", "dummy", "127.0.0.1:1", "127.0.0.1:9"], "web server"),
    (&["-O", "server 0 send_proxy v1", "127.0.0.1:1", "127.0.0.1:9"], "send_proxy v1"),
    (&["-O", "udp_timeout 0", "127.0.0.1:1", "127.0.0.1:9"], "udp_timeout"),
    (&["-O", "udp_proxy none", "127.0.0.1:1", "127.0.0.1:9"], "there are: first, each"),
    #[cfg(feature = "tls")]
    (&["-E", "/etc/passwd", "127.0.0.1:1", "127.0.0.1:9"], "TLS"),
    #[cfg(feature = "tls")]
    (&["-O", "server 0 tls on", "127.0.0.1:1", "127.0.0.1:9"], "TLS"),
];

#[test]
fn what_does_not_go_with_datagrams_is_refused_at_the_start_and_by_a_check() {
    for (arguments, words) in REFUSED {
        for first in [&["-f", "-U"][..], &["--check", "-U"][..]] {
            let told = refused(&[first, arguments].concat());
            assert!(told.contains(words), "{arguments:?}: {told}");
        }
    }
}

#[test]
fn what_does_not_go_with_datagrams_is_refused_later_too_and_changes_nothing() {
    let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
    let file = scratch.join("pen.conf");
    fs::write(&file, "").unwrap();
    let pen = Launch::ours().control().options(&["-U", "-F", &file.display().to_string()]).servers(&[&a]).start();
    let before = pen.control().configuration();
    let client = UdpClient::connect(&pen);
    for (command, words) in [
        ("listen /run/pen.sock", "Unix domain socket"),
        ("server 1 address /run/server.sock", "Unix domain socket"),
        ("emergency /run/server.sock", "Unix domain socket"),
        ("abuse /run/server.sock", "Unix domain socket"),
        ("accept_proxy v2", "PROXY headers"),
        ("dummy", "web server"),
        ("server 0 send_proxy v1", "send_proxy v1"),
        #[cfg(feature = "tls")]
        ("ssl_certificate /etc/passwd", "TLS"),
        #[cfg(feature = "tls")]
        ("server 0 tls on", "TLS"),
    ] {
        let reply = pen.control().say(command);
        assert!(reply.contains(words), "{command}: {reply}");
        fs::write(&file, format!("blacklist 7\n{command}\n")).unwrap();
        let start = pen.stderr_length();
        pen.signal(Signal::HUP);
        wait_until(command, || pen.stderr_after(start).contains("the old configuration stays"));
        assert!(pen.stderr_after(start).contains(words), "{command}: {}", pen.stderr_after(start));
        assert!(pen.stderr_after(start).contains("pen.conf:2: "), "{}", pen.stderr_after(start));
        assert_eq!(client.server(), "a");
    }
    fs::write(&file, "").unwrap();
    assert_eq!(pen.control().configuration(), before);
}

#[test]
fn what_has_no_effect_is_accepted() {
    let a = UdpServer::named("a");
    let options = ["-U", "-H", "-O", "peek", "-O", "idlers 2", "-O", "tcp_nodelay", "-O", "half_closed_timeout 9"];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    assert_eq!(UdpClient::connect(&pen).server(), "a");
    assert!(pen.control().say("http").is_empty() || pen.control().configuration().contains("\nhttp\n"));
    pen.assert_idle("with options for connections");
}

#[test]
fn a_check_finds_no_fault_and_opens_nothing() {
    let a = UdpServer::named("a");
    // The port is taken, which is no matter of the configuration.
    let arguments = ["--check", "-U", &a.to_string(), "127.0.0.1:9"];
    let (status, pen) = run(&arguments);
    assert!(status.success(), "{}", pen.stderr());
    assert_eq!(pen.stderr(), "");
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    fs::write(&file, "udp_timeout 5\nudp_nonsense 5\n").unwrap();
    let told = refused(&["--check", "-U", "-F", &file.display().to_string(), "127.0.0.1:1", "127.0.0.1:9"]);
    assert!(told.contains("pen.conf:2: "), "{told}");
}

#[test]
fn a_port_that_another_program_or_another_pen_has_cannot_be_had() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().options(&["-U"]).servers(&[&a]).start();
    let folder = Scratch::new();
    for taken in [a.to_string(), pen.udp_address().to_string(), format!("0.0.0.0:{}", pen.udp_address().port())] {
        let told = refused(&["-f", "-U", &taken, &a.to_string()]);
        assert!(told.contains("can't bind local address") && told.contains("in use"), "{told}");
        // Likewise in the background: whoever starts it is told.
        let attempt = attempt(folder.path(), &["-U", &taken, &a.to_string()]);
        assert!(!attempt.status.success() && attempt.stderr.contains("can't bind"), "{attempt:?}");
    }
    assert_eq!(UdpClient::connect(&pen).server(), "a");
}

#[test]
fn a_pen_for_connections_and_one_for_datagrams_may_have_the_same_port() {
    let (a, b) = (UdpServer::named("a"), crate::harness::Backend::named("b"));
    let datagrams = Launch::ours().options(&["-U"]).servers(&[&a]).start();
    let connections = Launch::ours().listener(datagrams.udp_address()).servers(&[&b]).start();
    assert_eq!(UdpClient::connect(&datagrams).server(), "a");
    assert_eq!(crate::harness::visit(&connections, "127.0.0.2").as_deref(), Some("b"));
}

#[test]
fn the_file_may_say_where_to_listen_and_which_servers_there_are() {
    // The command line of proxymatic: pen -u U -c N -S N -F cfg -p pid -C ctl -U PORT, and a file that is rewritten.
    let (scratch, a, b) = (Scratch::new(), UdpServer::named("a"), UdpServer::named("b"));
    let file = scratch.join("cfg");
    let configure = |server: &UdpServer| {
        let text =
            format!("no acl 1\nacl 1 permit 127.0.0.0/8\nserver 0 acl 1 address 127.0.0.1 port {}\n", server.port());
        fs::write(&file, format!("{text}server 1 address 0.0.0.0 port 0\n")).unwrap();
    };
    configure(&a);
    let (port, control) = (free_udp_port(), free_port());
    let pidfile = scratch.join("pid");
    let (file_name, pid_name, control_name) =
        (file.display().to_string(), pidfile.display().to_string(), format!("127.0.0.1:{control}"));
    let user = if is_root() { vec!["-u", "root"] } else { Vec::new() };
    let rest =
        ["-c", "500", "-S", "64", "-F", &file_name, "-p", &pid_name, "-C", &control_name, "-U", &port.to_string()];
    let attempt = attempt(scratch.path(), &[&user, &rest[..]].concat());
    assert!(attempt.status.success(), "{attempt:?}");
    assert_eq!(attempt.stderr, "pen: option -S is obsolete and does nothing\n");
    let daemon = Daemon::of(&pidfile);
    let client = UdpClient::to(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(client.server(), "a");
    configure(&b);
    daemon.signal(Signal::HUP);
    wait_until("the other server", || client.server() == "b");
    assert!(Control::at(&control_name).say("servers").starts_with("0 addr 127.0.0.1 port "));
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert!(!pidfile.exists());
}

#[test]
fn the_listener_may_come_from_the_file_alone() {
    let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
    let file = scratch.join("pen.conf");
    let [port, other] = [free_udp_port(), free_udp_port()];
    let configure = |port: u16| {
        let text = format!("listen 127.0.0.1:{port}\nserver 0 address 127.0.0.1 port {}\n", a.port());
        fs::write(&file, text).unwrap();
    };
    configure(port);
    let pen = Launch::ours()
        .options(&["-U", "-F", &file.display().to_string()])
        .listens_tacitly(format!("127.0.0.1:{port}"))
        .start();
    assert_eq!(UdpClient::connect(&pen).server(), "a");
    configure(other);
    pen.signal(Signal::HUP);
    pen.wait_for_line("read again");
    wait_until("the new listener", || crate::harness::has_datagrams(other));
    assert_eq!(UdpClient::to(SocketAddr::from(([127, 0, 0, 1], other))).server(), "a");
}

#[test]
fn a_jail_and_another_user_change_nothing_for_flows() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    let (jail, a, b) = (Scratch::new(), UdpServer::named("a"), UdpServer::named("b"));
    let text = jail.path().display().to_string();
    fs::set_permissions(jail.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(jail.join("var")).unwrap();
    std::os::unix::fs::chown(jail.join("var"), Some(65534), Some(65534)).unwrap();
    let file = jail.join("pen.conf");
    let configure = |server: &UdpServer, port: u16| {
        // The jail has neither a resolver nor /etc/hosts.
        let text = format!("listen 127.0.0.1:{port}\nserver 0 address localhost port {}\n", server.port());
        fs::write(&file, text).unwrap();
    };
    let [port, other] = [free_udp_port(), free_udp_port()];
    configure(&a, port);
    let control = jail.join("var/ctl").display().to_string();
    // The relative name means the same file outside, at the start, and in the jail.
    let options = ["-U", "-j", &text, "-u", "nobody", "-F", "pen.conf", "-C", &control, "-l", "/var/log"];
    let pen = Launch::ours()
        .wrapper(&["env", "-C", &text])
        .options(&options)
        .listens_tacitly(format!("127.0.0.1:{port}"))
        .start();
    let status = fs::read_to_string(format!("/proc/{}/status", pen.pid())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let client = UdpClient::to(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(client.server(), "a");
    configure(&b, port);
    pen.signal(Signal::HUP);
    wait_until("the other server", || client.server() == "b");
    configure(&b, other);
    pen.signal(Signal::HUP);
    wait_until("the new listener", || crate::harness::has_datagrams(other));
    assert_eq!(UdpClient::to(SocketAddr::from(([127, 0, 0, 1], other))).server(), "b");
    assert_eq!(Control::at(&control).say("pid"), format!("{}\n", pen.pid()));
    wait_until("the log", || fs::read_to_string(jail.join("var/log")).is_ok_and(|text| text.lines().count() >= 3));
}

#[test]
fn a_user_who_is_not_root_can_have_a_port_twice_only_by_mistake_and_is_told() {
    // Sockets of one user with SO_REUSEPORT may share a port (socket(7)): the second pen would take half of the clients.
    let Some(setpriv) = program("setpriv").filter(|_| is_root()) else {
        return skip("without setpriv root cannot be another user");
    };
    let a = UdpServer::named("a");
    let as_nobody = [setpriv.as_str(), "--reuid=65534", "--regid=65534", "--clear-groups"];
    let folder = Scratch::new();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.join("pen");
    fs::copy(Program::Ours.path(), &copy).unwrap();
    let listener = format!("127.0.0.1:{}", free_udp_port());
    let start = |folder: &Path| {
        let mut command = Command::new(as_nobody[0]);
        command.args(&as_nobody[1..]).arg(&copy).args(["-f", "-U", &listener, &a.to_string()]).current_dir(folder);
        Process::start(command)
    };
    let first = start(folder.path());
    wait_until("it to start", || first.whole_stderr().contains("starting, listens on"));
    let mut second = start(folder.path());
    assert_eq!(second.wait_exit().code(), Some(1));
    assert!(second.stderr().contains("can't bind local address"), "{}", second.stderr());
    assert_eq!(UdpClient::to(listener.parse().unwrap()).server(), "a");
}

// Reported of kube-proxy: a restart loses flows. It does here, as the manual says, and a client that goes on gets a new one at once.
#[test]
fn the_end_of_pen_is_quiet_and_the_port_is_free_at_once() {
    let a = UdpServer::named("a");
    let mut pen = Launch::ours().options(&["-U"]).servers(&[&a]).start();
    let listener = pen.udp_address();
    let clients: Vec<_> = (0..50).map(|_| UdpClient::connect(&pen)).collect();
    clients.iter().for_each(|client| drop(client.server()));
    pen.terminate();
    assert_eq!(pen.stderr(), "");
    let _again = Launch::ours().options(&["-U"]).listener(listener).servers(&[&a]).start();
    assert_eq!(clients[0].server(), "a");
}
