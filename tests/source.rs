//! The address under which pen goes to its servers.

use std::net::{IpAddr, SocketAddr};

use crate::harness::{Backend, Client, Launch, Pen, Scratch, free_port, greet, is_root, skip, visit, wait_until};

#[test]
fn pen_goes_to_the_servers_under_its_own_address() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    assert_eq!(visit(&pen, "127.0.0.7").as_deref(), Some("a"));
    assert_eq!(source(&a, 0), "127.0.0.1");
}

#[test]
fn source_is_the_address_towards_the_servers() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-O", "source 127.0.0.5"], &[&a]);
    assert_eq!(visit(&pen, "127.0.0.7").as_deref(), Some("a"));
    assert_eq!(source(&a, 0), "127.0.0.5");
}

#[test]
fn idle_connections_have_the_source_too() {
    let a = Backend::named("a");
    let pen = Launch::ours().control().options(&["-O", "source 127.0.0.5", "-O", "idlers 2"]).servers(&[&a]).start();
    wait_until("two idlers", || a.present() == 2);
    assert_eq!([source(&a, 0), source(&a, 1)], ["127.0.0.5", "127.0.0.5"]);
    pen.control().tell(&["source 127.0.0.6"]);
    wait_until("two others", || a.visits() == 4 && a.present() == 2);
    assert_eq!([source(&a, 2), source(&a, 3)], ["127.0.0.6", "127.0.0.6"]);
}

#[test]
fn source_is_left_alone_where_it_cannot_be_used() {
    let scratch = Scratch::new();
    let filed = Backend::unix("filed", &scratch.join("server.sock"), greet);
    let pen = Pen::start(&["-O", "source 127.0.0.5"], &[&filed]);
    assert_eq!(visit(&pen, "127.0.0.7").as_deref(), Some("filed"));
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let six = Backend::on("six", "::1".parse().unwrap(), free_port(), greet);
    let pen = Pen::start(&["-O", "source 127.0.0.5"], &[&six]);
    assert_eq!(visit(&pen, "127.0.0.7").as_deref(), Some("six"));
    assert_eq!(source(&six, 0), "::1");
}

#[test]
fn transparent_goes_to_the_servers_under_the_clients_address() {
    if !is_root() {
        return skip("only root may use the addresses of others");
    }
    let a = Backend::named("a");
    let pen = Pen::start(&["-O", "transparent"], &[&a]);
    for (number, ip) in ["127.0.0.7", "127.0.0.8"].into_iter().enumerate() {
        let client = Client::from(ip, &pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        client.assert_echo("as myself");
        assert_eq!(source(&a, number), ip);
    }
}

#[test]
fn transparent_knows_an_ipv4_client_on_a_listener_for_both_families() {
    if !is_root() || std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("this needs root and IPv6");
    }
    let a = Backend::named("a");
    let pen =
        Launch::ours().listener(format!(":::{}", free_port())).options(&["-O", "transparent"]).servers(&[&a]).start();
    let four = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), pen.port()).into();
    let client = Client::connect_to(&four, Some("127.0.0.7".parse().unwrap()));
    assert_eq!(client.line().as_deref(), Some("a"));
    assert_eq!(source(&a, 0), "127.0.0.7");
}

/// Where that visitor came from.
fn source(backend: &Backend, visit: usize) -> String {
    backend.visit(visit).peer.unwrap().ip().to_string()
}
