//! A certificate with its chain, its key and its OCSP response, as a handshake needs them.

use std::io;
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ocsp::{OcspCertId, OcspResponse, OcspResponseStatus};
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslRef;
use openssl::x509::{X509, X509Ref};

use super::pem_file::{PemFile, explain};
use crate::error::Error;

/// The longest chain that is completed, so that issuers of each other do not go round for ever.
const LONGEST_CHAIN: usize = 10;

/// See the module's documentation. It has no `Debug`, since there is a key in it.
pub(super) struct Identity {
    /// The certificate first.
    chain: Vec<X509>,
    key: PKey<Private>,
    staple: Option<Staple>,
}

/// An OCSP response (RFC 6960), and what it must be about.
struct Staple {
    der: Vec<u8>,
    response: OcspResponse,
    about: Vec<OcspCertId>,
}

impl Identity {
    /// Of a certificate, with the key in the same file or in another. What the chain lacks is taken from `others`. `warn` is told what is
    /// odd.
    pub(super) fn new(
        certificate: &PemFile,
        key: Option<&PemFile>,
        others: &[X509],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self, Error> {
        let mut chain = certificate.some_certificates()?;
        let keys = key.unwrap_or(certificate);
        let key = keys.key()?.ok_or_else(|| keys.wrong("there is no key in it"))?;
        keys.tell_exposed(warn);
        let own = chain.iter().position(|one| one.public_key().is_ok_and(|public| public.public_eq(&key)));
        let Some(own) = own else {
            let file = certificate.path().display();
            return Err(keys.wrong(&format!("the key does not belong to a certificate in {file}")));
        };
        let leaf = chain.remove(own);
        tell_age(certificate.path(), &leaf, warn);
        chain.insert(0, leaf);
        let mut identity = Self { chain, key, staple: None };
        identity.complete(others);
        Ok(identity)
    }

    /// Adds the issuers that are missing, but not a root: clients have it, or do not trust it.
    fn complete(&mut self, others: &[X509]) {
        while let [.., last] = self.chain.as_slice() {
            let issuer = others.iter().find(|one| is_issuer(one, last) && !is_issuer(one, one));
            match issuer {
                Some(issuer) if self.chain.len() < LONGEST_CHAIN && !is_issuer(last, last) => {
                    self.chain.push(issuer.clone())
                }
                _ => break,
            }
        }
    }

    /// With an OCSP response from that file. Those who may have signed the certificate are in its chain or among `others`.
    pub(super) fn stapled(
        mut self,
        path: &Path,
        read: io::Result<Vec<u8>>,
        others: &[X509],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self, Error> {
        let wrong = |text: &str| Error::Config(format!("{}: {text}", path.display()));
        let der = read.map_err(|error| Error::System(path.display().to_string(), error))?;
        let response = OcspResponse::from_der(&der)
            .map_err(|error| wrong(&format!("not an OCSP response in DER: {}", explain(&error))))?;
        if response.status() != OcspResponseStatus::SUCCESSFUL {
            return Err(wrong("the OCSP response is an error of its responder"));
        }
        let leaf = &self.chain[0];
        let issuer = self.chain.iter().chain(others).find(|one| is_issuer(one, leaf));
        let Some(issuer) = issuer else {
            warn(format!("{}: not stapled, since the certificate of the issuer is in no file", path.display()));
            return Ok(self);
        };
        let digests = [MessageDigest::sha1(), MessageDigest::sha256()];
        let about = digests.into_iter().filter_map(|digest| OcspCertId::from_cert(digest, leaf, issuer).ok()).collect();
        let staple = Staple { der, response, about };
        if !staple.is_valid() {
            warn(format!("{}: not stapled, since it is about another certificate or has expired", path.display()));
        }
        self.staple = Some(staple);
        Ok(self)
    }

    /// The certificate shown in this handshake, and no other.
    pub(super) fn show(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ssl.set_certificate(&self.chain[0])?;
        ssl.set_private_key(&self.key)?;
        self.chain[1..].iter().try_for_each(|one| ssl.add_chain_cert(one.clone()))
    }

    /// Staples the OCSP response, if there is one that is valid now.
    pub(super) fn staple(&self, ssl: &mut SslRef) -> Result<bool, ErrorStack> {
        let Some(staple) = self.staple.as_ref().filter(|staple| staple.is_valid()) else { return Ok(false) };
        ssl.set_ocsp_status(&staple.der)?;
        Ok(true)
    }
}

impl Staple {
    fn is_valid(&self) -> bool {
        let Ok(basic) = self.response.basic() else { return false };
        let status = self.about.iter().find_map(|about| basic.find_status(about));
        // Without slack: clients that allow none refuse what has expired. A failure leaves its reason in a queue of this thread, where
        // the next call would find it.
        status.is_some_and(|status| status.check_validity(0, None).is_ok())
    }
}

fn is_issuer(one: &X509Ref, of: &X509Ref) -> bool {
    one.issued(of) == openssl::x509::X509VerifyResult::OK
}

/// Tells of a certificate that is not valid now.
fn tell_age(path: &Path, leaf: &X509Ref, warn: &mut dyn FnMut(String)) {
    let Ok(now) = Asn1Time::days_from_now(0) else { return };
    let name = leaf.subject_name().entries_by_nid(Nid::COMMONNAME).next();
    let name = name.and_then(|name| name.data().to_string().ok()).unwrap_or_default();
    if *leaf.not_after() < *now {
        warn(format!("{}: the certificate {name} has expired on {}", path.display(), leaf.not_after()));
    } else if *leaf.not_before() > *now {
        warn(format!("{}: the certificate {name} is valid from {} on only", path.display(), leaf.not_before()));
    }
}
