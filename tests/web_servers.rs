//! Headers in HTTP requests, as real servers and clients see them: nginx, Apache and curl.

use std::collections::HashMap;
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::harness::{Client, Launch, Pen, Process, Scratch, free_port, program, skip, wait_until};
use crate::nginx::Nginx;
use crate::request_log::lines;

/// What nginx logs of each request: who it thinks has sent it, and what.
const FORMAT: &str =
    "log_format seen escape=default '$http_x_forwarded_for|$status|$request';\nclient_max_body_size 10m;\n";

/// What nginx has logged.
fn seen(nginx: &Nginx) -> Vec<String> {
    fs::read_to_string(nginx.scratch.join("seen.log")).unwrap().lines().map(String::from).collect()
}

fn pen(options: &[&str], server: &str) -> Pen {
    Launch::ours().control().options(options).servers(&[&server]).start()
}

#[track_caller]
fn curl(arguments: &[&str]) -> Option<Output> {
    let Some(curl) = program("curl") else {
        skip("curl is not installed");
        return None;
    };
    let output =
        Command::new(curl).args(["-sS", "--interface", "127.0.0.2", "--max-time", "20"]).args(arguments).output();
    Some(output.unwrap())
}

fn url(pen: &Pen, path: &str) -> String {
    format!("http://{}{path}", pen.address().as_socket().unwrap())
}

#[test]
fn nginx_knows_the_client_of_each_request_and_curl_its_answers() {
    let Some(nginx) = Nginx::with(
        FORMAT,
        "access_log seen.log seen;\nlocation /big { client_max_body_size 1k; return 200; }\nlocation / { return 200 $http_x_forwarded_for; }\n",
    ) else {
        return;
    };
    for options in [&["-H"][..], &["-H", "-O", "http_strict", "-O", "http_forwarded replace"]] {
        let pen = pen(options, &nginx.operand());
        let (one, two) = (url(&pen, "/1"), url(&pen, "/2"));
        let Some(output) = curl(&[&one, &two, "-d", "a=b", &two, "-X", "DELETE"]) else { return };
        assert_eq!(String::from_utf8_lossy(&output.stdout), "127.0.0.2".repeat(3), "{output:?}");
        let scratch = Scratch::new();
        let body = scratch.join("body");
        fs::write(&body, vec![b'x'; 5 << 20]).unwrap();
        let body = body.display().to_string();
        for arguments in [
            &["-T", &body, "-H", "Expect: 100-continue", &one][..],
            &["-T", &body, "-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", &one],
            &["-T", &body, "-H", "Expect: 100-continue", &url(&pen, "/big"), "-w", "%{http_code}", "-o", "/dev/null"],
        ] {
            let start = Instant::now();
            let output = curl(arguments).unwrap();
            assert!(start.elapsed() < Duration::from_millis(900), "curl has waited for a second: {arguments:?}");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text == "127.0.0.2" || text.contains("413"), "{arguments:?}: {output:?}");
        }
    }
    wait_until("nginx to log", || seen(&nginx).len() == 12);
    assert!(seen(&nginx).iter().all(|line| line.starts_with("127.0.0.2|")), "{:?}", seen(&nginx));
}

/// Makes numbers without a pattern, the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// One of the list, and seldom one of the others.
    fn mostly<'a>(&mut self, list: &[&'a str], others: &[&'a str]) -> &'a str {
        if self.below(12) == 0 { self.of(others) } else { self.of(list) }
    }
}

const FORGED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n";

