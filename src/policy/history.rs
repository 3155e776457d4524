//! The last hour of each server: what became of it every half minute.
//!
//! The owner calls [`History::sample`] for each server every [`INTERVAL`], and then [`History::end_pass`]. A copy of a history costs a
//! reference for each server, so that pages are rendered from a copy while the next samples are taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::Server;

/// The time from one sample to the next. Half a minute smooths single connections, and shows an outage of a minute.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// Samples of one server: an hour.
pub const SAMPLES: usize = 120;

/// Servers that have a history at most, those with the lowest numbers first. A full one takes 1.9 kB, so that all of them take
/// 2 MB. With more servers nobody looks at the curves of each.
pub const HISTORIES: usize = 1000;

/// What a server did in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Connections that began, a second.
    pub connections: f32,
    /// Connections at its end.
    pub active: u32,
    /// Connects that failed, a second.
    pub failed: f32,
    /// Bytes sent and received, a second.
    pub bytes: f32,
}

/// The counters that rates are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    begun: u64,
    failed: u64,
    bytes: u64,
}

impl Counters {
    fn of(server: &Server) -> Self {
        let counters = &server.counters;
        // A connection whose connect fails leaves this server: it has not begun there.
        let begun = counters.total() + u64::from(server.connections);
        Self { begun, failed: counters.failed, bytes: server.sent.saturating_add(server.received) }
    }
}

/// The last hour of one server.
#[derive(Clone, Debug)]
pub struct Record {
    /// The server as it was written. Another one in its slot begins anew.
    name: String,
    counters: Counters,
    at: Instant,
    samples: VecDeque<Sample>,
}

impl Record {
    fn begin(server: &Server, now: Instant) -> Self {
        let name = server.target().name.clone();
        Self { name, counters: Counters::of(server), at: now, samples: VecDeque::new() }
    }

    /// The samples, the oldest first: at most [`SAMPLES`]. There is none before the second look at the server.
    pub fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    fn add(&mut self, server: &Server, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f32();
        // Two looks at the same moment make no rate.
        if seconds <= 0.0 {
            return;
        }
        let counters = Counters::of(server);
        // A counter that has gone back began anew: nothing is known of this interval.
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f32 / seconds;
        let sample = Sample {
            connections: rate(self.counters.begun, counters.begun),
            active: server.connections,
            failed: rate(self.counters.failed, counters.failed),
            bytes: rate(self.counters.bytes, counters.bytes),
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        (self.counters, self.at) = (counters, now);
    }
}

/// The last hour of all servers.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By the numbers of servers.
    records: Vec<Option<Arc<Record>>>,
    /// How many of them there are.
    count: usize,
}

impl History {
    /// Takes a sample of a server. The first look at a server gives none, since rates are differences.
    pub fn sample(&mut self, number: usize, server: &Server, now: Instant) {
        if number >= self.records.len() {
            if server.is_empty() || self.count >= HISTORIES {
                return;
            }
            self.records.resize(number + 1, None);
        }
        let slot = &mut self.records[number];
        match slot {
            Some(record) if !server.is_empty() && record.name == server.target().name => {
                Arc::make_mut(record).add(server, now);
            }
            _ => {
                self.count -= usize::from(slot.take().is_some());
                if !server.is_empty() && self.count < HISTORIES {
                    *slot = Some(Arc::new(Record::begin(server, now)));
                    self.count += 1;
                }
            }
        }
    }

    /// Forgets the servers from that number on: there are only so many.
    pub fn end_pass(&mut self, servers: usize) {
        self.records.truncate(servers);
        self.count = self.records.iter().flatten().count();
    }

    /// What is known about this server; `None` if there is nothing, or it is about another server in the same slot.
    pub fn of(&self, number: usize, server: &Server) -> Option<&Record> {
        self.records.get(number)?.as_deref().filter(|record| record.name == server.target().name)
    }

    /// The sums over all servers, the oldest first. Servers that came later count from then on.
    pub fn total(&self) -> Vec<Sample> {
        let records = || self.records.iter().flatten();
        let mut sums = vec![Sample::default(); records().map(|record| record.samples.len()).max().unwrap_or(0)];
        for record in records() {
            for (sum, sample) in sums.iter_mut().rev().zip(record.samples.iter().rev()) {
                sum.connections += sample.connections;
                sum.active = sum.active.saturating_add(sample.active);
                sum.failed += sample.failed;
                sum.bytes += sample.bytes;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn server(host: &str) -> Server {
        let mut server = Server::default();
        server.move_to(Endpoint::without_port(host), 80, Instant::now());
        server
    }

    fn samples(history: &History, server: &Server) -> Vec<Sample> {
        history.of(0, server).map(|record| record.samples().iter().copied().collect()).unwrap_or_default()
    }

    #[test]
    fn rates_are_differences_over_the_time_between_two_looks() {
        let (start, mut server, mut history) = (Instant::now(), server("192.0.2.1"), History::default());
        server.sent = 1000;
        history.sample(0, &server, start);
        assert_eq!(samples(&history, &server), []);
        (server.sent, server.received, server.connections) = (1600, 300, 7);
        (server.counters.served, server.counters.cold, server.counters.failed) = (20, 3, 15);
        history.sample(0, &server, start + INTERVAL);
        let [sample] = samples(&history, &server)[..] else { panic!("one sample") };
        assert_eq!(sample, Sample { connections: 1.0, active: 7, failed: 0.5, bytes: 30.0 });
        assert_eq!(history.total(), [sample]);
        history.sample(0, &server, start + INTERVAL);
        assert_eq!(samples(&history, &server).len(), 1, "no time has passed");
    }

    #[test]
    fn a_counter_that_goes_back_is_no_negative_rate() {
        let (start, mut server, mut history) = (Instant::now(), server("192.0.2.1"), History::default());
        server.sent = 1000;
        history.sample(0, &server, start);
        server.sent = 10;
        history.sample(0, &server, start + INTERVAL);
        server.sent = 40;
        history.sample(0, &server, start + 2 * INTERVAL);
        assert_eq!(samples(&history, &server).iter().map(|sample| sample.bytes).collect::<Vec<_>>(), [0.0, 1.0]);
    }

    #[test]
    fn another_server_in_the_slot_begins_anew() {
        let (start, mut history) = (Instant::now(), History::default());
        let (one, other) = (server("192.0.2.1"), server("192.0.2.2"));
        for look in 0..3 {
            history.sample(0, &one, start + look * INTERVAL);
        }
        assert_eq!(samples(&history, &one).len(), 2);
        assert!(history.of(0, &other).is_none());
        history.sample(0, &other, start + 3 * INTERVAL);
        assert!(history.of(0, &one).is_none() && samples(&history, &other).is_empty());
        history.sample(0, &Server::default(), start + 4 * INTERVAL);
        assert!(history.of(0, &other).is_none());
    }

    #[test]
    fn the_memory_is_bounded_whatever_the_time_and_the_number_of_servers() {
        let (start, server, mut history) = (Instant::now(), server("192.0.2.1"), History::default());
        for look in 0..3 * SAMPLES as u32 {
            history.sample(0, &server, start + look * INTERVAL);
        }
        assert_eq!(samples(&history, &server).len(), SAMPLES);
        for number in 0..3 * HISTORIES {
            history.sample(number, &server, start);
        }
        assert_eq!((history.count, history.records.len()), (HISTORIES, HISTORIES));
        history.end_pass(10);
        assert_eq!((history.count, history.total().len()), (10, SAMPLES));
        history.sample(5000, &server, start);
        assert!(history.of(5000, &server).is_some());
    }
}
