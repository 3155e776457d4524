//! The flows of a datagram thread: to their servers, to the next server when one fails, and to their end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno as NixErrno;
use rustix::io::Errno;

use super::carrier::Carrier;
use super::flow::{Flow, Key};
use super::journal::{self, Journal};
use crate::daemon::dispatch::{Answer, Ask, Grant};
use crate::endpoint::Address;
use crate::net::connect::{ConnectOptions, Fault};
use crate::net::datagrams::{Return, upstream};
use crate::policy::flows::RECHECK;
use crate::policy::flows::table::{FlowId, Terms};
use crate::policy::proxy::writer::header;
use crate::policy::proxy::{Ends, Version};
use crate::policy::servers::Target;
use crate::policy::udp::HeaderIn;
use crate::policy::weblog::connection::Ending;

/// How many bytes flows keep of what they have sent, all together: a datagram of an Ethernet frame for each of 2,800 flows. Beyond that a
/// datagram that meets a server which has just failed is lost, as it may be anywhere on its way.
const KEPT: usize = 4 * 1024 * 1024;

/// How many flows end before others are served: closing a socket takes about 5 us.
const ENDS_AT_ONCE: usize = 256;

impl Carrier {
    /// How long flows last.
    pub(super) fn terms(&self) -> Terms {
        Terms { udp: self.settings.udp, idle: self.settings.idle_timeout }
    }

    /// Takes over what was answered about a client. Gives its flow, if it has one.
    pub(super) fn settle(&mut self, key: &Key, answer: Answer, now: Instant) -> Option<FlowId> {
        let known = self.flows.find(key);
        match (answer, known) {
            (Answer::Stays { makeshift }, Some(id)) => {
                let epoch = self.epoch;
                let flow = self.flows.get(id)?;
                (flow.epoch, flow.recheck) = (epoch, makeshift.then(|| now + RECHECK));
                Some(id)
            }
            (Answer::Goes(grant), Some(id)) => self.turn(id, grant, 0, now).then_some(id),
            (Answer::Goes(grant), None) => self.begin(key, grant, now),
            (Answer::Refused, Some(id)) => {
                self.end(id, Ending::Refused);
                None
            }
            (Answer::Refused | Answer::Stays { .. }, None) => None,
        }
    }

    /// Begins a flow.
    fn begin(&mut self, key: &Key, grant: Grant, now: Instant) -> Option<FlowId> {
        let (conn, link) = grant.new.clone()?;
        let journal = Journal::new(key.peer(), grant.country, now);
        let flow = Flow::new(conn, link, &grant.target, journal);
        let id = self.flows.insert(*key, flow, now);
        self.turn(id, grant, 0, now).then_some(id)
    }

    /// Has a flow go to that server, or to the next one that can be reached; its addresses before `from` were tried. Tells whether there
    /// is one. Otherwise the flow has ended.
    fn turn(&mut self, id: FlowId, mut grant: Grant, mut from: usize, now: Instant) -> bool {
        loop {
            let Some(key) = self.flows.key(id) else { return false };
            let opened = self.open(&grant.target, from, key.client).and_then(|(socket, address)| {
                // This host has no memory for it.
                self.watch.add(&socket, id.into()).map_err(|_| Errno::NOBUFS)?;
                Ok((socket, address))
            });
            let error = match opened {
                Ok((socket, address)) => {
                    self.goes_to(id, grant, socket, address, now);
                    return true;
                }
                Err(error) => error,
            };
            match self.next_server(id, error) {
                Some(next) => (grant, from) = (next, 0),
                None => return false,
            }
        }
    }

