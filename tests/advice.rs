//! What pen says about a configuration that was probably not meant.

use crate::harness::{Backend, Client, Launch, Scratch, run, visit};

/// The exit status and the standard error output of `pen --check` with these arguments.
#[track_caller]
fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let (status, pen) = run(&[&["--check"], arguments].concat());
    (status.code(), pen.stderr())
}

/// The standard error output of a check that must fail.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let (status, stderr) = check(arguments);
    assert_eq!(status, Some(1), "{arguments:?}: {stderr}");
    stderr
}

#[test]
fn check_refuses_what_a_start_only_warns_of() {
    let scratch = Scratch::new();
    let file = |name: &str, text: &str| {
        std::fs::write(scratch.join(name), text).unwrap();
        scratch.join(name).display().to_string()
    };
    let portless = file("portless", "server 0 address 127.0.0.1\n");
    let weightless = file("weightless", "weight\nserver 0 address 127.0.0.1 port 9\n");
    for (arguments, words) in [
        (vec!["-F", "/no/such/file", "8080", "127.0.0.1:9"], "Can't read config file '/no/such/file'"),
        (vec!["-F", &portless, "8080"], "server 0 has an address and no port"),
        (vec!["-F", &weightless, "8080"], "every server has weight 0"),
        (vec!["-W", "8080", "127.0.0.1:9"], "every server has weight 0"),
    ] {
        let error = refused(&arguments);
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_address_with_a_port_in_it_is_refused_with_what_to_write() {
    for (address, host, port) in
        [("10.0.0.1:80", "10.0.0.1", "80"), ("www:http", "www", "http"), ("[::1]:81", "::1", "81")]
    {
        let command = format!("server 0 address {address}");
        let error = refused(&["-O", &command, "8080"]);
        assert!(error.contains(&format!("write address {host} port {port}")), "{error}");
    }
    assert_eq!(check(&["-O", "server 0 address [::1] port 81", "8080"]), (Some(0), String::new()));
}

#[test]
fn an_unknown_command_is_answered_with_the_one_that_was_probably_meant() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let say = |line: &str| pen.control().say(line);
    let ignored = |line: &str| format!("do_cmd: ignoring command starting with '{line}'");
    assert_eq!(say("sevrers"), ignored("sevrers") + "; did you mean \"servers\"?\n");
    assert_eq!(say("no rondrobin"), ignored("no rondrobin") + "; did you mean \"roundrobin\"?\n");
    assert_eq!(say("frobnicate"), ignored("frobnicate") + "\n");
    assert!(refused(&["-O", "blaklist 3", "8080", "127.0.0.1:9"]).contains("did you mean \"blacklist\"?"));
}

#[test]
fn weight_without_weights_warns_in_its_reply() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    assert_eq!(control.say("weight"), "weight: every server has weight 0, so that new clients are refused\n");
    assert_eq!(control.say("server 0 weight 1"), "");
    assert_eq!(control.say("weight"), "");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn explain_tells_that_a_client_would_wait() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().options(&["-x1"]).servers(&[&backend]).start();
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    let told = pen.control().say("explain 127.0.0.9");
    assert!(told.contains("\nit waits: pen is at its limit of 1 connections\n-> server 0 ("), "{told}");
}

#[test]
fn a_control_port_for_the_whole_network_is_warned_of_unless_a_list_guards_it() {
    let exposed = "the control port is open to the whole network";
    let user = ["-u", "root"];
    for (more, warned) in [
        (vec!["-C", "8888"], true),
        (vec!["-C", "[::]:8888"], true),
        (vec!["-C", "127.0.0.1:8888"], false),
        (vec!["-C", "/run/pen.ctl"], false),
        (vec!["-C", "8888", "-O", "acl 1 permit 127.0.0.1", "-O", "control_acl 1"], false),
    ] {
        let arguments = [&user[..], &more, &["8080", "127.0.0.1:9"]].concat();
        let (status, stderr) = check(&arguments);
        assert_eq!(status, Some(0), "{stderr}");
        assert_eq!(stderr.contains(exposed), warned, "{arguments:?}: {stderr}");
    }
}

#[test]
fn write_keeps_the_backlog() {
    let (backend, scratch) = (Backend::named("a"), Scratch::new());
    let pen = Launch::ours().control().options(&["-q", "77"]).servers(&[&backend]).start();
    let file = scratch.join("written");
    pen.control().say(&format!("write {}", file.display()));
    let heading = std::fs::read_to_string(&file).unwrap().lines().nth(1).unwrap().to_string();
    assert!(heading.contains(" -q 77 "), "{heading}");
}
