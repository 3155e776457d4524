//! Two pens that share an address: it moves when one of them fails, and stays when only their servers do.

mod lab;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::harness::{Backend, DEADLINE, Launch, Process, Scratch, let_pass, program, skip, visit, wait_until};
use crate::service::make;
use lab::{CONTROL, Lab, SHARED, on_a_network};

/// Within which time new connections work after a failure, on a busy host, too: far longer than pen(1) says of keepalived and of ucarp.
const SOON: Duration = Duration::from_secs(8);

/// In how many ways a pen fails here.
const WAYS: usize = 3;

/// What keeps the address: on each host a program, which ends with this.
struct Keepers {
    programs: [Process; 2],
}

impl Keepers {
    /// keepalived with the example, in which the second host has what its comments say.
    fn keepalived(lab: &Lab) -> Option<Self> {
        let Some(keepalived) = program("keepalived") else {
            skip("Debian's package \"keepalived\" is not installed");
            return None;
        };
        let example = lab.example("keepalived.conf");
        let (above, below) = example.split_once("    # virtual_ipaddress_excluded {\n").unwrap();
        let first = format!("{above}virtual_ipaddress_excluded {{\n{}", below.replacen("    # ", "    ", 2));
        let second = first.replace("router_id lb1", "router_id lb2").replace("priority 110", "priority 100");
        assert_ne!(first, second);
        let files = [lab.file("lb1.conf", &first), lab.file("lb2.conf", &second)];
        let start = |n: usize| {
            let mut command = lab.hosts[n].command(&keepalived);
            command.args(["--vrrp", "--dont-fork", "--log-console", "--log-detail"]);
            command.args(["--pid", "/run/keepalived.pid", "--vrrp_pid", "/run/vrrp.pid", "--use-file"]).arg(&files[n]);
            Process::start(command)
        };
        Some(Self::start(lab, start))
    }

    /// The example for ucarp.
    fn ucarp(lab: &Lab) -> Option<Self> {
        if program("ucarp").is_none() {
            skip("Debian's package \"ucarp\" is not installed");
            return None;
        }
        Some(Self::start(lab, |n| Self::pen_ucarp(lab, n)))
    }

    fn pen_ucarp(lab: &Lab, host: usize) -> Process {
        let script = lab.file("pen-ucarp", &lab.example("pen-ucarp"));
        let password = lab.file("password", "secret\n");
        let mut command = lab.hosts[host].command("sh");
        command.arg(&script).args(["eth0", lab.hosts[host].address(), SHARED]).arg(&password).arg(CONTROL);
        Process::start(command)
    }

    /// The script of that host is killed, and its ucarp goes on: the next script ends it before it starts another.
    #[track_caller]
    fn left_behind(&mut self, lab: &Lab, host: usize) {
        let record = || -> Option<Pid> {
            let mut command = lab.hosts[host].command("cat");
            let output = command.arg(format!("/run/pen-ucarp.eth0.{SHARED}")).output().unwrap();
            Pid::from_raw(String::from_utf8(output.stdout).unwrap().trim().parse().ok()?)
        };
        let left = record().unwrap();
        self.programs[host].signal(Signal::KILL);
        wait_until("the end of the script", || self.programs[host].ended().is_some());
        assert!(test_kill_process(left).is_ok(), "ucarp has ended with its script");
        // It lives on here until ucarp, which has its output, has ended.
        let _script = std::mem::replace(&mut self.programs[host], Self::pen_ucarp(lab, host));
        wait_until("another ucarp", || record().is_some_and(|pid| pid != left));
        wait_until("the end of the first ucarp", || test_kill_process(left).is_err());
        wait_until("the address to be on one host", || lab.holders().len() == 1);
    }

    /// Starts one on each host. The first one to start has the address.
    fn start(lab: &Lab, start: impl Fn(usize) -> Process) -> Self {
        let first = start(0);
        lab.wait_for_holder(0);
        Self { programs: [first, start(1)] }
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        // They end what they have started.
        for keeper in &mut self.programs {
            if keeper.ended().is_none() {
                keeper.signal(Signal::TERM);
            }
        }
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && !self.programs.iter_mut().all(|keeper| keeper.ended().is_some()) {
            let_pass(Duration::from_millis(10));
        }
    }
}

/// Lets the pen of the host that has the address fail in one of the ways, and come back. Returns how long new connections did not work,
/// and how many clients have another server than before.
#[track_caller]
fn fail_over(lab: &mut Lab, active: usize, way: usize) -> (Duration, usize) {
    let homes = lab.homes();
    let pen = lab.hosts[active].pen.as_ref().unwrap();
    match way % WAYS {
        0 => pen.signal(Signal::KILL),
        1 => pen.signal(Signal::STOP),
        _ => lab.hosts[active].cable(false),
    }
    let time = lab.until_served();
    let changed = lab.homes().iter().zip(&homes).filter(|(after, before)| after != before).count();
    lab.wait_for_holder(1 - active);
    match way % WAYS {
        0 => lab.hosts[active].start_pen(),
        1 => lab.hosts[active].pen.as_ref().unwrap().signal(Signal::CONT),
        _ => lab.hosts[active].cable(true),
    }
    wait_until("the failed pen to answer again", || lab.hosts[active].alive() == Some(0));
    (time, changed)
}

