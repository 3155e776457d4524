//! Random conversations through pen, with TLS on either side, on both, and on none: every byte arrives, and so does each end.

use std::io::{self, Read, Write};
use std::mem;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslStream, SslVersion};

use crate::harness::{Backend, Client, Launch, Pen, Visit, VisitWire, certificates, server_context};
use crate::random_commands::Dice;

/// Conversations in each combination.
const CONVERSATIONS: u64 = 40;

/// When a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manners {
    /// While it listens.
    AtOnce,
    /// When the other has ended.
    Later,
}

/// One side of a conversation: what it says in which parts, and how.
#[derive(Clone, Debug)]
struct Part {
    speech: Vec<Vec<u8>>,
    manners: Manners,
    /// How many bytes go to the socket at a time.
    chunk: usize,
    version: SslVersion,
}

/// What a side has heard, and whether that ended as it should.
type Heard = (Vec<u8>, bool);

impl Part {
    fn random(dice: &mut Dice) -> Self {
        let parts = 1 + dice.below(30);
        let part = |dice: &mut Dice| {
            let limit = dice.pick(&[3, 300, 20_000, 120_000]);
            let (first, length) = (dice.below(256), 1 + dice.below(limit));
            (first..first + length).map(|at| (at * 31 + at / 256) as u8).collect()
        };
        Self {
            speech: (0..parts).map(|_| part(dice)).collect(),
            manners: Manners::AtOnce,
            chunk: dice.pick(&[700, 5000, 60_000, 1_000_000]),
            version: dice.pick(&[SslVersion::TLS1_2, SslVersion::TLS1_3]),
        }
    }

    /// Takes part over a connection that others write to and read from.
    fn take<S: Read>(
        self,
        mut stream: S,
        write: impl Fn(&[u8]) -> io::Result<()> + Sync,
        end: impl Fn() + Sync,
    ) -> Heard {
        self.converse(self.speech.concat(), write, end, move || {
            let mut heard = Vec::new();
            let clean = stream.read_to_end(&mut heard).is_ok();
            (heard, clean)
        })
    }

    /// The same in TLS. All that is to be said is encrypted before the first byte of it is sent.
    fn take_in_tls<S: Read + Write>(
        self,
        mut stream: SslStream<Holder<S>>,
        write: impl Fn(&[u8]) -> io::Result<()> + Sync,
        end: impl Fn() + Sync,
    ) -> Heard {
        stream.get_mut().holds = true;
        self.speech.iter().for_each(|part| stream.write_all(part).unwrap());
        stream.shutdown().unwrap();
        let bytes = mem::take(&mut stream.get_mut().held);
        self.converse(bytes, write, end, move || {
            let (mut heard, mut part) = (Vec::new(), vec![0; 20_000]);
            loop {
                match stream.ssl_read(&mut part) {
                    Ok(count) => heard.extend_from_slice(&part[..count]),
                    Err(error) => return (heard, error.code() == ErrorCode::ZERO_RETURN),
                }
            }
        })
    }

    fn converse(
        &self,
        bytes: Vec<u8>,
        write: impl Fn(&[u8]) -> io::Result<()> + Sync,
        end: impl Fn() + Sync,
        listen: impl FnOnce() -> Heard,
    ) -> Heard {
        let speak = || {
            // What is not heard by the other is found there.
            let _ = bytes.chunks(self.chunk).try_for_each(&write);
            end();
        };
        if self.manners == Manners::Later {
            let heard = listen();
            speak();
            return heard;
        }
        thread::scope(|scope| {
            scope.spawn(speak);
            listen()
        })
    }
}

/// A connection below TLS that can keep what is written to it.
struct Holder<S> {
    inner: S,
    holds: bool,
    held: Vec<u8>,
}

impl<S> Holder<S> {
    fn new(inner: S) -> Self {
        Self { inner, holds: false, held: Vec::new() }
    }
}

impl<S: Read> Read for Holder<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<S: Write> Write for Holder<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.holds { self.held.write(bytes) } else { self.inner.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The client's bytes.
struct Wire<'a>(&'a Client);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that takes the part that lies ready, and tells what it has heard.
fn server(next: Arc<Mutex<Option<Part>>>, heard: Sender<Heard>, speaks_tls: bool) -> Backend {
    let context = server_context(&certificates().site, None);
    Backend::new("a", move |visit: &Visit| {
        let part = next.lock().unwrap().take().unwrap();
        let (write, end) = (|bytes: &[u8]| visit.write(bytes), || drop(visit.finish()));
        let outcome = if speaks_tls {
            let mut ssl = Ssl::new(&context).unwrap();
            ssl.set_max_proto_version(Some(part.version)).unwrap();
            let mut stream = SslStream::new(ssl, Holder::new(VisitWire(visit))).unwrap();
            stream.accept().map_err(io::Error::other)?;
            part.take_in_tls(stream, write, end)
        } else {
            part.take(VisitWire(visit), write, end)
        };
        heard.send(outcome).map_err(io::Error::other)
    })
}

fn client(pen: &Pen, part: Part, speaks_tls: bool) -> Heard {
    let client = Client::connect(pen);
    let socket = client.duplicate();
    let (write, end) = (|bytes: &[u8]| socket.try_send(bytes), || drop(socket.try_finish()));
    if !speaks_tls {
        return part.take(Wire(&client), write, end);
    }
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.set_max_proto_version(Some(part.version)).unwrap();
    let ssl = Ssl::new(&context.build()).unwrap();
    let mut stream = SslStream::new(ssl, Holder::new(Wire(&client))).unwrap();
    stream.connect().unwrap();
    part.take_in_tls(stream, write, end)
}

#[test]
fn every_byte_and_every_end_arrive_in_random_conversations() {
    for (of_client, of_server) in [(false, false), (true, false), (false, true), (true, true)] {
        let (next, (sender, heard)) = (Arc::default(), channel());
        let a = server(Arc::clone(&next), sender, of_server);
        let options: &[&str] = if of_client { &["-E", &certificates().pem] } else { &[] };
        let pen = Launch::ours().control().options(options).servers(&[&a]).start();
        if of_server {
            pen.control().tell(&[&format!("server 0 tls on tls_ca {}", certificates().authority.cert())]);
        }
        for seed in 0..CONVERSATIONS {
            let mut dice = Dice(seed);
            let (mut up, mut down) = (Part::random(&mut dice), Part::random(&mut dice));
            match dice.below(3) {
                0 => up.manners = Manners::Later,
                1 => down.manners = Manners::Later,
                _ => {}
            }
            let (said, answered) = (up.speech.concat(), down.speech.concat());
            let what = format!("TLS with the client: {of_client}, with the server: {of_server}, seed {seed}");
            let told = format!("{what}: {:?} {} bytes, {:?} {}", up.manners, said.len(), down.manners, answered.len());
            *next.lock().unwrap() = Some(down);
            let (of_client_heard, client_ended) = client(&pen, up, of_client);
            let (of_server_heard, server_ended) = heard.recv().unwrap();
            assert!(of_client_heard == answered && client_ended, "{told}: client: {}", of_client_heard.len());
            assert!(of_server_heard == said && server_ended, "{told}: server: {}", of_server_heard.len());
        }
        pen.wait_for_connections(0, 0);
    }
}
