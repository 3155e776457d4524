//! penctl: ours and Debian's, each with either pen.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::harness::{
    Backend, Control, Ctl, Launch, Process, Program, Scratch, Visit, free_port, program, skip, without_state,
};

const OURS: Ctl = Ctl(Program::Ours);

/// Runs our penctl in a way that is wrong, and returns the one line in which it says so.
#[track_caller]
fn complaint(arguments: &[&str]) -> String {
    let (status, penctl) = OURS.run(arguments);
    assert_eq!(status.code(), Some(1), "{}", penctl.command());
    assert_eq!(penctl.stdout(), "", "{}", penctl.command());
    let stderr = penctl.stderr();
    assert_eq!(stderr.lines().count(), 1, "{}: {stderr}", penctl.command());
    stderr.trim_end().strip_prefix("penctl: ").unwrap_or_else(|| panic!("who says {stderr:?}?")).to_string()
}

#[test]
fn either_penctl_works_with_either_pen() {
    if !Program::Theirs.is_installed() || program("penctl").is_none() {
        skip("Debian's package \"pen\" is not installed; the other tests have ours with ours");
    }
    let backend = Backend::named("a");
    for program in [Program::Ours, Program::Theirs] {
        for ctl in [Program::Ours, Program::Theirs] {
            if !program.is_installed() || !Program::Theirs.is_installed() && ctl == Program::Theirs {
                continue;
            }
            let pen = Launch::of(program).control().servers(&[&backend]).start();
            let control = pen.control();
            let say_refused = |refused: bool, words: &[&str]| {
                let arguments = [&[control.text()], words].concat();
                let (status, penctl) = Ctl(ctl).run(&arguments);
                // pen 0.34.1 does not tell, and its penctl does not ask.
                let code = if refused && [program, ctl] == [Program::Ours; 2] { 2 } else { 0 };
                assert_eq!(status.code(), Some(code), "{program:?} {ctl:?} {words:?}: {}", penctl.stderr());
                assert_eq!(penctl.stderr(), "");
                penctl.stdout()
            };
            let say = |words: &[&str]| say_refused(false, words);
            assert_eq!(say(&["pid"]), format!("{}\n", pen.pid()), "{program:?} {ctl:?}");
            assert_eq!(say(&["blacklist", "12"]), "12\n");
            assert_eq!(say(&["hash"]), "");
            assert_eq!(say(&["mode"]), "hash no roundrobin no stubborn no weight no prio\n");
            assert_eq!(say_refused(true, &["frob"]), "do_cmd: ignoring command starting with 'frob'\n");
            let line =
                format!("0 addr 127.0.0.1 port {} conn 0 max 5 hard 0 weight 0 prio 0 sx 0 rx 0\n", backend.port());
            assert_eq!(say(&["server", "0", "max", "5"]), "");
            assert_eq!(without_state(&say(&["servers"])), line);
        }
    }
}

#[test]
fn a_long_answer_arrives_whole_at_either() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    for number in 1..1500 {
        control.tell(&[&format!("server {number} address 127.0.0.1 port {number}")]);
    }
    for ctl in [Program::Ours, Program::Theirs].into_iter().filter(|ctl| ctl.is_installed()) {
        let (_, penctl) = Ctl(ctl).run(&[control.text(), "servers"]);
        assert_eq!(penctl.stdout().lines().count(), 1500, "{ctl:?}");
        assert_eq!(without_state(&penctl.stdout()), control.servers());
    }
}

#[test]
fn nobody_there_is_one_line_and_a_failure() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for command in [&["servers"][..], &["server", "0", "max", "1"]] {
        let said = complaint(&[&[nobody.as_str()], command].concat());
        assert!(said.starts_with("error connecting to server: "), "{said}");
    }
    assert!(complaint(&["/no/such/socket", "pid"]).starts_with("error connecting to server: "));
    let (status, out, err) = OURS.run_with_input(&[&nobody, "-"], "pid\nservers\n");
    assert_eq!((status.code(), out.as_str(), err.lines().count()), (Some(1), "", 1));
}