    /// A socket to the first address of a server, from that one on, that there is a way to.
    pub(super) fn open(&self, target: &Target, from: usize, client: SocketAddr) -> io::Result<(OwnedFd, usize)> {
        let options = ConnectOptions::from(&*self.settings);
        let mut result = Err(Errno::ADDRNOTAVAIL.into());
        for (number, address) in target.addresses.iter().enumerate().skip(from) {
            let Address::Ip(address) = address else { continue };
            result = upstream::open(*address, &options, client).map(|socket| (socket, number));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn goes_to(&mut self, id: FlowId, grant: Grant, socket: OwnedFd, address: usize, now: Instant) {
        let Grant { target, unproven, makeshift, .. } = grant;
        let socket = Arc::new(socket);
        let (settings, epoch) = (Arc::clone(&self.settings), self.epoch);
        let header = self.flows.key(id).filter(|_| target.proxy.is_some()).map(|key| self.proxy_header(&key));
        let Some(flow) = self.flows.get(id) else { return };
        flow.link.uses(&socket);
        flow.journal.goes_to(server(&target, address));
        (flow.target, flow.address, flow.socket) = (target, address, Some(socket));
        (flow.epoch, flow.recheck, flow.unproven) = (epoch, makeshift.then(|| now + RECHECK), unproven);
        (flow.header, flow.header_sent) = (header.unwrap_or_default(), false);
        self.flows.restart(id, now);
        if unproven || settings.udp.silence > 0 {
            self.await_answer(id, now);
        }
    }

    /// Awaits the first answer of a flow. There are no more of them than twice as many as flows, and some.
    fn await_answer(&mut self, id: FlowId, now: Instant) {
        let Self { awaited, flows, .. } = self;
        if awaited.len() > 2 * flows.len() + ENDS_AT_ONCE {
            awaited.retain(|(since, id)| flows.awaits_answer(*id, *since));
        }
        awaited.push_back((now, id));
    }

    /// Names the ends of a client's way to pen.
    pub(super) fn proxy_header(&self, key: &Key) -> Vec<u8> {
        let Some(door) = self.door_address(key.door) else { return Vec::new() };
        let local = SocketAddr::new(key.local.unwrap_or(door.ip()), door.port());
        header(Version::V2, &Ends::udp(key.client, local), &[])
    }

    /// Sends a datagram to the server of its flow, or to the next one if nobody listens there.
    pub(super) fn deliver(&mut self, id: FlowId, payload: &[u8], now: Instant) {
        let terms = self.terms();
        self.flows.heard(id, &terms.udp, now);
        let Some(flow) = self.flows.get(id) else { return };
        flow.journal.request(payload, &self.settings, &self.tools.access_log);
        journal::show(&self.tools.log, flow.conn, "client -> server", payload, &self.settings);
        if let Err(error) = self.send(id, payload, now) {
            self.fail(id, error.into(), Some(payload), now);
        }
    }

    /// Sends a datagram to the server of its flow. What there is no room for is lost, as it may be anywhere on its way. The error is the
    /// server's.
    fn send(&mut self, id: FlowId, payload: &[u8], now: Instant) -> Result<(), Errno> {
        let each = self.settings.udp.proxy == HeaderIn::Each;
        let Some(flow) = self.flows.get(id) else { return Ok(()) };
        let Some(socket) = &flow.socket else { return Ok(()) };
        let header: &[u8] = if flow.header_sent && !each { &[] } else { &flow.header };
        match upstream::deliver(socket, header, payload) {
            Ok(()) => {
                flow.header_sent = true;
                flow.link.up.delivered(payload.len());
                flow.keep(payload, &mut self.kept, KEPT);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Ok(()),
            Err(Errno::MSGSIZE) => {
                let more = header.len();
                self.is_too_large(payload.len(), more, now);
                Ok(())
            }
            // The supervisor has ended it, and its socket will tell.
            Err(Errno::PIPE) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells of a datagram that is lost because it is too long for its way, with a header before it.
    pub(super) fn is_too_large(&self, length: usize, header: usize, now: Instant) {
        let told =
            format_args!("a datagram of {length} bytes with a PROXY header of {header} is too large for its server");
        self.tools.complaints.tell(told, now);
    }

    /// The server of a flow has failed. What it has not answered goes to the next one, with `unsent` behind it.
    pub(super) fn fail(&mut self, id: FlowId, error: io::Error, unsent: Option<&[u8]>, now: Instant) {
        let mut error = error;
        loop {
            let answered = self.flows.has_answer(id);
            let Some(flow) = self.flows.get(id) else { return };
            if flow.link.is_closing() {
                return self.end(id, Ending::Closed);
            }
            let (target, next) = (Arc::clone(&flow.target), flow.address + 1);
            let kept = flow.take_kept(&mut self.kept);
            let is_left = !answered && next < target.addresses.len() && Fault::of(&error) == Fault::Server;
            let (grant, from) = if is_left {
                let (unproven, makeshift) = (flow.unproven, flow.recheck.is_some());
                (Grant { new: None, target, unproven, makeshift, country: None }, next)
            } else {
                match self.next_server(id, error) {
                    Some(grant) => (grant, 0),
                    None => return,
                }
            };
            if !self.turn(id, grant, from, now) {
                return;
            }
            let kept = kept.as_deref();
            let sent = kept.into_iter().chain(unsent).try_for_each(|payload| self.send(id, payload, now));
            match sent {
                Ok(()) => return,
                Err(again) => {
                    // What could not be sent is kept for the next one.
                    if let (Some(kept), Some(flow)) = (kept, self.flows.get(id)) {
                        flow.keep(kept, &mut self.kept, KEPT);
                    }
                    error = again.into();
                }
            }
        }
    }

    /// The server that a flow gets after this error. Without one it has ended.
    fn next_server(&mut self, id: FlowId, error: io::Error) -> Option<Grant> {
        let answered = self.flows.has_answer(id);
        let flow = self.flows.get(id)?;
        let ask = Ask::Failed { flow: flow.report(), error, answered };
        match self.ask(vec![ask])?.pop() {
            Some(Answer::Goes(grant)) => Some(grant),
            _ => {
                self.end(id, Ending::NoServer);
                None
            }
        }
    }

    /// Takes what the server of a flow has sent: as much as was asked of it. If there is more, the socket is ready again.
    pub(super) fn hear_server(&mut self, id: FlowId, now: Instant) {
        if self.outbox.is_full() {
            self.flush();
        }
        let udp = self.settings.udp;
        let (key, most) = (self.flows.key(id), self.flows.outstanding(id));
        let (Some(Key { client, local, door }), Some(flow)) = (key, self.flows.get(id)) else { return };
        let Some(socket) = &flow.socket else { return };
        if flow.link.is_closing() {
            return self.end(id, Ending::Closed);
        }
        let received = match self.outbox.receive(socket, most, door, Return { client, local }) {
            Ok(received) => received,
            // A datagram was too long for its way, which is no failure of the server.
            Err(NixErrno::EAGAIN | NixErrno::EINTR | NixErrno::EMSGSIZE) => return,
            Err(error) => return self.fail(id, error.into(), None, now),
        };
        flow.link.down.delivered(received.bytes);
        flow.forget(&mut self.kept);
        let (conn, awaited) = (flow.conn, flow.unproven || udp.silence > 0);
        flow.unproven = false;
        for payload in self.outbox.last(received.count) {
            journal::show(&self.tools.log, conn, "server -> client", payload, &self.settings);
        }
        if self.flows.answered(id, received.count, &udp, now) && awaited {
            self.desk.report.answered.push(conn);
        }
    }

    /// Ends flows that are over, and tells which are not answered.
    pub(super) fn look_at_times(&mut self, now: Instant) {
        let terms = self.terms();
        for _ in 0..ENDS_AT_ONCE {
            let Some(id) = self.flows.ended(&terms, now) else { break };
            self.end(id, self.ending(id));
        }
        let is_late = |(since, _): &(Instant, FlowId)| *since + self.settings.timeout <= now;
        while let Some((since, id)) = self.awaited.front().copied().filter(is_late) {
            self.awaited.pop_front();
            if self.flows.awaits_answer(id, since) {
                let conn = self.flows.get(id).map(|flow| flow.conn);
                self.desk.report.silent.extend(conn);
            }
        }
    }

    /// How the log says that a flow has ended that nothing has ended.
    pub(super) fn ending(&self, id: FlowId) -> Ending {
        if self.flows.was_answered(id) { Ending::Done } else { Ending::Idle }
    }

    /// Ends a flow.
    pub(super) fn end(&mut self, id: FlowId, end: Ending) {
        let Some((_, mut flow)) = self.flows.remove(id) else { return };
        flow.forget(&mut self.kept);
        let end = if flow.link.is_closing() { Ending::Closed } else { end };
        let totals = (flow.link.up.total(), flow.link.down.total());
        flow.journal.end(end, totals, &self.settings, &self.tools.access_log);
        self.desk.report.ended.push(flow.report());
    }
}

/// The address of a server as logs have it.
fn server(target: &Target, number: usize) -> SocketAddr {
    match target.addresses.get(number) {
        Some(Address::Ip(address)) => *address,
        _ => SocketAddr::from(([0, 0, 0, 0], 0)),
    }
}
