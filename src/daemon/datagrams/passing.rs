//! Datagrams that are flows of their own: each goes to the next server, and nothing comes back.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::carrier::Carrier;
use super::flow::Key;
use super::kinds;
use super::passages::{MOST, Passage, Stray, Way};
use crate::daemon::dispatch::{Answer, Ask};
use crate::net::connect::Fault;
use crate::net::datagrams::inbox::Inbox;
use crate::net::datagrams::upstream;
use crate::policy::servers::Target;

impl Carrier {
    /// Passes a batch on. `None`: pen is about to end.
    pub(super) fn pass_on(&mut self, inbox: &Inbox, count: usize, door: usize, now: Instant) -> Option<()> {
        let stray = |number| {
            let (payload, back) = inbox.datagram(number);
            let key = Key { client: back.client, local: back.local, door };
            Stray { key, payload: Cow::Borrowed(payload), tried: Vec::new() }
        };
        self.pass((0..count).map(stray).collect(), now)
    }

    /// What meets a server that is not there goes to the next one, until it has tried all of them.
    fn pass(&mut self, mut batch: Vec<Stray<'_>>, now: Instant) -> Option<()> {
        while !batch.is_empty() {
            let ask = |stray: &Stray<'_>| Ask::Pass {
                client: stray.key.peer(),
                bytes: stray.payload.len(),
                tried: stray.tried.clone(),
            };
            let asks = batch.iter().map(ask).collect();
            let mut failed = Vec::new();
            for (stray, answer) in batch.into_iter().zip(self.ask(asks)?) {
                if let Answer::Goes(grant) = answer {
                    self.pass_one(stray, grant.target, &mut failed, now);
                }
            }
            batch = failed;
        }
        Some(())
    }

    /// Sends one. What must go to another server is added to `failed`.
    fn pass_one(&mut self, mut stray: Stray<'_>, target: Arc<Target>, failed: &mut Vec<Stray<'static>>, now: Instant) {
        let client = stray.key.client;
        let header = if target.proxy.is_some() { self.proxy_header(&stray.key) } else { Vec::new() };
        let way = Way::new(&target, client, self.settings.transparent);
        let sent = self
            .passage(way, &target, client)
            .and_then(|passage| Ok(upstream::deliver(&passage.socket, &header, &stray.payload)?));
        let Err(error) = sent else {
            if let Some(passage) = self.passages.open.get_mut(&way) {
                passage.kept = Some(stray.into_owned());
            }
            return;
        };
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {}
            Some(Errno::MSGSIZE) => self.is_too_large(stray.payload.len(), header.len(), now),
            _ => {
                if self.leave(way, &target, error, failed) {
                    stray.tried.push(target);
                }
                failed.push(stray.into_owned());
            }
        }
    }

    /// The socket for that.
    fn passage(&mut self, way: Way, target: &Arc<Target>, client: SocketAddr) -> io::Result<&mut Passage> {
        if !self.passages.open.contains_key(&way) {
            self.open_passage(way, target, 0, client)?;
        }
        self.passages.open.get_mut(&way).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens the socket for that, to the first address of the server from that one on that there is a way to.
    fn open_passage(&mut self, way: Way, target: &Arc<Target>, from: usize, client: SocketAddr) -> io::Result<()> {
        if self.passages.open.len() >= MOST {
            (self.passages.open, self.passages.names) = Default::default();
        }
        let (socket, address) = self.open(target, from, client)?;
        let name = self.passages.name;
        self.passages.name = (name + 1) & !kinds::MASK;
        self.watch.add_errors(&socket, kinds::PASSAGE | name)?;
        self.passages.names.insert(name, way);
        let passage = Passage { target: Arc::clone(target), address, socket, name, kept: None };
        self.passages.open.insert(way, passage);
        Ok(())
    }

    /// Nobody listens where a socket leads to. Another one leads to the next address of the server, if it has one. Otherwise the server has
    /// failed. What was sent last is added to `failed`.
    fn leave(&mut self, way: Way, target: &Arc<Target>, error: io::Error, failed: &mut Vec<Stray<'static>>) -> bool {
        let passage = self.passages.open.remove(&way);
        let next = passage.as_ref().map_or(target.addresses.len(), |passage| passage.address + 1);
        let mut kept = passage.and_then(|passage| {
            self.passages.names.remove(&passage.name);
            passage.kept
        });
        let is_left = next < target.addresses.len() && Fault::of(&error) == Fault::Server;
        let client = kept.as_ref().map(|stray| stray.key.client);
        let goes_on = is_left && client.is_some_and(|client| self.open_passage(way, target, next, client).is_ok());
        if !goes_on {
            self.desk.report.failed.push((Arc::clone(target), error));
            kept.iter_mut().for_each(|stray| stray.tried.push(Arc::clone(target)));
        }
        failed.extend(kept);
        !goes_on
    }

    /// A socket has an error. `None`: pen is about to end.
    pub(super) fn hear_of_passage(&mut self, name: u64, now: Instant) -> Option<()> {
        let Some(way) = self.passages.names.get(&name).copied() else { return Some(()) };
        let Some(passage) = self.passages.open.get(&way) else { return Some(()) };
        let Some(error) = upstream::error(&passage.socket) else { return Some(()) };
        let target = Arc::clone(&passage.target);
        let mut failed = Vec::new();
        self.leave(way, &target, error, &mut failed);
        self.pass(failed, now)
    }
}
