//! The log of connections: a line for each when it is over, in the form that `log_format` sets.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pen::policy::proxy::Version;
use serde_json::Value;

use crate::harness::{Backend, Blackhole, Client, Launch, Pen, Scratch, echo, free_port, greet, hold, run, wait_until};
use crate::proxy_protocol::from;

/// A pen with a log in this form.
fn logged(format: &str, options: &[&str], servers: &[&dyn std::fmt::Display]) -> (Scratch, PathBuf, Pen) {
    let scratch = Scratch::new();
    let file = scratch.join("log");
    let (name, command) = (file.display().to_string(), format!("log_format {format}"));
    let launch = Launch::ours().control().options(&["-l", &name, "-O", &command]).options(options);
    (scratch, file, launch.servers(servers).start())
}

/// Waits until the log has so many lines.
#[track_caller]
fn lines(file: &PathBuf, count: usize) -> Vec<String> {
    let lines = || fs::read_to_string(file).unwrap_or_default().lines().map(String::from).collect::<Vec<_>>();
    wait_until(&format!("{count} lines"), || lines().len() >= count);
    assert_eq!(lines().len(), count, "{:?}", lines());
    lines()
}

#[test]
fn a_connection_is_a_line_with_all_that_is_known() {
    let server = Backend::new("a", echo);
    let (_scratch, file, pen) = logged("json", &[], &[&server]);
    let client = Client::from("127.0.0.9", &pen);
    client.assert_echo("GET / HTTP/1.1\r\n\r\n");
    let port = client.address().port();
    drop(client);
    let line: Value = serde_json::from_str(&lines(&file, 1)[0]).unwrap();
    let fields =
        ["client", "client_port", "country", "server", "server_port", "up", "down", "end", "tls_version", "tls_name"];
    let found = fields.map(|field| line[field].to_string());
    let (port, to) = (port.to_string(), server.port().to_string());
    let expected = ["\"127.0.0.9\"", &port, "null", "\"127.0.0.1\"", &to, "18", "18", "\"done\"", "null", "null"];
    assert_eq!(found, expected);
    let number = |field: &str| line[field].as_f64().unwrap();
    assert!(number("connect") <= number("duration") && number("duration") < 60.0, "{line}");
    assert!(line["start"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn the_line_tells_how_the_connection_ended() {
    let (idle, gone) = (Backend::new("idle", hold), Backend::down("gone"));
    let dead = format!("server 1 address 127.0.0.1 port {}", gone.port());
    let options =
        ["-O", "acl 1 permit 127.0.0.0/28", "-O", "client_acl 1", "-O", "idle_timeout 1", "-s", "-r", "-O", &dead];
    let (_scratch, file, pen) = logged("$client $end $server $up", &options, &[&idle]);
    let told = |count: usize| lines(&file, count).pop().unwrap();
    // Nothing happens.
    let client = Client::from("127.0.0.2", &pen);
    client.send("a");
    assert_eq!(told(1), "127.0.0.2 idle 127.0.0.1 1");
    // The only server that is tried is down.
    drop(Client::from("127.0.0.3", &pen));
    assert_eq!(told(2), "127.0.0.3 no_server - 0");
    // Nobody wants it.
    drop(Client::from("127.0.0.99", &pen));
    assert_eq!(told(3), "127.0.0.99 refused - 0");
    pen.control().say("idle_timeout 0");
    // A command closes it, and a client resets.
    let client = Client::from("127.0.0.4", &pen);
    client.send("ab");
    wait_until("the server to have it", || idle.visits() == 2);
    wait_until("the bytes to be counted", || pen.control().say("servers").contains(" sx 3 "));
    let number = pen.control().say("connections").split(' ').next().unwrap().to_string();
    pen.control().say(&format!("close {number}"));
    assert_eq!(told(4), "127.0.0.4 closed 127.0.0.1 2");
    pen.control().say("no stubborn");
    let client = Client::from("127.0.0.5", &pen);
    client.send("abc");
    wait_until("the bytes to be counted", || pen.control().say("servers").contains(" sx 6 "));
    client.reset();
    assert_eq!(told(5), "127.0.0.5 client 127.0.0.1 3");
}

#[test]
fn connecting_takes_from_the_first_attempt_and_not_from_the_arrival_of_the_client() {
    let (dead, server) = (Blackhole::new(), Backend::new("a", echo));
    let options = ["-O", "peek", "-t", "1", "-r"];
    let (_scratch, file, pen) = logged("$server_port $connect $duration", &options, &[&dead, &server]);
    let client = Client::from("127.0.0.2", &pen);
    wait_until("pen to have the client", || !pen.control().say("connections").is_empty());
    let (start, silence) = (Instant::now(), Duration::from_secs(1));
    wait_until("the client to have been silent", || start.elapsed() > silence);
    client.assert_echo("a");
    drop(client);
    let line = lines(&file, 1).remove(0);
    let found: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let [port, connect, duration] = found[..] else { panic!("{line}") };
    assert_eq!(port, f64::from(server.port()));
    // The worker may have begun somewhat later than the supervisor.
    assert!(connect >= 1.0 && duration - connect >= silence.as_secs_f64() / 2.0, "{line}");
}

#[test]
fn the_form_changes_by_command_and_requests_are_logged_again() {
    let server = Backend::new("a", crate::request_log::http);
    let (_scratch, file, pen) = logged("$$ ${end}ed", &[], &[&server]);
    let control = pen.control();
    assert_eq!(control.say("log_format"), "$$ ${end}ed\n");
    crate::request_log::ask(&pen, &["GET /a HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"]);
    assert_eq!(lines(&file, 1), ["$ doneed"]);
    assert_eq!(control.say("no log_format"), "requests\n");
    assert_eq!(control.say("log_format"), "requests\n");
    crate::request_log::ask(&pen, &["GET /c HTTP/1.1\r\n\r\n"]);
    assert!(lines(&file, 2)[1].ends_with(" 127.0.0.1 GET /c HTTP/1.1"));
    let refused = control.say("log_format $nothing");
    assert!(refused.contains("\"$nothing\" is unknown; there are: $start, "), "{refused}");
    assert_eq!(control.say("log_format connections"), "connections\n");
}

#[test]
fn penlogd_gets_requests_whatever_the_form() {
    let server = Backend::new("a", crate::request_log::http);
    let penlogd = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    penlogd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let place = penlogd.local_addr().unwrap().to_string();
    let pen = Launch::ours().options(&["-l", &place, "-O", "log_format json"]).servers(&[&server]).start();
    crate::request_log::ask(&pen, &["GET /a HTTP/1.1\r\n\r\n"]);
    let mut datagram = [0; 1024];
    let count = penlogd.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..count], b"+ 127.0.0.2 127.0.0.1 GET /a HTTP/1.1\n");
}

#[test]
fn refused_clients_cannot_fill_the_disk() {
    let deny = &["-O", "acl 1 deny 127.0.0.0/8", "-O", "client_acl 1"];
    assert_few_lines("refused", deny, b"");
    let proxy = &["-O", "accept_proxy v1"];
    assert_few_lines("proxy", proxy, b"GET / HTTP/1.0\r\n\r\n");
    // One that is known only when its proxy has announced it.
    assert_few_lines("refused", &[&deny[..], proxy].concat(), &from(Version::V1, "127.0.0.5:99"));
    #[cfg(feature = "tls")]
    assert_few_lines("tls", &["-E", &crate::harness::certificates().pem], b"GET / HTTP/1.0\r\n\r\n");
}

/// Has many clients refused. Few have a line, and the others are counted: the first is told at once, the number at the end.
#[track_caller]
fn assert_few_lines(end: &str, options: &[&str], words: &[u8]) {
    const TOLD: &str = "refused clients are left out of the log of connections: there are more than 10 in a second";
    let server = Backend::new("a", greet);
    let (_scratch, file, mut pen) = logged("$end", options, &[&server]);
    let mut count = 0;
    wait_until("some to be left out", || {
        let client = Client::from("127.0.0.2", &pen);
        // It may be refused before.
        let _ = client.try_send(words);
        client.rest();
        count += 1;
        pen.line(TOLD).is_some()
    });
    wait_until("all to be gone", || pen.control().say("connections").is_empty());
    pen.terminate();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.lines().all(|line| line == end), "{text}");
    let told = pen.stderr();
    let left_out = |line: &str| line.split_once(" refused client")?.0.rsplit(' ').next()?.parse::<usize>().ok();
    let left_out: Vec<_> = told.lines().filter_map(left_out).collect();
    assert_eq!((left_out.len(), text.lines().count() + left_out.iter().sum::<usize>()), (1, count), "{end}: {told}");
    assert_eq!(told.matches(TOLD).count(), 1, "{told}");
}

