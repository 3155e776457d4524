//! A half-connection alone, between socket pairs.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::buffers::Buffers;
use super::filter::Filter;
use super::half::{Broken, Half, Moved, Sides};
use super::meter::Meter;
use super::pipes::Pipes;
use super::stream::Stream;

/// The length of an answer that does not fit into the socket it goes to.
const ANSWER: usize = 20_000;

/// Sees answers whole.
struct Whole;

impl Filter for Whole {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        assert_eq!(bytes.len(), ANSWER);
    }

    fn unseen(&self) -> u64 {
        0
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
}

/// Passes on an answer that does not fit, and whose end is behind it already: a reset if there is something `unread`. Returns
/// what arrived and how it ended.
fn slowly(unread: &[u8]) -> (Vec<u8>, Result<(), Errno>) {
    let ((server, from), (to, client)) = (pair(), pair());
    setsockopt(&to, sockopt::SndBuf, &1).unwrap();
    assert_eq!(send(&server, &[b'x'; ANSWER], SendFlags::empty()), Ok(ANSWER));
    assert_eq!(send(&from, unread, SendFlags::empty()), Ok(unread.len()));
    drop(server);
    let (meter, buffers, pipes, mut whole) = (Meter::default(), Buffers::default(), Pipes::default(), Whole);
    let mut half = Half::new(&meter, &mut whole, &pipes, Vec::new()).answering();
    let (mut source, mut sink) = (Stream::Plain(&from), Stream::Plain(&to));
    let mut heard = Vec::with_capacity(2 * ANSWER);
    for _ in 0..ANSWER {
        let mut sides = Sides { source: &mut source, sink: &mut sink };
        match half.pump(&mut sides, &mut buffers.borrow(), false) {
            Ok(Moved::Finished) => {
                assert_eq!(heard.len() as u64 + meter.pending(), ANSWER as u64);
                return (heard, Ok(()));
            }
            Ok(_) => {}
            Err(Broken::Source(error)) => return (heard, Err(error)),
            Err(Broken::Sink(error)) => panic!("{error}"),
        }
        if meter.pending() > 0 {
            assert_eq!((half.reading(), half.writing()), (PollFlags::empty(), PollFlags::OUT));
        }
        // It fails when nothing is there yet.
        let _ = recv(&client, spare_capacity(&mut heard), RecvFlags::empty());
    }
    panic!("no end after {} bytes", heard.len());
}

/// Sees nothing.
struct Blind;

impl Filter for Blind {
    fn pass(&mut self, _: &mut Vec<u8>) {}

    fn unseen(&self) -> u64 {
        u64::MAX
    }
}

#[test]
fn a_pipe_whose_sink_is_slow_goes_back_and_what_was_in_it_arrives() {
    let ((server, from), (to, client)) = (pair(), pair());
    let (meter, buffers, pipes, mut blind) = (Meter::default(), Buffers::default(), Pipes::default(), Blind);
    let mut half = Half::new(&meter, &mut blind, &pipes, Vec::new());
    let (mut source, mut sink) = (Stream::Plain(&from), Stream::Plain(&to));
    let (mut sent, mut heard) = (0_usize, Vec::new());
    let mut part = Vec::with_capacity(100_000);
    let mut step = |half: &mut Half<'_>, reads: bool| {
        let bytes: Vec<u8> = (sent..sent + 10_000).map(|place| (place % 251) as u8).collect();
        sent += send(&server, &bytes, SendFlags::NOSIGNAL).unwrap_or(0);
        half.pump(&mut Sides { source: &mut source, sink: &mut sink }, &mut buffers.borrow(), false).unwrap();
        if reads && recv(&client, spare_capacity(&mut part), RecvFlags::empty()).is_ok() {
            heard.append(&mut part);
        }
        (sent, heard.len(), heard.iter().enumerate().all(|(place, byte)| *byte == (place % 251) as u8))
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    // It reads until a pipe is in use, and then nothing.
    while half.due().is_none() {
        let reads = pipes.unused() == 0 && !half.has_pipe();
        step(&mut half, reads);
        assert!(Instant::now() < deadline);
    }
    assert_eq!(half.writing(), PollFlags::OUT);
    half.look_at_pipe(half.due().unwrap() - Duration::from_millis(1));
    assert!(half.has_pipe(), "its time is not over");
    let held = meter.pending();
    half.look_at_pipe(half.due().unwrap());
    assert_eq!((half.has_pipe(), half.due(), half.writing()), (false, None, PollFlags::OUT));
    assert_eq!((meter.pending(), pipes.unused()), (held, 1));
    let before = step(&mut half, true).0;
    loop {
        let (_, heard, right) = step(&mut half, true);
        assert!(right, "other bytes");
        if heard > before {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn an_end_that_was_seen_early_comes_after_all_that_was_said() {
    let (heard, end) = slowly(b"");
    assert_eq!((heard.len(), end), (ANSWER, Ok(())));
}

#[test]
fn a_reset_that_was_seen_early_comes_after_all_that_was_said() {
    let (heard, end) = slowly(b"unread");
    assert_eq!((heard.len(), end), (ANSWER, Err(Errno::CONNRESET)));
}
