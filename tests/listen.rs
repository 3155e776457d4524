//! `listen`: pen goes to other addresses, and no client is lost on the way.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use socket2::SockAddr;

use crate::harness::{
    Backend, Client, Control, Launch, Pen, Scratch, free_port, greet, is_free, is_root, skip, wait_until,
};

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Which server answers there.
#[track_caller]
fn heard(address: SocketAddr) -> Option<String> {
    Client::connect_to(&address.into(), None).line()
}

/// Moves the listener there.
#[track_caller]
fn move_to(control: &Control, listener: &str) {
    assert_eq!(control.say(&format!("listen {listener}")), format!("{listener}\n"));
    assert_eq!(control.say("listen"), format!("{listener}\n"));
}

/// A pen whose only place is taken, the client that has it, and clients that the kernel has queued.
fn full(listener: &str, server: &Backend) -> (Pen, Client, Vec<Client>) {
    let pen = Launch::ours().control().listener(listener).options(&["-x", "1"]).servers(&[server]).start();
    let first = Client::connect(&pen);
    assert_eq!(first.line().as_deref(), Some("a"));
    let queued = (0..250).map(|_| Client::connect(&pen)).collect();
    (pen, first, queued)
}

/// Ends the session, and those that follow it, one after the other.
#[track_caller]
fn serve_in_turn(first: Client, queued: Vec<Client>) {
    drop(first);
    for (number, client) in queued.into_iter().enumerate() {
        assert_eq!(client.line().as_deref(), Some("a"), "client {number}");
    }
}

#[test]
fn clients_that_wait_for_a_place_are_served_by_the_listener_that_goes() {
    let server = Backend::named("a");
    let port = free_port();
    let (pen, first, queued) = full(&format!("127.0.0.1:{port}"), &server);
    let descriptors = pen.descriptors().len();
    let new = free_port();
    move_to(&pen.control(), &format!("127.0.0.1:{new}"));
    let late = thread::spawn(move || heard(at("127.0.0.1", new)));
    serve_in_turn(first, queued);
    assert_eq!(late.join().unwrap().as_deref(), Some("a"));
    // Nothing is left of the old one, not even a socket that does not listen.
    wait_until("the old port to be free", || TcpListener::bind(("127.0.0.1", port)).is_ok());
    wait_until("the old descriptors to be closed", || pen.descriptors().len() < descriptors);
}

#[test]
fn clients_of_a_unix_socket_that_wait_for_a_place_are_served_after_it_is_gone() {
    let (server, scratch) = (Backend::named("a"), Scratch::new());
    let (old, new) = (scratch.join("old"), scratch.join("new"));
    let (mut pen, first, queued) = full(&old.display().to_string(), &server);
    move_to(&pen.control(), &new.display().to_string());
    assert!(!old.exists());
    serve_in_turn(first, queued);
    // The name is not pen's any more.
    let _other = UnixListener::bind(&old).unwrap();
    let client = Client::connect_to(&SockAddr::unix(&new).unwrap(), None);
    assert_eq!(client.line().as_deref(), Some("a"));
    pen.terminate();
    assert!(old.exists() && !new.exists());
}

#[test]
fn clients_that_come_while_pen_is_stopped_are_served_by_the_listener_that_goes() {
    let server = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&server]).start();
    let control = pen.control();
    pen.signal(Signal::STOP);
    let administrator = control.connect();
    administrator.send(format!("listen 127.0.0.1:{}\n", free_port()));
    let clients: Vec<_> = (0..250).map(|_| Client::connect(&pen)).collect();
    pen.signal(Signal::CONT);
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.line().as_deref(), Some("a"), "client {number}");
    }
    wait_until("the old port to be free", || is_free(at("127.0.0.1", pen.port())));
}

#[test]
fn nobody_is_turned_away_while_the_listener_moves_between_addresses_that_overlap() {
    let server = Backend::named("a");
    let port = free_port();
    let pen = Launch::ours().control().listener(at("127.0.0.1", port)).options(&["-r"]).servers(&[&server]).start();
    let (done, visits) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(heard(at("127.0.0.1", port)).as_deref(), Some("a"));
                    visits.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Also if the test fails.
        let _over = Over(&done);
        let control = pen.control();
        for listener in [format!("{port}"), format!("127.0.0.1:{port}")].iter().cycle().take(10) {
            let before = visits.load(Ordering::SeqCst);
            move_to(&control, listener);
            wait_until("visits", || visits.load(Ordering::SeqCst) > before + 3);
        }
    });
}

