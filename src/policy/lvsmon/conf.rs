//! The file of lvsmon: services, and settings for those that follow.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{Endpoint, Port};
use crate::policy::check::kind::Kind;
use crate::policy::check::quoting::{Reader, Word};
use crate::policy::check::roster::Pace;
use crate::policy::command::words::{LONGEST, number, seconds};
use crate::policy::proxy::Version;
use crate::policy::tls::Trust;

/// The words that begin a line, for errors.
pub const WORDS: &str = "service, check, check_fall, check_interval, check_port, check_rise, check_timeout, resolve, send_proxy, source, \
                     tls_ca, tls_cert, tls_key, tls_name, tls_verify";

/// The most bad lines of a file that are named.
const NAMED: usize = 100;

/// The most services, which a list of 32-bit places can hold by far.
const MOST: usize = 1_000_000;

/// The longest name of a service, in bytes.
const LONGEST_NAME: usize = 100;

/// The shortest time that can be set, in seconds.
const SHORTEST: f64 = 0.1;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The services, in their order.
    pub services: Vec<Service>,
    /// How often all names are looked up again: `resolve`.
    pub resolve: Option<Duration>,
}

/// A service as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The line that it stands in.
    pub line: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its address as it was written.
    pub address: Arc<str>,
    /// What its check connects to: that address, or another port there.
    pub endpoint: Endpoint,
    /// What it is asked.
    pub kind: Arc<Kind>,
    /// The settings that hold for it.
    pub options: Arc<Options>,
}

/// The settings that hold for a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// `check_interval`, `check_timeout`, `check_rise`, `check_fall`.
    pub pace: Pace,
    /// The port that is checked instead of the service's own: `check_port`.
    pub port: Option<Port>,
    /// The local address: `source`.
    pub source: Option<IpAddr>,
    /// The PROXY header that a connection begins with: `send_proxy`.
    pub proxy: Option<Version>,
    /// The name that is asked for and verified: `tls_name`.
    pub tls_name: Option<Arc<str>>,
    /// What is verified and shown: `tls_verify`, `tls_ca`, `tls_cert`, `tls_key`.
    pub trust: Arc<Trust>,
}

/// What the file has said so far.
struct Parser {
    services: Vec<Service>,
    /// The lines of the names.
    names: HashMap<Arc<str>, u32>,
    options: Arc<Options>,
    /// The check of services that say none: `check`.
    kind: Arc<Kind>,
    /// Many services are asked the same.
    kinds: HashMap<String, Arc<Kind>>,
    resolve: Option<Duration>,
}

/// Reads the text of a file. `name` is what errors call it; `pace` holds until the file says otherwise. The error names each bad line in
/// a line of its own, and counts those beyond the first 100.
pub fn parse(name: &str, text: &str, pace: Pace) -> Result<Configuration, String> {
    let options = Arc::new(Options { pace, ..Options::default() });
    let kind = Arc::new(Kind::Tcp);
    let (services, names, kinds) = (Vec::new(), HashMap::new(), HashMap::new());
    let mut parser = Parser { services, names, options, kind, kinds, resolve: None };
    let mut errors = Vec::new();
    let mut more = 0;
    // Some editors put a byte order mark there.
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let odd = line.chars().find(|c| (c.is_control() && *c != '\t') || (c.is_whitespace() && !c.is_ascii()));
        let outcome = match odd {
            Some(odd) => Err(format!("there is a character U+{:04X} that cannot be seen", u32::from(odd))),
            None => parser.line(number, line),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if errors.len() < NAMED => errors.push(format!("{name}:{number}: {error}")),
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        errors.push(format!("{name}: {more} more bad lines"));
    }
    let Parser { services, resolve, .. } = parser;
    if errors.is_empty() { Ok(Configuration { services, resolve }) } else { Err(errors.join("\n")) }
}

impl Parser {
    fn line(&mut self, number: u32, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_at(line.find(|c: char| c.is_ascii_whitespace()).unwrap_or(line.len()));
        match word {
            "service" => self.service(number, rest),
            "check" => {
                self.kind = self.kind(rest)?;
                Ok(())
            }
            _ => {
                let mut words = Reader::new(rest);
                let value = words.next(&format!("{word}: a value")).and_then(Word::text);
                // A word that is unknown is told before what follows it.
                let text = value.as_deref().unwrap_or_default();
                match word {
                    "resolve" if text == "off" => self.resolve = None,
                    "resolve" => self.resolve = Some(seconds(word, text, 1)?),
                    _ => set(Arc::make_mut(&mut self.options), word, text)?,
                }
                value.and_then(|_| words.end()).map_err(|error| format!("{word}: {error}"))
            }
        }
    }

