//! `penctl ADDRESS top`, on terminals and elsewhere.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use rustix::termios::LocalModes;

use crate::harness::{
    Backend, Client, Ctl, Launch, Process, Program, Scratch, Settings, Terminal, echo, free_port, hold, skip, wait_for,
    wait_until,
};

const OURS: Ctl = Ctl(Program::Ours);

/// What a program writes when it has restored the screen.
const RESTORED: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

fn top(address: &str) -> Command {
    let mut command = Command::new(OURS.path());
    command.args([address, "top"]).env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// `top` on a terminal.
struct Shown {
    terminal: Terminal,
    before: Settings,
    penctl: Process,
}

impl Shown {
    fn of(address: &str, columns: usize, rows: usize) -> Self {
        Self::by(&top(address), columns, rows)
    }

    fn by(command: &Command, columns: usize, rows: usize) -> Self {
        let terminal = Terminal::new(columns, rows);
        let before = terminal.settings();
        let penctl = terminal.run(command);
        Self { terminal, before, penctl }
    }

    #[track_caller]
    fn wait_for(&self, words: &str) -> Vec<String> {
        self.terminal.wait_for_frame(words)
    }

    /// Waits for the end, and asserts that the terminal is as it was before.
    #[track_caller]
    fn ended(mut self) -> ExitStatus {
        let status = self.penctl.wait_exit();
        self.assert_restored();
        assert_eq!(self.penctl.stderr(), "");
        status
    }

    #[track_caller]
    fn assert_restored(&self) {
        assert_eq!(self.terminal.settings(), self.before);
        wait_until("the screen to be restored", || self.terminal.written().ends_with(RESTORED));
    }
}

/// A program that answers questions of `top` with this.
fn answering(reply: impl Fn() -> String + Send + Sync + 'static) -> Backend {
    Backend::new("pen", move |visit| {
        visit.read_all()?;
        visit.write(format!("{}\x06", reply()).as_bytes())
    })
}

#[test]
fn frames_follow_each_other_until_a_key_comes() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    for key in [&b"q"[..], b"\x03", b"\x1b[A", b"\r"] {
        let shown = Shown::of(control.text(), 80, 24);
        let first = shown.wait_for("servers 1: 1 up")[0].clone();
        assert!(shown.terminal.written().starts_with("\x1b[?1049h\x1b[?25l"));
        shown.terminal.forget();
        wait_until("the time to change", || shown.terminal.frame().is_some_and(|frame| frame[0] != first));
        let frame = shown.wait_for(&backend.to_string());
        assert!(frame[0].contains(&format!("pen {} at {}", env!("CARGO_PKG_VERSION"), control.text())), "{frame:?}");
        let settings = shown.terminal.settings().0;
        assert!(!settings.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        // No frame erases what is shown before it writes the new one.
        assert!(!shown.terminal.written().contains("\x1b[2J"));
        let Shown { terminal, before, mut penctl } = shown;
        terminal.type_in(key);
        assert_eq!(penctl.wait_exit().code(), Some(0), "{key:?}");
        assert_eq!((terminal.settings(), penctl.stderr()), (before, String::new()));
        wait_until("the screen to be restored", || terminal.written().ends_with(RESTORED));
    }
}

#[test]
fn a_signal_ends_it_when_the_terminal_is_restored() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let shown = Shown::of(pen.control().text(), 80, 24);
        shown.wait_for("1 up");
        shown.penctl.signal(signal);
        assert_eq!(shown.ended().signal(), Some(signal.as_raw()), "{signal:?}");
    }
}

#[test]
fn the_end_of_the_terminal_ends_it() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let mut shown = Shown::of(pen.control().text(), 80, 24);
    shown.wait_for("1 up");
    shown.terminal.hang_up();
    let status = shown.penctl.wait_exit();
    // A write may fail before HUP comes.
    let stderr = shown.penctl.stderr();
    let has_failed = status.code() == Some(1) && stderr == "penctl: terminal: Input/output error\n";
    assert!(has_failed || stderr.is_empty(), "{status}: {stderr}");
}

