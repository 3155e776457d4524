//! The relay as a whole, between socket pairs: no process, no network.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::*;

/// Far longer than anything here takes.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// More than all socket buffers and pipes hold.
const BULK: usize = 4 << 20;

/// Sees nothing, so that its direction may be spliced.
struct Blind;

impl Filter for Blind {
    fn pass(&mut self, _: &mut Vec<u8>) {}

    fn unseen(&self) -> u64 {
        u64::MAX
    }
}

/// Doubles every byte.
struct Double;

impl Filter for Double {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        *bytes = bytes.iter().flat_map(|byte| [*byte, *byte]).collect();
    }

    fn unseen(&self) -> u64 {
        0
    }
}

/// How a relay is to run.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) early: &'static [u8],
    pub(super) half_closed_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) fastclose: FastClose,
    pub(super) doubles: bool,
    pub(super) pipes: Pipes,
}

/// Runs a relay between `client` and `server`, which play the peers. Returns how it ended and the bytes it counted up and down.
pub(super) fn relay(
    rules: Rules,
    client: impl FnOnce(UnixStream) + Send,
    server: impl FnOnce(UnixStream) + Send,
) -> (End, u64, u64) {
    let ((client_peer, client_socket), (server_socket, server_peer)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    for peer in [&client_peer, &server_peer] {
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.set_write_timeout(Some(DEADLINE)).unwrap();
    }
    let (client_socket, server_socket) = (OwnedFd::from(client_socket), OwnedFd::from(server_socket));
    let (up, down) = (Meter::default(), Meter::default());
    let (buffers, pipes) = (Buffers::default(), rules.pipes);
    let (mut blind, mut double, mut other) = (Blind, Double, Blind);
    let up_filter: &mut dyn Filter = if rules.doubles { &mut double } else { &mut blind };
    let end = thread::scope(|scope| {
        scope.spawn(|| client(client_peer));
        scope.spawn(|| server(server_peer));
        let end = Relay {
            client: Stream::Plain(&client_socket),
            server: Stream::Plain(&server_socket),
            up: &up,
            down: &down,
            up_filter,
            down_filter: &mut other,
            early: rules.early.to_vec(),
            buffers: &buffers,
            pipes: &pipes,
            yields: Yields::default(),
            half_closed_timeout: rules.half_closed_timeout,
            idle_timeout: rules.idle_timeout,
            fastclose: rules.fastclose,
            closing: &AtomicBool::new(false),
        }
        .run();
        drop((client_socket, server_socket));
        end
    });
    (end, up.take(), down.take())
}

pub(super) fn text(mut stream: &UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[track_caller]
pub(super) fn assert_reads(mut stream: &UnixStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert!(bytes == expected, "other bytes");
}

#[test]
fn each_end_is_passed_on_behind_its_data_and_the_other_direction_goes_on() {
    let (end, up, down) = relay(
        Rules::default(),
        |mut client| {
            client.write_all(b"question").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(text(&client), "answer");
        },
        |mut server| {
            assert_eq!(text(&server), "question");
            server.write_all(b"answer").unwrap();
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((up, down), (8, 6));
}

#[test]
fn a_server_may_end_first() {
    let (end, up, down) = relay(
        Rules::default(),
        |mut client| {
            assert_eq!(text(&client), "220 hello");
            client.write_all(b"late").unwrap();
        },
        |mut server| {
            server.write_all(b"220 hello").unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(text(&server), "late");
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((up, down), (4, 9));
}

#[test]
fn hundreds_of_turns_lose_nothing() {
    const TURNS: usize = 500;
    let (end, up, down) = relay(
        Rules::default(),
        |mut client| {
            for _ in 0..TURNS {
                client.write_all(b"ask").unwrap();
                assert_reads(&client, b"tell");
            }
        },
        |mut server| {
            for _ in 0..TURNS {
                assert_reads(&server, b"ask");
                server.write_all(b"tell").unwrap();
            }
            assert_eq!(text(&server), "");
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((up, down), (3 * TURNS as u64, 4 * TURNS as u64));
}

#[test]
fn a_side_that_speaks_out_of_turn_is_heard() {
    relay(
        Rules::default(),
        |mut client| {
            for _ in 0..10 {
                client.write_all(b"ask").unwrap();
                assert_reads(&client, b"tell");
            }
            // The server waits for both before it answers.
            client.write_all(b"ask").unwrap();
            thread::yield_now();
            client.write_all(b"again").unwrap();
            assert_reads(&client, b"tell");
        },
        |mut server| {
            for _ in 0..10 {
                assert_reads(&server, b"ask");
                server.write_all(b"tell").unwrap();
            }
            assert_reads(&server, b"askagain");
            server.write_all(b"tell").unwrap();
        },
    );
}

#[test]
fn bulk_both_ways_at_once_does_not_stand_still() {
    fn exchange(stream: &UnixStream) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut out = stream;
                out.write_all(&vec![b'x'; BULK]).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(text(stream).len(), BULK);
        });
    }
    let (end, up, down) = relay(Rules::default(), |client| exchange(&client), |server| exchange(&server));
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((up, down), (BULK as u64, BULK as u64));
}

#[test]
fn a_client_that_reads_nothing_stops_the_server_and_not_the_other_direction() {
    let (end, up, down) = relay(
        Rules::default(),
        |mut client| {
            // The server can still be spoken to while its answer is stuck.
            client.write_all(b"one").unwrap();
            client.write_all(b"two").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(text(&client).len(), BULK);
        },
        |server| {
            setsockopt(&server, sockopt::SndBuf, &4096).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut out = &server;
                    out.write_all(&vec![b'x'; BULK]).unwrap();
                    server.shutdown(Shutdown::Write).unwrap();
                });
                assert_eq!(text(&server), "onetwo");
            });
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((up, down), (6, BULK as u64));
}

#[test]
fn readers_that_stop_keep_no_pipes_and_lose_nothing() {
    let pipes = Pipes::default();
    let (stop, go_on) = (Barrier::new(pipes::MOST + 1), Barrier::new(pipes::MOST + 1));
    thread::scope(|scope| {
        for _ in 0..pipes::MOST {
            scope.spawn(|| {
                let rules = Rules { pipes: pipes.clone(), ..Rules::default() };
                let (end, _, down) = relay(
                    rules,
                    |mut client| {
                        // Until it has stopped for long enough once, and then to the end.
                        let pattern: Vec<u8> = (0..BULK).map(|place| (place % 251) as u8).collect();
                        assert_reads(&client, &pattern[..BULK / 2]);
                        stop.wait();
                        go_on.wait();
                        assert_reads(&client, &pattern[BULK / 2..]);
                        assert_eq!(client.read(&mut [0]).unwrap(), 0);
                    },
                    |mut server| {
                        server.write_all(&(0..BULK).map(|place| (place % 251) as u8).collect::<Vec<_>>()).unwrap();
                    },
                );
                assert!(matches!(end, End::Finished), "{end:?}");
                assert_eq!(down, BULK as u64);
            });
        }
        // They have all carried bulk, and none of them goes on by itself.
        stop.wait();
        let deadline = Instant::now() + DEADLINE;
        let mut taken = Vec::new();
        while taken.len() < pipes::MOST && Instant::now() < deadline {
            taken.extend(pipes.take());
            thread::yield_now();
        }
        let free = taken.len();
        taken.drain(..).for_each(|pipe| pipes.give_back(pipe));
        go_on.wait();
        assert_eq!(free, pipes::MOST, "pipes that others could use");
    });
}

#[test]
fn bytes_that_were_read_early_come_first() {
    let rules = Rules { early: b"first ", ..Rules::default() };
    let (_, up, _) = relay(
        rules,
        |mut client| {
            client.write_all(b"second").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(text(&client), "");
        },
        |server| assert_eq!(text(&server), "first second"),
    );
    assert_eq!(up, 12);
}

#[test]
fn what_a_filter_makes_of_the_bytes_is_passed_on_and_counted() {
    let rules = Rules { early: b"ab", doubles: true, ..Rules::default() };
    let (_, up, down) = relay(
        rules,
        |mut client| {
            client.write_all(b"cd").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(text(&client), "ef");
        },
        |mut server| {
            assert_eq!(text(&server), "aabbccdd");
            server.write_all(b"ef").unwrap();
        },
    );
    assert_eq!((up, down), (8, 2));
}

#[test]
fn what_a_server_said_before_it_broke_is_delivered() {
    let (end, _, down) = relay(
        Rules::default(),
        |mut client| {
            client.write_all(b"never read").unwrap();
            assert_reads(&client, b"goodbye");
            // Unread bytes make the end a reset (unix(7)): the relay ends, and so does this side.
            assert!(!matches!(client.read(&mut [0; 10]), Ok(1..)));
        },
        |mut server| {
            let mut one = [0];
            server.read_exact(&mut one).unwrap();
            server.write_all(b"goodbye").unwrap();
        },
    );
    assert!(matches!(end, End::ServerBroke(_)), "{end:?}");
    assert_eq!(down, 7);
}

#[test]
fn a_client_that_is_gone_ends_the_session() {
    let (end, ..) = relay(
        Rules::default(),
        |mut client| {
            client.write_all(b"ask").unwrap();
            let mut one = [0];
            client.read_exact(&mut one).unwrap();
        },
        |mut server| {
            assert_reads(&server, b"ask");
            server.write_all(b"answer").unwrap();
            // The server goes on until its connection breaks.
            while server.write_all(&[b'x'; 1000]).is_ok() {}
        },
    );
    assert!(matches!(end, End::ClientBroke(_)), "{end:?}");
}
