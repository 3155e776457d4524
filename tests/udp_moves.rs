//! Flows whose servers or listeners change while their clients go on. A client here has one question on its way at a time and asks it once,
//! so that none may be lost.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;

use crate::harness::{
    Later, Launch, Pen, Scratch, UdpClient, UdpServer, free_udp_port, has_datagrams, introduce, skip, wait_until,
};

/// Has clients that never pause talk to a pen, while something is done. Tells who answered each of them last, when it is over.
#[track_caller]
fn without_a_pause(pen: &Pen, clients: &[&str], work: impl FnOnce(&dyn Fn(&str, &str))) {
    let done = AtomicBool::new(false);
    let last: Vec<_> = clients.iter().map(|_| Mutex::new(String::new())).collect();
    thread::scope(|scope| {
        for (ip, last) in clients.iter().zip(&last) {
            let done = &done;
            scope.spawn(move || {
                let client = UdpClient::from(ip, pen);
                while !done.load(Ordering::SeqCst) {
                    let name = client.server();
                    *last.lock().unwrap() = name;
                }
            });
        }
        // Dropped in the end or when a test fails, so that the clients end.
        let _end = Finally(&done);
        work(&|ip, name| {
            let number = clients.iter().position(|client| *client == ip).unwrap();
            wait_until(&format!("{ip} to talk to {name}"), || *last[number].lock().unwrap() == name);
        });
    });
}

struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_client_that_never_pauses_leaves_a_server_that_an_administrator_takes_out_of_service() {
    // Reported of Kubernetes and gobetween: a client with a fixed port, as of syslog or SIP, sticks to a server that is gone for ever.
    let [a, b] = ["a", "b"].map(UdpServer::named);
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let control = pen.control();
    without_a_pause(&pen, &["127.0.0.2", "127.0.0.3"], |talks_to| {
        wait_until("both servers", || a.count() > 0 && b.count() > 0);
        for command in ["drain", "maint", "blacklist 600"] {
            // Both flows are on the other server after each turn.
            for (here, there) in [(0, "b"), (1, "a")] {
                control.tell(&[&format!("server {here} {command}")]);
                talks_to("127.0.0.2", there);
                talks_to("127.0.0.3", there);
                control.tell(&[&format!("server {here} ready")]);
            }
        }
        // Nobody goes back without a reason.
        assert_eq!((pen.connections(0), pen.connections(1)), (2, 0));
        control.tell(&["no server 0"]);
        talks_to("127.0.0.2", "b");
        talks_to("127.0.0.3", "b");
    });
}

#[test]
fn a_server_that_moves_takes_its_flows_along_and_others_stay_where_they_are() {
    let [a, b, c] = ["a", "b", "c"].map(UdpServer::named);
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let configure = |first: &UdpServer| {
        let line =
            |number: usize, server: &UdpServer| format!("server {number} address 127.0.0.1 port {}\n", server.port());
        fs::write(&file, [line(0, first), line(1, &b)].concat()).unwrap();
    };
    configure(&a);
    let pen = Launch::ours().control().options(&["-U", "-F", &file.display().to_string()]).start();
    let stays = UdpClient::from("127.0.0.3", &pen);
    without_a_pause(&pen, &["127.0.0.2"], |talks_to| {
        talks_to("127.0.0.2", "a");
        assert_eq!(stays.server(), "b");
        configure(&c);
        pen.signal(Signal::HUP);
        talks_to("127.0.0.2", "c");
        pen.control().tell(&[&format!("server 0 address 127.0.0.1 port {}", a.port())]);
        talks_to("127.0.0.2", "a");
    });
    assert_eq!(stays.server(), "b");
    assert_eq!(b.sources().len(), 1, "its flow has its socket still");
}

#[test]
fn a_server_may_change_its_family_at_hup() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let port = free_udp_port();
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
    let [four, six] = [("four", "127.0.0.1"), ("six", "::1")].map(|(name, ip)| UdpServer::on(name, at(ip), introduce));
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let configure = |ip: &str| fs::write(&file, format!("server 0 address {ip} port {port}\n")).unwrap();
    configure("127.0.0.1");
    let pen = Launch::ours().options(&["-U", "-F", &file.display().to_string()]).start();
    without_a_pause(&pen, &["127.0.0.2", "127.0.0.3"], |talks_to| {
        for _ in 0..3 {
            for (ip, name) in [("127.0.0.1", "four"), ("::1", "six")] {
                configure(ip);
                pen.signal(Signal::HUP);
                talks_to("127.0.0.2", name);
                talks_to("127.0.0.3", name);
            }
        }
    });
    assert!(four.count() > 0 && six.count() > 0);
}

