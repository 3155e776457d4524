//! Reports over the tables. The thread that wants one asks the supervisor for batches of the tables, and renders and writes each before
//! it asks for the next. So a report holds one batch and one buffer, and the supervisor never waits for its reader.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::daemon::events::{Event, Read};
use crate::daemon::mailbox::Handle;
use crate::error::reason;
use crate::id::ServerId;
use crate::net::control::Verdict;
use crate::policy::balancer::Balancer;
use crate::policy::clients::Client;
use crate::policy::lookups::Lookups;
use crate::policy::report::batch::{Batch, ConnectionRow, Summary};
use crate::policy::report::item::Item;
use crate::policy::report::query::{Format, Query};
use crate::policy::report::{json, page, text};
use crate::policy::servers::Server;
use crate::policy::settings::Tracking;
use crate::sys::files;
use crate::sys::priority::give_way;
use crate::sys::root::Root;

/// Batches that are looked through for one page: a page of the few clients of one server takes as long as that, whatever the size of
/// the table.
const LOOKS: usize = 20;

/// The reply to `status` if its file cannot be written.
const NO_PAGE: &str = "Unable to create webstats";

/// Makes reports; copies ask the same supervisor.
#[derive(Clone, Debug)]
pub struct Reports {
    /// To the supervisor.
    pub events: Handle<Event>,
    /// For the name of the status page's file.
    pub root: Root,
    /// Held while the supervisor is asked, so that many reports at once have no more than one question wait there before the clients.
    pub turn: Arc<Mutex<()>>,
}

impl Reports {
    /// Writes the report that the query asks for, and tells whether that was possible. `None`: it asks for none, and the supervisor
    /// answers it.
    pub fn write(&self, query: &Query, out: &mut dyn Write) -> Option<io::Result<Verdict>> {
        let written = match query {
            Query::Connections(format) => self.write_connections(*format, out),
            Query::Recent(time, format) => self.write_recent(*time, *format, out),
            Query::Requests(format) => self.write_requests(*format, out),
            Query::Servers(format) => self.write_servers(*format, out),
            Query::Socket(number) => self.write_owner(*number, out),
            Query::Status => return Some(self.write_status(out)),
            _ => return None,
        };
        Some(written.map(|()| Verdict::Accepted))
    }

    /// What a report says besides the rows of the tables.
    pub fn summary(&self) -> io::Result<Summary> {
        // A report begins, and clients do not wait for it. The thread's later commands are not urgent either.
        give_way();
        self.ask(Read::Summary)
    }

