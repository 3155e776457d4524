//! TLS to servers: what pen verifies of them and shows to them, and the handshake.

use std::error::Error as _;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use native_tls::{Certificate, HandshakeError, Identity, MidHandshakeTlsStream, Protocol, TlsConnector, TlsStream};
use openssl::error::ErrorStack;
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::pem_file::{PemFile, explain, is_about_certificates};
use super::session::Session;
use super::wire::Wire;
use crate::error::Error;
use crate::net::timed::ready_until;
use crate::policy::tls::{ServerFault, Trust};
use crate::sys::key_files::KeyFiles;

/// The file of the authorities that this system trusts. It is open, but not its directory, which would lead out of a jail.
static SYSTEM: LazyLock<Option<(PathBuf, File)>> = LazyLock::new(|| {
    let path = openssl_probe::probe().cert_file?;
    File::open(&path).ok().map(|file| (path, file))
});

/// What the file says, if OpenSSL will not find it under its name, since pen is in a jail or will be. To be called before that for the
/// first time.
pub(super) fn system_in_jail(files: &KeyFiles) -> Option<(&'static Path, &'static File)> {
    let system = if files.is_jailed() { SYSTEM.as_ref() } else { None };
    system.map(|(path, file)| (path.as_path(), file))
}

fn read_again(file: &File) -> io::Result<(Vec<u8>, Metadata)> {
    let found = file.metadata()?;
    let mut bytes = vec![0; found.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok((bytes, found))
}

/// Speaks TLS to servers that are trusted alike.
#[derive(Clone, Debug)]
pub struct Connector(TlsConnector);

/// What failed in a handshake with a server: the content of an [`io::Error`].
#[derive(Debug)]
pub struct ServerFailure {
    /// For the counters.
    pub fault: ServerFault,
    text: String,
}

impl ServerFailure {
    /// That of an error, if it has one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.text)
    }
}

impl std::error::Error for ServerFailure {}

impl Connector {
    /// Reads the files that are named. `warn` is told what is odd.
    pub fn load(trust: &Trust, files: &KeyFiles, warn: &mut dyn FnMut(String)) -> Result<Self, Error> {
        let refused = |error: &dyn fmt::Display| Error::Config(format!("TLS to servers: {error}"));
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        builder.danger_accept_invalid_certs(!trust.verify).danger_accept_invalid_hostnames(!trust.verify);
        builder.disable_built_in_roots(trust.ca.is_some());
        let authorities = match (&trust.ca, system_in_jail(files)) {
            (Some(path), _) => PemFile::new(path, files.read(path))?.some_certificates()?,
            (None, Some((path, file))) => PemFile::new(path, read_again(file))?.certificates()?,
            (None, None) => Vec::new(),
        };
        for authority in authorities {
            let der = authority.to_der().map_err(|error| refused(&error))?;
            builder.add_root_certificate(Certificate::from_der(&der).map_err(|error| refused(&error))?);
        }
        if let Some(path) = &trust.cert {
            let file = PemFile::new(path, files.read(path))?;
            let key = trust.key.as_ref().map(|path| PemFile::new(path, files.read(path))).transpose()?;
            builder.identity(identity(&file, key.as_ref(), warn)?);
        } else if let Some(key) = &trust.key {
            return Err(refused(&format_args!("tls_key {} needs tls_cert", key.display())));
        }
        builder.build().map(Self).map_err(|error| refused(&error))
    }

    /// Shakes hands with a server of that name until the deadline. A failure has a [`ServerFailure`] in it.
    #[inline(never)]
    pub fn connect(&self, name: &str, socket: Arc<OwnedFd>, deadline: Instant) -> io::Result<Session> {
        let mut step = self.begin(name, socket)?;
        loop {
            match step {
                Step::Done(session) => return Ok(session),
                Step::Waits(handshake) => {
                    match ready_until(handshake.socket(), handshake.waits_for(), deadline) {
                        Err(Errno::TIMEDOUT) => {
                            return Err(failure(ServerFault::Timeout, String::from("the handshake timed out")));
                        }
                        ready => ready?,
                    }
                    step = handshake.go_on()?;
                }
            }
        }
    }

    /// Begins to shake hands with a server of that name, and never waits. A failure has a [`ServerFailure`] in it.
    pub fn begin(&self, name: &str, socket: Arc<OwnedFd>) -> io::Result<Step> {
        Step::after(self.0.connect(name, Wire::new(socket)))
    }
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Step {
    /// To its end.
    Done(Session),
    /// It waits for the server.
    Waits(Handshake),
}

/// A handshake that waits for the server.
#[derive(Debug)]
pub struct Handshake {
    middle: MidHandshakeTlsStream<Wire>,
    wanted: PollFlags,
}

impl Step {
    fn after(outcome: Result<TlsStream<Wire>, HandshakeError<Wire>>) -> io::Result<Self> {
        match outcome {
            Ok(stream) => Ok(Self::Done(Session::connected(stream))),
            Err(HandshakeError::WouldBlock(mut middle)) => {
                let blocked = middle.get_mut().take_blocked();
                let wanted = if blocked.is_empty() { PollFlags::IN } else { blocked };
                Ok(Self::Waits(Handshake { middle, wanted }))
            }
            Err(HandshakeError::Failure(error)) => {
                let text = explain_failure(&error);
                let about = is_about_certificates(&text);
                Err(failure(if about { ServerFault::Certificate } else { ServerFault::Other }, text))
            }
        }
    }
}

impl Handshake {
    /// The socket, for poll(2).
    pub fn socket(&self) -> &OwnedFd {
        self.middle.get_ref().socket()
    }

    /// What to wait for.
    pub fn waits_for(&self) -> PollFlags {
        self.wanted
    }

    /// Goes on, without a wait.
    pub fn go_on(self) -> io::Result<Step> {
        Step::after(self.middle.handshake())
    }
}

fn failure(fault: ServerFault, text: String) -> io::Error {
    io::Error::other(ServerFailure { fault, text })
}

/// The certificate that is shown, and its key, in the forms that native-tls takes.
fn identity(file: &PemFile, key: Option<&PemFile>, warn: &mut dyn FnMut(String)) -> Result<Identity, Error> {
    let keys = key.unwrap_or(file);
    let key = keys.key()?.ok_or_else(|| keys.wrong("there is no key in it"))?;
    keys.tell_exposed(warn);
    let mut chain = file.some_certificates()?;
    let own = chain.iter().position(|one| one.public_key().is_ok_and(|public| public.public_eq(&key)));
    let own = own.ok_or_else(|| keys.wrong("the key does not belong to the certificate"))?;
    chain.swap(0, own);
    let made = || -> Result<Identity, Box<dyn std::error::Error>> {
        let mut pem = Vec::new();
        for one in &chain {
            pem.extend(one.to_pem()?);
        }
        Ok(Identity::from_pkcs8(&pem, &key.private_key_to_pem_pkcs8()?)?)
    };
    made().map_err(|error| file.wrong(&error.to_string()))
}

/// OpenSSL's reasons, and what is wrong with the certificate, which native-tls puts into brackets at the end.
fn explain_failure(error: &native_tls::Error) -> String {
    let whole = error.to_string();
    let reasons = error.source().and_then(|source| source.downcast_ref::<ErrorStack>()).map(explain);
    let Some(reasons) = reasons else { return whole };
    match whole.rsplit_once('(').filter(|_| whole.ends_with(')')) {
        Some((_, why)) => format!("{reasons} ({why}"),
        None => reasons,
    }
}