#[test]
fn an_address_that_is_none_is_named() {
    assert!(complaint(&["localhost", "servers"]).starts_with("no port given"));
    for (address, words) in [
        ("127.0.0.1:99999", "99999"),
        ("127.0.0.1:no-such-service", "no-such-service"),
        ("no-such-host.invalid:80", "unknown or invalid address [no-such-host.invalid]"),
        ("[::1:80", "[::1:80"),
    ] {
        let said = complaint(&[address, "servers"]);
        assert!(said.contains(words), "{said}");
    }
    assert!(complaint(&["--frobnicate"]).contains("--frobnicate"));
}

#[test]
fn ipv6_and_unix_sockets_are_addresses_too() {
    let backend = Backend::named("a");
    let scratch = Scratch::new();
    for address in [format!("[::1]:{}", free_port()), scratch.join("control").display().to_string()] {
        let pen = Launch::ours().control_at(&address).servers(&[&backend]).start();
        assert_eq!(pen.control().penctl(&["control"]), format!("{address}\n"));
    }
}

#[test]
fn every_address_of_a_host_is_tried() {
    let backend = Backend::named("a");
    // localhost is ::1 and 127.0.0.1; pen listens on one of them.
    for host in ["127.0.0.1", "[::1]"] {
        let port = free_port();
        let pen = Launch::ours().control_at(format!("{host}:{port}")).servers(&[&backend]).start();
        let control = Control::at(&format!("localhost:{port}"));
        if host == "127.0.0.1"
            || std::fs::read_to_string("/etc/hosts")
                .unwrap_or_default()
                .lines()
                .any(|line| line.starts_with("::1") && line.split_whitespace().any(|word| word == "localhost"))
        {
            assert_eq!(control.penctl(&["pid"]), format!("{}\n", pen.pid()), "{host}");
        }
    }
}

#[test]
fn without_a_command_lines_come_from_standard_input() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    let input = "blacklist 41\n\n# a comment\n  \nhash\nfrob\nblacklist\nmode";
    let expected = "41\ndo_cmd: ignoring command starting with 'frob'\n41\n\
                    hash no roundrobin no stubborn no weight no prio\n";
    for arguments in [&[control.text(), "-"][..], &[control.text()], &[control.text(), ""]] {
        let (status, out, err) = OURS.run_with_input(arguments, input);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {err}");
        assert_eq!((out.as_str(), err.as_str()), (expected, ""), "{arguments:?}");
    }
    let (status, out, _) = OURS.run_with_input(&[control.text(), "-"], "");
    assert!(status.success());
    assert_eq!(out, "");
}

#[test]
fn the_words_of_a_command_may_be_one_argument_or_many() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    assert_eq!(control.penctl(&["blacklist 51"]), "51\n");
    assert_eq!(control.penctl(&["blacklist", "52"]), "52\n");
    let (_, penctl) = OURS.run(&[control.text(), "help", "--version"]);
    assert_eq!(penctl.stdout(), "help: there is no command \"--version\"\n");
}

