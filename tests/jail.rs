//! pen as root starts it for good: in a jail, as somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::harness::{
    Backend, Client, Control, Daemon, Launch, Process, Program, Scratch, attempt, free_port, is_root, program, skip,
    wait_until,
};

/// The user `nobody` and its group, as Debian numbers them.
const NOBODY: (u32, u32) = (65534, 65534);

/// A jail with a folder that `nobody` may write to.
struct Jail {
    scratch: Scratch,
}

impl Jail {
    fn new() -> Option<Self> {
        if !is_root() {
            skip("only root can make a jail");
            return None;
        }
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["run", "var", "etc"] {
            fs::create_dir(scratch.join(folder)).unwrap();
        }
        chown(scratch.join("var"), Some(NOBODY.0), Some(NOBODY.1)).unwrap();
        Some(Self { scratch })
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    fn text(&self) -> String {
        self.path().display().to_string()
    }

    fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }
}

fn server(port: u16) -> Option<String> {
    Client::connect_to(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), None).line()
}

#[test]
fn it_is_confined_and_has_no_rights_and_everything_works_under_load() {
    let Some(jail) = Jail::new() else { return };
    let (a, b, port) = (Backend::named("a"), Backend::named("b"), free_port());
    let socket = jail.join("var/ctl.sock").display().to_string();
    let file = jail.join("etc/pen.conf");
    let configure = |server: &Backend| {
        fs::write(&file, format!("roundrobin\nserver 0 address localhost port {}\n", server.port())).unwrap();
    };
    configure(&a);
    let listener = format!("127.0.0.1:{port}");
    let paths = ["-j", &jail.text(), "-p", "/var/pen.pid", "-C", &socket, "-F", "pen.conf"];
    let logs = ["-l", "/var/log", "-w", "/var/page.html"];
    let arguments: Vec<_> = ["-u", "nobody"].into_iter().chain(paths).chain(logs).chain([listener.as_str()]).collect();
    // The relative name means the same file outside, at start, and in the jail.
    let daemon = Daemon::start(&jail.join("etc"), &jail.join("var/pen.pid"), &arguments);

    for heading in ["Uid", "Gid"] {
        assert_eq!(daemon.status(heading), "65534 65534 65534 65534");
    }
    assert_eq!(daemon.status("Groups"), "65534");
    for heading in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(daemon.status(heading), "0000000000000000");
    }
    assert_eq!(daemon.status("NoNewPrivs"), "1");
    assert_eq!(fs::read_link(daemon.proc("root")).unwrap(), jail.path());
    for thread in fs::read_dir(daemon.proc("task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    }
    assert_eq!(fs::metadata(&socket).unwrap().uid(), NOBODY.0);

    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let client = Client::connect_to(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), None);
                    assert!(client.line().is_some(), "a client was turned away");
                    client.assert_echo("a request");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let busy = || {
            let before = served.load(Ordering::Relaxed);
            wait_until("the load to go on", || served.load(Ordering::Relaxed) > before + 50);
        };
        busy();
        // The jail has neither a resolver nor /etc/hosts.
        configure(&b);
        daemon.signal(Signal::HUP);
        wait_until("the other server", || server(port).as_deref() == Some("b"));
        busy();
        let control = Control::at(&socket);
        assert_eq!(control.say("pid"), format!("{}\n", daemon.pid()));
        assert_eq!(control.say("write /var/written.conf"), "");
        let written = fs::read_to_string(jail.join("var/written.conf")).unwrap();
        assert!(written.contains(&format!(" -j '{}' -p '/var/pen.pid' -u 'nobody' ", jail.text())), "{written}");
        assert_eq!(fs::metadata(jail.join("var/written.conf")).unwrap().uid(), NOBODY.0);
        assert!(control.say("write /etc/written.conf").contains("Permission denied"));
        assert!(control.say("include /etc/passwd").contains("No such file"), "it sees the outside");
        let refused = control.say("transparent");
        assert!(refused.starts_with("transparent: pen has no right"), "{refused}");
        daemon.signal(Signal::USR1);
        wait_until("the page", || jail.join("var/page.html").exists());
        daemon.signal(Signal::USR2);
        daemon.signal(Signal::PIPE);
        fs::rename(jail.join("var/log"), jail.join("var/log.1")).unwrap();
        daemon.signal(Signal::HUP);
        wait_until("a new log", || fs::metadata(jail.join("var/log")).is_ok_and(|log| log.len() > 0));
        busy();
        stop.store(true, Ordering::Relaxed);
    });
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert!(!jail.join("var/pen.pid").exists());
    assert!(!Path::new(&socket).exists());
    let lines: Vec<String> = ["var/log.1", "var/log"]
        .iter()
        .flat_map(|log| fs::read_to_string(jail.join(log)).unwrap().lines().map(String::from).collect::<Vec<_>>())
        .collect();
    assert!(lines.iter().all(|line| line.ends_with(" 127.0.0.1 a request")), "{lines:?}");
    assert_eq!(lines.len(), served.load(Ordering::Relaxed), "the log and its rotation lose nothing");
}

