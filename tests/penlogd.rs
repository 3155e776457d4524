//! penlogd and penlog: the lines of web servers come out with the clients in them, also after losses and reloads.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::Signal;

use crate::harness::{Process, Program, Scratch, free_port, is_root, skip, wait_for, wait_until};

/// A penlogd in the foreground, which writes to a file.
pub(crate) struct Penlogd {
    process: Process,
    pub(crate) port: u16,
    pub(crate) log: PathBuf,
    is_theirs: bool,
}

impl Penlogd {
    /// Starts ours with these options.
    #[track_caller]
    pub(crate) fn start(log: &Path, options: &[&str]) -> Self {
        Self::start_at(free_port(), log, options)
    }

    #[track_caller]
    fn start_at(port: u16, log: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penlogd"));
        command.arg("-f").args(options).arg("-l").arg(log).arg(port.to_string());
        let process = Process::start(command);
        Self::ready(process, port, log)
    }

    /// Waits until it listens.
    #[track_caller]
    fn ready(process: Process, port: u16, log: &Path) -> Self {
        wait_until("penlogd to listen", || process.whole_stderr().contains(" starting, listens on "));
        Self { process, port, log: log.to_path_buf(), is_theirs: false }
    }

    /// Starts that of pen 0.34.1, if it is installed. It holds its output back until it ends.
    fn start_theirs(log: &Path) -> Option<Self> {
        if !Program::Theirs.is_installed() || !Path::new("/usr/bin/penlogd").exists() {
            skip("Debian's package \"pen\" is not installed");
            return None;
        }
        let port = free_port();
        let mut command = Command::new("/usr/bin/penlogd");
        command.arg("-f").arg("-l").arg(log).arg(port.to_string());
        let process = Process::start(command);
        let table = || fs::read_to_string("/proc/net/udp").unwrap();
        wait_until("penlogd to listen", || table().contains(&format!(":{port:04X} ")));
        Some(Self { process, port, log: log.to_path_buf(), is_theirs: true })
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let lines = || self.text().lines().map(String::from).collect::<Vec<_>>();
        wait_for(&format!("{count} lines"), || Some(lines()).filter(|lines| lines.len() >= count))
    }

    /// Ends it and returns what it has written.
    #[track_caller]
    pub(crate) fn end(&mut self) -> String {
        // That of pen 0.34.1 does not read what the kernel still has for it.
        let is_empty =
            |line: &str| line.contains(&format!(":{:04X} ", self.port)) && line.contains(" 00000000:00000000 ");
        wait_until("penlogd to have read all", || {
            let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
            !self.is_theirs || tables.concat().lines().any(is_empty)
        });
        self.process.signal(Signal::TERM);
        assert!(self.process.wait_exit().success());
        self.text()
    }

    /// What it has counted.
    #[track_caller]
    fn report(&self) -> String {
        let length = self.process.stderr_length();
        self.process.signal(Signal::USR1);
        let line =
            || self.process.stderr_after(length).lines().find(|line| line.contains(" of pen: ")).map(String::from);
        wait_for("the report", line)
    }
}

/// A host that sends lines.
struct Sender {
    socket: UdpSocket,
    port: u16,
}

impl Sender {
    fn new(ip: &str, penlogd: &Penlogd) -> Self {
        Self { socket: UdpSocket::bind((ip, 0)).unwrap(), port: penlogd.port }
    }

    fn send(&self, text: &str) {
        let ip = if self.socket.local_addr().unwrap().is_ipv4() { "127.0.0.1" } else { "::1" };
        self.socket.send_to(text.as_bytes(), (ip, self.port)).unwrap();
    }
}

fn web(page: &str, rest: &str) -> String {
    format!("10.9.9.9 - - [10/Oct/2026:13:55:36 +0000] \"GET /{page} HTTP/1.1\" 200 {rest}")
}

/// Runs penlog with this input until it ends.
#[track_caller]
fn penlog(arguments: &[&str], input: &str) -> (ExitStatus, Process) {
    let mut child = feed(arguments);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let mut process = Command::new("sh");
    process.args(["-c", "printf %s \"$1\" >&2", "sh"]).arg(String::from_utf8(ended.stderr).unwrap());
    let mut process = Process::start(process);
    process.wait_exit();
    (ended.status, process)
}

