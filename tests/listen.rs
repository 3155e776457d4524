//! Several listeners, and `listen`: pen goes to other addresses, and no client is lost on the way.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockAddr;

use crate::harness::{
    Backend, Client, Control, End, Launch, Pen, Scratch, free_port, greet, is_free, is_root, skip, wait_for, wait_until,
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

#[test]
fn a_list_of_listeners_is_listened_on() {
    let (scratch, first) = (Scratch::new(), free_port());
    let server = Backend::on("a", "127.0.0.3".parse().unwrap(), first, greet);
    let mut tcp = vec![at("127.0.0.1", first), at("127.0.0.2", free_port())];
    if TcpListener::bind("[::1]:0").is_ok() {
        tcp.push(at("::1", free_port()));
    }
    let file = scratch.join("socket");
    let operands: Vec<_> = tcp.iter().map(ToString::to_string).chain([file.display().to_string()]).collect();
    // The last is one that the harness understands. The server has the port of the first.
    let last = at("127.0.0.1", free_port());
    let listener = format!("{},{last}", operands.join(","));
    let mut pen = Launch::ours().control().listener(&listener).servers(&[&"127.0.0.3"]).start();
    for address in tcp.iter().chain([&last]) {
        assert_eq!(heard(*address).as_deref(), Some("a"), "{address}");
    }
    let client = Client::connect_to(&SockAddr::unix(&file).unwrap(), None);
    assert_eq!(client.line().as_deref(), Some("a"));
    assert_eq!(pen.control().say("listen"), format!("{listener}\n"));
    let written = scratch.join("written");
    assert_eq!(pen.control().say(&format!("write {}", written.display())), "");
    assert!(fs::read_to_string(&written).unwrap().contains(&format!(" {listener}\n")));
    pen.terminate();
    assert!(!file.exists());
    assert_eq!(server.visits(), tcp.len() + 2);
}

#[test]
fn an_idle_listener_takes_no_place_from_the_clients_of_another() {
    let server = Backend::named("a");
    let [one, other] = [(); 2].map(|()| at("127.0.0.1", free_port()));
    let listener = format!("{one},{other}");
    let _pen = Launch::ours().listener(listener).options(&["-x", "1"]).servers(&[&server]).start();
    for address in [other, other, one, other, one, one] {
        let client = Client::connect_to(&address.into(), None);
        assert_eq!(client.line().as_deref(), Some("a"), "{address}");
        client.finish();
        assert_eq!(client.text(), "");
    }
}

#[test]
fn clients_of_two_listeners_share_the_limit() {
    let server = Backend::named("a");
    let [one, other] = [(); 2].map(|()| at("127.0.0.1", free_port()));
    let pen = Launch::ours().listener(format!("{one},{other}")).options(&["-x", "2"]).servers(&[&server]).start();
    let mut clients: Vec<_> = [one, other, one, other, one, other]
        .iter()
        .map(|address| Client::connect_to(&(*address).into(), None))
        .collect();
    while !clients.is_empty() {
        let served = clients.len().min(2);
        pen.wait_for_connections(0, served as u32);
        // One that has ended may not be seen to be gone yet.
        wait_until("as many at the server", || server.present() == served);
        // Whoever is served: the order between listeners is not told.
        let at = wait_for("a client that is served", || {
            clients.iter().position(|client| !client.hears_nothing_for(Duration::from_millis(20)))
        });
        let client = clients.remove(at);
        client.finish();
        assert_eq!(client.rest().1, End::Closed);
        wait_until("it to be gone", || server.present() <= clients.len().min(2));
    }
    assert_eq!(server.visits(), 6);
}

#[test]
fn listen_takes_a_list_and_keeps_what_is_in_both() {
    let (server, scratch) = (Backend::named("a"), Scratch::new());
    let [first, second, third] = [(); 3].map(|()| at("127.0.0.1", free_port()));
    let (pen, session, queued) = full(&first.to_string(), &server);
    let control = pen.control();
    let file = scratch.join("socket");
    move_to(&control, &format!("{first} {second},{}", file.display()));
    // It may be asked again, in other words.
    move_to(&control, &format!("{},{second},{first}", file.display()));
    let descriptors = pen.descriptors().len();
    move_to(&control, &format!("{first} {third}"));
    assert!(!file.exists());
    serve_in_turn(session, queued);
    for address in [first, third, first] {
        assert_eq!(heard(address).as_deref(), Some("a"), "{address}");
    }
    wait_until("the rest to be closed", || Client::try_connect(&second.into(), None).is_err());
    wait_until("their descriptors to be closed", || pen.descriptors().len() < descriptors);
    assert!(control.configuration().ends_with(&format!("listen {first} {third}\n")), "{}", control.configuration());
}

#[test]
fn a_list_of_which_one_cannot_be_had_changes_nothing() {
    let (server, scratch) = (Backend::named("a"), Scratch::new());
    let pen = Launch::ours().control().servers(&[&server]).start();
    let control = pen.control();
    let [old, new] = [pen.port(), free_port()].map(|port| at("127.0.0.1", port));
    let file = scratch.join("socket");
    let reply = control.say(&format!("listen {new} {old} {} 192.0.2.1:80", file.display()));
    assert_eq!(reply, "can't bind local address 192.0.2.1:80: Cannot assign requested address\n");
    assert_eq!(control.say("listen"), format!("{old}\n"));
    assert!(!file.exists() && is_free(new));
    assert_eq!(heard(old).as_deref(), Some("a"));
    let reply = control.say(&format!("listen {old} {new}:x"));
    assert!(reply.starts_with("listen: "), "{reply}");
}

#[test]
fn addresses_of_a_list_may_overlap() {
    let (server, port) = (Backend::named("a"), free_port());
    let pen = Launch::ours().control().listener(format!("{port},127.0.0.1:{port}")).servers(&[&server]).start();
    assert_eq!(heard(at("127.0.0.1", port)).as_deref(), Some("a"));
    assert_eq!(heard(at("127.0.0.2", port)).as_deref(), Some("a"));
    // The same place twice is one.
    let descriptors = pen.descriptors().len();
    move_to(&pen.control(), &format!("{port} {port} 0.0.0.0:{port}"));
    wait_until("the other to be closed", || pen.descriptors().len() < descriptors);
    assert_eq!(heard(at("127.0.0.1", port)).as_deref(), Some("a"));
}

#[test]
fn a_list_in_the_file_is_followed_at_hup() {
    let (server, scratch) = (Backend::named("a"), Scratch::new());
    let [first, second, third] = [(); 3].map(|()| at("127.0.0.1", free_port()));
    let file = scratch.join("pen.conf");
    fs::write(&file, format!("listen {first} {second}\n")).unwrap();
    let file = file.display().to_string();
    let pen = Launch::ours().control().listens_tacitly(second).options(&["-F", &file]).servers(&[]).start();
    pen.control().tell(&[&format!("server 0 address 127.0.0.1 port {}", server.port())]);
    assert_eq!(heard(first).as_deref(), Some("a"));
    fs::write(&file, format!("listen {second},{third}\n")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the old one to be closed", || Client::try_connect(&first.into(), None).is_err());
    assert_eq!(heard(second).as_deref(), Some("a"));
    assert_eq!(heard(third).as_deref(), Some("a"));
}

#[test]
fn the_control_port_may_have_several_addresses_too() {
    let scratch = Scratch::new();
    let (tcp, file) = (at("127.0.0.1", free_port()).to_string(), scratch.join("control").display().to_string());
    let mut pen = Launch::ours().control_at(format!("{tcp},{file}")).options(&["-O", "dummy"]).start();
    for address in [&tcp, &file] {
        assert_eq!(Control::at(address).say("control"), format!("{tcp},{file}\n"));
    }
    pen.terminate();
    assert!(!scratch.join("control").exists());
}
