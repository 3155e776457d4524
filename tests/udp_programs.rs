//! Programs that people put before and behind a pen for datagrams: DNS, syslog, RADIUS, IPFIX.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    Control, Launch, Pen, Process, Scratch, UdpClient, UdpServer, free_udp_port, has_datagrams, program, silent, skip,
    wait_for, wait_until,
};

/// A Knot DNS server whose zone tells its name.
struct Knot {
    name: &'static str,
    port: u16,
    scratch: Scratch,
    process: Option<Process>,
}

impl Knot {
    fn new(name: &'static str) -> Self {
        let (scratch, port) = (Scratch::new(), free_udp_port());
        let folder = scratch.path().display().to_string();
        let zone = format!(
            "@ 60 SOA ns.example.test. admin.example.test. 1 60 60 60 60\n@ 60 NS ns.example.test.\nns 60 A 127.0.0.1\n\
             who 0 TXT \"{name}\"\nlong 0 TXT {}\n",
            "\"0123456789 0123456789 0123456789 0123456789 0123456789\" ".repeat(40)
        );
        fs::write(scratch.join("zone"), zone).unwrap();
        let configuration = format!(
            "server:\n  rundir: {folder}\n  udp-max-payload: 4096\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {folder}\nlog:\n  - target: stderr\n    any: info\n\
             template:\n  - id: default\n    storage: {folder}\nzone:\n  - domain: example.test\n    file: zone\n"
        );
        fs::write(scratch.join("knot.conf"), configuration).unwrap();
        let mut knot = Self { name, port, scratch, process: None };
        knot.start();
        knot
    }

    fn start(&mut self) {
        let mut command = Command::new(program("knotd").unwrap());
        command.arg("-c").arg(self.scratch.join("knot.conf"));
        self.process = Some(Process::start(command));
        // It has its port before it has its zone.
        wait_until("Knot DNS to answer", || dig(self.port, "who TXT").as_deref() == Some(self.name));
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::KILL);
        process.wait_exit();
        wait_until("its port to be free", || !has_datagrams(self.port));
    }
}

/// Asks once; `None` if there is no answer.
fn dig(port: u16, question: &str) -> Option<String> {
    let mut command = Command::new(program("dig")?);
    command.args(["@127.0.0.1", "-p", &port.to_string(), "+tries=1", "+time=2", "+short", "+ignore", "+bufsize=4096"]);
    let (name, kind) = question.split_once(' ').unwrap();
    let output = command.args([&format!("{name}.example.test."), kind]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find(|line| !line.starts_with(';')).map(|line| line.trim_matches('"').to_string());
    answer.filter(|_| output.status.success())
}

fn states(control: &Control) -> Vec<String> {
    let state = |line: &str| line.split_once(" state ").unwrap().1.split(' ').next().unwrap().to_string();
    control.say("servers").lines().map(state).collect()
}

#[test]
fn dns_goes_on_when_one_of_two_servers_dies_and_when_both_do_and_comes_back() {
    if program("knotd").is_none() || program("dig").is_none() {
        return skip("Knot DNS or dig is not installed");
    }
    let [mut one, mut two, emergency] = ["one", "two", "emergency"].map(Knot::new);
    let address = |knot: &Knot| format!("127.0.0.1:{}", knot.port);
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-r", "-b1", "-O", "udp_responses 1", "-e", &address(&emergency)])
        .servers(&[&address(&one), &address(&two)])
        .start();
    let port = pen.udp_address().port();
    let ask = || dig(port, "who TXT");
    let names = |count: usize| (0..count).map(|_| ask().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(names(4), ["one", "two", "one", "two"]);
    // An answer that is longer than an Ethernet frame.
    assert!(dig(port, "long TXT").unwrap().len() > 1500);
    one.kill();
    // Nothing is on its way, so nothing is lost: what is refused goes to the other server.
    assert_eq!(names(10), ["two"; 10]);
    two.kill();
    assert_eq!(names(5), ["emergency"; 5]);
    two.start();
    wait_until("the server to be used again", || ask().as_deref() == Some("two"));
    wait_until("it to be up", || {
        ask();
        states(&pen.control())[1] == "up"
    });
    assert_eq!(names(5).iter().filter(|name| name.is_empty()).count(), 0);
    one.start();
    wait_until("the other server to be used again", || ask().as_deref() == Some("one"));
}

#[test]
fn a_name_server_that_dies_in_the_middle_loses_what_it_has_got_and_no_more() {
    if program("knotd").is_none() || program("dig").is_none() {
        return skip("Knot DNS or dig is not installed");
    }
    let (mut one, two) = (Knot::new("one"), Knot::new("two"));
    let pen = Launch::ours()
        .options(&["-U", "-r", "-O", "udp_responses 1"])
        .servers(&[&format!("127.0.0.1:{}", one.port), &format!("127.0.0.1:{}", two.port)])
        .start();
    let port = pen.udp_address().port();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (0..30).map(|_| dig(port, "who TXT")).collect::<Vec<_>>())).collect();
        wait_until("the first questions", || pen.connections(0) > 0);
        one.kill();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    // Each of three clients had one question on its way.
    let lost = answers.iter().filter(|answer| answer.is_none()).count();
    assert!(lost <= 3, "{lost} lost");
    assert_eq!(answers.last(), Some(&Some(String::from("two"))));
}

