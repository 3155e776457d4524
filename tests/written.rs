//! Properties of the command language: what is printed is read again, and what `write` makes brings back what it was made of.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Instant;

use pen::endpoint::Port;
use pen::policy::balancer::Balancer;
use pen::policy::command::Command;
use pen::policy::command::file;
use pen::policy::identity::Identity;
use pen::policy::report::Context;
use proptest::collection::vec;
use proptest::prelude::*;

/// One time for all, so that blacklist times do not pass.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

const LISTENER: &str = "127.0.0.1:8080";

/// Valid commands that change something, as somebody would write them.
fn command() -> impl Strategy<Value = String> {
    let switches: &'static [&'static str] = &[
        "abort_on_error",
        "ascii",
        "dummy",
        "hash",
        "keepalive",
        "peek",
        "prio",
        "roundrobin",
        "stubborn",
        "tcp_nodelay",
        "transparent",
        "weight",
    ];
    let switch = (prop::sample::select(switches), any::<bool>());
    let address = prop_oneof![
        any::<u32>().prop_map(|n| std::net::Ipv4Addr::from(n).to_string()),
        any::<u128>().prop_map(|n| std::net::Ipv6Addr::from(n).to_string()),
        "/[a-z<>\"&]{1,12}",
    ];
    let upstream = prop_oneof![
        (any::<u32>(), 1u16..).prop_map(|(n, port)| format!("{}:{port}", std::net::Ipv4Addr::from(n))),
        (any::<u128>(), 1u16..).prop_map(|(n, port)| format!("[{}]:{port}", std::net::Ipv6Addr::from(n))),
        any::<u32>().prop_map(|n| std::net::Ipv4Addr::from(n).to_string()),
        "/[a-z]{1,9}",
    ];
    let key = prop_oneof![
        (0u8..10).prop_map(|n| format!("acl {n}")),
        address.prop_map(|address| format!("address {address}")),
        any::<u16>().prop_map(|port| format!("port {port}")),
        (prop::sample::select(&["max", "hard", "weight", "prio"][..]), any::<u32>())
            .prop_map(|(k, n)| format!("{k} {n}")),
        (0u32..100).prop_map(|n| format!("blacklist {n}")),
        prop::sample::select(&["drain", "maint", "ready", "close"][..]).prop_map(String::from),
    ];
    let number = (
        prop::sample::select(
            &[
                "blacklist",
                "timeout",
                "idle_timeout",
                "half_closed_timeout",
                "tracking",
                "conn_max",
                "clients_max",
                "udp_timeout",
                "udp_responses",
                "udp_silence",
                "check_interval",
                "check_timeout",
                "check_port",
                "slow_start",
            ][..],
        ),
        1u32..3000,
    );
    let check = prop_oneof![
        prop::sample::select(
            &[
                "tcp",
                "banner",
                "banner \"a \\\"b\\\" #\\r\\n\"",
                "http",
                "http /a?b status 404 host www body \"c d\"",
                "expect a b \"\" \"\"",
                "udp 0x00ff x",
                "udp \"0x00\"",
                "dns www.test",
                "exec /bin/a \"b c\"",
                "file \"/a b\" absent",
            ][..]
        )
        .prop_map(String::from),
        vec(any::<u8>(), 1..6).prop_map(|bytes| {
            let bytes: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("expect \"{bytes}\" \"{bytes}\"")
        }),
    ];
    let checked = prop_oneof![check.clone(), prop::sample::select(&["off", "-"][..]).prop_map(String::from)];
    let own = (
        prop::sample::select(
            &[
                "check_interval",
                "check_timeout",
                "check_rise",
                "check_fall",
                "check_port",
                "check_rise -",
                "check_port -",
            ][..],
        ),
        1u32..900,
    )
        .prop_map(|(key, n)| if key.ends_with('-') { key.to_string() } else { format!("{key} {n}") });
    let file = "/[a-zA-Z0-9_./-]{1,9}( [a-z]{1,5}){0,2}";
    let permit = prop::sample::select(&["permit", "deny"][..]);
    prop_oneof![
        3 => switch.prop_map(|(word, on)| format!("{}{word}", if on { "" } else { "no " })),
        3 => number.prop_map(|(word, n)| format!("{word} {n}")),
        4 => (0u16..12, vec(key, 1..5)).prop_map(|(n, keys)| format!("server {n} {}", keys.join(" "))),
        2 => (0u16..12, vec(own, 0..4), checked).prop_map(|(n, keys, check)| format!("server {n} {} check {check}", keys.join(" "))),
        1 => check.prop_map(|check| format!("check {check}")),
        1 => prop::sample::select(&[
            "no check", "no check_port", "check_first", "no check_first", "check_on_down close", "check_on_down keep", "check_rise 7", "check_fall 1",
            "observe 3", "observe 0", "slow_start 0", "no notify", "notify /bin/a b", "server 1 up", "server 2 down a b",
        ][..]).prop_map(String::from),
        2 => (0u8..10, permit.clone(), any::<u32>(), 0u8..=32)
            .prop_map(|(list, what, ip, bits)| format!("acl {list} {what} {}/{bits}", std::net::Ipv4Addr::from(ip))),
        1 => (0u8..10, permit.clone(), any::<u128>(), 0u8..=128)
            .prop_map(|(list, what, ip, bits)| format!("acl {list} {what} {}/{bits}", std::net::Ipv6Addr::from(ip))),
        1 => (0u8..10, permit.clone(), "[A-Za-z]{2}").prop_map(|(list, what, code)| format!("acl {list} {what} country {code}")),
        1 => (0u8..10).prop_map(|n| format!("no acl {n}")),
        1 => (prop::sample::select(&["client_acl", "control_acl"][..]), 0u8..10).prop_map(|(w, n)| format!("{w} {n}")),
        1 => prop::sample::select(&["up", "down", "both", "off"][..]).prop_map(|ends| format!("tcp_fastclose {ends}")),
        2 => (prop::sample::select(&["emergency", "abuse"][..]), upstream).prop_map(|(word, at)| format!("{word} {at}")),
        1 => prop::sample::select(&[
            "no emergency", "no abuse", "no tracking", "tracking 0", "idle_timeout 0", "half_closed_timeout 0", "no source", "source 192.0.2.1",
            "source ::1", "no log", "log www:99", "log [::1]:99", "no web_stats", "no geoip", "idlers 3", "idlers 0", "debug 2", "debug 0", "blacklist 0", "syslog_facility cron",
            "no servers", "no server 3", "no udp_responses", "udp_responses 0", "udp_silence 0", "udp_proxy each", "udp_proxy first", "listen 127.0.0.1:81", "listen [::1]:82", "listen /run/listener", "listen 83", "listen 84,[::1]:85 /run/listener",
        ][..]).prop_map(String::from),
        1 => (prop::sample::select(&["geoip", "log", "web_stats"][..]), file).prop_map(|(word, file)| format!("{word} {file}")),
    ]
}

