//! The metrics, as Prometheus and its tools read them.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pen::policy::balancer::Balancer;
use pen::policy::command::Command as PenCommand;
use pen::policy::identity::Identity;
use pen::policy::report::Context;
use pen::policy::report::batch::Bounds;
use pen::policy::report::metrics::facts::{Facts, Process};
use pen::policy::report::metrics::metrics;

use crate::harness::{program, skip};

/// The metrics of a pen with servers of all kinds.
fn text() -> String {
    let now = Instant::now();
    let mut balancer = Balancer::new(Identity::default(), String::from("80"));
    for line in [
        "server 0 address 10.0.0.1 port 80 max 10",
        "server 1 address /run/a\"b\\c",
        "server 3 address 10.0.0.2 port 443",
        "emergency 10.0.0.8:80",
        "abuse 10.0.0.9:80",
    ] {
        balancer.apply(PenCommand::parse(line, None).unwrap(), &Context::start(now));
    }
    let servers = balancer.server_batch(0, Bounds { rows: usize::MAX, slots: usize::MAX }).rows;
    let summary = balancer.summary(now, String::new());
    let process = Process {
        start: Duration::from_secs(1_800_000_000),
        cpu: Duration::from_millis(1234),
        resident: Some(4 << 20),
        open_files: Some(17),
        max_files: Some(1024),
        threads: 9,
    };
    let mut text = String::new();
    metrics(&Facts { summary: &summary, process: &process }, &servers, &mut text).unwrap();
    text
}

/// Runs promtool, if it is installed, with that input.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let Some(program) = program("promtool") else {
        skip("promtool (package prometheus) is not installed");
        return None;
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let Some(output) = promtool(&["check", "metrics"], &text()) else { return };
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}\n{}", text());
    // It does look.
    let wrong = promtool(&["check", "metrics"], "# TYPE pen_x counter\npen_x 1\n").unwrap();
    assert!(!wrong.status.success() && !wrong.stderr.is_empty(), "{wrong:?}");
}
