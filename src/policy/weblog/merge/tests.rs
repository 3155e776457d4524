//! The logs of several servers become one.

use super::super::stamp;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const TIMES: Times = Times { jitter: 600, ahead: 0, keep: false };

/// Some time in 2026.
const START: i64 = 1_791_640_536;

fn at(time: i64) -> String {
    let mut text = Vec::new();
    stamp::render(START + time, &mut text);
    String::from_utf8(text).unwrap()
}

fn web(time: i64, page: &str, rest: &str) -> String {
    format!("pen - - [{}] \"GET /{page} HTTP/1.1\" {rest}\n", at(time))
}

fn pen(client: &str, time: i64, server: &str, page: &str) -> String {
    let request = format!("GET /{page} HTTP/1.1");
    format!("{client} {} {server} {}\n", START + time, &request[..request.len().min(100)])
}

/// What is written, and what is refused.
fn merged(pen: &[String], files: &[(&str, &[String])], times: Times) -> (String, Vec<Outcome>) {
    let lines = |lines: &[String]| lines.iter().map(|line| line.clone().into_bytes()).collect::<Vec<_>>().into_iter();
    let files = files.iter().map(|(server, file)| (server.to_string(), lines(file)));
    let mut merger = Merger::new(lines(pen), files, times);
    let (mut text, mut outcomes) = (Vec::new(), Vec::new());
    while let Some(outcome) = merger.step(&mut text) {
        outcomes.push(outcome);
    }
    (String::from_utf8(text).unwrap(), outcomes)
}

/// The clients and the ends of the lines that are written.
fn short(pen: &[String], files: &[(&str, &[String])], times: Times) -> Vec<String> {
    let (text, _) = merged(pen, files, times);
    let words = |line: &str| format!("{} {}", line.split(' ').next().unwrap(), line.rsplit(' ').next().unwrap());
    text.lines().map(words).collect()
}

#[test]
fn the_files_are_one_in_utc_with_the_clients_in_it() {
    let zone = |text: String| text.replace("+0000", "+0200");
    let one = [web(0, "a", "200 1 \"-\" \"A \\\"1\\\"\""), web(2, "b", "200 3")];
    let two = [zone(web(7201, "a", "200 2")), zone(web(7204, "stray", "200 4"))];
    let pen =
        [pen("192.0.2.1", 0, "10.0.0.1", "a"), pen("192.0.2.2", 1, "10.0.0.2", "a"), pen("::1", 2, "10.0.0.1", "b")];
    let (text, outcomes) = merged(&pen, &[("10.0.0.1", &one), ("10.0.0.2", &two)], TIMES);
    let expected = [
        one[0].replace("pen", "192.0.2.1"),
        web(1, "a", "200 2").replace("pen", "192.0.2.2"),
        one[1].replace("pen", "::1"),
        web(4, "stray", "200 4").replace("pen", "10.0.0.2"),
    ];
    assert_eq!(text, expected.concat());
    let line = |file, apart| Outcome::Line { file, apart };
    assert_eq!(outcomes, [line(0, Some(0)), line(1, Some(0)), line(0, Some(0)), line(1, None)]);
}

#[test]
fn the_nearest_line_of_pen_counts_and_each_once() {
    let pens: Vec<_> = (1..=9).map(|n| pen(&format!("::{n}"), n * 10, "s", "a")).collect();
    let file: Vec<_> =
        [14, 16, 25, 26, 50, 51, 200].iter().zip(1..).map(|(t, n)| web(*t, "a", &format!("{n}"))).collect();
    let times = Times { jitter: 12, ..TIMES };
    assert_eq!(short(&pens, &[("s", &file)], times), ["::1 1", "::2 2", "::3 3", "s 4", "::5 5", "::6 6", "s 7"]);
    let ahead = Times { ahead: 20, ..times };
    assert_eq!(short(&pens, &[("s", &file)], ahead), ["::3 1", "::4 2", "::5 3", "s 4", "::7 5", "::8 6", "s 7"]);
    // At the same time: in pen's order, and all of a second before those of the next.
    let pens = ["::1", "::2", "::3"].map(|client| pen(client, 5, "s", "a"));
    let file = [5, 5, 6].map(|time| web(time, "a", &time.to_string()));
    assert_eq!(short(&pens, &[("s", &file)], TIMES), ["::1 5", "::2 5", "::3 6"]);
}

#[test]
fn lines_are_sorted_and_equal_times_keep_the_order_of_the_files() {
    let one = [web(9, "", "1"), web(3, "", "2"), web(5, "", "3"), web(5, "", "4"), web(600, "", "5"), web(4, "", "6")];
    let two = [web(5, "", "7"), web(9, "", "8")];
    let ends = |files: &[(&str, &[String])]| -> String {
        short(&[], files, TIMES).iter().map(|line| line.rsplit(' ').next().unwrap().to_string()).collect()
    };
    assert_eq!(ends(&[("a", &one), ("b", &two)]), "26347185");
    assert_eq!(ends(&[("b", &two), ("a", &one)]), "26734815");
    // One that comes later than the jitter follows at once.
    let late = [web(0, "", "1"), web(700, "", "2"), web(1400, "", "3"), web(1, "", "4")];
    assert_eq!(ends(&[("a", &late)]), "1243");
}

