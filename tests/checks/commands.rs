//! The commands: what they answer, what they refuse, what is written, and what survives HUP.

use std::fs;

use rustix::process::Signal;

use super::{FAST, facts, put_script, start, state, wait_down, wait_state};
use crate::harness::{Backend, Launch, Scratch, free_port, run, wait_until};

#[test]
fn settings_are_shown_set_and_taken_back() {
    let a = Backend::named("a");
    let (_pen, control) = start(&[], &[&a]);
    for (line, answer) in [
        ("check", "off\n"),
        ("check_interval", "10\n"),
        ("check_timeout", "3\n"),
        ("check_rise", "2\n"),
        ("check_fall", "3\n"),
        ("check_port", "off\n"),
        ("check_on_down", "keep\n"),
        ("slow_start", "0\n"),
        ("observe", "0\n"),
        ("notify", ""),
        (
            "check http /health status 200 host www.test body \"all is well\"",
            "http /health status 200 host www.test body \"all is well\"\n",
        ),
        ("check   http   status 200-399", "http\n"),
        ("check", "http\n"),
        ("no check", "off\n"),
        ("check_port 9", "9\n"),
        ("no check_port", "off\n"),
        ("check_on_down close", "close\n"),
        ("slow_start 30", "30\n"),
        ("observe 5", "5\n"),
        ("no notify", ""),
        ("check_first", ""),
    ] {
        assert_eq!(control.say(line), answer, "{line}");
    }
    let help = control.say("help");
    for word in ["check", "check_first", "check_interval", "notify", "observe", "slow_start", "watch"] {
        assert!(help.lines().any(|line| line.trim().trim_start_matches("[no] ").starts_with(word)), "{word}: {help}");
    }
}

#[test]
fn bad_values_are_refused_and_change_nothing() {
    // Reported of ldirectord: a check of an unknown type is silently another one.
    let a = Backend::named("a");
    let (_pen, control) = start(&["check tcp", "check_interval 60"], &[&a]);
    let before = control.configuration();
    for (line, error) in [
        (
            "check ping",
            "check: unknown check \"ping\"; there are: banner, dns, exec, expect, file, http, https, tcp, tls, udp\n",
        ),
        (
            "check http status 99",
            "check: http: status: \"99\" is neither a status of three digits nor a range such as 200-399\n",
        ),
        (
            "check http health",
            "check: http: \"health\" is neither a path (/...), nor a URL (http://...), nor one of: status, host, body\n",
        ),
        ("check tcp 80", "check: tcp: nothing is expected from \"80\" on\n"),
        ("check expect \"EHLO", "check: expect: a closing quote is missing\n"),
        ("check exec sleep", "check: exec: \"sleep\" is not the full path of a program\n"),
        ("check_interval 0", "check_interval: \"0\" is not a number from 1 to 31536000\n"),
        ("check_timeout x", "check_timeout: \"x\" is not a number from 1 to 31536000\n"),
        ("check_rise 0", "check_rise: \"0\" is not a number from 1 to 1000\n"),
        ("check_fall 1001", "check_fall: \"1001\" is not a number from 1 to 1000\n"),
        ("check_port 0", "check_port: \"0\" is not a number from 1 to 65535\n"),
        ("check_on_down wait", "check_on_down: \"wait\" is unknown; there are: keep, close\n"),
        ("slow_start -1", "slow_start: \"-1\" is not a number from 0 to 31536000\n"),
        ("observe -1", "observe: \"-1\" is not a number from 0 to 1000\n"),
        ("notify true", "notify: \"true\" is not the full path of a program\n"),
        ("server 0 check", "\"server 0 check\": a check is missing\n"),
        (
            "server 0 check ping",
            "server 0 check: unknown check \"ping\"; there are: banner, dns, exec, expect, file, http, https, tcp, tls, udp\n",
        ),
        ("server 0 check_interval 0", "server 0 check_interval: \"0\" is not a number from 1 to 31536000\n"),
        ("server 0 check_rise none", "server 0 check_rise: \"none\" is not a number from 1 to 1000\n"),
        ("server 0 check_port 65536", "server 0 check_port: \"65536\" is not a number from 1 to 65535\n"),
        ("watch xml", "\"xml\" is not json\n"),
    ] {
        assert_eq!(control.say(line), error, "{line}");
    }
    assert_eq!(control.configuration(), before);
}

