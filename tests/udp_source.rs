//! What servers see of clients: `source`, `transparent`, and the PROXY header. Each datagram is alone on its way.

use std::net::{IpAddr, SocketAddr};

use crate::harness::{Launch, Pen, UdpClient, UdpServer, free_udp_port, introduce, is_root, silent, skip, wait_until};
use crate::proxy_protocol::told;
use crate::source::in_a_network_with_ports;

/// Where the datagrams of a server came from, without ports.
fn sources(server: &UdpServer) -> Vec<String> {
    server.heard().iter().map(|heard| heard.from.ip().to_string()).collect()
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

#[test]
fn source_is_the_address_towards_the_servers() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().control().options(&["-U", "-O", "source 127.0.0.5"]).servers(&[&a]).start();
    let client = UdpClient::from("127.0.0.7", &pen);
    assert_eq!(client.server(), "a");
    pen.control().say("source 127.0.0.6");
    assert_eq!(UdpClient::from("127.0.0.7", &pen).server(), "a");
    // A flow that is there keeps its socket.
    assert_eq!(client.server(), "a");
    assert_eq!(sources(&a), ["127.0.0.5", "127.0.0.6", "127.0.0.5"]);
}

#[test]
fn source_is_left_alone_for_servers_of_the_other_family() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let six = UdpServer::on("six", at("::1", free_udp_port()), introduce);
    let pen = Pen::start(&["-U", "-O", "source 127.0.0.5"], &[&six]);
    assert_eq!(UdpClient::connect(&pen).server(), "six");
    assert_eq!(sources(&six), ["::1"]);
}

#[test]
fn a_source_that_this_host_does_not_have_is_no_failure_of_a_server() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().control().options(&["-U", "-O", "source 192.0.2.99"]).servers(&[&a]).start();
    let client = UdpClient::connect(&pen);
    client.send("a question");
    pen.wait_for_line("Cannot assign requested address");
    assert!(pen.control().say("servers").contains(" state up "));
    pen.control().say("no source");
    assert_eq!(client.server(), "a");
}

#[test]
fn with_transparent_servers_see_the_addresses_of_clients_and_their_answers_come_back() {
    if !is_root() {
        return skip("only root can take the addresses of others");
    }
    let a = UdpServer::named("a");
    let pen = Pen::start(&["-U", "-O", "transparent"], &[&a]);
    let clients = ["127.0.0.7", "127.0.0.8", "127.0.0.7"].map(|ip| UdpClient::from(ip, &pen));
    for _ in 0..2 {
        clients.iter().for_each(|client| assert_eq!(client.server(), "a"));
    }
    assert_eq!(sources(&a)[..3], ["127.0.0.7", "127.0.0.8", "127.0.0.7"]);
    assert_eq!(a.sources().len(), 3);
}

#[test]
fn with_transparent_one_way_datagrams_come_from_their_clients_too() {
    if !is_root() {
        return skip("only root can take the addresses of others");
    }
    let (a, b) = (UdpServer::new("a", silent), UdpServer::new("b", silent));
    let pen = Pen::start(&["-U", "-r", "-O", "transparent", "-O", "udp_responses 0"], &[&a, &b]);
    for (number, ip) in ["127.0.0.7", "127.0.0.8", "127.0.0.9", "127.0.0.7"].iter().enumerate() {
        UdpClient::from(ip, &pen).send("a line");
        wait_until("it", || a.count() + b.count() == number + 1);
    }
    assert_eq!(
        (sources(&a), sources(&b)),
        (vec!["127.0.0.7".into(), "127.0.0.9".into()], vec!["127.0.0.8".into(), "127.0.0.7".into()])
    );
}

#[test]
fn a_lack_of_local_ports_is_no_failure_of_a_server_and_passes() {
    if !is_root() {
        return skip("only root can have a network of its own");
    }
    let work = || {
        let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
        let options = ["-U", "-r", "-O", "udp_timeout 2"];
        let pen = Launch::ours().control().options(&options).servers(&[&a, &b]).start();
        // One in four finds no port.
        let clients: Vec<_> = (0..13).map(|_| UdpClient::from("127.0.0.1", &pen)).collect();
        let answers: Vec<_> =
            clients.iter().map(|client| client.server_within(std::time::Duration::from_millis(100))).collect();
        assert_eq!(answers.iter().flatten().count(), 10, "{answers:?}");
        assert_eq!(pen.control().say("servers").matches(" state up ").count(), 2);
        pen.assert_idle("without local ports");
        assert!(pen.stderr().lines().count() < 5, "{}", pen.stderr());
        // When others have ended, clients that ask again are served.
        for client in &clients[10..] {
            wait_until("an answer", || client.server_within(std::time::Duration::from_millis(200)).is_some());
        }
    };
    if !in_a_network_with_ports("40000 40009", work) {
        skip("no network namespace can be had here");
    }
}

