//! The options and settings of TLS with clients, against clients of several kinds.

use std::fs;
use std::io::{self, Write};

use openssl::ssl::SslVersion;

use crate::harness::{
    Backend, Hello, Launch, Pen, Scratch, TlsEnd, Visit, certificates, curl, echo, openssl, python, run, s_client,
    s_client_obeying, s_client_saying, wait_until,
};

/// Reads the head of a request, and answers it.
pub(crate) fn web(visit: &Visit) -> io::Result<()> {
    let (mut head, mut part) = (Vec::new(), [0; 1000]);
    while !head.ends_with(b"\r\n\r\n") {
        match visit.read(&mut part)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&part[..count]),
        }
    }
    visit.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")?;
    visit.finish()
}

/// Verifies pen.test, says something, and prints what was negotiated and what is answered.
const PYTHON: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20) as plain:
    with context.wrap_socket(plain, server_hostname='pen.test') as stream:
        stream.sendall(b'GET / HTTP/1.1\\r\\nHost: pen.test\\r\\n\\r\\n')
        answer = b''
        while part := stream.recv(1000):
            answer += part
        print(stream.version(), answer.decode())
";

#[test]
fn clients_of_every_kind_are_served_with_the_default_settings() {
    let certificates = certificates();
    let (a, authority) = (Backend::new("a", web), certificates.authority.cert());
    let pen = Pen::start(&["-E", &certificates.pem], &[&a]);
    let answer = curl(pen.port(), "", &["--cacert", authority]);
    assert_eq!((answer.success, answer.text.as_str()), (true, "hello\n"));
    let answer = curl(pen.port(), "", &["--cacert", authority, "--tls-max", "1.2"]);
    assert_eq!((answer.success, answer.text.as_str()), (true, "hello\n"));
    let answer = python(PYTHON, &[&pen.port().to_string(), authority]);
    assert!(answer.success && answer.text.starts_with("TLSv1.3 HTTP/1.1 200 OK"), "{answer:?}");
    assert!(answer.text.ends_with("hello\n\n"), "{answer:?}");
    let words =
        ["-CAfile", authority, "-verify_return_error", "-verify_hostname", "pen.test", "-servername", "pen.test"];
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let words = [&words[..], &[version]].concat();
        let answer = s_client_saying(pen.port(), &words, "GET / HTTP/1.1\r\nHost: pen.test\r\n\r\n");
        assert!(answer.success && answer.text.contains("\r\n\r\nhello\n"), "{answer:?}");
        for part in [&format!("New, {name}, Cipher is "), "Verify return code: 0 (ok)", "Compression: NONE"] {
            assert!(answer.text.contains(part), "{part}: {answer:?}");
        }
    }
    assert!(!pen.stderr().contains("no TLS"), "{}", pen.stderr());
}

#[test]
fn the_key_is_taken_from_its_own_file_or_from_that_of_the_certificate() {
    let certificates = certificates();
    let (a, site) = (Backend::new("a", echo), &certificates.site);
    for options in [&["-E", &site.cert(), "-K", &site.key()][..], &["-K", &site.key(), "-E", &site.cert()]] {
        let pen = Pen::start(options, &[&a]);
        assert_eq!(Hello::new().echoes(&pen), Ok(()));
    }
    // That of -K comes first.
    let other = certificates.authority.issue(&["other.test"]);
    let (pem, key) = (&certificates.pem, other.key());
    for (options, named) in [
        (vec!["-E", pem, "-K", &key], key.as_str()),
        (vec!["-E", &site.cert()], &site.cert()),
        (vec!["-E", "/nonexistent/file"], "/nonexistent/file"),
        (vec!["-E", &site.cert(), "-K", "/nonexistent/file"], "/nonexistent/file"),
        (vec!["-E", "/"], "/"),
    ] {
        for check in [&["-f"][..], &["--check"]] {
            let (status, refused) = run(&[check, &options, &["127.0.0.1:1", "127.0.0.1:9"]].concat());
            assert!(!status.success(), "{options:?}");
            assert!(refused.stderr().contains(named), "{options:?}: {}", refused.stderr());
        }
    }
    let (status, _) = run(&["--check", "-E", pem, "127.0.0.1:1", "127.0.0.1:9"]);
    assert!(status.success());
}

