//! How TLS sessions end: whole, or visibly not.

use std::io::{self, Write};
use std::thread;

use openssl::ssl::SslVersion;

use crate::harness::{
    Backend, Client, End, Hello, Pen, TlsClient, TlsEnd, Visit, answer_at_the_end, certificates, echo, reset,
    s_client_obeying, say_goodbye, wait_until,
};

/// More than one read, less than all buffers on the way.
const ANSWER: usize = 300_000;

/// More than all buffers on the way.
const LARGE: usize = 20 * 1024 * 1024;

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

fn pen(a: &Backend) -> Pen {
    Pen::start(&["-E", &certificates().pem], &[a])
}

/// Clients of both versions, one after the other.
fn clients(pen: &Pen) -> impl Iterator<Item = (usize, TlsClient)> {
    VERSIONS.into_iter().map(|version| Hello::new().version(version).connect(pen)).enumerate()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number * 7 + number / 251) as u8).collect()
}

#[test]
fn the_end_of_a_servers_answer_is_told_and_its_client_can_go_on() {
    let a = Backend::new("a", say_goodbye);
    let pen = pen(&a);
    for (number, mut client) in clients(&pen) {
        assert_eq!(client.rest(), (b"goodbye\n".to_vec(), TlsEnd::Notified));
        client.send("and this?");
        a.visit(number).wait_received("and this?");
        client.finish();
        assert_eq!(a.visit(number).wait_end(), "closed");
    }
}

#[test]
fn the_end_of_a_request_is_told_and_its_answer_comes() {
    let a = Backend::new("a", answer_at_the_end);
    let pen = pen(&a);
    for (_, mut client) in clients(&pen) {
        client.send("hello");
        // Without the end of the direction of TCP.
        client.notify();
        assert_eq!(client.rest(), (b"5 bytes\n".to_vec(), TlsEnd::Notified));
    }
    for (_, mut client) in clients(&pen) {
        client.finish();
        assert_eq!(client.rest(), (b"0 bytes\n".to_vec(), TlsEnd::Notified));
    }
    drop(pen);
}

#[test]
fn a_client_that_is_cut_off_is_a_reset_for_the_server() {
    let a = Backend::new("a", echo);
    let pen = pen(&a);
    for (number, mut client) in clients(&pen) {
        client.assert_echo("hello");
        client.client().finish();
        let end = a.visit(number).wait_end();
        assert_ne!(end, "closed");
        assert_eq!(a.visit(number).received(), "hello");
    }
    pen.wait_for_connections(0, 0);
    for (number, mut client) in clients(&pen) {
        client.assert_echo("hello");
        drop(client);
        assert_ne!(a.visit(2 + number).wait_end(), "closed");
    }
    assert!(!pen.stderr().contains("no TLS"), "{}", pen.stderr());
}

