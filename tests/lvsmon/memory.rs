//! The memory of lvsmon: none is allocated for checks once the file is read.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Backend, Process, Scratch, program, skip, wait_until};

/// How many allocations lvsmon makes until its server has had that many checks of one of its services, according to valgrind(1).
fn allocations(valgrind: &str, checks: usize) -> u64 {
    let scratch = Scratch::new();
    let file = scratch.join("lvsmon.conf");
    let web = Backend::new("a", |visit| {
        visit.read(&mut [0; 1000])?;
        visit.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall is we\r\n2\r\nll\r\n0\r\n\r\n")
    });
    let down = Backend::down("b");
    let lines = format!(
        "check_rise 1\ncheck_fall 1\ncheck_timeout 0.1\nservice web 127.0.0.1:{web} http body well\nservice tcp 127.0.0.1:{web}\n\
         service silent 127.0.0.1:{web} banner\nservice down 127.0.0.1:{down}\nservice udp 127.0.0.1:{down} udp a b\n\
         service file x file /\nservice talk 127.0.0.1:{web} expect a 200\n",
        web = web.port(),
        down = down.port()
    );
    fs::write(&file, lines).unwrap();
    let mut command = Command::new(valgrind);
    command.args(["--tool=memcheck", "--leak-check=no", "--trace-children=no", env!("CARGO_BIN_EXE_lvsmon")]);
    command.args(["--interval", "0.1", "--foreground", "--file"]).arg(&file);
    let mut process = Process::start(command);
    wait_until("the checks", || web.visits() >= checks);
    process.signal(Signal::TERM);
    process.wait_exit();
    let stderr = process.whole_stderr();
    let (_, usage) = stderr.split_once("total heap usage: ").unwrap_or_else(|| panic!("{stderr}"));
    usage.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn checks_allocate_nothing_after_the_first_ones() {
    let Some(valgrind) = program("valgrind") else { return skip("valgrind is not installed") };
    let few = allocations(&valgrind, 20);
    let many = allocations(&valgrind, 120);
    // 100 more visits are 175 more checks. The few allocations that differ are those of threads, which depend on their timing.
    assert!(many < few + 20, "{few} allocations with 20 visits, {many} with 120");
}