#[test]
fn a_stop_restores_the_terminal_for_as_long_as_it_lasts() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let shown = Shown::of(pen.control().text(), 80, 24);
    shown.wait_for("1 up");
    shown.penctl.signal(Signal::TSTP);
    // proc_pid_stat(5)
    let stat = format!("/proc/{}/stat", shown.penctl.pid());
    wait_until("a stop", || fs::read_to_string(&stat).unwrap().contains(") T "));
    shown.assert_restored();
    shown.terminal.forget();
    shown.penctl.signal(Signal::CONT);
    shown.wait_for("1 up");
    assert_ne!(shown.terminal.settings(), shown.before);
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn frames_fit_whatever_the_size_becomes() {
    let backends: Vec<_> = (0..19).map(|_| Backend::down("down")).collect();
    let servers: Vec<&dyn std::fmt::Display> = backends.iter().map(|backend| backend as _).collect();
    let pen = Launch::ours().control().servers(&servers).start();
    let mut shown = Shown::of(pen.control().text(), 80, 24);
    let all = shown.wait_for(&backends[18].to_string());
    assert!(!all.iter().any(|line| line.ends_with(" more")), "{all:#?}");
    shown.terminal.assert_fits(&all);
    for (columns, rows, words) in
        [(40, 12, "13 more"), (20, 3, "servers 19"), (1, 1, ""), (200, 60, &backends[18].to_string())]
    {
        shown.terminal.resize(columns, rows);
        // A frame may have been under way.
        let fits = |frame: &Vec<String>| {
            frame.len() <= rows
                && frame.iter().all(|line| line.len() <= columns)
                && frame.iter().any(|line| line.contains(words))
        };
        wait_until("a frame that fits", || shown.terminal.frame().as_ref().is_some_and(fits));
        shown.terminal.forget();
        let next = wait_for("the next frame", || shown.terminal.frame());
        assert!(fits(&next), "{next:#?}");
    }
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn a_pen_that_ends_and_comes_back_is_followed() {
    let backend = Backend::new("a", echo);
    let (port, control) = (free_port(), format!("127.0.0.1:{}", free_port()));
    let launch =
        || Launch::ours().control_at(&control).listener(format!("127.0.0.1:{port}")).servers(&[&backend]).start();
    let mut pen = launch();
    let client = Client::connect(&pen);
    client.send(format!("{}\n", "x".repeat(5000)));
    client.line();
    let shown = Shown::of(&control, 100, 24);
    shown.wait_for(&format!("pid {}", pen.pid()));
    pen.terminate();
    shown.terminal.forget();
    let frame = shown.wait_for("no answer since ");
    assert!(frame[3].contains("refused"), "{frame:#?}");
    assert!(frame.iter().any(|line| line.contains(&backend.to_string())), "{frame:#?}");
    assert!(shown.terminal.written().contains("\x1b[2m"), "the last values are not dimmed");
    let pen = launch();
    shown.terminal.forget();
    shown.wait_for(&format!("pid {}", pen.pid()));
    let frame = shown.wait_for("in 0/s");
    assert_eq!(frame[3], "");
    for written in shown.terminal.written().split_whitespace() {
        let number = written.strip_prefix('-').and_then(|rest| rest.chars().next());
        assert!(!number.is_some_and(|digit| digit.is_ascii_digit()), "a negative number: {written}");
    }
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn while_pen_does_not_answer_keys_are_heeded() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let shown = Shown::of(pen.control().text(), 80, 24);
    shown.wait_for("1 up");
    pen.signal(Signal::STOP);
    shown.wait_for("no reply yet");
    pen.signal(Signal::CONT);
    shown.terminal.forget();
    let frame = shown.wait_for("1 up");
    assert_eq!(frame[3], "", "{frame:#?}");
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));

    let silent = Backend::new("silent", hold);
    let shown = Shown::of(&silent.to_string(), 80, 24);
    shown.wait_for("no reply yet");
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn a_pen_that_is_not_there_yet_is_waited_for() {
    let backend = Backend::named("a");
    let scratch = Scratch::new();
    let control = scratch.join("control").display().to_string();
    let shown = Shown::of(&control, 120, 24);
    let frame = shown.wait_for("no answer since ");
    assert!(frame[3].contains("No such file"), "{frame:#?}");
    let _pen = Launch::ours().control_at(&control).servers(&[&backend]).start();
    shown.wait_for("1 up");
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn rates_are_those_of_the_traffic() {
    let (backend, down) = (Backend::new("a", echo), Backend::down("b"));
    // Each connect to the server that is down is tried again at once.
    let pen = Launch::ours().control().options(&["-r", "-b", "0"]).servers(&[&backend, &down]).start();
    let stays = Client::connect(&pen);
    let shown = Shown::of(pen.control().text(), 100, 24);
    let message = format!("{}\n", "x".repeat(5000));
    wait_until("rates", || {
        let comes = Client::connect(&pen);
        for client in [&stays, &comes] {
            client.send(&message);
            client.line();
        }
        let frame = shown.terminal.frame().unwrap_or_default();
        let [.., up, down] = &frame[..] else { return false };
        // Number, name, state and its time, connections, new ones, failed ones, bytes in and out.
        let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
        let (up, down) = (words(up), words(down));
        let is_rate = |word: &str| !["-", "0"].contains(&word);
        up.len() > 8
            && up[1] == backend.to_string()
            && is_rate(&up[5])
            && up[6] == "0"
            && up[7..9].iter().all(|word| word.ends_with(['k', 'M']))
            && is_rate(&down[6])
            && down[7..9] == ["0", "0"]
    });
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn ended_connections_and_failed_connects_have_rates() {
    let asked = AtomicU32::new(0);
    let pen = answering(move || {
        let asked = asked.fetch_add(1, Ordering::Relaxed);
        format!(
            "0 addr 10.0.0.1 port 80 conn 3 max 0 hard 0 weight 2 prio 0 sx 0 rx 0 state up since 7 failures 0 reason - \
             total {} failed {}\n",
            asked * 20_000,
            asked * 4000
        )
    });
    let (status, penctl) = OURS.run(&[&pen.to_string(), "top", "2"]);
    assert!(status.success());
    let text = penctl.stdout();
    let words: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words[..5], ["0", "10.0.0.1:80", "up", "7s", "3"], "{text}");
    // In two seconds or, on a busy machine, somewhat more.
    let number = |word: &str| {
        word.trim_end_matches('k').parse::<f64>().unwrap() * if word.ends_with('k') { 1000.0 } else { 1.0 }
    };
    assert!((1000.0..=10_000.0).contains(&number(words[5])), "{text}");
    assert!((200.0..=2000.0).contains(&number(words[6])), "{text}");
}

#[test]
fn without_a_terminal_it_prints_once() {
    let backend = Backend::named("a");
    let scratch = Scratch::new();
    for address in [format!("127.0.0.1:{}", free_port()), scratch.join("control").display().to_string()] {
        let pen = Launch::ours().control_at(&address).servers(&[&backend]).start();
        let text = pen.control().penctl(&["top"]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].ends_with(&format!("pid {}", pen.pid())), "{text}");
        assert!(lines[1].starts_with("connections 0/500, ") && lines[1].contains("; in 0/s, out 0/s; "), "{text}");
        assert!(lines[1].ends_with("; clients 0/2048"), "{text}");
        assert_eq!(lines[2], format!("servers 1: 1 up; listener 127.0.0.1:{}", pen.port()));
        assert!(lines[4].starts_with("NO SERVER "), "{text}");
        assert!(lines[5].starts_with(&format!(" 0 {backend} up ")), "{text}");
        assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
    }
}

