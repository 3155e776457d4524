//! The metrics of pen as a whole and of its process.

use std::fmt;

use super::exposition::Kind::{Counter, Gauge};
use super::exposition::{Exposition, seconds};
use super::facts::{Facts, Process};
use crate::policy::http::counts::Counts;
use crate::policy::refusal::Refusal;
use crate::policy::tls::{HandshakeFault, Handshakes};

/// The features that this pen was built with.
const FEATURES: [(bool, &str); 3] =
    [(cfg!(feature = "geoip"), "geoip"), (cfg!(feature = "tls"), "tls"), (cfg!(feature = "web"), "web")];

/// Writes those of pen.
pub(super) fn write(facts: &Facts<'_>, out: &mut Exposition<'_>) -> fmt::Result {
    let summary = facts.summary;
    let features: Vec<_> = FEATURES.iter().filter(|(is_in, _)| *is_in).map(|(_, name)| *name).collect();
    out.begin(Gauge, "pen_build_info", "The version of pen, and the features that it was built with. Always 1.")?;
    out.sample(&[("version", &env!("CARGO_PKG_VERSION")), ("features", &features.join(","))], 1)?;
    let start = seconds(facts.process.start);
    out.single(Gauge, "pen_start_time_seconds", "When pen started, in seconds since 1970.", start)?;
    out.single(Gauge, "pen_connections", "Connections and flows now.", summary.connections)?;
    out.single(
        Gauge,
        "pen_connections_max",
        "How many there may be at once: conn_max, or what this host grants.",
        summary.connections_max,
    )?;
    out.single(Gauge, "pen_idlers", "Idle connections to servers.", summary.idlers)?;
    out.single(Gauge, "pen_clients", "Clients in the client table.", summary.clients)?;
    out.single(Gauge, "pen_clients_max", "How many clients are remembered: clients_max.", summary.clients_max)?;
    out.begin(Counter, "pen_refused_total", "Clients that were refused, by reason.")?;
    for (refusal, count) in Refusal::ALL.into_iter().zip(summary.refusals) {
        out.sample(&[("reason", &refusal.word())], count)?;
    }
    let Counts { decorated, unchanged, refused } = summary.requests;
    out.begin(Counter, "pen_http_requests_total", "HTTP requests in connections with http, by what became of them.")?;
    for (result, count) in [("decorated", decorated), ("unchanged", unchanged), ("refused", refused)] {
        out.sample(&[("result", &result)], count)?;
    }
    let Handshakes { done, resumed, failed } = summary.handshakes;
    out.begin(Counter, "pen_tls_handshakes_total", "TLS handshakes with clients: done, or why they failed.")?;
    out.sample(&[("result", &"done")], done)?;
    for ((_, _, word), count) in HandshakeFault::ALL.into_iter().zip(failed) {
        out.sample(&[("result", &word)], count)?;
    }
    let help = "TLS handshakes with clients that resumed a session. Those done include them.";
    out.single(Counter, "pen_tls_resumed_handshakes_total", help, resumed)
}

/// Writes those of the process, by the names that all programs use for them.
pub(super) fn write_process(process: &Process, out: &mut Exposition<'_>) -> fmt::Result {
    let Process { start, cpu, resident, open_files, max_files, threads } = *process;
    out.single(
        Counter,
        "process_cpu_seconds_total",
        "Time on processors, in user mode and in the kernel.",
        seconds(cpu),
    )?;
    out.single(
        Gauge,
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        seconds(start),
    )?;
    out.single(Gauge, "process_threads", "Threads.", threads)?;
    let optional = [
        ("process_resident_memory_bytes", "Memory in use.", resident),
        ("process_open_fds", "Open descriptors.", open_files),
        ("process_max_fds", "How many descriptors may be open.", max_files),
    ];
    for (name, help, value) in optional {
        if let Some(value) = value {
            out.single(Gauge, name, help, value)?;
        }
    }
    Ok(())
}
