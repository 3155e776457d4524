//! Sessions that go on in another connection, and those that must not.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{
    Authority, Backend, Launch, Outcome, Pen, Scratch, certificates, put_secret, python, s_client_saying, say_goodbye,
};

/// The versions of TLS, with tickets and without. TLS 1.3 has nothing but tickets.
const WAYS: [&[&str]; 3] = [&["-tls1_3"], &["-tls1_2"], &["-tls1_2", "-no_ticket"]];

/// A client that keeps its session in a file.
struct Visitor<'a> {
    file: String,
    words: Vec<&'a str>,
}

impl<'a> Visitor<'a> {
    fn new(scratch: &Scratch, words: &[&'a str]) -> Self {
        Self { file: scratch.join("session").display().to_string(), words: words.to_vec() }
    }

    fn with(mut self, words: &[&'a str]) -> Self {
        self.words.extend(words);
        self
    }

    fn say(&self, pen: &Pen, session: &[&str]) -> Outcome {
        let words = [&self.words[..], &["-servername", "pen.test"], session].concat();
        s_client_saying(pen.port(), &words, "hello\n")
    }

    /// Comes for the first time.
    #[track_caller]
    fn come(&self, pen: &Pen) {
        // A file of before is no session of now.
        let _ = fs::remove_file(&self.file);
        let answer = self.say(pen, &["-sess_out", &self.file]);
        assert!(answer.text.contains("goodbye") && answer.text.contains("New, "), "{:?}: {answer:?}", self.words);
        assert!(Path::new(&self.file).exists(), "{:?}: no session: {answer:?}", self.words);
    }

    /// Comes again.
    fn come_again(&self, pen: &Pen) -> Outcome {
        self.say(pen, &["-sess_in", &self.file])
    }

    /// Comes again, and need not introduce itself.
    #[track_caller]
    fn resume(&self, pen: &Pen) {
        let answer = self.come_again(pen);
        assert!(answer.text.contains("goodbye") && answer.text.contains("Reused, "), "{:?}: {answer:?}", self.words);
    }
}

/// The numbers of handshakes, and of those that resumed.
fn counts(pen: &Pen) -> (u64, u64) {
    let counts: serde_json::Value = serde_json::from_str(&pen.control().say("handshakes json")).unwrap();
    (counts["done"].as_u64().unwrap(), counts["resumed"].as_u64().unwrap())
}

fn pen(options: &[&str], a: &Backend) -> Pen {
    Launch::ours().control().options(&["-E", &certificates().pem]).options(options).servers(&[a]).start()
}

#[test]
fn sessions_are_resumed_by_tickets_and_by_ids_and_counted() {
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let pen = pen(&[], &a);
    for (number, words) in WAYS.into_iter().enumerate() {
        let visitor = Visitor::new(&scratch, words);
        visitor.come(&pen);
        visitor.resume(&pen);
        visitor.resume(&pen);
        let visits = number as u64 + 1;
        assert_eq!(counts(&pen), (3 * visits, 2 * visits), "{words:?}");
    }
    let answer = s_client_saying(pen.port(), &["-tls1_2", "-reconnect"], "");
    assert_eq!(answer.text.matches("\nReused, TLSv1.2").count(), 5, "{answer:?}");
}

#[test]
fn sessions_are_resumed_by_whichever_thread_takes_the_connection() {
    // Keeps connections open meanwhile, so that each is another thread's.
    const SCRIPT: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
if sys.argv[3] == 'ids':
    context.options |= ssl.OP_NO_TICKET
session, open_ones, reused = None, [], []
for number in range(20):
    plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)
    stream = context.wrap_socket(plain, session=session)
    assert stream.recv(100) == b'goodbye\\n'
    reused.append(stream.session_reused)
    session = stream.session
    open_ones.append(stream)
print(reused.count(True))
";
    let a = Backend::new("a", say_goodbye);
    let pen = pen(&[], &a);
    for (version, way) in [("TLSv1_3", "tickets"), ("TLSv1_2", "tickets"), ("TLSv1_2", "ids")] {
        let answer = python(SCRIPT, &[&pen.port().to_string(), version, way]);
        assert_eq!((answer.success, answer.text.as_str()), (true, "19\n"), "{version} {way}");
    }
}

#[test]
fn sessions_outlive_hup_and_other_commands_and_a_renewed_certificate() {
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let file = scratch.join("pen.conf");
    let (certificates, site) = (certificates(), scratch.join("site.pem"));
    put_secret(&site, certificates.site.pem());
    fs::write(&file, format!("ssl_certificate {}\nblacklist 5\n", site.display())).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&a]).start();
    for words in WAYS {
        let visitor = Visitor::new(&scratch, words);
        visitor.come(&pen);
        let before = pen.stderr_length();
        pen.signal(Signal::HUP);
        crate::harness::wait_until("HUP", || pen.stderr_after(before).contains("read again"));
        visitor.resume(&pen);
        pen.control().tell(&["roundrobin", "no roundrobin"]);
        visitor.resume(&pen);
        for path in [&site, &scratch.join("other.pem")] {
            put_secret(path, certificates.authority.issue(&["pen.test"]).pem());
            pen.control().set(&format!("ssl_certificate {}", path.display()));
            visitor.resume(&pen);
        }
    }
}

