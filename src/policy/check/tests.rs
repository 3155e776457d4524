//! Whole checks, from the text of their kind to what is found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::exchange::{Exchange, Next, Phase};
use super::finding::{Finding, Outcome};
use super::kind::Kind;
use super::roster::{Begin, Pace, Roster, Service};
use super::tally::State;

const TIMEOUT: Duration = Duration::from_secs(3);

/// What a service does when it is asked.
enum Does<'a> {
    Says(&'a [u8]),
    Ends,
    Waits,
}

/// What a check of that kind finds at a service that does this, of which at most `cut` bytes come at a time; and what it has sent.
fn checked(kind: &str, acts: &[Does<'_>], cut: usize) -> (String, String) {
    let kind = Kind::parse(kind).unwrap();
    let now = Instant::now();
    let mut exchange = Exchange::begin(TIMEOUT, 7, now);
    let mut next = exchange.connected(&kind, now);
    let mut sent = Vec::new();
    let mut acts = acts.iter();
    let outcome = loop {
        next = match next {
            Next::Done(outcome) => break outcome,
            Next::Go(Phase::Handshake) => exchange.secured(&kind, now),
            Next::Go(Phase::Query) => {
                exchange.query(&kind, "www:80", &mut sent);
                exchange.sent(&kind)
            }
            Next::Go(_) => match acts.next() {
                Some(Does::Says(bytes)) => {
                    let mut next = Next::Go(Phase::Receive);
                    for piece in bytes.chunks(cut) {
                        if next == Next::Go(Phase::Receive) {
                            next = exchange.received(&kind, piece);
                        }
                    }
                    next
                }
                Some(Does::Ends) => Next::Done(exchange.ended(&kind)),
                Some(Does::Waits) | None => Next::Done(exchange.timed_out(&kind)),
            },
        };
    };
    let state = if outcome.succeeded { "up: " } else { "down: " };
    (format!("{state}{}", outcome.reason(&kind)), String::from_utf8_lossy(&sent).into_owned())
}

/// The same however the answer is cut.
#[track_caller]
fn found(kind: &str, acts: &[Does<'_>]) -> String {
    let whole = checked(kind, acts, usize::MAX).0;
    for cut in [1, 2, 7, 1000] {
        assert_eq!(checked(kind, acts, cut).0, whole, "{kind}, in pieces of {cut}");
    }
    whole
}

fn answered(kind: &str, answer: &str) -> String {
    found(kind, &[Does::Says(answer.as_bytes()), Does::Ends])
}

#[test]
fn a_kind_is_read_and_written_alike() {
    for text in [
        "tcp",
        "banner",
        "banner \"220 \"",
        "http",
        "http /health?a=b status 204 host www.example body \"all is well\"",
        "http http://www.example/ status 200-299",
        "expect \"\" 220 \"QUIT\\r\\n\" 221",
        "udp PING",
        "udp \"\\x1b\\0\" \"\"",
        "udp \"0x1b\" a",
        "dns www.example.",
        "exec /bin/check -a \"b c\" \"\"",
        "file /run/up",
        "file \"/run/a b\" absent",
    ] {
        let kind = Kind::parse(text).unwrap();
        assert_eq!(kind.to_string(), text);
        assert_eq!(Kind::parse(&kind.to_string()).unwrap(), kind);
    }
    assert_eq!(Kind::parse("udp 0x1b00").unwrap().to_string(), "udp \"\\x1b\\0\"");
}

#[test]
fn a_wrong_kind_is_an_error_that_names_the_word() {
    for (text, error) in [
        ("", "the kind of the check is missing"),
        ("ping", "unknown check \"ping\"; there are: banner, dns, exec, expect, file, http, https, tcp, tls, udp"),
        ("tcp 80", "tcp: nothing is expected from \"80\" on"),
        ("banner a b", "banner: nothing is expected from \"b\" on"),
        (
            "http health",
            "http: \"health\" is neither a path (/...), nor a URL (http://...), nor one of: status, host, body",
        ),
        (
            "http https://a/",
            "http: \"https://a/\" is neither a path (/...), nor a URL (http://...), nor one of: status, host, body",
        ),
        ("http /a /b", "http: there is a path or URL already: \"/a\""),
        ("http \"/a b\"", "http: \"/a b\" cannot be a URL"),
        ("http host \"a\\r\\nX: y\"", "http: \"a\\r\\nX: y\" cannot be the name of a host"),
        ("http status 20", "http: status: \"20\" is neither a status of three digits nor a range such as 200-399"),
        (
            "http status 300-200",
            "http: status: \"300-200\" is neither a status of three digits nor a range such as 200-399",
        ),
        ("http status", "http: a status is missing"),
        ("expect", "expect: what to send is missing"),
        ("expect a", "expect: what to expect is missing"),
        ("dns a..b", "dns: \"a..b\" is not the name of a host"),
        ("exec check", "exec: \"check\" is not the full path of a program"),
        ("file up", "file: \"up\" is not the full path of a file"),
        ("file /up missing", "file: missing is not \"absent\""),
        ("banner \"a", "banner: a closing quote is missing"),
    ] {
        assert_eq!(Kind::parse(text).unwrap_err(), error, "{text}");
    }
    let long = format!("expect{}", " a b".repeat(101));
    assert_eq!(Kind::parse(&long).unwrap_err(), "expect: there can be 100 steps at most");
    if !cfg!(feature = "tls") {
        for kind in ["tls", "https"] {
            let error = Kind::parse(kind).unwrap_err();
            assert_eq!(error, format!("{kind}: this program was built without TLS (feature tls)"));
        }
    }
}

#[test]
fn the_name_of_a_host_has_parts_that_fit() {
    let long = [&"a".repeat(64), &"a.".repeat(130)[..]];
    for name in ["a", "a.b.", ".", "_sip._tcp.example"] {
        assert!(Kind::parse(&format!("dns {name}")).is_ok(), "{name}");
    }
    for name in ["a..b", ".a", "\"a b\"", "\"\"", long[0], long[1]] {
        assert!(Kind::parse(&format!("dns {name}")).is_err(), "{name}");
    }
}

#[test]
fn a_greeting_is_compared_with_its_beginning() {
    let greeted = |kind: &str, says: &str| checked(kind, &[Does::Says(says.as_bytes()), Does::Ends], usize::MAX).0;
    assert_eq!(greeted("banner", "220 mail ESMTP\r\n"), "up: banner \"220 mail ESMTP\"");
    assert_eq!(greeted("banner 220", "220 mail ESMTP\r\n"), "up: banner \"220 mail ESMTP\"");
    assert_eq!(greeted("banner 220", "554 go away\r\n"), "down: banner \"554 go away\" instead of \"220\"");
    assert_eq!(greeted("banner 220", "22"), "down: banner \"22\" instead of \"220\"");
    for cut in [1, 2, 3] {
        assert_eq!(checked("banner 220", &[Does::Says(b"220"), Does::Ends], cut).0, "up: banner \"220\"");
    }
    assert_eq!(found("banner", &[Does::Ends]), "down: closed before an answer");
    assert_eq!(found("banner", &[Does::Waits]), "down: the answer timed out after 3 s");
}

#[test]
fn requests_are_what_servers_of_both_versions_take() {
    let sent = |kind: &str| checked(kind, &[], 1).1;
    let tail = "\r\nUser-Agent: pen-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    assert_eq!(sent("http"), format!("GET / HTTP/1.1\r\nHost: www:80{tail}"));
    assert_eq!(sent("http /a?b host c"), format!("GET /a?b HTTP/1.1\r\nHost: c{tail}"));
    assert_eq!(sent("http http://c:81?b#d"), format!("GET /?b HTTP/1.1\r\nHost: c:81{tail}"));
    assert_eq!(sent("http http://c/b host d"), format!("GET /b HTTP/1.1\r\nHost: d{tail}"));
    assert_eq!(sent("http http://c"), format!("GET / HTTP/1.1\r\nHost: c{tail}"));
    assert_eq!(sent("http /a://b"), format!("GET /a://b HTTP/1.1\r\nHost: www:80{tail}"));
}

#[test]
fn answers_of_both_versions_are_understood_however_they_are_cut() {
    assert_eq!(answered("http", "HTTP/1.0 200 OK\n\n"), "up: 200 OK");
    assert_eq!(
        answered("http", "HTTP/1.1 302 Moved Temporarily\r\nLocation: /a\r\n\r\nbody"),
        "up: 302 Moved Temporarily"
    );
    assert_eq!(answered("http", "HTTP/1.1 204\r\n\r\n"), "up: 204");
    assert_eq!(answered("http", "HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 Fine\r\n\r\n"), "up: 200 Fine");
    assert_eq!(answered("http status 101", "HTTP/1.1 101 Switching\r\n\r\n"), "up: 101 Switching");
    assert_eq!(answered("http", "HTTP/2 200 \r\n\r\n"), "up: 200");
    assert_eq!(answered("http", &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000))), "up: 200 OK");
}

