//! Configuration files: at start, at HUP, with `include`, and as `write` makes them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{
    Backend, Client, Launch, Pen, Program, Scratch, free_port, is_free, is_root, run, skip, visit, wait_until,
};

/// A folder with a configuration file in it.
struct Files {
    scratch: Scratch,
    path: String,
}

impl Files {
    fn new(text: &str) -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("pen.conf").display().to_string();
        let files = Self { scratch, path };
        files.rewrite(text);
        files
    }

    fn rewrite(&self, text: &str) {
        self.add("pen.conf", text);
    }

    fn add(&self, name: &str, text: &str) -> String {
        let path = self.scratch.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn launch(&self) -> Launch {
        Launch::ours().control().options(&["-F", &self.path])
    }
}

/// Makes pen read its file again, and waits until it has told how that went.
#[track_caller]
fn reload(pen: &Pen, expected: &str) {
    let before = pen.stderr().matches(expected).count();
    pen.signal(Signal::HUP);
    wait_until(&format!("{expected:?} after HUP"), || pen.stderr().matches(expected).count() > before);
}

/// The configuration in a file, without the heading.
fn body(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_file_has_commands_comments_and_blank_lines() {
    let backend = Backend::named("a");
    let port = backend.port();
    let files = Files::new(&format!(
        "# a comment\n\n \t \nblacklist 7\n\t timeout 5  \r\n   # another\nserver 0 address 127.0.0.1\tport  {port}\nstubborn"
    ));
    let pen = files.launch().start();
    let control = pen.control();
    assert_eq!((control.say("blacklist").as_str(), control.say("timeout").as_str()), ("7\n", "5\n"));
    assert_eq!(control.say("mode"), "no hash no roundrobin stubborn no weight no prio\n");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn every_bad_line_is_told_with_its_place_and_nothing_is_started() {
    let port = free_port();
    let files = Files::new("");
    let inner = files.add("inner.conf", "hash\nfrob 1\n");
    for (text, places) in [
        ("hash\ntimeout x\n# fine\nfrob\nserver 0 acl 10\n", &["pen.conf:2: ", "pen.conf:4: ", "pen.conf:5: "][..]),
        (&format!("hash\ninclude {inner}\n"), &["inner.conf:2: "]),
        ("hash\ninclude /no/such/file\n", &["pen.conf:2: "]),
        ("server 0 address no-such-host.invalid port 80\n", &["pen.conf:1: "]),
        ("hash\nlisten 127.0.0.1:99999\n", &["pen.conf:2: "]),
    ] {
        files.rewrite(text);
        for check in [&["--check"][..], &[]] {
            let port_text = port.to_string();
            let arguments = [&["-f", "-F", &files.path], check, &[&port_text, "127.0.0.1:9"]].concat();
            let (status, pen) = run(&arguments);
            assert_eq!(status.code(), Some(1), "{text:?}");
            assert_eq!(pen.stdout(), "");
            let stderr = pen.stderr();
            assert_eq!(stderr.lines().count(), places.len(), "{stderr}");
            for (line, place) in stderr.lines().zip(places) {
                assert!(line.contains(place), "{place} is not in {line}");
            }
        }
        assert!(is_free(([127, 0, 0, 1], port).into()));
    }
}

#[test]
fn a_file_that_does_not_exist_is_told_and_write_creates_it() {
    let backend = Backend::named("a");
    let files = Files::new("");
    fs::remove_file(&files.path).unwrap();
    let pen = files.launch().servers(&[&backend]).start();
    pen.wait_for_line(&format!("Can't read config file '{}'", files.path));
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.control().tell(&["write"]);
    assert!(body(Path::new(&files.path)).contains(&format!("port {} max 0", backend.port())));
}

#[test]
fn a_port_is_a_full_command_line_when_the_file_has_the_servers() {
    let backend = Backend::named("a");
    let files = Files::new(&format!("server 0 address 127.0.0.1 port {}\n", backend.port()));
    let port = free_port();
    let pen = files.launch().listener(port).start();
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn listen_in_the_file_is_enough() {
    let backend = Backend::named("a");
    let listener = format!("127.0.0.1:{}", free_port());
    let files = Files::new(&format!("listen {listener}\nserver 0 address 127.0.0.1 port {}\n", backend.port()));
    let pen = files.launch().listens_tacitly(&listener).start();
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(pen.control().say("listen"), format!("{listener}\n"));
}

#[test]
fn the_file_wins_at_start_and_at_hup() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let files = Files::new(&format!("blacklist 7\nserver 0 port {}\n", b.port()));
    let pen = files.launch().options(&["-b", "9", "-O", "blacklist 11", "-t", "4"]).servers(&[&a]).start();
    let control = pen.control();
    for _ in 0..2 {
        assert_eq!((control.say("blacklist").as_str(), control.say("timeout").as_str()), ("7\n", "4\n"));
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
        control.tell(&[&format!("server 0 port {}", a.port())]);
        assert_eq!(control.say("blacklist 13"), "13\n");
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
        reload(&pen, "read again");
    }
}

#[test]
fn files_include_files_and_neither_loops_nor_gaps_are_accepted() {
    let backend = Backend::named("a");
    let files = Files::new("");
    let inner = files.add("inner.conf", "blacklist 8\n");
    let middle = files.add("middle.conf", &format!("timeout 4\ninclude {inner}\ntracking 9\n"));
    files.rewrite(&format!("blacklist 7\ninclude {middle}\n"));
    let pen = files.launch().servers(&[&backend]).start();
    let control = pen.control();
    let values = || ["blacklist", "timeout", "tracking"].map(|word| control.say(word).trim().to_string());
    assert_eq!(values(), ["8", "4", "9"]);

    let itself =
        files.add("loop.conf", &format!("blacklist 99\ninclude {}\n", files.scratch.join("loop.conf").display()));
    let gap = files.add("gap.conf", "blacklist 99\ninclude /no/such/file\ntimeout 99\n");
    let bad = files.add("bad.conf", "blacklist 99\ntimeout x\nfrob\n");
    for (file, words) in [(&itself, "deep"), (&gap, "/no/such/file"), (&bad, "bad.conf:2: timeout")] {
        let answer = control.say(&format!("include {file}"));
        assert!(answer.contains(words), "{answer}");
        assert_eq!(values(), ["8", "4", "9"]);
    }
    assert!(control.say(&format!("include {bad}")).contains("bad.conf:3: "));
    files.add("inner.conf", "blacklist 10\nacl 1 permit 127.0.0.1\n");
    assert_eq!(control.say(&format!("include {middle}")), "");
    assert_eq!(values(), ["10", "4", "9"]);
}

#[test]
fn what_one_load_reads_has_a_bound_in_lines_and_in_bytes() {
    let backend = Backend::named("a");
    let files = Files::new("blacklist 7\n");
    let names: Vec<_> =
        (0..6).map(|number| files.scratch.join(&format!("{number}.conf")).display().to_string()).collect();
    let include = |name: &String, times: usize| format!("include {name}\n").repeat(times);
    // 40 times 40 times 40 times 40 times 40 times 2 lines, in six small files.
    for (number, pair) in names.windows(2).enumerate() {
        files.add(&format!("{number}.conf"), &include(&pair[1], 40));
    }
    files.add("5.conf", "blacklist 99\nacl 1 permit 192.0.2.1\n");
    let long = files.add("long.conf", &format!("# {}\n", "x".repeat(3_000_000)));
    let many = files.add("many.conf", &format!("blacklist 99\n{}", include(&long, 9)));
    let replies = files.add("replies.conf", &"help\n".repeat(75_000));
    let copies = (0..9).map(|number| format!("write {}\n", files.scratch.join(&format!("copy{number}")).display()));
    let copies = files.add("copies.conf", &copies.collect::<String>());
    let pen = files.launch().servers(&[&backend]).start();
    let control = pen.control();
    for (file, place, why) in [
        (&names[0], &names[5], ": all files of one load have at most 100000 lines\n"),
        (&many, &format!("{many}:7: "), ": all files of one load have at most 16777216 bytes\n"),
        (&copies, &format!("{copies}:9: "), ": one load has at most 8 geoip and write commands\n"),
    ] {
        let reply = control.say(&format!("include {file}"));
        assert!(reply.starts_with(place) && reply.ends_with(why) && reply.lines().count() == 1, "{reply}");
        files.rewrite(&format!("blacklist 99\ninclude {file}\n"));
        reload(&pen, why.trim_end());
        let (status, check) = run(&["--check", "-F", &files.path, "80", "127.0.0.1:9"]);
        assert_eq!(status.code(), Some(1));
        assert!(check.stderr().ends_with(why), "{}", check.stderr());
    }
    assert_eq!(control.say(&format!("include {replies}")), "");
    assert_eq!(control.say("blacklist"), "7\n");
    assert!(!files.scratch.join("copy0").exists());
    let peak = pen.peak_memory();
    assert!(peak < 120_000_000, "{peak} bytes");
}

#[test]
fn at_hup_a_file_is_taken_whole_or_not_at_all() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let files = Files::new("blacklist 7\n");
    let pen = files.launch().servers(&[&a]).start();
    let control = pen.control();
    let session = Client::connect(&pen);
    session.line().unwrap();
    let before = control.configuration();
    for (text, told) in [
        (format!("server 0 port {}\nblacklist 8\ntimeout x\n", b.port()), "pen.conf:3: timeout: \"x\""),
        (
            String::from("blacklist 8\nserver 1 address 127.0.0.1 port no-such-service\n"),
            "pen.conf:2: unknown or invalid address [no-such-service]",
        ),
        (String::from("blacklist 8\nlisten no-such-host.invalid:80\n"), "no-such-host.invalid"),
        (
            String::from("blacklist 8\nlog no-such-host.invalid:1\n"),
            "pen.conf:2: unknown or invalid address [no-such-host.invalid]",
        ),
        (format!("blacklist 8\nlisten {b}\n"), "can't bind local address"),
        (String::from("blacklist 8\ndsr_if\n"), "dsr_if is not supported"),
    ] {
        files.rewrite(&text);
        reload(&pen, told);
        assert!(pen.line(told).unwrap().contains("the old configuration stays"), "{}", pen.stderr());
        assert_eq!(control.configuration(), before);
    }
    fs::remove_file(&files.path).unwrap();
    reload(&pen, "Can't read config file");
    assert_eq!(control.configuration(), before);
    files.rewrite(&format!("server 0 port {}\nblacklist 8\n", b.port()));
    reload(&pen, "read again");
    assert_eq!(control.say("blacklist"), "8\n");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    session.assert_echo("still here");
}

#[test]
fn at_hup_lists_that_the_file_mentions_are_rebuilt() {
    let backend = Backend::named("a");
    let files = Files::new("acl 1 permit 10.0.0.0/8\nacl 1 deny ::/0\n");
    let pen = files.launch().servers(&[&backend]).start();
    let control = pen.control();
    control.tell(&["acl 1 permit 192.0.2.1", "acl 2 deny 192.0.2.2"]);
    let lists = || -> Vec<String> {
        control.configuration().lines().filter(|line| line.starts_with("acl ")).map(String::from).collect()
    };
    let other = "acl 2 deny 192.0.2.2 255.255.255.255";
    for _ in 0..3 {
        reload(&pen, "read again");
        assert_eq!(lists(), ["acl 1 permit 10.0.0.0 255.0.0.0", "acl 1 deny ::/0", other]);
    }
    files.rewrite("acl 1 permit 127.0.0.0/8\n");
    reload(&pen, "read again");
    assert_eq!(lists(), ["acl 1 permit 127.0.0.0 255.0.0.0", other]);
    files.rewrite("no acl 1\n");
    reload(&pen, "read again");
    assert_eq!(lists(), [other]);
}

#[test]
fn check_tells_whether_a_file_makes_sense_and_starts_nothing() {
    let port = free_port();
    let files = Files::new(&format!("listen 127.0.0.1:{port}\nserver 0 address 127.0.0.1 port 9\n"));
    let (status, pen) = run(&["--check", "-F", &files.path]);
    assert!(status.success(), "{}", pen.stderr());
    assert_eq!((pen.stdout().as_str(), pen.stderr().as_str()), ("the configuration makes sense\n", ""));
    // Where pen runs already, too.
    let taken = Backend::named("other");
    let (status, _) = run(&["--check", "-F", &files.path, &taken.to_string()]);
    assert!(status.success());
    files.rewrite("blacklist x\n");
    let (status, pen) = run(&["--check", "-F", &files.path, "8080"]);
    assert_eq!(status.code(), Some(1));
    assert_eq!(pen.stderr().lines().count(), 1);
    assert!(pen.stderr().contains("pen.conf:1: blacklist: \"x\""), "{}", pen.stderr());
}

#[test]
fn check_looks_up_the_listener_and_the_control_port_too() {
    for listener in ["no-such-service", "no-such-host.invalid:80"] {
        let files = Files::new(&format!("listen {listener}\nserver 0 address 127.0.0.1 port 9\n"));
        let name = listener.split(':').next().unwrap();
        for arguments in [&["-f", "-F", &files.path][..], &["--check", "-F", &files.path]] {
            let (status, pen) = run(arguments);
            assert_eq!(status.code(), Some(1), "{arguments:?}");
            assert!(pen.stderr().contains(name), "{}", pen.stderr());
        }
    }
    for option in ["-f", "--check"] {
        let (status, pen) = run(&[option, "-u", "root", "-C", "no-such-host.invalid:80", "8080", "127.0.0.1:9"]);
        assert_eq!(status.code(), Some(1), "{option}");
        assert!(pen.stderr().contains("no-such-host.invalid"), "{}", pen.stderr());
    }
}

/// Everything that can be set, set to what it is not by default.
const ODD: &[&str] = &[
    "abort_on_error",
    "acl 1 permit 10.0.0.0/8",
    "acl 1 deny 2001:db8::/32",
    "acl 9 permit 192.0.2.7",
    "ascii",
    "blacklist 7",
    "client_acl 2",
    "control_acl 3",
    "clients_max 3000",
    "conn_max 600",
    "debug 1",
    "dummy",
    "half_closed_timeout 66",
    "hash",
    "idle_timeout 77",
    "idlers 1",
    "no keepalive",
    "peek",
    "prio",
    "roundrobin",
    "stubborn",
    "syslog_facility local3",
    "tcp_fastclose both",
    "tcp_nodelay",
    "timeout 9",
    "tracking 50",
    "transparent",
    "weight",
    "source 127.0.0.5",
    "emergency 127.0.0.1:7",
    "abuse /run/abuse.sock",
    "server 2 acl 4 address ::1 port 81 max 5 hard 6 weight 7 prio 8",
    "server 4 address /run/server.sock",
];

#[test]
fn a_pen_that_is_started_with_what_was_written_writes_the_same() {
    let backend = Backend::named("a");
    for quirk in [&[][..], ODD, &["no tracking", "no hash"]] {
        let files = Files::new("");
        let pen = files.launch().servers(&[&backend, &"127.0.0.1:9:1:2:3:4"]).start();
        for line in quirk {
            let answer = pen.control().say(line);
            assert!(!answer.contains('"'), "{line}: {answer}");
        }
        let stats = format!("web_stats {}", files.scratch.join("a page.html").display());
        pen.control().say(&stats);
        pen.control().tell(&["write"]);
        let written = body(Path::new(&files.path));
        assert!(written.contains(&stats));
        for line in quirk.iter().filter(|line| !line.contains("acl ") && !line.starts_with("server")) {
            assert!(written.lines().any(|written| written == *line), "{line} is not in\n{written}");
        }
        let second = files.launch().start();
        let copy = files.scratch.join("copy");
        second.control().tell(&[&format!("write {}", copy.display())]);
        assert_eq!(body(&copy), written);
        let (status, checked) = run(&["--check", "-F", &files.path, "8080"]);
        assert!(status.success(), "{}", checked.stderr());
    }
}

#[test]
fn write_replaces_the_file_in_one_step() {
    let backend = Backend::named("a");
    let files = Files::new("blacklist 7\n");
    let pen = files.launch().options(&["-X", "-c", "99"]).servers(&[&backend]).start();
    let control = pen.control();
    // Whoever has the old file open goes on reading the old file.
    let mut old = fs::File::open(&files.path).unwrap();
    control.tell(&["write"]);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut old, &mut text).unwrap();
    assert_eq!(text, "blacklist 7\n");
    assert_eq!(fs::metadata(&files.path).unwrap().permissions().mode() & 0o7777, 0o644);
    let names: Vec<_> = fs::read_dir(files.scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["pen.conf"]);
    let text = fs::read_to_string(&files.path).unwrap();
    let heading: Vec<_> = text.lines().take(2).collect();
    let time = heading[0].strip_prefix("# Generated by pen ").unwrap();
    let digits = |c: char| if c.is_ascii_digit() { '9' } else { c };
    assert_eq!(time.chars().map(digits).collect::<String>(), "9999-99-99 99:99:99");
    let user = if crate::harness::is_root() { " -u 'root'" } else { "" };
    let listener = format!("127.0.0.1:{}", pen.port());
    let expected = format!("# pen -f -X -c 99{user} -F '{}' -C {} {listener}", files.path, control.text());
    assert_eq!(heading[1], expected);
}

