//! The file of the request log, when it is moved away, when the disk is full, and when pen ends, in peace or not.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use socket2::SockAddr;

use crate::harness::{
    Backend, Client, Daemon, Launch, Pen, Scratch, echo, free_port, is_root, skip, wait_for, wait_until,
};
use crate::request_log::{ANSWER, ask, http, lines};

/// Asks again and again until it is told to stop or pen is gone, and counts the answers. Each request has its own number.
fn ask_on(address: &SockAddr, name: usize, stop: &AtomicBool, answers: &AtomicUsize) {
    let Ok(client) = Client::try_connect(address, None) else { return };
    let mut buffer = vec![0; ANSWER.len()];
    for number in 0.. {
        if stop.load(Ordering::SeqCst) || client.try_send(format!("GET /{name}/{number} HTTP/1.1\r\n\r\n")).is_err() {
            return;
        }
        let mut heard = 0;
        while heard < ANSWER.len() {
            match client.read(&mut buffer[heard..]) {
                Ok(count @ 1..) => heard += count,
                _ => return,
            }
        }
        answers.fetch_add(1, Ordering::SeqCst);
    }
}

/// Lets four clients ask until `work`, which is told how many answers there were, is done and beyond, until `stop` or pen's end.
/// Returns the number of answers.
fn under_load(pen: &SockAddr, work: impl FnOnce(&AtomicBool, &AtomicUsize)) -> usize {
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for name in 0..4 {
            let (stop, answers) = (&stop, &answers);
            scope.spawn(move || ask_on(pen, name, stop, answers));
        }
        work(&stop, &answers);
    });
    answers.into_inner()
}

fn wait_for_more(answers: &AtomicUsize, more: usize) {
    let before = answers.load(Ordering::SeqCst);
    wait_until("the load to go on", || answers.load(Ordering::SeqCst) >= before + more);
}

/// Our pen with a log there.
fn logging(file: &Path, web: &Backend) -> Pen {
    Pen::start(&["-l", &file.display().to_string()], &[web])
}

#[test]
fn no_request_is_lost_or_told_twice_while_the_file_is_moved_away_again_and_again() {
    const ROUNDS: usize = 30;
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let file = scratch.join("log");
    let pen = logging(&file, &web);
    let old = |round: usize| scratch.join(&format!("log.{round}"));
    let answers = under_load(&pen.address(), |stop, answers| {
        for round in 0..ROUNDS {
            wait_for_more(answers, 20);
            fs::rename(&file, old(round)).unwrap();
            pen.signal(Signal::HUP);
            wait_until("the new file", || file.exists());
        }
        stop.store(true, Ordering::SeqCst);
    });
    let all = || -> Vec<_> { (0..ROUNDS).map(old).chain([file.clone()]).flat_map(|file| lines(&file)).collect() };
    wait_until("all lines", || all().len() >= answers);
    assert_eq!(all().len(), answers);
    assert_eq!(all().into_iter().collect::<HashSet<_>>().len(), answers);
    // A file that was moved away gets nothing more.
    ask(&pen, &["GET /last HTTP/1.1\r\n\r\n"]);
    wait_until("the last line", || lines(&file).last().is_some_and(|line| line.ends_with(" GET /last HTTP/1.1")));
    assert_eq!(all().len(), answers + 1);
}

#[test]
fn term_loses_no_request() {
    for round in 0..5 {
        let (scratch, web) = (Scratch::new(), Backend::new("web", http));
        let file = scratch.join("log");
        let mut pen = logging(&file, &web);
        let answers = under_load(&pen.address(), |_, answers| {
            wait_for_more(answers, 100 * round + 1);
            pen.signal(Signal::TERM);
        });
        assert_eq!(pen.wait_exit().code(), Some(0));
        // Each of the four may have been cut off before it had its answer.
        let logged = lines(&file).len();
        assert!((answers..=answers + 4).contains(&logged), "{logged} lines, {answers} answers");
        assert!(fs::read(&file).unwrap().ends_with(b"\n"));
    }
}