/// A request that is odd in one way, or in some, or in none; with a body that looks like another one.
fn odd_request(dice: &mut Dice, number: usize) -> String {
    let end =
        |dice: &mut Dice| dice.mostly(&["\r\n"], &["\n", "\r\r\n", "\r", "\n\r", "\u{b}\r\n", "\0\r\n"]).to_string();
    let method =
        dice.mostly(&["GET", "POST", "PUT", "HEAD", "BREW"], &["get", " GET", "\r\nGET", "\rGET", "G\0T", "POST\t"]);
    let blank = dice.mostly(&[" "], &["  ", "\t", "\u{c}"]);
    let version =
        dice.mostly(&["HTTP/1.1"], &["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", ""]);
    let mut text = format!("{method}{blank}/{number}{blank}{version}{}Host: x{}", end(dice), end(dice));
    let chunks = format!("{:x}\r\n{FORGED}\r\n0\r\n\r\n", FORGED.len());
    let length = dice.of(&["0", "5", "99999", ""]).to_string();
    let length = if length.is_empty() { FORGED.len().to_string() } else { length };
    let odd_length =
        dice.mostly(&[&length], &["+5", "-5", " 5", "5 ", "5,5", "0x5", "5\0", "5;", "5\t6", "1e1", "٥"]).to_string();
    let lengths = dice.mostly(
        &["Content-Length: ", ""],
        &[
            "content-length:",
            "Content-Length : ",
            "Content-Length\0: ",
            " Content-Length: ",
            "X: y\r\n Content-Length: ",
            "Content_Length: ",
            "Content-Length:\r\n ",
            "X:y\nContent-Length: ",
            "X:y\rContent-Length: ",
        ],
    );
    let encoding = dice.mostly(
        &["", "", "chunked", "Chunked"],
        &[
            "xchunked",
            "chunked, chunked",
            "gzip, chunked",
            "chunked;x",
            "\u{b}chunked",
            "chunked\0",
            "identity",
            "\"chunked\"",
            "chunked\r\n ,x",
            "chu\r\n nked",
            "ſhunked",
            "chunked,",
            ", chunked",
        ],
    );
    let encodings = dice.mostly(
        &["Transfer-Encoding: "],
        &[
            "transfer-encoding:",
            "Transfer-Encoding : ",
            "Transfer-Encoding\t:",
            " Transfer-Encoding: ",
            "Transfer_Encoding: ",
            "Transfer-Encoding:\u{c}",
            "X: y\rTransfer-Encoding: ",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: ",
        ],
    );
    if !lengths.is_empty() && (encoding.is_empty() || dice.below(8) == 0) {
        text += &format!("{lengths}{odd_length}{}", end(dice));
        if dice.below(20) == 0 {
            text += &format!("Content-Length: {length}\r\n");
        }
    }
    if !encoding.is_empty() {
        text += &format!("{encodings}{encoding}{}", end(dice));
    }
    text += dice.mostly(
        &["", "X-Other: 1\r\n"],
        &[
            "Expect: 100-continue\r\n",
            "no colon\r\n",
            ": y\r\n",
            "X\r\n",
            "X: \u{7f}\r\n",
            "Upgrade: h2c\r\n",
            "Connection: X-Forwarded-For\r\n",
            "X_Forwarded_For: 198.51.100.9\r\n",
            "X-Forwarded-For:\r\n 198.51.100.9\r\n",
        ],
    );
    text += &end(dice);
    let odd_chunks = [
        format!("{:x} \r\n{FORGED}\r\n0\r\n\r\n", FORGED.len()),
        format!("{:x}\n{FORGED}\n0\n\n", FORGED.len()),
        format!("0{:x};a=\"\r\n\"\r\n{FORGED}\r\n0\r\n\r\n", FORGED.len()),
        format!("0x{:x}\r\n{FORGED}\r\n0\r\n\r\n", FORGED.len()),
        format!("1000000000000000{:x}\r\n{FORGED}\r\n0\r\n\r\n", FORGED.len()),
        format!("5\r\nabcdeX\r\n{FORGED}0\r\n\r\n"),
        format!("0\r\nTransfer-Encoding: chunked\r\n\r\n{FORGED}"),
        format!("0\r\n\n{FORGED}"),
        String::from("0\r\n\r\n"),
    ];
    text + &match (encoding.is_empty(), dice.below(4)) {
        (false, 0) => odd_chunks[dice.below(odd_chunks.len())].clone(),
        (false, _) => chunks,
        (true, 0) => chunks,
        (true, 1) => String::from("hello"),
        (true, _) => FORGED.to_string(),
    }
}

