//! The pages, made of what the supervisor tells and the recorder remembers.

use std::io::{self, Write};

use super::recorder::Recorder;
use crate::daemon::control::reports::Reports;
use crate::daemon::thread;
use crate::id::{ServerId, Upstream};
use crate::policy::history::History;
use crate::policy::report::batch::Summary;
use crate::policy::report::metrics::Metrics;
use crate::policy::report::metrics::facts::{Facts, Process};
use crate::policy::report::page::live::facts::{Live, Overview, ROWS, Rows};
use crate::policy::report::page::live::words::{bytes, count};
use crate::policy::report::page::live::{lists, overview, server};
use crate::sys::process;

/// Makes pages.
pub(super) struct Pages {
    pub(super) reports: Reports,
    pub(super) recorder: Recorder,
}

impl Pages {
    /// The status page. `control`: the token of its forms.
    pub(super) fn overview(&self, summary: &Summary, control: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        self.reports.account()?;
        let history = self.recorder.history();
        let live = live(summary, &history, control);
        out.write_all(overview::begin(&live).as_bytes())?;
        self.reports.servers(|number, server| out.write_all(overview::server(&live, number, server).as_bytes()))?;
        let facts = in_words(&process(summary));
        let overview = Overview {
            events: &self.recorder.events(),
            clients: &self.reports.page_of_clients(0, ROWS, |_| true)?,
            connections: &self.reports.page_of_connections(0, ROWS, |_| true)?,
            process: &facts,
        };
        out.write_all(overview::end(&live, &overview).as_bytes())
    }

    /// The connections from that number on.
    pub(super) fn connections(&self, summary: &Summary, from: usize) -> io::Result<String> {
        self.reports.account()?;
        let (history, batch) = (self.recorder.history(), self.reports.page_of_connections(from, ROWS, |_| true)?);
        let live = live(summary, &history, None);
        Ok(lists::connections_page(&live, &Rows { from, batch: &batch }))
    }

    /// The clients from that number on.
    pub(super) fn clients(&self, summary: &Summary, from: usize) -> io::Result<String> {
        self.reports.account()?;
        let (history, batch) = (self.recorder.history(), self.reports.page_of_clients(from, ROWS, |_| true)?);
        let live = live(summary, &history, None);
        Ok(lists::clients_page(&live, &Rows { from, batch: &batch }))
    }

    /// A server, with its clients and its sessions from those numbers on. `None`: there is none.
    pub(super) fn server(
        &self,
        summary: &Summary,
        control: Option<&str>,
        id: ServerId,
        (clients, sessions): (usize, usize),
    ) -> io::Result<Option<String>> {
        self.reports.account()?;
        let Some(found) = self.reports.one_server(id)?.filter(|server| !server.is_empty()) else { return Ok(None) };
        let history = self.recorder.history();
        let live = live(summary, &history, control);
        let of_it = self.reports.page_of_clients(clients, ROWS, |client| client.server == Some(id))?;
        let on_it =
            self.reports.page_of_connections(sessions, ROWS, |row| row.upstream == Some(Upstream::Regular(id)))?;
        let (clients, sessions) = (Rows { from: clients, batch: &of_it }, Rows { from: sessions, batch: &on_it });
        Ok(Some(server::page(&live, id.index(), &found, &clients, &sessions)))
    }

    /// The metrics. Their format wants the same number of all servers in a row, so all servers are copied first.
    pub(super) fn metrics(&self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        self.reports.account()?;
        let mut servers = Vec::new();
        self.reports.servers(|number, server| {
            servers.push((number, server.clone()));
            Ok(())
        })?;
        write!(out, "{}", Metrics { facts: Facts { summary, process: &process(summary) }, servers: &servers })
    }
}

fn live<'a>(summary: &'a Summary, history: &'a History, control: Option<&'a str>) -> Live<'a> {
    Live { summary, history, uptime: Some(summary.uptime), control }
}

fn process(summary: &Summary) -> Process {
    process::read(summary.uptime, thread::count())
}

/// What people want to know of the process.
fn in_words(process: &Process) -> Vec<(&'static str, String)> {
    let Process { cpu, resident, open_files, max_files, threads, .. } = process;
    let mut facts = vec![("threads", threads.to_string()), ("CPU time", format!("{:.1} s", cpu.as_secs_f64()))];
    facts.extend(resident.map(|resident| ("memory", bytes(resident as f64))));
    facts.extend(open_files.map(|open| {
        ("descriptors", max_files.map_or_else(|| count(open), |max| format!("{} of {}", count(open), count(max))))
    }));
    facts
}