#[test]
fn a_bad_line_in_the_file_is_an_error_with_its_place_and_check_finds_it() {
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let (name, listener) = (file.display().to_string(), format!("127.0.0.1:{}", free_port()));
    fs::write(&file, "check tcp\nserver 0 address 127.0.0.1 port 9 check ping\n").unwrap();
    for more in [&["--check"][..], &[]] {
        let (status, pen) = run(&[&["-f", "-F", &name], more, &[&listener]].concat());
        assert!(!status.success());
        let error = format!("{name}:2: server 0 check: unknown check \"ping\"; there are: ");
        assert!(pen.stderr().contains(&error), "{}", pen.stderr());
    }
    fs::write(&file, "check http /\nserver 0 address 127.0.0.1 port 9 check expect \"a \\\"b\\\"\\r\\n\" c\n").unwrap();
    let (status, pen) = run(&["--check", "-F", &name, &listener]);
    assert!(status.success(), "{}", pen.stderr());
}

#[test]
fn a_program_that_cannot_be_run_is_told_at_start_and_an_error_for_check() {
    let listener = format!("127.0.0.1:{}", free_port());
    for line in ["check exec /no/such/program", "notify /no/such/program", "notify /"] {
        let (status, pen) = run(&["--check", "-O", line, &listener, "127.0.0.1:9"]);
        assert!(!status.success() && pen.stderr().contains("Can't run /"), "{line}: {}", pen.stderr());
        let pen = Launch::ours().options(&["-O", line]).servers(&[&"127.0.0.1:9"]).start();
        pen.wait_for_line("Can't run /");
    }
}

#[test]
fn all_of_it_is_written_and_read_again() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let file = scratch.join("pen.conf");
    let lines = [
        "server 0 check_interval 7 check_timeout 6 check_rise 5 check_fall 4 check_port 99 check expect \"EHLO \\\"x\\\"\\r\\n\" \"250 \\x00#\\\\\"",
        "server 1 address 127.0.0.1 port 9 check off",
        "server 2 address 127.0.0.1 port 9 check udp \"0x61\" 0x62 ",
        "check http /a?b=c body \"a \\\"quoted\\\" # text\"",
        "check_interval 20",
        "check_timeout 2",
        "check_rise 9",
        "check_fall 8",
        "check_port 7",
        "check_first",
        "check_on_down close",
        "slow_start 6",
        "observe 5",
    ];
    let (_pen, control) = start(&["notify /bin/true"], &[&a]);
    for line in lines {
        let reply = control.say(line);
        assert!(reply.is_empty() || line.ends_with(reply.trim()), "{line}: {reply}");
    }
    assert_eq!(control.say(&format!("write {}", file.display())), "");
    let written = control.configuration();
    for word in
        ["check_interval 7 ", "check_fall 4 ", "check off\n", "check_first\n", "slow_start 6\n", "notify /bin/true\n"]
    {
        assert!(written.contains(word), "{word}: {written}");
    }
    let again = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    assert_eq!(again.control().configuration(), written);
    again.control().tell(&["server 0 check_interval - check -"]);
    assert!(!again.control().configuration().contains("check_interval 7"));
}

/// Writes the file, and has it read again.
fn reload(pen: &crate::harness::Pen, file: &std::path::Path, lines: &str) {
    static MARK: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1000);
    let mark = MARK.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    fs::write(file, format!("{lines}\ntimeout {mark}\n")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the reload", || pen.control().say("timeout") == format!("{mark}\n"));
}

