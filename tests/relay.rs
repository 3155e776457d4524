//! What goes through a connection, and how it ends.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    Backend, Client, End, Launch, Pen, Scratch, Visit, answer_at_the_end, echo, hold, program, reset, say_goodbye,
    skip, visit, wait_until,
};

const MIB: usize = 1024 * 1024;

/// Bytes whose value depends on their place, so that a lost, doubled or moved part shows. The period is a prime, so that it
/// meets no buffer's size.
struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 65_521;

    fn new() -> Self {
        let period = (0..Self::PERIOD).map(|i| (i * 31 % 251) as u8);
        Self(period.cycle().take(Self::PERIOD + MIB).collect())
    }

    /// `length` bytes from that place on, at most a mebibyte.
    fn at(&self, place: usize, length: usize) -> &[u8] {
        let start = place % Self::PERIOD;
        &self.0[start..start + length]
    }

    /// Sends so many bytes.
    fn send(&self, client: &Client, total: usize) {
        let mut place = 0;
        while place < total {
            let part = (total - place).min(MIB);
            client.send(self.at(place, part));
            place += part;
        }
    }

    /// Reads to the end, and checks every byte.
    #[track_caller]
    fn check(&self, client: &Client, total: usize) {
        let mut buffer = vec![0; MIB];
        let mut place = 0;
        loop {
            match client.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    assert!(buffer[..count] == *self.at(place, count), "wrong bytes from {place} on");
                    place += count;
                }
                Err(error) => panic!("after {place} bytes: {error}"),
            }
        }
        assert_eq!(place, total);
    }
}

#[test]
fn a_conversation_goes_back_and_forth() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    for n in 0..200 {
        client.assert_echo(&format!("message {n}"));
    }
    client.finish();
    assert_eq!(client.text(), "");
    assert_eq!(a.visit(0).wait_end(), "closed");
    pen.wait_for_connections(0, 0);
}

#[test]
fn a_client_that_is_done_speaking_still_hears_the_answer() {
    let a = Backend::new("a", answer_at_the_end);
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    let question = vec![b'?'; 3 * MIB + 17];
    client.send(&question);
    client.finish();
    assert_eq!(client.text(), format!("{} bytes\n", question.len()));
}

#[test]
fn a_server_that_is_done_speaking_still_hears_the_client() {
    let a = Backend::new("a", say_goodbye);
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.text(), "goodbye\n");
    client.send("wait, ");
    client.send("one more thing");
    let visit = a.visit(0);
    visit.wait_received("wait, one more thing");
    assert_eq!(visit.end(), None, "the server was told of an end that has not come");
    client.finish();
    assert_eq!(visit.wait_end(), "closed");
}

#[test]
fn a_client_that_sends_and_closes_at_once_is_heard_to_the_end() {
    let a = Backend::new("a", |visit: &Visit| visit.read_all());
    let pen = Pen::start(&[], &[&a]);
    for number in 0..20 {
        let client = Client::connect(&pen);
        client.send(vec![b'x'; 100_000]);
        drop(client);
        let visit = a.visit(number);
        assert_eq!(visit.wait_end(), "closed");
        assert_eq!(visit.count(), 100_000);
    }
}

#[test]
fn both_directions_carry_bulk_at_once_through_a_server_that_blocks_on_its_writes() {
    const TOTAL: usize = 100 * MIB;
    let a = Backend::new("a", echo);
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    let pattern = Pattern::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            pattern.send(&client, TOTAL);
            client.finish();
        });
        pattern.check(&client, TOTAL);
    });
    pen.wait_for_connections(0, 0);
    let statistics = pen.statistics();
    assert!(statistics.contains(&format!("{TOTAL} sent, {TOTAL} received\n")), "{statistics}");
}

#[test]
fn bulk_that_was_not_read_yet_when_the_server_closed_still_arrives() {
    const TOTAL: usize = 8 * MIB;
    let pattern = Arc::new(Pattern::new());
    let source = Arc::clone(&pattern);
    let a = Backend::new("a", move |visit: &Visit| {
        (0..TOTAL / MIB).try_for_each(|part| visit.write(source.at(part * MIB, MIB)))
    });
    let pen = Pen::start(&[], &[&a]);
    for _ in 0..5 {
        let client = Client::connect(&pen);
        client.finish();
        pattern.check(&client, TOTAL);
    }
}

