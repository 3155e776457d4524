//! OCSP responses that pen staples to its certificates.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::ssl::SslVersion;
use rustix::process::Signal;

use crate::harness::{
    Authority, Backend, Hello, Launch, Pen, Process, Scratch, certificates, echo, put_secret, s_client, wait_until,
};

/// Where a value begins in DER, and where it ends, counted from the value's first byte.
fn value(der: &[u8], start: usize) -> (usize, usize) {
    match der[start + 1] {
        short @ ..0x80 => (start + 2, start + 2 + usize::from(short)),
        long => {
            let begin = start + 2 + usize::from(long & 0x7f);
            let length = der[start + 2..begin].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (begin, begin + length)
        }
    }
}

/// That response as it would have been given at another time (RFC 6960 section 4.2.1): valid for these seconds from 1970.
fn redated(mut response: Vec<u8>, authority: &Authority, from: u64, to: u64) -> Vec<u8> {
    // OCSPResponse { status, [0] { ResponseBytes { type, OCTET STRING { BasicOCSPResponse { data, ...
    let (status, _) = value(&response, 0);
    let (_, tag) = value(&response, status);
    let (bytes, _) = value(&response, tag);
    let (kind, _) = value(&response, bytes);
    let (_, octets) = value(&response, kind);
    let (basic, _) = value(&response, octets);
    let (data, _) = value(&response, basic);
    // ... signatureAlgorithm, signature
    let (_, algorithm) = value(&response, data);
    let (_, signature) = value(&response, algorithm);
    // producedAt, thisUpdate and nextUpdate are GeneralizedTimes of the same length.
    let is_time = |part: &[u8]| part[..2] == [0x18, 15] && part[16] == b'Z';
    let times: Vec<_> = (data..=algorithm - 17).filter(|at| is_time(&response[*at..])).collect();
    assert_eq!(times.len(), 3);
    for (at, seconds) in times.into_iter().zip([from, from, to]) {
        response[at + 2..at + 17].copy_from_slice(generalized(seconds).as_bytes());
    }
    let key = PKey::private_key_from_pem(&fs::read(authority.key()).unwrap()).unwrap();
    let (begin, end) = value(&response, signature);
    // The bit string begins with the number of unused bits. The length of a signature varies.
    let new = (0..).find_map(|_| {
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        Some(signer.sign_oneshot_to_vec(&response[data..algorithm]).unwrap()).filter(|new| new.len() == end - begin - 1)
    });
    response[begin + 1..end].copy_from_slice(&new.unwrap());
    response
}

