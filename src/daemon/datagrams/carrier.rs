//! One datagram thread: what comes from clients goes to the servers of their flows, and what those answer goes back.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;

use super::desk::Desk;
use super::flow::{Flow, Key};
use super::kinds;
use super::passages::Passages;
use super::tools::{Doors, Tools};
use crate::daemon::dispatch::{Answer, Ask, Reply};
use crate::endpoint::Address;
use crate::net::datagrams::Return;
use crate::net::datagrams::inbox::Inbox;
use crate::net::datagrams::outbox::Outbox;
use crate::net::datagrams::watch::{Ready, Watch};
use crate::net::listener::Listener;
use crate::policy::flows::table::{FlowId, Flows};
use crate::policy::settings::Settings;
use crate::policy::weblog::connection::Ending;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Carrier {
    /// Which of the threads it is, and of the sockets of each listener.
    number: usize,
    share: usize,
    pub(super) settings: Arc<Settings>,
    pub(super) tools: Tools,
    /// When the settings were asked for.
    pub(super) epoch: u32,
    all_doors: Doors,
    /// By their number, which flows keep. `None`: it is gone.
    doors: Vec<Option<Arc<Listener>>>,
    pub(super) watch: Watch,
    pub(super) flows: Flows<Key, Flow>,
    /// Flows whose first answer is awaited, and since when.
    pub(super) awaited: VecDeque<(Instant, FlowId)>,
    pub(super) outbox: Outbox,
    pub(super) passages: Passages,
    pub(super) desk: Desk,
    /// How many bytes flows keep.
    pub(super) kept: usize,
}

impl Carrier {
    /// Thread `number`, which may have `share` flows. To be made by the thread itself.
    pub(super) fn new(number: usize, share: usize, watch: Watch, all_doors: Doors, tools: Tools) -> Self {
        let settings = Arc::clone(&tools.settings);
        Self {
            number,
            share: share.max(1),
            settings,
            epoch: tools.epoch.now(),
            all_doors,
            doors: Vec::new(),
            watch,
            flows: Flows::default(),
            awaited: VecDeque::new(),
            outbox: Outbox::new(),
            passages: Passages::default(),
            desk: Desk::new(tools.events.clone()),
            tools,
            kept: 0,
        }
    }

    /// Carries datagrams until pen ends.
    pub(super) fn carry(mut self) -> io::Result<()> {
        let (mut inbox, mut ready) = (Inbox::new(), Ready::new());
        self.open_doors()?;
        loop {
            let until = [
                self.flows.next_end(&self.terms()),
                self.awaited.front().map(|(since, _)| *since + self.settings.timeout),
            ];
            self.watch.wait(until.into_iter().flatten().min(), &mut ready)?;
            let now = Instant::now();
            if ready.is_woken() {
                self.open_doors()?;
            }
            for name in ready.names() {
                let number = name & !kinds::MASK;
                let served = match name & kinds::MASK {
                    kinds::DOOR => self.hear_clients(number as usize, &mut inbox, now),
                    kinds::PASSAGE => self.hear_of_passage(number, now),
                    _ => {
                        self.hear_server(FlowId::from(name), now);
                        Some(())
                    }
                };
                if served.is_none() {
                    return Ok(());
                }
            }
            self.flush();
            self.look_at_times(now);
            let told = if self.tools.epoch.now() == self.epoch { self.desk.tell() } else { self.refresh() };
            if told.is_none() {
                return Ok(());
            }
        }
    }

    /// Asks for nothing but the settings of now.
    fn refresh(&mut self) -> Option<()> {
        self.ask(Vec::new()).map(drop)
    }

    /// Opens the listeners that are new, and closes those that are gone, with their flows.
    fn open_doors(&mut self) -> io::Result<()> {
        let all = self.all_doors.all();
        for number in 0..self.doors.len() {
            let is_gone = |door: &Arc<Listener>| !all.iter().any(|other| Arc::ptr_eq(other, door));
            if let Some(door) = self.doors[number].take_if(|door| is_gone(door)) {
                self.watch.remove(&door.sockets()[self.number]);
                let theirs =
                    |flows: &Flows<Key, Flow>, id: &FlowId| flows.key(*id).is_some_and(|key| key.door == number);
                let flows: Vec<_> = self.flows.ids().filter(|id| theirs(&self.flows, id)).collect();
                flows.into_iter().for_each(|id| self.end(id, Ending::Closed));
            }
        }
        for door in all {
            if self.doors.iter().flatten().any(|other| Arc::ptr_eq(other, &door)) {
                continue;
            }
            let number = self.doors.iter().position(Option::is_none).unwrap_or_else(|| {
                self.doors.push(None);
                self.doors.len() - 1
            });
            self.watch.add(&door.sockets()[self.number], kinds::DOOR | number as u64)?;
            self.doors[number] = Some(door);
        }
        Ok(())
    }