#[test]
fn nginx_sees_no_request_behind_strict_that_pen_did_not_count() {
    let Some(nginx) = Nginx::with(FORMAT, "access_log seen.log seen;\nlocation / { return 200; }\n") else { return };
    let log = nginx.scratch.join("pen.log");
    let strict = ["-H", "-O", "http_strict", "-O", "http_forwarded replace", "-l", &log.display().to_string()];
    let mut pen = pen(&strict, &nginx.operand());
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    for number in 0..2000 {
        let client = Client::from("127.0.0.2", &pen);
        let streams: String = (0..=dice.below(3)).map(|_| odd_request(&mut dice, number)).collect();
        // It may be refused before it has sent all.
        let _ = client.try_send(&streams);
        let _ = client.try_send("GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.finish_if_it_can();
        client.rest();
    }
    let counts = pen.control().say("requests");
    let count = |word: &str| -> usize {
        let line = counts.lines().find_map(|line| line.strip_prefix(&format!("{word}: "))).unwrap();
        line.parse().unwrap()
    };
    // Its log is whole then.
    pen.terminate();
    let all = seen(&nginx);
    let mut known: HashMap<String, usize> = HashMap::new();
    for line in lines(&log) {
        *known.entry(line.splitn(3, ' ').last().unwrap().to_string()).or_default() += 1;
    }
    for line in &all {
        let (client, rest) = line.split_once('|').unwrap();
        let (status, request) = rest.split_once('|').unwrap();
        // Of a request line that it does not take nginx reads no further.
        assert!(client == "127.0.0.2" || (client == "-" && status == "400"), "{line}");
        let left = known.get_mut(request).unwrap_or_else(|| panic!("pen does not know {line}"));
        *left = left.checked_sub(1).unwrap_or_else(|| panic!("pen has counted less than {line}"));
    }
    assert!(all.len() <= count("decorated"), "{} seen, {counts}", all.len());
    assert_eq!(count("unchanged"), 0);
    // Both happen often, or the test shows nothing.
    assert!(all.len() > 500 && count("refused") > 500, "{} seen, {counts}", all.len());
    let smuggled = all.iter().filter(|line| line.contains("/smuggled")).count();
    assert!(smuggled > 50, "as requests of their own they are seen: {smuggled}");
}

/// An Apache of our own whose pages are what `X-Forwarded-For` says.
fn apache() -> Option<(Process, Scratch, u16)> {
    let Some(apache) = program("apache2") else {
        skip("apache2 is not installed");
        return None;
    };
    let (scratch, port) = (Scratch::new(), free_port());
    let folder = scratch.path().display();
    let modules: String = [("mpm_event", "mod_mpm_event"), ("authz_core", "mod_authz_core"), ("alias", "mod_alias")]
        .map(|(name, file)| format!("LoadModule {name}_module /usr/lib/apache2/modules/{file}.so\n"))
        .concat();
    let settings = format!(
        "{modules}ServerRoot {folder}\nServerName localhost\nPidFile {folder}/pid\nDefaultRuntimeDir {folder}\n\
         Listen 127.0.0.1:{port}\nErrorLog {folder}/error.log\nDocumentRoot {folder}\nUser #{uid}\nGroup #{gid}\n\
         LogFormat \"%{{X-Forwarded-For}}i|%>s|%r\" seen\nCustomLog {folder}/seen.log seen\n\
         StartServers 1\nThreadsPerChild 8\nMinSpareThreads 1\nMaxSpareThreads 8\nMaxRequestWorkers 8\nServerLimit 1\n\
         Redirect 404 /\n",
        uid = 65534,
        gid = 65534,
    );
    fs::write(scratch.join("apache.conf"), settings).unwrap();
    let mut command = Command::new(apache);
    command.args(["-X", "-f"]).arg(scratch.join("apache.conf"));
    let process = Process::start(command);
    wait_until("Apache to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((process, scratch, port))
}

#[test]
fn apache_knows_the_client_of_each_request() {
    let Some((_process, scratch, port)) = apache() else { return };
    let pen = pen(&["-H", "-O", "http_forwarded append"], &format!("127.0.0.1:{port}"));
    let forged = "X-Forwarded-For: 198.51.100.9";
    let Some(_) =
        curl(&[&url(&pen, "/1"), &url(&pen, "/2"), "-o", "/dev/null", "-o", "/dev/null", "-H", forged, "-d", "x"])
    else {
        return;
    };
    let expected = ["/1", "/2"].map(|path| format!("198.51.100.9, 127.0.0.2|404|POST {path} HTTP/1.1"));
    wait_until("Apache to log", || {
        fs::read_to_string(scratch.join("seen.log"))
            .unwrap()
            .lines()
            .filter(|line| line.contains("POST"))
            .eq(expected.clone())
    });
}
