//! lvsmon as a process: its lines, its signals, its errors.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Lvsmon, command, first};
use crate::harness::{Backend, Daemon, Hosts, Process, Scratch, free_port, greet, is_root, skip, wait_for, wait_until};

#[test]
fn changes_are_told_with_their_reason_and_the_number_of_failures() {
    let server = Backend::named("a");
    let port = server.port();
    let lvsmon = Lvsmon::start(&format!("service a 127.0.0.1:{port}\ncheck_rise 1\nservice b 127.0.0.1:{port}\n"));
    assert_eq!(lvsmon.change("a", 0), first("up", "tcp: connected"));
    assert_eq!(lvsmon.change("b", 0), first("up", "tcp: connected"));
    server.stop();
    assert_eq!(lvsmon.change("a", 1), "up -> down: tcp: connection refused, 3 failures");
    assert_eq!(lvsmon.change("b", 1), "up -> down: tcp: connection refused, 3 failures");
    server.start();
    let back = lvsmon.change("a", 2);
    assert!(back.starts_with("down -> up: tcp: connected, after ") && back.ends_with(" failures"), "{back}");
    let line = lvsmon.process.stdout().lines().next().unwrap().to_string();
    let stamp = line.split(' ').next().unwrap();
    assert!(stamp.len() == "2026-11-25T20:33:32+01:00".len() && stamp.as_bytes()[10] == b'T', "{line}");
    // Nothing is told while nothing changes.
    assert_eq!(lvsmon.changes("a").len(), 3);
}

#[test]
fn a_service_that_flaps_is_told_of_and_right_in_the_end() {
    let server = Backend::down("a");
    let lines = format!("check_fall 1\ncheck_rise 1\nservice a 127.0.0.1:{}\n", server.port());
    let lvsmon = Lvsmon::with(&lines, &["--interval", "0.1"]);
    for round in 0..10 {
        lvsmon.change("a", 2 * round);
        server.start();
        lvsmon.change("a", 2 * round + 1);
        server.stop();
    }
    lvsmon.change("a", 20);
    let changes = lvsmon.changes("a");
    assert!(
        changes[1..].chunks(2).all(|pair| pair[0].starts_with("down -> up: ") && pair[1].starts_with("up -> down: "))
    );
}

#[test]
fn the_file_is_read_again_whole_or_not_at_all_and_states_stay() {
    let (a, b) = (Backend::down("a"), Backend::named("b"));
    let line = |name: &str, server: &Backend| format!("service {name} 127.0.0.1:{}\n", server.port());
    let lvsmon = Lvsmon::start(&line("a", &a));
    assert_eq!(lvsmon.change("a", 0), first("down", "tcp: connection refused"));
    lvsmon.reload(&(line("a", &a) + &line("b", &b)));
    assert_eq!(lvsmon.change("b", 0), first("up", "tcp: connected"));
    // One bad line, and nothing changes.
    lvsmon.reload(&(line("c", &b) + "frob\n"));
    let error = lvsmon.process.wait_for_line("lvsmon.conf:2: unknown word \"frob\"");
    assert!(error.contains("; there are: service, check, "), "{error}");
    a.start();
    assert!(lvsmon.change("a", 1).starts_with("down -> up: "));
    assert_eq!((lvsmon.changes("a").len(), lvsmon.changes("b").len(), lvsmon.changes("c").len()), (2, 1, 0));
    // What is gone is not told of any more, and what was down stays so.
    b.stop();
    lvsmon.change("b", 1);
    lvsmon.reload(&(line("b", &b) + "check http\n" + &line("d", &a)));
    lvsmon.change("d", 0);
    assert_eq!(lvsmon.changes("b").len(), 2);
}

#[test]
fn states_are_told_at_usr1_and_as_json() {
    let server = Backend::down("a");
    let (lines, options) = (format!("service a 127.0.0.1:{} http\n", server.port()), ["--json", "--exec", "/bin/true"]);
    let lvsmon = Lvsmon::with(&lines, &options);
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let line = |number: usize| wait_for("a line", || Some(parse(lvsmon.process.stdout().lines().nth(number)?)));
    let change = line(0);
    assert_eq!((&change["service"], &change["from"], &change["to"]), (&"a".into(), &"unknown".into(), &"down".into()));
    assert_eq!((&change["check"], &change["reason"]), (&"http".into(), &"connection refused".into()));
    lvsmon.process.signal(Signal::USR1);
    let state = line(1);
    assert_eq!((&state["state"], &state["address"]), (&"down".into(), &format!("127.0.0.1:{}", server.port()).into()));
    assert!(state["failures"].as_u64().unwrap() >= 1);
}