/// A balancer as the command line has made it.
fn fresh() -> Balancer {
    Balancer::new(Identity::default(), String::from(LISTENER))
}

fn read(line: &str) -> Command {
    Command::parse(line, Some(&Port::Number(8080))).unwrap_or_else(|wrong| panic!("{line}: {wrong}"))
}

fn apply(balancer: &mut Balancer, commands: impl IntoIterator<Item = Command>) {
    let moment = Context::start(*NOW);
    for command in commands {
        balancer.apply(command, &moment);
    }
}

fn lines(balancer: &Balancer) -> Vec<String> {
    balancer.to_commands(*NOW).iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_configuration_comes_back_from_its_commands(said in vec(command(), 0..60), serving: bool) {
        let mut balancer = fresh();
        if serving {
            balancer.begin_serving(1, Instant::now());
        }
        apply(&mut balancer, said.iter().map(|line| read(line)));
        let mut again = fresh();
        apply(&mut again, balancer.to_commands(*NOW));
        prop_assert_eq!(lines(&again), lines(&balancer));
        // Where something else was before, too: all that can be set is said.
        let mut other = fresh();
        apply(&mut other, said.iter().rev().map(|line| read(line)));
        if !said.iter().any(|line| line.starts_with("listen")) {
            apply(&mut other, balancer.to_commands(*NOW));
            prop_assert_eq!(lines(&other), lines(&balancer));
        }
    }

    #[test]
    fn a_printed_command_is_read_as_what_it_was(line in command()) {
        let command = read(&line);
        let printed = command.to_string();
        let again = read(&printed);
        prop_assert_eq!(&again.to_string(), &printed);
        prop_assert_eq!(again, command);
    }

    #[test]
    fn a_written_file_says_what_the_configuration_is(said in vec(command(), 0..60)) {
        let mut balancer = fresh();
        apply(&mut balancer, said.iter().map(|line| read(line)));
        let text = balancer.written(*NOW, "2026-01-02 03:04:05", Path::new("/etc/pen.conf"));
        let located = file::parse("pen.conf", &text, None).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let printed: Vec<_> = located.iter().map(|located| located.command.to_string()).collect();
        prop_assert_eq!(printed, lines(&balancer));
        let mut again = fresh();
        let commands = file::rebuild_lists(located).into_iter().map(|located| located.command);
        apply(&mut again, commands);
        prop_assert_eq!(again.written(*NOW, "2026-01-02 03:04:05", Path::new("/etc/pen.conf")), text);
    }

    #[test]
    fn no_line_makes_the_parser_panic(line in ".{0,80}", word in 0usize..100) {
        let entries = pen::policy::command::table::entries();
        let entry = entries[word % entries.len()];
        for line in [line.clone(), format!("{} {line}", entry.word), format!("no {} {line}", entry.word)] {
            if let Ok(command) = Command::parse(&line, None) {
                // What is understood is printed so that it is understood again.
                prop_assert_eq!(Command::parse(&command.to_string(), None), Ok(command));
            }
        }
    }
}
