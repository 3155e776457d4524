//! What pen tells of flows: the logs, USR1, the status page, `servers`, `connections`, `recent`, the configuration.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Launch, Pen, Scratch, UdpClient, UdpServer, say_again, silent, wait_until};
use crate::request_log::lines;

fn logging(log: &str, options: &[&str], servers: &[&UdpServer]) -> Pen {
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    Launch::ours().control().options(&["-U", "-l", log]).options(options).servers(&servers).start()
}

#[test]
fn the_request_log_has_a_line_for_each_datagram() {
    let (scratch, a) = (Scratch::new(), UdpServer::new("a", silent));
    let log = scratch.join("log");
    let pen = logging(&log.display().to_string(), &[], &[&a]);
    let client = UdpClient::from("127.0.0.9", &pen);
    for (number, payload) in
        ["first line\nsecond line", "<13>su: \u{1b}[31mred", "", "GET / HTTP/1.0\r\n\r\n"].iter().enumerate()
    {
        client.send(payload);
        a.wait_for_count(number + 1);
    }
    client.send(vec![b'x'; 2000]);
    let expected =
        ["first line", "<13>su: .[31mred", "", "GET / HTTP/1.0"].map(|text| format!("127.0.0.9 127.0.0.1 {text}"));
    wait_until("the lines", || lines(&log).len() == 5);
    assert_eq!(lines(&log)[..4], expected);
    assert!(lines(&log)[4].starts_with("127.0.0.9 127.0.0.1 xxx") && lines(&log)[4].len() < 1100);
    // Also while the file is rotated.
    fs::rename(&log, scratch.join("log.1")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("a new log", || log.exists());
    client.send("after the rotation");
    wait_until("its line", || lines(&log) == ["127.0.0.9 127.0.0.1 after the rotation"]);
}

#[test]
fn the_request_log_can_go_to_penlogd() {
    let (a, penlogd) = (UdpServer::named("a"), UdpServer::new("penlogd", silent));
    let pen = logging(&penlogd.to_string(), &[], &[&a]);
    let client = UdpClient::from("127.0.0.9", &pen);
    for payload in ["one", "two"] {
        client.ask(payload);
    }
    wait_until("the lines", || penlogd.texts().concat().lines().count() == 2);
    assert_eq!(penlogd.texts().concat(), "+ 127.0.0.9 127.0.0.1 one\n+ 127.0.0.9 127.0.0.1 two\n");
}

#[test]
fn a_log_that_is_opened_later_has_the_datagrams_of_flows_that_were_there() {
    let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
    let log = scratch.join("log");
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a]).start();
    let client = UdpClient::from("127.0.0.9", &pen);
    client.ask("before");
    pen.control().say(&format!("log {}", log.display()));
    client.ask("after");
    wait_until("the line", || lines(&log) == ["127.0.0.9 127.0.0.1 after"]);
    pen.control().say("no log");
    client.ask("in vain");
    assert_eq!(lines(&log).len(), 1);
}

#[test]
fn the_connection_log_has_a_line_for_each_flow() {
    let scratch = Scratch::new();
    let (a, b) = (UdpServer::new("a", say_again), UdpServer::new("b", silent));
    let log = scratch.join("log");
    let options = ["-r", "-O", "log_format json", "-O", "udp_timeout 1"];
    let pen = logging(&log.display().to_string(), &options, &[&a, &b]);
    let (answered, unanswered) = (UdpClient::from("127.0.0.8", &pen), UdpClient::from("127.0.0.9", &pen));
    (0..3).for_each(|_| drop(answered.ask("12345")));
    unanswered.send("1234567");
    let text = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("two lines", || text().lines().count() == 2);
    for (client, address, server, counts, end) in
        [(answered, "127.0.0.8", &a, (15, 15), "done"), (unanswered, "127.0.0.9", &b, (7, 0), "idle")]
    {
        let text = text();
        let line = text.lines().find(|line| line.contains(address)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["client_port"], client.address().port(), "{line}");
        assert_eq!(
            (line["server"].as_str(), line["server_port"].as_u64()),
            (Some("127.0.0.1"), Some(server.port().into()))
        );
        assert_eq!((line["up"].as_u64(), line["down"].as_u64()), (Some(counts.0), Some(counts.1)), "{line}");
        assert_eq!((line["end"].as_str(), line["connect"].is_null()), (Some(end), true), "{line}");
        assert!(line["duration"].as_f64().unwrap() >= 0.9, "{line}");
    }
}

