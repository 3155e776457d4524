//! Counts the ends of connections, and refused clients.

use std::time::Instant;

use super::balancer::Balancer;
use super::connections::Connection;
use super::counters::{Counters, SessionEnd};
use super::refusal::Refusal;
use crate::id::{ConnId, Upstream};

impl Balancer {
    /// A client was refused.
    pub fn refused(&mut self, why: Refusal) {
        self.refusals[why as usize] += 1;
    }

    /// A session has ended. It is still to be closed.
    pub fn session_ended(&mut self, id: ConnId, end: &SessionEnd) {
        let upstream = self.connections.get(id).and_then(|connection| connection.upstream);
        let (Some(upstream), Some(connect)) = (upstream, end.connect) else { return };
        let counters = self.counters(upstream);
        counters.connects.record(connect);
        counters.ended(end.cold, end.length);
    }

    /// A flow has ended. It is still to be closed. It counts for the server that it had last.
    pub fn flow_ended(&mut self, id: ConnId, now: Instant) {
        let Some(Connection { upstream: Some(upstream), since, .. }) = self.connections.get(id) else { return };
        self.count_flow(*upstream, *since, now);
    }

    /// A flow that began then has ended at that server.
    pub(super) fn count_flow(&mut self, upstream: Upstream, since: Instant, now: Instant) {
        self.counters(upstream).ended(false, now.saturating_duration_since(since));
    }

    /// A connect to that server has failed.
    pub(super) fn connect_failed(&mut self, upstream: Upstream) {
        self.counters(upstream).failed += 1;
    }

    fn counters(&mut self, upstream: Upstream) -> &mut Counters {
        match upstream {
            Upstream::Regular(id) => &mut self.servers[id.index()].counters,
            Upstream::Emergency => &mut self.stand_ins.emergency.counters,
            Upstream::Abuse => &mut self.stand_ins.abuse.counters,
        }
    }
}