#[test]
fn kill_leaves_whole_lines() {
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let file = scratch.join("log");
    for round in 0..20 {
        let pen = logging(&file, &web);
        under_load(&pen.address(), |_, answers| {
            wait_for_more(answers, 97 * (round % 5) + 50);
            pen.signal(Signal::KILL);
        });
        let bytes = fs::read(&file).unwrap();
        assert!(bytes.ends_with(b" HTTP/1.1\n"), "{:?}", String::from_utf8_lossy(&bytes[bytes.len() - 200..]));
    }
    // `lines` has looked at the addresses and times.
    for line in lines(&file) {
        let numbers = line.strip_prefix("127.0.0.1 127.0.0.1 GET /").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        let (name, number) = numbers.and_then(|numbers| numbers.split_once('/')).unwrap_or_else(|| panic!("{line}"));
        assert!(name.parse::<u8>().is_ok_and(|name| name < 4) && number.parse::<u32>().is_ok(), "{line}");
    }
}

#[test]
fn a_line_that_somebody_has_left_unfinished_spoils_no_other() {
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let file = scratch.join("log");
    fs::write(&file, "127.0.0.1 17953").unwrap();
    let pen = logging(&file, &web);
    ask(&pen, &["GET / HTTP/1.1\r\n\r\n"]);
    wait_until("the line", || fs::read_to_string(&file).unwrap().ends_with(" GET / HTTP/1.1\n"));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("127.0.0.1 17953\n127.0.0.2 "), "{text}");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_new_file_can_be_read_by_everybody_and_written_by_its_owner() {
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let file = scratch.join("log");
    let launch = Launch::ours().wrapper(&["/bin/sh", "-c", "umask 0; exec \"$@\"", "sh"]);
    let _pen = launch.options(&["-l", &file.display().to_string()]).servers(&[&web]).start();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
}

#[test]
fn a_full_disk_is_told_once_and_when_there_is_room_again_it_goes_on() {
    if !is_root() {
        return skip("only root can make a small disk");
    }
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let (folder, file) = (scratch.path().display().to_string(), scratch.join("log").display().to_string());
    // A file system of 256 KiB, of which 240 are taken, that only pen and its namespace see.
    let mount =
        "mount -t tmpfs -o size=256k disk \"$1\" && head -c 245760 /dev/zero >\"$1/ballast\" && shift && exec \"$@\"";
    let wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-ec", mount, "sh", &folder];
    let pen = Launch::ours().wrapper(&wrapper).options(&["-l", &file]).servers(&[&web]).start();
    let inside = |name: &str| PathBuf::from(format!("/proc/{}/root{folder}/{name}", pen.pid()));
    let mut left = Vec::new();
    let answers = under_load(&pen.address(), |stop, answers| {
        pen.wait_for_line(&format!("Can't write logfile {file}: No space left on device"));
        // Clients do not notice. What cannot be written is kept for a while, and then lost.
        wait_for_more(answers, 3000);
        left = fs::read(inside("log")).unwrap();
        stop.store(true, Ordering::SeqCst);
    });
    assert!(left.ends_with(b" HTTP/1.1\n"), "the file ends in the middle of a line");
    fs::remove_file(inside("ballast")).unwrap();
    let told = pen.wait_for_line(&format!("logfile {file} is written again; "));
    let lost: usize = told.split("; ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(lost > 0);
    ask(&pen, &["GET /last HTTP/1.1\r\n\r\n"]);
    let written = wait_for("the last line", || {
        Some(lines(&inside("log"))).filter(|lines| lines.last().is_some_and(|line| line.contains("/last ")))
    });
    assert_eq!(written.len() + lost, answers + 1, "{lost} lost");
    assert_eq!(written.iter().collect::<HashSet<_>>().len(), written.len());
    assert_eq!(pen.stderr().matches("Can't write").count(), 1);
    assert_eq!(pen.stderr().matches("written again").count(), 1);
}

#[test]
fn a_log_that_may_not_grow_does_not_end_pen() {
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let file = scratch.join("log");
    let pen = logging(&file, &web);
    let pid = Pid::from_raw(pen.pid().try_into().unwrap());
    let maximum = getrlimit(Resource::Fsize).maximum;
    let allow = |current| prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).map(|_| ()).unwrap();
    allow(Some(4000));
    let name = file.display();
    under_load(&pen.address(), |stop, answers| {
        pen.wait_for_line(&format!("Can't write logfile {name}: File too large"));
        wait_for_more(answers, 100);
        stop.store(true, Ordering::SeqCst);
    });
    allow(maximum);
    pen.wait_for_line(&format!("logfile {name} is written again"));
    ask(&pen, &["GET /last HTTP/1.1\r\n\r\n"]);
    wait_until("the last line", || lines(&file).last().is_some_and(|line| line.contains("/last ")));
}

