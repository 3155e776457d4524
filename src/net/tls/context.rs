//! The context of handshakes with clients: versions, ciphers, authorities. It outlives a change of certificates, since it has the keys
//! with which sessions are resumed.

use std::sync::{Arc, LazyLock};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    AlpnError, NameType, SniError, Ssl as Handle, SslAlert, SslContext, SslContextBuilder, SslFiletype, SslMethod,
    SslMode, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;

use super::identity::Identity;
use super::names::Names;
use super::pem_file::{PemFile, explain};
use crate::error::Error;
use crate::policy::tls::{Protocol, Ssl};
use crate::sys::key_files::KeyFiles;

/// The ciphers of TLS 1.2 that are safe: with forward secrecy and authenticated encryption (RFC 9325 section 4.2). Of those of TLS 1.3
/// all are.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                       ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// The ciphers where clients may speak older versions, which have none that are safe. Level 0 allows the signatures that those need.
const OLD_CIPHERS: &str = "HIGH:!aNULL:!PSK:!SRP:!DSS:!kDH:@SECLEVEL=0";

/// Sessions that clients without tickets can resume, of about 1 kB each. Others are kept by the clients.
const SESSIONS: i32 = 2000;

/// What is shown to clients. Each handshake has it with it, since it may change and the context does not.
pub(super) struct Shown {
    pub(super) default: Arc<Identity>,
    pub(super) names: Option<Names>,
}

/// What a context is made of.
#[derive(PartialEq)]
pub(super) struct Terms {
    ssl: Ssl,
    /// Files of authorities, and of revoked certificates.
    files: Vec<PemFile>,
}

impl Terms {
    /// Reads the files of authorities that the settings name.
    pub(super) fn read(ssl: &Ssl, files: &KeyFiles) -> Result<Self, Error> {
        if !ssl.leaves_a_version() {
            return Err(Error::Config(String::from(
                "ssl_option and ssl_protocol (-L) together exclude every version of TLS",
            )));
        }
        // Neither what is shown nor its names: a session goes on with another certificate.
        let ssl = &Ssl { certificate: None, key: None, sni_path: None, ocsp_response: None, ..ssl.clone() };
        let mut terms = Self { ssl: ssl.clone(), files: Vec::new() };
        if let Some(path) = &ssl.ca_file {
            let file = PemFile::new(path, files.read(path))?;
            file.some_certificates()?;
            terms.files.push(file);
        }
        if let Some(path) = &ssl.ca_path {
            let wrong = |error| Error::System(format!("ssl_ca_path {}", path.display()), error);
            let directory = files.directory(path).map_err(wrong)?;
            for name in directory.names().map_err(wrong)?.into_iter().filter(|name| is_hashed(name)) {
                if let Some(read) = directory.read(&name).map_err(wrong)? {
                    terms.files.push(PemFile::new(&path.join(name), Ok(read))?);
                }
            }
        }
        if let Some(path) = &ssl.crl_file {
            let file = PemFile::new(path, files.read(path))?;
            if !file.has_revoked() {
                return Err(file.wrong("there is no list of revoked certificates in it"));
            }
            terms.files.push(file);
        }
        if ssl.verify && terms.authorities()?.is_empty() {
            return Err(Error::Config(String::from(
                "ssl_verify (-R) needs the authorities of clients: ssl_ca_file (-G) or ssl_ca_path (-A)",
            )));
        }
        Ok(terms)
    }

    /// The certificates of all files.
    pub(super) fn authorities(&self) -> Result<Vec<X509>, Error> {
        let mut all = Vec::new();
        for file in &self.files {
            all.extend(file.certificates()?);
        }
        Ok(all)
    }

    /// Makes the context.
    pub(super) fn context(&self, files: &KeyFiles, authorities: &[X509]) -> Result<SslContext, Error> {
        let Ssl { ciphers, alpn, .. } = &self.ssl;
        let refused = |error: ErrorStack| Error::Config(format!("TLS: {}", explain(&error)));
        let mut context = SslContextBuilder::new(SslMethod::tls_server()).map_err(refused)?;
        context.set_options(self.options());
        context
            // The chain is complete. OpenSSL would look for more of it in each handshake.
            .set_mode(
                SslMode::NO_AUTO_CHAIN
                    | SslMode::RELEASE_BUFFERS
                    | SslMode::ENABLE_PARTIAL_WRITE
                    | SslMode::ACCEPT_MOVING_WRITE_BUFFER,
            );
        context.set_min_proto_version(Some(oldest(self.ssl.protocol))).map_err(refused)?;
        set_ciphers(&mut context, ciphers.as_deref(), self.ssl.protocol)?;
        context.set_session_cache_mode(SslSessionCacheMode::SERVER);
        context.set_session_cache_size(SESSIONS);
        context.set_session_id_context(b"pen").map_err(refused)?;
        context.set_servername_callback(choose);
        context
            .set_status_callback(|ssl| chosen(ssl).map_or(Ok(false), |identity| identity.staple(ssl)))
            .map_err(refused)?;
        if !alpn.is_empty() {
            let offered = wire_format(alpn)?;
            context.set_alpn_select_callback(move |_, wanted| {
                // The selected one is a part of `offered`; the client's own is the same and lives as long as it must.
                let selected = select_next_proto(&offered, wanted).ok_or(AlpnError::ALERT_FATAL)?;
                protocols(wanted).find(|protocol| *protocol == selected).ok_or(AlpnError::ALERT_FATAL)
            });
        }
        if self.ssl.verify {
            context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            context.set_cert_store(self.store(files, authorities)?);
            authorities.iter().try_for_each(|one| context.add_client_ca(one)).map_err(refused)?;
        }
        Ok(context.build())
    }

