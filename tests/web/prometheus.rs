//! A real Prometheus reads the metrics while there is load, and what it has added up is what the clients have seen.

use std::env;
use std::fs;
use std::process::Command;

use serde_json::Value;
use socket2::SockAddr;

use super::Page;
use crate::harness::{Client, Launch, Pen, Process, Scratch, free_port, program, skip, wait_for, wait_until};
use crate::metrics::{example, queries};
use crate::nginx::Nginx;

/// How long the load lasts, in seconds. The variable is for those who want to look longer.
fn seconds() -> u64 {
    env::var("PEN_TEST_LOAD_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(20)
}

/// A Prometheus of our own, which asks pen for its metrics once a second.
struct Prometheus {
    at: SockAddr,
    _process: Process,
    _scratch: Scratch,
}

impl Prometheus {
    fn start(program: &str, page: &Page) -> Self {
        let (scratch, port) = (Scratch::new(), free_port());
        fs::write(scratch.join("alerts.yml"), example("alerts.yml")).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [alerts.yml]\n\
             scrape_configs: [{{job_name: pen, static_configs: [{{targets: [\"{}\"]}}]}}]\n",
            page.at
        );
        fs::write(scratch.join("prometheus.yml"), config).unwrap();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", scratch.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let at = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let process = Process::start(command);
        let prometheus = Self { at, _process: process, _scratch: scratch };
        wait_until("Prometheus to be ready", || {
            Client::try_connect(&prometheus.at, None).is_ok() && prometheus.get("/-/ready").starts_with("HTTP/1.0 200 ")
        });
        prometheus
    }

    /// Its whole answer to a request for that path.
    #[track_caller]
    fn get(&self, path: &str) -> String {
        let client = Client::connect_to(&self.at, None);
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        String::from_utf8(client.rest().0).unwrap()
    }

    /// What its API says.
    #[track_caller]
    fn api(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1/{path}"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    /// The results of a query, at that time if one is given.
    #[track_caller]
    fn query(&self, query: &str, time: Option<f64>) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let time = time.map_or_else(String::new, |time| format!("&time={time}"));
        let answer = self.api(&format!("query?query={escaped}{time}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// The only result, if there is one.
    #[track_caller]
    fn number(&self, query: &str, time: Option<f64>) -> Option<f64> {
        let results = self.query(query, time);
        assert!(results.len() < 2, "{query}: {results:?}");
        results.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Waits until that is so.
    #[track_caller]
    fn wait(&self, query: &str, expected: f64) {
        wait_until(&format!("{query} to be {expected}"), || self.number(query, None) == Some(expected));
    }
}

/// Has wrk ask for pages, each over a connection of its own. What it has counted: requests and bytes of answers.
fn load(program: &str, pen: &Pen) -> (f64, f64) {
    let scratch = Scratch::new();
    let script = scratch.join("report.lua");
    let lua = "done = function(all) io.write(string.format('counted %d %d\\n', all.requests, all.bytes)) end\n";
    fs::write(&script, lua).unwrap();
    let mut command = Command::new(program);
    command.args(["-t1", "-c10", &format!("-d{}s", seconds()), "-H", "Connection: close", "-s"]).arg(&script);
    let output = command.arg(format!("http://127.0.0.1:{}/", pen.port())).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("Socket errors") && !text.contains("Non-2xx"), "{output:?}");
    let counted = text.lines().find_map(|line| line.strip_prefix("counted ")).unwrap_or_else(|| panic!("{text}"));
    let (requests, bytes) = counted.split_once(' ').unwrap();
    (requests.parse().unwrap(), bytes.parse().unwrap())
}

/// Whether two numbers are the same but for 2 %.
#[track_caller]
fn assert_near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= expected * 0.02, "{what}: {found} instead of {expected}");
}

#[test]
fn what_prometheus_adds_up_is_what_clients_have_counted() {
    let (Some(prometheus), Some(wrk)) = (program("prometheus"), program("wrk")) else {
        return skip("prometheus or wrk is not installed");
    };
    let page_text = "x".repeat(3000);
    let location = format!("location = / {{ return 200 \"{page_text}\"; }}\n");
    let (Some(one), Some(two)) = (Nginx::with("", &location), Nginx::with("", &location)) else { return };
    let at = format!("127.0.0.1:{}", free_port());
    let options = ["-r", "-O", &format!("web {at}")].map(String::from);
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let pen = Launch::ours().control().options(&options).servers(&[&one.operand(), &two.operand()]).start();
    let control = pen.control();
    let page = Page { pen, control, at };
    let prometheus = Prometheus::start(&prometheus, &page);
    prometheus.wait("up{job=\"pen\"}", 1.0);
    // It has seen the beginning.
    prometheus.wait("sum(pen_connections_total)", 0.0);
    let (requests, bytes) = load(&wrk, &page.pen);
    assert!(requests > 100.0, "{requests}");
    // It has seen the end, when nothing changes any more.
    wait_until("the sessions to end", || page.control.say("connections").is_empty());
    let ended: f64 = page.total("pen_connections_total");
    prometheus.wait("sum(pen_connections_total)", ended);
    let time = wait_for("the time of the last sample", || prometheus.number("max(timestamp(pen_connections))", None));
    let increase = |selector: &str| {
        prometheus.number(&format!("sum(increase({selector}[1h]))"), Some(time)).unwrap_or_else(|| panic!("{selector}"))
    };
    assert_near("connections", increase("pen_connections_total{outcome=\"served\"}"), requests);
    assert_near("bytes", increase("pen_server_received_bytes_total"), bytes);
    assert_near("connects", increase("pen_connect_duration_seconds_count"), requests);
    assert_near("sessions", increase("pen_session_duration_seconds_count"), requests);
    assert_eq!(increase("pen_connections_total{outcome=\"failed\"}"), 0.0);
    for server in ["0", "1"] {
        let part = increase(&format!("pen_connections_total{{outcome=\"served\",server=\"{server}\"}}"));
        assert_near("half of the connections", part, requests / 2.0);
    }
    assert_eq!(prometheus.number("changes(pen_start_time_seconds[1h])", Some(time)), Some(0.0));
    // Each panel of the dashboard shows something, but for what there is none of.
    for query in queries() {
        let results = prometheus.query(&query, Some(time));
        let is_rare = ["check_duration", "tls_failures"].iter().any(|word| query.contains(word));
        assert!(!results.is_empty() || is_rare, "{query}");
    }
    let rules = prometheus.api("rules");
    let alerts = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.iter().all(|alert| alert["health"] == "ok" && alert["state"] == "inactive"), "{rules}");
    assert_eq!(alerts.len(), example("alerts.yml").matches("- alert: ").count());
}