#[test]
fn help_and_version_need_no_pen() {
    for arguments in [&["--help"][..], &[]] {
        let (status, penctl) = OURS.run(arguments);
        assert!(status.success());
        assert!(penctl.stdout().starts_with("usage: penctl [options] host:port|/path/to/socket command...\n"));
        assert_eq!(penctl.stderr(), "");
    }
    let (status, penctl) = OURS.run(&["--version"]);
    assert!(status.success());
    assert_eq!(penctl.stdout(), concat!("penctl ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_closed_stdout_is_not_a_crash() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    for arguments in [vec!["--help"], vec![control.text(), "help"]] {
        let (gone, stdout) = UnixStream::pair().unwrap();
        drop(gone);
        let mut command = Command::new(OURS.path());
        command.args(&arguments).stdin(Stdio::null()).stdout(OwnedFd::from(stdout)).stderr(Stdio::piped());
        let mut penctl = Process::start_with_its_own_output(command);
        let status = penctl.wait_exit();
        assert!(status.code().is_some_and(|code| code <= 1), "{arguments:?}: {status}");
        assert_eq!(penctl.stderr(), "", "{arguments:?}");
    }
}

#[test]
fn a_pen_that_hangs_up_without_an_answer_is_no_failure_and_one_that_breaks_off_is() {
    let curt = Backend::new("curt", |visit| visit.read_all());
    assert_eq!(Control::at(&curt.to_string()).penctl(&["hash"]), "");
    let rude = Backend::on("rude", Ipv4Addr::LOCALHOST.into(), free_port(), |visit| {
        visit.read(&mut [0; 1])?;
        crate::harness::reset(visit)
    });
    assert!(complaint(&[&rude.to_string(), "servers"]).starts_with("error connecting to server"));
}

/// Whether this visitor only asks whether commands were carried out.
fn enquires(visit: &Visit) -> std::io::Result<bool> {
    let mut first = [0];
    visit.read(&mut first)?;
    visit.read_all()?;
    Ok(first == *b"#")
}

#[test]
fn the_exit_status_tells_whether_pen_has_refused_the_command() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    let long = format!("blacklist {:>9000}", 12);
    for (command, code) in [
        ("frob", 2),
        ("blacklist x", 2),
        ("no frob", 2),
        ("no", 2),
        ("server 0", 2),
        ("server 0 address no-such-host.invalid", 2),
        ("help frob", 2),
        ("exit", 2),
        ("close 500", 2),
        ("close 7", 2),
        ("connection 500", 2),
        ("write", 2),
        ("write /no/such/folder/file", 2),
        ("include /no/such/file", 2),
        ("log /no/such/folder/file", 2),
        ("listen 192.0.2.1:9", 2),
        (&long, 2),
        ("servers", 0),
        ("hash", 0),
        ("blacklist 31", 0),
        ("connection 499", 0),
        ("socket 7", 0),
        ("help", 0),
        ("epoll", 0),
        ("# a comment", 0),
        (" ", 0),
    ] {
        let expected = control.say(command);
        let (status, penctl) = OURS.run(&[control.text(), command]);
        assert_eq!(status.code(), Some(code), "{command}: {}", penctl.stderr());
        assert_eq!((penctl.stdout(), penctl.stderr()), (expected, String::new()), "{command}");
    }
}

#[test]
fn one_refused_line_is_enough_and_the_others_are_carried_out() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    let (status, out, err) = OURS.run_with_input(&[control.text()], "blacklist 41\nblacklist x\nblacklist 42\n");
    assert_eq!((status.code(), err.as_str()), (Some(2), ""));
    assert!(out.starts_with("41\nblacklist: ") && out.ends_with("\n42\n"), "{out:?}");
    let scratch = Scratch::new();
    let file = scratch.join("file");
    std::fs::write(&file, "blacklist 43\nfrob\n").unwrap();
    let (status, penctl) = OURS.run(&[control.text(), "include", &file.display().to_string()]);
    assert_eq!(status.code(), Some(2), "{}", penctl.stdout());
    assert_eq!(control.say("blacklist"), "42\n");
}

#[test]
fn exit_is_a_success_where_it_is_allowed() {
    let backend = Backend::named("a");
    let mut pen = Launch::ours().control().options(&["-X"]).servers(&[&backend]).start();
    assert_eq!(pen.control().penctl(&["exit"]), "");
    assert!(pen.wait_exit().success());
}

#[test]
fn a_client_that_control_acl_denies_has_not_reached_pen() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    assert_eq!(control.write(b"acl 1 deny 0.0.0.0/0\ncontrol_acl 1\n"), "1\n");
    let said = complaint(&[control.text(), "blacklist", "7"]);
    assert!(said.starts_with("error connecting to server: "), "{said}");
}

