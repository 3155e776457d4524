//! Places of clients, and panics while one is served.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::bounded;

use super::*;
use crate::daemon::mailbox;
use crate::net::peer::Reply;

/// What a client is sent.
fn served(crew: &Crew, complaints: &Complaints) -> String {
    let (mut own, other) = UnixStream::pair().unwrap();
    own.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let client = Client { peer: Arc::new(Peer::new(other.into())), address: ClientAddr::Local, since: Instant::now() };
    crew.admit(client, complaints, complaints);
    let mut text = String::new();
    own.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_panic_while_a_client_is_served_ends_that_client_alone() {
    let (events, inbox) = mailbox::to_this_thread(8);
    let (messages, queue) = bounded(8);
    let log = Log::new(messages);
    let count = AtomicUsize::new(0);
    let serve = move |client: &Client| {
        assert!(count.fetch_add(1, Ordering::Relaxed) % 2 == 1, "on purpose");
        Reply(&client.peer).write_all(b"served").unwrap();
    };
    let duty = Duty { name: "client", of: "the test", residents: 1, places: 1, gives_way: false };
    let crew = Crew::start(duty, &events, &log, Arc::new(serve)).unwrap();
    let complaints = Complaints::new(log, "");
    for expected in ["", "served", "", "served"] {
        assert_eq!(served(&crew, &complaints), expected);
    }
    let told: Vec<_> = queue.try_iter().map(|message| format!("{message:?}")).collect();
    assert_eq!(told.iter().filter(|line| line.contains("ended by a fault in pen")).count(), 2, "{told:?}");
    // Its thread is no loss that ends the process.
    assert!(inbox.next(Some(Duration::ZERO)).is_none());
}

#[test]
fn a_thread_that_gave_way_for_a_report_is_succeeded_by_one_that_does_not() {
    let (events, _inbox) = mailbox::to_this_thread(8);
    let (messages, _queue) = bounded(8);
    let log = Log::new(messages);
    let serve = |client: &Client| {
        let before = priority::nice();
        priority::give_way();
        write!(Reply(&client.peer), "{before}").unwrap();
    };
    let duty = Duty { name: "client", of: "the test", residents: 1, places: 1, gives_way: false };
    let crew = Crew::start(duty, &events, &log, Arc::new(serve)).unwrap();
    let complaints = Complaints::new(log, "");
    for _ in 0..3 {
        assert_eq!(served(&crew, &complaints), priority::nice().to_string());
    }
}
