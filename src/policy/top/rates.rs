//! Rates: what has changed between two replies, for each second.

use std::time::Duration;

use super::reply::{Reply, Server};

/// Rates of one server or of all, for each second. `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// New connections.
    pub connections: Option<f64>,
    /// Connects that have failed.
    pub failed: Option<f64>,
    /// Bytes sent to servers.
    pub sent: Option<f64>,
    /// Bytes received from servers.
    pub received: Option<f64>,
}

impl Rates {
    /// The rates of each server of `now`, in the same order. `None` everywhere if another process has answered before.
    pub fn between(before: &Reply, now: &Reply, time: Duration) -> Vec<Self> {
        let same_process = before.pid == now.pid;
        let mut known = before.servers.iter().peekable();
        let rates = |server: &Server| {
            // Both lists are in the order of the numbers.
            while known.next_if(|other| other.number < server.number).is_some() {}
            let other = known.peek().filter(|other| other.number == server.number);
            other.filter(|_| same_process).map_or_else(Self::default, |other| Self::of(other, server, time))
        };
        now.servers.iter().map(rates).collect()
    }

    /// The sums of what is known.
    pub fn sum(rates: &[Self]) -> Self {
        let sum = |rate: fn(&Self) -> Option<f64>| rates.iter().filter_map(rate).reduce(|a, b| a + b);
        Self {
            connections: sum(|rates| rates.connections),
            failed: sum(|rates| rates.failed),
            sent: sum(|rates| rates.sent),
            received: sum(|rates| rates.received),
        }
    }

    fn of(before: &Server, now: &Server, time: Duration) -> Self {
        let counters = |server: &Server| [server.sent, server.received, server.total, server.failed];
        let went_back = counters(before).iter().zip(counters(now)).any(|(before, now)| now < *before);
        // Another server in the same slot, or counters that have begun anew.
        if before.name != now.name || went_back || time.is_zero() {
            return Self::default();
        }
        let rate =
            |before: Option<u64>, now: Option<u64>| Some(now?.saturating_sub(before?) as f64 / time.as_secs_f64());
        // A connection whose connect fails later was counted while it was open, so this number may go back.
        let begun = |server: &Server| Some(server.total?.saturating_add(server.connections?));
        Self {
            connections: rate(begun(before), begun(now)),
            failed: rate(before.failed, now.failed),
            sent: rate(before.sent, now.sent),
            received: rate(before.received, now.received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u64, connections: u64, counters: [u64; 4]) -> Server {
        let [sent, received, total, failed] = counters.map(Some);
        let name = format!("a:{number}");
        Server { number, name, connections: Some(connections), sent, received, total, failed, ..Server::default() }
    }

    fn reply(pid: u64, servers: Vec<Server>) -> Reply {
        Reply { pid: Some(pid), servers, ..Reply::default() }
    }

    const TIME: Duration = Duration::from_secs(2);

    #[test]
    fn rates_are_differences_by_time() {
        let before = reply(1, vec![server(0, 5, [0; 4]), server(2, 3, [100, 1000, 10, 1])]);
        let now = reply(1, vec![server(1, 0, [9; 4]), server(2, 4, [300, 1000, 15, 2])]);
        let rates = Rates::between(&before, &now, TIME);
        assert_eq!(rates[0], Rates::default());
        let expected = Rates { connections: Some(3.0), failed: Some(0.5), sent: Some(100.0), received: Some(0.0) };
        assert_eq!(rates[1], expected);
        assert_eq!(Rates::sum(&rates), expected);
        assert_eq!(Rates::sum(&[]), Rates::default());
    }

    #[test]
    fn no_rate_is_negative() {
        let before = reply(1, vec![server(0, 3, [100, 100, 10, 1])]);
        for counters in [[99, 100, 10, 1], [100, 99, 10, 1], [100, 100, 9, 1], [100, 100, 10, 0]] {
            let now = reply(1, vec![server(0, 3, counters)]);
            assert_eq!(Rates::between(&before, &now, TIME), [Rates::default()]);
        }
        // A connect that was under way has failed.
        let now = reply(1, vec![server(0, 2, [100, 100, 10, 2])]);
        assert_eq!(Rates::between(&before, &now, TIME)[0].connections, Some(0.0));
    }

    #[test]
    fn another_process_and_another_server_begin_anew() {
        let before = reply(1, vec![server(0, 3, [1; 4])]);
        let now = reply(2, vec![server(0, 3, [100; 4])]);
        assert_eq!(Rates::between(&before, &now, TIME), [Rates::default()]);
        let now = reply(1, vec![Server { name: String::from("b:1"), ..server(0, 3, [100; 4]) }]);
        assert_eq!(Rates::between(&before, &now, TIME), [Rates::default()]);
        let now = reply(1, vec![server(0, 3, [100; 4])]);
        assert_eq!(Rates::between(&before, &now, Duration::ZERO), [Rates::default()]);
    }

    #[test]
    fn what_pen_does_not_count_has_no_rate() {
        let old = |sent| {
            let server = Server { total: None, failed: None, ..server(0, 3, [sent; 4]) };
            Reply { servers: vec![server], ..Reply::default() }
        };
        let rates = Rates::between(&old(10), &old(30), TIME)[0];
        assert_eq!(rates, Rates { sent: Some(10.0), received: Some(10.0), ..Rates::default() });
    }
}
