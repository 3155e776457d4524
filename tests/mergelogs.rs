//! mergelogs: the logs of web servers and pen's become one log; beside the one of pen 0.34.1.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::harness::{Process, Program, Scratch, program, skip, wait_until};

/// Seconds since 1970 of 10 October 2026, 13:55:36 UTC.
const START: u64 = 1_791_640_536;

/// Files for mergelogs.
struct Logs {
    scratch: Scratch,
}

impl Logs {
    fn new(files: &[(&str, &str)]) -> Self {
        let logs = Self { scratch: Scratch::new() };
        files.iter().for_each(|(name, text)| fs::write(logs.scratch.join(name), text).unwrap());
        logs
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.join(name)).unwrap()
    }

    /// Runs our mergelogs in the folder.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> (ExitStatus, Process) {
        self.run_program(env!("CARGO_BIN_EXE_mergelogs"), arguments, Stdio::null())
    }

    #[track_caller]
    fn run_program(&self, program: &str, arguments: &[&str], stdin: Stdio) -> (ExitStatus, Process) {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.scratch.path()).env("TZ", "UTC");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start_with_its_own_output(command);
        (process.wait_exit(), process)
    }

    /// What our mergelogs writes when all is well.
    #[track_caller]
    fn merge(&self, arguments: &[&str]) -> String {
        let (status, process) = self.run(arguments);
        assert!(status.success(), "{}", process.stderr());
        process.stdout()
    }
}

/// A line of a web server, so many seconds after the start, in the hour of 13:55 in UTC.
fn web(client: &str, second: u64, page: &str, rest: &str) -> String {
    let (minute, second) = (55 + (36 + second) / 60, (36 + second) % 60);
    format!("{client} - - [10/Oct/2026:13:{minute:02}:{second:02} +0000] \"GET /{page} HTTP/1.1\" 200 {rest}\n")
}

fn pen(client: &str, second: u64, server: &str, page: &str) -> String {
    format!("{client} {} {server} GET /{page} HTTP/1.1\n", START + second)
}

/// Where the mergelogs of pen 0.34.1 is.
fn theirs() -> Option<&'static str> {
    let path = "/usr/bin/mergelogs";
    let installed = Program::Theirs.is_installed() && Path::new(path).exists();
    if !installed {
        skip("Debian's package \"pen\" is not installed");
    }
    installed.then_some(path)
}

#[test]
fn the_result_is_that_of_pen_0_34_1() {
    let agent = "5 \"http://example.org/\" \"A (1) \\\"b\\\"\"";
    let clients: Vec<_> = (0..60).map(|n| format!("192.0.2.{n}")).collect();
    let page = |n: usize| format!("page{}", n % 7);
    let server = |n: usize| format!("10.0.0.{}", n % 2 + 1);
    let pens: String = (0..60).map(|n| pen(&clients[n], 2 * n as u64, &server(n), &page(n))).collect();
    let lines = |number: usize, name: &dyn Fn(usize) -> String| -> Vec<String> {
        let own = (0..60).filter(move |n| n % 2 == number);
        own.map(|n| web(&name(n), 2 * n as u64 + number as u64, &page(n), agent)).collect()
    };
    let stray = web("pen", 61, "stray", agent);
    let files = [0, 1].map(|number| lines(number, &|_| String::from("pen")).concat());
    let logs = Logs::new(&[("pen.log", &pens), ("a", &files[0]), ("b", &(files[1].clone() + &stray))]);
    let arguments = ["-p", "pen.log", "10.0.0.1:a", "10.0.0.2:b"];
    let ours = logs.merge(&arguments);
    let mut expected = [0, 1].map(|number| lines(number, &|n| clients[n].clone())).concat();
    expected.push(stray.replace("pen", "10.0.0.2"));
    expected.sort_by_key(|line| line.split(['[', ']']).nth(1).unwrap().to_string());
    assert_eq!(ours, expected.concat());
    if let Some(path) = theirs() {
        let (status, process) = logs.run_program(path, &arguments, Stdio::null());
        assert!(status.success());
        // It leaves the stray line where it is in its file, and shifts the first times by an hour.
        let sorted = |text: &str| -> Vec<String> {
            let mut lines: Vec<_> = text.lines().map(|line| line.replace(":12:", ":13:")).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&process.stdout()), sorted(&ours));
    }
}

