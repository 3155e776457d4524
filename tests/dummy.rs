//! The server inside pen.

use crate::harness::{Backend, Client, Launch, Pen, Scratch};

fn page(client: &Client, request: &[&str]) -> String {
    for part in request {
        client.send(part);
    }
    client.text()
}

#[test]
fn a_dummy_answers_a_request_with_a_page_that_names_it_and_closes() {
    let pen = Pen::start(&["-O", "dummy"], &[]);
    for _ in 0..3 {
        let answer = page(&Client::connect(&pen), &["GET /any/thing HTTP/1.1\r\nHost: x\r\n\r\n"]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert!(body.contains(&format!("127.0.0.1:{}", pen.port())), "{body}");
    }
}

#[test]
fn a_request_in_pieces_is_waited_for() {
    let pen = Pen::start(&["-O", "dummy"], &[]);
    let answer = page(&Client::connect(&pen), &["PO", "ST / HTTP/1.0\r", "\nContent-Length: 0\r\n", "\r\n"]);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn a_client_that_is_done_speaking_is_answered() {
    let pen = Pen::start(&["-O", "dummy"], &[]);
    let client = Client::connect(&pen);
    client.send("GET / HTTP/1.0\r\n");
    client.finish();
    assert!(client.text().starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_head_request_gets_a_head() {
    let pen = Pen::start(&["-O", "dummy"], &[]);
    let answer = page(&Client::connect(&pen), &["HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"]);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_dummy_asks_no_server() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-O", "dummy"], &[&a]);
    assert!(page(&Client::connect(&pen), &["GET / HTTP/1.0\r\n\r\n"]).contains("dummy"));
    assert_eq!(a.visits(), 0);
}

#[test]
fn a_dummy_that_is_switched_off_again_is_none() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-O", "dummy", "-O", "no dummy"], &[&a]);
    assert_eq!(Client::connect(&pen).line().as_deref(), Some("a"));
}

#[test]
fn a_dummy_keeps_denied_clients_out() {
    let pen = Pen::start(&["-O", "dummy", "-O", "acl 1 permit 127.0.0.2", "-O", "client_acl 1"], &[]);
    assert!(page(&Client::from("127.0.0.2", &pen), &["GET / HTTP/1.0\r\n\r\n"]).contains("dummy"));
    assert_eq!(Client::from("127.0.0.3", &pen).rest().0, b"");
}

#[test]
fn a_dummy_on_a_unix_socket_names_the_socket() {
    let scratch = Scratch::new();
    let path = scratch.join("dummy.sock");
    let pen = Launch::ours().listener(path.display()).options(&["-O", "dummy"]).start();
    let answer = page(&Client::connect(&pen), &["GET / HTTP/1.0\r\n\r\n"]);
    assert!(answer.contains(&path.display().to_string()), "{answer}");
}

#[test]
fn dummies_are_servers_for_another_pen() {
    let (a, b) = (Pen::start(&["-O", "dummy"], &[]), Pen::start(&["-O", "dummy"], &[]));
    let names = [a.port(), b.port()].map(|port| format!("127.0.0.1:{port}"));
    let pen = Pen::start(&["-r"], &[&names[0], &names[1]]);
    for name in [&names[0], &names[1], &names[0]] {
        let answer = page(&Client::connect(&pen), &["GET / HTTP/1.0\r\n\r\n"]);
        assert!(answer.contains(name.as_str()), "{answer}");
    }
}