#[test]
fn a_terminal_without_control_sequences_gets_plain_lines() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    for term in [Some("dumb"), Some(""), None] {
        let mut command = top(pen.control().text());
        match term {
            Some(term) => command.env("TERM", term),
            None => command.env_remove("TERM"),
        };
        let mut shown = Shown::by(&command, 80, 24);
        assert_eq!(shown.penctl.wait_exit().code(), Some(0));
        wait_until("the lines", || shown.terminal.written().contains("servers 1: 1 up"));
        assert!(!shown.terminal.written().contains('\x1b'));
    }
}

#[test]
fn colours_are_used_unless_they_are_forbidden() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    for (value, is_forbidden) in [(None, false), (Some(""), false), (Some("1"), true)] {
        let mut command = top(pen.control().text());
        if let Some(value) = value {
            command.env("NO_COLOR", value);
        }
        let shown = Shown::by(&command, 80, 24);
        shown.wait_for("1 up");
        assert_eq!(!shown.terminal.written().contains("\x1b[32m up"), is_forbidden, "{value:?}");
        assert!(shown.terminal.written().contains(" up "));
        shown.terminal.type_in(b"q");
        assert_eq!(shown.ended().code(), Some(0));
    }
}

#[test]
fn without_keys_it_goes_on_until_a_signal() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let terminal = Terminal::new(80, 24);
    let before = terminal.settings();
    let mut penctl = terminal.run_without_input(top(pen.control().text()));
    terminal.wait_for_frame("in 0/s");
    assert_eq!(terminal.settings(), before);
    penctl.signal(Signal::INT);
    assert_eq!(penctl.wait_exit().signal(), Some(Signal::INT.as_raw()));
    wait_until("the screen to be restored", || terminal.written().ends_with(RESTORED));
}

