//! Where datagrams go and come from: addresses of pen, families, listeners. Each datagram is alone on its way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::harness::{Launch, Pen, UdpClient, UdpServer, free_udp_port, introduce, skip, wait_until};

fn has_ipv6() -> bool {
    let has = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        skip("this host has no IPv6");
    }
    has
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn pen_at(listener: &str, servers: &[&UdpServer]) -> Pen {
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    Launch::ours().control().options(&["-U"]).listener(listener).servers(&servers).start()
}

/// Asks that address, from one that has nothing to do with it, and tells where the answer comes from.
#[track_caller]
fn answer_from(asked: SocketAddr) -> SocketAddr {
    let any: IpAddr = if asked.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { "::".parse().unwrap() };
    let client = UdpClient::bound(SocketAddr::new(any, 0));
    client.send_to("a question", asked);
    let (answer, from) = client.receive_from();
    assert_eq!(answer, b"a a question");
    from
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    // Reported of numa, xinetd and curvedns, and of hosts with several addresses in general.
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let _pen = pen_at(&format!("0.0.0.0:{port}"), &[&a]);
    for asked in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
        assert_eq!(answer_from(at(asked, port)), at(asked, port));
    }
}

#[test]
fn a_listener_for_both_families_answers_from_the_address_that_was_asked_too() {
    if !has_ipv6() {
        return;
    }
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let pen = pen_at(&format!("[::]:{port}"), &[&a]);
    for asked in ["127.0.0.1", "127.0.0.2", "::1"] {
        assert_eq!(answer_from(at(asked, port)), at(asked, port));
    }
    // An IPv4 client is one to access lists, logs and reports.
    let recent = pen.control().say("recent");
    assert!(recent.contains("127.0.0.1 connects") && recent.contains("::1 connects"), "{recent}");
    assert!(!recent.contains("ffff"), "{recent}");
}

#[test]
fn a_datagram_to_all_hosts_is_passed_on_once_and_answered_from_an_address_of_this_host() {
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let pen = pen_at(&format!("0.0.0.0:{port}"), &[&a]);
    // The kernel shares other datagrams out to the threads by a hash of the client. A datagram to all comes to all of them.
    for number in 1..=20 {
        let client = UdpClient::bound(at("127.0.0.1", 0));
        // The broadcast address of 127.0.0.0/8.
        client.send_to("to all", at("127.255.255.255", port));
        let (answer, from) = client.receive_from();
        assert_eq!((answer, from), (b"a to all".to_vec(), at("127.0.0.1", port)));
        assert!(client.hears_nothing_for(Duration::from_millis(20)));
        a.wait_for_count(number);
    }
    assert_eq!(pen.control().say("connections").lines().count(), 20);
}

#[test]
fn a_listener_for_both_families_knows_the_broadcast_address_of_all_networks() {
    if !has_ipv6() || !crate::harness::is_root() {
        return skip("without IPv6, or without the right to choose an interface");
    }
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let _pen = pen_at(&format!("[::]:{port}"), &[&a]);
    for number in 1..=20 {
        let client = UdpClient::bound(at("127.0.0.1", 0));
        client.through("lo");
        client.send_to("to all", at("255.255.255.255", port));
        assert_eq!(client.receive_from(), (b"a to all".to_vec(), at("127.0.0.1", port)));
        assert!(client.hears_nothing_for(Duration::from_millis(20)));
        a.wait_for_count(number);
    }
}

#[test]
fn a_listener_without_an_address_has_all_of_them() {
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let _pen = pen_at(&port.to_string(), &[&a]);
    for asked in ["127.0.0.1", "127.0.0.3"] {
        assert_eq!(answer_from(at(asked, port)), at(asked, port));
    }
}

#[test]
fn a_listener_with_one_address_does_not_change_where_another_answers_from() {
    let a = UdpServer::named("a");
    let (one, all) = (free_udp_port(), free_udp_port());
    // With one thread, which uses the same memory for both.
    let listeners = format!("127.0.0.2:{one},0.0.0.0:{all}");
    let _pen = Launch::ours().control().options(&["-U", "-x", "60"]).listener(&listeners).servers(&[&a]).start();
    for _ in 0..3 {
        for asked in [at("127.0.0.2", one), at("127.0.0.3", all)] {
            assert_eq!(answer_from(asked), asked);
        }
    }
}

