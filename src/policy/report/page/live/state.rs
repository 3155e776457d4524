//! The state of a server, its reason and its curves, as the status page and the page of the server show them.

use std::fmt::{Result, Write};
use std::time::Instant;

use super::curves::{Curve, Unit};
use super::words;
use crate::policy::history::{History, Sample};
use crate::policy::report::page::escape::Text;
use crate::policy::report::page::states::Shown;
use crate::policy::report::reason;
use crate::policy::servers::{Server, State};

/// A state in a word.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Drain => "draining",
        State::Maint => "maintenance",
        state => state.word(),
    }
}

/// The state with its sign, since when it is so, and why.
pub(super) fn write(out: &mut String, server: &Server, now: Instant) -> Result {
    let state = server.state(now);
    let left = server.blacklisted_for(now).filter(|_| state == State::Blacklisted).map(|left| left.as_secs() + 1);
    let words = match (state, left) {
        (State::Blacklisted, Some(left)) => format!("blacklisted for {left} s more"),
        (State::Blacklisted, None) => String::from("on trial"),
        (state, _) => word(state).to_string(),
    };
    write!(out, "{}", Shown(state, &words))?;
    if left.is_none() {
        write!(out, " <small>for {}</small>", words::span(server.in_state_for(now)))?;
    }
    let lookup = server.endpoint().host().and_then(|host| host.failure()).filter(|_| state == State::Unresolved);
    if let Some(reason) = lookup.or_else(|| reason(server)) {
        write!(out, "<small class=\"reason\">{}</small>", Text(reason))?;
    }
    Ok(())
}

/// The names, units and values of the four curves.
pub(super) struct Curves {
    values: [Vec<f64>; Self::NAMES.len()],
}

impl Curves {
    const NAMES: [(&'static str, Unit); 4] = [
        ("connections/s", Unit::PerSecond),
        ("active connections", Unit::Number),
        ("failed connects/s", Unit::PerSecond),
        ("traffic", Unit::BytesPerSecond),
    ];

    /// Those of a server; `None` without a history.
    pub(super) fn of(history: &History, number: usize, server: &Server) -> Option<Self> {
        history.of(number, server).map(|record| Self::new(record.samples().iter()))
    }

    /// Those of samples.
    pub(super) fn new<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> Self {
        let values = |value: fn(&Sample) -> f64| samples.clone().map(value).collect();
        Self {
            values: [
                values(|sample| f64::from(sample.connections)),
                values(|sample| f64::from(sample.active)),
                values(|sample| f64::from(sample.failed)),
                values(|sample| f64::from(sample.bytes)),
            ],
        }
    }

    /// All four.
    pub(super) fn all(&self) -> [Curve<'_>; Self::NAMES.len()] {
        std::array::from_fn(|which| {
            let (name, unit) = Self::NAMES[which];
            Curve { name, unit, values: &self.values[which] }
        })
    }
}

/// So many of at most so many, with a bar. 0, no limit.
pub(super) fn write_share(out: &mut String, used: u64, most: u64) -> Result {
    write!(out, "{}", words::count(used))?;
    if most == 0 {
        return Ok(());
    }
    let share = (used.saturating_mul(100) / most).min(100);
    let class = if share >= 90 { "bar near" } else { "bar" };
    write!(out, " <small>of {}</small>", words::count(most))?;
    write!(out, "<svg class=\"{class}\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">")?;
    write!(out, "<rect class=\"rest\" width=\"100\" height=\"4\"/><rect width=\"{share}\" height=\"4\"/></svg>")
}
