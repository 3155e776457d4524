//! Reports over tables that do not fit into one batch, and readers that do not read them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Backend, Client, End, Launch, Pen, Scratch, greet, wait_until};

/// More than several batches hold.
const CLIENTS: usize = 2600;

/// A pen whose client table holds many clients, its servers, and a folder in which its status page is.
fn crowded() -> (Pen, [Backend; 2], Scratch) {
    let curt = Backend::new("curt", |_| Ok(()));
    let echo = Backend::new("echo", greet);
    let scratch = Scratch::new();
    let pen = Launch::ours().options(&["-c", "3000", "-r"]).control().servers(&[&curt]).start();
    for number in 0..CLIENTS {
        Client::from(&address(number), &pen).rest();
    }
    pen.control().say(&format!("web_stats {}", scratch.join("page.html").display()));
    (pen, [curt, echo], scratch)
}

fn address(number: usize) -> String {
    format!("127.3.{}.{}", number / 250, number % 250 + 1)
}

/// All addresses, once each.
fn expected() -> Vec<String> {
    let addresses: BTreeSet<_> = (0..CLIENTS).map(address).collect();
    addresses.into_iter().collect()
}

fn sorted<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut addresses: Vec<_> = addresses.map(String::from).collect();
    addresses.sort();
    addresses
}

#[test]
fn a_summary_counts_connections_and_clients() {
    let (scratch, backend) = (Scratch::new(), Backend::new("echo", greet));
    let file = scratch.join("a name.conf");
    fs::write(&file, "conn_max 600\nclients_max 3000\n").unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&backend]).start();
    let clients = ["127.3.0.1", "127.3.0.1", "127.3.0.2"].map(|ip| Client::from(ip, &pen));
    pen.wait_for_connections(0, 3);
    let summary = || pen.control().say("summary");
    let head = format!("pid {} uptime ", pen.pid());
    let tail = "conn 3 conn_max 600 clients 2 clients_max 3000 name a name\n";
    wait_until("a second to pass", || {
        let line = summary();
        let rest = line.strip_prefix(&head).unwrap_or_else(|| panic!("{line}"));
        let (uptime, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, tail);
        (1..60).contains(&uptime.parse::<u64>().unwrap())
    });
    drop(clients);
    wait_until("the connections to end", || summary().contains(" conn 0 ") && summary().contains(" clients 2 "));
}

#[test]
fn a_report_of_several_batches_has_every_client_once() {
    let (pen, _backends, scratch) = crowded();
    let control = pen.control();
    let recent = control.say("recent");
    assert_eq!(sorted(recent.lines().map(|line| line.split(' ').next().unwrap())), expected());

    let json: serde_json::Value = serde_json::from_str(&control.say("recent json")).unwrap();
    let clients = json.as_array().unwrap();
    assert_eq!(sorted(clients.iter().map(|client| client["address"].as_str().unwrap())), expected());

    let page = control.say("status");
    assert_eq!(fs::read_to_string(scratch.join("page.html")).unwrap(), page);
    let cells = page.split("<td data-c=\"address\">").filter(|cell| cell.starts_with("127.3."));
    assert_eq!(sorted(cells.map(|cell| cell.split('<').next().unwrap())), expected());

    control.tell(&["no web_stats"]);
    let statistics = pen.statistics();
    let lines = statistics.lines().filter_map(|line| line.strip_prefix("address 127.3."));
    assert_eq!(
        sorted(lines.map(|rest| format!("127.3.{rest}")).collect::<Vec<_>>().iter().map(String::as_str)),
        expected()
    );
    assert!(statistics.ends_with("Active connections:\n"), "{:?}", &statistics[statistics.len() - 80..]);
}

#[test]
fn reports_of_all_kinds_count_the_bytes_of_running_sessions() {
    let echo = Backend::new("echo", greet);
    let pen = Launch::ours().control().servers(&[&echo]).start();
    let control = pen.control();
    let session = Client::from("127.3.0.1", &pen);
    assert_eq!(session.line().as_deref(), Some("echo"));
    // The client may have the bytes before pen has counted them.
    for (command, counts) in [
        ("servers", "sx 0 rx 5"),
        ("servers json", "\"sent\":0,\"received\":5"),
        ("recent", "sx 5 rx 0"),
        ("recent json", "\"sent\":5,\"received\":0}"),
        ("connections", "sx 0 rx 5"),
    ] {
        wait_until(&format!("{command} to say {counts}"), || control.say(command).contains(counts));
    }
}

#[test]
fn a_reader_that_stops_holds_up_nobody_and_is_dropped_and_a_slow_one_is_served() {
    let (pen, backends, scratch) = crowded();
    let control = pen.control();
    control.tell(&[&format!("server 0 address 127.0.0.1 port {}", backends[1].port())]);
    let session = Client::connect(&pen);
    assert_eq!(session.line().as_deref(), Some("echo"));
    let descriptors = pen.descriptors().len();
    // A reader costs two descriptors: its socket and the page.
    let readers = |count: usize| descriptors + 2 * count;
    let slow = control.connect();
    slow.send("status\n");
    wait_until("the slow reader to be served", || pen.descriptors().len() == readers(1));
    let deaf: Vec<_> = (0..30).map(|_| control.connect()).collect();
    deaf.iter().for_each(|client| client.send("status\n"));
    wait_until("all readers to be served", || pen.descriptors().len() == readers(31));
    let mut read = 0;
    // One that takes nothing is dropped after 10 seconds; the whole page takes the slow one longer.
    while pen.descriptors().len() > readers(10) {
        read += slow.bytes(10 * 1024).len();
        session.assert_echo("as ever");
        assert_eq!(Client::connect(&pen).line().as_deref(), Some("echo"));
        assert!(session.hears_nothing_for(Duration::from_millis(250)));
    }
    wait_until("all deaf readers to be dropped", || pen.descriptors().len() <= readers(1));
    for client in &deaf {
        let (page, _) = client.rest();
        assert!(!page.ends_with(b"</html>\n"), "the page is too short for this test: {} bytes", page.len());
    }
    let (rest, end) = slow.rest();
    assert_eq!(end, End::Closed);
    assert!(rest.ends_with(b"</html>\n"), "the page ends after {} bytes", read + rest.len());
    let rows = fs::read_to_string(scratch.join("page.html")).unwrap().matches("data-c=\"connects\"").count();
    assert!(rows > CLIENTS, "{rows}");
}

#[test]
fn usr1_does_not_wait_for_a_log_that_nobody_reads() {
    let echo = Backend::new("echo", greet);
    let mut pen = Launch::ours().control().servers(&[&echo]).unheard().start();
    for number in 0..1000 {
        Client::from(&address(number), &pen).line();
        pen.signal(Signal::USR1);
    }
    assert_eq!(pen.control().say("recent").lines().count(), 1000);
    pen.terminate();
}

#[test]
fn status_in_an_included_file_writes_the_page() {
    let echo = Backend::new("echo", greet);
    let pen = Launch::ours().control().servers(&[&echo]).start();
    let scratch = Scratch::new();
    let (file, page) = (scratch.join("commands"), scratch.join("page.html"));
    fs::write(&file, format!("web_stats {}\nstatus\n", page.display())).unwrap();
    assert_eq!(pen.control().say(&format!("include {}", file.display())), "");
    assert!(fs::read_to_string(page).unwrap().ends_with("</html>\n"));
}
