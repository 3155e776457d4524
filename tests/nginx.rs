//! Real web servers behind pen.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{Client, Pen, Process, Scratch, free_port, program, skip, wait_until};
use crate::request_log::lines;

/// An nginx of our own.
#[derive(Debug)]
pub(crate) struct Nginx {
    program: String,
    pub(crate) scratch: Scratch,
    port: u16,
    process: Option<Process>,
}

impl Nginx {
    /// Starts one, whose page is its name, if it is installed.
    fn start(name: &str) -> Option<Self> {
        Self::with("", &format!("location = / {{ return 200 \"{name}\"; }}\n"))
    }

    /// Starts one with these settings of its HTTP and of its server, if it is installed.
    pub(crate) fn with(http: &str, server: &str) -> Option<Self> {
        let Some(program) = program("nginx") else {
            skip("nginx is not installed");
            return None;
        };
        let (scratch, port) = (Scratch::new(), free_port());
        let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = folders.map(|folder| format!("{folder}_temp_path {folder};\n")).concat();
        let settings = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{http}\
             server {{\nlisten 127.0.0.1:{port};\nroot .;\n{server}}}\n}}\n"
        );
        fs::write(scratch.join("nginx.conf"), settings).unwrap();
        // As a single process it stays with the user who starts it, whom the folder belongs to.
        let mut nginx = Self { program, scratch, port, process: None };
        nginx.up();
        Some(nginx)
    }

    fn up(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(self.scratch.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        self.process = Some(Process::start(command));
        wait_until("nginx to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn down(&mut self) {
        self.process = None;
    }

    /// As an operand of pen's.
    pub(crate) fn operand(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Asks for a page from that address; the answer without its head.
#[track_caller]
fn get(pen: &Pen, ip: &str, path: &str) -> Option<String> {
    let client = Client::from(ip, pen);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: pen.test\r\nConnection: close\r\n\r\n"));
    let (answer, _) = client.rest();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    Some(body.to_string())
}

#[test]
fn clients_of_an_nginx_that_dies_are_served_by_the_other_until_it_is_back() {
    let (Some(mut one), Some(two)) = (Nginx::start("one"), Nginx::start("two")) else { return };
    let pen = Pen::start(&["-b1"], &[&one.operand(), &two.operand()]);
    let clients = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    let ask = || clients.map(|ip| get(&pen, ip, "/").unwrap_or_else(|| String::from("-")));
    assert_eq!(ask(), ["one", "two", "one", "two"]);
    assert_eq!(ask(), ["one", "two", "one", "two"]);
    one.down();
    for _ in 0..5 {
        assert_eq!(ask(), ["two"; 4]);
    }
    one.up();
    // Those who know the other server stay there; somebody new tries the one that is back.
    let mut newcomers = (20..).map(|n| format!("127.0.{}.{}", n / 250, n % 250 + 1));
    wait_until("the server that is back to be used", || {
        get(&pen, &newcomers.next().unwrap(), "/").as_deref() == Some("one")
    });
    pen.wait_for_line("blacklisted -> up");
    let next: Vec<_> = newcomers.take(4).filter_map(|ip| get(&pen, &ip, "/")).collect();
    assert_eq!(next, ["two", "one", "two", "one"]);
}

#[test]
fn each_request_of_a_keep_alive_connection_to_an_nginx_is_logged() {
    let Some(one) = Nginx::start("one") else { return };
    let file = one.scratch.join("log");
    let pen = Pen::start(&["-l", &file.display().to_string()], &[&one.operand()]);
    let client = Client::from("127.0.0.2", &pen);
    for name in ["a", "b", "c"] {
        client.send(format!("GET /?{name} HTTP/1.1\r\nHost: pen.test\r\n\r\n"));
        while client.line().unwrap() != "\r" {}
        assert_eq!(client.bytes(3), b"one");
    }
    let expected = ["a", "b", "c"].map(|name| format!("127.0.0.2 127.0.0.1 GET /?{name} HTTP/1.1"));
    wait_until("the lines", || lines(&file) == expected);
}

#[test]
fn keep_alive_connections_and_large_files_come_through() {
    let Some(one) = Nginx::start("one") else { return };
    let content: String = (0..400_000).map(|n| format!("{n:08}\n")).collect();
    fs::write(one.scratch.join("large.txt"), &content).unwrap();
    let pen = Pen::start(&[], &[&one.operand()]);
    let client = Client::connect(&pen);
    for _ in 0..50 {
        client.send("GET / HTTP/1.1\r\nHost: pen.test\r\n\r\n");
        while client.line().unwrap() != "\r" {}
        assert_eq!(client.bytes(3), b"one");
    }
    for _ in 0..3 {
        assert!(get(&pen, "127.0.0.2", "/large.txt").unwrap() == content, "the file was changed on its way");
    }
}