#[test]
fn a_key_without_a_certificate_is_told() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-K", &certificates().site.key()], &[&a]);
    pen.wait_for_line("ssl_key (-K) has no effect without a certificate: ssl_certificate (-E)");
    assert_eq!(crate::harness::visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    for options in [&["-R"][..], &["-O", "ssl_sni_path /tmp"]] {
        let (status, refused) = run(&[&["-f"], options, &["127.0.0.1:1", "127.0.0.1:9"]].concat());
        assert!(!status.success() && refused.stderr().contains("needs a certificate"), "{}", refused.stderr());
    }
}

#[test]
fn the_least_version_is_chosen_by_option_l() {
    use SslVersion as V;
    let certificates = certificates();
    let a = Backend::new("a", echo);
    let versions = [V::TLS1, V::TLS1_1, V::TLS1_2, V::TLS1_3];
    for (word, least) in [
        (None, V::TLS1_2),
        (Some("ssl23"), V::TLS1_2),
        (Some("ssl3"), V::TLS1_2),
        (Some("tls1"), V::TLS1),
        (Some("tls1.1"), V::TLS1_1),
        (Some("tls1.2"), V::TLS1_2),
        (Some("tls1.3"), V::TLS1_3),
    ] {
        let mut options = vec!["-E", &certificates.pem];
        options.extend(word.iter().flat_map(|word| ["-L", word]));
        let pen = Pen::start(&options, &[&a]);
        let served = versions.map(|version| Hello::new().version(version).echoes(&pen).is_ok());
        let first = versions.iter().position(|version| *version == least).unwrap();
        let expected: Vec<_> = (0..4).map(|number| number >= first).collect();
        assert_eq!(served.to_vec(), expected, "{word:?}");
        let warned = pen.line("SSL 3").is_some();
        assert_eq!(warned, word == Some("ssl3"), "{word:?}: {}", pen.stderr());
    }
    for wrong in ["ssl2", "tls2", ""] {
        let (status, refused) = run(&["-f", "-E", &certificates.pem, "-L", wrong, "127.0.0.1:1", "127.0.0.1:9"]);
        assert!(!status.success());
        let words = format!("protocol version {wrong} not known");
        assert!(wrong.is_empty() || refused.stderr().contains(&words), "{}", refused.stderr());
    }
}

#[test]
fn versions_are_excluded_by_ssl_option() {
    use SslVersion as V;
    let certificates = certificates();
    let a = Backend::new("a", echo);
    let pen = Launch::ours().control().options(&["-E", &certificates.pem]).servers(&[&a]).start();
    let control = pen.control();
    let served = || [V::TLS1_2, V::TLS1_3].map(|version| Hello::new().version(version).echoes(&pen).is_ok());
    assert_eq!(served(), [true, true]);
    let set = |lines: &[&str]| lines.iter().for_each(|line| control.set(line));
    set(&["ssl_option no_tlsv1.2"]);
    assert_eq!(served(), [false, true]);
    set(&["no ssl_option", "ssl_option no_tlsv1.3 no_sslv2 no_sslv3", "ssl_option no_tlsv1 no_tlsv1.1"]);
    assert_eq!(served(), [true, false]);
    assert_eq!(control.say("ssl_option"), "no_sslv2 no_sslv3 no_tlsv1 no_tlsv1.1 no_tlsv1.3\n");
    let reply = control.say("ssl_option no_tlsv1.2");
    assert!(!reply.contains("no_tlsv1.2 no_tlsv1.3"), "nobody could speak with such a pen: {reply}");
    assert_eq!(served(), [true, false]);
    assert!(control.say("ssl_option no_tlsv9").contains("no_tlsv9"));
    set(&["no ssl_option"]);
    assert_eq!(served(), [true, true]);
}