#[test]
fn what_cannot_be_read_is_handed_back_and_the_ends_of_lines_do_not_matter() {
    let last = web(0, "b", "2");
    let file = ["garbage\r\n", "\n", "1.1.1.1 \"GET /\" 2\n", &web(0, "a", "1").replace('\n', "\r\n"), last.trim()];
    let file = file.map(String::from);
    let pens = [
        String::from("pen?\n"),
        pen("::1", 0, "s", "a").replace('\n', "\r\n"),
        pen("::2", 0, "s", "b").trim().to_string(),
    ];
    let (text, outcomes) = merged(&pens, &[("s", &file)], TIMES);
    assert_eq!(text, web(0, "a", "1").replace("pen", "::1") + &web(0, "b", "2").replace("pen", "::2"));
    let unreadable: Vec<_> =
        outcomes.into_iter().filter(|outcome| matches!(outcome, Outcome::Unreadable { .. })).collect();
    let line = |file, line: &str| Outcome::Unreadable { file, line: line.into() };
    assert_eq!(unreadable, [line(Some(0), "garbage"), line(Some(0), "1.1.1.1 \"GET /\" 2"), line(None, "pen?")]);
}

#[test]
fn long_requests_match_by_what_pen_keeps_of_them() {
    let pages = ["x".repeat(85), "x".repeat(86), "x".repeat(200)];
    let pens: Vec<_> = pages.iter().zip(1..).map(|(page, n)| pen(&format!("::{n}"), n, "s", page)).collect();
    let file: Vec<_> = pages.iter().zip(1..).map(|(page, n)| web(n, page, &n.to_string())).collect();
    assert_eq!(short(&pens, &[("s", &file)], TIMES), ["::1 1", "::2 2", "::3 3"]);
}

#[test]
fn pen_s_lines_are_forgotten_unless_they_are_to_be_kept() {
    let pens: Vec<_> = (0..100).rev().map(|n| pen("::1", n * 1000, "s", "a")).collect();
    let file: Vec<_> = (0..100).map(|n| web(n * 1000, "a", "1")).collect();
    let clients = |times| short(&pens, &[("s", &file)], times).iter().filter(|line| *line == "::1 1").count();
    assert_eq!((clients(Times { keep: true, ..TIMES }), clients(TIMES)), (100, 1));
    let pens: Vec<_> = (0..100_000).map(|n| pen("::1", n, "s", "a").into_bytes()).collect();
    let file: Vec<_> = (0..100_000).map(|n| web(n, "b", "1").into_bytes()).collect();
    let mut merger = Merger::new(pens.into_iter(), [(String::from("s"), file.into_iter())], TIMES);
    let (mut text, mut most) = (Vec::new(), 0);
    while merger.step(&mut text).is_some() {
        most = most.max(merger.clients.len()).max(merger.order.len());
    }
    assert!(most < 4 * 600, "{most}");
}

proptest! {
    #[test]
    fn the_order_of_the_files_decides_about_equal_times_alone(
        files in vec(vec((0i64..40, 0u8..3), 0..30), 3),
        pens in vec((0i64..40, 0usize..3, 0u8..3), 0..60),
        jitter in 0i64..30,
    ) {
        let pens: Vec<_> = pens.iter().zip(1..)
            .map(|((time, server, page), n)| pen(&format!("::{n:x}"), *time, &format!("10.0.0.{server}"), &page.to_string()))
            .collect();
        let file = |number: usize| -> Vec<_> {
            let lines = files[number].iter().enumerate();
            lines.map(|(n, (time, page))| web(*time, &page.to_string(), &format!("{number}.{n}"))).collect()
        };
        let all: Vec<_> = (0..3).map(|number| (format!("10.0.0.{number}"), file(number))).collect();
        let times = Times { jitter, ..TIMES };
        let run = |order: [usize; 3]| -> Vec<String> {
            let files: Vec<_> = order.iter().map(|n| (all[*n].0.as_str(), &all[*n].1[..])).collect();
            merged(&pens, &files, times).0.lines().map(String::from).collect()
        };
        let (first, last) = (run([0, 1, 2]), run([2, 1, 0]));
        prop_assert_eq!(first.len(), files.iter().map(Vec::len).sum::<usize>());
        let sorted = |lines: &[String]| { let mut lines = lines.to_vec(); lines.sort(); lines };
        prop_assert_eq!(sorted(&first), sorted(&last));
        // No client is in two lines.
        let mut clients: Vec<_> = first.iter().map(|line| line.split(' ').next().unwrap()).filter(|name| name.contains("::")).collect();
        let count = clients.len();
        clients.sort();
        clients.dedup();
        prop_assert_eq!(clients.len(), count);
        if jitter >= 40 {
            let time = |line: &String| line.split(['[', ']']).nth(1).unwrap().to_string();
            prop_assert!(first.is_sorted_by_key(time));
        }
    }
}