#[test]
fn differences_from_pen_0_34_1_are_those_of_the_manual() {
    let long = "x".repeat(200);
    let filler: String = (0..3).map(|n| web("pen", n, "f", "1")).collect();
    let cut = |line: String| line[..line.find("GET").unwrap() + 100].to_string() + "\n";
    // Equal requests at the same time; a request that pen has cut.
    let pens = pen("::9", 0, "10.0.0.1", "f")
        + &pen("::1", 100, "10.0.0.1", "a")
        + &pen("::2", 100, "10.0.0.1", "a")
        + &cut(pen("::3", 101, "10.0.0.1", &long))
        + &pen("::4", 110, "10.0.0.1", "end");
    let file = filler + &web("pen", 100, "a", "1") + &web("pen", 100, "a", "2") + &web("pen", 101, &long, "3\r");
    let logs = Logs::new(&[("pen.log", &pens), ("a", &file)]);
    let arguments = ["-p", "pen.log", "10.0.0.1:a"];
    let end = |text: String| text.lines().skip(3).map(|line| format!("{line}\n")).collect::<String>();
    let expected = web("::1", 100, "a", "1") + &web("::2", 100, "a", "2") + &web("::3", 101, &long, "3");
    assert_eq!(end(logs.merge(&arguments)), expected);
    if let Some(path) = theirs() {
        let (_, process) = logs.run_program(path, &arguments, Stdio::null());
        let theirs = end(process.stdout());
        let clients: Vec<_> = theirs.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(clients, ["::1", "::1", "10.0.0.1"]);
    }
}

#[test]
fn files_may_be_compressed_or_come_from_the_standard_input() {
    let logs = Logs::new(&[
        ("pen.log", &(pen("::1", 0, "10.0.0.1", "a") + &pen("::2", 1, "2001:db8::1", "b"))),
        ("a.log", &web("pen", 0, "a", "1")),
        ("b.log", web("pen", 1, "b", "2").trim()),
        ("empty", ""),
    ]);
    let gzip = Command::new("gzip").current_dir(logs.scratch.path()).arg("a.log").status().unwrap();
    assert!(gzip.success());
    fs::rename(logs.scratch.join("a.log.gz"), logs.scratch.join("a.log")).unwrap();
    let stdin = || Stdio::from(fs::File::open(logs.scratch.join("b.log")).unwrap());
    let arguments = ["-v", "-p", "pen.log", "10.0.0.3:empty", "10.0.0.1:a.log", "[2001:db8::1]:-"];
    let (status, process) = logs.run_program(env!("CARGO_BIN_EXE_mergelogs"), &arguments, stdin());
    assert!(status.success(), "{}", process.stderr());
    assert_eq!(process.stdout(), web("::1", 0, "a", "1") + &web("::2", 1, "b", "2"));
    let expected = "mergelogs: empty: 0 lines, 0 with a client, 0 without\n\
         mergelogs: a.log: 1 line, 1 with a client, 0 without\nmergelogs: -: 1 line, 1 with a client, 0 without\n";
    assert_eq!(process.stderr(), expected);
}

#[test]
fn what_looks_like_a_mistake_is_told() {
    let logs = Logs::new(&[
        ("pen.log", &(String::from("what?\n") + &pen("::1", 0, "10.0.0.1", "a"))),
        ("a", &(String::from("\x1b[2J\n") + &web("pen", 5, "a", "1") + &web("pen", 9, "b", "\x1b[2J"))),
    ]);
    let (status, process) = logs.run(&["-dd", "-r", "rejects", "-p", "pen.log", "10.0.0.1:a"]);
    assert!(status.success());
    let expected = format!(
        "mergelogs: a: +5 s: {}mergelogs: a: no client: {}\
         mergelogs: pen.log: 1 line cannot be read\nmergelogs: a: 1 line cannot be read\n",
        web("::1", 5, "a", "1"),
        web("10.0.0.1", 9, "b", ".[2J")
    );
    assert_eq!(process.stderr(), expected);
    assert_eq!(logs.read("rejects"), "\x1b[2J\nwhat?\n");
    let (status, process) = logs.run(&["-p", "pen.log", "10.0.0.2:a"]);
    assert!(status.success());
    let told = process.stderr();
    assert!(told.contains("mergelogs: a: 2 lines, none with a client: server 10.0.0.2: "), "{told}");
    assert!(told.contains("mergelogs: a: 1 line cannot be read (-r keeps them)\n"), "{told}");
}