#[test]
fn its_sockets_are_removed_also_where_links_lead_to_the_jail() {
    let Some(jail) = Jail::new() else { return };
    let (links, a) = (Scratch::new(), Backend::named("a"));
    symlink(jail.path(), links.join("jail")).unwrap();
    let link = links.join("jail").display().to_string();
    for (root, folder) in [(&link, &link), (&jail.text(), &link), (&link, &jail.text())] {
        let [listener, control] = ["pen.sock", "ctl.sock"].map(|name| format!("{folder}/var/{name}"));
        let arguments = ["-j", root, "-u", "nobody", "-p", "/var/pid", "-C", &control, &listener, &a.to_string()];
        let daemon = Daemon::start(Path::new("/"), &jail.join("var/pid"), &arguments);
        assert_eq!(Control::at(&control).say("pid"), format!("{}\n", daemon.pid()));
        daemon.signal(Signal::TERM);
        daemon.wait_end();
        assert_eq!(fs::read_dir(jail.join("var")).unwrap().count(), 0, "{arguments:?}");
    }
}

#[test]
fn sockets_are_removed_when_the_start_fails_before_the_jail() {
    let Some(jail) = Jail::new() else { return };
    let (taken, listener) = (Backend::named("taken"), jail.join("pen.sock").display().to_string());
    let refused = attempt(
        Path::new("/"),
        &["-j", &jail.text(), "-u", "nobody", "-C", &taken.to_string(), &listener, "127.0.0.1:9"],
    );
    assert!(refused.stderr.contains("can't bind local address"), "{}", refused.stderr);
    assert!(!jail.join("pen.sock").exists());

    let Some(setpriv) = program("setpriv") else {
        return skip("without setpriv root cannot be kept from making a jail");
    };
    let listener = jail.join("var/pen.sock").display().to_string();
    let mut command = Command::new(setpriv);
    command.args(["--bounding-set", "-sys_chroot", "--inh-caps", "-sys_chroot"]);
    command.arg(Program::Ours.path()).args(["-j", &jail.text(), &listener, "127.0.0.1:9"]);
    let mut pen = Process::start(command);
    assert_eq!(pen.wait_exit().code(), Some(1));
    let told = format!("pen: Can't chroot({}): Operation not permitted\n", jail.text());
    assert_eq!(pen.stderr(), told);
    assert!(!jail.join("var/pen.sock").exists());
}

#[test]
fn the_pid_file_may_lie_where_only_root_can_write() {
    let Some(jail) = Jail::new() else { return };
    let (a, port) = (Backend::named("a"), free_port());
    let listener = format!("127.0.0.1:{port}");
    let arguments = ["-j", &jail.text(), "-u", "nobody", "-p", "/run/pen.pid", &listener, &a.to_string()];
    let pidfile = jail.join("run/pen.pid");
    let daemon = Daemon::start(Path::new("/"), &pidfile, &arguments);
    assert_eq!(server(port).as_deref(), Some("a"));
    let second = attempt(Path::new("/"), &["-j", &jail.text(), "-p", "/run/pen.pid", "127.0.0.1:1", "127.0.0.1:1"]);
    assert!(!second.status.success());
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    // It cannot be removed from there, but names nobody.
    assert_eq!(fs::read_to_string(&pidfile).unwrap(), "");
    let daemon = Daemon::start(Path::new("/"), &pidfile, &arguments);
    assert_eq!(server(port).as_deref(), Some("a"));
    drop(daemon);
}

