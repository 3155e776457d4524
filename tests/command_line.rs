//! The command line: what is understood, and how it is told what is not.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::harness::{Backend, Client, Launch, Pen, Process, Program, free_port, run, visit};

/// Runs pen with arguments that are wrong, and returns the one line in which it says so.
#[track_caller]
fn complaint<S: AsRef<str>>(arguments: &[S]) -> String {
    let (status, pen) = run(arguments);
    assert_eq!(status.code(), Some(1), "{}", pen.command());
    assert_eq!(pen.stdout(), "", "{}", pen.command());
    let stderr = pen.stderr();
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{}: {stderr}", pen.command());
    lines[0].strip_prefix("pen: ").unwrap_or_else(|| panic!("who says {:?}?", lines[0])).to_string()
}

#[test]
fn help_goes_to_stdout_and_is_a_success() {
    for arguments in [vec![], vec!["--help"], vec!["-rf", "8080", "--help"]] {
        let (status, pen) = run(&arguments);
        assert!(status.success(), "{arguments:?}: {status}");
        assert!(pen.stdout().starts_with("usage: pen [options]"), "{arguments:?}");
        assert_eq!(pen.stderr(), "", "{arguments:?}");
    }
}

#[test]
fn the_usage_text_names_every_option() {
    let (_, pen) = run(&["--help"]);
    for option in "a B b c d e f h m N O q r s T t W x".split(' ') {
        assert!(pen.stdout().contains(&format!("\n  -{option} ")), "-{option} is missing");
    }
}