/// A datagram begins with a header of version 2 as the specification of the PROXY protocol has it: signature, version and command, family
/// and transport, length, addresses, ports.
#[track_caller]
fn assert_header(heard: &[u8], family: u8, client: SocketAddr, asked: SocketAddr, payload: &[u8]) {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [client.port().to_be_bytes(), asked.port().to_be_bytes()].concat();
    let addresses = [octets(client), octets(asked), ports].concat();
    // The checksum is the only other thing in it.
    let checksum = [3, 0, 4];
    let length = addresses.len() + checksum.len() + 4;
    let head = [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, family, 0, length as u8][..]].concat();
    let before = [head, addresses, checksum.to_vec()].concat();
    assert_eq!(heard[..before.len()], before);
    assert_eq!(&heard[before.len() + 4..], payload);
    // The reader checks it.
    assert_eq!(told(heard).1, payload);
}

#[test]
fn the_proxy_header_is_before_the_first_datagram_of_a_flow_to_each_server() {
    // Reported of frp and nginx: receivers differ in whether they expect it in each.
    let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-O", "server 0 send_proxy v2", "-O", "server 1 send_proxy v2"])
        .servers(&[&a, &b])
        .start();
    let client = UdpClient::from("127.0.0.7", &pen);
    for text in ["one", "two", "three"] {
        client.ask(text);
    }
    let heard = a.heard();
    assert_header(&heard[0].payload, 0x12, client.address(), pen.udp_address(), b"one");
    assert_eq!((&heard[1].payload[..], &heard[2].payload[..]), (&b"two"[..], &b"three"[..]));
    // The next server has not heard of the client, also if the datagram that it gets was refused by another one.
    a.stop();
    client.ask("four");
    client.ask("five");
    let heard = b.heard();
    assert_header(&heard[0].payload, 0x12, client.address(), pen.udp_address(), b"four");
    assert_eq!(heard[1].payload, b"five");
    let servers = pen.control().servers();
    let sent = "four".len() + "five".len();
    assert!(servers.lines().nth(1).unwrap().contains(&format!(" sx {sent} ")), "without headers: {servers}");
}

#[test]
fn the_proxy_header_can_be_in_each_datagram() {
    let a = UdpServer::named("a");
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-O", "server 0 send_proxy v2", "-O", "udp_proxy each"])
        .servers(&[&a])
        .start();
    let client = UdpClient::from("127.0.0.7", &pen);
    for text in ["one", "", "three"] {
        client.ask(text);
    }
    for (heard, text) in a.heard().iter().zip(["one", "", "three"]) {
        assert_header(&heard.payload, 0x12, client.address(), pen.udp_address(), text.as_bytes());
    }
    pen.control().say("udp_proxy first");
    client.ask("four");
    pen.control().say("server 0 send_proxy off");
    client.ask("five");
    assert_eq!(a.texts()[3..], ["four", "five"]);
}

#[test]
fn the_proxy_header_names_the_address_that_the_client_has_asked() {
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let _pen = Launch::ours()
        .options(&["-U", "-O", "server 0 send_proxy v2"])
        .listener(format!("0.0.0.0:{port}"))
        .servers(&[&a])
        .start();
    for asked in ["127.0.0.1", "127.0.0.2"] {
        let client = UdpClient::between(at("127.0.0.7", 0), at(asked, port));
        client.ask("hello");
        assert_header(&a.heard().last().unwrap().payload, 0x12, client.address(), at(asked, port), b"hello");
    }
}

#[test]
fn the_proxy_header_knows_ipv6() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let a = UdpServer::named("a");
    let port = free_udp_port();
    let _pen = Launch::ours()
        .options(&["-U", "-O", "server 0 send_proxy v2"])
        .listener(format!("[::]:{port}"))
        .servers(&[&a])
        .start();
    for (family, ip) in [(0x22, "::1"), (0x12, "127.0.0.2")] {
        let ip: IpAddr = ip.parse().unwrap();
        let client = UdpClient::to(SocketAddr::new(ip, port));
        client.ask("hello");
        assert_header(
            &a.heard().last().unwrap().payload,
            family,
            client.address(),
            SocketAddr::new(ip, port),
            b"hello",
        );
    }
}

#[test]
fn one_way_datagrams_have_a_proxy_header_each() {
    let a = UdpServer::new("a", silent);
    let options = ["-U", "-r", "-O", "server 0 send_proxy v2", "-O", "udp_responses 0"];
    let pen = Pen::start(&options, &[&a]);
    let clients = ["127.0.0.7", "127.0.0.8"].map(|ip| UdpClient::from(ip, &pen));
    for number in 0..4 {
        clients[number % 2].send("hello");
        a.wait_for_count(number + 1);
        assert_header(&a.heard()[number].payload, 0x12, clients[number % 2].address(), pen.udp_address(), b"hello");
    }
}