/// Such a time, as `date` writes it.
fn generalized(seconds: u64) -> String {
    let mut date = Process::start({
        let mut date = Command::new("date");
        date.args(["-u", "-d", &format!("@{seconds}"), "+%Y%m%d%H%M%SZ"]);
        date
    });
    assert!(date.wait_exit().success());
    date.stdout().trim().to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a client gets that asks for it; the same with TLS 1.2 and 1.3.
#[track_caller]
fn stapled(pen: &Pen) -> Option<Vec<u8>> {
    let [old, new] = [SslVersion::TLS1_2, SslVersion::TLS1_3].map(|version| stapled_with(version, pen));
    assert!(old == new);
    new
}

#[track_caller]
fn stapled_with(version: SslVersion, pen: &Pen) -> Option<Vec<u8>> {
    let mut client = Hello::new().version(version).ocsp().connect(pen);
    client.assert_echo("hello");
    client.ocsp()
}

/// A pen with that file for its response.
fn pen(path: &str, a: &Backend) -> Pen {
    let words = format!("ssl_ocsp_response {path}");
    // The response is compared with the certificate of the issuer.
    let issuer = certificates().authority.cert();
    Launch::ours().control().options(&["-E", &certificates().pem, "-G", issuer, "-O", &words]).servers(&[a]).start()
}

#[test]
fn a_good_response_is_stapled_for_those_who_ask() {
    let (certificates, scratch, a) = (certificates(), Scratch::new(), Backend::new("a", echo));
    let response = certificates.authority.ocsp(&certificates.site);
    let path = put_secret(&scratch.join("response"), &response);
    let pen = pen(&path, &a);
    assert!(stapled(&pen) == Some(response));
    let words = ["-status", "-CAfile", certificates.authority.cert(), "-verify_return_error"];
    let answer = s_client(pen.port(), &words);
    assert!(answer.success && answer.text.contains("Cert Status: good"), "{answer:?}");
    let answer = s_client(pen.port(), &["-servername", "pen.test"]);
    assert!(answer.success && !answer.text.contains("OCSP Response Data"), "{answer:?}");
}

#[test]
fn an_expired_response_is_not_stapled_nor_one_of_the_future_and_both_are_told() {
    let (certificates, scratch, a) = (certificates(), Scratch::new(), Backend::new("a", echo));
    let authority = &certificates.authority;
    let good = authority.ocsp(&certificates.site);
    for (from, to) in [(now() - 90_000, now() - 3600), (now() + 90_000, now() + 180_000)] {
        let path = put_secret(&scratch.join("response"), redated(good.clone(), authority, from, to));
        let pen = pen(&path, &a);
        assert_eq!(stapled(&pen), None);
        pen.wait_for_line(&path);
    }
    // The times are what is wrong, not the way in which the test changes them.
    let path = put_secret(&scratch.join("response"), redated(good, authority, now() - 90_000, now() + 3600));
    assert!(stapled(&pen(&path, &a)).is_some());
}

#[test]
fn a_response_is_stapled_until_it_expires() {
    let (certificates, scratch, a) = (certificates(), Scratch::new(), Backend::new("a", echo));
    let good = certificates.authority.ocsp(&certificates.site);
    let end = now() + 4;
    let path = put_secret(&scratch.join("response"), redated(good, &certificates.authority, end - 3600, end));
    let pen = pen(&path, &a);
    let first = stapled(&pen);
    // On a machine that took all that time to start pen, it has expired by then.
    assert!(first.is_some() || now() >= end);
    wait_until("its end", || now() > end + 1);
    assert_eq!(stapled(&pen), None);
}

#[test]
fn what_is_no_response_or_one_of_another_certificate_is_named_and_not_stapled() {
    let (certificates, scratch) = (certificates(), Scratch::new());
    let other = certificates.authority.issue(&["other.test"]);
    let a = Backend::new("a", echo);
    let path = put_secret(&scratch.join("response"), certificates.authority.ocsp(&other));
    let started = pen(&path, &a);
    assert_eq!(stapled(&started), None);
    started.wait_for_line(&path);
    let good = certificates.authority.ocsp(&certificates.site);
    let cut = &good[..good.len() / 2];
    for bytes in [&b""[..], b"hello", cut, &[0x30, 0x03, 0x0a, 0x01, 0x06]] {
        let path = put_secret(&scratch.join("response"), bytes);
        let words = format!("ssl_ocsp_response {path}");
        let (status, refused) =
            crate::harness::run(&["-f", "-E", &certificates.pem, "-O", &words, "127.0.0.1:1", "127.0.0.1:9"]);
        assert!(!status.success() && refused.stderr().contains(&path), "{bytes:x?}: {}", refused.stderr());
    }
}

#[test]
fn a_renewed_response_is_taken_at_hup_and_when_the_command_is_repeated() {
    let (certificates, scratch, a) = (certificates(), Scratch::new(), Backend::new("a", echo));
    let authority = &certificates.authority;
    let good = authority.ocsp(&certificates.site);
    let dated = |hours: u64| redated(good.clone(), authority, now() - 60, now() + 3600 * hours);
    let responses = [dated(1), dated(2), dated(3)];
    let path = put_secret(&scratch.join("response"), &responses[0]);
    let pen = pen(&path, &a);
    assert!(stapled(&pen).as_ref() == Some(&responses[0]));
    put_secret(&scratch.join("response"), &responses[1]);
    pen.signal(Signal::HUP);
    let now_stapled = || stapled_with(SslVersion::TLS1_3, &pen);
    wait_until("the second response", || now_stapled().as_ref() == Some(&responses[1]));
    // penctl(1) of pen 0.34.1: the command repeated makes pen read the file again.
    put_secret(&scratch.join("response"), &responses[2]);
    pen.control().set(&format!("ssl_ocsp_response {path}"));
    assert!(stapled(&pen).as_ref() == Some(&responses[2]));
    // A broken one at HUP: the old one stays.
    put_secret(&scratch.join("response"), "broken");
    let before = pen.stderr_length();
    pen.signal(Signal::HUP);
    wait_until("the complaint", || pen.stderr_after(before).contains(&path));
    assert!(stapled(&pen).as_ref() == Some(&responses[2]));
    pen.control().set("no ssl_ocsp_response");
    assert_eq!(stapled(&pen), None);
}

#[test]
fn each_name_has_its_own_response() {
    let (certificates, scratch, a) = (certificates(), Scratch::new(), Backend::new("a", echo));
    let authority = &certificates.authority;
    let own = scratch.join("response");
    let mut responses = Vec::new();
    for name in ["one.test", "two.test", "three.test"] {
        let site = authority.issue(&[name]);
        put_secret(&scratch.join(&format!("{name}.crt")), site.cert_pem());
        put_secret(&scratch.join(&format!("{name}.key")), site.key_pem());
        fs::copy(authority.cert(), scratch.join(&format!("{name}.ca"))).unwrap();
        responses.push(authority.ocsp(&site));
    }
    fs::write(scratch.join("one.test.ocsp"), &responses[0]).unwrap();
    let old = redated(responses[1].clone(), authority, now() - 90_000, now() - 60);
    fs::write(scratch.join("two.test.ocsp"), old).unwrap();
    let default = authority.ocsp(&certificates.site);
    fs::write(&own, &default).unwrap();
    let sni = format!("ssl_sni_path {}", scratch.path().display());
    let words = format!("ssl_ocsp_response {}", own.display());
    let options = ["-E", &certificates.pem, "-G", authority.cert(), "-O", &sni, "-O", &words];
    let pen = Pen::start(&options, &[&a]);
    for (name, expected) in [
        ("one.test", Some(&responses[0])),
        ("two.test", None),
        ("three.test", None),
        ("pen.test", Some(&default)),
        ("unknown.test", Some(&default)),
    ] {
        let mut client = Hello::new().name(name).ocsp().connect(&pen);
        client.assert_echo("hello");
        assert!(client.ocsp().as_ref() == expected, "{name}");
    }
}
