//! Servers that speak TLS, for pen to connect to.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use openssl::ssl::{NameType, Ssl, SslContext, SslFiletype, SslMethod, SslStream, SslVerifyMode};

use super::backend::{Backend, Visit};
use super::certificates::{Authority, Identity};

/// A server with a certificate.
#[derive(Debug)]
pub(crate) struct TlsServer {
    backend: Backend,
    hellos: Arc<Mutex<Vec<ClientHello>>>,
}

/// What a server has learned of a client in its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The name that was asked for.
    pub(crate) name: Option<String>,
    /// The subject of the certificate that was shown.
    pub(crate) subject: Option<String>,
}

/// A connection with a client of such a server, after the handshake.
pub(crate) type TlsVisit<'a> = SslStream<VisitWire<'a>>;

/// What a server does with a connection.
type Serve = Box<dyn Fn(&Visit) -> io::Result<()> + Send + Sync>;

/// The bytes under TLS.
#[derive(Debug)]
pub(crate) struct VisitWire<'a>(pub(crate) &'a Visit);

impl TlsServer {
    /// A server that tells its name to everybody who comes, and repeats what it hears.
    pub(crate) fn named(name: &'static str, identity: &Identity) -> Self {
        Self::new(name, identity, move |stream| greet(name, stream))
    }

    /// A server with this behaviour on a free port of 127.0.0.1.
    pub(crate) fn new(
        name: &str,
        identity: &Identity,
        serve: impl Fn(&mut TlsVisit<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::with(name, server_context(identity, None), serve)
    }

    /// A server that wants a certificate of that authority.
    pub(crate) fn demanding(name: &'static str, identity: &Identity, authority: &Authority) -> Self {
        Self::with(name, server_context(identity, Some(authority)), move |stream| greet(name, stream))
    }

    /// A server like [`TlsServer::named`] on a Unix socket.
    pub(crate) fn unix(name: &'static str, path: &Path, identity: &Identity) -> Self {
        let context = server_context(identity, None);
        Self::made(context, move |stream| greet(name, stream), |serve| Backend::unix(name, path, serve))
    }

    fn with(
        name: &str,
        context: SslContext,
        serve: impl Fn(&mut TlsVisit<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::made(context, serve, |serve| Backend::new(name, serve))
    }

    fn made(
        context: SslContext,
        serve: impl Fn(&mut TlsVisit<'_>) -> io::Result<()> + Send + Sync + 'static,
        backend: impl FnOnce(Serve) -> Backend,
    ) -> Self {
        let hellos: Arc<Mutex<Vec<ClientHello>>> = Arc::default();
        let heard = Arc::clone(&hellos);
        let backend = backend(Box::new(move |visit: &Visit| {
            visit.hurry();
            let mut stream = SslStream::new(Ssl::new(&context).unwrap(), VisitWire(visit)).unwrap();
            stream.accept().map_err(io::Error::other)?;
            let ssl = stream.ssl();
            let name = ssl.servername(NameType::HOST_NAME).map(String::from);
            let subject = ssl.peer_certificate().map(|certificate| super::tls::common_name(&certificate));
            heard.lock().unwrap().push(ClientHello { name, subject });
            serve(&mut stream)
        }));
        Self { backend, hellos }
    }

    /// The server without its TLS.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.backend.port()
    }

    /// What it has learned of its clients, in the order of their handshakes.
    pub(crate) fn hellos(&self) -> Vec<ClientHello> {
        self.hellos.lock().unwrap().clone()
    }

    /// The names that were asked for.
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        self.hellos().into_iter().map(|hello| hello.name).collect()
    }
}

/// What a server shakes hands with. With an authority it wants a certificate of that.
pub(crate) fn server_context(identity: &Identity, authority: Option<&Authority>) -> SslContext {
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_certificate_chain_file(identity.cert()).unwrap();
    context.set_private_key_file(identity.key(), SslFiletype::PEM).unwrap();
    if let Some(authority) = authority {
        context.set_ca_file(authority.cert()).unwrap();
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    context.set_session_id_context(b"test").unwrap();
    context.build()
}

fn greet(name: &str, stream: &mut TlsVisit<'_>) -> io::Result<()> {
    stream.write_all(format!("{name}\n").as_bytes())?;
    repeat(stream)
}

/// Repeats what it hears, and ends as it was ended.
pub(crate) fn repeat(stream: &mut TlsVisit<'_>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => {
                stream.shutdown().map_err(io::Error::other)?;
                return stream.get_ref().0.finish();
            }
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

impl Read for VisitWire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for VisitWire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
