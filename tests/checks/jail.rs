//! Checks of a pen in a jail, as another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use super::{FAST, facts, put_script, wait_down, wait_state};
use crate::harness::{Backend, Control, Launch, Pen, Scratch, free_port, is_root, program, skip, wait_until};

/// A folder for a jail, which any user may look at.
fn jail() -> Option<Scratch> {
    if !is_root() {
        skip("only root can make a jail");
        return None;
    }
    let jail = Scratch::new();
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Some(jail)
}

/// A pen in that jail, as nobody.
fn start(jail: &Path, options: &[&str], commands: &[&str], servers: &[&Backend]) -> (Pen, Control) {
    let commands: Vec<_> = commands.iter().flat_map(|command| ["-O", *command]).collect();
    let servers: Vec<_> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    let launch = Launch::ours().control_for_somebody_else(format!("127.0.0.1:{}", free_port()));
    let launch = launch.options(&["-j", &jail.display().to_string(), "-u", "nobody"]).options(options);
    let pen = launch.options(&commands).servers(&servers).start();
    let control = pen.control();
    (pen, control)
}

#[test]
fn programs_and_files_are_those_of_the_jail() {
    let Some(jail) = jail() else { return };
    let (a, outside) = (Backend::named("a"), Scratch::new());
    // It is there, but not in the jail.
    let script = put_script(outside.path(), "script", "exit 0").display().to_string();
    let mut commands = FAST.to_vec();
    let (exec, file) = (format!("server 0 check exec {script}"), format!("server 1 check file {script}"));
    let notify = format!("notify {script}");
    commands.extend([exec.as_str(), &file, &notify, "server 2 check file /there", "server 3 check tcp"]);
    let (pen, control) = start(jail.path(), &[], &commands, &[&a, &a, &a, &a]);
    assert_eq!(wait_down(&control, 0), "exec: No such file or directory");
    assert_eq!(wait_down(&control, 1), "file: the file does not exist");
    assert_eq!(wait_down(&control, 2), "file: the file does not exist");
    let line = pen.wait_for_line("it was to be told: server 0 (");
    assert!(line.contains(&format!("{script}: No such file or directory; it was to be told: ")), "{line}");
    fs::write(jail.join("there"), "").unwrap();
    wait_state(&control, 2, "up");
    a.visit(0);
    assert_eq!(facts(&control, 3)["state"], "up");
}

#[test]
fn a_program_in_the_jail_runs_as_the_user() {
    let Some(jail) = jail() else { return };
    // A program that needs no library, and has the status 0 with these arguments.
    let static_program = program("ldconfig").filter(|path| {
        std::process::Command::new("ldd").arg(path).output().is_ok_and(|output| {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).contains("static")
        })
    });
    let Some(path) = static_program else { return skip("this needs a program that is linked statically") };
    fs::copy(path, jail.join("program")).unwrap();
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let mut commands = FAST.to_vec();
    // Without an option it would write a cache, which it may not.
    commands.extend(["check exec /program", "server 0 check exec /program --version"]);
    let (_pen, control) = start(jail.path(), &[], &commands, &[&a, &b]);
    assert_eq!(wait_down(&control, 1), "exec: exit status 1");
    assert_eq!(facts(&control, 0)["state"], "up");
}

#[test]
fn checks_outlive_hup_there() {
    let Some(jail) = jail() else { return };
    let (a, b) = (Backend::named("a"), Backend::down("b"));
    let file = jail.join("pen.conf");
    let lines = |more: &str| {
        let server =
            |number: usize, server: &Backend| format!("server {number} address 127.0.0.1 port {}\n", server.port());
        format!("check_interval 1\ncheck_fall 1\ncheck_rise 1\ncheck tcp\n{}{}{more}", server(0, &a), server(1, &b))
    };
    fs::write(&file, lines("")).unwrap();
    // The name is that in the jail.
    let linked = format!("{0}{0}", jail.path().display());
    fs::create_dir_all(&linked).unwrap();
    std::os::unix::fs::symlink("/pen.conf", Path::new(&linked).join("pen.conf")).unwrap();
    let (pen, control) = start(jail.path(), &["-F", &file.display().to_string()], &[], &[]);
    wait_down(&control, 1);
    fs::write(&file, lines("timeout 77\n")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the reload", || control.say("timeout") == "77\n");
    assert_eq!(wait_down(&control, 1), "tcp: connection refused");
    b.start();
    wait_state(&control, 1, "up");
}
