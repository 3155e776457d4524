//! penctl: ours and Debian's, each with either pen.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::harness::{
    Backend, Control, Ctl, Launch, Process, Program, Scratch, free_port, program, skip, without_state,
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
            let say = |words: &[&str]| {
                let arguments = [&[control.text()], words].concat();
                let (status, penctl) = Ctl(ctl).run(&arguments);
                assert!(status.success(), "{program:?} {ctl:?} {words:?}: {status} {}", penctl.stderr());
                assert_eq!(penctl.stderr(), "");
                penctl.stdout()
            };
            assert_eq!(say(&["pid"]), format!("{}\n", pen.pid()), "{program:?} {ctl:?}");
            assert_eq!(say(&["blacklist", "12"]), "12\n");
            assert_eq!(say(&["hash"]), "");
            assert_eq!(say(&["mode"]), "hash no roundrobin no stubborn no weight no prio\n");
            assert_eq!(say(&["frob"]), "do_cmd: ignoring command starting with 'frob'\n");
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
        assert!(status.success(), "{arguments:?}: {status} {err}");
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
    assert_eq!(control.penctl(&["help", "--version"]), "help: there is no command \"--version\"\n");
}

#[test]
fn help_and_version_need_no_pen() {
    for arguments in [&["--help"][..], &[]] {
        let (status, penctl) = OURS.run(arguments);
        assert!(status.success());
        assert!(penctl.stdout().starts_with("usage: penctl host:port|/path/to/socket command...\n"));
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