#[test]
fn version_goes_to_stdout_and_is_a_success() {
    let (status, pen) = run(&["--version"]);
    assert!(status.success());
    assert_eq!(pen.stdout(), concat!("pen ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(pen.stderr(), "");
}

#[test]
fn a_closed_stdout_is_not_a_crash() {
    let (gone, stdout) = UnixStream::pair().unwrap();
    drop(gone);
    let mut command = Command::new(Program::Ours.path());
    command.arg("--help").stdin(Stdio::null()).stdout(OwnedFd::from(stdout)).stderr(Stdio::piped());
    let mut pen = Process::start_with_its_own_output(command);
    let status = pen.wait_exit();
    assert!(status.code().is_some_and(|code| code <= 1), "{status}");
    assert_eq!(pen.stderr(), "");
}

#[test]
fn a_wrong_command_line_is_refused_by_the_name_of_what_is_wrong() {
    let port = free_port().to_string();
    let port = port.as_str();
    let server = "127.0.0.1:9";
    for (arguments, culprit) in [
        (vec!["-f", "-Y", port, server], "-- 'Y'"),
        (vec!["-frY", port, server], "-- 'Y'"),
        (vec!["-f", "--frobnicate", port, server], "'--frobnicate'"),
        (vec!["-f", port, server, "-t"], "-- 't'"),
        (vec!["-f", "-t", "abc", port, server], "-t: \"abc\""),
        (vec!["-f", "-tabc", port, server], "-t: \"abc\""),
        (vec!["-f", "-t", "0", port, server], "-t: \"0\""),
        (vec!["-f", "-t", "", port, server], "-t"),
        (vec!["-f", "-t", "3s", port, server], "-t: \"3s\""),
        (vec!["-f", "-x", "-5", port, server], "-x: \"-5\""),
        (vec!["-f", "-x-5", port, server], "-x: \"-5\""),
        (vec!["-f", "-x", "0", port, server], "-x: \"0\""),
        (vec!["-f", "-x", "99999999999999999999", port, server], "-x: \"99999999999999999999\""),
        (vec!["-f", "-c", "0", port, server], "-c: \"0\""),
        (vec!["-f", "-c", "1e3", port, server], "-c: \"1e3\""),
        (vec!["-f", "-b", "-1", port, server], "-b: \"-1\""),
        (vec!["-f", "-T", "x", port, server], "-T: \"x\""),
        (vec!["-f", "-q", "x", port, server], "-q: \"x\""),
        (vec!["-f", "-m", "x", port, server], "-m: \"x\""),
        (vec!["-f", "-e", "127.0.0.1:0", port, server], "\"127.0.0.1:0\""),
        (vec!["-f", "-B", "127.0.0.1:70000", port, server], "\"127.0.0.1:70000\""),
        (vec!["-f", "-O", "frob", port, server], "-O unknown command \"frob\""),
        (vec!["-f", "-o", "no frob", port, server], "-O unknown command \"no frob\""),
        (vec!["-f", "-O", "timeout 0", port, server], "timeout: \"0\""),
        (vec!["-f", "-O", "acl 10 permit 127.0.0.1", port, server], "acl: \"10\""),
        (vec!["-f", "-O", "client_acl 10", port, server], "client_acl: \"10\""),
        (vec!["-f", "-O", "source nonsense", port, server], "source: \"nonsense\""),
        (vec!["-f", "-O", "tcp_fastclose sideways", port, server], "tcp_fastclose: \"sideways\""),
        (vec!["-f", "-O", "server x port 1", port, server], "server: \"x\""),
        (vec!["-f", "-p", "/x/a", "-l", "/x/a", port, server], "-p and -l name the same file \"/x/a\""),
        (vec!["-f", "-K", "/x/a", "-l", "/x/./a", port, server], "-K and -l name the same file \"/x/./a\""),
        (vec!["-f", "-l", "/x/a", "-w", "/x/./a", port, server], "-l and -w name the same file \"/x/./a\""),
        (vec!["-f", "-F", "/x/a", "-p", "/x//a", port, server], "-F and -p name the same file \"/x//a\""),
        (vec!["-f", "0", server], "port \"0\""),
        (vec!["-f", "99999", server], "port \"99999\""),
        (vec!["-f", "127.0.0.1:0", server], "port \"0\""),
        (vec!["-f", "", server], "names no port"),
        (vec!["-f", "[::1]", server], "\"[::1]\""),
        (vec!["-f", "no-such-service", server], "unknown or invalid address [no-such-service]"),
        (vec!["-f", "no-such-host.invalid:80", server], "unknown or invalid address [no-such-host.invalid]"),
        (vec!["-f", port, "127.0.0.1:0"], "\"127.0.0.1:0\""),
        (vec!["-f", port, "127.0.0.1:99999"], "\"127.0.0.1:99999\""),
        (vec!["-f", port, "127.0.0.1:80:many"], "soft limit: \"many\""),
        (vec!["-f", port, "127.0.0.1:80:1:x"], "hard limit: \"x\""),
        (vec!["-f", port, "127.0.0.1:80:1:1:x"], "weight: \"x\""),
        (vec!["-f", port, "127.0.0.1:80:1:1:1:x"], "prio: \"x\""),
        (vec!["-f", port, "127.0.0.1:80:1:1:1:1:1"], "\"127.0.0.1:80:1:1:1:1:1\""),
        (vec!["-f", port, ":80"], "\":80\""),
        (vec!["-f", port, "[::1:80"], "\"[::1:80\""),
        (vec!["-f", port, "no-such-host.invalid:80"], "unknown or invalid address [no-such-host.invalid]"),
        (vec!["-f", port, "127.0.0.1:no-such-service"], "unknown or invalid address [no-such-service]"),
        (vec!["-f", port], "no server"),
        (vec!["-f", port, "-O", "server 0 address 0.0.0.0 port 0"], "no server"),
        (vec!["-f"], "no listening port"),
    ] {
        let said = complaint(&arguments);
        assert!(said.contains(culprit), "{arguments:?}: {said}");
    }
}

#[test]
fn an_argument_that_is_no_text_is_refused() {
    let mut command = Command::new(Program::Ours.path());
    command.arg("-f").arg(OsStr::from_bytes(b"80\xff80"));
    let mut pen = Process::start(command);
    assert_eq!(pen.wait_exit().code(), Some(1));
    assert!(pen.stderr().contains("80\\xFF80"), "{}", pen.stderr());
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_starts() {
    let owner = Backend::named("owner");
    let said = complaint(&["-f", &owner.to_string(), "127.0.0.1:9"]);
    assert_eq!(said, format!("can't bind local address {owner}: Address already in use"));
    assert_eq!(owner.visits(), 0);
}

#[test]
fn an_address_of_another_host_cannot_be_listened_on() {
    let said = complaint(&["-f", "192.0.2.1:8080", "127.0.0.1:9"]);
    assert!(said.starts_with("can't bind local address 192.0.2.1:8080: "), "{said}");
}

#[test]
fn every_option_is_taken_alone_attached_and_as_a_word_of_its_own() {
    let server = Backend::named("a");
    let other = Backend::named("b");
    let other = other.to_string();
    let together = [
        "-a",
        "-d",
        "-h",
        "-N",
        "-r",
        "-s",
        "-rWd",
        "-dd",
        "-hr",
        "-b1",
        "-c100",
        "-q60",
        "-t2",
        "-T5",
        "-x20",
        "-m5",
        "-Odebug 1",
        "-oascii",
        "-b0",
        "-T0",
    ];
    for option in together {
        let pen = Pen::start(&[option], &[&format!("{server}:::1")]);
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"), "{option}");
    }
    for (option, value) in [
        ("-b", "1"),
        ("-c", "100"),
        ("-e", &other),
        ("-B", &other),
        ("-q", "60"),
        ("-t", "2"),
        ("-T", "5"),
        ("-x", "20"),
        ("-m", "5"),
        ("-O", "no ascii"),
        ("-o", "idle_timeout 60"),
    ] {
        let pen = Pen::start(&[option, value], &[&server]);
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"), "{option} {value}");
        assert_eq!(pen.stderr(), "", "{option} {value}");
    }
}

#[test]
fn every_command_that_sets_something_is_taken_with_capital_o() {
    let server = Backend::named("a");
    for command in [
        "abuse 127.0.0.1:9",
        "no abuse",
        "acl 1 permit 127.0.0.0 255.0.0.0",
        "acl 1 deny 10.0.0.0/8",
        "acl 9 deny 2001:db8::/32",
        "no acl 1",
        "blacklist 1",
        "client_acl 0",
        "clients_max 10",
        "conn_max 10",
        "debug 1",
        "no dummy",
        "emergency 127.0.0.1:9",
        "no emergency",
        "hash",
        "no hash",
        "half_closed_timeout 10",
        "idle_timeout 10",
        "keepalive",
        "no keepalive",
        "prio",
        "no prio",
        "roundrobin",
        "no roundrobin",
        "server 0 weight 1",
        "server 1 address 0.0.0.0 port 0",
        "source 127.0.0.1",
        "no source",
        "stubborn",
        "no stubborn",
        "tcp_fastclose off",
        "tcp_nodelay",
        "no tcp_nodelay",
        "timeout 3",
        "tracking 10",
        "no tracking",
        "no transparent",
        "no weight",
    ] {
        let pen = Pen::start(&["-O", command], &[&server]);
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"), "{command}");
    }
}

#[test]
fn options_may_stand_among_the_operands_and_end_at_two_dashes() {
    let server = Backend::named("a");
    let pen = Launch::ours().servers(&[&"-d", &server, &"-x7", &"--", &server]).start();
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    pen.wait_for_line(": round robin");
    let statistics = pen.statistics();
    assert!(statistics.contains("Max number of connections: 7\n"), "{statistics}");
    assert!(statistics.contains(" 2 servers, "), "{statistics}");

    let said = complaint(&["-f", &free_port().to_string(), "--", "-x"]);
    assert!(said.contains("unknown or invalid address [-x]"), "{said}");
}

#[test]
fn of_an_option_that_is_given_twice_the_last_one_counts() {
    let server = Backend::named("a");
    let pen = Pen::start(&["-x5", "-c", "10", "-x", "6", "-c11"], &[&server]);
    let statistics = pen.statistics();
    assert!(statistics.contains("Max number of connections: 6\n"), "{statistics}");
    assert!(statistics.contains("Max number of clients: 11\n"), "{statistics}");
}

#[test]
fn the_defaults_are_those_of_pen() {
    let server = Backend::named("a");
    let pen = Pen::start(&[], &[&server]);
    let statistics = pen.statistics();
    assert!(statistics.contains("Max number of connections: 500\n"), "{statistics}");
    assert!(statistics.contains("Max number of clients: 2048\n"), "{statistics}");
}

#[test]
fn obsolete_options_are_taken_with_a_line_each() {
    let server = Backend::named("a");
    let pen = Pen::start(&["-D", "-nP", "-Q", "-S", "5"], &[&server]);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    for option in ["-D", "-n", "-P", "-Q", "-S"] {
        pen.wait_for_line(&format!("option {option} is obsolete"));
    }
    assert_eq!(pen.stderr().lines().count(), 5, "{}", pen.stderr());
}

#[test]
fn a_service_of_windows_cannot_be_installed() {
    let (status, pen) = run(&["-i", "pen", "-f", "80", "127.0.0.1:1"]);
    assert_eq!((status.code(), pen.stderr().lines().next()), (Some(1), Some("pen: -i: Windows only")));
}

#[test]
fn numbers_below_the_useful_are_raised_with_a_line() {
    let server = Backend::named("a");
    let pen = Pen::start(&["-q", "10", "-m", "0"], &[&server]);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    pen.wait_for_line("listen_queue bumped to 50");
    pen.wait_for_line("multi_accept bumped to 1");
}

#[test]
fn selection_by_weight_without_any_weight_is_warned_of() {
    let server = Backend::named("a");
    let pen = Pen::start(&["-W"], &[&server]);
    let line = pen.wait_for_line("weight");
    assert!(line.contains("every server has weight 0"), "{line}");
    assert!(Client::connect(&pen).line().is_none());
}