    /// Visits all that the status page and the statistics show, with the bytes of running sessions up to now.
    pub fn visit(&self, visit: &mut dyn FnMut(Item<'_>) -> io::Result<()>) -> io::Result<()> {
        self.account()?;
        visit(Item::Servers)?;
        self.servers(|number, server| visit(Item::Server(number, server)))?;
        visit(Item::Clients)?;
        self.clients(None, |number, client| visit(Item::Client(number, client)))?;
        visit(Item::Connections)?;
        self.connections(|row| visit(Item::Connection(row)))?;
        visit(Item::End)
    }

    /// Replaces the file of the status page. Returns what was written, to be read from its beginning; else the sentence for the
    /// client that asked.
    pub fn publish(&self, path: &Path, summary: &Summary) -> Result<File, String> {
        replace_page(&self.root, path, |out| self.write_page(out, summary))
    }

    /// Replaces the file of the status page, if one is set.
    pub fn publish_again(&self) -> Result<(), String> {
        let summary = self.summary().map_err(|error| format!("{NO_PAGE}: {error}"))?;
        let Some(path) = &summary.settings.web_stats else { return Ok(()) };
        self.publish(path, &summary).map(drop)
    }

    fn write_status(&self, out: &mut dyn Write) -> io::Result<Verdict> {
        let summary = self.summary()?;
        let Some(path) = &summary.settings.web_stats else {
            return self.write_page(out, &summary).map(|()| Verdict::Accepted);
        };
        match self.publish(path, &summary) {
            Ok(mut file) => io::copy(&mut file, out).map(|_| Verdict::Accepted),
            Err(sentence) => writeln!(out, "{sentence}").map(|()| Verdict::Refused),
        }
    }

    fn write_page(&self, out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
        self.visit(&mut |item| out.write_all(page::html(item, summary).as_bytes()))
    }

    fn write_requests(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        self.account()?;
        let counts = self.summary()?.requests;
        let text = match format {
            Format::Text => text::requests(&counts),
            Format::Json => json::requests(&counts),
        };
        out.write_all(text.as_bytes())
    }

    fn write_servers(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let now = self.summary()?.now;
        self.account()?;
        match format {
            Format::Text => self.servers(|number, server| out.write_all(text::server(number, server, now).as_bytes())),
            Format::Json => {
                let mut list = List::begin(out)?;
                self.servers(|number, server| list.item(&json::server(number, server, now)))?;
                list.end()
            }
        }
    }

    fn write_recent(&self, time: Duration, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let Summary { now, settings, .. } = self.summary()?;
        self.account()?;
        let time = match settings.tracking {
            Tracking::For(tracking) => time.min(tracking),
            Tracking::Forever | Tracking::Off => time,
        };
        // A time before the clock began is no limit.
        let since = now.checked_sub(time);
        match format {
            Format::Text => self.clients(since, |_, client| out.write_all(text::client(client).as_bytes())),
            Format::Json => {
                let mut list = List::begin(out)?;
                self.clients(since, |_, client| list.item(&json::client(client, now)))?;
                list.end()
            }
        }
    }

    fn write_connections(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let now = self.summary()?.now;
        self.account()?;
        match format {
            Format::Text => self.connections(|row| out.write_all(text::connection(row, now).as_bytes())),
            Format::Json => {
                let mut list = List::begin(out)?;
                self.connections(|row| list.item(&json::connection(row, now)))?;
                list.end()
            }
        }
    }

    fn write_owner(&self, number: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut owner = None;
        self.connections(|row| {
            if [row.sockets.down, row.sockets.up].iter().any(|fd| u64::try_from(*fd) == Ok(number)) {
                owner = owner.or(Some(row.id));
            }
            Ok(())
        })?;
        let owner = owner.map_or_else(|| String::from("-1"), |id| id.to_string());
        writeln!(out, "Socket {number} belongs to connection {owner}")
    }

    /// Has the bytes of all running sessions booked.
    pub fn account(&self) -> io::Result<()> {
        let mut from = Some(0);
        while let Some(slot) = from {
            from = self.ask(|reply| Read::Account(slot, reply))?;
        }
        Ok(())
    }

    /// Which names are to be looked up again, and when.
    pub fn lookups(&self) -> io::Result<Lookups> {
        self.ask(Read::Lookups)
    }

    /// Visits the slots of the server table.
    pub fn servers(&self, mut visit: impl FnMut(usize, &Server) -> io::Result<()>) -> io::Result<()> {
        self.batches(Read::Servers, |(number, server)| visit(number, &server))
    }

    /// A server; `None`: there is no such slot.
    pub fn one_server(&self, id: ServerId) -> io::Result<Option<Server>> {
        let batch = self.ask(|reply| Read::Servers(id.index(), reply))?;
        Ok(batch.rows.into_iter().next().map(|(_, server)| server))
    }

    /// A page of the clients, from that slot on: at most so many, and only those that are to be kept.
    pub fn page_of_clients(
        &self,
        from: usize,
        rows: usize,
        keep: impl Fn(&Client) -> bool,
    ) -> io::Result<Batch<(usize, Client)>> {
        let read = |from, reply| Read::Clients(from, None, reply);
        self.page(from, rows, read, |(number, _)| *number, |(_, client)| keep(client))
    }

    /// Likewise, of the connections.
    pub fn page_of_connections(
        &self,
        from: usize,
        rows: usize,
        keep: impl Fn(&ConnectionRow) -> bool,
    ) -> io::Result<Batch<ConnectionRow>> {
        self.page(from, rows, Read::Connections, |row| row.id.index(), keep)
    }

    fn page<R>(
        &self,
        from: usize,
        most: usize,
        read: impl Fn(usize, Sender<Batch<R>>) -> Read,
        slot: impl Fn(&R) -> usize,
        keep: impl Fn(&R) -> bool,
    ) -> io::Result<Batch<R>> {
        let (mut page, mut next) = (Vec::new(), Some(from));
        for _ in 0..LOOKS {
            let Some(slot_of_batch) = next else { break };
            let batch = self.ask(|reply| read(slot_of_batch, reply))?;
            for row in batch.rows {
                if page.len() == most {
                    return Ok(Batch { next: Some(slot(&row)), rows: page });
                }
                if keep(&row) {
                    page.push(row);
                }
            }
            next = batch.next;
        }
        Ok(Batch { rows: page, next })
    }

    fn clients(
        &self,
        since: Option<Instant>,
        mut visit: impl FnMut(usize, &Client) -> io::Result<()>,
    ) -> io::Result<()> {
        self.batches(|from, reply| Read::Clients(from, since, reply), |(number, client)| visit(number, &client))
    }

    fn connections(&self, mut visit: impl FnMut(&ConnectionRow) -> io::Result<()>) -> io::Result<()> {
        self.batches(Read::Connections, |row| visit(&row))
    }

    fn batches<R>(
        &self,
        read: impl Fn(usize, Sender<Batch<R>>) -> Read,
        mut visit: impl FnMut(R) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut from = Some(0);
        while let Some(slot) = from {
            let Batch { rows, next } = self.ask(|reply| read(slot, reply))?;
            rows.into_iter().try_for_each(&mut visit)?;
            from = next;
        }
        Ok(())
    }

    /// Asks the supervisor. It fails when the supervisor has ended, which ends the process.
    fn ask<T>(&self, read: impl FnOnce(Sender<T>) -> Read) -> io::Result<T> {
        let gone = || io::Error::other("pen is about to end");
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (reply, answer) = bounded(1);
        self.events.send(Event::Read(read(reply))).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())
    }
}