#[test]
fn a_server_that_breaks_off_is_no_clean_end_for_the_client() {
    let a = Backend::new("a", |visit: &Visit| {
        visit.write(b"half of the answer")?;
        visit.read(&mut [0; 10])?;
        reset(visit)
    });
    let pen = pen(&a);
    for (_, mut client) in clients(&pen) {
        assert_eq!(client.bytes(18), b"half of the answer");
        client.send("go");
        let (heard, end) = client.rest();
        assert_eq!(heard, b"");
        assert_ne!(end, TlsEnd::Notified);
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_is_a_reset_for_the_server() {
    let a = Backend::new("a", echo);
    let pen = pen(&a);
    for (number, mut client) in clients(&pen) {
        client.assert_echo("hello");
        client.client().send(b"\x17\x03\x03\x00\x20................................");
        let visit = a.visit(number);
        assert_ne!(visit.wait_end(), "closed");
        assert_eq!(visit.received(), "hello");
        assert_ne!(client.rest().1, TlsEnd::Notified);
    }
}

#[test]
fn a_large_answer_arrives_whole_and_so_does_its_end() {
    let a = Backend::new("a", |visit: &Visit| {
        visit.read(&mut [0; 10])?;
        visit.write(&pattern(LARGE))?;
        visit.finish()
    });
    for ends in ["off", "up", "both"] {
        let pen = Pen::start(&["-E", &certificates().pem, "-O", &format!("tcp_fastclose {ends}")], &[&a]);
        for (_, mut client) in clients(&pen) {
            client.send("go");
            let (heard, end) = client.rest();
            assert!(heard == pattern(LARGE), "{ends}: {} bytes", heard.len());
            assert_eq!(end, TlsEnd::Notified, "{ends}");
        }
    }
}

#[test]
fn an_answer_to_the_beginning_of_an_upload_arrives_whole() {
    let answer = |visit: &Visit| -> io::Result<()> {
        visit.read(&mut [0; 1000])?;
        visit.write(&[b'a'; ANSWER])?;
        visit.wait_confirmed();
        Ok(())
    };
    let refuse = move |visit: &Visit| {
        answer(visit)?;
        visit.finish()
    };
    let (a, b) = (Backend::new("a", refuse), Backend::new("b", answer));
    for (server, is_clean) in [(&a, true), (&b, false)] {
        let pen = pen(server);
        for (_, mut client) in clients(&pen) {
            // It does not listen before all was sent.
            let part = vec![b'u'; 64 * 1024];
            let _ = (0..256).try_for_each(|_| client.try_send(&part));
            let (heard, end) = client.rest();
            assert_eq!((heard.len(), end == TlsEnd::Notified), (ANSWER, is_clean));
        }
        pen.wait_for_connections(0, 0);
    }
}

#[test]
fn what_comes_in_the_packet_of_finished_is_not_lost() {
    let (a, b) = (Backend::new("a", answer_at_the_end), Backend::new("b", echo));
    let (ends, echoes) = (pen(&a), pen(&b));
    for size in [1, 1000, 16_384, 16_385, 100_000] {
        let mut client = Hello::new().version(SslVersion::TLS1_3).holding_finished().connect(&echoes);
        client.send(pattern(size));
        assert!(client.bytes(size) == pattern(size));
        // And the end, too.
        let mut client = Hello::new().version(SslVersion::TLS1_3).holding_finished().connect(&ends);
        client.hold(pattern(size));
        client.notify();
        client.release();
        client.client().finish();
        assert_eq!(client.rest(), (format!("{size} bytes\n").into_bytes(), TlsEnd::Notified));
    }
}

#[test]
fn records_of_all_sizes_arrive_when_they_come_together() {
    let a = Backend::new("a", echo);
    let pen = pen(&a);
    for (_, mut client) in clients(&pen) {
        for sizes in [&[1, 1, 1][..], &[16_384, 1], &[16_384; 20], &[5000, 16_000, 3, 1, 9000], &[1; 300]] {
            client.hold_all();
            let mut all = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let record = vec![number as u8; *size];
                client.hold(&record);
                all.extend(record);
            }
            client.release();
            // Nothing more comes that would wake pen.
            assert!(client.bytes(all.len()) == all, "{sizes:?}");
        }
    }
}

#[test]
fn both_sides_send_much_at_the_same_time() {
    let a = Backend::new("a", |visit: &Visit| {
        thread::scope(|scope| {
            let writer = scope.spawn(|| visit.write(&pattern(LARGE)).and_then(|()| visit.finish()));
            visit.read_all()?;
            writer.join().unwrap()
        })
    });
    let pen = pen(&a);
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let client = Hello::new().version(version).connect(&pen);
        let (heard, end) = client.converse(&pattern(LARGE));
        assert!(heard == pattern(LARGE), "{} bytes", heard.len());
        assert_eq!(end, TlsEnd::Notified);
        let visit = a.visit(number);
        assert_eq!(visit.wait_end(), "closed");
        assert_eq!(visit.count(), LARGE as u64);
    }
}

#[test]
fn new_keys_in_the_middle_of_a_session_change_nothing() {
    let a = Backend::new("a", |visit: &Visit| {
        let mut heard = Vec::new();
        let mut part = [0; 100];
        while !heard.ends_with(b"enough\n") {
            let count = visit.read(&mut part)?;
            heard.extend_from_slice(&part[..count]);
            visit.write(&part[..count])?;
        }
        visit.finish()
    });
    let pen = pen(&a);
    let (mut program, mut writer) = s_client_obeying(pen.port(), &["-tls1_3"]);
    writer.write_all(b"one\n").unwrap();
    wait_until("an echo", || program.stdout().contains("\none\n"));
    // K makes it change its keys and ask for others, k only the former.
    for (letter, count) in [(b"K\n", 1), (b"k\n", 2)] {
        writer.write_all(letter).unwrap();
        wait_until("new keys", || program.stderr().matches("KEYUPDATE").count() == count);
    }
    writer.write_all(b"enough\n").unwrap();
    program.wait_exit();
    assert!(program.stdout().contains("\nenough\n"), "{}", program.stdout());
}

#[test]
fn a_client_that_has_heard_the_end_and_closes_without_a_word_ends_the_session() {
    let a = Backend::new("a", say_goodbye);
    let pen = pen(&a);
    for (number, mut client) in clients(&pen) {
        assert_eq!(client.rest().1, TlsEnd::Notified);
        drop(client);
        a.visit(number).wait_end();
    }
    pen.wait_for_connections(0, 0);
    // A plain client shows that the harness recognises an end.
    let plain = Pen::start(&[], &[&a]);
    assert_eq!(Client::connect(&plain).rest(), (b"goodbye\n".to_vec(), End::Closed));
}
