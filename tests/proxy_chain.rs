//! The PROXY protocol between real programs: HAProxy in front of pen, nginx behind it, and curl as the client.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{Launch, Pen, Process, Scratch, free_port, program, skip, wait_until};
use crate::nginx::Nginx;

/// An HAProxy that passes TCP on to that port, with these words about the server.
struct Haproxy {
    port: u16,
    _process: Process,
    _scratch: Scratch,
}

impl Haproxy {
    /// Starts one, if it is installed.
    fn start(address: &str, bind: &str, server: u16, words: &str) -> Option<Self> {
        let Some(haproxy) = program("haproxy") else {
            skip("haproxy is not installed");
            return None;
        };
        let (scratch, port) = (Scratch::new(), free_port());
        let settings = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen front\n bind {address}:{port} {bind}\n server pen 127.0.0.1:{server} {words}\n"
        );
        fs::write(scratch.join("haproxy.cfg"), settings).unwrap();
        let mut command = Command::new(haproxy);
        command.args(["-db", "-f"]).arg(scratch.join("haproxy.cfg"));
        let process = Process::start(command);
        wait_until("HAProxy to listen", || TcpStream::connect((address, port)).is_ok());
        Some(Self { port, _process: process, _scratch: scratch })
    }
}

/// An nginx and the port on which it expects PROXY headers. Its pages say where the client comes from, and to whom it connected.
fn nginx() -> Option<(Nginx, u16)> {
    let port = free_port();
    let page =
        "location / { return 200 \"$proxy_protocol_addr $proxy_protocol_server_port $http_x_forwarded_proto\"; }";
    let http = format!("server {{\nlisten 127.0.0.1:{port} proxy_protocol;\n{page}\n}}\n");
    let nginx = Nginx::with(&http, "location / { return 200 \"$remote_addr - $http_x_forwarded_for\"; }\n")?;
    Some((nginx, port))
}

fn pen(commands: &[&str], server: &str) -> (Pen, u16) {
    let options: Vec<_> = commands.iter().flat_map(|command| ["-O", command]).collect();
    let pen = Launch::ours().control().options(&options).servers(&[&server]).start();
    let port = pen.address().as_socket().unwrap().port();
    (pen, port)
}

#[track_caller]
fn page(source: &str, url: &str) -> String {
    let curl = Command::new("curl").args(["-sSk", "--max-time", "20", "--interface", source, url]).output().unwrap();
    assert!(curl.stderr.is_empty(), "{url}: {}", String::from_utf8_lossy(&curl.stderr));
    String::from_utf8_lossy(&curl.stdout).into_owned()
}

#[test]
fn nginx_behind_pen_behind_haproxy_knows_the_client_with_all_versions() {
    if program("curl").is_none() {
        return skip("curl is not installed");
    }
    let Some((nginx, expecting)) = nginx() else { return };
    for (send, to) in
        [("off", nginx.operand()), ("v1", format!("127.0.0.1:{expecting}")), ("v2", format!("127.0.0.1:{expecting}"))]
    {
        for (accept, words) in [("off", ""), ("v1", "send-proxy"), ("v2", "send-proxy-v2"), ("any", "send-proxy-v2")] {
            let (_pen, port) =
                pen(&[&format!("accept_proxy {accept}"), &format!("server 0 send_proxy {send}"), "http"], &to);
            for (address, source) in [("127.0.0.1", "127.0.0.2"), ("::1", "::1")] {
                let Some(front) = Haproxy::start(address, "", port, words) else { return };
                let host = if source == "::1" { "[::1]" } else { address };
                let page = page(source, &format!("http://{host}:{}/", front.port));
                // Without a header HAProxy is the client.
                let (client, at) = if accept == "off" { ("127.0.0.1", port) } else { (source, front.port) };
                let expected = match send {
                    "off" => format!("127.0.0.1 - {client}"),
                    _ => format!("{client} {at} http"),
                };
                assert_eq!(page, expected, "{source}: {accept} in, {send} out");
            }
        }
    }
}

#[test]
fn health_checks_of_haproxy_are_no_clients_of_their_own() {
    let Some((_nginx, expecting)) = nginx() else { return };
    let (pen, port) = pen(&["accept_proxy v2", "server 0 send_proxy v2"], &format!("127.0.0.1:{expecting}"));
    let Some(_front) = Haproxy::start("127.0.0.1", "", port, "send-proxy-v2 check inter 50") else { return };
    wait_until("some checks", || {
        let recent = pen.control().say("recent");
        let connects = recent.split(' ').nth(2).and_then(|number| number.parse::<u32>().ok());
        connects.is_some_and(|connects| connects > 5)
    });
    assert_eq!(pen.control().say("recent").lines().count(), 1);
    assert!(!pen.stderr().contains("PROXY protocol: "), "{}", pen.stderr());
}

#[cfg(feature = "tls")]
#[test]
fn tls_may_end_at_haproxy_or_at_pen() {
    use crate::harness::certificates;
    if program("curl").is_none() {
        return skip("curl is not installed");
    }
    let Some((_nginx, expecting)) = nginx() else { return };
    let pem = &certificates().pem;
    for (at_haproxy, words) in [(true, "send-proxy-v2-ssl"), (false, "send-proxy-v2")] {
        let own = format!("ssl_certificate {pem}");
        let mut commands = vec!["accept_proxy v2", "server 0 send_proxy v2", "http"];
        if !at_haproxy {
            commands.push(&own);
        }
        let (_pen, port) = pen(&commands, &format!("127.0.0.1:{expecting}"));
        let bind = if at_haproxy { format!("ssl crt {pem}") } else { String::new() };
        let Some(front) = Haproxy::start("127.0.0.1", &bind, port, words) else { return };
        let page = page("127.0.0.2", &format!("https://127.0.0.1:{}/", front.port));
        assert_eq!(page, format!("127.0.0.2 {} https", front.port), "TLS ends at HAProxy: {at_haproxy}");
    }
}