#[test]
fn syslog_of_many_programs_is_shared_out_and_a_server_that_is_gone_gets_none() {
    let Some(logger) = program("logger") else { return skip("logger is not installed") };
    let (a, b) = (UdpServer::new("a", silent), UdpServer::new("b", silent));
    let pen = Launch::ours().control().options(&["-U", "-r", "-O", "udp_responses 0"]).servers(&[&a, &b]).start();
    let port = pen.udp_address().port().to_string();
    let log = |text: &str| {
        let mut command = Command::new(&logger);
        command.args(["-d", "-n", "127.0.0.1", "-P", &port, "--rfc3164", "-t", "test", text]);
        assert!(command.status().unwrap().success());
    };
    let wait = |count: usize| wait_until(&format!("{count} lines"), || a.count() + b.count() == count);
    for number in 0..20 {
        log(&format!("line {number}"));
        wait(number + 1);
    }
    assert_eq!((a.count(), b.count()), (10, 10));
    a.stop();
    for number in 20..30 {
        log(&format!("line {number}"));
        wait(number + 1);
    }
    let mut texts = [a.texts(), b.texts()].concat();
    texts.sort_by_key(|text| text.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap());
    for (number, text) in texts.iter().enumerate() {
        assert!(text.starts_with("<13>") && text.ends_with(&format!(" test: line {number}")), "{text}");
    }
}

/// A RADIUS server: it accepts who asks and confirms accounting, and tells its name (RFC 2865, RFC 2866).
const RADIUS: &str = "
import hashlib, socket, struct, sys
name, secret = sys.argv[1].encode(), b'testing123'
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', int(sys.argv[2])))
while True:
    asked, client = server.recvfrom(4096)
    code = {1: 2, 4: 5}[asked[0]]
    attributes = struct.pack('!BB', 18, 2 + len(name)) + name if code == 2 else b''
    head = struct.pack('!BBH', code, asked[1], 20 + len(attributes))
    server.sendto(head + hashlib.md5(head + asked[4:20] + attributes + secret).digest() + attributes, client)
";

#[test]
fn radius_clients_keep_their_server_and_repeat_what_is_lost() {
    let (Some(radclient), Some(python)) = (program("radclient"), program("python3")) else {
        return skip("radclient or Python is not installed");
    };
    let mut servers = HashMap::new();
    let mut start = |name: &'static str, port: u16| {
        let mut command = Command::new(&python);
        command.args(["-c", RADIUS, name, &port.to_string()]);
        servers.insert(name, Process::start(command));
        wait_until("the RADIUS server", || has_datagrams(port));
    };
    let [one, two] = [free_udp_port(), free_udp_port()];
    start("one", one);
    start("two", two);
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-O", "udp_responses 1"])
        .servers(&[&format!("127.0.0.1:{one}"), &format!("127.0.0.1:{two}")])
        .start();
    let scratch = Scratch::new();
    let say = |pen: &Pen, kind: &str, count: usize| {
        let request = scratch.join("request");
        fs::write(&request, "User-Name = \"somebody\"\nAcct-Status-Type = Start\n").unwrap();
        let mut command = Command::new(&radclient);
        command.args(["-x", "-r", "5", "-t", "1", "-c", &count.to_string(), "-f"]).arg(&request);
        command.args([&pen.udp_address().to_string(), kind, "testing123"]);
        let mut radclient = Process::start(command);
        let status = radclient.wait_exit();
        assert!(status.success(), "{status}: {}{}", radclient.stdout(), radclient.stderr());
        radclient.stdout()
    };
    // The client's address is remembered, so that all of its packets go to one server.
    let first = say(&pen, "auth", 5);
    assert_eq!(first.matches("Received Access-Accept").count(), 5, "{first}");
    assert_eq!(first.matches("\"one\"").count(), 5, "{first}");
    assert_eq!(say(&pen, "acct", 3).matches("Received Accounting-Response").count(), 3);
    let mut dead = servers.remove("one").unwrap();
    dead.signal(Signal::KILL);
    dead.wait_exit();
    let second = say(&pen, "auth", 5);
    assert_eq!(second.matches("\"two\"").count(), 5, "{second}");
}