    /// Takes a batch from clients. `None`: pen is about to end.
    fn hear_clients(&mut self, door: usize, inbox: &mut Inbox, now: Instant) -> Option<()> {
        let Some(listener) = self.doors.get(door).cloned().flatten() else { return Some(()) };
        let Some(address) = self.door_address(door) else { return Some(()) };
        let count = match inbox.receive(&listener.sockets()[self.number], address, self.number == 0) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return Some(()),
            Err(error) => {
                let error = io::Error::from(error);
                self.tools.complaints.tell(format_args!("cannot receive datagrams: {error}"), now);
                return Some(());
            }
        };
        if self.settings.udp.responses == Some(0) && self.settings.roundrobin {
            return self.pass_on(inbox, count, door, now);
        }
        let epoch = self.tools.epoch.now();
        let mut strangers: Vec<Key> = Vec::new();
        for number in 0..count {
            let key = key_of(inbox, number, door);
            // What a client sends stays in its order.
            match self.ready(&key, epoch, now).filter(|_| !strangers.contains(&key)) {
                Some(id) => self.deliver(id, inbox.datagram(number).0, now),
                None if strangers.contains(&key) => {}
                None => strangers.push(key),
            }
        }
        for some in strangers.chunks(self.share) {
            let asks = self.questions(some);
            let answers = self.ask(asks)?;
            for (key, answer) in some.iter().zip(answers) {
                let Some(id) = self.settle(key, answer, now) else { continue };
                for number in (0..count).filter(|number| key_of(inbox, *number, door) == *key) {
                    self.deliver(id, inbox.datagram(number).0, now);
                }
            }
        }
        Some(())
    }

    /// The flow of a client, if nothing has to be asked about it.
    fn ready(&mut self, key: &Key, epoch: u32, now: Instant) -> Option<FlowId> {
        let id = self.flows.find(key)?;
        if self.flows.is_over(id, &self.terms(), now) {
            self.end(id, self.ending(id));
            return None;
        }
        let flow = self.flows.get(id)?;
        let is_known = flow.epoch == epoch && flow.recheck.is_none_or(|at| at > now);
        is_known.then_some(id)
    }

    /// What to ask about these clients. Flows make room for theirs.
    fn questions(&mut self, keys: &[Key]) -> Vec<Ask> {
        let new = keys.iter().filter(|key| self.flows.find(key).is_none()).count();
        while self.flows.len() + new > self.share {
            let Some(id) = self.flows.first_to_go(self.share) else { break };
            self.end(id, self.ending(id));
        }
        let ask = |key: &Key| match self.flows.find(key).and_then(|id| self.flows.get(id)) {
            Some(flow) => Ask::Again(flow.report()),
            None => Ask::Begin(key.peer()),
        };
        keys.iter().map(ask).collect()
    }

    /// Where a listener has its datagrams from.
    pub(super) fn door_address(&self, door: usize) -> Option<SocketAddr> {
        match self.doors.get(door)?.as_ref()?.address() {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// Sends the answers that have come.
    pub(super) fn flush(&mut self) {
        let Self { outbox, doors, number, .. } = self;
        outbox.flush(|door| doors.get(door)?.as_ref().map(|door| &door.sockets()[*number]));
    }

    /// Asks, and takes over what has changed. `None`: pen is about to end.
    pub(super) fn ask(&mut self, asks: Vec<Ask>) -> Option<Vec<Answer>> {
        // Before it: what changes later must be asked for again.
        self.epoch = self.tools.epoch.now();
        let Reply { answers, settings, share } = self.desk.ask(asks)?;
        (self.settings, self.share) = (settings, share.max(1));
        Some(answers)
    }
}

fn key_of(inbox: &Inbox, number: usize, door: usize) -> Key {
    let Return { client, local } = inbox.datagram(number).1;
    Key { client, local, door }
}
