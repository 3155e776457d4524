//! pen in the background: how it gets there, what it takes along, what it leaves behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::harness::{
    Attempt, Backend, Client, Control, Daemon, Launch, Process, Program, Scratch, attempt, free_port, is_free, is_root,
    skip, visit, wait_until,
};

/// The server that answers there now.
fn server(port: u16) -> Option<String> {
    Client::connect_to(&address(port).into(), None).line()
}

fn address(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Root must insist on being root for a control port.
fn insist() -> &'static [&'static str] {
    if is_root() { &["-u", "root"] } else { &[] }
}

#[test]
fn it_serves_when_the_command_returns_and_leaves_nothing_behind() {
    let a = Backend::named("a");
    for signal in [Signal::TERM, Signal::INT] {
        let scratch = Scratch::new();
        let (pidfile, port) = (scratch.join("pen.pid"), free_port());
        let socket = scratch.join("ctl.sock").display().to_string();
        let arguments = ["-C", &socket, "-p", "pen.pid", &format!("127.0.0.1:{port}"), &a.to_string()];
        let arguments: Vec<_> = insist().iter().chain(&arguments).collect();
        let daemon = Daemon::start(scratch.path(), &pidfile, &arguments);
        assert_eq!(server(port).as_deref(), Some("a"));
        let control = Control::at(&socket);
        assert_eq!(control.say("pid"), format!("{}\n", daemon.pid()));
        daemon.signal(signal);
        daemon.wait_end();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{signal:?} leaves something behind");
    }
}