/// An IPFIX message with a template set or a data set (RFC 7011, section 3.1).
fn ipfix(sequence: u32, exporter: u32, is_template: bool) -> Vec<u8> {
    let set: Vec<u16> = match is_template {
        true => vec![2, 16, 256, 2, 8, 4, 12, 4],
        false => vec![256, 12, 0x7f00, 1, 0x7f00, 2],
    };
    let set: Vec<u8> = set.iter().flat_map(|word| word.to_be_bytes()).collect();
    let length = u16::try_from(16 + set.len()).unwrap();
    let head = [[10_u16.to_be_bytes(), length.to_be_bytes()].concat(), [0; 4].to_vec()].concat();
    [head, sequence.to_be_bytes().to_vec(), exporter.to_be_bytes().to_vec(), set].concat()
}

#[test]
fn ipfix_exporters_keep_their_collector_which_knows_their_templates() {
    // Nothing ever comes back, and no collector is taken for dead.
    const MESSAGES: u32 = 200;
    let collectors = ["a", "b"].map(|name| UdpServer::new(name, silent));
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-t1", "-O", "udp_responses 0"])
        .servers(&[&collectors[0], &collectors[1]])
        .start();
    let exporters: Vec<_> = (0..6).map(|n| UdpClient::from(&format!("127.0.0.{}", n + 2), &pen)).collect();
    for sequence in 0..MESSAGES {
        for (number, exporter) in (0..).zip(&exporters) {
            exporter.send(ipfix(sequence, number, sequence == 0));
        }
        let sent = exporters.len() * (sequence as usize + 1);
        wait_until("them", || collectors.iter().map(UdpServer::count).sum::<usize>() == sent);
    }
    for collector in &collectors {
        let mut next: HashMap<Vec<u8>, (u32, SocketAddr)> = HashMap::new();
        for heard in collector.heard() {
            let sequence = u32::from_be_bytes(heard.payload[8..12].try_into().unwrap());
            let (expected, from) = next.entry(heard.payload[12..16].to_vec()).or_insert((0, heard.from));
            assert_eq!((sequence, heard.from), (*expected, *from), "in order, from one port, with the template first");
            *expected += 1;
        }
        assert_eq!(next.len(), 3);
    }
    assert_eq!(states(&pen.control()), ["up", "up"]);
}

#[test]
fn a_resolver_library_gets_its_answers_through_pen() {
    // Two questions (A and AAAA) at once from one port, as the C library asks them.
    if program("knotd").is_none() {
        return skip("Knot DNS is not installed");
    }
    let one = Knot::new("one");
    let pen = Launch::ours().options(&["-U"]).servers(&[&format!("127.0.0.1:{}", one.port)]).start();
    let client = UdpClient::connect(&pen);
    let question = |id: u8, kind: u8| {
        let name = b"\x02ns\x07example\x04test\x00";
        [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &name[..], &[0, kind, 0, 1]].concat()
    };
    client.send(question(1, 1));
    client.send(question(2, 28));
    let mut ids: Vec<_> = (0..2).map(|_| client.receive()[1]).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    let nothing = wait_for("an end", || Some(client.receive_within(Duration::from_millis(20)).is_none()));
    assert!(nothing);
}