#[test]
fn a_folder_that_is_gone_at_hup_is_told_and_made_up_for() {
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let (folder, moved) = (scratch.join("logs"), scratch.join("moved"));
    fs::create_dir(&folder).unwrap();
    let file = folder.join("log");
    let pen = logging(&file, &web);
    let count = |file: &Path, count| wait_until("the lines", || lines(file).len() == count);
    ask(&pen, &["GET /1 HTTP/1.1\r\n\r\n"]);
    count(&file, 1);
    fs::rename(&folder, &moved).unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line(&format!("Can't open logfile {}: No such file or directory", file.display()));
    // The old file was only moved, and goes on.
    ask(&pen, &["GET /2 HTTP/1.1\r\n\r\n"]);
    count(&moved.join("log"), 2);
    // Now nobody could read it any more: what comes is kept.
    fs::remove_dir_all(&moved).unwrap();
    pen.signal(Signal::HUP);
    let start = Instant::now();
    wait_until("a few attempts", || start.elapsed() > Duration::from_millis(1500));
    ask(&pen, &["GET /3 HTTP/1.1\r\n\r\n"]);
    fs::create_dir(&folder).unwrap();
    pen.wait_for_line(&format!("logfile {} is written again; 0 requests were lost", file.display()));
    ask(&pen, &["GET /4 HTTP/1.1\r\n\r\n"]);
    count(&file, 2);
    assert_eq!(lines(&file), ["/3", "/4"].map(|name| format!("127.0.0.2 127.0.0.1 GET {name} HTTP/1.1")));
    assert_eq!(pen.stderr().matches("Can't open").count(), 1);
}

#[test]
fn what_was_lost_is_told_at_the_end_at_the_latest() {
    let web = Backend::new("web", http);
    let mut pen = logging(Path::new("/dev/full"), &web);
    ask(&pen, &["GET /1 HTTP/1.1\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n"]);
    pen.wait_for_line("Can't write logfile /dev/full: No space left on device");
    pen.terminate();
    assert!(pen.line("2 requests were not logged").is_some());
}

#[test]
fn hup_takes_the_log_from_the_file_as_a_command_does() {
    let (scratch, web) = (Scratch::new(), Backend::new("web", http));
    let file = scratch.join("pen.conf");
    let configure = |log: &str| fs::write(&file, format!("log {}\n", scratch.join(log).display())).unwrap();
    configure("one");
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&web]).start();
    let asked_of = |log: &str| pen.control().say("log") == format!("{}\n", scratch.join(log).display());
    assert!(asked_of("one"));
    configure("no/such/folder");
    pen.signal(Signal::HUP);
    pen.wait_for_line("the old configuration stays: Can't open logfile ");
    assert!(asked_of("one"));
    configure("two");
    pen.signal(Signal::HUP);
    wait_until("the new log", || asked_of("two"));
    ask(&pen, &["GET / HTTP/1.1\r\n\r\n"]);
    wait_until("the line", || lines(&scratch.join("two")).len() == 1);
    assert_eq!(lines(&scratch.join("one")).len(), 0);
}

#[test]
fn in_the_background_and_in_a_jail_it_is_the_users_file_and_moves_at_hup() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    const NOBODY: u32 = 65534;
    let (jail, web, port) = (Scratch::new(), Backend::new("web", http), free_port());
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["log", "closed"] {
        fs::create_dir(jail.join(folder)).unwrap();
    }
    chown(jail.join("log"), Some(NOBODY), Some(NOBODY)).unwrap();
    let (listener, server, root) = (format!("127.0.0.1:{port}"), web.to_string(), jail.path().display().to_string());
    let pidfile = jail.join("closed/pen.pid");
    let arguments =
        |log| ["-j", &root, "-u", "nobody", "-p", "/closed/pen.pid", "-l", log, &listener, &server].map(String::from);
    // The user must be able to open it again.
    let refused = crate::harness::attempt(&jail.join("log"), &arguments("/closed/log"));
    assert!(!refused.status.success());
    let message = "Can't open logfile /closed/log: Permission denied";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    let file = jail.join("log/requests");
    // A relative name means the same file outside and in the jail.
    let daemon = Daemon::start(&jail.join("log"), &pidfile, &arguments("requests"));
    assert_eq!(fs::metadata(&file).unwrap().uid(), NOBODY);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
    let answers = under_load(&address, |stop, answers| {
        wait_for_more(answers, 50);
        fs::rename(&file, jail.join("log/old")).unwrap();
        daemon.signal(Signal::HUP);
        wait_until("the new file", || file.exists());
        wait_for_more(answers, 50);
        stop.store(true, Ordering::SeqCst);
    });
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    let (old, new) = wait_for("all lines", || {
        let (old, new) = (lines(&jail.join("log/old")).len(), lines(&file).len());
        (old + new == answers).then_some((old, new))
    });
    assert!(old > 0 && new > 0);
}