#[test]
fn ciphers_are_those_of_ssl_ciphers_and_pen_prefers_its_own_order_when_told() {
    let certificates = certificates();
    let (first, second) = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256");
    let a = Backend::new("a", echo);
    let ciphers = format!("ssl_ciphers {first}:{second}");
    let launch = Launch::ours().control().options(&["-E", &certificates.pem, "-O", &ciphers]);
    let pen = launch.options(&["-O", "ssl_option cipher_server_preference"]).servers(&[&a]).start();
    let hello = |list: &str| Hello::new().version(SslVersion::TLS1_2).ciphers(list);
    let chosen = |list: &str| hello(list).connect(&pen).cipher();
    assert_eq!(chosen(&format!("{second}:{first}")), first);
    assert_eq!(chosen(second), second);
    assert!(hello("ECDHE-ECDSA-CHACHA20-POLY1305").try_connect(&pen).is_err());
    pen.wait_for_line("client 127.0.0.1: no TLS: no shared cipher");
    let control = pen.control();
    assert_eq!(control.say("ssl_ciphers"), format!("{first}:{second}\n"));
    assert!(control.say("ssl_ciphers NO-SUCH-CIPHER").contains("NO-SUCH-CIPHER"));
    assert_eq!(control.say("ssl_ciphers"), format!("{first}:{second}\n"));
    assert_eq!(chosen(second), second);
    // No client can take part in the default that has no authentication, no encryption, or a broken one.
    control.set("no ssl_ciphers");
    for weak in ["aNULL:@SECLEVEL=0", "eNULL:@SECLEVEL=0", "RC4:3DES:@SECLEVEL=0", "PSK:@SECLEVEL=0"] {
        let words = ["-tls1_2", "-cipher", weak];
        let answer = s_client(pen.port(), &words);
        assert!(!answer.success, "{weak}: {answer:?}");
    }
    let (status, refused) =
        run(&["-f", "-E", &certificates.pem, "-O", "ssl_ciphers X-Y", "127.0.0.1:1", "127.0.0.1:9"]);
    assert!(!status.success() && refused.stderr().contains("X-Y"), "{}", refused.stderr());
}

#[test]
fn a_list_of_ciphers_for_tls_1_3_leaves_those_of_tls_1_2_at_their_default() {
    let certificates = certificates();
    let a = Backend::new("a", echo);
    let pen = Pen::start(&["-E", &certificates.pem, "-O", "ssl_ciphers TLS_AES_128_GCM_SHA256"], &[&a]);
    assert_eq!(Hello::new().version(SslVersion::TLS1_3).connect(&pen).cipher(), "TLS_AES_128_GCM_SHA256");
    let hello = |cipher: &str| Hello::new().version(SslVersion::TLS1_2).ciphers(cipher);
    assert_eq!(hello("ECDHE-ECDSA-AES128-GCM-SHA256").echoes(&pen), Ok(()));
    assert!(hello("ECDHE-ECDSA-AES128-SHA").try_connect(&pen).is_err());
}

