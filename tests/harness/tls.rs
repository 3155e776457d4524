//! Clients of pen that speak TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;

use openssl::ssl::{ErrorCode, SslStream};

use super::client::{Client, read_exactly, read_line};

/// A client that has shaken hands. Everything it waits for has a deadline.
#[derive(Debug)]
pub(crate) struct TlsClient {
    stream: SslStream<Wire>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsEnd {
    /// With a `close_notify`.
    Notified,
    /// With the end of the TCP connection only: what came before may have been cut short.
    Cut,
    /// With a reset or an alert.
    Broken,
}

/// The bytes under TLS.
#[derive(Debug)]
pub(crate) struct Wire {
    client: Client,
    /// Nothing is sent from the first read on.
    holds: bool,
    has_read: bool,
    held: Vec<u8>,
    /// What goes before the first bytes, in the same write.
    preface: Vec<u8>,
}

impl TlsClient {
    pub(super) fn new(stream: SslStream<Wire>) -> Self {
        Self { stream }
    }

    /// Says something.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Writes, if the connection is still there.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.get_mut().release()
    }

    /// Sends nothing from now on, until [`TlsClient::release`].
    pub(crate) fn hold_all(&mut self) {
        let wire = self.stream.get_mut();
        (wire.holds, wire.has_read) = (true, true);
    }

    /// Adds a record to what is held.
    #[track_caller]
    pub(crate) fn hold(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// What was held, in place of sending it.
    pub(crate) fn take_held(&mut self) -> Vec<u8> {
        mem::take(&mut self.stream.get_mut().held)
    }

    /// Sends what was held in one write.
    #[track_caller]
    pub(crate) fn release(&mut self) {
        self.stream.get_mut().release().unwrap();
    }

    /// Says that and the end, and listens meanwhile. Returns what it heard, and how that ended.
    #[track_caller]
    pub(crate) fn converse(mut self, bytes: &[u8]) -> (Vec<u8>, TlsEnd) {
        let socket = self.client().duplicate();
        let wire = self.stream.get_mut();
        (wire.holds, wire.has_read) = (true, true);
        self.stream.write_all(bytes).unwrap();
        self.notify();
        let held = mem::take(&mut self.stream.get_mut().held);
        std::thread::scope(|scope| {
            scope.spawn(move || socket.send(held));
            self.rest()
        })
    }

    /// Has nothing more to say: a `close_notify`, and the end of that direction of TCP.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.notify();
        self.client().finish();
    }

    /// A `close_notify`.
    #[track_caller]
    pub(crate) fn notify(&mut self) {
        self.stream.shutdown().unwrap();
    }

    /// The connection under it.
    pub(crate) fn client(&self) -> &Client {
        &self.stream.get_ref().client
    }

    /// The cipher, by OpenSSL's name.
    pub(crate) fn cipher(&self) -> &'static str {
        self.stream.ssl().current_cipher().unwrap().name()
    }

    /// The application protocol.
    pub(crate) fn alpn(&self) -> Option<String> {
        self.stream.ssl().selected_alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// The OCSP response.
    pub(crate) fn ocsp(&self) -> Option<Vec<u8>> {
        self.stream.ssl().ocsp_status().map(<[u8]>::to_vec)
    }

    /// The name in pen's certificate.
    pub(crate) fn subject(&self) -> String {
        let certificate = self.stream.ssl().peer_certificate().unwrap();
        common_name(&certificate)
    }

    /// The names in the certificates that pen has sent, its own first.
    pub(crate) fn chain(&self) -> Vec<String> {
        self.stream.ssl().peer_cert_chain().unwrap().iter().map(common_name).collect()
    }

    /// The serial number of pen's certificate, as openssl-x509(1) prints it.
    pub(crate) fn serial(&self) -> String {
        let certificate = self.stream.ssl().peer_certificate().unwrap();
        certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
    }

    /// Reads what there is; 0 after a `close_notify`.
    #[track_caller]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        match self.stream.ssl_read(buffer) {
            Ok(count) => Ok(count),
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(0),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The next line without its end; `None` if the connection ends first.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<String> {
        read_line(|part| self.read(part))
    }

    /// So many bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        read_exactly(count, |part| self.read(part))
    }

    /// Says something and hears it again.
    #[track_caller]
    pub(crate) fn assert_echo(&mut self, words: &str) {
        self.send(words);
        assert_eq!(String::from_utf8_lossy(&self.bytes(words.len())), words);
    }

    /// Everything until the connection ends, and how it does.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, TlsEnd) {
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 * 1024];
        loop {
            match self.stream.ssl_read(&mut part) {
                Ok(count) => bytes.extend_from_slice(&part[..count]),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return (bytes, TlsEnd::Notified),
                // OpenSSL has no error for the end of what it reads from.
                Err(error) if error.code() == ErrorCode::SYSCALL && error.io_error().is_none() => {
                    return (bytes, TlsEnd::Cut);
                }
                Err(_) => return (bytes, TlsEnd::Broken),
            }
        }
    }
}

/// The common name of the subject.
pub(super) fn common_name(certificate: &openssl::x509::X509Ref) -> String {
    let entry = certificate.subject_name().entries_by_nid(openssl::nid::Nid::COMMONNAME).next().unwrap();
    entry.data().to_string().unwrap()
}

impl Wire {
    /// The bytes of that connection. `holds`: nothing is sent from the first read on.
    pub(super) fn new(client: Client, holds: bool, preface: Vec<u8>) -> Self {
        client.hurry();
        Self { client, holds, has_read: false, held: Vec::new(), preface }
    }

    /// Sends what was held, in one segment if it is small enough.
    fn release(&mut self) -> io::Result<()> {
        self.holds = false;
        let held = mem::take(&mut self.held);
        if held.is_empty() { Ok(()) } else { self.client.try_send(held) }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.has_read = true;
        self.client.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.holds && self.has_read {
            self.held.extend_from_slice(bytes);
        } else {
            let mut all = mem::take(&mut self.preface);
            all.extend_from_slice(bytes);
            self.client.try_send(all).map_err(|error| match error.kind() {
                // OpenSSL would try again for ever.
                ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
                _ => error,
            })?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
