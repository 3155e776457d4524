//! What datagrams may contain: any bytes, of any length that UDP knows.

use std::net::SocketAddr;

use crate::harness::{Launch, Pen, UDP_LARGEST, UdpClient, UdpServer, free_udp_port, say_again};
use crate::random_commands::Dice;

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..length).map(|_| dice.below(256) as u8).collect()
}

#[test]
fn datagrams_of_all_sizes_arrive_whole_both_ways() {
    // Reported of Envoy: what is longer than an Ethernet frame is cut or dropped. pen 0.34.1 cuts at 32 kB and drops empty ones.
    let a = UdpServer::new("a", say_again);
    let pen = Pen::start(&["-U"], &[&a]);
    let client = UdpClient::connect(&pen);
    for size in [0, 1, 1472, 1473, 9000, 32_768, 32_769, UDP_LARGEST] {
        let payload = bytes(size, size as u64);
        assert!(client.ask(&payload) == payload, "{size} bytes");
        assert!(a.heard().last().unwrap().payload == payload, "{size} bytes");
    }
}

#[test]
fn the_largest_datagrams_of_ipv6_arrive_whole() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return crate::harness::skip("this host has no IPv6");
    }
    // 65,535 bytes less the 8 of the head of UDP.
    const LARGEST: usize = 65_527;
    let a = UdpServer::on("a", SocketAddr::new("::1".parse().unwrap(), free_udp_port()), say_again);
    let listener = format!("[::1]:{}", free_udp_port());
    let pen = Launch::ours().options(&["-U"]).listener(&listener).servers(&[&a]).start();
    let client = UdpClient::connect(&pen);
    for size in [0, LARGEST - 1, LARGEST] {
        let payload = bytes(size, size as u64);
        assert!(client.ask(&payload) == payload, "{size} bytes");
    }
}

#[test]
fn a_datagram_that_is_too_large_for_its_server_does_no_harm() {
    // An IPv6 client can send 20 bytes more than an IPv4 server can get.
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return crate::harness::skip("this host has no IPv6");
    }
    let a = UdpServer::new("a", say_again);
    let listener = format!("[::1]:{}", free_udp_port());
    let pen = Launch::ours().control().options(&["-U"]).listener(&listener).servers(&[&a]).start();
    let client = UdpClient::connect(&pen);
    client.send(bytes(UDP_LARGEST + 1, 1));
    pen.wait_for_line("too large");
    assert_eq!(client.ask("small"), b"small");
    assert!(pen.control().say("servers").contains(" state up "));
}

#[test]
fn several_datagrams_and_an_empty_one_among_them_keep_their_bounds_and_their_order() {
    let a = UdpServer::named("a");
    let pen = Pen::start(&["-U"], &[&a]);
    let client = UdpClient::connect(&pen);
    // As few as these fit into any queue.
    let payloads: Vec<_> = (0..30_usize).map(|n| bytes(if n % 5 == 0 { 0 } else { n * 20 }, n as u64)).collect();
    payloads.iter().for_each(|payload| client.send(payload));
    for payload in &payloads {
        assert!(client.receive() == [b"a ", payload.as_slice()].concat());
    }
}

#[test]
fn rubbish_passes_unchanged_and_harms_nobody() {
    let a = UdpServer::new("a", say_again);
    let pen = Launch::ours().control().options(&["-U", "-ddd", "-a", "-l", "/dev/null"]).servers(&[&a]).start();
    let others: Vec<_> = (0..3).map(|_| UdpClient::connect(&pen)).collect();
    let mut dice = Dice(15);
    for round in 0..600 {
        let client = UdpClient::connect(&pen);
        let payload = bytes([0, 1, 12, 512, 3000][dice.below(5)], round);
        assert!(client.ask(&payload) == payload);
        if round % 100 == 0 {
            others.iter().for_each(|client| assert_eq!(client.ask("still there"), b"still there"));
        }
    }
    assert!(pen.control().say("servers").contains(" state up "));
    assert!(!pen.stderr().contains("panic"));
}