/// Runs it to its end: its exit status and what it has printed.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn once_each_service_is_checked_and_the_exit_status_tells_the_result() {
    let scratch = Scratch::new();
    let file = scratch.join("lvsmon.conf");
    let (up, down) = (Backend::named("a"), Backend::down("b"));
    let lines = format!("service a 127.0.0.1:{}\n", up.port());
    fs::write(&file, &lines).unwrap();
    let (status, stdout, _) = run(command(&file).arg("--once"));
    assert!(status == 0 && stdout.contains(") is up since ") && stdout.ends_with(": tcp: connected\n"), "{stdout}");
    fs::write(&file, lines + &format!("service b 127.0.0.1:{}\nservice c x:1 exec /bin/false\n", down.port())).unwrap();
    let (status, stdout, _) = run(command(&file).arg("--once"));
    let ends: Vec<_> = stdout.lines().map(|line| line.split_once("+").unwrap().1.split_once(": ").unwrap().1).collect();
    assert_eq!(
        (status, ends),
        (2, vec!["tcp: connected", "tcp: connection refused, 1 failure", "exec: exit status 1, 1 failure"])
    );
    fs::write(&file, "").unwrap();
    assert_eq!(run(command(&file).arg("--once")), (0, String::new(), String::new()));
}

#[test]
fn an_error_names_the_line_and_comes_with_a_pause() {
    let scratch = Scratch::new();
    let file = scratch.join("lvsmon.conf");
    let name = file.display();
    fs::write(&file, "frob\nservice a b:c:d\nservice a 127.0.0.1:1 ping\n").unwrap();
    let start = Instant::now();
    let (status, stdout, stderr) = run(&mut command(&file));
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert_eq!((status, stdout.as_str()), (1, ""));
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("lvsmon: {name}:1: unknown word \"frob\"; there are: ")), "{stderr}");
    assert_eq!(lines[1], format!("lvsmon: {name}:2: service a: \"b:c:d\" is not host:port"));
    assert!(
        lines[2].starts_with(&format!("lvsmon: {name}:3: service a: unknown check \"ping\"; there are: ")),
        "{stderr}"
    );
    let missing = scratch.join("missing");
    fs::write(&file, "service a 127.0.0.1:1 exec /no/such/program\n").unwrap();
    for (mut command, error) in [
        (command(&missing), format!("Can't read file {}: No such file or directory", missing.display())),
        (command(&file), String::from("service a: Can't run /no/such/program: No such file or directory")),
        (Command::new(env!("CARGO_BIN_EXE_lvsmon")), String::from("--file is missing")),
    ] {
        let (status, _, stderr) = run(command.args(["--foreground", "--interval", "1"]));
        assert_eq!((status, stderr), (1, format!("lvsmon: {error}\n")));
    }
    for (options, error) in [
        (&["--exec", "x"][..], "--exec: \"x\" is not the full path of a program"),
        (&["--interval", "0"], "--interval: \"0\" is not a number of seconds from 0.1 to 31536000"),
        (&["more"], "nothing is expected from \"more\" on"),
        (&["--exec", "/no/such"], "Can't run /no/such: No such file or directory"),
    ] {
        fs::write(&file, "").unwrap();
        let (status, _, stderr) = run(command(&file).arg("--foreground").args(options));
        assert!(status == 1 && stderr.contains(error), "{stderr}");
    }
}

#[test]
fn it_ends_when_nobody_reads_its_lines() {
    let scratch = Scratch::new();
    let file = scratch.join("lvsmon.conf");
    fs::write(&file, "service a x:1 file /\n").unwrap();
    let mut child = command(&file).arg("--foreground").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = wait_for("its end", || child.try_wait().unwrap());
    assert_eq!(output.code(), Some(1));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    assert!(text.contains("standard output: Broken pipe"), "{text}");
}