#[test]
fn nothing_that_pen_says_reaches_the_terminal_as_a_command() {
    const HOSTILE: &str = "0 addr /run/\x1b[2J\x1b]0;x\x07\u{9b}7m\u{65e5}\u{301} port 0 conn 1 max 0 hard 0 weight 1 prio 0 sx 1 rx 1 \
        state d\x1b[31mown since 18446744073709551615 failures 1 reason \x1b[5m\r\u{202e}x\n\
        1 addr 10.0.0.1 port 80 conn 18446744073709551615 sx 99999999999999999999 rx -5 weight x\n\
        pen \x1b[8m\n\x1b[H\n\x1b\n\x1b\n\x1b\n";
    let pen = answering(|| String::from(HOSTILE));
    let (status, penctl) = OURS.run(&[&pen.to_string(), "top"]);
    assert!(status.success());
    let text = penctl.stdout();
    assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
    assert!(text.contains(" 0 /run/.[2J.]0;x..7m.. d.[31mown "), "{text}");
    for columns in [80, 30] {
        let shown = Shown::of(&pen.to_string(), columns, 24);
        let frame = shown.wait_for("servers 2");
        shown.terminal.assert_fits(&frame);
        let written = shown.terminal.written();
        for sequence in ["\x1b]", "\x1b[5m", "\x1b[8m", "\x07"] {
            assert!(!written.contains(sequence), "{written:?}");
        }
        shown.terminal.type_in(b"q");
        assert_eq!(shown.ended().code(), Some(0));
    }
}

#[test]
fn of_a_thousand_servers_those_that_need_attention_come_first() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    let servers: String =
        (1..1000).map(|number| format!("server {number} address 127.0.0.1 port {}\n", 1000 + number)).collect();
    assert_eq!(control.write(servers.as_bytes()), "");
    control.tell(&["server 700 drain", "server 800 blacklist 3600"]);
    let shown = Shown::of(control.text(), 80, 24);
    let frame = shown.wait_for("servers 1000: 1 blacklisted, 1 drain, 998 up");
    shown.terminal.assert_fits(&frame);
    assert_eq!(frame.len(), 24, "{frame:#?}");
    assert!(frame[5].starts_with("800 ") && frame[6].starts_with("700 "), "{frame:#?}");
    assert_eq!(frame[23], "982 more");
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
    let text = control.penctl(&["top"]);
    assert_eq!(text.lines().count(), 1005, "{text}");
}

#[test]
fn pen_0_34_1_is_shown_as_far_as_it_tells() {
    if !Program::Theirs.is_installed() {
        skip("Debian's package \"pen\" is not installed");
        return;
    }
    let backend = Backend::named("a");
    let pen = Launch::of(Program::Theirs).control().servers(&[&backend]).start();
    let text = pen.control().penctl(&["top"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[1], "connections 0, new -/s, failed -/s; in 0/s, out 0/s; clients -");
    assert_eq!(lines[2], "servers 1");
    let words: Vec<_> = lines[5].split_whitespace().collect();
    assert_eq!(words, ["0", &backend.to_string(), "-", "-", "0", "-", "-", "0", "0", "0"]);
    let shown = Shown::of(pen.control().text(), 80, 24);
    shown.wait_for("in 0/s");
    shown.terminal.type_in(b"q");
    assert_eq!(shown.ended().code(), Some(0));
}

#[test]
fn a_command_line_that_is_wrong_is_an_error() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for (arguments, words) in [
        (&["top", "0"][..], "top: "),
        (&["top", "x"], "top: "),
        (&["top", "-1"], "top: "),
        (&["top", "1", "2"], "top: nothing is expected from \"2\" on"),
        (&["top"], "error connecting to server: "),
    ] {
        let arguments = [&[nobody.as_str()], arguments].concat();
        let (status, penctl) = OURS.run(&arguments);
        assert_eq!((status.code(), penctl.stdout()), (Some(1), String::new()), "{arguments:?}");
        assert!(penctl.stderr().starts_with(&format!("penctl: {words}")), "{arguments:?}: {}", penctl.stderr());
    }
}
