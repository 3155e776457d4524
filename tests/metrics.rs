//! The metrics, as Prometheus and its tools read them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pen::policy::balancer::Balancer;
use pen::policy::command::Command as PenCommand;
use pen::policy::identity::Identity;
use pen::policy::refusal::Refusal;
use pen::policy::report::Context;
use pen::policy::report::batch::Bounds;
use pen::policy::report::metrics::Metrics;
use pen::policy::report::metrics::facts::{Facts, Process};

use serde_json::Value;

use crate::harness::{Scratch, program, skip};

/// When alerts fire and when they do not, for promtool.
const ALERTS_TEST: &str = include_str!("alerts_test.yml");

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
    Metrics { facts: Facts { summary: &summary, process: &process }, servers: &servers }.to_string()
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

/// One of the files in src/service/.
pub(crate) fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service").join(name)).unwrap()
}

/// The names of metrics in a text, without what histograms add to theirs.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("pen_") || word.starts_with("process_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name)).collect()
}

/// The names of the metrics that there are.
fn known(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// The queries of the dashboard, with values for its variables.
pub(crate) fn queries() -> Vec<String> {
    fn collect(value: &Value, queries: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                let query = map.get("expr").and_then(Value::as_str);
                queries.extend(query.map(|query| query.replace("$__rate_interval", "1m").replace("$instance", ".+")));
                map.values().for_each(|value| collect(value, queries));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
            _ => {}
        }
    }
    let mut queries = Vec::new();
    collect(&serde_json::from_str(&example("grafana.json")).unwrap(), &mut queries);
    queries
}

#[test]
fn the_dashboard_and_the_alerts_name_only_metrics_that_there_are() {
    let (text, alerts, queries) = (text(), example("alerts.yml"), queries().join("\n"));
    for used in [names(&alerts), names(&queries)] {
        let unknown: Vec<_> = used.difference(&known(&text)).copied().collect();
        assert!(unknown.is_empty() && used.len() > 5, "{unknown:?}");
    }
    // Nothing is told in vain.
    let both = names(&alerts).union(&names(&queries)).copied().collect();
    let left: Vec<_> = known(&text).difference(&both).copied().collect();
    assert_eq!(left, ["pen_server_connections_max", "pen_server_weight", "process_start_time_seconds"]);
}

#[test]
fn the_dashboard_can_be_imported() {
    let board: Value = serde_json::from_str(&example("grafana.json")).unwrap();
    let variables: Vec<_> = board["templating"]["list"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(variables, ["datasource", "instance"]);
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + w <= 24, "{panel}");
        let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(cells.into_iter().all(|cell| taken.insert(cell)), "two panels are in the same place: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["title"].as_str().unwrap().is_empty() && !panel["description"].as_str().unwrap().is_empty());
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            assert!(target["expr"].as_str().unwrap().contains("$instance"), "{target}");
        }
    }
}

#[test]
fn promtool_understands_the_queries_of_the_dashboard() {
    let rules: String = queries()
        .iter()
        .enumerate()
        .map(|(number, query)| format!("  - record: query:{number}\n    expr: {}\n", Value::from(query.as_str())))
        .collect();
    let (scratch, text) = (Scratch::new(), format!("groups:\n- name: all\n  rules:\n{rules}"));
    let file = scratch.join("rules.yml");
    fs::write(&file, &text).unwrap();
    let Some(output) = promtool(&["check", "rules", file.to_str().unwrap()], "") else { return };
    assert!(output.status.success(), "{output:?}\n{text}");
}

#[test]
fn alerts_fire_when_they_are_to_and_a_pen_in_good_order_causes_none() {
    let scratch = Scratch::new();
    fs::write(scratch.join("alerts.yml"), example("alerts.yml")).unwrap();
    let (alerts, test) = (scratch.join("alerts.yml"), scratch.join("test.yml"));
    fs::write(&test, ALERTS_TEST).unwrap();
    let Some(output) = promtool(&["check", "rules", alerts.to_str().unwrap()], "") else { return };
    assert!(output.status.success(), "{output:?}");
    let output = promtool(&["test", "rules", test.to_str().unwrap()], "").unwrap();
    assert!(output.status.success(), "{output:?}");
    for name in example("alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(ALERTS_TEST.contains(&format!("alertname: {name}\n")), "{name} is not tested");
    }
}

#[test]
fn the_manual_names_all_metrics_of_pen_and_all_reasons_of_refusals() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/pen.1")).unwrap();
    let section = manual.split_once(".Ss Metrics\n").unwrap().1.split(".Sh ").next().unwrap();
    let text = text();
    let left: Vec<_> = names(section).symmetric_difference(&known(&text)).copied().collect();
    assert!(left.iter().all(|name| name.starts_with("process_")), "{left:?}");
    for refusal in Refusal::ALL {
        assert!(section.contains(&format!(".Ql {}", refusal.word())), "{}", refusal.word());
    }
}