/// Replaces the file of the status page. Returns what was written; else the sentence for the client that asked.
fn replace_page(
    root: &Root,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<File, String> {
    files::replace_with(&root.name(path), write)
        .map_err(|error| format!("{NO_PAGE}: {}: {}", path.display(), reason(&error)))
}

/// Writes the status page that a `status` among the first commands asks for.
pub fn publish_first(balancer: &Balancer, time: String, root: &Root) -> Result<(), String> {
    let summary = balancer.summary(Instant::now(), time);
    // At HUP such a `status` has no effect either.
    let Some(path) = &summary.settings.web_stats else { return Ok(()) };
    replace_page(root, path, |out| out.write_all(page::before_serving(balancer, &summary).as_bytes())).map(drop)
}

/// A JSON list that is written item by item.
struct List<'a> {
    out: &'a mut dyn Write,
    is_empty: bool,
}

impl<'a> List<'a> {
    fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(json::BEGIN.as_bytes())?;
        Ok(Self { out, is_empty: true })
    }

    fn item(&mut self, item: &str) -> io::Result<()> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.write_all(json::BETWEEN.as_bytes())?;
        }
        self.out.write_all(item.as_bytes())
    }

    fn end(self) -> io::Result<()> {
        self.out.write_all(json::END.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mailbox;
    use std::thread;

    #[test]
    fn of_many_reports_one_question_at_a_time_waits_at_the_supervisor() {
        let (events, inbox) = mailbox::to_this_thread(64);
        let reports = Reports { events, root: Root::new(None).unwrap(), turn: Arc::default() };
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let reports = reports.clone();
                thread::spawn(move || reports.account())
            })
            .collect();
        for _ in 0..threads.len() {
            let Some(Event::Read(Read::Account(0, reply))) = inbox.next(Some(Duration::from_secs(30))) else {
                panic!("it asks for something else")
            };
            // The others have started by now, and none of them asks.
            assert!(inbox.next(Some(Duration::from_millis(10))).is_none());
            reply.send(None).unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    }
}
