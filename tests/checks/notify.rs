//! `notify`: the program that is run at each change.

use std::fs;
use std::path::PathBuf;

use super::{FAST, put_script, start, state, wait_down, wait_state};
use crate::harness::{Backend, Control, Launch, Pen, Scratch, wait_until};

/// A program, and what it tells.
struct Program {
    scratch: Scratch,
    told: PathBuf,
}

impl Program {
    /// A shell script with these lines, in which `$told` is the file of what it tells.
    fn new(lines: &str) -> Self {
        let scratch = Scratch::new();
        let told = scratch.join("told");
        put_script(
            scratch.path(),
            "program",
            &format!("folder={}\ntold=$folder/told\n{lines}", scratch.path().display()),
        );
        Self { scratch, told }
    }

    /// One that writes its arguments, each with a bar behind it.
    fn writer() -> Self {
        Self::new("line=; for fact; do line=\"$line$fact|\"; done; echo \"$line\" >>$told")
    }

    fn command(&self) -> String {
        format!("notify {}", self.scratch.join("program").display())
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.told).unwrap_or_default();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| line.trim_end().to_string()).collect()
    }

    #[track_caller]
    fn wait_for_lines(&self, count: usize) -> Vec<String> {
        wait_until(&format!("{count} lines"), || self.lines().len() >= count);
        self.lines()
    }
}

#[test]
fn it_gets_the_facts_as_arguments_in_the_order_of_the_changes() {
    let (a, b, program) = (Backend::named("a"), Backend::named("b"), Program::writer());
    let command = program.command();
    let mut commands = FAST.to_vec();
    commands.extend([command.as_str(), "server 0 check tcp"]);
    let (pen, control) = start(&commands, &[&a, &b]);
    a.stop();
    wait_down(&control, 0);
    a.start();
    wait_state(&control, 0, "up");
    control.tell(&["server 1 drain", "server 1 ready", "server 1 down it \"is\" $(on) fire; rm -rf /"]);
    let lines = program.wait_for_lines(5);
    assert_eq!(lines[0], format!("0|{a}|up|down|tcp: connection refused|1|"));
    assert!(lines[1].starts_with(&format!("0|{a}|down|up|tcp: connected|")), "{}", lines[1]);
    assert_eq!(lines[2], format!("1|{b}|up|drain|by command|0|"));
    assert_eq!(lines[3], format!("1|{b}|drain|up|by command|0|"));
    assert_eq!(lines[4], format!("1|{b}|up|down|reported: it \"is\" $(on) fire; rm -rf /|1|"));
    // A connect that fails is a change, too.
    control.tell(&["server 1 up", "server 0 check off"]);
    a.stop();
    assert_eq!(crate::harness::visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    let line = program.wait_for_lines(7).pop().unwrap();
    assert_eq!(line, format!("0|{a}|up|blacklisted|Connection refused|0|"));
    assert_eq!(control.say("no notify"), "");
    control.tell(&["server 1 drain", "server 1 ready"]);
    pen.wait_for_line("server 1 (");
    assert_eq!(program.lines().len(), 7);
}

/// Many changes of server 0, the last of which is "down".
fn flap(control: &Control, times: usize) {
    assert_eq!(control.write("server 0 down x\nserver 0 up x\n".repeat(times).as_bytes()), "");
    control.tell(&["server 0 down the last"]);
}

fn pen(program: &Program) -> (Pen, Control) {
    let (a, b) = (Backend::down("a"), Backend::down("b"));
    start(&["check_rise 1", "check_fall 1", &program.command()], &[&a, &b])
}

#[test]
fn one_runs_at_a_time_and_one_that_fails_is_logged_with_what_it_was_to_be_told() {
    let program = Program::new(
        "mkdir $folder/alone || echo twice >>$told; sleep 0.02; rmdir $folder/alone; echo >>$told; exit 3",
    );
    let (pen, control) = pen(&program);
    flap(&control, 10);
    let lines = program.wait_for_lines(21);
    assert!(!lines.contains(&String::from("twice")));
    let told = pen.wait_for_line("exit status 3; it was to be told: server 0 (");
    assert!(told.contains("/program: exit status 3; it was to be told: "), "{told}");
}

#[test]
fn a_slow_program_delays_nothing_and_the_last_state_is_told() {
    let program = Program::new("while [ ! -e $folder/go ]; do sleep 0.01; done; echo \"$4 $5\" >>$told");
    let (pen, control) = pen(&program);
    control.tell(&["server 1 down y"]);
    flap(&control, 1000);
    // pen has done all of it, and goes on.
    assert_eq!(state(&control, 0), "down");
    let memory = pen.memory();
    fs::write(program.scratch.join("go"), "").unwrap();
    wait_until("the last state", || program.lines().last().is_some_and(|line| line == "down reported: the last"));
    let lines = program.lines();
    // As many wait as have room, and nothing is left out of a server that has had one change.
    assert!((1000..=1030).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines[0], "down reported: y");
    pen.wait_for_line("changes were left out: the program of notify is slower than they come");
    assert!(memory < 100 << 20, "{memory}");
}

#[test]
fn a_program_that_is_not_there_is_told_of_in_the_log() {
    let program = Program::writer();
    fs::remove_file(program.scratch.join("program")).unwrap();
    let (pen, control) = pen(&program);
    control.tell(&["server 0 down x"]);
    let line = pen.wait_for_line("it was to be told");
    assert!(line.contains("/program: No such file or directory; it was to be told: server 0 ("), "{line}");
    assert_eq!(state(&control, 0), "down");
}

#[test]
fn it_has_no_input_no_output_and_none_of_the_descriptors_of_pen() {
    let (a, program) = (Backend::down("a"), Program::new("ls -l /proc/self/fd >$folder/list; mv $folder/list $told"));
    let pen =
        Launch::ours().control().options(&["-O", &program.command(), "-O", "check_fall 1"]).servers(&[&a]).start();
    let silent: Vec<_> = (0..5).map(|_| crate::harness::Client::connect(&pen)).collect();
    pen.control().tell(&["server 0 down x"]);
    wait_until("its list", || program.told.exists());
    let list = fs::read_to_string(&program.told).unwrap();
    assert!(!list.contains("socket:") && !list.contains("eventfd") && !list.contains("pipe:"), "{list}");
    assert_eq!(list.matches("/dev/null").count(), 2, "{list}");
    drop(silent);
}