    fn options(&self) -> SslOptions {
        let mut options = SslOptions::ALL
            | SslOptions::NO_SSLV3
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::PRIORITIZE_CHACHA;
        for option in &self.ssl.options {
            options |= match option.as_str() {
                "no_tlsv1" => SslOptions::NO_TLSV1,
                "no_tlsv1.1" => SslOptions::NO_TLSV1_1,
                "no_tlsv1.2" => SslOptions::NO_TLSV1_2,
                "no_tlsv1.3" => SslOptions::NO_TLSV1_3,
                _ => SslOptions::empty(),
            };
        }
        options
    }

    /// What clients' certificates are verified with.
    fn store(&self, files: &KeyFiles, authorities: &[X509]) -> Result<X509Store, Error> {
        let refused = |error: ErrorStack| Error::Config(format!("TLS: {}", explain(&error)));
        let mut store = X509StoreBuilder::new().map_err(refused)?;
        for authority in authorities {
            store.add_cert(authority.clone()).map_err(refused)?;
        }
        let revoked: Vec<&PemFile> = self.files.iter().filter(|file| file.has_revoked()).collect();
        if !revoked.is_empty() {
            // Then there must be a list for each authority, as in other servers.
            store.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL).map_err(refused)?;
        }
        for file in revoked {
            let path = file.path();
            let loaded = files.by_name(path, |name| {
                let lookup = store.add_lookup(X509Lookup::file())?;
                lookup.load_crl_file(name, SslFiletype::PEM)
            });
            let loaded = loaded.map_err(|error| Error::System(path.display().to_string(), error))?;
            loaded.map_err(|error| file.wrong(&format!("X509 CRL cannot be understood: {}", explain(&error))))?;
        }
        Ok(store.build())
    }
}

/// Where a handshake finds what it may show.
static SHOWN: LazyLock<Option<Index<Handle, Arc<Shown>>>> = LazyLock::new(|| Handle::new_ex_index().ok());

/// Where a handshake has what it shows.
static CHOSEN: LazyLock<Option<Index<Handle, Arc<Identity>>>> = LazyLock::new(|| Handle::new_ex_index().ok());

/// Gives a handshake what it may show.
pub(super) fn show(handle: &mut SslRef, shown: &Arc<Shown>) {
    if let Some(index) = *SHOWN {
        handle.set_ex_data(index, Arc::clone(shown));
    }
}

/// Chooses what is shown. OpenSSL calls it in each handshake, also if the client names no server.
fn choose(ssl: &mut SslRef, alert: &mut SslAlert) -> Result<(), SniError> {
    *alert = SslAlert::INTERNAL_ERROR;
    if chosen(ssl).is_some() {
        // A second ClientHello repeats the first (RFC 8446 section 4.1.2). Showing it again would send the chain twice.
        return Ok(());
    }
    let shown = SHOWN.and_then(|index| ssl.ex_data(index)).ok_or(SniError::ALERT_FATAL)?;
    let asked = ssl.servername(NameType::HOST_NAME);
    let named = shown.names.as_ref().zip(asked).and_then(|(names, asked)| names.find(asked));
    let identity = named.unwrap_or_else(|| Arc::clone(&shown.default));
    identity.show(ssl).map_err(|_| SniError::ALERT_FATAL)?;
    if let Some(index) = *CHOSEN {
        ssl.set_ex_data(index, identity);
    }
    Ok(())
}

fn chosen(ssl: &SslRef) -> Option<Arc<Identity>> {
    CHOSEN.and_then(|index| ssl.ex_data(index)).cloned()
}

fn oldest(protocol: Protocol) -> SslVersion {
    match protocol {
        Protocol::Ssl23 | Protocol::Ssl3 | Protocol::Tls12 => SslVersion::TLS1_2,
        Protocol::Tls10 => SslVersion::TLS1,
        Protocol::Tls11 => SslVersion::TLS1_1,
        Protocol::Tls13 => SslVersion::TLS1_3,
    }
}

/// Sets the ciphers that are listed, and otherwise those for the oldest version. OpenSSL has a list of its own for TLS 1.3, whose names
/// begin with `TLS_`.
fn set_ciphers(context: &mut SslContextBuilder, list: Option<&str>, protocol: Protocol) -> Result<(), Error> {
    let is_old = matches!(protocol, Protocol::Tls10 | Protocol::Tls11);
    let default = if is_old { OLD_CIPHERS } else { CIPHERS };
    let list = list.unwrap_or(default);
    let refused = |error: ErrorStack| Error::Config(format!("ssl_ciphers {list}: {}", explain(&error)));
    let (suites, ciphers): (Vec<_>, Vec<_>) =
        list.split([':', ',', ' ']).filter(|name| !name.is_empty()).partition(|name| name.starts_with("TLS_"));
    let ciphers = if ciphers.is_empty() { default.to_string() } else { ciphers.join(":") };
    context.set_cipher_list(&ciphers).map_err(refused)?;
    if !suites.is_empty() {
        context.set_ciphersuites(&suites.join(":")).map_err(refused)?;
    }
    Ok(())
}

/// The names as ALPN has them (RFC 7301 section 3.1): each with its length before it.
fn wire_format(names: &[String]) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    for name in names {
        let length = u8::try_from(name.len());
        all.push(length.map_err(|_| Error::Config(format!("ssl_alpn: \"{name}\" has more than 255 bytes")))?);
        all.extend_from_slice(name.as_bytes());
    }
    Ok(all)
}

/// The names in the form of ALPN.
fn protocols(mut all: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = all.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        all = rest;
        Some(name)
    })
}

/// Whether openssl-rehash(1) makes such names: eight hexadecimal digits, a dot, perhaps an `r`, and a number.
fn is_hashed(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        let number = number.strip_prefix('r').unwrap_or(number);
        hash.len() == 8
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
