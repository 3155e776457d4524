//! One-way datagrams: with `udp_responses 0` and `roundrobin` each is a flow of its own. One is on its way at a time, so none may be lost
//! but for those that all servers refuse.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::{Hosts, Launch, UDP_LARGEST, UdpClient, UdpServer, free_udp_port, let_pass, silent, wait_until};
use crate::udp_flows::{flows, pen};

#[test]
fn one_way_datagrams_are_shared_out_one_by_one() {
    // Reported of gobetween: one busy client keeps one server busy.
    let [a, b, c] = ["a", "b", "c"].map(|name| UdpServer::new(name, silent));
    let pen = pen(&["-r", "-O", "udp_responses 0"], &[&a, &b, &c]);
    let client = UdpClient::connect(&pen);
    for number in 0..90 {
        client.send(format!("line {number}"));
        wait_until("it", || a.count() + b.count() + c.count() == number + 1);
    }
    assert_eq!([&a, &b, &c].map(UdpServer::count), [30, 30, 30]);
    assert_eq!(flows(&pen), 0);
    let told = pen.control().servers();
    let bytes: usize = (0..90).map(|number| format!("line {number}").len()).sum();
    let sent = told.lines().map(|line| line.rsplit_once(" sx ").unwrap().1.split(' ').next().unwrap().parse::<usize>());
    assert_eq!(sent.map(Result::unwrap).sum::<usize>(), bytes, "{told}");
}

#[test]
fn one_way_datagrams_need_no_socket_for_each_client() {
    let [a, b] = ["a", "b"].map(|name| UdpServer::new(name, silent));
    let pen = pen(&["-r", "-O", "udp_responses 0"], &[&a, &b]);
    let before = pen.descriptors().len();
    for number in 0..500 {
        UdpClient::connect(&pen).send("a line");
        wait_until("it", || a.count() + b.count() == number + 1);
    }
    // Reported of PowerDNS: a server with SO_REUSEPORT needs several ports to use all of its processes.
    assert!(a.sources().len() > 1);
    // Some for each server and thread.
    assert!(pen.descriptors().len() <= before + 2 * 8 * pen.threads(), "{}", pen.descriptors().len());
}

#[test]
fn a_one_way_datagram_that_is_refused_goes_to_another_server() {
    let (a, b) = (UdpServer::down("a"), UdpServer::new("b", silent));
    let pen = pen(&["-r", "-b1", "-O", "udp_responses 0"], &[&a, &b]);
    let client = UdpClient::connect(&pen);
    // In these seconds the other server is tried again and again.
    for number in 0..50 {
        client.send(format!("{number}"));
        b.wait_for_count(number + 1);
        let_pass(Duration::from_millis(50));
    }
    assert_eq!(b.texts(), (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(pen.stderr().matches("blacklisted").count(), 1, "it was never up again: {}", pen.stderr());
}

#[test]
fn one_way_datagrams_that_all_servers_refuse_are_lost_and_nothing_spins() {
    let servers = ["a", "b", "c"].map(UdpServer::down);
    let pen = pen(&["-r", "-b1", "-t1", "-O", "udp_responses 0"], &[&servers[0], &servers[1], &servers[2]]);
    let client = UdpClient::connect(&pen);
    for _ in 0..200 {
        client.send("a line");
    }
    wait_until("all to be blacklisted", || pen.control().say("servers").matches("state blacklisted").count() == 3);
    pen.assert_idle("with all servers dead");
    assert_eq!(pen.stderr().matches("blacklisted").count(), 3, "{}", pen.stderr());
    assert!(pen.stderr().lines().count() < 20, "{}", pen.stderr());
    servers[1].start();
    wait_until("a server again", || {
        client.send("once more");
        servers[1].count() > 0
    });
    // Nobody refuses for as long as a connect may take: it is there.
    wait_until("it to be up", || {
        client.send("once more");
        pen.control().say("servers").contains(&format!("port {} conn 0", servers[1].port()))
            && pen.control().say("servers").lines().nth(1).unwrap().contains("state up")
    });
}

#[test]
fn a_one_way_datagram_that_all_regular_servers_refuse_goes_to_the_emergency_server() {
    let (a, b, e) = (UdpServer::down("a"), UdpServer::down("b"), UdpServer::new("e", silent));
    let pen = pen(&["-r", "-e", &e.to_string(), "-O", "udp_responses 0"], &[&a, &b]);
    let client = UdpClient::connect(&pen);
    for number in 0..10 {
        client.send("a line");
        e.wait_for_count(number + 1);
    }
    e.stop();
    (0..10).for_each(|_| client.send("a line"));
    pen.assert_idle("with all servers dead");
}

#[test]
fn one_way_datagrams_of_denied_clients_go_to_the_abuse_server_or_nowhere() {
    let (a, bad) = (UdpServer::new("a", silent), UdpServer::new("bad", silent));
    let acl = ["-O", "acl 1 deny 127.0.0.66", "-O", "client_acl 1", "-B", &bad.to_string()];
    let pen = pen(&[&["-r", "-O", "udp_responses 0"], &acl[..]].concat(), &[&a]);
    let denied = UdpClient::from("127.0.0.66", &pen);
    denied.send("a line");
    bad.wait_for_count(1);
    bad.stop();
    (0..10).for_each(|_| denied.send("a line"));
    UdpClient::connect(&pen).send("a line");
    a.wait_for_count(1);
    pen.assert_idle("with the abuse server dead");
    assert_eq!(a.count(), 1);
}

#[test]
fn a_one_way_datagram_tries_the_next_address_of_a_name_before_the_next_server() {
    let Some(hosts) = Hosts::new("127.0.0.1 both\n127.0.0.2 both\n") else { return };
    for there in ["127.0.0.1", "127.0.0.2"] {
        let a = UdpServer::on("a", SocketAddr::new(there.parse().unwrap(), free_udp_port()), silent);
        let launch = Launch::ours()
            .control()
            .options(&["-U", "-r", "-O", "udp_responses 0"])
            .servers(&[&format!("both:{}", a.port())]);
        let pen = hosts.launch(launch).start();
        let client = UdpClient::connect(&pen);
        for number in 0..10 {
            client.send("a line");
            a.wait_for_count(number + 1);
        }
        assert!(pen.control().say("servers").contains("state up"));
    }
}

#[test]
fn a_one_way_datagram_that_is_too_large_for_its_server_does_no_harm() {
    let a = UdpServer::new("a", silent);
    let pen = pen(&["-r", "-O", "udp_responses 0", "-O", "server 0 send_proxy v2"], &[&a]);
    let client = UdpClient::connect(&pen);
    client.send(vec![b'x'; UDP_LARGEST]);
    pen.wait_for_line("too large");
    client.send("small");
    a.wait_for_count(1);
    assert!(pen.control().say("servers").contains("state up"));
}

#[test]
fn a_stubborn_pen_sends_a_one_way_datagram_to_no_other_server() {
    let (a, b) = (UdpServer::down("a"), UdpServer::new("b", silent));
    let pen = pen(&["-r", "-s", "-O", "udp_responses 0"], &[&a, &b]);
    let client = UdpClient::connect(&pen);
    client.send("one");
    wait_until("the blacklist", || pen.line("blacklisted").is_some());
    client.send("two");
    b.wait_for_count(1);
    assert_eq!(b.texts(), ["two"]);
}