#[test]
fn what_is_wrong_with_an_answer_is_told() {
    assert_eq!(answered("http", "HTTP/1.1 503 Service Unavailable\r\n"), "down: 503 Service Unavailable");
    assert_eq!(answered("http status 200", "HTTP/1.1 204 No Content\r\n\r\n"), "down: 204 No Content");
    assert_eq!(answered("http", ""), "down: closed before an answer");
    assert_eq!(answered("http", "HTTP/1.1 200 OK\r\nA: b\r\n"), "down: closed within the head of the answer");
    assert_eq!(answered("http", "HTTP/1.1 200"), "down: not HTTP: HTTP/1.1 200");
    for wrong in
        ["HTTP/1.1 2000 OK\r\n", "HTTP/x 200 OK\r\n", "HTTP/1.1 99 x\r\n", "HTTP/1.1.1 200 OK\r\n", "HTTP/. 200\r\n"]
    {
        assert!(answered("http", wrong).starts_with("down: not HTTP: "), "{wrong}");
    }
    assert_eq!(checked("http", &[Does::Says(b"SSH-2.0-x\r\n")], 99).0, "down: not HTTP: SSH-2.0-x");
    assert_eq!(
        found("http", &[Does::Says(b"HTTP/1.1 200 OK\r\n"), Does::Waits]),
        "down: the answer timed out after 3 s"
    );
}