#[test]
fn what_is_known_outlives_hup_for_servers_that_stay_and_no_others() {
    // Reported of keepalived and haproxy: after a reload a failed server counts as up until the next check, or one that is well as down.
    let (a, b, c) = (Backend::named("a"), Backend::named("b"), Backend::named("c"));
    let scratch = Scratch::new();
    let (file, broken) = (scratch.join("pen.conf"), scratch.join("broken"));
    fs::write(&broken, "").unwrap();
    let server = |number: usize, port: u16| format!("server {number} address 127.0.0.1 port {port}\n");
    let check = format!(
        "check_first\ncheck_interval 3600\ncheck_rise 1\ncheck_fall 1\ncheck file {} absent\n",
        broken.display()
    );
    fs::write(&file, format!("{}{}", server(0, a.port()), server(1, b.port()))).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    let control = pen.control();
    assert_eq!(state(&control, 0), "up");
    reload(&pen, &file, &format!("{check}{}{}", server(0, a.port()), server(1, b.port())));
    assert_eq!(
        (wait_down(&control, 0), wait_down(&control, 1)),
        (String::from("file: the file exists"), String::from("file: the file exists"))
    );
    // The next check is far away.
    let before = facts(&control, 0);
    fs::remove_file(&broken).unwrap();
    for max in 0..5 {
        reload(&pen, &file, &format!("{check}{} max {max}\n{}", server(0, a.port()).trim(), server(1, b.port())));
        let now = facts(&control, 0);
        assert_eq!(
            (&now["state"], &now["reason"], &now["failures"]),
            (&before["state"], &before["reason"], &before["failures"])
        );
    }
    assert_eq!(pen.stderr().matches(" -> down").count(), 2, "{}", pen.stderr());
    // Server 1 moves, server 0 stays, and so does the state of each.
    reload(&pen, &file, &format!("{check}{}{}", server(0, a.port()), server(1, c.port())));
    wait_state(&control, 1, "up");
    assert_eq!(state(&control, 0), "down");
    // Server 1 is gone, and comes back as a new one.
    reload(&pen, &file, &format!("no servers\n{check}{}", server(0, a.port())));
    assert_eq!(state(&control, 1), "empty");
    fs::write(&broken, "").unwrap();
    reload(&pen, &file, &format!("{check}{}{}", server(0, a.port()), server(1, b.port())));
    assert_eq!(wait_down(&control, 1), "file: the file exists");
}

#[test]
fn servers_that_are_in_service_do_not_wait_when_checks_begin() {
    let a = Backend::new("a", |visit| visit.read_all());
    let commands = ["check_first", "check_timeout 60"];
    let (_pen, control) = start(&commands, &[&a]);
    control.set("check banner");
    a.visit(0);
    assert_eq!(state(&control, 0), "up");
    // A new one waits.
    control.tell(&[&format!("server 1 address 127.0.0.1 port {}", a.port())]);
    assert_eq!(wait_down(&control, 1), "not checked yet");
}

#[test]
fn the_settings_of_one_server_take_the_place_of_those_for_all() {
    let (a, port) = (Backend::named("a"), Backend::named("port"));
    let mut commands = FAST.to_vec();
    commands.extend(["check banner a", "server 1 check tcp", "server 2 check off", "check_timeout 60"]);
    let theirs = format!("server 0 check_port {} check_timeout 1", port.port());
    commands.push(&theirs);
    let dead = Backend::down("dead");
    let (_pen, control) = start(&commands, &[&a, &dead, &dead]);
    assert_eq!(wait_down(&control, 0), "banner: banner \"port\" instead of \"a\"");
    assert_eq!((a.visits(), wait_down(&control, 1)), (0, String::from("tcp: connection refused")));
    assert_eq!((state(&control, 2), facts(&control, 2)["checked"].as_bool()), (String::from("up"), Some(false)));
    control.tell(&["server 0 check_port -"]);
    wait_state(&control, 0, "up");
    control.tell(&["server 0 check_fall 1000", "server 1 check_rise 1000"]);
    a.stop();
    dead.start();
    wait_until("failures", || facts(&control, 0)["failures"].as_u64() >= Some(2));
    wait_until("checks", || dead.visits() >= 2);
    assert_eq!((state(&control, 0), state(&control, 1)), (String::from("up"), String::from("down")));
    control.tell(&["server 0 check_fall -", "server 1 check_rise -"]);
    wait_down(&control, 0);
    wait_state(&control, 1, "up");
}

#[test]
fn a_check_that_is_changed_is_made_at_once() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let slow = put_script(scratch.path(), "slow", "sleep 60");
    let slow = format!("check exec {}", slow.display());
    let commands = [&slow, "check_interval 3600", "check_timeout 3600", "check_rise 1", "check_fall 1"];
    let (_pen, control) = start(&commands, &[&a]);
    control.tell(&["server 0 check file /no/such/file"]);
    assert_eq!(wait_down(&control, 0), "file: the file does not exist");
}

#[test]
fn clients_of_the_control_port_cannot_have_programs_run() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let (_pen, control) = start(&["check tcp"], &[&a]);
    let file = scratch.join("more.conf");
    fs::write(&file, "notify /bin/true\n").unwrap();
    for line in ["check exec /bin/true", "server 0 check exec /bin/true", "notify /bin/true"] {
        let refusal = format!("{line}: programs can be set on the command line and in the file of -F only\n");
        assert_eq!(control.say(line), refusal);
    }
    assert!(control.say(&format!("include {}", file.display())).contains("programs can be set on the command line"));
    assert_eq!((control.say("check").as_str(), control.say("notify").as_str()), ("tcp\n", ""));
}
