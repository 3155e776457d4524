//! Chromium, driven by chromedriver over the WebDriver protocol (https://www.w3.org/TR/webdriver2/).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Process, Scratch, let_pass, wait_for};

/// How long chromedriver may take for anything that it is asked. A page is laid out in far less, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether its processes have ended.
const LOOK: Duration = Duration::from_millis(10);

/// Without these it does not start as root, in a container, or without a display. With these it asks no other host for anything.
const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--hide-scrollbars",
    // Pages in the background are not slowed down.
    "--disable-renderer-backgrounding",
    // It ends when chromedriver ends, however that ends.
    "--remote-debugging-pipe",
];

/// Waits for the end of its input, which comes at the latest with the end of the tests, and then ends the group of processes.
const GUARD: &str = "chromedriver --port=0 </dev/null & read -r _; kill -KILL 0";

/// A browser. All its processes end when it is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    /// The leader of a group of processes, to which chromedriver and Chromium belong.
    guard: Process,
    port: u16,
    session: String,
    /// The profile of the browser. It is removed after the processes have ended.
    _folder: Scratch,
}

impl Driver {
    /// Starts it with an empty profile.
    #[track_caller]
    pub(super) fn start() -> Self {
        let folder = Scratch::new();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).env("HOME", folder.path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let guard = Process::start_with_its_own_output(command);
        let port = wait_for("chromedriver to listen", || {
            let said = guard.stdout();
            let (_, rest) = said.split_once("started successfully on port ")?;
            rest.split_once('.')?.0.parse().ok()
        });
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let flags: Vec<_> = FLAGS.iter().copied().chain([profile.as_str()]).collect();
        let mut driver = Self { guard, port, session: String::new(), _folder: folder };
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let session = driver.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } })).unwrap();
        driver.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        driver
    }

    /// Asks for something of the session; the answer must be a good one.
    #[track_caller]
    pub(super) fn post(&self, what: &str, parameters: &Value) -> Value {
        self.try_post(what, parameters).unwrap_or_else(|error| panic!("{what} {parameters}: {error}"))
    }

    /// Likewise; the error is that of chromedriver.
    pub(super) fn try_post(&self, what: &str, parameters: &Value) -> Result<Value, Value> {
        self.ask("POST", &format!("{}/{what}", self.session), parameters)
    }

    /// Reads something of the session.
    #[track_caller]
    pub(super) fn get(&self, what: &str) -> Value {
        self.ask("GET", &format!("{}/{what}", self.session), &Value::Null).unwrap()
    }

    /// Closes the window that is in use.
    pub(super) fn close_window(&self) {
        // The window may be gone.
        let _ = self.ask("DELETE", &format!("{}/window", self.session), &Value::Null);
    }

    fn ask(&self, method: &str, path: &str, parameters: &Value) -> Result<Value, Value> {
        let body = if method == "POST" { parameters.to_string() } else { String::new() };
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len());
        (&socket).write_all((head + &body).as_bytes()).unwrap();
        let mut answer = BufReader::new(socket);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap();
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut text = vec![0; length];
        answer.read_exact(&mut text).unwrap();
        let value = serde_json::from_slice::<Value>(&text).unwrap()["value"].take();
        if value.get("error").is_some_and(Value::is_string) { Err(value) } else { Ok(value) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let Some(group) = i32::try_from(self.guard.pid()).ok().and_then(Pid::from_raw) else { return };
        // The leader of the group is a child that nothing has waited for: no other group has its number.
        let _ = kill_process_group(group, Signal::KILL);
        // What a process still writes while the folder is removed would stay.
        let start = Instant::now();
        while self.guard.ended().is_none() || test_kill_process_group(group).is_ok() {
            if start.elapsed() > DEADLINE {
                break;
            }
            let_pass(LOOK);
        }
    }
}