/// A penlog that is waiting for its input.
fn feed(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penlog"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_result_is_that_of_pen_0_34_1() {
    let scratch = Scratch::new();
    let ours = Penlogd::start(&scratch.join("ours"), &[]);
    let theirs = Penlogd::start_theirs(&scratch.join("theirs"));
    let expected: String = (0..50)
        .map(|n| web(&n.to_string(), "5 \"-\" \"A \\\"b\\\"\"\n").replace("10.9.9.9", &format!("192.0.2.{n}")))
        .collect();
    for mut penlogd in [Some(ours), theirs].into_iter().flatten() {
        let (pen, server) = (Sender::new("127.0.0.1", &penlogd), Sender::new("127.0.0.2", &penlogd));
        for n in 0..50 {
            pen.send(&format!("+ 192.0.2.{n} 127.0.0.2 GET /{n} HTTP/1.1\n"));
            server.send(&web(&n.to_string(), "5 \"-\" \"A \\\"b\\\"\"\n"));
        }
        server.send(&web("stray", "1\n"));
        server.send("what is this\n");
        let text = penlogd.end();
        assert_eq!(text, expected.clone() + &web("stray", "1\n"));
    }
}

#[test]
fn differences_from_pen_0_34_1_are_those_of_the_manual() {
    let scratch = Scratch::new();
    let long = "x".repeat(200);
    let ours = Penlogd::start(&scratch.join("ours"), &[]);
    let theirs = Penlogd::start_theirs(&scratch.join("theirs"));
    for mut penlogd in [Some(ours), theirs].into_iter().flatten() {
        let (pen, server) = (Sender::new("127.0.0.1", &penlogd), Sender::new("127.0.0.2", &penlogd));
        // Equal requests.
        pen.send("+ 192.0.2.1 127.0.0.2 GET /a HTTP/1.1\n");
        pen.send("+ 192.0.2.2 127.0.0.2 GET /a HTTP/1.1\n");
        server.send(&web("a", "1\n"));
        server.send(&web("a", "2\n"));
        // A long request.
        pen.send(&format!("+ 192.0.2.3 127.0.0.2 GET /{long} HTTP/1.1\n"));
        server.send(&web(&long, "3\n"));
        // The server's line comes first.
        server.send(&web("b", "4\n"));
        pen.send("+ 192.0.2.4 127.0.0.2 GET /b HTTP/1.1\n");
        let text = penlogd.end();
        let clients: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let expected = match penlogd.is_theirs {
            false => ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"],
            true => ["192.0.2.2", "192.0.2.2", "10.9.9.9", "10.9.9.9"],
        };
        assert_eq!(clients, expected);
    }
}

#[test]
fn lines_of_any_kind_come_out_at_once_and_garbage_does_not() {
    let scratch = Scratch::new();
    let mut penlogd = Penlogd::start(&scratch.join("log"), &["-k", "ip", "-q", "line"]);
    let (pen, server) = (Sender::new("::1", &penlogd), Sender::new("::1", &penlogd));
    let long = "y".repeat(20_000);
    pen.send(&format!("+ ::ffff:192.0.2.1 ::1 GET /a?\"\\ HTTP/1.1\n+ 2001:db8::7 ::1 GET /{}", &long[..1000]));
    server.send(
        "10.9.9.9 - - [x] \"GET /a?\\\"\\\\ HTTP/1.1\" 200 1\r\n\n{\"ip\":\"10.9.9.9\",\"line\":\"GET /b\",\"n\":1}\n",
    );
    pen.send("+ local ::1 GET /b\n");
    server.send(&web(&long, "3"));
    let expected = format!(
        "192.0.2.1 - - [x] \"GET /a?\\\"\\\\ HTTP/1.1\" 200 1\n{{\"ip\":\"local\",\"line\":\"GET /b\",\"n\":1}}\n{}\n",
        web(&long, "3").replace("10.9.9.9", "2001:db8::7")
    );
    assert_eq!(penlogd.wait_for_lines(3).join("\n") + "\n", expected);
    server.send("garbage \x1b[2J\n");
    server.send("+ 1 \"x\"\n");
    server.send("::1 \"\x1b[2J\u{9b}2J\u{e4}\"\r\0");
    let told = penlogd.process.wait_for_line("unreadable line");
    assert!(told.ends_with(": unreadable line: ::1: garbage .[2J"), "{told}");
    wait_until("the lines to be counted", || {
        penlogd.report().contains("; 2 unreadable lines; datagrams: 0 refused, 0 lost")
    });
    let text = penlogd.end();
    assert_eq!(text, expected + "::1 \".[2J..2J\u{e4}\"\n");
}