#[test]
fn two_addresses_that_one_client_asks_from_one_port_are_two_flows() {
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let pen = pen_at(&format!("0.0.0.0:{port}"), &[&a]);
    let client = UdpClient::bound(at("127.0.0.1", 0));
    for _ in 0..3 {
        for ip in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
            client.send_to(format!("to {ip}"), at(ip, port));
            let (answer, from) = client.receive_from();
            assert_eq!((String::from_utf8(answer).unwrap(), from), (format!("a to {ip}"), at(ip, port)));
        }
    }
    assert_eq!(pen.control().say("connections").lines().filter(|line| line.contains("127.0.0.1")).count(), 3);
    assert_eq!(a.sources().len(), 3);
}

#[test]
fn clients_and_servers_may_be_of_different_families() {
    if !has_ipv6() {
        return;
    }
    let four = UdpServer::on("four", at("127.0.0.1", free_udp_port()), introduce);
    let six = UdpServer::on("six", at("::1", free_udp_port()), introduce);
    let port = free_udp_port();
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-r"])
        .listener(format!("127.0.0.1:{port},[::1]:{port}"))
        .servers(&[&four, &six])
        .start();
    for ip in ["127.0.0.1", "::1"] {
        let clients = [UdpClient::to(at(ip, port)), UdpClient::to(at(ip, port))];
        assert_eq!(clients.map(|client| client.server()), ["four", "six"], "{ip}");
    }
    assert_eq!(pen.control().say("listen"), format!("127.0.0.1:{port},[::1]:{port}\n"));
}

#[test]
fn mapped_ipv4_addresses_are_ipv4_addresses() {
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-O", "acl 1 deny 127.0.0.66", "-O", "client_acl 1"])
        .listener(format!("[::ffff:127.0.0.1]:{port}"))
        .servers(&[&format!("[::ffff:127.0.0.1]:{}", a.port())])
        .start();
    let asked = at("127.0.0.1", port);
    assert_eq!(UdpClient::between(at("127.0.0.2", 0), asked).server(), "a");
    let denied = UdpClient::between(at("127.0.0.66", 0), asked);
    assert_eq!(denied.server_within(Duration::from_millis(300)), None);
    assert!(pen.control().say("connections").contains("client 127.0.0.2 "));
}

#[test]
fn the_access_list_knows_ipv4_clients_of_a_listener_for_both_families() {
    if !has_ipv6() {
        return;
    }
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let _pen = Launch::ours()
        .control()
        .options(&["-U", "-O", "acl 1 deny 127.0.0.66", "-O", "client_acl 1"])
        .listener(format!("[::]:{port}"))
        .servers(&[&a])
        .start();
    let denied = UdpClient::between(at("127.0.0.66", 0), at("127.0.0.1", port));
    assert_eq!(denied.server_within(Duration::from_millis(300)), None);
    assert_eq!(UdpClient::between(at("127.0.0.2", 0), at("127.0.0.1", port)).server(), "a");
}

#[test]
fn each_flow_has_a_socket_of_its_own_so_that_servers_can_share_them_out() {
    // Reported of PowerDNS: a server with SO_REUSEPORT uses one of its processes only if all comes from one port.
    let a = UdpServer::named("a");
    let pen = Pen::start(&["-U"], &[&a]);
    let clients: Vec<_> = (0..10).map(|_| UdpClient::connect(&pen)).collect();
    for _ in 0..3 {
        clients.iter().for_each(|client| drop(client.server()));
    }
    assert_eq!(a.sources().len(), 10);
}

#[test]
fn a_flow_hears_nobody_but_its_server() {
    let a = UdpServer::named("a");
    let pen = Pen::start(&["-U"], &[&a]);
    let client = UdpClient::connect(&pen);
    assert_eq!(client.server(), "a");
    let back = *a.sources().iter().next().unwrap();
    let stranger = UdpClient::bound(at("127.0.0.1", 0));
    stranger.send_to("from a stranger", back);
    // The next that it hears is the answer.
    assert_eq!(client.ask("a question"), b"a a question");
}

#[test]
fn an_answer_on_its_way_reaches_the_client_after_pen_has_moved_its_flow() {
    // The answer of the old server comes to a socket that is closed by then, and is dropped: it must not reach anybody else.
    let held = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = std::sync::Arc::clone(&held);
    let a = UdpServer::new("a", move |visit| keep.lock().unwrap().push(visit.later()));
    let b = UdpServer::named("b");
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    client.send("first");
    wait_until("the question", || held.lock().unwrap().len() == 1);
    pen.control().tell(&["server 0 drain"]);
    assert_eq!(client.server(), "b");
    let other = UdpClient::from("127.0.0.3", &pen);
    assert_eq!(other.server(), "b");
    held.lock().unwrap().drain(..).for_each(crate::harness::Later::give);
    assert_eq!(other.ask("a question"), b"b a question");
    assert_eq!(client.ask("another question"), b"b another question");
}
