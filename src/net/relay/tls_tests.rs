//! A half-connection with TLS at its source.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;

use super::buffers::Buffers;
use super::filter::Filter;
use super::half::{Broken, Half, Moved, Sides};
use super::meter::Meter;
use super::pipes::Pipes;
use super::stream::Stream;
use crate::net::tls::pairs::pair;

/// Sees nothing.
struct Unseen;

impl Filter for Unseen {
    fn pass(&mut self, _bytes: &mut Vec<u8>) {}

    fn unseen(&self) -> u64 {
        u64::MAX
    }
}

/// How a half ends whose server has answered and closed, perhaps with a word in TLS, and whose connection a write has found reset.
fn end(is_told: bool) -> Result<(), Errno> {
    let (session, mut server) = pair();
    server.write_all(b"answer").unwrap();
    if is_told {
        server.shutdown().unwrap();
    }
    drop(server);
    let (sink, _client) = UnixStream::pair().unwrap();
    let sink = OwnedFd::from(sink);
    let (meter, buffers, pipes, mut filter) = (Meter::default(), Buffers::default(), Pipes::default(), Unseen);
    let mut half = Half::new(&meter, &mut filter, &pipes, Vec::new());
    half.source_broke(Errno::CONNRESET);
    let (mut source, mut sink) = (Stream::Tls(Box::new(session)), Stream::Plain(&sink));
    loop {
        match half.pump(&mut Sides { source: &mut source, sink: &mut sink }, &mut buffers.borrow(), false) {
            Ok(Moved::Finished) => return Ok(()),
            Ok(_) => {}
            Err(Broken::Source(error)) => return Err(error),
            Err(Broken::Sink(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn an_end_that_was_told_in_tls_counts_although_the_socket_was_reset_behind_it() {
    assert_eq!(end(true), Ok(()));
    assert_eq!(end(false), Err(Errno::CONNRESET));
}
