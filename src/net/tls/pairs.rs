//! TLS between socket pairs, for tests.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use native_tls::{HandshakeError, TlsConnector};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream};
use openssl::x509::X509;

use super::session::Session;
use super::wire::Wire;

/// A session with a server, and that server's side. Neither waits.
pub(in crate::net) fn pair() -> (Session, SslStream<UnixStream>) {
    let (client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let mut server = SslStream::new(Ssl::new(&context()).unwrap(), server).unwrap();
    let connector = TlsConnector::builder().danger_accept_invalid_certs(true).build().unwrap();
    let mut outcome = connector.connect("pen.test", Wire::new(Arc::new(client.into())));
    loop {
        let accepted = server.accept();
        outcome = match outcome {
            Ok(stream) => {
                accepted.unwrap();
                return (Session::connected(stream), server);
            }
            Err(HandshakeError::WouldBlock(middle)) => middle.handshake(),
            Err(HandshakeError::Failure(error)) => panic!("{error}"),
        };
    }
}

/// With a certificate of its own.
fn context() -> SslContext {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut certificate = X509::builder().unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_certificate(&certificate.build()).unwrap();
    context.set_private_key(&key).unwrap();
    context.build()
}