#[test]
fn write_without_a_file_and_into_an_impossible_one_are_errors() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    assert!(pen.control().say("write").contains("-F"));
    let scratch = Scratch::new();
    for path in [scratch.join("no/such/folder"), scratch.path().to_path_buf()] {
        let answer = pen.control().say(&format!("write {}", path.display()));
        assert!(answer.contains(&path.display().to_string()) && answer.lines().count() == 1, "{answer}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_pen_0_34_1_wrote_is_understood() {
    if !Program::Theirs.is_installed() {
        return crate::harness::skip("Debian's package \"pen\" is not installed");
    }
    let backend = Backend::named("a");
    let scratch = Scratch::new();
    let file = scratch.join("theirs").display().to_string();
    let theirs =
        Launch::of(Program::Theirs).control().options(&["-F", &file]).servers(&[&backend, &"127.0.0.1:9:3:4"]).start();
    let control = theirs.control();
    control.tell(&[
        "acl 1 permit 10.0.0.0 255.0.0.0",
        "acl 2 deny 2001:db8::/32",
        "hash",
        "server 4 address 127.0.0.1 port 81",
    ]);
    control.say("write");
    let (status, checked) = run(&["--check", "-F", &file, "8080"]);
    assert!(status.success(), "{}\n{}", checked.stderr(), fs::read_to_string(&file).unwrap());
    let ours = Launch::ours().control().options(&["-F", &file]).start();
    assert_eq!(visit(&ours, "127.0.0.2").as_deref(), Some("a"));
    let written = ours.control().configuration();
    for line in ["acl 1 permit 10.0.0.0 255.0.0.0", "acl 2 deny 2001:db8::/32", "hash"] {
        assert!(written.lines().any(|written| written == line), "{line} is not in\n{written}");
    }
    assert!(written.contains("server 4 acl 0 address 127.0.0.1 port 81 "), "{written}");
}

#[test]
fn a_copy_that_is_not_complete_yet_is_refused() {
    let backend = Backend::named("a");
    let server = format!("server 0 address 127.0.0.1 port {}\n", backend.port());
    let files = Files::new(&format!("{server}timeout 5\nblacklist 1234\n"));
    let pen = files.launch().start();
    files.rewrite(&format!("{server}timeout 6\nblacklist 12"));
    reload(&pen, "pen.conf:3: the file ends here, without a newline, and is shorter than it was");
    let control = pen.control();
    assert_eq!((control.say("timeout"), control.say("blacklist")), (String::from("5\n"), String::from("1234\n")));
    // Without a newline and complete.
    files.rewrite(&format!("{server}timeout 6\nblacklist 1234\nconn_max 501"));
    reload(&pen, "read again");
    assert_eq!(control.say("conn_max"), "501\n");
    files.rewrite(&format!("{server}timeout 7\n"));
    reload(&pen, "read again");
    assert_eq!(control.say("timeout"), "7\n");
    // What was longer was wrong, and was not in use.
    files.rewrite(&format!("{server}timeout 7\nblacklist 5\nfrob\n"));
    reload(&pen, "pen.conf:4: ");
    files.rewrite(&format!("{server}timeout 7\ntracking 5"));
    reload(&pen, "read again");
    // From the control port each file is one of its own.
    let small = files.add("small.conf", "timeout 1000");
    control.tell(&[&format!("include {small}")]);
    files.add("small.conf", "timeout 9");
    control.tell(&[&format!("include {small}")]);
    assert_eq!(control.say("timeout"), "9\n");
}

#[test]
fn what_editors_of_other_systems_write_is_accepted_or_named() {
    let files = Files::new("\u{feff}# of an editor\r\nserver 0 address 127.0.0.1 port 9\r\n\r\nhash\r\n");
    let check = || run(&["--check", "-F", &files.path, "8080"]);
    let (status, pen) = check();
    assert!(status.success(), "{}", pen.stderr());
    files.rewrite("server 0 address 127.0.0.1 port 9\nblacklist\u{a0}5\n");
    let (status, pen) = check();
    assert_eq!(status.code(), Some(1));
    assert!(pen.stderr().contains("pen.conf:2: there is a character U+00A0 that cannot be seen"), "{}", pen.stderr());
    let utf16: Vec<u8> = "\u{feff}hash\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(&files.path, utf16).unwrap();
    let (status, pen) = check();
    assert_eq!(status.code(), Some(1));
    let told = format!("Can't read config file '{}': it is UTF-16, and has to be UTF-8\n", files.path);
    assert!(pen.stderr().ends_with(&told), "{}", pen.stderr());
}

#[test]
fn what_write_makes_is_read_whatever_the_names_of_files_are() {
    let backend = Backend::named("a");
    let files = Files::new("");
    let page = files.scratch.join("a\u{a0}page.html").display().to_string();
    let pen = files.launch().options(&["-w", &page]).servers(&[&backend]).start();
    pen.control().tell(&["write"]);
    assert!(fs::read_to_string(&files.path).unwrap().contains(&format!("web_stats {page}\n")));
    let (status, checked) = run(&["--check", "-F", &files.path, "8080"]);
    assert!(status.success(), "{}", checked.stderr());
}

/// Runs pen as root, which prints its configuration with `write` and ends, after a preparation in a mount namespace of its own.
fn write_as_root(preparation: &str, path: &str) -> Option<(bool, String)> {
    write_started_by_root(preparation, &[], path)
}

/// The same with more options, such as `-u`.
fn write_started_by_root(preparation: &str, options: &[&str], path: &str) -> Option<(bool, String)> {
    if !is_root() {
        skip("only root follows other rules than others");
        return None;
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("{preparation} && exec \"$@\""), "sh", Program::Ours.path()]);
    command.args(options).args([
        "-f",
        "-X",
        "-O",
        "exit",
        "-O",
        &format!("write {path}"),
        &format!("127.0.0.1:{}", free_port()),
        "127.0.0.1:9",
    ]);
    let output = command.output().unwrap();
    Some((output.status.success(), String::from_utf8(output.stderr).unwrap()))
}

