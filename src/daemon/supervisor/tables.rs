//! What reports read of the tables, a bounded part at a time, so that clients that arrive meanwhile do not wait.

use std::time::{Instant, SystemTime};

use crossbeam_channel::Receiver;

use super::Supervisor;
use super::commands::stats;
use crate::daemon::events::Read;
use crate::daemon::pool::WorkerId;
use crate::daemon::session::job::Order;
use crate::id::ConnId;
use crate::policy::report::batch::{Bounds, Summary};

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Answers a report. A reply to a report that was given up is dropped.
    pub(super) fn read(&mut self, read: Read, now: Instant) {
        match read {
            Read::Summary(reply) => {
                let time = self.clock.format(SystemTime::now());
                let summary = self.balancer.summary(now, time);
                let summary = Summary {
                    requests: self.sessions.requests,
                    connections_max: summary.connections_max.min(self.front.grant.sessions),
                    idlers: self.helpers.idle,
                    ..summary
                };
                let _ = reply.try_send(summary);
            }
            Read::Account(from, reply) => {
                let _ = reply.try_send(self.account(from));
            }
            Read::Lookups(reply) => {
                let _ = reply.try_send(self.balancer.lookups());
            }
            Read::Servers(from, reply) => {
                let _ = reply.try_send(self.balancer.server_batch(from, Bounds::STEP));
            }
            Read::Clients(from, since, reply) => {
                let _ = reply.try_send(self.balancer.client_batch(from, since, Bounds::STEP));
            }
            Read::Connections(from, reply) => {
                let socket_stats = |conn: ConnId| stats(&self.sessions.running, conn);
                let _ = reply.try_send(self.balancer.connection_batch(from, Bounds::STEP, socket_stats));
            }
        }
    }

    /// Books what has gone through running sessions, from that connection number on. Returns where to go on.
    pub(super) fn account(&mut self, from: usize) -> Option<usize> {
        let end = self.sessions.running.len().min(from.saturating_add(Bounds::STEP.slots));
        for slot in from..end {
            let conn = ConnId(slot as u32);
            if let Some(live) = self.live(conn) {
                let (sent, received) = live.take_counts();
                self.balancer.account(conn, sent, received);
                self.sessions.requests += live.take_requests();
            }
        }
        (end < self.sessions.running.len()).then_some(end)
    }
}