#[test]
fn only_those_who_may_can_send_lines() {
    let scratch = Scratch::new();
    let mut penlogd = Penlogd::start(&scratch.join("log"), &["-a", "127.0.0.2", "-a", "127.0.1.0/24", "-a", "::1"]);
    for (ip, page) in [("127.0.0.3", "a"), ("127.0.0.2", "b"), ("127.0.1.77", "c"), ("::1", "d"), ("127.0.2.1", "e")] {
        Sender::new(ip, &penlogd).send(&web(page, "1\n"));
    }
    penlogd.process.wait_for_line("refused: 127.0.0.3 may not send lines");
    wait_until("five datagrams", || penlogd.report().contains("0 unreadable lines; datagrams: 2 refused"));
    // Also those that wait for a line of pen are written in the end.
    assert_eq!(penlogd.end(), ["b", "c", "d"].map(|page| web(page, "1\n")).concat());
    let everyone = Penlogd::start(&scratch.join("log"), &[]);
    everyone.process.wait_for_line("everyone may send lines to it; -a limits that");
}

#[test]
fn rotation_under_load_loses_no_line_and_doubles_none() {
    const ROTATIONS: usize = 50;
    const LINES: usize = 20_000;
    let scratch = Scratch::new();
    let mut penlogd = Penlogd::start(&scratch.join("log"), &[]);
    let port = penlogd.port.to_string();
    let mut child = feed(&["127.0.0.1", &port, "127.0.0.2"]);
    let mut input = child.stdin.take().unwrap();
    let pen = Sender::new("127.0.0.1", &penlogd);
    let moved = |number: usize| scratch.join(&format!("log.{number}"));
    let mut rotations = 0;
    for n in 0..LINES {
        pen.send(&format!("+ 192.0.2.{} 127.0.0.2 GET /{n} HTTP/1.1\n", n % 250));
        input.write_all((web(&n.to_string(), "1") + "\n").as_bytes()).unwrap();
        if n % 100 == 99 {
            // No more than the kernel has room for: what it drops is not what is tested here.
            let written =
                || (0..rotations).map(moved).chain([penlogd.log.clone()]).map(|path| count(&path)).sum::<usize>();
            wait_until("the lines to be written", || written() + 200 > n);
        }
        if n % (LINES / ROTATIONS) == 0 && rotations < ROTATIONS && penlogd.log.exists() {
            fs::rename(&penlogd.log, moved(rotations)).unwrap();
            rotations += 1;
            penlogd.process.signal(Signal::HUP);
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    penlogd.end();
    assert!(rotations >= ROTATIONS - 5, "{rotations}");
    let text: String = (0..rotations).map(|number| fs::read_to_string(moved(number)).unwrap()).collect();
    let text = text + &penlogd.text();
    let mut lines: Vec<_> = text.lines().map(String::from).collect();
    let line = |n: usize| web(&n.to_string(), "1").replace("10.9.9.9", &format!("192.0.2.{}", n % 250));
    let mut expected: Vec<_> = (0..LINES).map(line).collect();
    lines.sort();
    expected.sort();
    assert_eq!(lines.len(), LINES);
    assert!(lines == expected, "some lines are wrong");
}

fn count(path: &Path) -> usize {
    fs::read(path).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn lines_that_are_sent_while_penlogd_is_away_are_lost_and_counted_and_no_others() {
    let scratch = Scratch::new();
    let mut penlogd = Penlogd::start(&scratch.join("log"), &[]);
    let port = penlogd.port;
    let mut child = feed(&["127.0.0.1", &port.to_string(), "127.0.0.2"]);
    let mut input = child.stdin.take().unwrap();
    let say = |input: &mut ChildStdin, from: usize, to: usize| {
        let text: String = (from..to).map(|n| web(&n.to_string(), "1") + "\n").collect();
        input.write_all(text.as_bytes()).unwrap();
    };
    say(&mut input, 0, 300);
    penlogd.wait_for_lines(300);
    penlogd.end();
    // More than a pipe holds: penlog reads on.
    say(&mut input, 300, 10_300);
    wait_until("penlog to have read it", || rustix::io::ioctl_fionread(&input).unwrap() == 0);
    let mut penlogd = Penlogd::start_at(port, &scratch.join("log"), &[]);
    say(&mut input, 10_300, 10_600);
    drop(input);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    let text = penlogd.end();
    let mut lines: Vec<_> = text.lines().collect();
    let count = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), count, "a line is there twice");
    let told = String::from_utf8(ended.stderr).unwrap();
    let lost = |line: &str| {
        let (count, _) = line.strip_prefix("penlog: ")?.split_once(" lost on the way to 127.0.0.1:")?;
        count.split(' ').next()?.parse::<usize>().ok()
    };
    let lost: usize = told.lines().map(|line| lost(line).unwrap_or_else(|| panic!("{line}"))).sum();
    assert_eq!(lost + count, 10_600, "{told}");
    assert!(told.lines().all(|line| line.ends_with(": Connection refused")), "{told}");
    assert!((600..10_000).contains(&count), "{count}");
}

#[test]
fn penlog_sends_whole_lines_until_its_input_ends() {
    let scratch = Scratch::new();
    let mut penlogd = Penlogd::start(&scratch.join("log"), &[]);
    let port = penlogd.port.to_string();
    let long = web("long", &"x".repeat(100_000));
    let input = format!("{}\n\n{long}\n{}", web("a", "1"), web("b", "2"));
    let (status, process) = penlog(&["127.0.0.1", &port], &input);
    assert!(status.success());
    assert_eq!(process.stderr(), "");
    let text = penlogd.end();
    // The kernel takes no longer datagrams.
    assert_eq!(text, format!("{}\n{}\n{}\n", web("a", "1"), &long[..65_506], web("b", "2")));
}

#[test]
fn a_signal_for_the_web_server_does_not_end_penlog_and_term_loses_nothing() {
    let scratch = Scratch::new();
    let mut penlogd = Penlogd::start(&scratch.join("log"), &[]);
    let mut child = feed(&[&format!("127.0.0.1:{}", penlogd.port)]);
    let mut input = child.stdin.take().unwrap();
    let signal = |signal| rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    input.write_all((web("a", "1") + "\n").as_bytes()).unwrap();
    penlogd.wait_for_lines(1);
    signal(Signal::HUP);
    signal(Signal::USR1);
    input.write_all((web("b", "1") + "\n").as_bytes()).unwrap();
    penlogd.wait_for_lines(2);
    input.write_all((web("c", "1") + "\n").as_bytes()).unwrap();
    signal(Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert_eq!(penlogd.end(), ["a", "b", "c"].map(|page| web(page, "1\n")).concat());
}

#[test]
fn in_the_background_it_behaves_as_pen_does() {
    let scratch = Scratch::new();
    let pidfile = scratch.join("pid");
    let (port, name) = (free_port().to_string(), pidfile.to_str().unwrap().to_string());
    let start = |more: &[&str], output: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penlogd"));
        command.args(["-p", &name]).args(more).current_dir(scratch.path());
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).output().unwrap()
    };
    let output = || Stdio::from(fs::File::create(scratch.join("out")).unwrap());
    assert!(start(&[&port], output()).status.success());
    let pid: i32 = fs::read_to_string(&pidfile).unwrap().trim().parse().unwrap();
    let second = start(&[&free_port().to_string()], Stdio::null());
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert_eq!(told, format!("penlogd: Can't create pidfile {name}: penlogd runs already, as process {pid}\n"));
    let taken = Command::new(env!("CARGO_BIN_EXE_penlogd")).arg(&port).output().unwrap();
    let told = String::from_utf8(taken.stderr).unwrap();
    assert_eq!(told, format!("penlogd: can't bind local address {port}: Address already in use\n"));
    // Without -l it goes on writing to the standard output that it had, also after HUP.
    let (pid, socket) = (rustix::process::Pid::from_raw(pid).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    socket.send_to(web("a", "1\n").as_bytes(), ("127.0.0.1", port.parse().unwrap())).unwrap();
    wait_until("the line", || fs::read_to_string(scratch.join("out")).unwrap() == web("a", "1\n"));
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    wait_until("its end", || !pidfile.exists());
}

#[test]
fn in_a_jail_and_as_another_user_it_opens_its_file_again() {
    if !is_root() {
        return skip("only root can enter a jail");
    }
    let scratch = Scratch::new();
    let jail = scratch.path().to_str().unwrap().to_string();
    std::os::unix::fs::chown(scratch.path(), Some(65_534), Some(65_534)).unwrap();
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_penlogd"));
    command.args(["-f", "-j", &jail, "-u", "65534:65534", "-l", "/log", "-p", "/pid"]).arg(port.to_string());
    let process = Process::start(command);
    let mut penlogd = Penlogd::ready(process, port, &scratch.join("log"));
    let status = fs::read_to_string(format!("/proc/{}/status", penlogd.process.pid())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n") && status.contains("Groups:\t65534"), "{status}");
    fs::rename(&penlogd.log, scratch.join("old")).unwrap();
    penlogd.process.signal(Signal::HUP);
    wait_until("the new file", || penlogd.log.exists());
    Sender::new("127.0.0.1", &penlogd).send(&web("a", "1\n"));
    assert!(scratch.join("pid").exists());
    assert_eq!(penlogd.end(), web("a", "1\n"));
    assert_eq!(fs::read_to_string(scratch.join("old")).unwrap(), "");
}

#[test]
fn the_log_and_the_pid_file_are_not_one_file_whatever_their_names() {
    let scratch = Scratch::new();
    fs::write(scratch.join("log"), "line\n").unwrap();
    fs::hard_link(scratch.join("log"), scratch.join("hard")).unwrap();
    std::os::unix::fs::symlink("new", scratch.join("soft")).unwrap();
    std::os::unix::fs::symlink(".", scratch.join("here")).unwrap();
    let path = |name: &str| scratch.join(name).display().to_string();
    let refused = |directory: &[&str], log: &str, pidfile: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penlogd"));
        command.args(directory).args(["-f", "-l", log, "-p", pidfile, &free_port().to_string()]);
        command.current_dir(scratch.path());
        let mut process = Process::start(command);
        assert_eq!(process.wait_exit().code(), Some(1), "{log} {pidfile}");
        assert_eq!(process.stderr(), "penlogd: -l and -p name the same file\n", "{log} {pidfile}");
    };
    for (log, pidfile) in
        [("new", "./new"), ("new", &path("new")), ("log", "hard"), ("soft", "new"), ("here/new", "new")]
    {
        refused(&[], log, pidfile);
    }
    if is_root() {
        refused(&["-j", &path("")], "/here/soft", "/new");
    }
    assert_eq!(fs::read_to_string(scratch.join("log")).unwrap(), "line\n");
    assert!(!scratch.join("new").exists());
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let programs = [env!("CARGO_BIN_EXE_penlog"), env!("CARGO_BIN_EXE_penlogd")];
    for (program, arguments, error) in [
        (0, &["host"][..], "penlog: no port given"),
        (0, &["127.0.0.1", "0"], "penlog: \"127.0.0.1:0\": port \"0\" is not a number from 1 to 65535"),
        (0, &["127.0.0.1", "9", "me"], "penlog: my_ip: \"me\" is not an address"),
        (0, &["127.0.0.1:9", "::1", "x"], "penlog: too many arguments: \"x\""),
        (
            0,
            &["127.0.0.1", "9", "::1"],
            "penlog: cannot send to 127.0.0.1:9: the two addresses are of different families",
        ),
        (0, &["127.0.0.1", "9", "192.0.2.1"], "penlog: cannot send to 127.0.0.1:9: Cannot assign requested address"),
        (0, &["/run/x", "9"], "penlog: \"/run/x:9\" is not host and port"),
        (0, &["-x"], "penlog: unrecognized option '-x'"),
        (1, &["-f"], "penlogd: no port given"),
        (1, &["9", "10"], "penlogd: one port is enough: \"10\""),
        (1, &["/run/x"], "penlogd: \"/run/x\" is not [host:]port"),
        (1, &["-n", "0", "9"], "penlogd: -n: \"0\" is not a number from 1 to 10000000"),
        (1, &["-a", "10.0.0.0/33", "9"], "penlogd: -a \"33\" is not a prefix length from 0 to 32"),
        (1, &["-f", "-l", "/no/x", "10009"], "penlogd: Can't open logfile /no/x: No such file or directory"),
        (1, &["-u", "no such user", "9"], "penlogd: Can't getpwnam(no such user): no such user"),
    ] {
        let mut command = Command::new(programs[program]);
        command.args(arguments);
        let mut process = Process::start(command);
        assert_eq!(process.wait_exit().code(), Some(1), "{arguments:?}");
        assert_eq!(process.stderr(), format!("{error}\n"), "{arguments:?}");
    }
}