#[test]
fn in_the_background_it_has_a_pid_file_a_jail_and_another_user() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Backend::named("a");
    let (file, pid, told) = (scratch.join("lvsmon.conf"), scratch.join("pid"), scratch.join("told"));
    fs::write(&file, format!("service a 127.0.0.1:{}\n", server.port())).unwrap();
    // In the jail the file has the same name.
    let inside = format!("{}{}", scratch.path().display(), scratch.path().display());
    fs::create_dir_all(&inside).unwrap();
    symlink("/lvsmon.conf", format!("{inside}/lvsmon.conf")).unwrap();
    fs::write(&told, "").unwrap();
    let mut command = crate::harness::without_syslog(env!("CARGO_BIN_EXE_lvsmon"));
    command.arg("--file").arg(&file).args(["--user", "nobody", "--pid-file", "/pid", "--interval", "0.1"]);
    command.arg("--chroot").arg(scratch.path());
    let mut process = Process::start(command);
    assert!(process.wait_exit().success(), "{}", process.stderr());
    let daemon = Daemon::of(&pid);
    assert_eq!(daemon.status("Uid"), "65534 65534 65534 65534");
    assert_eq!(daemon.status("CapEff"), "0000000000000000");
    assert_eq!(fs::read_link(daemon.proc("root")).unwrap(), scratch.path());
    wait_until("a check", || server.visits() > 1);
    // It reads the file again there.
    let other = Backend::named("b");
    fs::write(&file, format!("service b 127.0.0.1:{}\n", other.port())).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("a check", || other.visits() > 1);
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert!(!pid.exists() || fs::read_to_string(&pid).unwrap().is_empty());
}

#[test]
fn a_name_that_no_longer_resolves_keeps_its_addresses() {
    let Some(hosts) = Hosts::new("127.0.0.1 www.test\n") else { return };
    let scratch = Scratch::new();
    let file = scratch.join("lvsmon.conf");
    let server = Backend::new("a", greet);
    let lines = format!("resolve 1\nservice a www.test:{}\n", server.port());
    fs::write(&file, &lines).unwrap();
    let words = [env!("CARGO_BIN_EXE_lvsmon"), "--foreground", "--interval", "0.1", "--file", file.to_str().unwrap()];
    let lvsmon = Lvsmon { process: Process::start(hosts.command(&words)), scratch };
    assert_eq!(lvsmon.change("a", 0), first("up", "tcp: connected"));
    hosts.rewrite("");
    lvsmon.process.wait_for_line(": www.test: cannot be looked up: ");
    let visits = server.visits();
    wait_until("more checks", || server.visits() > visits + 3);
    assert_eq!(lvsmon.changes("a").len(), 1);
    // Another address.
    hosts.rewrite("127.0.0.2 www.test\n");
    assert!(lvsmon.change("a", 1).starts_with("up -> down: tcp: connection refused"));
}

#[test]
fn it_checks_from_the_address_and_with_the_header_that_the_file_says() {
    let server = Backend::new("a", |visit| visit.read_all());
    let port = server.port();
    let lvsmon = Lvsmon::start(&format!(
        "source 127.0.0.9\nsend_proxy v1\nservice a 127.0.0.1:{port} banner\ncheck_port {port}\nservice b 127.0.0.1:{}\n",
        free_port()
    ));
    server.visit(0).wait_received("PROXY UNKNOWN\r\n");
    assert_eq!(lvsmon.change("b", 0), first("up", "tcp: connected"));
}

/// How many sockets it has open.
fn sockets(lvsmon: &Lvsmon) -> usize {
    let links = fs::read_dir(format!("/proc/{}/fd", lvsmon.process.pid())).unwrap();
    let links = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn many_services_are_right_after_many_reloads_and_nothing_piles_up() {
    let (up, down, hung) = (Backend::named("a"), Backend::down("b"), Backend::new("c", crate::harness::hold));
    // Those that hang take longer than the interval.
    let file = |round: usize| {
        let line = |number: usize| {
            let (server, check) = [(&up, "tcp"), (&down, "tcp"), (&hung, "banner")][number % 3];
            format!("service s{number} 127.0.0.1:{} {check}\n", server.port())
        };
        // Their order changes, and so do those that are under way.
        let lines = (0..200).map(|number| line((number + 67 * round) % 200));
        format!("check_timeout 0.{}\ncheck_fall 1\n{}", 3 + round % 2, lines.collect::<String>())
    };
    let lvsmon = Lvsmon::start(&file(0));
    (1..20).for_each(|round| lvsmon.reload(&file(round)));
    let expected = ["up: tcp: connected", "down: tcp: connection refused", "down: banner: the answer timed out"];
    for number in 0..200 {
        let change = lvsmon.change(&format!("s{number}"), 0);
        assert!(change.starts_with(&format!("unknown -> {}", expected[number % 3])), "s{number}: {change}");
        assert_eq!(lvsmon.changes(&format!("s{number}")).len(), 1, "s{number}");
    }
    // At most one check of each service that hangs, and a few others of lvsmon itself.
    assert!(sockets(&lvsmon) < 100, "{}", sockets(&lvsmon));
    lvsmon.reload(&format!("service a 127.0.0.1:{}\n", up.port()));
    wait_until("the end of all checks", || sockets(&lvsmon) < 5);
}
