//! The server inside pen: answers any HTTP request with a tiny page and closes (penctl(1), `dummy`).

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{Shutdown, shutdown};

use super::timed::{recv_until, send_all};

/// How long a client may take for its request, and again for closing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest head of a request that is read before it is answered all the same.
const LONGEST_HEAD: usize = 16 * 1024;

/// Reads one request, answers it with a page that names this server, and waits for the client to close. Tells how many
/// bytes came and went.
// Its buffers must not lie in the frame of a worker that does not need them.
#[inline(never)]
pub fn answer(client: &OwnedFd, name: &str) -> io::Result<(u64, u64)> {
    set_socket_timeout(client, Timeout::Send, Some(PATIENCE))?;
    let head = read_head(client)?;
    if head.is_empty() {
        return Ok((0, 0));
    }
    let reply = reply(&head, name);
    send_all(client, reply.as_bytes())?;
    // Closing while unread bytes are left would make the kernel reset the connection and the client lose the page.
    shutdown(client, Shutdown::Write)?;
    let mut scrap = [0; 1024];
    let deadline = Instant::now() + PATIENCE;
    while read(client, &mut scrap, deadline)? > 0 {}
    Ok((head.len() as u64, reply.len() as u64))
}

fn read_head(client: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 2048];
    let deadline = Instant::now() + PATIENCE;
    while head.len() < LONGEST_HEAD
        && !head.windows(4).any(|w| w == b"\r\n\r\n")
        && !head.windows(2).any(|w| w == b"\n\n")
    {
        match read(client, &mut part, deadline)? {
            0 => break,
            count => head.extend_from_slice(&part[..count]),
        }
    }
    Ok(head)
}

/// Reads until the deadline at the latest; 0 at the end of the data and of the time.
fn read(client: &OwnedFd, part: &mut [u8], deadline: Instant) -> io::Result<usize> {
    match recv_until(client, part, deadline) {
        Err(Errno::TIMEDOUT) => Ok(0),
        result => Ok(result?),
    }
}

fn reply(head: &[u8], name: &str) -> String {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>pen dummy server</title></head>\n\
         <body><h1>dummy server {name}</h1><p>This page was made by pen itself.</p></body></html>\n"
    );
    let body = if head.starts_with(b"HEAD ") { "" } else { &page };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        page.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn ask(parts: &'static [&'static str]) -> String {
        let (mut client, server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || answer(&OwnedFd::from(server), "one").unwrap());
        for part in parts {
            client.write_all(part.as_bytes()).unwrap();
        }
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        drop(client);
        server.join().unwrap();
        reply
    }

    #[test]
    fn a_request_in_pieces_gets_a_page_that_names_the_server() {
        let reply = ask(&["GET / HT", "TP/1.1\r\nHost: x\r\n", "\r\n"]);
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"));
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("dummy server one"));
    }

    #[test]
    fn a_head_request_gets_no_body() {
        assert!(ask(&["HEAD / HTTP/1.0\r\n\r\n"]).ends_with("\r\n\r\n"));
    }
}
