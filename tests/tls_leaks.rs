//! TLS sessions that are cut at random points: nothing of them stays.

use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVersion};

use crate::harness::{
    Backend, Client, Hello, Launch, Pen, Visit, VisitWire, certificates, echo, hold, reset, server_context, wait_until,
};
use crate::random_commands::Dice;

/// Sessions in a round.
const SESSIONS: usize = 1000;

/// How many are there at the same time.
const THREADS: usize = 16;

/// The bytes under TLS.
struct Wire(Client);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that breaks after so many bytes, counted both ways.
struct Brittle<S> {
    inner: S,
    left: usize,
}

impl<S> Brittle<S> {
    fn take(&mut self, wanted: usize) -> io::Result<usize> {
        let count = wanted.min(self.left);
        self.left -= count;
        if count == 0 { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(count) }
    }
}

impl<S: Read> Read for Brittle<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.take(buffer.len().min(100))?;
        self.inner.read(&mut buffer[..count])
    }
}

impl<S: Write> Write for Brittle<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.take(bytes.len())?;
        self.inner.write(&bytes[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does that so many times, on several threads, each time with another number.
fn each_session(work: impl Fn(usize) + Sync) {
    let numbers = Mutex::new(0..SESSIONS);
    let next = || numbers.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(number) = next() {
                    work(number);
                }
            });
        }
    });
}

/// Does rounds, after each of which all descriptors must be closed, until a round needs no more threads and memory than the one before.
/// How many threads run at once depends on the machine.
#[track_caller]
fn assert_nothing_stays(pen: &Pen, round: impl Fn(u64)) {
    pen.wait_for_connections(0, 0);
    let descriptors = pen.descriptors().len();
    let mut rounds = Vec::new();
    for seed in 0..12 {
        round(seed);
        pen.wait_for_connections(0, 0);
        wait_until("all descriptors to be closed", || pen.descriptors().len() <= descriptors);
        rounds.push((pen.threads(), pen.memory()));
        if let [.., (threads_before, before), (threads, memory)] = rounds[..] {
            // The allocator may keep some pages more than after the round before, but not 250 bytes for each session, again and again.
            if threads <= threads_before && memory < before + SESSIONS * 250 {
                return;
            }
        }
    }
    panic!("each round leaves threads or memory: {rounds:?}");
}

#[test]
fn nothing_stays_of_clients_that_are_cut_off_anywhere() {
    let a = Backend::new("a", echo);
    let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[&a]).start();
    assert_nothing_stays(&pen, |seed| {
        each_session(|number| {
            let mut random = Dice(seed << 32 | number as u64);
            let version = [SslVersion::TLS1_2, SslVersion::TLS1_3][random.below(2)];
            // A handshake has about 2 kB.
            let left = if random.below(2) == 0 { random.below(2500) } else { random.below(100_000) };
            let client = Client::connect(&pen);
            let socket = client.duplicate();
            let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
            context.set_min_proto_version(Some(version)).unwrap();
            context.set_max_proto_version(Some(version)).unwrap();
            let brittle = Brittle { inner: Wire(client), left };
            let mut stream = SslStream::new(Ssl::new(&context.build()).unwrap(), brittle).unwrap();
            let data = vec![b'x'; 1 + random.below(40_000)];
            let _ = stream.connect().map_err(io::Error::other).and_then(|()| {
                stream.write_all(&data)?;
                stream.read_exact(&mut vec![0; data.len()])?;
                stream.shutdown().map(drop).map_err(io::Error::other)
            });
            drop(stream);
            match random.below(3) {
                0 => socket.reset(),
                1 => {
                    // It may have ended by now.
                    let _ = socket.try_finish();
                    drop(socket.rest());
                }
                _ => drop(socket),
            }
        });
    });
    // It serves as before.
    assert_eq!(Hello::new().echoes(&pen), Ok(()));
}

#[test]
fn nothing_stays_of_servers_that_stop_or_break_off_anywhere() {
    let context = server_context(&certificates().site, None);
    let visits = AtomicUsize::new(0);
    let a = Backend::new("a", move |visit: &Visit| {
        let mut random = Dice(visits.fetch_add(1, Ordering::Relaxed) as u64);
        let left = if random.below(2) == 0 { random.below(2500) } else { random.below(100_000) };
        let brittle = Brittle { inner: VisitWire(visit), left };
        let mut stream = SslStream::new(Ssl::new(&context).unwrap(), brittle).unwrap();
        let mut part = [0; 10_000];
        let _ = stream.accept().map_err(io::Error::other).and_then(|()| {
            loop {
                match stream.read(&mut part)? {
                    0 => return Ok(()),
                    count => stream.write_all(&part[..count])?,
                }
            }
        });
        match random.below(10) {
            // Until pen has enough of it.
            0 => hold(visit),
            1..4 => reset(visit),
            _ => Ok(()),
        }
    });
    let pen = Launch::ours().control().options(&["-t1", "-b0", "-E", &certificates().pem]).servers(&[&a]).start();
    pen.control().tell(&[&format!("server 0 tls on tls_ca {}", certificates().authority.cert())]);
    assert_nothing_stays(&pen, |seed| {
        each_session(|number| {
            let mut random = Dice(seed << 32 | number as u64);
            let Ok(mut client) = Hello::new().try_connect(&pen) else { return };
            let _ = client.try_send(vec![b'x'; 1 + random.below(40_000)]);
            client.client().hears_nothing_for(Duration::from_millis(50));
        });
    });
}
