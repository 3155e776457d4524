//! The address under which pen goes to its servers.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::{fs, thread};

use nix::sched::{CloneFlags, unshare};

use crate::harness::{
    Backend, Client, Launch, Pen, Scratch, free_port, greet, is_root, program, skip, visit, wait_until,
};

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
fn mapped_ipv4_addresses_are_ipv4_addresses_for_sources_servers_and_listeners() {
    let a = Backend::named("a");
    let server = format!("[::ffff:127.0.0.1]:{}", a.port());
    let listener = format!("[::ffff:127.0.0.1]:{}", free_port());
    let launch = Launch::ours().control().listener(&listener).options(&["-O", "source ::ffff:127.0.0.5"]);
    let pen = launch.servers(&[&server]).start();
    assert_eq!(visit(&pen, "127.0.0.7").as_deref(), Some("a"));
    assert_eq!(source(&a, 0), "127.0.0.5");
    assert_eq!(pen.control().say("listen"), format!("{listener}\n"));
    assert!(pen.control().configuration().contains(" address ::ffff:127.0.0.1 "));
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

/// Servers that the same 10 local ports lead to, 6 sessions each: every port is used more than once.
#[test]
fn a_local_port_is_used_towards_every_server_with_transparent_and_with_source() {
    if !is_root() {
        return skip("only root may use the addresses of others");
    }
    let loopback = ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let work = move || {
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for ip in loopback.into_iter().filter(|ip| ip.is_ipv4() || has_ipv6) {
            for setting in [String::from("transparent"), format!("source {ip}")] {
                twelve_sessions_through_ten_ports(ip, &setting);
            }
        }
    };
    if !in_a_network_with_ports("40000 40009", work) {
        skip("no network namespace can be had here");
    }
}

fn twelve_sessions_through_ten_ports(ip: IpAddr, setting: &str) {
    let servers = ["a", "b"].map(|name| Backend::on(name, ip, free_port(), greet));
    let listener = SocketAddr::new(ip, free_port());
    let pen = Launch::ours().listener(listener).options(&["-r", "-O", setting]);
    let pen = pen.servers(&[&servers[0], &servers[1]]).start();
    let clients: Vec<_> = (0..12).map(|_| Client::at(SocketAddr::new(ip, free_port()), &pen)).collect();
    for client in &clients {
        assert!(client.line().is_some(), "{setting}");
        client.assert_echo("all at once");
    }
    for server in &servers {
        assert_eq!(server.visits(), 6, "{setting}");
        for visit in 0..6 {
            let peer = server.visit(visit).peer.unwrap();
            assert_eq!(peer.ip(), ip, "{setting}");
            assert!((40_000..=40_009).contains(&peer.port()), "{setting}: {peer}");
        }
    }
}

/// Does the work, and what it starts, in a network of its own, in which the kernel chooses local ports from that range. Tells whether
/// there was one.
pub(crate) fn in_a_network_with_ports(range: &'static str, work: impl FnOnce() + Send + 'static) -> bool {
    let alone = thread::spawn(move || {
        // It holds for this thread, and for the threads and processes that it starts.
        let is_up = unshare(CloneFlags::CLONE_NEWNET).is_ok()
            && program("ip").is_some_and(|ip| {
                Command::new(ip).args(["link", "set", "lo", "up"]).status().is_ok_and(|status| status.success())
            })
            && fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).is_ok();
        if is_up {
            work();
        }
        is_up
    });
    alone.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Where that visitor came from.
fn source(backend: &Backend, visit: usize) -> String {
    backend.visit(visit).peer.unwrap().ip().to_string()
}