#[test]
fn the_connection_log_tells_other_ends_too() {
    let scratch = Scratch::new();
    let (a, gone) = (UdpServer::new("a", say_again), UdpServer::down("gone"));
    let log = scratch.join("log");
    let options = ["-O", "log_format $client $end"];
    let pen = logging(&log.display().to_string(), &options, &[&a]);
    let told = |count: usize| {
        let text = || fs::read_to_string(&log).unwrap_or_default();
        wait_until(&format!("{count} lines"), || text().lines().count() == count);
        text().lines().last().unwrap().to_string()
    };
    let client = UdpClient::from("127.0.0.2", &pen);
    client.ask("hello");
    pen.control().say("close 0");
    assert_eq!(told(1), "127.0.0.2 closed");
    pen.control().tell(&[&format!("server 0 address 127.0.0.1 port {}", gone.port())]);
    client.send("hello");
    assert_eq!(told(2), "127.0.0.2 no_server");
}

/// A number behind a word of a line.
fn number(line: &str, word: &str) -> u64 {
    let mut words = line.split(' ').skip_while(|other| *other != word);
    words.nth(1).unwrap_or_else(|| panic!("no {word} in {line}")).parse().unwrap()
}

#[test]
fn bytes_and_flows_are_counted_per_server_client_and_flow() {
    let (a, b) = (UdpServer::new("a", |visit| visit.answer("0123456789")), UdpServer::new("b", silent));
    let pen = Launch::ours().control().options(&["-U", "-r"]).servers(&[&a, &b]).start();
    let control = pen.control();
    let (one, other) = (UdpClient::from("127.0.0.8", &pen), UdpClient::from("127.0.0.9", &pen));
    (0..4).for_each(|_| drop(one.ask("12345")));
    other.send("");
    other.send("1234567");
    wait_until("them", || b.count() == 2);
    // Flows that live are counted in.
    wait_until("the bytes", || control.say("servers").lines().map(|line| number(line, "sx")).sum::<u64>() == 27);
    let servers = control.servers();
    let expected = |number: usize, port: u16, sx: u64, rx: u64| {
        format!("{number} addr 127.0.0.1 port {port} conn 1 max 0 hard 0 weight 0 prio 0 sx {sx} rx {rx}\n")
    };
    assert_eq!(servers, [expected(0, a.port(), 20, 40), expected(1, b.port(), 7, 0)].concat());
    let recent = control.say("recent");
    assert!(recent.contains("127.0.0.8 connects 1 sx 40 rx 20\n"), "{recent}");
    assert!(recent.contains("127.0.0.9 connects 1 sx 0 rx 7\n"), "{recent}");
    let connections = control.say("connections");
    assert!(
        connections.contains("client 127.0.0.8 server 0 age ") && connections.contains(" sx 20 rx 40\n"),
        "{connections}"
    );
    let json: Value = serde_json::from_str(&control.say("servers json")).unwrap();
    assert_eq!((json[0]["connections"].as_u64(), json[0]["sent"].as_u64()), (Some(1), Some(20)), "{json}");
    assert!(control.say("explain 127.0.0.8").contains("server 0"));
    let told = control.say("connection 0");
    assert!(told.starts_with("Connection 0:\nstate = 2\ndownfd = -1, upfd = "), "{told}");
}