#[test]
fn a_form_that_makes_no_sense_is_refused_at_start() {
    for (format, error) in [
        ("foo", "\"foo\" is neither requests, connections, json nor a text with $ in it"),
        ("$", "\"$\" is unknown; there are: $start, $client, $client_port, "),
        ("${up", "\"${up\" lacks a \"}\""),
    ] {
        let command = format!("log_format {format}");
        let (status, pen) = run(&["--check", "-O", &command, &free_port().to_string(), "127.0.0.1:9"]);
        assert_eq!(status.code(), Some(1), "{command}");
        assert!(pen.stderr().starts_with(&format!("pen: -O log_format: {error}")), "{}", pen.stderr());
    }
}

#[cfg(feature = "tls")]
#[test]
fn the_version_of_tls_and_the_name_are_told() {
    use crate::harness::{Hello, certificates};
    let server = Backend::new("a", echo);
    let options = ["-E", &certificates().pem];
    let (_scratch, file, pen) = logged("$end $tls_version $tls_name", &options, &[&server]);
    let mut client = Hello::new().name("www.pen.test").connect(&pen);
    client.assert_echo("a");
    client.finish();
    drop(client);
    assert_eq!(lines(&file, 1), ["done TLSv1.3 www.pen.test"]);
    drop(Client::from("127.0.0.2", &pen));
    assert_eq!(lines(&file, 2)[1], "tls - -");
}

#[cfg(feature = "geoip")]
#[test]
fn the_country_is_told_if_it_is_known() {
    let server = Backend::new("a", greet);
    let data = Scratch::new();
    let world = data.join("world.mmdb");
    fs::write(&world, crate::harness::mmdb::countries(&[("127.0.2.0/24", "NO")])).unwrap();
    let geoip = format!("geoip {}", world.display());
    let (_scratch, file, pen) = logged("$client $country", &["-O", &geoip], &[&server]);
    for (ip, country) in [("127.0.2.9", "NO"), ("127.0.3.9", "-")] {
        assert_eq!(Client::from(ip, &pen).line().as_deref(), Some("a"));
        wait_until("the line", || fs::read_to_string(&file).unwrap().ends_with(&format!("{ip} {country}\n")));
    }
}