#[test]
fn a_file_that_is_a_mount_point_is_written_in_place() {
    let files = Files::new("old\n");
    let other = files.add("other", "old\n");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).unwrap();
    let mount = format!("mount --bind {other} {}", files.path);
    let Some((success, said)) = write_as_root(&mount, &files.path) else { return };
    assert!(success, "{said}");
    let text = fs::read_to_string(&other).unwrap();
    assert!(text.starts_with("# Generated by pen ") && text.ends_with("no geoip\n"), "{text}");
    assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(&files.path).unwrap(), "old\n");
    assert_eq!(fs::read_dir(files.scratch.join(".")).unwrap().count(), 2, "nothing temporary is left");
}

#[test]
fn a_mount_point_is_written_in_place_also_where_the_user_may_make_no_files() {
    let files = Files::new("old and much longer than a line\n");
    let other = files.add("other", "old\n");
    let page = files.add("page.html", "old\n");
    let mount = format!(
        "mount --bind {other} {} && mount --bind {page} {page} && chmod 755 {} && chown nobody {other} {page} && chmod 600 {page}",
        files.path,
        files.scratch.path().display()
    );
    let options = ["-u", "nobody", "-w", &page, "-O", "status"];
    let Some((success, said)) = write_started_by_root(&mount, &options, &files.path) else { return };
    assert!(success, "{said}");
    assert!(fs::read_to_string(&other).unwrap().ends_with("no geoip\n"));
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&files.path).unwrap(), "old and much longer than a line\n");
    // One that is no mount point is refused there, and stays.
    let own = files.add("own", "old\n");
    let chown = format!("chown nobody {own}");
    let (success, said) = write_started_by_root(&chown, &["-u", "nobody"], &own).unwrap();
    assert!(!success && said.contains("Permission denied"), "{said}");
    assert_eq!(fs::read_to_string(&own).unwrap(), "old\n");
}