#[test]
fn a_start_that_fails_late_leaves_no_number_behind() {
    let Some(jail) = Jail::new() else { return };
    let port = format!("127.0.0.1:{}", free_port());
    for folder in ["var", "run"] {
        let pidfile = format!("/{folder}/pen.pid");
        let arguments = ["-j", &jail.text(), "-u", "nobody", "-p", &pidfile, "-l", "/etc/log", &port, "127.0.0.1:9"];
        let refused = attempt(Path::new("/"), &arguments);
        assert!(refused.stderr.contains("Can't open logfile /etc/log: Permission denied"), "{}", refused.stderr);
    }
    assert!(!jail.join("var/pen.pid").exists());
    // Only root can remove it from there, and pen is not root any more.
    assert_eq!(fs::read_to_string(jail.join("run/pen.pid")).unwrap(), "");
}

#[test]
fn relative_names_begin_where_it_was_started_if_that_lies_in_the_jail() {
    let Some(jail) = Jail::new() else { return };
    let a = Backend::named("a");
    for (start, pidfile) in [(jail.join("var"), "var/pen.pid"), (PathBuf::from("/"), "pen.pid")] {
        let listener = format!("127.0.0.1:{}", free_port());
        let arguments = ["-j", &jail.text(), "-p", "pen.pid", &listener, &a.to_string()];
        let daemon = Daemon::start(&start, &jail.join(pidfile), &arguments);
        daemon.signal(Signal::TERM);
        daemon.wait_end();
        assert!(!jail.join(pidfile).exists());
    }
}

