//! What an administrator finds in the log without asking for debug messages.

use rustix::process::Signal;

use crate::harness::{Backend, Client, Launch, Pen, Scratch};

#[test]
fn the_start_each_signal_and_the_end_are_a_line_each() {
    let a = Backend::named("a");
    let mut pen = Pen::start(&[], &[&a]);
    let start = format!(": pen {} starting, listens on 127.0.0.1:{}\n", env!("CARGO_PKG_VERSION"), pen.port());
    assert_eq!(pen.whole_stderr().matches(&start).count(), 1, "{}", pen.whole_stderr());
    for (signal, line) in [
        (Signal::HUP, "HUP: opens the request log and reads the file again"),
        (Signal::USR1, "USR1: makes a report"),
        (Signal::USR2, "USR2: has no meaning"),
    ] {
        pen.signal(signal);
        pen.wait_for_line(line);
    }
    pen.terminate();
    assert!(pen.whole_stderr().ends_with(": TERM: ends\n"), "{}", pen.whole_stderr());
}

#[test]
fn the_limit_on_connections_is_told_once_with_the_remedy() {
    let a = Backend::named("a");
    let pen = Launch::ours().control().options(&["-x2"]).servers(&[&a]).start();
    let limit = |most: usize| format!(": {most} connections, the limit: more clients wait; conn_max (-x) ");
    for _ in 0..3 {
        let clients: Vec<_> = (0..2).map(|_| Client::connect(&pen)).collect();
        assert!(clients.iter().all(|client| client.line().as_deref() == Some("a")));
        pen.wait_for_line(&limit(2));
        drop(clients);
        pen.wait_for_connections(0, 0);
    }
    assert_eq!(pen.stderr().matches(&limit(2)).count(), 1, "{}", pen.stderr());
    pen.control().say("conn_max 3");
    let _clients: Vec<_> = (0..3).map(|_| Client::connect(&pen)).collect();
    pen.wait_for_line(&limit(3));
}

#[test]
fn a_command_that_changes_something_is_told_with_who_gave_it() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let path = scratch.join("control").display().to_string();
    let tcp = Launch::ours().control().servers(&[&a]).start();
    let local = Launch::ours().control_at(&path).servers(&[&a]).start();
    for (pen, who) in
        [(&tcp, "127.0.0.1"), (&local, &*format!("a local client, user {}", rustix::process::getuid().as_raw()))]
    {
        let control = pen.control();
        for line in ["server 0 max 7", "no servers", "blacklist 9", "acl 1 permit 10.0.0.0/8", "roundrobin"] {
            control.say(line);
            pen.wait_for_line(&format!(": control port: {who}: {line}"));
        }
        for line in
            ["servers", "blacklist", "recent", "help", "mode", "frobnicate", "server 0 max x", "no server 9", "poll"]
        {
            control.say(line);
        }
        let told = pen.stderr();
        assert_eq!(told.matches("control port: ").count(), 5, "{told}");
    }
}
