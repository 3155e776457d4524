//! TLS to servers that others have written.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{
    Client, Launch, Pen, Process, Scratch, certificates, curl, free_port, program, skip, visit, wait_until,
};

/// A server of others, which listens.
struct Other {
    _process: Process,
    port: u16,
}

impl Other {
    #[track_caller]
    fn start(command: Command, port: u16) -> Self {
        let process = Process::start(command);
        // This is not for TLS, which such servers survive.
        wait_until("it to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { _process: process, port }
    }
}

fn pen(other: &Other, options: &[&str]) -> Pen {
    let address = format!("127.0.0.1:{}", other.port);
    let pen = Launch::ours().control().options(options).servers(&[&address]).start();
    pen.control().tell(&[&format!("server 0 tls on tls_ca {}", certificates().authority.cert())]);
    pen
}

#[track_caller]
fn page(pen: &Pen, path: &str) -> String {
    let client = Client::connect(pen);
    client.send(format!("GET {path} HTTP/1.0\r\nHost: pen.test\r\n\r\n"));
    let (answer, _) = client.rest();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn openssl_s_server_is_spoken_to_in_both_versions() {
    for version in ["-tls1_2", "-tls1_3"] {
        let (port, site) = (free_port(), &certificates().site);
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", version, "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", &site.cert(), "-key", &site.key()]);
        let other = Other::start(command, port);
        let pen = pen(&other, &[]);
        let text = page(&pen, "/");
        assert!(text.contains("200 ok") && text.contains(&version[1..].replace("tls1_", "TLSv1.")), "{text}");
    }
}

#[test]
fn nginx_serves_large_files_by_tls_to_plain_and_tls_clients() {
    let Some(nginx) = program("nginx") else { return skip("nginx is not installed") };
    let (port, site, scratch) = (free_port(), &certificates().site, Scratch::new());
    let content: String = (0..400_000).map(|number| format!("{number:08}\n")).collect();
    fs::write(scratch.join("large.txt"), &content).unwrap();
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = folders.map(|folder| format!("{folder}_temp_path {folder};\n")).concat();
    let settings = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:{port} ssl;\nroot .;\n\
         ssl_certificate {};\nssl_certificate_key {};\n}}\n}}\n",
        site.cert(),
        site.key()
    );
    fs::write(scratch.join("nginx.conf"), settings).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(scratch.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
    let other = Other::start(command, port);
    let plain = pen(&other, &[]);
    for _ in 0..3 {
        let text = page(&plain, "/large.txt");
        assert!(text.ends_with(&format!("\r\n\r\n{content}")), "{} bytes", text.len());
    }
    let both = pen(&other, &["-E", &certificates().pem]);
    let answer = curl(both.port(), "large.txt", &["--cacert", certificates().authority.cert()]);
    assert!(answer.success && answer.text == content, "{} bytes", answer.text.len());
}

#[test]
fn a_server_in_python_is_spoken_to() {
    const SCRIPT: &str = "
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
def serve(plain):
    try:
        with context.wrap_socket(plain, server_side=True) as stream:
            stream.sendall(b'python\\n')
            stream.recv(1)
            stream.unwrap()
    except OSError:
        pass
with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as listener:
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
";
    let (port, site) = (free_port(), &certificates().site);
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, &port.to_string(), &site.cert(), &site.key()]);
    let other = Other::start(command, port);
    let pen = pen(&other, &[]);
    for ip in ["127.0.0.2", "127.0.0.3"] {
        assert_eq!(visit(&pen, ip).as_deref(), Some("python"));
    }
}
