//! What filters ask of a half-connection, between socket pairs.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown, socketpair,
};

use super::buffers::{Buffers, SIZE};
use super::filter::Filter;
use super::half::{Half, Moved, Sides};
use super::meter::Meter;
use super::pipes::Pipes;
use super::stream::Stream;

/// What it does not need to see in each [`ROUND`] bytes, which end with bytes that it makes capitals.
const UNSEEN: u64 = 1 << 20;
const SEEN: u64 = 1000;
const ROUND: u64 = UNSEEN + SEEN;

/// Sees the last bytes of each round, and holds the very last of all back.
#[derive(Default)]
struct Rounds {
    place: u64,
    spliced: u64,
    held: Vec<u8>,
}

impl Filter for Rounds {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        bytes.splice(..0, self.held.drain(..));
        self.held.extend(bytes.pop());
        for byte in bytes.iter_mut() {
            if self.place % ROUND >= UNSEEN {
                *byte = byte.to_ascii_uppercase();
            }
            self.place += 1;
        }
    }

    fn unseen(&self) -> u64 {
        if self.held.is_empty() { UNSEEN.saturating_sub(self.place % ROUND) } else { 0 }
    }

    fn skip(&mut self, count: u64) {
        assert!(count <= self.unseen());
        self.place += count;
        self.spliced += count;
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.held);
    }
}

/// The same without holding anything back, so that it can be spliced.
#[derive(Default)]
struct Spliced(Rounds);

impl Filter for Spliced {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        self.0.pass(bytes);
        let mut last = std::mem::take(&mut self.0.held);
        if self.0.place % ROUND >= UNSEEN {
            last.make_ascii_uppercase();
        }
        self.0.place += last.len() as u64;
        bytes.append(&mut last);
    }

    fn unseen(&self) -> u64 {
        self.0.unseen()
    }

    fn skip(&mut self, count: u64) {
        self.0.skip(count);
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
}

/// Carries so many bytes and then the end. Returns what arrived.
fn carried(filter: &mut dyn Filter, length: u64) -> Vec<u8> {
    let ((client, from), (to, server)) = (pair(), pair());
    let (meter, buffers, pipes) = (Meter::default(), Buffers::default(), Pipes::default());
    let mut half = Half::new(&meter, filter, &pipes, Vec::new());
    let (mut source, mut sink) = (Stream::Plain(&from), Stream::Plain(&to));
    let (mut sent, mut heard, mut is_over) = (0, Vec::new(), false);
    let mut part = Vec::with_capacity(2 * SIZE);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "{sent} sent, {} heard", heard.len());
        while sent < length {
            let bytes = vec![b'x'; (length - sent).min(10_000) as usize];
            match send(&client, &bytes, SendFlags::NOSIGNAL) {
                Ok(count) => sent += count as u64,
                Err(_full) => break,
            }
        }
        if sent == length && !is_over {
            shutdown(&client, Shutdown::Write).unwrap();
            is_over = true;
        }
        let moved =
            half.pump(&mut Sides { source: &mut source, sink: &mut sink }, &mut buffers.borrow(), false).unwrap();
        while let Ok((_, 1..)) = recv(&server, spare_capacity(&mut part), RecvFlags::empty()) {
            heard.append(&mut part);
        }
        if moved == Moved::Finished {
            return heard;
        }
    }
}

#[test]
fn what_need_not_be_seen_is_spliced_up_to_what_must() {
    let mut filter = Spliced::default();
    let heard = carried(&mut filter, 3 * ROUND);
    assert!(filter.0.spliced > UNSEEN, "only {} bytes were spliced", filter.0.spliced);
    let expected = (0..3 * ROUND).map(|place| if place % ROUND < UNSEEN { b'x' } else { b'X' });
    assert!(heard.into_iter().eq(expected), "bytes were seen that need not be, or not seen");
}

#[test]
fn what_a_filter_held_back_comes_before_the_end() {
    for length in [1, 2, 100_000] {
        assert_eq!(carried(&mut Rounds::default(), length), vec![b'x'; length as usize]);
    }
    assert_eq!(carried(&mut (Rounds::default(), Rounds::default()), 3), b"xxx");
}
