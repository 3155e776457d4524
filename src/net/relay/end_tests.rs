//! How a relay ends that is not done: timeouts and `tcp_fastclose`.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::End;
use super::tests::{DEADLINE, Rules, assert_reads, relay, text};
use crate::policy::settings::FastClose;

/// Waits until the other side has closed, but not for longer than that.
fn wait_for_close(stream: &UnixStream, time: Option<Timespec>) {
    poll(&mut [PollFd::new(stream, PollFlags::empty())], time.as_ref()).unwrap();
}

#[test]
fn silence_ends_a_session_after_the_idle_timeout() {
    let start = Instant::now();
    let rules = Rules { idle_timeout: Some(Duration::from_secs(1)), ..Rules::default() };
    let (end, ..) = relay(rules, |client| assert_eq!(text(&client), ""), |server| assert_eq!(text(&server), ""));
    assert!(matches!(end, End::Idle), "{end:?}");
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn silence_behind_one_end_ends_a_session_after_the_half_closed_timeout() {
    let rules = || Rules { half_closed_timeout: Some(Duration::from_secs(1)), ..Rules::default() };
    for client_ends in [true, false] {
        let start = Instant::now();
        let side = |stream: UnixStream, ends: bool| {
            if ends {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            wait_for_close(&stream, None);
        };
        let (end, ..) = relay(rules(), |client| side(client, client_ends), |server| side(server, !client_ends));
        assert!(matches!(end, End::HalfClosed), "{end:?}");
        assert!(start.elapsed() >= Duration::from_secs(1));
    }
    // With both sides open there is no limit, and with one side open it counts from the last byte.
    let (end, ..) = relay(
        rules(),
        |mut client| {
            client.set_read_timeout(Some(Duration::from_millis(1200))).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_reads(&client, b"1234");
        },
        |mut server| {
            assert_eq!(text(&server), "");
            for byte in b"1234" {
                server.write_all(&[*byte]).unwrap();
                wait_for_close(&server, Duration::from_millis(400).try_into().ok());
            }
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
}

#[test]
fn an_end_behind_data_that_the_other_side_does_not_take_is_an_end() {
    let rules = Rules { half_closed_timeout: Some(Duration::from_secs(1)), ..Rules::default() };
    let (end, ..) = relay(
        rules,
        |mut client| {
            client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            while client.write(&[b'x'; 10_000]).is_ok() {}
        },
        // It takes nothing, and does not end.
        |server| wait_for_close(&server, None),
    );
    assert!(matches!(end, End::HalfClosed), "{end:?}");
}

#[test]
fn fastclose_ends_a_session_with_the_first_side() {
    for (up, down) in [(true, false), (false, true)] {
        let rules = Rules { fastclose: FastClose { up, down }, ..Rules::default() };
        let close = |stream: UnixStream, first: bool| {
            if first {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            assert_eq!(text(&stream), "");
        };
        let (end, ..) = relay(rules, |client| close(client, down), |server| close(server, up));
        assert!(matches!(end, End::FastClosed(_)), "{end:?}");
    }
}
