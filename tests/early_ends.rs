//! A server that ends a session before its client does.

use std::io;
use std::time::Duration;

use crate::harness::{Backend, Client, End, Launch, Pen, Visit, reset, wait_until};

/// More than one read, less than all buffers on the way.
const ANSWER: usize = 300_000;

/// More than all buffers on the way.
const UPLOAD: usize = 16 * 1024 * 1024;

/// Answers the beginning of a request, and waits until pen's host has the answer: a server that closes before has taken the rest back.
fn answer(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 1000])?;
    visit.write(&[b'a'; ANSWER])?;
    visit.wait_confirmed();
    Ok(())
}

/// Says that this was all, and closes with the rest of the request unread.
fn refuse(visit: &Visit) -> io::Result<()> {
    answer(visit)?;
    visit.finish()
}

#[track_caller]
fn upload_and_listen(pen: &Pen) -> (usize, End) {
    let client = Client::connect(pen);
    // It does not listen before all was sent, as many libraries.
    client.send(vec![b'u'; UPLOAD]);
    let (heard, end) = client.rest();
    assert!(heard.iter().all(|byte| *byte == b'a'));
    (heard.len(), end)
}

#[test]
fn an_answer_to_the_beginning_of_an_upload_arrives_whole_and_so_does_its_end() {
    let a = Backend::new("a", refuse);
    for ends in ["off", "up", "both"] {
        let pen = Pen::start(&["-O", &format!("tcp_fastclose {ends}")], &[&a]);
        assert_eq!(upload_and_listen(&pen), (ANSWER, End::Closed), "tcp_fastclose {ends}");
        pen.wait_for_connections(0, 0);
    }
}

#[test]
fn an_answer_of_a_server_that_closes_without_an_end_arrives_whole_before_the_reset() {
    let a = Backend::new("a", answer);
    for ends in ["off", "up", "both"] {
        let pen = Pen::start(&["-O", &format!("tcp_fastclose {ends}")], &[&a]);
        assert_eq!(upload_and_listen(&pen), (ANSWER, End::Reset), "tcp_fastclose {ends}");
        pen.wait_for_connections(0, 0);
    }
}

#[test]
fn a_reset_waits_for_a_client_that_reads_late() {
    let a = Backend::new("a", |visit: &Visit| {
        answer(visit)?;
        reset(visit)
    });
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    client.send("question");
    a.visit(0).wait_end();
    // Pen has nothing left to do but to wait for the client.
    wait_until("pen to pass the answer on", || pen.statistics().contains(&format!("{ANSWER} received\n")));
    assert_eq!(pen.connections(0), 1, "the reset came before the client had the answer");
    let (heard, end) = client.rest();
    assert_eq!((heard.len(), end), (ANSWER, End::Reset));
}

#[test]
fn a_client_that_never_stops_sending_is_cut_off() {
    let a = Backend::new("a", refuse);
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    let part = vec![b'u'; 1024 * 1024];
    let sent = (0..4096).take_while(|_| client.try_send(&part).is_ok()).count();
    assert!((16..1024).contains(&sent), "{sent} MiB");
    pen.wait_for_connections(0, 0);
}

#[test]
fn a_client_that_has_its_answer_and_neither_sends_nor_ends_is_not_waited_for_with_tcp_fastclose() {
    let a = Backend::new("a", |visit: &Visit| {
        visit.write(b"that was all\n")?;
        visit.finish()
    });
    let pen = Pen::start(&["-O", "tcp_fastclose up"], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.text(), "that was all\n");
    pen.wait_for_connections(0, 0);
    assert!(client.hears_nothing_for(Duration::ZERO) || client.rest().0.is_empty());
}

#[test]
fn the_last_words_of_a_client_arrive_with_tcp_fastclose_down_although_the_server_sends() {
    let a = Backend::new("a", |visit: &Visit| {
        visit.write(&[b'a'; 100_000])?;
        visit.read_all()
    });
    let pen = Pen::start(&["-O", "tcp_fastclose down"], &[&a]);
    for number in 0..10 {
        let client = Client::connect(&pen);
        let visit = a.visit(number);
        client.send(vec![b'u'; 400_000]);
        client.finish();
        visit.wait_end();
        assert_eq!(visit.count(), 400_000);
    }
}

#[test]
fn waiting_for_a_client_that_does_not_read_takes_no_time_of_the_processor_and_ends_by_command() {
    let a = Backend::new("a", refuse);
    let pen = Launch::ours().control().options(&["-O", "tcp_fastclose up"]).servers(&[&a]).start();
    let client = Client::connect(&pen);
    client.send("question");
    client.finish();
    a.visit(0).wait_end();
    pen.wait_for_connections(0, 1);
    pen.assert_idle("a client that does not read");
    pen.control().say("close 0");
    pen.wait_for_connections(0, 0);
}
