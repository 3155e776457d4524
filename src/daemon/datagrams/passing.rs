//! Datagrams that are flows of their own: each goes to the next server, and nothing comes back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::carrier::Carrier;
use super::flow::Key;
use super::kinds;
use super::passages::{MOST, Passage, Way};
use crate::daemon::dispatch::{Answer, Ask};
use crate::net::datagrams::inbox::Inbox;
use crate::net::datagrams::upstream;
use crate::policy::servers::Target;

impl Carrier {
    /// Passes a batch on. `None`: pen is about to end.
    pub(super) fn pass_on(&mut self, inbox: &Inbox, count: usize, door: usize, now: Instant) -> Option<()> {
        let datagram = |number| {
            let (payload, back) = inbox.datagram(number);
            (Key { client: back.client, local: back.local, door }, payload)
        };
        let batch: Vec<_> = (0..count).map(datagram).collect();
        self.pass(&batch, now)
    }

    fn pass(&mut self, batch: &[(Key, &[u8])], now: Instant) -> Option<()> {
        let asks = batch.iter().map(|(key, payload)| Ask::Pass(key.peer(), payload.len())).collect();
        let mut failed = Vec::new();
        for ((key, payload), answer) in batch.iter().zip(self.ask(asks)?) {
            if let Answer::Goes(grant) = answer {
                failed.extend(self.pass_one(key, payload, grant.target, now));
            }
        }
        self.pass_again(failed, now)
    }

    /// What has met a server that is not there goes to others, which are fewer each time.
    fn pass_again(&mut self, failed: Vec<(Key, Vec<u8>)>, now: Instant) -> Option<()> {
        if failed.is_empty() {
            return Some(());
        }
        let batch: Vec<_> = failed.iter().map(|(key, payload)| (*key, payload.as_slice())).collect();
        self.pass(&batch, now)
    }

    /// Sends one. Gives what must go to another server.
    fn pass_one(&mut self, key: &Key, payload: &[u8], target: Arc<Target>, now: Instant) -> Vec<(Key, Vec<u8>)> {
        let header = if target.proxy.is_some() { self.proxy_header(key) } else { Vec::new() };
        let way = Way::new(&target, key.client, self.settings.transparent);
        let sent = self.passage(way, &target, key.client).and_then(|passage| {
            upstream::deliver(&passage.socket, &header, payload)?;
            passage.kept = Some((*key, payload.to_vec()));
            Ok(())
        });
        match sent {
            Ok(()) => Vec::new(),
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM)) => {
                Vec::new()
            }
            Err(error) => {
                let _ = now;
                let mut again = self.close_passage(way, &target, error);
                again.push((*key, payload.to_vec()));
                again
            }
        }
    }

    /// The socket for that.
    fn passage(&mut self, way: Way, target: &Arc<Target>, client: SocketAddr) -> io::Result<&mut Passage> {
        if self.passages.open.len() >= MOST && !self.passages.open.contains_key(&way) {
            (self.passages.open, self.passages.names) = Default::default();
        }
        if !self.passages.open.contains_key(&way) {
            let (socket, _) = self.open(target, 0, client)?;
            let name = self.passages.name;
            self.passages.name = (name + 1) & !kinds::MASK;
            self.watch.add_errors(&socket, kinds::PASSAGE | name)?;
            self.passages.names.insert(name, way);
            self.passages.open.insert(way, Passage { target: Arc::clone(target), socket, name, kept: None });
        }
        self.passages.open.get_mut(&way).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The server behind a socket is not there. Gives what was sent to it last.
    fn close_passage(&mut self, way: Way, target: &Arc<Target>, error: io::Error) -> Vec<(Key, Vec<u8>)> {
        self.desk.report.failed.push((Arc::clone(target), error));
        let passage = self.passages.open.remove(&way);
        passage
            .and_then(|passage| {
                self.passages.names.remove(&passage.name);
                passage.kept
            })
            .into_iter()
            .collect()
    }

    /// A socket has an error. `None`: pen is about to end.
    pub(super) fn hear_of_passage(&mut self, name: u64, now: Instant) -> Option<()> {
        let Some(way) = self.passages.names.get(&name).copied() else { return Some(()) };
        let Some(passage) = self.passages.open.get(&way) else { return Some(()) };
        let Some(error) = upstream::error(&passage.socket) else { return Some(()) };
        let target = Arc::clone(&passage.target);
        let again = self.close_passage(way, &target, error);
        self.pass_again(again, now)
    }
}
