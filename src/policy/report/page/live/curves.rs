//! Curves of the last hour as SVG: small ones for tables, large ones with axes.

use std::fmt::{Result, Write};

use super::words;
use crate::policy::history::SAMPLES;

/// What a curve counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    PerSecond,
    BytesPerSecond,
}

impl Unit {
    /// The lowest top of an axis, so that its middle has a value that can be.
    fn lowest_top(self) -> f64 {
        match self {
            Self::Number => 2.0,
            Self::PerSecond => 0.1,
            Self::BytesPerSecond => 1000.0,
        }
    }

    /// A value with its unit.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Number => words::number(value),
            Self::PerSecond => words::number(value) + "/s",
            Self::BytesPerSecond => words::bytes(value) + "/s",
        }
    }
}

/// A curve: what it is of, its unit, and its values, the oldest first, the last of them now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) unit: Unit,
    pub(super) values: &'a [f64],
}

/// A small picture: its points, the width of each, and its height.
const SMALL: (usize, usize, usize) = (SAMPLES.div_ceil(2), 2, 24);

/// A large one.
const LARGE: (usize, usize, usize) = (SAMPLES, 5, 160);

impl Curve<'_> {
    /// The last value; 0 without one.
    pub(super) fn now(&self) -> f64 {
        self.values.last().copied().unwrap_or(0.0)
    }

    fn highest(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }

    fn lowest(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The curve in words.
    fn words(&self) -> String {
        if self.values.is_empty() {
            return format!("{}: no values yet", self.name);
        }
        let show = |value| self.unit.show(value);
        let (lowest, highest, now) = (show(self.lowest()), show(self.highest()), show(self.now()));
        format!("{} in the last hour: lowest {lowest}, highest {highest}, now {now}", self.name)
    }

    /// A small picture. What it is of and its present value stand beside it.
    pub(super) fn small(&self, out: &mut String) -> Result {
        let (points, step, height) = SMALL;
        let width = points * step;
        write!(out, "<svg class=\"spark\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\"")?;
        write!(out, " aria-label=\"{}\">", self.words())?;
        // Half as many points, and each peak.
        let values: Vec<_> = self.values.rchunks(2).rev().map(|two| two.iter().copied().fold(0.0, f64::max)).collect();
        paths(out, &values, SMALL, self.highest())?;
        out.write_str("</svg>")
    }

    /// A large picture with its axes and values.
    pub(super) fn large(&self, out: &mut String) -> Result {
        let ((points, step, height), top) = (LARGE, round_up(self.highest().max(self.unit.lowest_top())));
        let width = points * step;
        let show = |value| self.unit.show(value);
        writeln!(out, "<figure class=\"chart\">\n<figcaption>{} <b>{}</b></figcaption>", self.name, show(self.now()))?;
        writeln!(out, "<div class=\"plot\">\n<div class=\"axis-y\" aria-hidden=\"true\">")?;
        writeln!(out, "<span>{}</span><span>{}</span><span>0</span></div>", show(top), show(top / 2.0))?;
        write!(out, "<svg viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\"")?;
        write!(out, " aria-label=\"{}\">", self.words())?;
        out.write_str("<path class=\"grid\" d=\"")?;
        for line in 0..3 {
            write!(out, "M0 {}h{width}", height * line / 2)?;
        }
        for line in 0..5 {
            write!(out, "M{} 0v{height}", width * line / 4)?;
        }
        out.write_str("\"/>")?;
        paths(out, self.values, LARGE, top)?;
        writeln!(out, "</svg>\n<div class=\"axis-x\" aria-hidden=\"true\">")?;
        writeln!(
            out,
            "<span>60 min ago</span><span>45</span><span>30</span><span>15</span><span>now</span></div>\n</div>"
        )?;
        if self.values.is_empty() {
            writeln!(out, "<p class=\"range\">No values yet: the first come after a minute.</p>\n</figure>")
        } else {
            let (lowest, highest) = (show(self.lowest()), show(self.highest()));
            writeln!(out, "<p class=\"range\">lowest {lowest}, highest {highest}</p>\n</figure>")
        }
    }
}

