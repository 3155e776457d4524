//! Checks while there is a lot going on.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{FAST, facts, put_script, start, state, wait_down, wait_state};
use crate::harness::{
    Backend, Client, Control, Launch, Pen, Process, Scratch, free_port, greet, hold, program, skip, visit, wait_until,
};

/// Far longer than an answer takes on a busy machine.
const DELAY: Duration = Duration::from_secs(1);

/// Tells its name to all who come, in a process of its own.
const SERVER: &str = "
import socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b'a\\n')
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 1000
Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
";

/// When a client came, and whether it had to wait.
type Arrival = (Instant, bool);

/// Three hundred clients come in three seconds; the server is stopped after the first fifty.
fn clients_while_a_server_is_stopped(pen: &Pen, server: &Process) -> Vec<Arrival> {
    let arrivals = Mutex::new(Vec::new());
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..300 {
            wait_until("the next client's time", || start.elapsed() >= Duration::from_millis(10) * number);
            if number == 50 {
                server.signal(Signal::STOP);
            }
            let arrivals = &arrivals;
            scope.spawn(move || {
                let (came, client) = (Instant::now(), Client::connect(pen));
                let waited = client.hears_nothing_for(DELAY);
                arrivals.lock().unwrap().push((came, waited));
            });
        }
    });
    server.signal(Signal::CONT);
    arrivals.into_inner().unwrap()
}

#[test]
fn of_three_hundred_clients_only_those_of_one_interval_wait_for_a_server_that_is_stopped() {
    let Some(python) = program("python3") else { return skip("this needs python3") };
    let port = free_port();
    let mut command = Command::new(python);
    command.args(["-c", SERVER, &port.to_string()]);
    let (a, b) = (Process::start(command), Backend::named("b"));
    let address = format!("127.0.0.1:{port}");
    let mut commands = FAST.to_vec();
    commands.extend(["roundrobin", "server 0 check banner a"]);
    let (pen, control) = start(&commands, &[&address, &b]);
    wait_until("the server", || visit(&pen, "127.0.0.2").as_deref() == Some("a"));
    let (down, arrivals) = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let reason = wait_down(&control, 0);
            assert_eq!(reason, "banner: the answer timed out after 1 s");
            Instant::now()
        });
        let arrivals = clients_while_a_server_is_stopped(&pen, &a);
        (watcher.join().unwrap(), arrivals)
    });
    let waited: Vec<_> = arrivals.iter().filter(|(_, waited)| *waited).collect();
    assert!(waited.iter().all(|(came, _)| *came < down), "{} clients waited", waited.len());
    assert!(arrivals.iter().any(|(came, _)| *came > down), "the server was not found to be down");
    wait_state(&control, 0, "up");
    // Without checks clients wait to the end.
    control.tell(&["server 0 check off"]);
    let arrivals = clients_while_a_server_is_stopped(&pen, &a);
    let last = arrivals.iter().filter(|(_, waited)| *waited).map(|(came, _)| *came).max().unwrap();
    let after = arrivals.iter().filter(|(came, _)| *came > last).count();
    assert!(after <= 5, "{after} of the last clients did not wait");
}

/// Visits pen until `done`, and counts. Each visit is answered, and none waits for long.
fn visitors(pen: &Pen, done: &AtomicBool, count: &AtomicUsize, number: u8) {
    let ip = format!("127.0.3.{number}");
    while !done.load(Ordering::SeqCst) {
        let start = Instant::now();
        assert!(visit(pen, &ip).is_some(), "a client was turned away");
        assert!(start.elapsed() < 5 * DELAY, "a client waited for {:?}", start.elapsed());
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Does that while there are visitors. Returns how many visits there were.
fn under_load(pen: &Pen, work: impl FnOnce()) -> usize {
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 1..=4 {
            let (done, count) = (&done, &count);
            scope.spawn(move || visitors(pen, done, count, number));
        }
        // The visitors end also if this fails.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _end = End(&done);
        work();
    });
    count.into_inner()
}

