//! Limits: connections, descriptors, and an administrator who does not read.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{
    Backend, Client, Launch, Pen, Process, Program, Scratch, free_port, is_root, program, skip, visit, wait_until,
};

#[test]
fn clients_above_the_limit_wait_and_are_served_when_a_place_is_free() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-x2"], &[&a]);
    let first = Client::connect(&pen);
    let second = Client::connect(&pen);
    assert_eq!(first.line().as_deref(), Some("a"));
    assert_eq!(second.line().as_deref(), Some("a"));
    let waiting: Vec<_> = (0..20).map(|_| Client::connect(&pen)).collect();
    assert!(waiting[0].hears_nothing_for(Duration::from_millis(200)), "there is no third place");
    assert_eq!((a.visits(), pen.connections(0)), (2, 2));
    drop(first);
    for client in waiting {
        assert_eq!(client.line().as_deref(), Some("a"));
    }
    second.assert_echo("was here all the time");
}

#[test]
fn there_are_never_more_connections_than_the_limit() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-x3"], &[&a]);
    let clients: Vec<_> = (0..12).map(|_| Client::connect(&pen)).collect();
    for client in clients {
        assert_eq!(client.line().as_deref(), Some("a"));
        assert!(pen.connections(0) <= 3);
    }
}

/// Sets how many descriptors a running pen may have.
fn limit_descriptors(pen: &Pen, count: usize) {
    let pid = Pid::from_raw(i32::try_from(pen.pid()).unwrap());
    let limit = Rlimit { current: Some(count as u64), ..current(pen) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

/// Leaves it so many numbers for descriptors. One of them is the acceptor's for the next client, which /proc does not show. What it
/// inherited may have any number, so they cannot simply be counted.
fn leave_descriptors(pen: &Pen, room: usize) {
    let used = pen.descriptors();
    let last = (0..).filter(|number| !used.contains(number)).nth(room - 1).unwrap();
    // Those in use stay below the limit, so that they can be used again.
    limit_descriptors(pen, (last + 1..).find(|number| !used.contains(number)).unwrap());
}

/// The limits it has.
fn current(pen: &Pen) -> Rlimit {
    let limits = fs::read_to_string(format!("/proc/{}/limits", pen.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3).map(|word| word.parse().ok());
    Rlimit { current: numbers.next().flatten(), maximum: numbers.next().flatten() }
}

/// With two sessions open, what happens when only so many more descriptors are left?
fn run_out_of_descriptors(room: usize) {
    let a = Backend::named("a");
    // Nobody's patience is over before the test's.
    // An acceptor of a control port would hold one more number that /proc does not show.
    let mut pen = Launch::ours().uncounted().options(&["-t", "60"]).servers(&[&a]).start();
    let held = [Client::connect(&pen), Client::connect(&pen)];
    for client in &held {
        assert_eq!(client.line().as_deref(), Some("a"));
    }
    let start = Instant::now();
    leave_descriptors(&pen, room);
    thread::scope(|scope| {
        let pen = &pen;
        let visit = || {
            let client = Client::connect(pen);
            pen.wait_for_line("Too many open files");
            client.line()
        };
        // No more than that: if all that is free went to clients, none would be left for a server.
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(visit)).collect();
        pen.wait_for_line("Too many open files");
        for client in held {
            client.assert_echo("who is there is served");
        }
        for client in clients {
            assert_eq!(client.join().unwrap().as_deref(), Some("a"), "a client was dropped for want of descriptors");
        }
    });
    for words in ["cannot accept clients on 127.0.0.1:", "cannot connect to a server: "] {
        let complaints = pen.stderr().matches(words).count() as u64;
        assert!(complaints <= start.elapsed().as_secs() + 1, "{complaints} complaints: {}", pen.stderr());
    }
    assert!(!pen.stderr().contains("blacklisted"), "{}", pen.stderr());
    pen.terminate();
}

#[test]
fn without_a_descriptor_for_the_server_a_client_waits_for_one() {
    run_out_of_descriptors(1);
}

#[test]
fn out_of_descriptors_it_serves_on_and_takes_more_clients_when_one_is_free() {
    run_out_of_descriptors(3);
}

fn acceptor_sleeps(pen: &Pen) -> bool {
    let mut tasks = fs::read_dir(format!("/proc/{}/task", pen.pid())).unwrap();
    tasks.any(|task| {
        fs::read_to_string(task.unwrap().path().join("stat")).is_ok_and(|stat| stat.contains("(acceptor) S "))
    })
}

#[test]
fn without_hope_for_a_descriptor_a_client_is_refused() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let pen = Launch::ours().uncounted().options(&["-t", "1", "-d"]).servers(&[&a, &b]).start();
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.wait_for_connections(0, 0);
    wait_until("the acceptor to have a descriptor for the next client", || acceptor_sleeps(&pen));
    let enough = current(&pen);
    limit_descriptors(&pen, 0);
    assert_eq!(visit(&pen, "127.0.0.2"), None, "nobody has one to give back");
    pen.wait_for_line("cannot connect to a server: Too many open files");
    pen.wait_for_line("refused: this host is short of descriptors");
    let tries = pen
        .stderr()
        .lines()
        .filter(|line| line.contains("connection ") && line.ends_with("Too many open files"))
        .count();
    assert_eq!(tries, 1, "it would lack one for the other server too: {}", pen.stderr());
    limit_descriptors(&pen, enough.current.unwrap() as usize);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn a_client_waits_for_a_descriptor_longer_than_for_a_server_while_somebody_has_one() {
    let a = Backend::named("a");
    let pen = Launch::ours().uncounted().options(&["-t", "1"]).servers(&[&a]).start();
    let held = Client::connect(&pen);
    assert_eq!(held.line().as_deref(), Some("a"));
    leave_descriptors(&pen, 1);
    let waiting = Client::connect(&pen);
    assert!(waiting.hears_nothing_for(Duration::from_secs(2)), "it was refused, or served by what?");
    drop(held);
    assert_eq!(waiting.line().as_deref(), Some("a"));
}

#[test]
fn with_few_descriptors_there_are_few_connections_at_once_and_everybody_is_served() {
    let a = Backend::named("a");
    let wrapper = with_descriptors("40");
    let Some(wrapper) = wrapper else { return };
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let pen = Launch::ours().wrapper(&wrapper).servers(&[&a]).start();
    let clients: Vec<_> = (0..30).map(|_| Client::connect(&pen)).collect();
    for client in clients {
        assert_eq!(client.line().as_deref(), Some("a"));
        assert!(pen.connections(0) <= 13);
    }
    assert!(!pen.stderr().contains("cannot"), "{}", pen.stderr());
}

/// The command that executes another with so many descriptors and no right to more.
fn with_descriptors(count: &str) -> Option<Vec<String>> {
    let mut command = Vec::new();
    if is_root() {
        // Root may raise every limit, unless that right is taken away.
        let Some(setpriv) = program("setpriv") else {
            skip("setpriv is not installed");
            return None;
        };
        command.extend([setpriv, String::from("--bounding-set=-sys_resource")]);
    }
    command.extend(["sh", "-c", &format!("ulimit -n {count}; exec \"$@\""), "sh"].map(String::from));
    Some(command)
}

#[test]
fn the_limit_on_descriptors_is_raised_to_what_the_connections_need() {
    let a = Backend::named("a");
    let wrapper = ["sh", "-c", "ulimit -Sn 64; exec \"$@\"", "sh"];
    let pen = Launch::ours().wrapper(&wrapper).options(&["-x", "400"]).servers(&[&a]).start();
    assert!(current(&pen).current.is_none_or(|count| count >= 2 * 400 + 10), "{:?}", current(&pen));
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(pen.stderr(), "");
}

#[test]
fn a_limit_that_cannot_be_raised_is_warned_of_and_kept() {
    let a = Backend::named("a");
    let Some(wrapper) = with_descriptors("64") else { return };
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let pen = Launch::ours().wrapper(&wrapper).options(&["-x", "400"]).servers(&[&a]).start();
    pen.wait_for_line("the limit on open files is enough for 25 connections, not 400: see ulimit -n");
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(&pen)).collect();
    let waiting = clients.split_off(25);
    for client in &clients {
        assert_eq!(client.line().as_deref(), Some("a"));
    }
    assert_eq!(pen.connections(0), 25);
    drop(clients);
    for client in waiting {
        assert_eq!(client.line().as_deref(), Some("a"));
        assert!(pen.connections(0) <= 25);
    }
    assert!(!pen.stderr().contains("cannot"), "{}", pen.stderr());
}

#[test]
fn with_every_descriptor_for_sessions_in_use_administrators_and_bulk_are_served() {
    let a = Backend::named("a");
    let Some(mut wrapper) = with_descriptors("64") else { return };
    let scratch = Scratch::new();
    let [pid, log, page, file] = ["pen.pid", "pen.log", "page.html", "pen.conf"].map(|name| scratch.join(name));
    fs::write(&file, "timeout 4\n").unwrap();
    let [pid, log, page, file] = [pid, log, page, file].map(|path| path.display().to_string());
    let options = ["-p", &pid, "-l", &log, "-w", &page, "-F", &file, "-x", "400"];
    let wrapper: Vec<_> = wrapper.iter_mut().map(|word| word.as_str()).collect();
    let pen = Launch::ours().wrapper(&wrapper).control().options(&options).servers(&[&a]).start();
    let clients: Vec<_> = (0..24).map(|_| Client::connect(&pen)).collect();
    for client in &clients {
        assert_eq!(client.line().as_deref(), Some("a"));
    }
    clients[0].assert_echo(&"x".repeat(3_000_000));
    let control = pen.control();
    assert!(control.say("status").contains("Pen status page"));
    assert_eq!(control.say("write"), "");
    assert_eq!(control.say(&format!("include {file}")), "");
    assert_eq!(control.say(&format!("log {log}.1")), format!("{log}.1\n"));
    pen.signal(rustix::process::Signal::HUP);
    pen.wait_for_line("read again");
    assert!(!pen.stderr().contains("annot"), "{}", pen.stderr());
}

#[test]
fn idlers_give_way_to_clients_and_come_back() {
    let a = Backend::named("a");
    let Some(wrapper) = with_descriptors("200") else { return };
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let options = ["-x", "90", "-O", "idlers 150"];
    let pen = Launch::ours().wrapper(&wrapper).control().options(&options).servers(&[&a]).start();
    let control = pen.control();
    wait_until("all idlers", || control.say("idlers") == "Idlers: 150/150\n");
    let clients: Vec<_> = (0..90).map(|_| Client::connect(&pen)).collect();
    for client in &clients {
        assert_eq!(client.line().as_deref(), Some("a"));
    }
    for client in &clients {
        client.assert_echo("all at once");
    }
    wait_until("few idlers", || control.say("idlers") == "Idlers: 0/150\n");
    assert!(!pen.stderr().contains("annot"), "{}", pen.stderr());
    drop(clients);
    wait_until("all idlers again", || control.say("idlers") == "Idlers: 150/150\n");
}

#[test]
fn many_servers_and_idlers_take_little_memory() {
    let a = Backend::named("a");
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let server = |number| format!("server {number} address 127.0.0.1 port {}\n", a.port());
    fs::write(&file, format!("idlers 3\n{}", (0..10_000).map(server).collect::<String>())).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    let control = pen.control();
    wait_until("the idlers", || control.say("idlers") == "Idlers: 3/3\n");
    assert_eq!(control.say(&format!("include {}", file.display())), "");
    let peak = pen.peak_memory();
    assert!(peak < 60_000_000, "{peak} bytes");
}

/// Executes another command with so many KiB of address space.
fn with_address_space(kib: &str) -> [String; 4] {
    ["sh", "-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"].map(String::from)
}

#[test]
fn a_table_that_does_not_fit_into_the_memory_is_refused_and_nothing_changes() {
    let a = Backend::named("a");
    let scratch = Scratch::new();
    let file = scratch.join("large.conf");
    fs::write(&file, "blacklist 99\nclients_max 10000000\n").unwrap();
    let (wrapper, port) = (with_address_space("400000"), free_port());
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let control = format!("127.0.0.1:{port}");
    let pen = Launch::ours().wrapper(&wrapper).control_at(&control).servers(&[&a]).start();
    let control = pen.control();
    assert_eq!(control.say("clients_max 10000000"), "clients_max 10000000: not enough memory\n");
    assert_eq!(control.say("conn_max 1000000"), "conn_max 1000000: not enough memory\n");
    assert_eq!(control.say(&format!("include {}", file.display())), "clients_max 10000000: not enough memory\n");
    assert_eq!(["clients_max", "conn_max", "blacklist"].map(|word| control.say(word)), ["2048\n", "500\n", "30\n"]);
    assert_eq!(control.say("clients_max 3000"), "3000\n");
    assert_eq!(control.say("conn_max 600"), "600\n");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn a_table_that_does_not_fit_into_the_memory_prevents_a_start() {
    for (option, words) in [("-c10000000", "clients_max 10000000"), ("-x1000000", "conn_max 1000000")] {
        for check in ["--check", "-f"] {
            let mut command = with_address_space("100000").to_vec();
            command.extend([Program::Ours.path(), check, option, "127.0.0.1:1", "127.0.0.1:9"].map(String::from));
            let mut pen = std::process::Command::new(&command[0]);
            pen.args(&command[1..]);
            let mut pen = Process::start(pen);
            assert_eq!(pen.wait_exit().code(), Some(1), "{}", pen.stderr());
            assert_eq!(pen.stderr(), format!("{}: {words}: not enough memory\n", "pen"));
        }
    }
}

#[test]
fn out_of_memory_for_threads_it_serves_with_those_it_has_and_tells_that_once() {
    let a = Backend::named("a");
    const CLIENTS: usize = 320;
    // A thread allocates twice. Which of them fails depends on what is left. How many threads there can be depends on how many heaps the C
    // library has made for the first ones, so it may be enough for all clients now and then.
    let mut short = 0;
    for kib in (0..6).map(|step| 250_000 + 24 * step) {
        let wrapper = with_address_space(&kib.to_string());
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let mut pen = Launch::ours().wrapper(&wrapper).options(&["-x", "400"]).servers(&[&a]).start();
        let clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&pen)).collect();
        let is_short = || pen.stderr().contains("cannot start more than ");
        wait_until("all threads that there can be", || is_short() || pen.threads() > CLIENTS);
        let told = usize::from(is_short());
        short += told;
        for client in clients {
            assert_eq!(client.line().as_deref(), Some("a"), "with {kib} KiB");
        }
        assert_eq!(pen.stderr().matches("cannot start").count(), told, "{}", pen.stderr());
        pen.terminate();
    }
    assert!(short > 0, "it was never short of memory");
}