/// The area below the curve, and the curve itself. It ends at the right edge.
fn paths(out: &mut String, values: &[f64], (points, step, height): (usize, usize, usize), top: f64) -> Result {
    let values = &values[values.len().saturating_sub(points)..];
    if values.is_empty() {
        return Ok(());
    }
    let start = step * (points - values.len());
    // The line is two units wide; so much room is above and below it.
    let room = (height - 2) as f64;
    let y = |value: f64| {
        let share = if value > 0.0 && top > 0.0 { (value / top).min(1.0) } else { 0.0 };
        (1.0 + room * (1.0 - share)).round() as i64
    };
    let mut line = String::new();
    let (mut before, mut flat) = (y(values[0]), step);
    for value in &values[1..] {
        let now = y(*value);
        if now == before {
            flat += step;
            continue;
        }
        if flat > 0 {
            write!(line, "h{flat}")?;
        }
        write!(line, "l{step} {}", now - before)?;
        (before, flat) = (now, 0);
    }
    if flat > 0 {
        write!(line, "h{flat}")?;
    }
    let first = y(values[0]);
    write!(out, "<path class=\"area\" d=\"M{start} {height}V{first}{line}V{height}z\"/>")?;
    write!(out, "<path class=\"line\" d=\"M{start} {first}{line}\"/>")
}

/// The next value of 1, 2, 4, 6 or 8 with zeros, the top of an axis. Its half is as short.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].into_iter().map(|digit| digit * power).find(|top| *top >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(values: &[f64]) -> String {
        let mut out = String::new();
        Curve { name: "connections", unit: Unit::PerSecond, values }.small(&mut out).unwrap();
        out
    }

    /// The x and y of the end of a path, and all y on its way.
    fn follow(svg: &str) -> (i64, Vec<i64>) {
        let path = svg.split("class=\"line\" d=\"M").nth(1).unwrap().split('"').next().unwrap();
        let numbers = |text: &str| text.split(' ').map(|n| n.parse::<i64>().unwrap()).collect::<Vec<_>>();
        let end = path.find(['h', 'l']).unwrap_or(path.len());
        let start = numbers(&path[..end]);
        let (mut x, mut ys) = (start[0], vec![start[1]]);
        let mut rest = &path[end..];
        while !rest.is_empty() {
            let next = rest[1..].find(['h', 'l']).map_or(rest.len(), |at| at + 1);
            let moved = numbers(&rest[1..next]);
            x += moved[0];
            if rest.starts_with('l') {
                ys.push(ys.last().unwrap() + moved[1]);
            }
            rest = &rest[next..];
        }
        (x, ys)
    }

    #[test]
    fn a_curve_ends_at_the_right_edge_and_stays_in_its_picture() {
        let spike: Vec<_> = (0..SAMPLES).map(|at| if at == 60 { 1e12 } else { 1.0 }).collect();
        let saw: Vec<_> = (0..SAMPLES + 50).map(|at| (at % 2) as f64).collect();
        for values in [&[3.0][..], &[0.0, 5.0], &[2.0; SAMPLES], &spike, &saw, &[f64::NAN, f64::INFINITY, 1.0]] {
            let (x, ys) = follow(&small(values));
            assert_eq!(x, SAMPLES as i64, "{values:?}");
            assert!(ys.iter().all(|y| (1..SMALL.2 as i64).contains(y)), "{ys:?}");
        }
        assert!(!small(&[]).contains("<path") && small(&[]).contains("no values yet"));
    }

    #[test]
    fn what_does_not_change_is_one_line() {
        let svg = small(&[0.0; SAMPLES]);
        assert!(svg.contains("M0 23h120\""), "{svg}");
        assert!(svg.contains("lowest 0/s, highest 0/s, now 0/s"), "{svg}");
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        let tops = [0.0, 0.25, 1.0, 1.1, 4.0, 5.0, 77.0, 100.0, f64::NAN].map(round_up);
        assert_eq!(tops, [1.0, 0.4, 1.0, 2.0, 4.0, 6.0, 80.0, 100.0, 1.0]);
    }

    #[test]
    fn a_large_curve_names_its_values() {
        let mut out = String::new();
        Curve { name: "traffic", unit: Unit::BytesPerSecond, values: &[1000.0, 3000.0, 2000.0] }
            .large(&mut out)
            .unwrap();
        for text in
            ["<span>4 kB/s</span><span>2 kB/s</span><span>0</span>", "<b>2 kB/s</b>", "lowest 1 kB/s, highest 3 kB/s"]
        {
            assert!(out.contains(text), "{text} is not in {out}");
        }
    }
}
