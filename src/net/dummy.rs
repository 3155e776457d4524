//! The server inside pen: answers any HTTP request with a tiny page and closes (penctl(1), `dummy`).

use std::io;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::relay::stream::Stream;
use super::timed::ready_until;

/// How long a client may take for its request, and again for closing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client that is refused may take to close.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// The longest head of a request that is read before it is answered all the same.
const LONGEST_HEAD: usize = 16 * 1024;

/// What a client of HTTP gets where TLS is expected.
const SPEAK_TLS: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 43\r\nConnection: close\r\n\r\n\
                         This port speaks TLS: use https:// instead\n";

/// Reads one request, answers it with a page that names this server, and waits for the client to close. Tells how many
/// bytes came and went.
// Its buffers must not lie in the frame of a worker that does not need them.
#[inline(never)]
pub fn answer(client: &mut Stream<'_>, name: &str) -> io::Result<(u64, u64)> {
    let head = read_head(client)?;
    if head.is_empty() {
        return Ok((0, 0));
    }
    let reply = reply(&head, name);
    finish(client, reply.as_bytes(), Instant::now() + PATIENCE)?;
    Ok((head.len() as u64, reply.len() as u64))
}

/// Answers a client that has sent a request where it should have begun with TLS.
#[inline(never)]
pub fn refuse(client: &mut Stream<'_>) -> io::Result<()> {
    finish(client, SPEAK_TLS.as_bytes(), Instant::now() + SHORT_PATIENCE)
}

/// Sends the answer and waits for the client to close: closing while unread bytes are left would make the kernel reset the connection
/// and the client lose the answer.
fn finish(client: &mut Stream<'_>, mut answer: &[u8], deadline: Instant) -> io::Result<()> {
    while !answer.is_empty() {
        match client.send(answer, false) {
            Ok(count) => answer = &answer[count..],
            Err(Errno::AGAIN | Errno::INTR) => {
                ready_until(client.socket(), client.waits_for(PollFlags::OUT), deadline)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    client.end();
    let mut scrap = Vec::with_capacity(1024);
    // A client that never stops sending would put the deadline off for ever.
    while read(client, &mut scrap, deadline)? > 0 && Instant::now() < deadline {
        scrap.clear();
    }
    Ok(())
}

fn read_head(client: &mut Stream<'_>) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(LONGEST_HEAD);
    let deadline = Instant::now() + PATIENCE;
    while head.len() < LONGEST_HEAD
        && !head.windows(4).any(|w| w == b"\r\n\r\n")
        && !head.windows(2).any(|w| w == b"\n\n")
    {
        if read(client, &mut head, deadline)? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Reads behind what is there until the deadline at the latest; 0 at the end of the data and of the time.
fn read(client: &mut Stream<'_>, buffer: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
    loop {
        match client.recv(buffer) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
        match ready_until(client.socket(), client.waits_for(PollFlags::IN), deadline) {
            Err(Errno::TIMEDOUT) => return Ok(0),
            result => result?,
        }
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
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn ask(parts: &'static [&'static str]) -> String {
        let (mut client, server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || answer(&mut Stream::Plain(&OwnedFd::from(server)), "one").unwrap());
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
    fn a_client_that_never_stops_sending_is_left_at_the_deadline() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&[b'x'; 64 * 1024]).unwrap();
        let mut unread = server.try_clone().unwrap();
        unread.set_nonblocking(true).unwrap();
        finish(&mut Stream::Plain(&OwnedFd::from(server)), b"", Instant::now()).unwrap();
        // What has come until the deadline does not have to be read.
        assert!(unread.read(&mut [0; 1]).is_ok_and(|count| count == 1));
    }

    #[test]
    fn a_head_request_gets_no_body() {
        assert!(ask(&["HEAD / HTTP/1.0\r\n\r\n"]).ends_with("\r\n\r\n"));
    }
}
