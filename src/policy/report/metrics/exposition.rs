//! The text format: lines of metrics, their names, labels and values.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::policy::histogram::Histogram;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It has buckets.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels and their values.
pub(super) type Labels<'a> = [(&'a str, &'a dyn Display)];

/// Takes the metrics one after the other.
pub(super) struct Exposition<'a> {
    out: &'a mut dyn Write,
    /// The metric that is being written.
    name: &'static str,
}

impl<'a> Exposition<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, name: "" }
    }

    /// Begins a metric. `help` has no line break and no backslash.
    pub(super) fn begin(&mut self, kind: Kind, name: &'static str, help: &str) -> fmt::Result {
        self.name = name;
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.word())
    }

    /// A sample of the metric that was begun.
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: impl Display) -> fmt::Result {
        self.line("", labels, value)
    }

    /// A metric with one sample.
    pub(super) fn single(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Display) -> fmt::Result {
        self.begin(kind, name, help)?;
        self.sample(&[], value)
    }

    /// All samples of a histogram, in seconds.
    pub(super) fn histogram(&mut self, server: &dyn Display, histogram: &Histogram) -> fmt::Result {
        for (bound, count) in histogram.cumulative() {
            self.line("_bucket", &[("server", server), ("le", &seconds(Duration::from_micros(bound)))], count)?;
        }
        self.line("_bucket", &[("server", server), ("le", &"+Inf")], histogram.count())?;
        self.line("_sum", &[("server", server)], seconds(Duration::from_micros(histogram.sum())))?;
        self.line("_count", &[("server", server)], histogram.count())
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, value: impl Display) -> fmt::Result {
        write!(self.out, "{}{suffix}", self.name)?;
        for (number, (label, value)) in labels.iter().enumerate() {
            write!(self.out, "{}{label}=\"", if number == 0 { '{' } else { ',' })?;
            write!(Escape(self.out), "{value}")?;
            self.out.write_char('"')?;
        }
        writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" })
    }
}

/// A time in seconds. It is exact for 285 years in microseconds.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// Escapes the value of a label.
struct Escape<'a>(&'a mut dyn Write);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(['\\', '"', '\n']) {
            let plain = piece.trim_end_matches(['\\', '"', '\n']);
            self.0.write_str(plain)?;
            match &piece[plain.len()..] {
                "\n" => self.0.write_str("\\n")?,
                "" => {}
                special => write!(self.0, "\\{special}")?,
            }
        }
        Ok(())
    }
}