#[test]
fn usr1_and_the_status_page_show_flows_as_connections() {
    let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
    let page = scratch.join("page.html");
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a]).start();
    let client = UdpClient::from("127.0.0.9", &pen);
    client.ask("hello");
    let statistics = pen.statistics();
    for line in
        ["1 connections (0 soft, 0 hard)\n", "5 sent, 7 received\n", "Connection 0 status:\n", "downfd = -1, upfd = "]
    {
        assert!(statistics.contains(line), "{line}: {statistics}");
    }
    pen.control().say(&format!("web_stats {}", page.display()));
    pen.signal(Signal::USR1);
    wait_until("the page", || page.exists());
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("<td data-c=\"client's address\">127.0.0.9</td>"), "{text}");
    assert!(text.contains("Max number of connections: 500, 1 used"), "{text}");
}

#[test]
fn debug_level_3_shows_datagrams_both_ways() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().control().options(&["-U", "-ddd", "-a"]).servers(&[&a]).start();
    UdpClient::connect(&pen).ask("hello");
    pen.wait_for_line("client -> server 5: hello");
    pen.wait_for_line("server -> client 7: a hello");
}

#[test]
fn the_configuration_is_written_and_read_back() {
    let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
    let file = scratch.join("pen.conf");
    let settings = ["udp_timeout 17", "udp_responses 2", "udp_silence 9", "udp_proxy each", "server 0 send_proxy v2"];
    let options: Vec<_> = settings.iter().flat_map(|setting| ["-O", setting]).collect();
    let pen = Launch::ours().control().options(&["-U", "-x", "77"]).options(&options).servers(&[&a]).start();
    let (before, listener) = (pen.control().configuration(), pen.udp_address());
    assert_eq!(pen.control().say(&format!("write {}", file.display())), "");
    let written = fs::read_to_string(&file).unwrap();
    let command = written.lines().nth(1).unwrap();
    assert!(command.starts_with("# pen -U -f ") && command.ends_with(&listener.to_string()), "{command}");
    for line in &settings[..4] {
        assert!(written.contains(&format!("\n{line}\n")), "{line}: {written}");
    }
    drop(pen);
    let again = Launch::ours().control().options(&["-U", "-F", &file.display().to_string()]).start();
    assert_eq!(again.control().configuration(), before);
    for (word, value) in [("udp_timeout", "17"), ("udp_responses", "2"), ("udp_silence", "9"), ("udp_proxy", "each")] {
        assert_eq!(again.control().say(word), format!("{value}\n"));
        assert!(again.control().say(&format!("help {word}")).starts_with(word));
    }
    assert_eq!(again.control().say("no udp_responses"), again.control().say("udp_responses"));
    assert!(again.control().configuration().contains("\nno udp_responses\n"));
}

#[test]
fn wrong_values_are_refused_and_change_nothing() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a]).start();
    let before = pen.control().configuration();
    for (command, words) in [
        ("udp_timeout 0", "\"0\" is not a number from 1 to "),
        ("udp_timeout x", "\"x\" is not a number"),
        ("udp_timeout -1", "\"-1\" is not a number"),
        ("udp_timeout 99999999999999999999", "is not a number"),
        ("no udp_timeout", "udp_timeout"),
        ("udp_responses 1000001", "is not a number from 0 to 1000000"),
        ("udp_responses many", "\"many\" is not a number"),
        ("udp_silence -1", "is not a number"),
        ("udp_silence 1 2", "\"2\""),
        ("udp_proxy last", "\"last\" is unknown; there are: first, each"),
        ("udp_nothing 1", "udp_nothing"),
    ] {
        let reply = pen.control().say(command);
        assert!(reply.contains(words), "{command}: {reply}");
    }
    assert_eq!(pen.control().configuration(), before);
    assert_eq!(UdpClient::connect(&pen).server_within(Duration::from_secs(10)).as_deref(), Some("a"));
}
