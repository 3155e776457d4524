//! Terminates TLS: what pen shows to its clients and asks of them, and the handshake.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::ssl::{ErrorCode, Ssl as Handle, SslContext, SslStream};
use openssl::x509::X509VerifyResult;
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::context::{Shown, Terms, show};
use super::identity::Identity;
use super::names::Names;
use super::pem_file::{PemFile, explain, is_about_certificates};
use super::session::Session;
use super::wire::{Wire, begins_handshake, begins_http};
use crate::error::{Error, reason};
use crate::net::timed::ready_until;
use crate::policy::tls::{HandshakeFault, Protocol, Ssl};
use crate::sys::key_files::KeyFiles;

/// See the module's documentation.
pub struct Terminator {
    context: SslContext,
    /// When it was made, with new keys for tickets.
    made: Instant,
    /// What the context was made of. While it stays the same the context stays, so that clients can resume their sessions.
    terms: Terms,
    shown: Arc<Shown>,
}

/// How old the keys are at most with which sessions are resumed after a HUP: with such a key the traffic of all its sessions before TLS
/// 1.3 can be decrypted (RFC 9325 section 3.4).
const KEYS_FOR: Duration = Duration::from_secs(24 * 3600);

/// What failed in a handshake.
#[derive(Debug)]
pub struct Failure {
    /// For the counters.
    pub fault: HandshakeFault,
    /// For people.
    pub text: String,
}

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminator")
    }
}

impl Terminator {
    /// Reads all that the settings name. `before` is what is in use; its sessions can go on to be resumed if nothing about them has
    /// changed. `warn` is told what is odd.
    pub(super) fn load(
        ssl: &Ssl,
        files: &KeyFiles,
        before: Option<&Self>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Self>, Error> {
        let Some(path) = &ssl.certificate else {
            let needs = [(ssl.verify, "ssl_verify (-R)"), (ssl.sni_path.is_some(), "ssl_sni_path")];
            if let Some((_, word)) = needs.into_iter().find(|(is_set, _)| *is_set) {
                return Err(Error::Config(format!("{word} needs a certificate: ssl_certificate (-E)")));
            }
            if ssl.key.is_some() {
                warn(String::from("ssl_key (-K) has no effect without a certificate: ssl_certificate (-E)"));
            }
            return Ok(None);
        };
        if ssl.protocol == Protocol::Ssl3 {
            warn(String::from("ssl_protocol ssl3: SSL 3 is never spoken, and TLS from version 1.2 on is"));
        }
        let terms = Terms::read(ssl, files)?;
        let others = terms.authorities()?;
        let certificate = PemFile::new(path, files.read(path))?;
        let key = ssl.key.as_ref().map(|path| PemFile::new(path, files.read(path))).transpose()?;
        let mut default = Identity::new(&certificate, key.as_ref(), &others, warn)?;
        if let Some(path) = &ssl.ocsp_response {
            default = default.stapled(path, files.read(path).map(|(der, _)| der), &others, warn)?;
        }
        let names = ssl.sni_path.as_ref().map(|path| {
            let before = before.and_then(|before| before.shown.names.as_ref());
            Names::read(path, files.directory_in_jail(path), before, warn)
        });
        let shown = Arc::new(Shown { default: Arc::new(default), names: names.transpose()? });
        let is_new = |before: &&Self| before.made.elapsed() < KEYS_FOR && before.terms == terms;
        let (context, made) = match before.filter(is_new) {
            Some(before) => (before.context.clone(), before.made),
            None => (terms.context(files, &others)?, Instant::now()),
        };
        Ok(Some(Self { context, made, terms, shown }))
    }

    /// Shakes hands with a client until the deadline.
    // Its frame must not stay with a worker that goes on to the relay.
    #[inline(never)]
    pub fn accept(&self, socket: Arc<OwnedFd>, deadline: Instant) -> Result<Session, Failure> {
        let begun = Handle::new(&self.context).and_then(|mut handle| {
            show(&mut handle, &self.shown);
            SslStream::new(handle, Wire::new(socket))
        });
        let mut stream = begun.map_err(|error| Failure { fault: HandshakeFault::Other, text: explain(&error) })?;
        loop {
            let error = match stream.accept() {
                Ok(()) => return Ok(Session::accepted(stream)),
                Err(error) => error,
            };
            let wanted = match error.code() {
                ErrorCode::WANT_READ => PollFlags::IN,
                ErrorCode::WANT_WRITE => PollFlags::OUT,
                _ => return Err(judge(&stream, &error)),
            };
            let ready = ready_until(stream.get_ref().socket(), wanted, deadline);
            ready.map_err(|error| match error {
                Errno::TIMEDOUT => Failure { fault: HandshakeFault::Timeout, text: String::from("timed out") },
                error => Failure { fault: HandshakeFault::Other, text: reason(&error.into()) },
            })?;
        }
    }
}

/// Why a handshake has failed.
fn judge(stream: &SslStream<Wire>, error: &openssl::ssl::Error) -> Failure {
    let wire = stream.get_ref();
    let fail = |fault, text: &str| Failure { fault, text: text.to_string() };
    if begins_http(wire.first()) {
        return fail(HandshakeFault::PlainHttp, "plain HTTP");
    }
    if !begins_handshake(wire.first()) {
        return fail(HandshakeFault::NotTls, "what it sent is not TLS");
    }
    if wire.ended || wire.broken.is_some() {
        return fail(HandshakeFault::Closed, "it closed the connection");
    }
    let mut text = error.ssl_error().map_or_else(|| error.to_string(), explain);
    let fault = fault_of(&text);
    let verified = stream.ssl().verify_result();
    if fault == HandshakeFault::Certificate && verified != X509VerifyResult::OK {
        text = format!("{text} ({})", verified.error_string());
    }
    Failure { fault, text }
}

/// Judges by OpenSSL's reasons.
fn fault_of(reasons: &str) -> HandshakeFault {
    let has = |words: &[&str]| words.iter().any(|word| reasons.contains(word));
    if is_about_certificates(reasons) {
        HandshakeFault::Certificate
    } else if has(&["no shared cipher", "unsupported protocol", "version", "protocol", "fallback", "no suitable"]) {
        HandshakeFault::NoCommon
    } else {
        HandshakeFault::Other
    }
}