#[test]
fn a_user_is_taken_on_with_its_groups_or_as_numbers() {
    let Some(jail) = Jail::new() else { return };
    let a = Backend::named("a");
    for (user, uid, gid) in
        [("nobody", "65534", "65534"), ("65534", "65534", "65534"), ("12345:23456", "12345", "23456")]
    {
        let pen = Launch::ours().options(&["-j", &jail.text(), "-u", user]).servers(&[&a]).start();
        let status = fs::read_to_string(format!("/proc/{}/status", pen.pid())).unwrap();
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
        assert!(status.contains(&format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}\n")), "{status}");
        assert!(status.contains(&format!("Groups:\t{gid} \n")), "{status}");
        assert!(!pen.whole_stderr().contains("root"), "{}", pen.whole_stderr());
    }
}

#[test]
fn every_signal_does_the_same_in_the_foreground_in_the_background_and_in_a_jail() {
    let Some(jail) = Jail::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (file, page) = (jail.join("pen.conf"), jail.join("var/page"));
    let configure = |server: &Backend| {
        fs::write(&file, format!("roundrobin\nserver 0 address 127.0.0.1 port {}\n", server.port())).unwrap();
    };
    for (background, jailed, end) in [
        (false, false, Signal::TERM),
        (false, false, Signal::INT),
        (false, true, Signal::TERM),
        (false, true, Signal::INT),
        (true, false, Signal::TERM),
        (true, false, Signal::INT),
        (true, true, Signal::TERM),
        (true, true, Signal::INT),
    ] {
        configure(&a);
        let port = free_port();
        let here = jail.text();
        // Relative, so that the names are the same in the jail and outside.
        let mut arguments = vec!["-F", "pen.conf", "-w", "var/page", "-p", "var/pen.pid"];
        if jailed {
            arguments.extend(["-j", &here, "-u", "nobody"]);
        }
        if !background {
            arguments.push("-f");
        }
        let listener = format!("127.0.0.1:{port}");
        arguments.push(&listener);
        let mut command = crate::harness::without_syslog(Program::Ours.path());
        command.current_dir(jail.path()).args(&arguments);
        let mut process = Process::start(command);
        if background {
            assert!(process.wait_exit().success());
        } else {
            // It listens before it writes this, and from then on every signal reaches it.
            let pidfile = jail.join("var/pen.pid");
            wait_until("the pid file", || fs::read_to_string(&pidfile).is_ok_and(|text| text.ends_with('\n')));
        }
        let pen = Daemon::of(&jail.join("var/pen.pid"));
        assert_eq!(server(port).as_deref(), Some("a"), "{arguments:?}");
        configure(&b);
        pen.signal(Signal::HUP);
        wait_until("the other server", || server(port).as_deref() == Some("b"));
        pen.signal(Signal::USR2);
        pen.signal(Signal::PIPE);
        pen.signal(Signal::USR1);
        wait_until("the page", || page.exists());
        fs::remove_file(&page).unwrap();
        assert_eq!(server(port).as_deref(), Some("b"), "{arguments:?}: USR2 or PIPE did harm");
        pen.signal(end);
        if !background {
            assert_eq!(process.wait_exit().code(), Some(0), "{arguments:?}");
        }
        pen.wait_end();
        assert!(!jail.join("var/pen.pid").exists(), "{arguments:?}");
    }
}

#[test]
fn transparent_keeps_the_one_capability_that_it_needs() {
    let Some(_) = Jail::new() else { return };
    let a = Backend::named("a");
    let pen = Launch::ours().options(&["-u", "nobody", "-O", "transparent"]).servers(&[&a]).start();
    let client = Client::from("127.0.0.7", &pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    let source = a.visit(0).peer.map(|peer| peer.ip().to_string());
    assert_eq!(source.as_deref(), Some("127.0.0.7"));
    for heading in ["CapPrm", "CapEff"] {
        let status = fs::read_to_string(format!("/proc/{}/status", pen.pid())).unwrap();
        assert!(status.contains(&format!("{heading}:\t0000000000002000\n")), "{status}");
    }
}

#[test]
fn where_transparent_cannot_work_a_file_with_it_changes_nothing() {
    let Some(jail) = Jail::new() else { return };
    let a = Backend::named("a");
    let (file, included) = (jail.join("pen.conf"), jail.join("included.conf"));
    fs::write(&file, "blacklist 7\n").unwrap();
    let options = ["-u", "nobody", "-F", file.to_str().unwrap()];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    for path in [&file, &included] {
        fs::write(path, "blacklist 8\ntransparent\nblacklist 9\n").unwrap();
    }
    pen.signal(Signal::HUP);
    pen.wait_for_line("the old configuration stays: transparent: pen has no right to its clients' addresses");
    let reply = pen.control().say(&format!("include {}", included.display()));
    assert!(reply.starts_with("transparent: pen has no right"), "{reply}");
    assert_eq!(pen.control().say("blacklist"), "7\n");
    let written = jail.join("var/written");
    pen.control().tell(&[&format!("write {}", written.display())]);
    assert!(fs::read_to_string(written).unwrap().contains("\nno transparent\n"));
    assert!(!pen.stderr().contains("read again"), "{}", pen.stderr());
}

#[test]
fn a_file_that_the_user_cannot_read_is_told_at_start_and_changes_nothing_at_hup() {
    let Some(jail) = Jail::new() else { return };
    let a = Backend::named("a");
    let file = jail.join("pen.conf");
    let text = file.display().to_string();
    fs::write(&file, "blacklist 7\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let cause = format!("Can't read config file '{text}': Permission denied");
    let pen = Launch::ours().control().options(&["-u", "nobody", "-F", &text]).servers(&[&a]).start();
    pen.wait_for_line(&format!("HUP will not read the file again: {cause}"));
    fs::write(&file, "blacklist 8\n").unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line(&format!("the old configuration stays: {cause}"));
    assert_eq!(pen.control().say("blacklist"), "7\n");

    // In a jail it is the one there.
    let pen = Launch::ours().options(&["-j", &jail.text(), "-F", &text]).servers(&[&a]).start();
    pen.wait_for_line(&format!("HUP will not read the file again: Can't read config file '{text}': No such file"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let pen = Launch::ours().control().options(&["-u", "nobody", "-F", &text]).servers(&[&a]).start();
    assert_eq!(pen.control().say("blacklist"), "8\n");
    assert!(!pen.stderr().contains("HUP"), "{}", pen.stderr());
}