#[test]
fn root_writes_no_log_through_a_link_that_others_may_have_laid() {
    if !is_root() {
        return skip("only root follows other rules than others");
    }
    let (scratch, precious) = (Scratch::new(), Scratch::new());
    let (link, target) = (scratch.join("log"), precious.join("precious"));
    fs::write(&target, "years of work\n").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let name = link.display().to_string();
    let (status, pen) = crate::harness::run(&["-f", "-l", &name, &free_port().to_string(), "127.0.0.1:9"]);
    assert_eq!(status.code(), Some(1));
    let cause = "a symbolic link of another user in a directory that others can write to";
    assert_eq!(pen.stderr(), format!("pen: Can't open logfile {name}: {cause}\n"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "years of work\n");
    // Root's own link is followed, also to a file that is not there yet.
    std::os::unix::fs::lchown(&link, Some(0), Some(0)).unwrap();
    fs::remove_file(&target).unwrap();
    let backend = Backend::new("a", echo);
    let pen = Launch::ours().options(&["-l", &name]).servers(&[&backend]).start();
    Client::connect(&pen).assert_echo("words");
    wait_until("the request", || fs::read_to_string(&target).is_ok_and(|text| text.ends_with(" words\n")));
}

#[test]
fn a_log_that_is_the_standard_output_stays_for_the_user_and_at_hup() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let backend = Backend::new("a", echo);
    let scratch = Scratch::new();
    let [link, deep] = ["access.log", "deep.log"].map(|name| scratch.join(name));
    std::os::unix::fs::symlink("/dev/stdout", &link).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/1", &deep).unwrap();
    // The harness reads the standard output through a pipe that is root's.
    for name in ["/dev/stdout", "/dev/fd/1", link.to_str().unwrap(), deep.to_str().unwrap()] {
        let pen = Launch::ours().options(&["-u", "nobody", "-l", name]).uncounted().servers(&[&backend]).start();
        for words in ["before", "after"] {
            Client::connect(&pen).assert_echo(words);
            wait_until("the request", || pen.stdout().ends_with(&format!(" {words}\n")));
            pen.signal(Signal::HUP);
        }
        assert!(!pen.stderr().contains("logfile"), "{name}: {}", pen.stderr());
    }
}

#[test]
fn a_log_that_is_the_standard_output_may_be_a_file_of_roots_or_come_from_a_jail() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let (scratch, backend) = (Scratch::new(), Backend::new("a", echo));
    let jail = scratch.join("jail");
    fs::create_dir(&jail).unwrap();
    for options in [&["-u", "nobody"][..], &["-u", "nobody", "-j", jail.to_str().unwrap()]] {
        let output = scratch.join("output");
        fs::write(&output, "").unwrap();
        fs::set_permissions(&output, fs::Permissions::from_mode(0o600)).unwrap();
        let redirect = ["sh", "-c", "exec >>\"$0\" \"$@\"", output.to_str().unwrap()];
        let pen = Launch::ours()
            .wrapper(&redirect)
            .options(options)
            .options(&["-l", "/dev/stdout"])
            .servers(&[&backend])
            .start();
        for words in ["before", "after"] {
            Client::connect(&pen).assert_echo(words);
            wait_until("the request", || fs::read_to_string(&output).unwrap().ends_with(&format!(" {words}\n")));
            pen.signal(Signal::HUP);
        }
        assert_eq!(lines(&output).len(), 2);
        assert!(!pen.stderr().contains("logfile"), "{}", pen.stderr());
    }
}
