//! What pen tells the service manager that has started it: sd_notify(3).

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Backend, Launch, Pen, Scratch, is_root, visit, wait_until};

/// A service manager, and the name of its socket.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at(address: &SocketAddr, name: String) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, name }
    }

    /// With a socket that has a file.
    fn with_file(scratch: &Scratch) -> Self {
        let path = scratch.join("notify");
        let manager = Self::at(&SocketAddr::from_pathname(&path).unwrap(), path.display().to_string());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        manager
    }

    /// Starts a pen that knows it.
    fn start(&self, options: &[&str], server: &Backend) -> Pen {
        let variable = format!("NOTIFY_SOCKET={}", self.name);
        Launch::ours().wrapper(&["env", &variable]).options(options).servers(&[server]).start()
    }

    /// What it hears next.
    #[track_caller]
    fn hears(&self) -> String {
        let mut message = [0; 1000];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }
}

#[test]
fn the_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    let file = scratch.join("pen.conf");
    fs::write(&file, "timeout 5\n").unwrap();
    let manager = Manager::with_file(&scratch);
    let mut pen = manager.start(&["-F", file.to_str().unwrap()], &server);
    assert_eq!(manager.hears(), "READY=1");
    for text in ["timeout 6\n", "nonsense\n"] {
        fs::write(&file, text).unwrap();
        pen.signal(Signal::HUP);
        let reloading = manager.hears();
        let (first, second) = reloading.split_once('\n').unwrap();
        assert_eq!(first, "RELOADING=1");
        assert!(second.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(manager.hears(), "READY=1");
    }
    pen.terminate();
    assert_eq!(manager.hears(), "STOPPING=1");
}

#[test]
fn a_socket_without_a_file_is_told_too_and_from_a_jail() {
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    let name = format!("pen-test-{}", scratch.path().display());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}"));
    drop(manager.start(&[], &server));
    assert_eq!(manager.hears(), "READY=1");
    if is_root() {
        let (outside, jail) = (Scratch::new(), Scratch::new());
        let manager = Manager::with_file(&outside);
        drop(manager.start(&["-j", jail.path().to_str().unwrap(), "-u", "nobody"], &server));
        assert_eq!(manager.hears(), "READY=1");
    }
}

#[test]
fn a_manager_that_is_gone_or_deaf_holds_nothing_up() {
    let (scratch, server) = (Scratch::new(), Backend::new("a", crate::harness::greet));
    let manager = Manager::with_file(&scratch);
    let pen = manager.start(&[], &server);
    // The queue of its socket is full soon.
    for round in 0..50 {
        pen.signal(Signal::HUP);
        wait_until("HUP to be heeded", || pen.stderr().matches("HUP: ").count() > round);
    }
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    drop(pen);
    drop(manager.socket);
    for name in [manager.name.as_str(), "/nowhere/at/all", "", "@", "relative"] {
        let gone = Manager { socket: UnixDatagram::unbound().unwrap(), name: name.to_string() };
        assert_eq!(visit(&gone.start(&[], &server), "127.0.0.2").as_deref(), Some("a"), "{name}");
    }
}

#[test]
fn programs_that_pen_runs_do_not_speak_for_it() {
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    let (script, found) = (scratch.join("check"), scratch.join("environment"));
    fs::write(&script, format!("#!/bin/sh\nenv >{0}.new; mv {0}.new {0}\n", found.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let manager = Manager::with_file(&scratch);
    let check = format!("check exec {}", script.display());
    let _pen = manager.start(&["-O", &check, "-O", "check_interval 1"], &server);
    wait_until("a check", || found.exists());
    let environment = fs::read_to_string(&found).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("NOTIFY_SOCKET"), "{environment}");
}