#[test]
fn it_is_a_session_of_its_own_and_holds_nothing_that_is_not_its_own() {
    let (a, scratch, port) = (Backend::named("a"), Scratch::new(), free_port());
    let inherited = scratch.join("inherited");
    fs::write(&inherited, "").unwrap();
    let mut command = crate::harness::without_syslog("sh");
    let script = format!(
        "umask 077; exec 7<'{}'; exec '{}' -p pen.pid 127.0.0.1:{port} {a}",
        inherited.display(),
        Program::Ours.path()
    );
    command.args(["-c", &script]).current_dir(scratch.path());
    let mut shell = Process::start(command);
    assert!(shell.wait_exit().success(), "its output stays open");
    let daemon = Daemon::of(&scratch.join("pen.pid"));
    assert_eq!(fs::read_link(daemon.proc("cwd")).unwrap(), Path::new("/"));
    assert_eq!(daemon.status("Umask"), "0022");
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(daemon.proc(stream)).unwrap(), Path::new("/dev/null"));
    }
    let open: Vec<PathBuf> =
        fs::read_dir(daemon.proc("fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
    assert!(!open.contains(&inherited), "{open:?}");
    let stat = fs::read_to_string(daemon.proc("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let (session, terminal) = (fields[3], fields[4]);
    assert_ne!(session, daemon.pid().to_string(), "a session leader could take a terminal");
    assert_ne!(session, shell.pid().to_string());
    assert_eq!(terminal, "0");
}

#[test]
fn in_the_foreground_it_holds_nothing_that_is_not_its_own_either() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let inherited = scratch.join("inherited");
    fs::write(&inherited, "").unwrap();
    let script = format!("exec 7<'{0}' 9>>'{0}'; exec \"$@\"", inherited.display());
    let pen = Launch::ours().wrapper(&["sh", "-c", &script, "sh"]).servers(&[&a]).start();
    let open = fs::read_dir(format!("/proc/{}/fd", pen.pid())).unwrap();
    let open: Vec<PathBuf> = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
    assert!(open.len() > 3 && !open.contains(&inherited), "{open:?}");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn it_inherits_nothing_where_there_is_no_proc_either() {
    if !is_root() {
        return skip("only root can take /proc away");
    }
    let (a, scratch, port) = (Backend::named("a"), Scratch::new(), free_port());
    let inherited = scratch.join("inherited");
    fs::write(&inherited, "").unwrap();
    let script = "mount -t tmpfs none /proc && exec 7<\"$0\" && exec \"$@\"";
    let mut command = crate::harness::without_syslog("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&inherited).current_dir(scratch.path());
    command.args([Program::Ours.path(), "-p", "pen.pid", &format!("127.0.0.1:{port}"), &a.to_string()]);
    assert!(Process::start(command).wait_exit().success());
    let daemon = Daemon::of(&scratch.join("pen.pid"));
    let open: Vec<PathBuf> =
        fs::read_dir(daemon.proc("fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
    assert!(!open.is_empty() && !open.contains(&inherited), "{open:?}");
    assert_eq!(server(port).as_deref(), Some("a"));
}

#[test]
fn whatever_keeps_it_from_serving_is_told_by_the_command() {
    let (a, scratch, taken) = (Backend::named("a"), Scratch::new(), Backend::named("taken"));
    fs::write(scratch.join("bad.conf"), "timeout 3\nfrobnicate\n").unwrap();
    fs::write(scratch.join("precious"), "precious\n").unwrap();
    let (port, taken, a) = (format!("127.0.0.1:{}", free_port()), taken.to_string(), a.to_string());
    for (arguments, words) in [
        (vec![taken.as_str(), &a], format!("can't bind local address {taken}: Address already in use")),
        (vec!["-F", "bad.conf", &port, &a], String::from("bad.conf:2: unknown command \"frobnicate\"")),
        (vec!["-u", "no-such-user", &port, &a], String::from("Can't getpwnam(no-such-user): no such user")),
        (vec!["-j", "no-such-jail", &port, &a], String::from("Can't chroot(no-such-jail): No such file or directory")),
        (vec!["-p", "no/such/file", &port, &a], String::from("Can't create pidfile ")),
        (vec!["-p", "precious", &port, &a], String::from("the file exists and is not a pid file")),
        (vec![&port, "no-such-host.invalid"], String::from("unknown or invalid address [no-such-host.invalid]")),
    ] {
        let Attempt { status, stderr } = attempt(scratch.path(), &arguments);
        assert_eq!(status.code(), Some(1), "{arguments:?}");
        assert!(stderr.starts_with("pen: ") && stderr.contains(&words), "{arguments:?}: {stderr}");
        assert!(is_free(port.parse().unwrap()), "{arguments:?}: it runs");
    }
    assert_eq!(fs::read_to_string(scratch.join("precious")).unwrap(), "precious\n");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn sockets_are_removed_when_the_start_fails_later() {
    let scratch = Scratch::new();
    let listener = scratch.join("pen.sock").display().to_string();
    assert!(!attempt(scratch.path(), &["-p", "no/such/file", &listener, "127.0.0.1:1"]).status.success());
    assert!(!scratch.join("pen.sock").exists());
}

#[test]
fn relative_names_begin_where_it_was_started() {
    let (a, b, scratch, port) = (Backend::named("a"), Backend::named("b"), Scratch::new(), free_port());
    let configure = |server: &Backend| {
        let text = format!("include more.conf\nserver 0 address 127.0.0.1 port {}\n", server.port());
        fs::write(scratch.join("pen.conf"), text).unwrap();
    };
    fs::write(scratch.join("more.conf"), "roundrobin\n").unwrap();
    configure(&a);
    let socket = scratch.join("ctl.sock").display().to_string();
    let arguments = ["-p", "pen.pid", "-F", "pen.conf", "-w", "page.html", "-C", &socket];
    let listener = format!("127.0.0.1:{port}");
    let arguments: Vec<_> = insist().iter().chain(&arguments).copied().chain([listener.as_str()]).collect();
    let daemon = Daemon::start(scratch.path(), &scratch.join("pen.pid"), &arguments);
    let control = Control::at(&socket);
    assert_eq!(server(port).as_deref(), Some("a"));
    configure(&b);
    daemon.signal(Signal::HUP);
    wait_until("the new server", || server(port).as_deref() == Some("b"));
    daemon.signal(Signal::USR1);
    wait_until("the page", || scratch.join("page.html").exists());
    assert_eq!(control.say("write written.conf"), "");
    assert!(scratch.join("written.conf").exists());
    let heading = fs::read_to_string(scratch.join("written.conf")).unwrap();
    assert!(heading.lines().nth(1).unwrap().contains(" -p 'pen.pid' "), "{heading}");
    assert_eq!(control.say("web_stats other.html"), "other.html\n");
    assert!(control.say("status").starts_with("<!"));
    assert!(scratch.join("other.html").exists());
}

#[test]
fn a_second_pen_does_not_take_the_pid_file_of_the_first() {
    let (a, scratch, port) = (Backend::named("a"), Scratch::new(), free_port());
    let pidfile = scratch.join("pen.pid");
    fs::write(&pidfile, "4194300\n").unwrap();
    let start =
        |port: u16| vec![String::from("-p"), pidfile.display().to_string(), format!("127.0.0.1:{port}"), a.to_string()];
    let first = Daemon::start(scratch.path(), &pidfile, &start(port));
    let second = attempt(scratch.path(), &start(free_port()));
    assert_eq!(second.status.code(), Some(1));
    let words = format!("Can't create pidfile {}: pen runs already, as process {}\n", pidfile.display(), first.pid());
    assert_eq!(second.stderr, format!("pen: {words}"));
    assert_eq!(fs::read_to_string(&pidfile).unwrap(), format!("{}\n", first.pid()));
    assert_eq!(server(port).as_deref(), Some("a"));
    first.signal(Signal::KILL);
    first.wait_end();
    let third = Daemon::start(scratch.path(), &pidfile, &start(port));
    assert_ne!(third.pid(), first.pid());
}

#[test]
fn a_link_in_the_place_of_the_pid_file_is_not_followed() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    fs::write(scratch.join("target"), "1\n").unwrap();
    symlink(scratch.join("target"), scratch.join("pen.pid")).unwrap();
    let port = format!("127.0.0.1:{}", free_port());
    let Attempt { status, stderr } = attempt(scratch.path(), &["-p", "pen.pid", &port, &a.to_string()]);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(fs::read_to_string(scratch.join("target")).unwrap(), "1\n");
}

#[test]
fn in_the_foreground_it_has_a_pid_file_too_and_says_that_it_is_root() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let pidfile = scratch.join("pen.pid");
    let mut pen =
        crate::harness::Launch::ours().uncounted().options(&["-p", pidfile.to_str().unwrap()]).servers(&[&a]).start();
    assert_eq!(fs::read_to_string(&pidfile).unwrap(), format!("{}\n", pen.pid()));
    pen.terminate();
    assert!(!pidfile.exists());
    let told = pen.whole_stderr().matches("runs as root; -u makes it run as another user").count();
    assert_eq!(told, usize::from(is_root()));

    // Who asks for it needs no advice.
    let mut pen = crate::harness::Pen::start(insist(), &[&a]);
    pen.terminate();
    let told = pen.whole_stderr().matches(": runs as root\n").count();
    assert_eq!(told, usize::from(is_root()));
}