    fn service(&mut self, line: u32, rest: &str) -> Result<(), String> {
        let mut words = Reader::new(rest);
        let name: Arc<str> = words.next("service: a name")?.text()?.into();
        let is_name =
            name.len() <= LONGEST_NAME && !name.starts_with('-') && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name || name.is_empty() {
            return Err(format!(
                "service: {name:?} is no name: that has 1 to {LONGEST_NAME} visible characters of ASCII and does not begin with \"-\""
            ));
        }
        let of = |error| format!("service {name}: {error}");
        let address = words.next("host:port").and_then(Word::text).map_err(of)?;
        let kind = match words.rest() {
            "" => Arc::clone(&self.kind),
            text => self.kind(text).map_err(of)?,
        };
        // Where nothing is connected to, the port says nothing.
        let port = self.options.port.clone().or((!kind.connects()).then_some(Port::Number(1)));
        let endpoint = Endpoint::parse_server(&address, port.as_ref())
            .map_err(|error| of(error.replace(", and the listener has none to take over", "")))?;
        let endpoint = match &self.options.port {
            Some(port) => endpoint.with_port(port.clone()),
            None => endpoint,
        };
        if let Some(first) = self.names.insert(Arc::clone(&name), line) {
            return Err(of(format!("there is one of that name already, in line {first}")));
        }
        if self.services.len() == MOST {
            return Err(format!("there can be {MOST} services at most"));
        }
        let options = Arc::clone(&self.options);
        self.services.push(Service { line, name, address: address.into(), endpoint, kind, options });
        Ok(())
    }

    fn kind(&mut self, text: &str) -> Result<Arc<Kind>, String> {
        if let Some(kind) = self.kinds.get(text) {
            return Ok(Arc::clone(kind));
        }
        let kind = Arc::new(Kind::parse(text)?);
        self.kinds.insert(text.to_string(), Arc::clone(&kind));
        Ok(kind)
    }
}

/// Changes a setting.
fn set(options: &mut Options, word: &str, value: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{word}: \"{value}\" is not {what}"));
    let file = || match value {
        "off" => Ok(None),
        path if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
        path => Err(format!("{word}: \"{path}\" is neither the full path of a file nor \"off\"")),
    };
    if word.starts_with("tls_") && !cfg!(feature = "tls") {
        return Err(format!("{word}: this program was built without TLS (feature tls)"));
    }
    match word {
        "check_interval" => options.pace.interval = time(word, value)?,
        "check_timeout" => options.pace.timeout = time(word, value)?,
        "check_rise" => options.pace.limits.rise = number(word, value, 1, 1000)?,
        "check_fall" => options.pace.limits.fall = number(word, value, 1, 1000)?,
        "check_port" if value == "off" => options.port = None,
        "check_port" => options.port = Some(Port::parse(value).map_err(|error| format!("{word}: {error}"))?),
        "source" => {
            options.source = match value {
                "off" => None,
                _ => match value.parse() {
                    Ok(ip) => Some(ip),
                    Err(_) => return wrong("an address, nor \"off\""),
                },
            }
        }
        "send_proxy" => {
            options.proxy = match value {
                "off" => None,
                "v1" => Some(Version::V1),
                "v2" => Some(Version::V2),
                _ => return wrong("one of: off, v1, v2"),
            }
        }
        "tls_name" => options.tls_name = (value != "off").then(|| value.into()),
        "tls_verify" => {
            Arc::make_mut(&mut options.trust).verify = match value {
                "on" => true,
                "off" => false,
                _ => return wrong("one of: on, off"),
            }
        }
        "tls_ca" => Arc::make_mut(&mut options.trust).ca = file()?,
        "tls_cert" => Arc::make_mut(&mut options.trust).cert = file()?,
        "tls_key" => Arc::make_mut(&mut options.trust).key = file()?,
        _ => return Err(format!("unknown word \"{word}\"; there are: {WORDS}")),
    }
    Ok(())
}