#[test]
fn the_progress_is_shown_also_while_all_of_pens_log_is_read() {
    let Some(script) = program("script") else { return skip("script(1) is not installed") };
    let logs = Logs::new(&[("a", &web("pen", 0, "a", "1"))]);
    let fifo = logs.scratch.join("pen.log");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // On a terminal.
    let command = format!("{} -c -p pen.log 10.0.0.1:a", env!("CARGO_BIN_EXE_mergelogs"));
    let mut command_line = Command::new(script);
    command_line.args(["-qec", &command, "/dev/null"]).current_dir(logs.scratch.path());
    let mut process = Process::start(command_line);
    // It waits neither for a reader nor for room.
    let mut input = fs::OpenOptions::new();
    let mut input = input.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&fifo).unwrap();
    input.write_all(pen("::1", 0, "10.0.0.1", "a").as_bytes()).unwrap();
    wait_until("the progress", || {
        let _ = input.write_all(pen("::2", 0, "10.0.0.1", "b").as_bytes());
        process.stdout().contains(" lines read")
    });
    assert!(!process.stdout().contains("GET"), "{}", process.stdout());
    drop(input);
    assert!(process.wait_exit().success());
    let expected = web("::1", 0, "a", "1").replace('\n', "\r\n");
    assert!(process.stdout().contains(&expected), "{}", process.stdout());
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let line = web("pen", 0, "a", "1");
    let logs = Logs::new(&[("pen.log", ""), ("a", &line)]);
    for (arguments, error) in [
        (&["10.0.0.1:a"][..], "pen's log is missing: use -p"),
        (&["-p", "pen.log"], "no log of a web server given: server:logfile"),
        (&["-p", "pen.log", "a"], "\"a\" is not server:logfile"),
        (&["-p", "pen.log", "::1:a"], "\"::1:a\" is not server:logfile"),
        (&["-p", "-", "x:-"], "the standard input can be one file only"),
        (&["-p", "none", "x:a"], "Can't read none: No such file or directory"),
        (&["-p", "pen.log", "x:a", "x:none"], "Can't read none: No such file or directory"),
        (&["-p", "pen.log", "x:."], "Can't read .: is a directory"),
        (&["-p", "pen.log", "-r", "./a", "x:a"], "Can't write ./a: it is one of the logs"),
        (&["-p", "pen.log", "-j", "-1", "x:a"], "-j: \"-1\" is not a number from 0 to 31622400"),
        (&["-p", "pen.log", "-t", "1h", "x:a"], "-t: \"1h\" is not a number from 0 to 31622400"),
        (&["-p", "pen.log", "-z"], "invalid option -- 'z'"),
    ] {
        let (status, process) = logs.run(arguments);
        assert_eq!(status.code(), Some(1), "{arguments:?}");
        assert_eq!(process.stderr(), format!("mergelogs: {error}\n"), "{arguments:?}");
        assert_eq!(process.stdout(), "", "{arguments:?}");
    }
    assert_eq!(logs.read("a"), line);
}

#[test]
fn a_damaged_file_is_an_error_and_a_closed_output_is_no_panic() {
    let many: String = (0..50_000).map(|n| web("pen", n % 100, &n.to_string(), "1")).collect();
    let logs = Logs::new(&[("pen.log", ""), ("a", &many), ("b", &many)]);
    let gzip = Command::new("gzip").current_dir(logs.scratch.path()).arg("b").status().unwrap();
    assert!(gzip.success());
    let whole = fs::read(logs.scratch.join("b.gz")).unwrap();
    fs::write(logs.scratch.join("b.gz"), &whole[..whole.len() / 2]).unwrap();
    let (status, process) = logs.run(&["-p", "pen.log", "x:b.gz"]);
    assert_eq!(status.code(), Some(1));
    assert!(process.stderr().starts_with("mergelogs: Can't read b.gz: "), "{}", process.stderr());
    let command = format!("{} -p pen.log x:a | head -n 1", env!("CARGO_BIN_EXE_mergelogs"));
    let (_, process) = logs.run_program("sh", &["-c", &command], Stdio::null());
    assert_eq!((process.stdout().lines().count(), process.stderr().as_str()), (1, ""));
}