#[test]
fn a_hundred_reloads_under_load_lose_no_datagram_and_no_flow_whose_server_stays() {
    // Reported of rinetd: it stands still after the second reload.
    const CLIENTS: u8 = 8;
    let [a, b, c, d] = ["a", "b", "c", "d"].map(UdpServer::named);
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let configure = |number: usize| {
        let changing = [&b, &c, &d][number % 3];
        let new = scratch.join("new");
        let lines = [(0, &a), (1, changing)]
            .map(|(slot, server)| format!("server {slot} address 127.0.0.1 port {}\n", server.port()));
        fs::write(&new, [lines.concat(), format!("udp_timeout {}\n", 60 + number)].concat()).unwrap();
        fs::rename(new, &file).unwrap();
    };
    configure(0);
    let pen = Launch::ours().control().options(&["-U", "-r", "-F", &file.display().to_string()]).start();
    let (done, questions) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = Finally(&done);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let client = UdpClient::connect(&pen);
                let first = client.server();
                while !done.load(Ordering::SeqCst) {
                    let name = client.server();
                    assert!(first != "a" || name == "a", "{first} was left for {name}");
                    if questions.fetch_add(1, Ordering::SeqCst) % 16 == 0 {
                        // New flows are served, too.
                        drop(UdpClient::connect(&pen).server());
                    }
                }
            });
        }
        for number in 1..=100 {
            let before = questions.load(Ordering::SeqCst);
            configure(number);
            pen.signal(Signal::HUP);
            wait_until("the reload", || pen.control().say("udp_timeout") == format!("{}\n", 60 + number));
            wait_until("the load to go on", || questions.load(Ordering::SeqCst) > before + 5);
        }
    });
    assert!([&b, &c, &d].iter().all(|server| server.count() > 0));
    assert!(pen.line("the old configuration stays").is_none());
}

#[test]
fn a_listener_that_is_replaced_still_brings_the_answers_that_are_on_their_way() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let a = UdpServer::new("a", move |visit| keep.lock().unwrap().push(visit.later()));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a]).start();
    let (old, new) = (pen.udp_address(), SocketAddr::from(([127, 0, 0, 1], free_udp_port())));
    let before = UdpClient::to(old);
    before.send("before");
    wait_until("the question", || held.lock().unwrap().len() == 1);
    assert_eq!(pen.control().say(&format!("listen {new}")), format!("{new}\n"));
    let after = UdpClient::to(new);
    after.send("after");
    wait_until("the other question", || held.lock().unwrap().len() == 2);
    held.lock().unwrap().drain(..).for_each(Later::give);
    assert_eq!(before.receive(), b"a before");
    assert_eq!(after.receive(), b"a after");
    wait_until("the old port to be closed", || !has_datagrams(old.port()));
    wait_until("its flow to end", || pen.connections(0) == 1);
    after.send("still there");
    wait_until("the question", || held.lock().unwrap().len() == 1);
    held.lock().unwrap().drain(..).for_each(Later::give);
    assert_eq!(after.receive(), b"a still there");
}

#[test]
fn a_listener_that_comes_back_at_once_keeps_its_flows_and_one_that_is_added_serves() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a]).start();
    let (old, other) = (pen.udp_address(), SocketAddr::from(([127, 0, 0, 1], free_udp_port())));
    let client = UdpClient::to(old);
    assert_eq!(client.server(), "a");
    for places in [format!("{other}"), format!("{old},{other}"), format!("{old}"), format!("{other},{old}")] {
        assert_eq!(pen.control().say(&format!("listen {places}")), format!("{places}\n"));
        for place in places.split(',') {
            assert_eq!(UdpClient::to(place.parse().unwrap()).server(), "a", "{places}");
        }
    }
    assert_eq!(client.server(), "a");
    assert_eq!(a.heard().iter().filter(|heard| heard.from == a.heard()[0].from).count(), 2, "its flow has its socket");
    // What cannot be had changes nothing.
    let taken = UdpServer::named("taken");
    let refused = pen.control().say(&format!("listen {taken}"));
    assert!(refused.contains("can't bind"), "{refused}");
    assert_eq!(client.server(), "a");
    assert_eq!(pen.control().say("listen"), format!("{other},{old}\n"));
}

#[test]
fn an_administrator_can_end_a_flow_and_its_next_datagram_begins_another() {
    let [a, b] = ["a", "b"].map(UdpServer::named);
    let pen = Launch::ours().control().options(&["-U", "-r"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(client.server(), "a");
    let line = pen.control().say("connections");
    let number = line.split(' ').next().unwrap();
    assert_eq!(pen.control().say(&format!("close {number}")), format!("Forcibly closing connection {number}\n"));
    pen.wait_for_connections(0, 0);
    assert_eq!(client.server(), "b");
    pen.control().tell(&["server 1 maint close"]);
    pen.wait_for_connections(1, 0);
    assert_eq!(client.server(), "a");
}

#[test]
fn a_server_whose_name_stands_for_another_address_takes_its_flows_along() {
    let Some(hosts) = crate::harness::Hosts::new("127.0.0.1 moving\n") else { return };
    let port = free_udp_port();
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
    let [one, two] =
        [("one", "127.0.0.1"), ("two", "127.0.0.2")].map(|(name, ip)| UdpServer::on(name, at(ip), introduce));
    let launch = Launch::ours().control().options(&["-U", "-O", "resolve 1"]).servers(&[&format!("moving:{port}")]);
    let pen = hosts.launch(launch).start();
    without_a_pause(&pen, &["127.0.0.2"], |talks_to| {
        talks_to("127.0.0.2", "one");
        hosts.rewrite("127.0.0.2 moving\n");
        talks_to("127.0.0.2", "two");
    });
    assert!(one.count() > 0 && two.count() > 0);
}
