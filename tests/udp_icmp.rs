//! What networks say about datagrams (ICMP) and pen makes of it. The tests say it in the name of a router, which only root can.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{
    Launch, Pen, UdpClient, UdpServer, free_udp_port, introduce, is_root, let_pass, silent, skip, wait_until,
};

/// Says to the sender of a datagram that it has met an error on its way. `more` is the second half of the head, for an error that has one.
fn say(kind: u8, code: u8, more: u32, sender: SocketAddr, receiver: SocketAddr) {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (sender, receiver) else { panic!("not IPv4") };
    // The beginning of the datagram: the head of IP without options, and that of UDP.
    let mut quote = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0].to_vec();
    quote.extend([from.ip().octets(), to.ip().octets()].concat());
    quote.extend([from.port().to_be_bytes(), to.port().to_be_bytes(), 8_u16.to_be_bytes(), [0; 2]].concat());
    let mut message = [&[kind, code, 0, 0][..], &more.to_be_bytes(), &quote].concat();
    let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.send_to(&message, &SocketAddr::new(sender.ip(), 0).into()).unwrap();
}

/// A server at an address that no other test uses: the kernel remembers what is said about the way there.
fn server(last: u8, serve: fn(&crate::harness::UdpVisit)) -> UdpServer {
    let address = Ipv4Addr::new(127, 77, 15, last);
    UdpServer::on("a", SocketAddr::from((address, free_udp_port())), serve)
}

fn is_up(pen: &Pen) -> bool {
    pen.control().say("servers").lines().next().unwrap().contains(" state up ")
}

#[test]
fn a_way_that_is_too_narrow_for_a_datagram_is_no_failure_of_the_server() {
    if !is_root() {
        return skip("only root can speak ICMP");
    }
    let (a, b) = (server(1, introduce), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    for _ in 0..3 {
        assert_eq!(client.server(), "a");
        let flow = a.heard().last().unwrap().from;
        // Fragmentation is needed: the next hop takes 1,000 bytes.
        say(3, 4, 1000, flow, a.address());
        // No datagram is lost, however the error comes.
        assert_eq!(client.server(), "a");
        assert!(client.ask(vec![b'x'; 1400]).len() > 1400);
    }
    assert_eq!((a.sources().len(), b.count()), (1, 0));
    assert!(is_up(&pen), "{}", pen.stderr());
    assert_eq!(pen.stderr(), "");
}

#[test]
fn the_same_is_no_failure_for_one_way_datagrams() {
    if !is_root() {
        return skip("only root can speak ICMP");
    }
    let (a, b) = (server(2, silent), UdpServer::new("b", silent));
    let pen = Launch::ours().control().options(&["-U", "-r", "-O", "udp_responses 0"]).servers(&[&a, &b]).start();
    let client = UdpClient::connect(&pen);
    for number in 0..10 {
        client.send(vec![b'x'; 1400]);
        wait_until("it", || a.count() + b.count() == number + 1);
        if let Some(heard) = a.heard().last() {
            say(3, 4, 1000, heard.from, a.address());
        }
    }
    assert_eq!((a.count(), b.count()), (5, 5));
    assert!(is_up(&pen), "{}", pen.stderr());
    assert_eq!(pen.stderr(), "");
}

#[test]
fn errors_that_may_pass_change_nothing() {
    if !is_root() {
        return skip("only root can speak ICMP");
    }
    let (a, b) = (server(3, introduce), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(client.server(), "a");
    let flow = a.heard()[0].from;
    // The network or the host cannot be reached for now, or there were too many hops: udp(7) does not pass them on.
    for (kind, code) in [(3, 0), (3, 1), (3, 5), (3, 11), (11, 0), (11, 1), (4, 0)] {
        say(kind, code, 0, flow, a.address());
        assert_eq!(client.server(), "a", "{kind} {code}");
    }
    assert!(is_up(&pen));
    assert_eq!(a.sources().len(), 1);
}

#[test]
fn errors_that_stay_are_the_servers_and_the_next_one_gets_the_datagram() {
    if !is_root() {
        return skip("only root can speak ICMP");
    }
    // Neither port nor protocol is there, or an administrator forbids it.
    for (number, code) in [(4, 3), (5, 2), (6, 13)] {
        let (a, b) = (server(number, silent), UdpServer::named("b"));
        let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
        let client = UdpClient::from("127.0.0.2", &pen);
        client.send("a question");
        a.wait_for_count(1);
        say(3, code, 0, a.heard()[0].from, a.address());
        assert_eq!(client.receive(), b"b a question", "{code}");
        assert!(!is_up(&pen));
        pen.assert_idle("after an error");
    }
}

#[test]
fn errors_of_others_harm_no_flow() {
    if !is_root() {
        return skip("only root can speak ICMP");
    }
    let (a, b) = (server(7, introduce), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(client.server(), "a");
    let flow = a.heard()[0].from;
    // Who does not know both ends of the flow can say what he likes. A client that is gone refuses answers, which ends nothing, too.
    let elsewhere = SocketAddr::new(a.address().ip(), a.port() + 1);
    say(3, 3, 0, flow, elsewhere);
    say(3, 3, 0, pen.udp_address(), a.address());
    say(3, 3, 0, pen.udp_address(), client.address());
    let gone = UdpClient::from("127.0.0.3", &pen);
    gone.send("and gone");
    drop(gone);
    let_pass(Duration::from_millis(50));
    assert_eq!(client.server(), "a");
    assert_eq!(a.heard().iter().filter(|heard| heard.from == flow).count(), 2);
    assert!(is_up(&pen));
    pen.assert_idle("after errors");
}