#[test]
fn a_text_is_found_in_a_body_however_its_length_is_told() {
    let text = "http body \"all well\"";
    let missing = "down: the body does not contain \"all well\"";
    assert_eq!(answered(text, "HTTP/1.0 200 OK\r\n\r\nall all well"), "up: 200 OK");
    assert_eq!(answered(text, "HTTP/1.0 200 OK\r\n\r\nall all wel"), missing);
    assert_eq!(answered(text, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well"), "up: 200 OK");
    assert_eq!(found(text, &[Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall welt")]), missing);
    assert_eq!(found(text, &[Does::Says(b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n")]), missing);
    assert_eq!(found(text, &[Does::Says(b"HTTP/1.1 204 No\r\n\r\n")]), missing);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";
    assert_eq!(answered(text, &format!("{chunked}5;a=b\r\nall w\r\n3\r\nell\r\n0\r\n\r\n")), "up: 200 OK");
    assert_eq!(found(text, &[Does::Says(format!("{chunked}4\r\nall \r\n4\r\nwelt\r\n0\r\n\r\n").as_bytes())]), missing);
    assert_eq!(answered(text, &format!("{chunked}all well\r\n")), "down: a chunk of the body has no length");
    assert_eq!(answered(text, &format!("{chunked}1\r\nall\r\n")), "down: a chunk of the body is longer than it says");
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 100008\r\n\r\n{}all well", "al".repeat(50_000));
    assert_eq!(answered(text, &long), "up: 200 OK");
}

#[test]
fn any_number_of_steps_is_gone_through() {
    let smtp = "expect \"\" 220 \"EHLO a\\r\\n\" \"250 \" \"QUIT\\r\\n\" 221";
    let says = |text: &'static str| Does::Says(text.as_bytes());
    let all = [says("220 mail 221\r\n"), says("250-mail\r\n250 HELP\r\n"), says("221 bye\r\n")];
    let (outcome, sent) = checked(smtp, &all, usize::MAX);
    assert_eq!((outcome.as_str(), sent.as_str()), ("up: answers as expected", "EHLO a\r\nQUIT\r\n"));
    assert_eq!(found(smtp, &[says("554 no\r\n"), Does::Ends]), "down: answer \"554 no\" instead of \"220\"");
    assert_eq!(
        found(smtp, &[says("220 mail\r\n"), says("500 what\r\n"), Does::Waits]),
        "down: answer \"500 what\" instead of \"250 \", timed out after 3 s"
    );
    assert_eq!(found(smtp, &[Does::Ends]), "down: closed before an answer");
    assert_eq!(found(smtp, &[Does::Waits]), "down: the answer timed out after 3 s");
    assert_eq!(
        found("expect \"\" a \"\" b \"\" \"\" \"\" c", &[says("a"), says("b"), says("c")]),
        "up: answers as expected"
    );
    assert_eq!(
        found("expect \"\" a \"\" b \"\" c", &[says("cabad"), Does::Ends]),
        "down: answer \"ad\" instead of \"c\""
    );
}

#[test]
fn a_datagram_is_answered_or_at_least_not_refused() {
    let says = |text: &'static str| Does::Says(text.as_bytes());
    assert_eq!(found("udp a", &[Does::Waits]), "up: not refused");
    assert_eq!(checked("udp a", &[says("x")], 9).0, "up: answered");
    assert_eq!(checked("udp a \"\"", &[says("x")], 9).0, "up: answered");
    assert_eq!(found("udp a \"\"", &[Does::Waits]), "down: the answer timed out after 3 s");
    assert_eq!(checked("udp a b", &[says("x"), says("abc")], 9).0, "up: answered");
    assert_eq!(
        checked("udp a b", &[says("x"), Does::Waits], 9).0,
        "down: answer \"x\" instead of \"b\", timed out after 3 s"
    );
}

fn service(name: &str, address: &str, kind: &str, seconds: u64) -> Service<()> {
    let pace = Pace { interval: Duration::from_secs(seconds), ..Pace::default() };
    let kind = Arc::new(Kind::parse(kind).unwrap());
    Service { name: name.into(), address: address.into(), kind, pace, target: () }
}

const UP: Outcome = Outcome { succeeded: true, finding: Finding::Words("connected") };
const DOWN: Outcome = Outcome { succeeded: false, finding: Finding::Words("connection refused") };

#[test]
fn checks_are_spread_over_the_interval_and_never_two_of_one_service() {
    let start = Instant::now();
    let mut roster = Roster::default();
    let services = (0..10).map(|number| service(&number.to_string(), "a:1", "tcp", 10)).collect();
    roster.replace(services, State::Unknown, Begin::Spread, start);
    for second in 0..10 {
        assert_eq!(roster.next(), Some(start + Duration::from_secs(second)));
        let now = roster.next().unwrap();
        assert_eq!(roster.begin(now), Some(second as usize));
        assert_eq!(roster.begin(now), None);
        if second != 3 {
            roster.finish(second as usize, UP, now);
        }
    }
    // Number 3 takes longer than two intervals: it is not begun again, and its time stays.
    let mut begun = Vec::new();
    for second in 10..25 {
        let now = start + Duration::from_secs(second);
        while let Some(place) = roster.begin(now) {
            begun.push(place);
            roster.finish(place, UP, now);
        }
    }
    assert_eq!(begun, [0, 1, 2, 4, 5, 6, 7, 8, 9, 0, 1, 2, 4]);
    roster.finish(3, DOWN, start + Duration::from_secs(24));
    while let Some(place) = roster.begin(start + Duration::from_secs(33)) {
        if place == 3 {
            break;
        }
        roster.finish(place, UP, start + Duration::from_secs(33));
    }
    assert_eq!(roster.watched()[3].tally.state(), State::Down);
}

#[test]
fn services_whose_first_checks_come_at_once_are_spread_over_the_interval_later() {
    // haproxy and keepalived of old checked all their servers in the same millisecond.
    let now = Instant::now();
    let mut roster = Roster::default();
    let services = (0..10).map(|number| service(&format!("s{number}"), "x:1", "tcp", 10)).collect();
    roster.replace(services, State::Up, Begin::AtOnce, now);
    let mut begun_by = |second: u64| {
        let now = now + Duration::from_secs(second);
        let begun: Vec<_> = std::iter::from_fn(|| roster.begin(now)).collect();
        for place in &begun {
            roster.finish(*place, UP, now);
        }
        begun.len()
    };
    assert_eq!(begun_by(0), 10);
    assert_eq!((1..=30).map(begun_by).collect::<Vec<_>>(), [1; 30]);
}

#[test]
fn services_that_stay_keep_their_state_and_their_checks() {
    let now = Instant::now();
    let mut roster = Roster::default();
    let services = vec![service("a", "a:1", "tcp", 10), service("b", "b:1", "tcp", 10), service("c", "c:1", "tcp", 10)];
    roster.replace(services, State::Unknown, Begin::AtOnce, now);
    assert_eq!([0; 3].map(|_| roster.begin(now)), [Some(0), Some(1), Some(2)]);
    roster.finish(0, DOWN, now);
    // "a" stays, "b" and "c" are under way: "b" is asked something else, "c" comes first.
    let services = vec![
        service("c", "c:1", "tcp", 5),
        service("a", "a:1", "banner", 10),
        service("b", "b:1", "banner", 10),
        service("d", "a:1", "tcp", 10),
    ];
    assert_eq!(roster.replace(services, State::Unknown, Begin::AtOnce, now), [None, None, Some(0)]);
    let states: Vec<_> = roster.watched().iter().map(|watched| watched.tally.state()).collect();
    assert_eq!(states, [State::Unknown, State::Down, State::Unknown, State::Unknown]);
    let mut begun = [0; 3].map(|_| roster.begin(now));
    begun.sort();
    assert_eq!(begun, [None, Some(2), Some(3)]);
    // Another address is another service.
    roster.replace(vec![service("a", "a:2", "tcp", 10)], State::Up, Begin::Spread, now);
    assert_eq!(roster.watched()[0].tally.state(), State::Up);
    assert!(roster.find("a") == Some(0) && roster.find("c").is_none());
}

proptest! {
    #[test]
    fn no_answer_is_judged_differently_because_it_was_cut(
        answer in prop::collection::vec(prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\n", "HTTP/1.0 ", "404", "\r\n", "\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
            "5\r\n", "abcde", "0\r\n", "a", ":", " ", "\0", "100 x\r\n",
        ]), 0..12),
        cut in 1..9usize,
    ) {
        let answer = answer.concat();
        let acts = [Does::Says(answer.as_bytes()), Does::Ends];
        // A line that is no status line is judged as early as possible, so that its excerpt depends on the pieces.
        let judged = |cut| checked("http body bcd", &acts, cut).0.split("not HTTP").next().map(String::from);
        prop_assert_eq!(judged(cut), judged(usize::MAX));
    }
}