#[test]
fn a_client_with_a_certificate_resumes_too_and_only_where_it_was_verified() {
    let certificates = certificates();
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let client = certificates.authority.issue(&["client"]);
    let (cert, key) = (client.cert(), client.key());
    let pen = pen(&["-G", certificates.authority.cert(), "-R"], &a);
    for words in WAYS {
        let visitor = Visitor::new(&scratch, words).with(&["-cert", &cert, "-key", &key]);
        visitor.come(&pen);
        visitor.resume(&pen);
    }
}

#[test]
fn a_session_from_before_ssl_verify_is_no_way_around_it() {
    let certificates = certificates();
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let pen = pen(&["-G", certificates.authority.cert()], &a);
    for words in WAYS {
        let visitor = Visitor::new(&scratch, words);
        visitor.come(&pen);
        pen.control().tell(&["ssl_verify"]);
        let visits = a.visits();
        let answer = visitor.come_again(&pen);
        assert!(!answer.text.contains("goodbye"), "{words:?}: {answer:?}");
        assert_eq!(a.visits(), visits, "{words:?}");
        pen.control().tell(&["no ssl_verify"]);
    }
}

#[test]
fn a_session_of_a_client_that_is_not_trusted_any_more_is_not_resumed() {
    let authority = Authority::new("Of clients");
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let (crl, ca) = (scratch.join("crl.pem"), scratch.join("ca.pem"));
    fs::write(&ca, authority.pem()).unwrap();
    let words = format!("ssl_crl_file {}", crl.display());
    let file = scratch.join("pen.conf");
    fs::write(&file, "blacklist 5\n").unwrap();
    let (ca_text, file_text) = (ca.display().to_string(), file.display().to_string());
    for words_of_way in WAYS {
        let client = authority.issue(&["client"]);
        let (cert, key) = (client.cert(), client.key());
        let visitor = Visitor::new(&scratch, words_of_way).with(&["-cert", &cert, "-key", &key]);
        fs::write(&crl, authority.crl()).unwrap();
        let pen = pen(&["-G", &ca_text, "-R", "-O", &words, "-F", &file_text], &a);
        visitor.come(&pen);
        visitor.resume(&pen);
        authority.revoke(&client);
        fs::write(&crl, authority.crl()).unwrap();
        pen.signal(Signal::HUP);
        pen.wait_for_line("read again");
        let visits = a.visits();
        let answer = visitor.come_again(&pen);
        assert!(!answer.text.contains("goodbye"), "{words_of_way:?}: {answer:?}");
        assert_eq!(a.visits(), visits, "{words_of_way:?}");
    }
}

#[test]
fn a_session_that_pen_does_not_know_begins_anew() {
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let (one, two) = (pen(&[], &a), pen(&[], &a));
    for words in WAYS {
        let visitor = Visitor::new(&scratch, words);
        visitor.come(&one);
        let answer = visitor.come_again(&two);
        assert!(answer.text.contains("goodbye") && answer.text.contains("New, "), "{words:?}: {answer:?}");
    }
    assert_eq!(counts(&two), (3, 0));
}

#[test]
fn early_data_which_could_be_replayed_is_not_accepted() {
    let (a, scratch) = (Backend::new("a", say_goodbye), Scratch::new());
    let pen = pen(&[], &a);
    let visitor = Visitor::new(&scratch, &["-tls1_3"]);
    visitor.come(&pen);
    let early = put_secret(&scratch.join("early"), "early\n");
    let answer = visitor.with(&["-early_data", &early]).come_again(&pen);
    assert!(!answer.text.contains("Early data was accepted"), "{answer:?}");
    assert!(a.visits() < 2 || !a.visit(1).received().contains("early"), "{answer:?}");
}
