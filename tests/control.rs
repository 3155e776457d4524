//! The control port as bytes on a wire: however the lines come, whoever else is there.

use std::time::{Duration, Instant};

use crate::harness::{Backend, Client, Control, End, Launch, Pen, Scratch, wait_until};

/// A pen with a control port in front of a server that greets and repeats.
fn pen() -> (Backend, Pen, Control) {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    (backend, pen, control)
}

/// A session that is going on.
fn session(pen: &Pen) -> Client {
    let client = Client::connect(pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client
}

#[test]
fn a_command_may_come_in_any_pieces() {
    let (_backend, _pen, control) = pen();
    let client = control.connect();
    for piece in ["bla", "ckli", "s", "t 4", "5\nblackl"] {
        client.send(piece);
        assert!(piece.contains('\n') || client.hears_nothing_for(Duration::from_millis(5)), "after {piece:?}");
    }
    client.send("ist\n");
    client.finish();
    assert_eq!(client.text(), "45\n45\n");
}

#[test]
fn several_lines_in_one_write_are_answered_in_their_order() {
    let (_backend, pen, control) = pen();
    let answer = control.write(b"pid\nblacklist 41\nfrob\n\n# a comment\nhash\nblacklist\r\nmode\n");
    let expected = format!(
        "{}\n41\ndo_cmd: ignoring command starting with 'frob'\n41\nhash no roundrobin no stubborn no weight no prio\n",
        pen.pid()
    );
    assert_eq!(answer, expected);
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let (_backend, pen, control) = pen();
    // The next request must come soon. On a busy machine this client may be late now and then.
    wait_until("three answers in one connection", || {
        let client = control.connect();
        let answers: Vec<_> = ["pid", "timeout", "blacklist"]
            .iter()
            .map_while(|command| client.try_send(format!("{command}\n")).ok().and_then(|()| client.line()))
            .collect();
        answers == [pen.pid().to_string(), String::from("3"), String::from("30")]
    });
}

#[test]
fn a_client_that_does_not_end_its_side_is_let_go() {
    let (_backend, _pen, control) = pen();
    let client = control.connect();
    client.send("blacklist\n");
    assert_eq!(client.text(), "30\n");
}

#[test]
fn an_answer_is_as_long_as_it_needs_to_be() {
    let backend = Backend::new("curt", |_| Ok(()));
    let pen = Launch::ours().control().servers(&[&backend]).start();
    const CLIENTS: usize = 2000;
    for number in 0..CLIENTS {
        Client::from(&format!("127.1.{}.{}", number / 250, number % 250 + 1), &pen).rest();
    }
    let recent = pen.control().say("recent");
    assert_eq!(recent.lines().count(), CLIENTS);
    assert!(recent.lines().all(|line| line.starts_with("127.1.") && line.contains(" connects 1 sx 0 rx 0")));
    assert!(recent.ends_with('\n'));
    // One by one they fit into any buffer; this does not.
    let many = pen.control().write("recent\n".repeat(100).as_bytes());
    assert_eq!(many, recent.repeat(100));
}

#[test]
fn a_comment_and_an_empty_line_are_answered_by_nothing() {
    let (_backend, _pen, control) = pen();
    assert_eq!(control.write(b"# blacklist 7\n\n   \n\t\n  # another\n"), "");
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn the_last_line_needs_no_newline_if_the_client_ends_its_side() {
    let (_backend, _pen, control) = pen();
    assert_eq!(control.write(b"blacklist 7"), "7\n");
    assert_eq!(control.write(b"mode\nblacklist"), "no hash no roundrobin no stubborn no weight no prio\n7\n");
    assert_eq!(control.write(b""), "");
}

#[test]
fn a_line_that_a_lost_client_has_begun_is_not_carried_out() {
    let (_backend, _pen, control) = pen();
    for _ in 0..20 {
        let client = control.connect();
        client.send("blacklist 7");
        client.reset();
    }
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn a_line_that_is_not_finished_in_time_is_not_carried_out() {
    let (_backend, _pen, control) = pen();
    let client = control.connect();
    client.send("blacklist\nblacklist 7");
    assert_eq!(client.text(), "30\ncommand without a newline: not carried out\n");
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn an_empty_line_gets_an_empty_reply_at_once() {
    let (_backend, _pen, control) = pen();
    for line in ["\n", "# a comment\n", "  \r\n"] {
        let client = control.connect();
        client.send(line);
        let start = Instant::now();
        // This waits for the end of the connection.
        assert_eq!(client.text(), "");
        // A client that has sent nothing has ten seconds.
        assert!(start.elapsed() < Duration::from_secs(10), "{line:?}");
    }
}

#[test]
fn an_enquiry_is_answered_by_one_byte_for_the_commands_since_the_last_one() {
    let (_backend, _pen, control) = pen();
    let answer = control.write(b"#\x05\nblacklist\nfrob\nblacklist\n#\x05\nblacklist\n#\x05\r\n#\x05");
    assert_eq!(answer, "\x0630\ndo_cmd: ignoring command starting with 'frob'\n30\n\x1530\n\x06\x06");
}

#[test]
fn a_line_of_8192_bytes_is_read_and_a_longer_one_is_refused() {
    let (_backend, _pen, control) = pen();
    let longest = format!("blacklist {:>width$}", 12, width = 8192 - "blacklist ".len());
    assert_eq!(control.say(&longest), "12\n");
    let answer = control.write(format!("blacklist {:>20000}\n", 13).as_bytes());
    assert_eq!(answer, "line too long: a command has at most 8192 bytes\n");
    assert_eq!(control.say("blacklist"), "12\n");
    // The lines after it are carried out.
    let answer = control.write(format!("blacklist {:>20000}\nblacklist\n", 13).as_bytes());
    assert_eq!(answer, "line too long: a command has at most 8192 bytes\n12\n");
}

#[test]
fn a_line_that_is_a_little_too_long_is_refused_too() {
    let (_backend, _pen, control) = pen();
    for length in [8193, 9000, 10_000] {
        let line = format!("blacklist {:>width$}\n", 13, width = length - "blacklist ".len());
        let answer = control.write(line.as_bytes());
        assert_eq!(answer, "line too long: a command has at most 8192 bytes\n", "{length} bytes");
    }
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn a_megabyte_without_a_newline_is_refused_and_costs_no_memory() {
    let (_backend, pen, control) = pen();
    let before = pen.memory();
    for _ in 0..5 {
        let client = control.connect();
        // Pen may have had enough of it before all is sent.
        let sent = client.try_send(vec![b'x'; 1 << 20]);
        let (answer, end) = client.rest();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(answer, "line too long: a command has at most 8192 bytes\n", "{sent:?} {end:?}");
    }
    let grown = pen.memory().saturating_sub(before);
    assert!(grown < 2 << 20, "pen has grown by {grown} bytes");
}

#[test]
fn bytes_that_are_no_text_are_answered_and_not_repeated() {
    let (_backend, _pen, control) = pen();
    for bytes in [&b"bla\0cklist 7\n"[..], b"\0\n", b"\xff\xfe\xfd\n", b"\x1b[2Jblacklist 7\n", b"\xc3\x28 \x07\n"] {
        let answer = control.write(bytes);
        assert!(answer.starts_with("do_cmd: ignoring command starting with '"), "{bytes:?}: {answer:?}");
        let safe = answer.trim_end_matches('\n').chars().all(|c| !c.is_control());
        assert!(safe, "{bytes:?}: {answer:?}");
    }
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn clients_that_go_early_do_no_harm() {
    let (_backend, pen, control) = pen();
    let session = session(&pen);
    let descriptors = pen.descriptors().len();
    for number in 0..60 {
        let client = control.connect();
        match number % 3 {
            0 => client.send("servers\nrecent\nhelp\n".repeat(100)),
            1 => client.send("ser"),
            _ => {}
        }
        client.reset();
    }
    assert_eq!(control.say("pid"), format!("{}\n", pen.pid()));
    session.assert_echo("still here");
    wait_until("their descriptors to be closed", || pen.descriptors().len() <= descriptors);
}

#[test]
fn fifty_clients_of_which_some_are_silent_and_some_never_read_delay_nobody() {
    let (_backend, pen, control) = pen();
    let session = session(&pen);
    let silent: Vec<_> = (0..17).map(|_| control.connect()).collect();
    let halting: Vec<_> = (0..16).map(|_| control.connect()).collect();
    halting.iter().for_each(|client| client.send("serv"));
    // The answers are far more than any socket holds.
    let deaf: Vec<_> = (0..17).map(|_| control.connect()).collect();
    deaf.iter().for_each(|client| client.send("help\n".repeat(1500)));
    for number in 0..20 {
        session.assert_echo(&format!("echo {number}"));
        assert_eq!(control.say("pid"), format!("{}\n", pen.pid()));
        control.say("servers");
    }
    // Pen lets them go after ten seconds. They are still there, so nothing above has waited for that.
    for client in silent.iter().chain(&halting) {
        assert!(client.hears_nothing_for(Duration::from_millis(1)), "pen was busy for as long as it has patience");
    }
    // Who changes their mind and reads gets everything.
    deaf[0].finish();
    let (answer, end) = deaf[0].rest();
    assert_eq!(end, End::Closed);
    assert_eq!(answer.len(), control.say("help").len() * 1500);
    new_session_works(&pen);
}

fn new_session_works(pen: &Pen) {
    session(pen).assert_echo("as ever");
}

#[test]
fn control_acl_keeps_others_out() {
    let (_backend, pen, control) = pen();
    control.tell(&["acl 1 permit 127.0.0.1"]);
    assert_eq!(control.say("control_acl 1"), "1\n");
    let stranger = Client::connect_to(&control.address(), Some("127.0.0.2".parse().unwrap()));
    // It may be gone before it is heard.
    let _ = stranger.try_send("blacklist 7\n");
    let (answer, _) = stranger.rest();
    assert_eq!(answer, b"");
    assert_eq!(control.say("blacklist"), "30\n");
    // It is for the control port alone.
    assert_eq!(crate::harness::visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn every_value_that_makes_no_sense_is_named_and_changes_nothing() {
    let (_backend, _pen, control) = pen();
    let scratch = Scratch::new();
    let missing = format!("include {}", scratch.join("missing").display());
    let before = (control.configuration(), control.servers());
    for (line, culprit) in [
        ("server 99999999 address 127.0.0.1 port 1", "\"99999999\""),
        ("server 10000 address 127.0.0.1 port 1", "\"10000\""),
        ("server -1 address 127.0.0.1 port 1", "\"-1\""),
        ("server x port 1", "\"x\""),
        ("server", "server number"),
        ("server 0", "server 0"),
        ("server 0 frob 1", "\"frob\""),
        ("server 0 max x", "\"x\""),
        ("server 0 max 7 hard -1", "\"-1\""),
        ("server 0 weight 99999999999", "\"99999999999\""),
        ("server 0 prio 1.5", "\"1.5\""),
        ("server 0 max", "missing"),
        ("server 0 acl 10", "\"10\""),
        ("server 0 acl -1", "\"-1\""),
        ("server 0 port 70000", "70000"),
        ("server 0 blacklist x", "\"x\""),
        ("server 0 address no-such-host.invalid", "no-such-host.invalid"),
        ("blacklist abc", "\"abc\""),
        ("blacklist -1", "\"-1\""),
        ("blacklist 99999999999999999999", "\"99999999999999999999\""),
        ("blacklist 5 6", "\"6\""),
        ("acl 10 permit 127.0.0.1", "\"10\""),
        ("acl -1 permit 127.0.0.1", "\"-1\""),
        ("acl 1 allow 127.0.0.1", "\"allow\""),
        ("acl 1 permit 300.0.0.1", "300.0.0.1"),
        ("acl 1 permit 10.0.0.0/33", "33"),
        ("acl 1 permit 2001:db8::/129", "129"),
        ("acl 1 permit", "missing"),
        ("acl", "missing"),
        ("no acl 10", "\"10\""),
        ("no acl", "missing"),
        ("client_acl 10", "\"10\""),
        ("client_acl x", "\"x\""),
        ("control_acl 10", "\"10\""),
        ("conn_max 99999999", "\"99999999\""),
        ("conn_max 0", "\"0\""),
        ("conn_max -1", "\"-1\""),
        ("clients_max 99999999999", "\"99999999999\""),
        ("clients_max 0", "\"0\""),
        ("timeout 0", "\"0\""),
        ("timeout x", "\"x\""),
        ("half_closed_timeout 1h", "\"1h\""),
        ("idle_timeout 1m", "\"1m\""),
        ("idlers 1001", "\"1001\""),
        ("idlers -1", "\"-1\""),
        ("tracking soon", "\"soon\""),
        ("debug 256", "\"256\""),
        ("syslog_facility kern", "authpriv"),
        ("tcp_fastclose sideways", "\"sideways\""),
        ("tcp_fastclose", "tcp_fastclose"),
        ("source nonsense", "\"nonsense\""),
        ("source", "missing"),
        ("emergency 127.0.0.1:99999", "99999"),
        ("emergency", "missing"),
        ("abuse :80", "\":80\""),
        ("listen 127.0.0.1:99999", "99999"),
        ("listen 127.0.0.1:0", "\"0\""),
        ("close x", "\"x\""),
        ("close", "missing"),
        ("close 77", "77"),
        ("close 500", "Connection 500 out of range"),
        ("close 99999999", "Connection 99999999 out of range"),
        ("connection x", "\"x\""),
        ("socket x", "\"x\""),
        ("recent x", "\"x\""),
        ("servers xml", "\"xml\""),
        ("explain nobody", "\"nobody\""),
        ("explain", "missing"),
        ("hash yes", "\"yes\""),
        ("no", "missing"),
        ("no frob", "no frob"),
        ("no timeout", "no timeout"),
        ("help frob", "frob"),
        ("write", "-F"),
        (&missing, "missing"),
    ] {
        let answer = control.say(line);
        assert!(answer.contains(culprit), "{line}: {answer:?}");
        assert_eq!(answer.matches('\n').count(), 1, "{line}: {answer:?}");
        assert!(answer.ends_with('\n'), "{line}: {answer:?}");
    }
    assert_eq!((control.configuration(), control.servers()), before);
}