#[test]
fn a_client_that_breaks_off_ends_its_own_session_only() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    let staying = Client::connect(&pen);
    assert_eq!(staying.line().as_deref(), Some("a"));
    let breaking = Client::connect(&pen);
    assert_eq!(breaking.line().as_deref(), Some("a"));
    breaking.assert_echo("hello");
    breaking.reset();
    a.visit(1).wait_end();
    staying.assert_echo("still here");
    pen.wait_for_connections(0, 1);
}

#[test]
fn a_server_that_breaks_off_ends_that_session_only() {
    let broken = Backend::new("broken", |visit: &Visit| {
        visit.read(&mut [0; 5])?;
        reset(visit)
    });
    let a = Backend::named("a");
    let pen = Pen::start(&["-r"], &[&a, &broken]);
    let staying = Client::connect(&pen);
    assert_eq!(staying.line().as_deref(), Some("a"));
    let unlucky = Client::connect(&pen);
    unlucky.send("hello");
    assert_eq!(unlucky.rest(), (Vec::new(), End::Reset));
    staying.assert_echo("still here");
    pen.wait_for_connections(1, 0);
    assert!(!pen.stderr().contains("blacklisted"), "a session that broke says nothing about connecting");
}

#[test]
fn a_server_that_breaks_off_at_once_harms_nobody_else() {
    let broken = Backend::new("broken", reset);
    let a = Backend::named("a");
    let pen = Pen::start(&["-r"], &[&broken, &a]);
    for _ in 0..10 {
        let unlucky = Client::connect(&pen);
        assert_eq!(unlucky.rest().0, b"");
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    }
}

#[test]
fn what_a_server_said_before_it_broke_off_is_delivered() {
    let a = Backend::new("a", |visit: &Visit| {
        visit.write(b"famous last words")?;
        visit.read(&mut [0; 5])?;
        reset(visit)
    });
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    client.send("hello");
    let (heard, end) = client.rest();
    assert_eq!((&*String::from_utf8_lossy(&heard), end), ("famous last words", End::Reset));
}

/// What a client gets of a server that speaks and `leave`s while pen has no time.
fn last_words(length: usize, leave: fn(&Visit) -> io::Result<()>) -> (Vec<u8>, End) {
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let a = Backend::new("a", move |visit: &Visit| {
        gone.lock().unwrap().recv().unwrap();
        visit.write(Pattern::new().at(0, length))?;
        leave(visit)
    });
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    a.visit(0);
    pen.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", pen.pid());
    wait_until("pen to stand still", || fs::read_to_string(&stat).unwrap().contains(") T "));
    go.send(()).unwrap();
    a.visit(0).wait_end();
    pen.signal(Signal::CONT);
    client.rest()
}

#[test]
fn an_answer_with_its_end_right_behind_it_arrives_whole_and_so_does_its_end() {
    // Less and more than one read.
    for length in [1, 20_000, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_000] {
        let (heard, end) = last_words(length, |_| Ok(()));
        assert_eq!((heard.len(), end), (length, End::Closed));
        assert!(heard == Pattern::new().at(0, length));
    }
}

#[test]
fn an_answer_with_a_reset_right_behind_it_arrives_whole() {
    for length in [1, 20_000, 60_000] {
        let (heard, end) = last_words(length, reset);
        assert_eq!((heard.len(), end), (length, End::Reset), "half an answer must not look whole");
        assert!(heard == Pattern::new().at(0, length));
    }
}

#[test]
fn a_client_that_vanishes_while_its_server_is_being_asked_frees_its_place() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-x", "1"], &[&a]);
    for _ in 0..20 {
        Client::connect(&pen).reset();
    }
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.wait_for_connections(0, 0);
}