/// Tells threads that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_address_may_become_all_of_them_and_one_again() {
    let server = Backend::named("a");
    let port = free_port();
    let pen = Launch::ours().control().listener(at("127.0.0.1", port)).servers(&[&server]).start();
    let control = pen.control();
    let refuses = |ip| Client::try_connect(&at(ip, port).into(), None).is_err();
    let mut listeners = vec![(format!("{port}"), true), (format!("127.0.0.1:{port}"), false)];
    if TcpListener::bind("[::1]:0").is_ok() {
        listeners.insert(1, (format!(":::{port}"), true));
    }
    for (listener, all) in listeners {
        move_to(&control, &listener);
        assert_eq!(heard(at("127.0.0.1", port)).as_deref(), Some("a"), "{listener}");
        if all {
            assert_eq!(heard(at("127.0.0.2", port)).as_deref(), Some("a"), "{listener}");
        } else {
            wait_until("the rest to be closed", || refuses("127.0.0.2"));
        }
        // No other program can take a part of the clients.
        let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        other.set_reuse_address(true).unwrap();
        assert!(other.bind(&at("127.0.0.1", port).into()).is_err(), "{listener}");
    }
}

#[test]
fn a_user_without_privileges_may_listen_on_what_overlaps_too() {
    if !is_root() {
        return skip("only root can change the user");
    }
    let server = Backend::named("a");
    let port = free_port();
    let pen = Launch::ours()
        .control_for_somebody_else(at("127.0.0.1", free_port()))
        .options(&["-u", "nobody"])
        .listener(at("127.0.0.1", port))
        .servers(&[&server])
        .start();
    move_to(&pen.control(), &port.to_string());
    assert_eq!(heard(at("127.0.0.2", port)).as_deref(), Some("a"));
    move_to(&pen.control(), &format!("127.0.0.2:{port}"));
    assert_eq!(heard(at("127.0.0.2", port)).as_deref(), Some("a"));
}

#[test]
fn the_old_listener_goes_on_if_one_that_overlaps_cannot_be_had() {
    let (server, port) = (Backend::named("a"), free_port());
    let _taken = Backend::on("b", "127.0.0.9".parse().unwrap(), port, greet);
    let pen = Launch::ours().control().listener(at("127.0.0.1", port)).servers(&[&server]).start();
    let queue = Client::connect(&pen);
    let reply = pen.control().say(&format!("listen {port}"));
    assert_eq!(reply, format!("can't bind local address {port}: Address already in use\n"));
    assert_eq!(pen.control().say("listen"), format!("127.0.0.1:{port}\n"));
    assert_eq!(queue.line().as_deref(), Some("a"));
    assert_eq!(heard(at("127.0.0.1", port)).as_deref(), Some("a"));
}

#[test]
fn the_listener_may_come_back_at_once() {
    let server = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&server]).start();
    let (control, scratch) = (pen.control(), Scratch::new());
    let [old, new] = [pen.port(), free_port()].map(|port| at("127.0.0.1", port));
    let file = scratch.join("socket").display().to_string();
    let descriptors = pen.descriptors().len();
    for listener in [old, new].iter().cycle().take(30) {
        move_to(&control, &listener.to_string());
        assert_eq!(heard(*listener).as_deref(), Some("a"));
        move_to(&control, &file);
        assert_eq!(Client::connect_to(&SockAddr::unix(&file).unwrap(), None).line().as_deref(), Some("a"));
    }
    move_to(&control, &old.to_string());
    wait_until("the others to be closed", || Client::try_connect(&new.into(), None).is_err());
    wait_until("the descriptors to be closed", || pen.descriptors().len() <= descriptors);
    assert_eq!(heard(old).as_deref(), Some("a"));
}

#[test]
fn a_dummy_names_the_address_that_pen_has_moved_to() {
    let pen = Launch::ours().control().options(&["-O", "dummy", "-d"]).start();
    let new = at("127.0.0.1", free_port());
    move_to(&pen.control(), &new.to_string());
    let client = Client::connect_to(&new.into(), None);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.text().contains(&format!("dummy server {new}<")));
    pen.wait_for_line(&format!("listens on {new}"));
}