/// Lets the active pen fail in all ways, and then the servers. PEN_FAIL_OVERS in the environment is the number of failures.
fn exercise(lab: &mut Lab) {
    let count = std::env::var("PEN_FAIL_OVERS").ok().map_or(WAYS, |count| count.parse().unwrap());
    let mut times = Vec::new();
    let mut changed = 0;
    for way in 0..count {
        // The other host is a part of the pair again, and has let the address be.
        stays_for(lab, Duration::from_secs(4), way % 2);
        let (time, moved) = fail_over(lab, way % 2, way);
        times.push(time);
        changed += moved;
    }
    println!("{count} fail-overs, in turn by KILL, STOP and a cut cable: {times:?}");
    times.sort();
    let worst = times.last().unwrap();
    println!("{count} fail-overs: median {:?}, worst {worst:?}; {changed} clients changed servers", times[count / 2]);
    assert!(*worst < SOON, "{times:?}");
    assert_eq!(changed, 0, "clients changed servers");
    // A reload is no failure.
    let active = lab.hosts[count % 2].pen.as_ref().unwrap();
    for _ in 0..20 {
        active.signal(Signal::HUP);
        stays_for(lab, Duration::from_millis(200), count % 2);
    }
    active.wait_for_line("read again");
    servers_fail(lab, count % 2);
}

/// Asserts that the address stays on that host, and only there, for this time.
#[track_caller]
fn stays_for(lab: &Lab, time: Duration, holder: usize) {
    for _ in 0..10 {
        let_pass(time / 10);
        assert_eq!(lab.holders(), [holder]);
    }
}

#[track_caller]
fn servers_fail(lab: &Lab, holder: usize) {
    lab.servers.iter().for_each(Backend::stop);
    lab.wait_for_refusal();
    assert!(lab.hosts[holder].health().contains("no server"), "{}", lab.hosts[holder].health());
    assert_eq!(lab.hosts[holder].alive(), Some(0));
    stays_for(lab, Duration::from_secs(5), holder);
    lab.servers.iter().for_each(Backend::start);
    lab.until_served();
    lab.wait_for_holder(holder);
}

#[test]
fn with_keepalived_the_address_moves_when_pen_fails_and_stays_when_its_servers_do() {
    on_a_network(|lab| {
        lab.hosts.iter_mut().for_each(lab::Host::start_pen);
        let Some(_keepers) = Keepers::keepalived(lab) else { return };
        wait_until("the IPv6 address, too", || lab.hosts[0].has(" 2001:db8::10/"));
        exercise(lab);
    });
}

#[test]
fn with_ucarp_the_address_moves_when_pen_fails_and_stays_when_its_servers_do() {
    on_a_network(|lab| {
        lab.hosts.iter_mut().for_each(lab::Host::start_pen);
        let Some(mut keepers) = Keepers::ucarp(lab) else { return };
        exercise(lab);
        keepers.left_behind(lab, WAYS % 2);
    });
}

#[test]
fn pen_alive_is_content_with_an_answer_and_with_nothing_else() {
    let folder = Scratch::new();
    make("install", &folder.join("image"), &["PREFIX=/usr"]);
    let script = fs::read_to_string(folder.join("image/usr/libexec/pen-alive")).unwrap();
    let bin = folder.join("image/usr/bin").display().to_string();
    let alive = folder.join("pen-alive");
    fs::write(&alive, script.replace("/usr/bin/penctl", &format!("{bin}/penctl"))).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(&alive).args(arguments);
        let mut process = Process::start(command);
        (process.wait_exit().code().unwrap(), process.stdout(), process.stderr())
    };
    let (up, down) = (Backend::named("a"), Backend::down("b"));
    let content = (0, String::new(), String::new());
    for servers in [&up, &down] {
        let pen = Launch::ours().control().options(&["-b", "600"]).servers(&[servers]).start();
        visit(&pen, "127.0.0.2");
        assert_eq!(ask(&[pen.control().text()]), content);
        assert_eq!(ask(&[pen.control().text(), "5"]), content);
        pen.signal(Signal::STOP);
        let (code, _, told) = ask(&[pen.control().text()]);
        assert_eq!((code, told.as_str()), (1, "penctl: no complete reply within 1 s\n"));
        pen.signal(Signal::CONT);
        let gone = pen.control();
        drop(pen);
        let (code, _, told) = ask(&[gone.text()]);
        assert!(code == 1 && told.contains("error connecting to server"), "{code}: {told}");
    }
    // It denies us: who asks is not told whether it serves.
    let pen = Launch::ours().control().options(&["-O", "acl 1 deny 0.0.0.0/0", "-O", "control_acl 1"]).servers(&[&up]);
    let pen = pen.start();
    assert_eq!(ask(&[pen.control().text()]).0, 1);
    for wrong in [&[][..], &["1", "2", "3"]] {
        let (code, _, told) = ask(wrong);
        assert_eq!((code, told.as_str()), (2, "usage: pen-alive HOST:PORT|/path/to/socket [SECONDS]\n"));
    }
}