#[test]
fn a_client_that_stops_reading_costs_no_memory_and_stops_nobody_else() {
    const TOTAL: usize = 64 * MIB;
    let pattern = Arc::new(Pattern::new());
    let source = Arc::clone(&pattern);
    let stalled = Arc::new(AtomicBool::new(false));
    let stall = Arc::clone(&stalled);
    let flood = Backend::new("flood", move |visit: &Visit| {
        let mut place = 0;
        while place < TOTAL {
            match visit.write_within(source.at(place, MIB.min(TOTAL - place)), Duration::from_millis(300)) {
                Ok(count) => place += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stall.store(true, Ordering::SeqCst),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        visit.finish()
    });
    let a = Backend::named("a");
    let pen = Pen::start(&["-r"], &[&a, &flood]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    let before = pen.memory();
    let client = Client::connect(&pen);
    wait_until("the server to be held up", || stalled.load(Ordering::SeqCst));
    let grown = pen.memory().saturating_sub(before);
    assert!(grown < 2 * MIB, "pen has taken {grown} bytes more");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    client.finish();
    pattern.check(&client, TOTAL);
}

#[test]
fn a_server_that_stops_reading_costs_no_memory_and_stops_nobody_else() {
    let mute = Backend::new("mute", hold);
    let a = Backend::named("a");
    let pen = Pen::start(&["-r"], &[&a, &mute]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    let before = pen.memory();
    let client = Client::connect(&pen);
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let part = vec![b'x'; MIB];
            while sent.load(Ordering::SeqCst) < 64 && client.try_send(&part).is_ok() {
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        wait_until("the client to be held up", || pen.statistics().lines().any(is_held_up));
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
        let grown = pen.memory().saturating_sub(before);
        assert!(grown < 2 * MIB, "pen has taken {grown} bytes more");
        assert!(!sender.is_finished(), "64 MiB have gone somewhere");
        mute.hang_up();
    });
}

/// Whether a line of the statistics shows bytes that wait for the server.
fn is_held_up(line: &str) -> bool {
    line.strip_prefix("pending data ").is_some_and(|rest| !rest.ends_with(", 0 up"))
}

#[test]
fn a_silent_session_ends_with_the_idle_timeout_and_a_busy_one_does_not() {
    let a = Backend::named("a");
    for options in [&["-O", "idle_timeout 1"][..], &["-x2", "-O", "idle_timeout 1"]] {
        let pen = Pen::start(options, &[&a]);
        let silent = Client::connect(&pen);
        let busy = Client::connect(&pen);
        assert_eq!(silent.line().as_deref(), Some("a"));
        assert_eq!(busy.line().as_deref(), Some("a"));
        wait_until("the silent session to be ended", || {
            busy.assert_echo("busy");
            !silent.hears_nothing_for(Duration::from_millis(50))
        });
        assert_eq!(silent.rest().0, b"");
        busy.assert_echo("still busy");
    }
}

#[test]
fn the_idle_timeout_holds_for_half_closed_sessions_and_without_it_there_is_none() {
    let mute = Backend::new("mute", hold);
    let pen = Pen::start(&["-O", "idle_timeout 1"], &[&mute]);
    let patient = Pen::start(&[], &[&mute]);
    let half = Client::connect(&pen);
    let quiet = Client::connect(&patient);
    half.finish();
    quiet.finish();
    assert_eq!(half.rest().0, b"");
    assert!(quiet.hears_nothing_for(Duration::from_millis(50)));
    pen.wait_for_connections(0, 0);
    assert_eq!(patient.connections(0), 1);
}

#[test]
fn a_session_whose_client_has_gone_and_whose_server_ignores_it_ends_with_the_half_closed_timeout() {
    let mute = Backend::new("mute", hold);
    let pen = Pen::start(&["-x", "2", "-O", "half_closed_timeout 1"], &[&mute]);
    let patient = Pen::start(&["-O", "half_closed_timeout 0"], &[&mute]);
    let open = Client::connect(&pen);
    let quiet = Client::connect(&patient);
    quiet.finish();
    for sends in [false, true] {
        let gone = Client::connect(&pen);
        pen.wait_for_connections(0, 2);
        // Its end is behind data that pen cannot pass on.
        while sends && !pen.statistics().lines().any(is_held_up) {
            gone.send([b'x'; 16 * 1024]);
        }
        drop(gone);
        pen.wait_for_connections(0, 1);
    }
    assert!(open.hears_nothing_for(Duration::from_millis(50)), "its both sides are open");
    assert!(quiet.hears_nothing_for(Duration::from_millis(50)));
    assert_eq!(patient.connections(0), 1);
}

#[test]
fn what_a_timeout_cuts_off_does_not_look_whole() {
    let flood = Backend::new("flood", |visit: &Visit| visit.write(&vec![b'x'; 64 * MIB]));
    let pen = Pen::start(&["-O", "idle_timeout 1"], &[&flood]);
    let client = Client::connect(&pen);
    pen.wait_for_connections(0, 1);
    pen.wait_for_connections(0, 0);
    let (heard, end) = client.rest();
    assert!(heard.len() < 64 * MIB);
    assert_eq!(end, End::Reset);
}

#[test]
fn with_tcp_fastclose_up_the_end_of_the_server_is_the_end_of_the_session() {
    for ends in ["up", "both"] {
        let a = Backend::new("a", say_goodbye);
        let pen = Pen::start(&["-O", &format!("tcp_fastclose {ends}")], &[&a]);
        let client = Client::connect(&pen);
        assert_eq!(client.line().as_deref(), Some("goodbye"));
        a.visit(0).wait_end();
        assert_eq!(client.rest().0, b"");
    }
}

#[test]
fn with_tcp_fastclose_down_the_end_of_the_client_is_the_end_of_the_session() {
    for ends in ["down", "both"] {
        let a = Backend::new("a", hold);
        let pen = Pen::start(&["-O", &format!("tcp_fastclose {ends}")], &[&a]);
        let client = Client::connect(&pen);
        a.visit(0);
        client.send("bye");
        client.finish();
        assert_eq!(client.rest().0, b"", "{ends}");
        pen.wait_for_connections(0, 0);
    }
}

#[test]
fn tcp_fastclose_of_the_one_end_leaves_the_other_its_time() {
    let a = Backend::new("a", answer_at_the_end);
    for commands in [&["-O", "tcp_fastclose up"][..], &["-O", "tcp_fastclose both", "-O", "tcp_fastclose off"]] {
        let pen = Pen::start(commands, &[&a]);
        let client = Client::connect(&pen);
        client.send("how many?");
        client.finish();
        assert_eq!(client.text(), "9 bytes\n", "{commands:?}");
    }
    let b = Backend::new("b", say_goodbye);
    let pen = Pen::start(&["-O", "tcp_fastclose down"], &[&b]);
    let client = Client::connect(&pen);
    assert_eq!(client.text(), "goodbye\n");
    client.send("after all");
    b.visit(0).wait_received("after all");
}

#[test]
fn keepalive_is_for_both_sockets_unless_it_is_switched_off() {
    let a = Backend::named("a");
    for (command, expected) in [("ascii", 2), ("keepalive", 2), ("no keepalive", 0)] {
        let pen = Pen::start(&["-O", command], &[&a]);
        let client = Client::connect(&pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        assert_eq!(sockets_with_keepalive(&pen, &client, &a), expected, "{command}");
    }
}

/// How many of the two sockets of pen's one session have a keepalive timer running.
fn sockets_with_keepalive(pen: &Pen, client: &Client, server: &Backend) -> usize {
    // Timer 2 in /proc/net/tcp (Documentation/networking/proc_net_tcp.rst).
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let upward = server.visit(server.visits() - 1).peer.unwrap().port();
    let ends = [(pen.port(), client.address().port()), (upward, server.port())];
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next().unwrap(), 16).unwrap();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|line| ends.contains(&(port(line[1]), port(line[2]))) && line[5].starts_with("02:")).count()
}

#[test]
fn tcp_nodelay_is_for_both_sockets_and_only_when_asked_for() {
    let Some(strace) = program("strace") else { return skip("strace is not installed") };
    let scratch = Scratch::new();
    let a = Backend::named("a");
    for (command, expected) in [("tcp_nodelay", 2), ("no tcp_nodelay", 0)] {
        let trace = scratch.join(command).display().to_string();
        let wrapper = [&strace, "-D", "-f", "-qq", "-e", "trace=setsockopt", "-o", &trace];
        let mut pen = Launch::ours().wrapper(&wrapper).options(&["-O", command]).servers(&[&a]).start();
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
        pen.terminate();
        let calls = || fs::read_to_string(&trace).unwrap().matches("TCP_NODELAY, [1]").count();
        // strace writes its last lines after pen has ended.
        wait_until("the trace", || calls() == expected);
    }
}

#[test]
fn urgent_data_in_the_middle_of_bulk_stops_nothing() {
    let a = Backend::new("a", answer_at_the_end);
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    let part = vec![b'x'; MIB];
    for _ in 0..4 {
        client.send(&part);
    }
    client.send_urgent(b'!');
    for _ in 0..4 {
        client.send(&part);
    }
    client.finish();
    // The urgent byte itself is out of band: whether it counts is for the kernel to say.
    let heard: usize = client.text().trim_end().trim_end_matches(" bytes").parse().unwrap();
    assert!((8 * MIB..=8 * MIB + 1).contains(&heard), "{heard}");
}

#[test]
fn a_server_learns_that_its_client_broke_off() {
    let a = Backend::new("a", answer_at_the_end);
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    client.send("the beginning of something");
    let visit = a.visit(0);
    visit.wait_received("the beginning of something");
    client.reset();
    assert!(visit.wait_end().contains("reset"), "{}", visit.wait_end());
}