/// Has the file read again so often, each time with other lines, 20 ms apart.
fn reload(pen: &Pen, control: &Control, file: &std::path::Path, times: u32, lines: impl Fn(u32) -> String) {
    let start = Instant::now();
    for number in 0..times {
        let new = file.with_extension("new");
        fs::write(&new, lines(number)).unwrap();
        fs::rename(&new, file).unwrap();
        pen.signal(Signal::HUP);
        wait_until("the time for the next HUP", || start.elapsed() >= Duration::from_millis(20) * number);
    }
    fs::write(file, lines(times) + "timeout 99\n").unwrap();
    pen.signal(Signal::HUP);
    wait_until("the last reload", || control.say("timeout") == "99\n");
}

#[test]
fn a_hundred_hups_change_neither_the_states_nor_the_pace_of_the_checks() {
    let (a, b, dead, health) =
        (Backend::named("a"), Backend::named("b"), Backend::down("dead"), Backend::named("health"));
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let server =
        |number: usize, backend: &Backend| format!("server {number} address 127.0.0.1 port {} ", backend.port());
    let lines = |number: u32| {
        let own = format!("check_port {} check banner health\n", health.port());
        format!(
            "check_interval 1\ncheck_fall 2\ncheck tcp\nroundrobin\n{}max {number}\n{}{own}{}\n",
            server(0, &a),
            server(1, &b),
            server(2, &dead)
        )
    };
    fs::write(&file, lines(1)).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    let control = pen.control();
    wait_state(&control, 2, "down");
    let (visits, start) = (health.visits(), Instant::now());
    let clients = under_load(&pen, || reload(&pen, &control, &file, 100, |number| lines(number % 3 * 1000)));
    assert!(clients > 4, "{clients}");
    assert_eq!([0, 1, 2].map(|server| state(&control, server)), ["up", "up", "down"]);
    // Not one more for each HUP.
    let (checks, seconds) = (health.visits() - visits, start.elapsed().as_secs() as usize);
    assert!(checks <= seconds + 3, "{checks} checks in {seconds} s");
    assert_eq!(pen.stderr().matches(" -> ").count(), 1, "{}", pen.stderr());
}

#[test]
fn two_hundred_servers_are_reloaded_under_load() {
    let web = Backend::on("web", Ipv4Addr::UNSPECIFIED.into(), free_port(), greet);
    let dead = Backend::down("dead");
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    // Each tenth server is dead, and all move by one place with each reload.
    let lines = |shift: u32| {
        let server = |number: u32| {
            let other = (number + shift) % 200;
            let port = if other % 10 == 9 { dead.port() } else { web.port() };
            format!("server {number} address {} port {port}\n", Ipv4Addr::new(127, 0, 1, other as u8))
        };
        let settings = "no servers\ncheck tcp\ncheck_interval 1\ncheck_fall 1\ncheck_rise 1\nroundrobin\nblacklist 1\n";
        settings.to_string() + &(0..200).map(server).collect::<String>()
    };
    fs::write(&file, lines(0)).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    let control = pen.control();
    let right = |shift: u32| {
        let servers: serde_json::Value = serde_json::from_str(&control.say("servers json")).unwrap();
        let wanted = |number: u32| if (number + shift) % 200 % 10 == 9 { "down" } else { "up" };
        (0..200).all(|number| servers[number as usize]["state"] == *wanted(number))
    };
    wait_until("all states to be right", || right(0));
    let threads = pen.threads();
    let clients = under_load(&pen, || reload(&pen, &control, &file, 50, lines));
    assert!(clients > 4, "{clients}");
    wait_until("all states to be right", || right(50));
    // Workers for the visitors, and the threads of the control port, of which there are 64 at most.
    assert!(pen.threads() <= threads + 4 + 64, "{} threads, {threads} before", pen.threads());
}