#[test]
fn a_limit_on_threads_is_warned_of_and_kept() {
    let Some(prlimit) = program("prlimit").filter(|_| is_root()) else {
        return skip("only root can run pen as a user without other processes, and with prlimit");
    };
    let a = Backend::named("a");
    let options = ["-x", "100", "-u", "61234:61234"];
    let mut pen = Launch::ours().wrapper(&[&prlimit, "--nproc=40"]).options(&options).servers(&[&a]).start();
    pen.wait_for_line("the limit on processes is enough for 24 connections, not 100: see ulimit -u");
    let clients: Vec<_> = (0..60).map(|_| Client::connect(&pen)).collect();
    for client in clients {
        assert_eq!(client.line().as_deref(), Some("a"));
        assert!(pen.threads() <= 40);
    }
    assert!(!pen.stderr().contains("cannot"), "{}", pen.stderr());
    pen.terminate();
}

#[test]
fn hundreds_of_clients_at_once_are_served() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-x", "400", "-c", "1000"], &[&a]);
    let clients: Vec<_> = (0..300).map(|_| Client::connect(&pen)).collect();
    for client in &clients {
        assert_eq!(client.line().as_deref(), Some("a"));
    }
    for client in &clients {
        client.assert_echo("all at once");
    }
    assert_eq!(pen.connections(0), 300);
    drop(clients);
    pen.wait_for_connections(0, 0);
}

#[test]
fn descriptors_are_given_back() {
    let a = Backend::named("a");
    let down = Backend::down("down");
    let pen = Launch::ours().uncounted().options(&["-r", "-b0"]).servers(&[&a, &down]).start();
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.wait_for_connections(0, 0);
    let before = pen.descriptors().len();
    for _ in 0..30 {
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
        Client::connect(&pen).reset();
    }
    wait_until("the descriptors to be closed", || pen.descriptors().len() <= before);
    wait_until("the connections to be over", || pen.connections(0) == 0);
}

#[test]
fn an_administrator_who_does_not_read_holds_nobody_up() {
    let a = Backend::named("a");
    let mut pen = Launch::ours().unheard().options(&["-ddd"]).servers(&[&a]).start();
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    // Each of these makes two lines of 6000 characters, of which a full socket and a full queue take some megabytes.
    let words = "x".repeat(2000);
    for _ in 0..3000 {
        client.assert_echo(&words);
    }
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.terminate();
}

#[test]
fn clients_one_after_the_other_do_not_take_a_thread_each() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    for _ in 0..100 {
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    }
    // A worker may be a little later at being idle again than its client at coming back.
    assert!(pen.threads() < 50, "{} threads", pen.threads());
}
