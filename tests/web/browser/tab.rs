//! A page in a tab of the browser: what is done there, and what is seen.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::driver::Driver;
use crate::harness::let_pass;

/// How long a page may take to show something: longer than it waits for an answer of pen (20 s) and lets pass between refreshes.
const LIMIT: Duration = Duration::from_secs(90);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How an element is called in answers (WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The keys that have no character (WebDriver, section 17.4.2).
pub(super) const TAB: &str = "\u{e004}";
pub(super) const ENTER: &str = "\u{e007}";
pub(super) const ESCAPE: &str = "\u{e00c}";
pub(super) const SPACE: &str = " ";

/// A tab of its own. It is closed when it is dropped, and with it ends all that was emulated there.
#[derive(Debug)]
pub(super) struct Tab<'a> {
    driver: &'a Driver,
    /// The window that stays open, so that the browser does.
    first: Value,
}

impl<'a> Tab<'a> {
    /// A new one, as wide as a desk.
    #[track_caller]
    pub(super) fn new(driver: &'a Driver) -> Self {
        let first = driver.get("window");
        let new = driver.post("window/new", &json!({ "type": "tab" }));
        driver.post("window", &json!({ "handle": new["handle"] }));
        let tab = Self { driver, first };
        tab.width(1280);
        // What earlier tabs have left.
        tab.log();
        tab
    }

    /// Opens a page.
    #[track_caller]
    pub(super) fn open(&self, address: &str) {
        self.driver.post("url", &json!({ "url": address }));
    }

    /// Runs a function body in the page, and returns what it returns. Promises are waited for.
    #[track_caller]
    pub(super) fn run(&self, script: &str) -> Value {
        self.run_with(script, &[])
    }

    /// Likewise with `arguments`.
    #[track_caller]
    pub(super) fn run_with(&self, script: &str, arguments: &[Value]) -> Value {
        self.driver.post("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// A text that an expression gives.
    #[track_caller]
    pub(super) fn text(&self, expression: &str) -> String {
        let value = self.run(&format!("return {expression}"));
        value.as_str().map_or_else(|| value.to_string(), String::from)
    }

    /// What the page says to those who see it.
    #[track_caller]
    pub(super) fn shown(&self) -> String {
        self.text("document.body.innerText")
    }

    /// Waits until an expression holds in the page.
    #[track_caller]
    pub(super) fn wait(&self, expression: &str) {
        let start = Instant::now();
        let script = format!("return !!({expression})");
        // The page may be about to change for another one.
        while self.driver.try_post("execute/sync", &json!({ "script": script, "args": [] })) != Ok(Value::Bool(true)) {
            assert!(start.elapsed() < LIMIT, "waited in vain for {expression}; the page says\n{}", self.shown());
            let_pass(LOOK);
        }
    }

    /// Says something to the browser itself (https://chromedevtools.github.io/devtools-protocol/).
    #[track_caller]
    pub(super) fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.driver.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Makes the window so wide.
    #[track_caller]
    pub(super) fn width(&self, width: u32) {
        let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.tell("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Prefers `light` or `dark`.
    #[track_caller]
    pub(super) fn scheme(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.tell("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// Lets pages run scripts, or not.
    #[track_caller]
    pub(super) fn scripts(&self, allowed: bool) {
        self.tell("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// Sends a name and a password with each request, as after a browser has asked for them.
    #[track_caller]
    pub(super) fn credentials(&self, name_and_password: &str) {
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(name_and_password));
        self.tell("Network.enable", &json!({}));
        self.tell("Network.setExtraHTTPHeaders", &json!({ "headers": { "Authorization": authorization } }));
    }

    /// Clicks on the element that a selector finds.
    #[track_caller]
    pub(super) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.driver.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Clears a field and types into it.
    #[track_caller]
    pub(super) fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.driver.post(&format!("element/{element}/clear"), &json!({}));
        self.driver.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let found = self.driver.post("element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap().to_string()
    }

    /// Presses a key, wherever the focus is.
    #[track_caller]
    pub(super) fn press(&self, key: &str) {
        let actions = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.driver.post("actions", &json!({ "actions": [keyboard] }));
    }

    /// What the console has, and what the browser objects to, since it was asked last.
    #[track_caller]
    pub(super) fn log(&self) -> Vec<String> {
        let entries = self.driver.post("se/log", &json!({ "type": "browser" }));
        let entry = |entry: &Value| format!("{} {}", entry["level"].as_str().unwrap(), entry["message"]);
        entries.as_array().unwrap().iter().map(entry).collect()
    }

    /// Takes a picture of the page down to that height, and writes it beside the other pictures.
    #[track_caller]
    pub(super) fn picture(&self, name: &str, highest: u32) {
        let size = self.run("const page = document.documentElement; return [page.clientWidth, page.scrollHeight]");
        let height = size[1].as_u64().unwrap().min(highest.into());
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": height, "scale": 1 });
        let taken = self.tell("Page.captureScreenshot", &json!({ "captureBeyondViewport": true, "clip": clip }));
        let bytes = BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let folder = std::env::var_os("PEN_TEST_SCREENSHOTS")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots"), PathBuf::from);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name).with_extension("png"), bytes).unwrap();
    }
}

impl Drop for Tab<'_> {
    fn drop(&mut self) {
        self.driver.close_window();
        let _ = self.driver.try_post("window", &json!({ "handle": self.first }));
    }
}