#[test]
fn checks_that_hang_delay_no_client_and_no_other_check() {
    // What checks on the thread that carries data would do.
    let (a, deaf) = (Backend::named("a"), Backend::on("deaf", Ipv4Addr::UNSPECIFIED.into(), free_port(), hold));
    let mut commands: Vec<_> = FAST.iter().map(ToString::to_string).collect();
    commands.push(String::from("check tcp"));
    for number in 1..=60 {
        commands.push(format!(
            "server {number} address 127.0.1.{number} port {} check_timeout 60 check banner",
            deaf.port()
        ));
        commands.push(format!("server {number} maint"));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let other = Backend::named("other");
    let address = format!("server 61 address 127.0.0.1 port {} drain", other.port());
    let (pen, control) = start(&[&commands[..], &[&address]].concat(), &[&a]);
    wait_until("all checks to hang", || deaf.present() == 60);
    let clients = under_load(&pen, || {
        other.stop();
        wait_until("a check that fails", || facts(&control, 61)["failures"].as_u64() >= Some(1));
        other.start();
        wait_until("a check that succeeds", || facts(&control, 61)["failures"] == 0);
    });
    assert!(clients > 4, "{clients}");
    assert_eq!(deaf.visits(), 60);
}

#[test]
fn there_are_never_two_checks_of_a_server_at_a_time() {
    let (slow, quick) = (Backend::new("slow", hold), Backend::named("quick"));
    let (_pen, control) = start(&["check_interval 1", "check_timeout 3", "check banner"], &[&slow, &quick]);
    wait_until("checks of the quick one", || {
        assert!(slow.present() <= 1);
        quick.visits() >= 4
    });
    assert!(slow.visits() <= 2, "{}", slow.visits());
    wait_until("it to fail", || facts(&control, 0)["failures"].as_u64() >= Some(1));
}

#[test]
fn a_thousand_checks_leave_no_descriptor_no_thread_and_no_process() {
    let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let web = Backend::on("web", any, free_port(), |visit| visit.write(b"HTTP/1.0 200 OK\r\n\r\n"));
    let (deaf, dead, scratch) = (Backend::on("deaf", any, free_port(), hold), Backend::down("dead"), Scratch::new());
    let script = put_script(scratch.path(), "script", &format!("echo >>{}/calls; exit 1", scratch.path().display()));
    let mut commands: Vec<_> = FAST.iter().map(ToString::to_string).collect();
    for number in 0..240 {
        let (port, check) = match number % 8 {
            0 => (web.port(), "tcp".into()),
            1 => (web.port(), "http / status 200".into()),
            2 => (web.port(), "http / status 404".into()),
            3 => (dead.port(), "http".into()),
            4 if number < 80 => (deaf.port(), "banner".into()),
            5 => (dead.port(), "udp x".into()),
            6 if number < 16 => (dead.port(), format!("exec {}", script.display())),
            _ => (web.port(), "file /no/such/file".into()),
        };
        commands.push(format!("server {number} address 127.0.1.{number} port {port} check {check}"));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let spare = Backend::named("spare");
    let (pen, control) = start(&commands, &[&spare]);
    let calls = || fs::read_to_string(scratch.join("calls")).unwrap_or_default().len();
    // Until the kernel and pen have what they keep.
    wait_until("the first checks", || web.visits() >= 90 && calls() >= 2 && deaf.visits() >= 10);
    let all_off: String = (0..240).map(|number| format!("server {number} maint\n")).collect();
    control.write(all_off.as_bytes());
    let (descriptors, threads) = (pen.descriptors().len(), pen.threads());
    wait_until("a thousand checks", || web.visits() >= 450);
    // Those that are under way, and one for a program.
    wait_until("no more descriptors than before", || pen.descriptors().len() <= descriptors.min(64));
    assert!(pen.threads() <= threads, "{} threads, {threads} before", pen.threads());
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", pen.pid())).unwrap_or_default();
    assert!(children.split_whitespace().count() <= 1, "{children}");
}