#[test]
fn a_file_that_root_writes_keeps_its_owner_group_and_mode() {
    let files = Files::new("old\n");
    let chown = format!("chown nobody:nogroup {0} && chmod 640 {0}", files.path);
    let Some((success, said)) = write_as_root(&chown, &files.path) else { return };
    assert!(success, "{said}");
    let found = fs::metadata(&files.path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 65534, 0o640));
    assert!(fs::read_to_string(&files.path).unwrap().starts_with("# Generated by pen "));
}

#[test]
fn root_follows_no_link_that_others_may_have_laid() {
    let files = Files::new("old\n");
    let (folder, link) = (files.scratch.join("open"), files.scratch.join("open/link"));
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&files.path, &link).unwrap();
    let name = link.display().to_string();
    let old = || fs::read_to_string(&files.path).unwrap() == "old\n";
    let chown = format!("chown -h nobody {name} && chmod 1777 {}", folder.display());
    let Some((success, said)) = write_as_root(&chown, &name) else { return };
    assert!(
        !success && said.contains("a symbolic link of another user in a directory that others can write to"),
        "{said}"
    );
    assert!(old());
    // Root's own link is followed.
    let (success, said) = write_as_root(&format!("chown -h root {name}"), &name).unwrap();
    assert!(success && !old(), "{said}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_quote_in_a_path_survives_the_heading() {
    let files = Files::new("");
    let path = files.add("it's", "");
    let file = |name: &str| files.scratch.join(name).display().to_string();
    let [listener, control, last] = ["l'isten", "c'on$trol", "e'mergency"].map(file);
    let options = ["-F", &path, "-e", &last, "-B", &last];
    let launch = Launch::ours().control_at(&control).options(&options).listener(&listener);
    let pen = launch.servers(&[&"127.0.0.1:9"]).start();
    pen.control().say("write");
    let heading = fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().to_string();
    // As the shell and xargs(1) read it.
    for reader in ["eval set -- \"$1\"; printf '%s\\n' \"$@\"", "printf '%s' \"$1\" | xargs printf '%s\\n'"] {
        let output = std::process::Command::new("sh").args(["-c", reader, "sh", &heading[2..]]).output().unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        for path in [&path, &listener, &control, &last] {
            assert!(words.lines().any(|word| word == path), "{heading}: {words}");
        }
    }
}