#[test]
fn a_reply_that_is_cut_short_is_an_error() {
    let cut = Backend::new("cut", |visit| {
        let verdict = enquires(visit)?;
        visit.write(if verdict { b"\x06" } else { b"0 addr 127.0.0.1 port 1\n" })
    });
    let (status, penctl) = OURS.run(&[&cut.to_string(), "servers"]);
    assert_eq!(status.code(), Some(1));
    assert_eq!(penctl.stdout(), "0 addr 127.0.0.1 port 1\n");
    assert_eq!(penctl.stderr(), "penctl: the reply was cut short: pen has ended the connection\n");
}

#[test]
fn a_pen_that_gives_no_verdict_has_accepted() {
    let old = Backend::new("old", |visit| {
        let verdict = enquires(visit)?;
        visit.write(if verdict { b"" } else { b"do_cmd: ignoring command starting with 'frob'\n" })
    });
    let said = Control::at(&old.to_string()).penctl(&["frob"]);
    assert_eq!(said, "do_cmd: ignoring command starting with 'frob'\n");
}

#[test]
fn a_reply_that_does_not_end_in_time_is_an_error() {
    let silent = Backend::new("silent", crate::harness::hold);
    // It sends as much as is taken, without an end.
    let endless = Backend::new("endless", |visit| {
        loop {
            visit.write(b"0 addr 127.0.0.1 port 1\n")?;
        }
    });
    for (backend, option, time) in [
        (&silent, &["--timeout", "1"][..], "1"),
        (&silent, &["--timeout", "0.25"], "0.25"),
        (&endless, &["--timeout=1"], "1"),
    ] {
        let address = backend.to_string();
        let arguments = [option, &[&address, "servers"]].concat();
        let mut command = Command::new(OURS.path());
        command.args(&arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut penctl = Process::start_with_its_own_output(command);
        assert_eq!(penctl.wait_exit().code(), Some(1), "{arguments:?}");
        assert_eq!(penctl.stderr(), format!("penctl: no complete reply within {time} s\n"), "{arguments:?}");
    }
    for wrong in ["0", "x", "-1", "31536001", "", "0.05", "0.", ".5", "-0.5", "1.5e3", "31536000.5"] {
        assert!(complaint(&["--timeout", wrong, "127.0.0.1:9", "pid"]).starts_with("--timeout: "));
    }
    assert_eq!(complaint(&["--timeout"]), "option '--timeout' requires an argument");
}

#[test]
fn a_newline_in_an_argument_is_refused_before_anything_is_sent() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    for words in [&["blacklist 7\nhash"][..], &["blacklist", "7\n"], &["\nblacklist 7"], &["\n"]] {
        let said = complaint(&[&[control.text()], words].concat());
        assert!(said.contains("newline"), "{said}");
    }
    assert_eq!(control.say("blacklist"), "30\n");
    let nobody = format!("127.0.0.1:{}", free_port());
    assert!(complaint(&[&nobody, "a\nb"]).contains("newline"));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let mut command = Command::new(OURS.path());
    let full = File::options().write(true).open("/dev/full").unwrap();
    command.args([pen.control().text(), "servers"]).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let mut penctl = Process::start_with_its_own_output(command);
    assert_eq!(penctl.wait_exit().code(), Some(1));
    assert_eq!(penctl.stderr(), "penctl: standard output: No space left on device\n");
}

#[test]
fn on_a_terminal_an_address_alone_gets_the_usage() {
    let Some(script) = program("script") else { return skip("script(1) is not installed") };
    let mut command = Command::new(script);
    command.args(["-qec", &format!("{} 127.0.0.1:9", OURS.path()), "/dev/null"]);
    let mut penctl = Process::start(command);
    assert!(penctl.wait_exit().success(), "{}", penctl.stdout());
    assert!(penctl.stdout().starts_with("usage: penctl "), "{}", penctl.stdout());
}