#[test]
fn an_application_protocol_is_agreed_on_by_pens_preference() {
    let certificates = certificates();
    let a = Backend::new("a", echo);
    let options = ["-E", &certificates.pem, "-O", "ssl_alpn h2 http/1.1"];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    for (offered, agreed) in
        [(&["http/1.1", "h2"][..], Some("h2")), (&["http/1.0", "http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let hello = if offered.is_empty() { Hello::new() } else { Hello::new().alpn(offered) };
        let mut client = hello.connect(&pen);
        assert_eq!(client.alpn().as_deref(), agreed, "{offered:?}");
        client.assert_echo("hello");
    }
    // RFC 7301 section 3.2: a fatal alert.
    assert!(
        Hello::new().alpn(&["spdy/1"]).try_connect(&pen).is_err_and(|error| error.contains("no application protocol"))
    );
    assert_eq!(pen.control().say("ssl_alpn"), "h2 http/1.1\n");
    // Who puts headers into requests must be able to read them.
    let http = Pen::start(&["-E", &certificates.pem, "-H"], &[&a]);
    assert_eq!(Hello::new().alpn(&["h2", "http/1.1"]).connect(&http).alpn().as_deref(), Some("http/1.1"));
    assert_eq!(Hello::new().connect(&http).alpn(), None);
    pen.control().set("no ssl_alpn");
    let mut client = Hello::new().alpn(&["spdy/1"]).connect(&pen);
    assert_eq!(client.alpn(), None);
    client.assert_echo("hello");
}

#[test]
fn nobody_can_renegotiate() {
    let certificates = certificates();
    let a = Backend::new("a", echo);
    let pen = Pen::start(&["-E", &certificates.pem], &[&a]);
    let (mut program, mut writer) = s_client_obeying(pen.port(), &["-tls1_2"]);
    writer.write_all(b"one\n").unwrap();
    wait_until("an echo", || program.stdout().contains("\none\n"));
    writer.write_all(b"R\n").unwrap();
    program.wait_exit();
    assert!(program.stderr().contains("no renegotiation"), "{}", program.stderr());
}

#[test]
fn options_become_settings_that_are_told_and_written_and_read_again() {
    let certificates = certificates();
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let (site, authority) = (&certificates.site, certificates.authority.cert());
    let (cert, key) = (site.cert(), site.key());
    openssl(scratch.path(), &["rehash", "."]);
    let directory = scratch.path().display().to_string();
    let options = ["-E", &cert, "-K", &key, "-G", authority, "-A", &directory, "-R", "-Z", "-L", "tls1.3"];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    let control = pen.control();
    for (word, value) in [
        ("ssl_certificate", cert.as_str()),
        ("ssl_key", &key),
        ("ssl_ca_file", authority),
        ("ssl_ca_path", &directory),
        ("ssl_protocol", "tls1.3"),
        ("ssl_handshake_timeout", "10"),
        ("ssl_client_renegotiation_interval", "3600"),
    ] {
        assert_eq!(control.say(word), format!("{value}\n"), "{word}");
    }
    for line in [
        "ssl_handshake_timeout 5",
        "ssl_client_renegotiation_interval 60",
        "ssl_ciphers HIGH",
        "ssl_alpn x",
        "ssl_option no_tlsv1 cipher_server_preference",
    ] {
        control.set(line);
    }
    let written = control.configuration();
    for line in [
        &format!("ssl_certificate {cert}"),
        &format!("ssl_key {key}"),
        "ssl_verify",
        "ssl_compat",
        "ssl_ciphers HIGH",
        "ssl_alpn x",
        "ssl_handshake_timeout 5",
        "ssl_client_renegotiation_interval 60",
        "no ssl_ocsp_response",
    ] {
        assert!(written.lines().any(|written| written == line), "{line}: {written}");
    }
    assert!(written.lines().any(|line| line.starts_with("ssl_option ") && line.contains("cipher_server_preference")));
    let file = scratch.join("pen.conf");
    fs::write(&file, &written).unwrap();
    let again = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    assert_eq!(again.control().configuration(), written);
    assert!(Hello::new().echoes(&again).is_err(), "ssl_verify");
    assert_eq!(Hello::new().certificate(site).echoes(&again), Ok(()));
}

#[test]
fn a_control_port_command_turns_tls_on_and_off_for_clients_that_come_later() {
    let certificates = certificates();
    let a = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&a]).start();
    let control = pen.control();
    let plain = crate::harness::Client::connect(&pen);
    assert_eq!(plain.line().as_deref(), Some("a"));
    control.set(&format!("ssl_certificate {}", certificates.pem));
    let mut client = Hello::new().trusting(certificates.authority.cert()).connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    plain.assert_echo("still plain");
    for wrong in ["ssl_certificate /nonexistent", "ssl_key /nonexistent", "ssl_ca_file /nonexistent", "ssl_crl_file /x"]
    {
        let (word, file) = wrong.split_once(' ').unwrap();
        let before = control.say(word);
        let reply = control.say(wrong);
        assert!(reply.contains(file), "{wrong}: {reply}");
        assert_eq!(control.say(word), before);
    }
    control.set("no ssl_certificate");
    assert_eq!(crate::harness::visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    client.assert_echo("still TLS");
    client.finish();
    assert_eq!(client.rest(), (Vec::new(), TlsEnd::Notified));
}

#[test]
fn an_option_without_its_word_and_a_setting_out_of_range_are_errors() {
    for option in ["-E", "-K", "-G", "-A", "-L"] {
        let (status, refused) = run(&["127.0.0.1:1", "127.0.0.1:9", option]);
        assert!(!status.success() && refused.stderr().contains(&option[1..]), "{option}: {}", refused.stderr());
    }
    for command in ["ssl_handshake_timeout 0", "ssl_handshake_timeout x", "ssl_protocol ssl2", "ssl_option no_tls"] {
        let (status, refused) = run(&["-f", "-O", command, "127.0.0.1:1", "127.0.0.1:9"]);
        assert!(!status.success(), "{command}");
        let word = command.split(' ').next_back().unwrap();
        assert!(refused.stderr().contains(word), "{command}: {}", refused.stderr());
    }
}
