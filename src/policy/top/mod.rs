//! `penctl ADDRESS top`: what a terminal shows of a pen, from one reply after the other.

pub mod figures;
pub mod line;
pub mod rates;
pub mod reply;
pub mod table;

use std::time::Instant;

use figures::{UNKNOWN, limited, rate};
use line::{Line, Look};
use rates::Rates;
use reply::Reply;
use table::{Room, states, table};

/// The lines above the table.
const HEAD: usize = 4;

/// What is known of a pen.
#[derive(Debug)]
pub struct View {
    /// Where its control port is.
    address: String,
    last: Option<Sample>,
    /// Since when there is no answer, and why.
    silence: Option<(String, String)>,
}

/// The last reply.
#[derive(Debug)]
struct Sample {
    reply: Reply,
    /// When it came.
    at: Instant,
    /// The rates of its servers.
    rates: Vec<Rates>,
    /// The next reply continues it.
    continues: bool,
}

impl View {
    /// Nothing is known yet of the pen with this control port.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_string(), last: None, silence: None }
    }

    /// A reply has come.
    pub fn answered(&mut self, reply: Reply, at: Instant) {
        let before = self.last.take().filter(|last| last.continues);
        let rates = match before {
            Some(last) => Rates::between(&last.reply, &reply, at.saturating_duration_since(last.at)),
            None => vec![Rates::default(); reply.servers.len()],
        };
        self.last = Some(Sample { reply, at, rates, continues: true });
        self.silence = None;
    }

    /// A question was not answered, at that time of the wall clock. The next reply may be that of another process.
    pub fn failed(&mut self, why: String, time: &str) {
        if let Some(last) = &mut self.last {
            last.continues = false;
        }
        self.silent(why, time);
    }

    /// There is no answer yet to the question of that time.
    pub fn silent(&mut self, why: String, time: &str) {
        let since = self.silence.take().map_or_else(|| time.to_string(), |(since, _)| since);
        self.silence = Some((since, why));
    }

    /// What is shown at that time of the wall clock, in lines. They may be wider than the room.
    pub fn lines(&self, time: &str, room: Room) -> Vec<Line> {
        let mut lines = self.head(time);
        if let Some(Sample { reply, rates, .. }) = &self.last {
            let rows: Vec<_> = reply.servers.iter().zip(rates).collect();
            if !rows.is_empty() {
                lines.extend(table(&rows, Room { lines: room.lines.saturating_sub(HEAD), ..room }));
            }
        }
        if let Some((since, why)) = &self.silence {
            lines = lines.into_iter().map(|line| line.all_in(Look::Old)).collect();
            lines[0] = Line::new(Look::Plain, lines[0].text());
            lines[HEAD - 1] = Line::new(Look::Bad, format!("no answer since {since}: {why}"));
        }
        lines
    }

    /// The lines above the table. The last one is empty.
    fn head(&self, time: &str) -> Vec<Line> {
        let none = Reply::default();
        let (reply, rates) = self.last.as_ref().map_or((&none, &[][..]), |last| (&last.reply, &last.rates));
        let mut title = format!("{time}  pen");
        if let Some(version) = &reply.version {
            title += &format!(" {version}");
        }
        if let Some(name) = &reply.name {
            title += &format!(" {name}");
        }
        title += &format!(" at {}", self.address);
        if reply.uptime.is_some() {
            title += &format!(", running for {}", figures::time(reply.uptime));
        }
        if let Some(pid) = reply.pid {
            title += &format!(", pid {pid}");
        }
        let sum = Rates::sum(rates);
        let connections =
            reply.servers.iter().filter_map(|server| server.connections).reduce(|a, b| a.saturating_add(b));
        let connections = reply.connections.or(connections).or_else(|| self.last.is_some().then_some(0));
        let totals = format!(
            "connections {}, new {}/s, failed {}/s; in {}/s, out {}/s; clients {}",
            limited(connections, reply.connections_max),
            rate(sum.connections),
            rate(sum.failed),
            rate(sum.sent),
            rate(sum.received),
            limited(reply.clients, reply.clients_max),
        );
        let servers = self.last.as_ref().map_or_else(|| String::from(UNKNOWN), |_| reply.servers.len().to_string());
        let states = states(&reply.servers);
        let mut servers = format!("servers {servers}");
        if !states.is_empty() {
            servers += &format!(": {states}");
        }
        if let Some(listen) = &reply.listen {
            servers += &format!("; listener {listen}");
        }
        let plain = |text: String| Line::new(Look::Plain, text);
        vec![plain(title), plain(totals), plain(servers), Line::default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ROOM: Room = Room { columns: 120, lines: 24 };

    fn reply(pid: u64, sent: u64, total: u64) -> Reply {
        Reply::parse(&format!(
            "0 addr 10.0.0.1 port 80 conn 2 max 9 hard 0 weight 1 prio 0 sx {sent} rx 0 state up since 9 failures 0 reason - \
             total {total} failed 0\npen 1.0.0\n8080\npid {pid} uptime 5 conn 3 conn_max 500 clients 7 clients_max 2048 name web\n"
        ))
    }

    fn text(view: &View) -> Vec<String> {
        view.lines("TIME", ROOM).iter().map(Line::text).collect()
    }

    #[test]
    fn a_view_shows_rates_after_the_second_reply() {
        let mut view = View::new("localhost:8888");
        assert_eq!(text(&view)[..3], ["TIME  pen at localhost:8888", &text(&view)[1], "servers -"]);
        let start = Instant::now();
        view.answered(reply(1, 1000, 5), start);
        assert_eq!(
            text(&view)[..3],
            [
                "TIME  pen 1.0.0 web at localhost:8888, running for 5s, pid 1",
                "connections 3/500, new -/s, failed -/s; in -/s, out -/s; clients 7/2048",
                "servers 1: 1 up; listener 8080",
            ]
        );
        view.answered(reply(1, 4000, 25), start + Duration::from_secs(2));
        assert_eq!(text(&view)[1], "connections 3/500, new 10/s, failed 0/s; in 1.5k/s, out 0/s; clients 7/2048");
        assert_eq!(text(&view)[5], " 0 10.0.0.1:80 up            9s    2/9    10      0  1.5k     0      1");
    }

    #[test]
    fn the_last_values_stay_while_there_is_no_answer() {
        let mut view = View::new("localhost:8888");
        let start = Instant::now();
        view.answered(reply(1, 1000, 5), start);
        view.answered(reply(1, 4000, 25), start + Duration::from_secs(2));
        let before = view.lines("TIME", ROOM);
        view.silent(String::from("no reply yet"), "12:00:01");
        view.failed(String::from("connection refused"), "12:00:02");
        let lines = view.lines("TIME", ROOM);
        assert_eq!(lines[3], Line::new(Look::Bad, "no answer since 12:00:01: connection refused"));
        assert_eq!(lines[5], before[5].clone().all_in(Look::Old));
        // The one that answers next is not compared with the one that has failed.
        view.answered(reply(1, 9000, 50), start + Duration::from_secs(9));
        assert!(text(&view)[1].contains("new -/s"), "{:?}", text(&view));
        assert_eq!(text(&view)[3], "");
    }

    #[test]
    fn a_late_reply_is_compared_with_the_one_before() {
        let mut view = View::new("localhost:8888");
        let start = Instant::now();
        view.answered(reply(1, 1000, 5), start);
        view.silent(String::from("no reply yet"), "12:00:01");
        view.answered(reply(1, 1000, 25), start + Duration::from_secs(10));
        assert!(text(&view)[1].contains("new 2/s"), "{:?}", text(&view));
    }

    #[test]
    fn a_pen_that_has_never_answered_is_told_of() {
        let mut view = View::new("/run/\x1b[2J");
        view.failed(String::from("no such file"), "12:00:02");
        let lines = text(&view);
        assert_eq!((lines[0].as_str(), lines.len()), ("TIME  pen at /run/.[2J", 4));
        assert_eq!(lines[3], "no answer since 12:00:02: no such file");
    }
}
