//! The rows of the settings about TLS with clients. The help texts name the options of pen(1) for them.

use super::setting::{Kind, Setting, Value};
use crate::policy::tls::{OPTIONS, Protocol};

macro_rules! row {
    ($word:literal, $field:ident, $usage:expr, $help:literal, $kind:expr, $get:expr, $set:expr) => {
        Setting::new($word, $usage, $help, $kind, $get, $set)
    };
    ($word:literal, $field:ident, $usage:expr, $help:literal, $kind:expr, $variant:ident) => {
        row!($word, $field, $usage, $help, $kind, |s| Value::$variant(s.ssl.$field.clone()), |s, v| {
            if let Value::$variant(v) = v {
                s.ssl.$field = v;
            }
        })
    };
}

macro_rules! file {
    ($word:literal, $field:ident, $what:literal, $help:literal) => {
        row!($word, $field, concat!($word, " [", $what, "] | no ", $word), $help, Kind::Path, Path)
    };
}

macro_rules! seconds {
    ($word:literal, $field:ident, $least:literal, $help:literal) => {
        row!($word, $field, concat!($word, " [SECONDS]"), $help, Kind::Seconds($least), Seconds)
    };
}

/// The settings. What is read from files is read when all commands of a load are known.
pub(super) const SSL: &[Setting] = &[
    file!(
        "ssl_certificate",
        certificate,
        "FILE",
        "terminate TLS with this certificate (-E); its chain and key may follow in the file"
    ),
    file!("ssl_key", key, "FILE", "the key of the certificate (-K)"),
    file!("ssl_ca_file", ca_file, "FILE", "the authorities of clients (-G)"),
    file!("ssl_ca_path", ca_path, "DIRECTORY", "authorities of clients in a directory by hash (-A)"),
    file!("ssl_crl_file", crl_file, "FILE", "revoked certificates of clients"),
    row!("ssl_verify", verify, "[no] ssl_verify", "clients must have a valid certificate (-R)", Kind::Switch, Switch),
    row!("ssl_compat", compat, "[no] ssl_compat", "has no meaning any more (-Z); accepted", Kind::Switch, Switch),
    row!(
        "ssl_protocol",
        protocol,
        "ssl_protocol [ssl23|ssl3|tls1|tls1.1|tls1.2|tls1.3]",
        "the oldest version that clients may speak (-L)",
        Kind::Choice {
            words: || Protocol::WORDS.iter().map(|(word, _)| *word).collect(),
            not: "protocol version % not known",
            lists: true,
            missing: None,
        },
        |s| Value::Choice(s.ssl.protocol.word()),
        |s, v| {
            if let Value::Choice(v) = v {
                if let Some((_, protocol)) = Protocol::WORDS.iter().find(|(word, _)| *word == v) {
                    s.ssl.protocol = *protocol;
                }
            }
        }
    ),
    row!(
        "ssl_ciphers",
        ciphers,
        "ssl_ciphers [LIST] | no ssl_ciphers",
        "the ciphers that clients may use",
        Kind::Text,
        Text
    ),
    row!(
        "ssl_option",
        options,
        "ssl_option [OPTION ...] | no ssl_option",
        "exclude versions, or prefer pen's order of ciphers",
        Kind::Words { valid: &OPTIONS, adds: true },
        |s| Value::Words(s.ssl.options.clone()),
        |s, v| {
            if let Value::Words(mut v) = v {
                if !v.is_empty() {
                    v.extend_from_slice(&s.ssl.options);
                }
                v.sort();
                v.dedup();
                s.ssl.options = v;
            }
        }
    ),
    file!("ssl_sni_path", sni_path, "DIRECTORY", "certificates by server name: NAME.crt, .key, .ca, .ocsp"),
    file!("ssl_ocsp_response", ocsp_response, "FILE", "the OCSP response that is stapled to the certificate"),
    row!(
        "ssl_alpn",
        alpn,
        "ssl_alpn [PROTOCOL ...] | no ssl_alpn",
        "application protocols to choose from (ALPN), the preferred first",
        Kind::Words { valid: &[], adds: false },
        Words
    ),
    seconds!("ssl_client_renegotiation_interval", client_renegotiation_interval, 0, "accepted; pen never renegotiates"),
    seconds!("ssl_handshake_timeout", handshake_timeout, 1, "how long the handshake with a client may take"),
];