/// Reads a time in seconds, with at most three decimals.
pub fn time(what: &str, text: &str) -> Result<Duration, String> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && text.split_once('.').is_none_or(|(_, decimals)| (1..=3).contains(&decimals.len()));
    let seconds = text.parse().ok().filter(|seconds| is_decimal && (SHORTEST..=LONGEST as f64).contains(seconds));
    let seconds = seconds.map(|seconds: f64| Duration::from_millis((seconds * 1000.0).round() as u64));
    seconds.ok_or_else(|| format!("{what}: \"{text}\" is not a number of seconds from {SHORTEST} to {LONGEST}"))
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {} {} {}", self.name, self.address, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Vec<Service>, String> {
        parse("f", text, Pace::default()).map(|configuration| configuration.services)
    }

    #[test]
    fn settings_hold_for_the_services_that_follow() {
        let text = "\u{feff}# comment\n\nservice a 10.0.0.1:80\ncheck http /up\ncheck_interval 0.5\nservice b 10.0.0.2:80\n\
                    check_port 8080\ncheck_fall 1\nsend_proxy v2\nservice c www.example:80 tcp\ncheck_port off\nservice d [::1]:80\n\
                    service e /run/x.sock banner 220\nservice f host file /run/up\n";
        let services = parsed(text).unwrap();
        let lines: Vec<_> =
            services.iter().map(|service| format!("f:{} {service} {}", service.line, service.endpoint)).collect();
        assert_eq!(
            lines,
            [
                "f:3 service a 10.0.0.1:80 tcp 10.0.0.1:80",
                "f:6 service b 10.0.0.2:80 http /up 10.0.0.2:80",
                "f:10 service c www.example:80 tcp www.example:8080",
                "f:12 service d [::1]:80 http /up [::1]:80",
                "f:13 service e /run/x.sock banner 220 /run/x.sock",
                "f:14 service f host file /run/up host:1",
            ]
        );
        let intervals: Vec<_> = services.iter().map(|service| service.options.pace.interval.as_millis()).collect();
        assert_eq!(intervals, [10_000, 500, 500, 500, 500, 500]);
        let falls: Vec<_> = services.iter().map(|service| service.options.pace.limits.fall).collect();
        assert_eq!(falls, [3, 3, 1, 1, 1, 1]);
        assert!(Arc::ptr_eq(&services[1].kind, &services[3].kind));
        assert_eq!((services[1].options.proxy, services[2].options.proxy), (None, Some(Version::V2)));
    }

    #[test]
    fn every_bad_line_is_named_with_the_word() {
        for (line, error) in [
            ("frob 1", format!("unknown word \"frob\"; there are: {WORDS}")),
            ("service", String::from("service: a name is missing")),
            ("service a", String::from("service a: host:port is missing")),
            ("service a 10.0.0.1", String::from("service a: \"10.0.0.1\" names no port")),
            (
                "service a h:99999",
                String::from("service a: \"h:99999\": port \"99999\" is not a number from 1 to 65535"),
            ),
            ("service a h:1 tcp 5", String::from("service a: tcp: nothing is expected from \"5\" on")),
            (
                "service -a h:1",
                String::from(
                    "service: \"-a\" is no name: that has 1 to 100 visible characters of ASCII and does not begin with \"-\"",
                ),
            ),
            ("check_interval", String::from("check_interval: \"\" is not a number of seconds from 0.1 to 31536000")),
            (
                "check_interval 0.01",
                String::from("check_interval: \"0.01\" is not a number of seconds from 0.1 to 31536000"),
            ),
            (
                "check_timeout inf",
                String::from("check_timeout: \"inf\" is not a number of seconds from 0.1 to 31536000"),
            ),
            ("check_rise 0", String::from("check_rise: \"0\" is not a number from 1 to 1000")),
            ("check_rise 2 3", String::from("check_rise: nothing is expected from \"3\" on")),
            ("source a", String::from("source: \"a\" is not an address, nor \"off\"")),
            ("send_proxy v3", String::from("send_proxy: \"v3\" is not one of: off, v1, v2")),
            ("resolve 0", String::from("resolve: \"0\" is not a number from 1 to 31536000")),
            ("tls_ca x", String::from("tls_ca: \"x\" is neither the full path of a file nor \"off\"")),
            ("tls_verify 1", String::from("tls_verify: \"1\" is not one of: on, off")),
            ("service\u{a0}a h:1", String::from("there is a character U+00A0 that cannot be seen")),
        ] {
            let error = match line.split_once(' ') {
                Some((word, _)) if word.starts_with("tls_") && !cfg!(feature = "tls") => {
                    format!("{word}: this program was built without TLS (feature tls)")
                }
                _ => error,
            };
            assert_eq!(parsed(&format!("\n{line}\n")).unwrap_err(), format!("f:2: {error}"), "{line}");
        }
        let error = parsed("service a h:1\nservice a h:2\nfrob\n").unwrap_err();
        let errors: Vec<_> = error.lines().collect();
        assert_eq!(errors[0], "f:2: service a: there is one of that name already, in line 1");
        assert!(errors[1].starts_with("f:3: unknown word \"frob\""));
        let error = parsed(&"frob\n".repeat(NAMED + 7)).unwrap_err();
        assert_eq!((error.lines().count(), error.lines().last()), (NAMED + 1, Some("f: 7 more bad lines")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(service a|check|source|tls_ca|http|\"|\\\\|:|\\[|[ -~\n\u{e9}]){0,40}") {
            let _ = parsed(&text);
        }
    }
}
