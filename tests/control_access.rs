//! Who may open the control port, and what becomes of its socket and of pen's user.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use crate::harness::{Backend, Client, Launch, Scratch, free_port, is_root, run, skip, visit, wait_until};

/// Who is nobody.
const NOBODY: u32 = 65534;

fn root() -> bool {
    let root = is_root();
    if !root {
        skip("this needs root");
    }
    root
}

/// A folder in which everybody may create and remove files.
fn open_folder() -> Scratch {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o777)).unwrap();
    scratch
}

#[test]
fn root_without_a_user_gets_no_control_port_but_is_served() {
    if !root() {
        return;
    }
    let backend = Backend::named("a");
    let port = free_port();
    let pen = Launch::ours()
        .control_for_somebody_else(format!("127.0.0.1:{port}"))
        .options(&["-X"])
        .servers(&[&backend])
        .start();
    pen.wait_for_line("Won't open control port running as root; use -u to run as different user");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn the_user_is_for_good_and_takes_no_groups_along() {
    if !root() {
        return;
    }
    let backend = Backend::named("a");
    let control = format!("127.0.0.1:{}", free_port());
    // More groups to give up than this environment may have.
    let wrapper: &[&str] = match crate::harness::program("setpriv") {
        Some(_) => &["setpriv", "--groups", "0,1,2,3"],
        None => &[],
    };
    let pen = Launch::ours()
        .wrapper(wrapper)
        .options(&["-u", "nobody"])
        .control_for_somebody_else(control)
        .servers(&[&backend])
        .start();
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    let status = fs::read_to_string(format!("/proc/{}/status", pen.pid())).unwrap();
    let ids = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    assert_eq!(ids("Uid:"), [NOBODY; 4]);
    let gid = ids("Gid:")[0];
    assert_ne!(gid, 0);
    assert_eq!(ids("Gid:"), [gid; 4]);
    assert!(ids("Groups:").iter().all(|group| *group == gid), "{:?}", ids("Groups:"));
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    assert!(capabilities.bytes().all(|digit| digit == b'0'), "capabilities: {capabilities}");
    assert_eq!(pen.control().say("pid"), format!("{}\n", pen.pid()));
}

#[test]
fn a_control_socket_belongs_to_the_user_alone_and_goes_with_pen() {
    if !root() {
        return;
    }
    let scratch = open_folder();
    let path = scratch.join("control");
    let backend = Backend::named("a");
    let mut pen = Launch::ours()
        .options(&["-u", "nobody"])
        .control_for_somebody_else(path.display())
        .servers(&[&backend])
        .start();
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o600);
    assert_eq!(found.uid(), NOBODY);
    assert_eq!(pen.control().say("control"), format!("{}\n", path.display()));
    assert_eq!(pen.control().penctl(&["blacklist", "12"]), "12\n");
    pen.terminate();
    assert!(!path.exists(), "the socket is still there");
}

#[test]
fn a_socket_that_a_dead_pen_left_is_replaced() {
    let scratch = open_folder();
    let path = scratch.join("control");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let backend = Backend::named("a");
    let pen = Launch::ours().control_at(path.display()).servers(&[&backend]).start();
    assert_eq!(pen.control().say("pid"), format!("{}\n", pen.pid()));
}

#[test]
fn a_socket_on_which_somebody_listens_is_theirs() {
    let scratch = open_folder();
    let path = scratch.join("control");
    let backend = Backend::named("a");
    let pen = Launch::ours().control_at(path.display()).servers(&[&backend]).start();
    let (path, port, server) = (path.display().to_string(), free_port().to_string(), backend.to_string());
    let (status, second) = run(&["-f", "-u", "root", "-C", &path, &port, &server]);
    assert!(!status.success());
    assert!(second.stderr().contains(&path), "{}", second.stderr());
    assert_eq!(pen.control().say("pid"), format!("{}\n", pen.pid()));
}

#[test]
fn an_ordinary_file_with_the_name_of_the_control_socket_stays_as_it_is() {
    let scratch = open_folder();
    let path = scratch.join("precious");
    fs::write(&path, "years of work\n").unwrap();
    let (file, port) = (path.display().to_string(), free_port().to_string());
    let (status, pen) = run(&["-f", "-u", "root", "-C", &file, &port, "127.0.0.1:9"]);
    assert!(!status.success());
    assert!(pen.stderr().contains(&file), "{}", pen.stderr());
    assert_eq!(fs::read_to_string(&path).unwrap(), "years of work\n");
}

#[test]
fn a_control_port_that_is_taken_is_told_before_anything_is_served() {
    let taken = Backend::named("other");
    let (control, port) = (taken.to_string(), free_port());
    let (status, pen) = run(&["-f", "-u", "root", "-C", &control, &port.to_string(), "127.0.0.1:9"]);
    assert_eq!(status.code(), Some(1));
    assert!(pen.stderr().contains("can't bind local address") && pen.stderr().contains(&control), "{}", pen.stderr());
    assert!(crate::harness::is_free(([127, 0, 0, 1], port).into()));
}

#[test]
fn exit_ends_pen_only_where_it_was_allowed() {
    let backend = Backend::named("a");
    let mut pen = Launch::ours().control().servers(&[&backend]).start();
    assert_eq!(pen.control().say("exit"), "Exit is not enabled; restart with -X flag\n");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert!(pen.ended().is_none());

    let mut pen = Launch::ours().control().options(&["-X"]).servers(&[&backend]).start();
    let session = Client::connect(&pen);
    assert_eq!(session.line().as_deref(), Some("a"));
    assert_eq!(pen.control().say("exit"), "");
    assert!(pen.wait_exit().success());
    session.rest();
    wait_until("the server to be left", || backend.present() == 0);
}
