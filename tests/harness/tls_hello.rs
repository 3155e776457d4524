//! How a client begins to speak TLS with pen.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion,
    StatusType,
};

use super::certificates::Identity;
use super::client::Client;
use super::pen::Pen;
use super::tls::{TlsClient, Wire};

/// A client that is about to connect.
pub(crate) struct Hello {
    context: SslContextBuilder,
    name: Option<String>,
    verifies: bool,
    ocsp: bool,
    holds: bool,
    preface: Vec<u8>,
}

impl Hello {
    /// A client that verifies nothing, and asks for pen.test.
    pub(crate) fn new() -> Self {
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        Self {
            context,
            name: Some(String::from("pen.test")),
            verifies: false,
            ocsp: false,
            holds: false,
            preface: Vec::new(),
        }
    }

    /// Verifies pen's certificate and its name by the authority in that file.
    pub(crate) fn trusting(mut self, authority: &str) -> Self {
        self.context.set_ca_file(authority).unwrap();
        self.context.set_verify(SslVerifyMode::PEER);
        self.verifies = true;
        self
    }

    /// Asks for that name.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// Asks for no name.
    pub(crate) fn nameless(mut self) -> Self {
        self.name = None;
        self
    }

    /// Speaks that version only.
    pub(crate) fn version(mut self, version: SslVersion) -> Self {
        self.context.set_min_proto_version(Some(version)).unwrap();
        self.context.set_max_proto_version(Some(version)).unwrap();
        if [SslVersion::TLS1, SslVersion::TLS1_1].contains(&version) {
            // Above that level OpenSSL 3 does not speak them.
            self.context.set_cipher_list("DEFAULT@SECLEVEL=0").unwrap();
        }
        self
    }

    /// Offers these ciphers of TLS 1.2, the preferred first.
    pub(crate) fn ciphers(mut self, list: &str) -> Self {
        self.context.set_cipher_list(list).unwrap();
        self
    }

    /// Offers these application protocols.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        let prefixed = |name: &&str| [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        self.context.set_alpn_protos(&protocols.iter().flat_map(prefixed).collect::<Vec<_>>()).unwrap();
        self
    }

    /// Shows a certificate, and its chain, when it is asked for one.
    pub(crate) fn certificate(self, identity: &Identity) -> Self {
        self.certificate_files(&identity.cert(), &identity.key())
    }

    /// The same from these files.
    pub(crate) fn certificate_files(mut self, cert: &str, key: &str) -> Self {
        self.context.set_certificate_chain_file(cert).unwrap();
        self.context.set_private_key_file(key, SslFiletype::PEM).unwrap();
        self
    }

    /// Takes no tickets, so that a session of TLS 1.2 has an id.
    pub(crate) fn without_tickets(mut self) -> Self {
        self.context.set_options(SslOptions::NO_TICKET);
        self
    }

    /// Asks for an OCSP response.
    pub(crate) fn ocsp(mut self) -> Self {
        self.ocsp = true;
        self
    }

    /// Sends its Finished together with its first data. Of TLS 1.3 only.
    pub(crate) fn holding_finished(mut self) -> Self {
        self.holds = true;
        self
    }

    /// Sends that before everything else, and in the same packet as the beginning of the handshake.
    pub(crate) fn preface(mut self, bytes: &[u8]) -> Self {
        self.preface = bytes.to_vec();
        self
    }

    /// Connects to pen, and shakes hands.
    #[track_caller]
    pub(crate) fn connect(self, pen: &Pen) -> TlsClient {
        self.try_connect(pen).unwrap_or_else(|error| panic!("no TLS: {error}"))
    }

    /// Connects to pen, and shakes hands if it can. With TLS 1.3, pen may refuse the client only after that.
    #[track_caller]
    pub(crate) fn try_connect(self, pen: &Pen) -> Result<TlsClient, String> {
        self.over(Client::connect(pen))
    }

    /// Gets an echo through pen, or tells why not.
    #[track_caller]
    pub(crate) fn echoes(self, pen: &Pen) -> Result<(), String> {
        let mut client = self.try_connect(pen)?;
        client.try_send("hello").map_err(|error| error.to_string())?;
        let mut answer = [0; 5];
        let mut filled = 0;
        while filled < answer.len() {
            match client.read(&mut answer[filled..]) {
                Ok(0) => return Err(String::from("the end of the connection")),
                Ok(count) => filled += count,
                Err(error) => return Err(error),
            }
        }
        assert_eq!(&answer, b"hello");
        Ok(())
    }

    /// Shakes hands over a connection that is there already.
    #[track_caller]
    pub(crate) fn over(self, client: Client) -> Result<TlsClient, String> {
        let mut ssl = Ssl::new(&self.context.build()).unwrap();
        if let Some(name) = &self.name {
            ssl.set_hostname(name).unwrap();
            if self.verifies {
                ssl.param_mut().set_host(name).unwrap();
            }
        }
        if self.ocsp {
            ssl.set_status_type(StatusType::OCSP).unwrap();
        }
        let mut stream = SslStream::new(ssl, Wire::new(client, self.holds, self.preface)).unwrap();
        stream.connect().map(|()| TlsClient::new(stream)).map_err(|error| error.to_string())
    }
}

/// The first message of a handshake, as it is on the wire.
pub(crate) fn client_hello() -> Vec<u8> {
    let context = SslContext::builder(SslMethod::tls_client()).unwrap().build();
    let mut stream = SslStream::new(Ssl::new(&context).unwrap(), Deaf::default()).unwrap();
    assert!(stream.connect().is_err());
    mem::take(&mut stream.get_mut().0)
}

/// What is written to it stays there, and nothing comes.
#[derive(Debug, Default)]
struct Deaf(Vec<u8>);

impl Read for Deaf {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for Deaf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
