//! The flows of one thread: which there are, how long each lasts, and which gives way to a new one.
//!
//! Each flow is in one of four lists, by what has come of it; each list is in the order of use. A new flow takes the place of one whose
//! client has not gone on after an answer, if there is one. So forged source addresses, whose owners do not go on, push out no client that
//! does. Connection tracking in Linux has the same rule.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::policy::order::Order;
use crate::policy::udp::Udp;

/// How long a flow stays that has got all its answers (`udp_responses`), for a client that goes on from the same port. It is the first to
/// give way.
const REST: Duration = Duration::from_secs(1);

/// The highest tenancy: a [`FlowId`] is a number of 62 bits.
const TENANCIES: u32 = (1 << 30) - 1;

/// An eighth of the table is for flows that wait for their first answer. They would otherwise give way before it can come, where many
/// new ones come at once.
const WAITING: usize = 8;

/// A slot of the table together with its flow. It is invalid once that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    slot: u32,
    tenancy: u32,
}

/// As a number of 62 bits.
impl From<FlowId> for u64 {
    fn from(id: FlowId) -> Self {
        Self::from(id.tenancy) << 32 | Self::from(id.slot)
    }
}

impl From<u64> for FlowId {
    fn from(number: u64) -> Self {
        Self { slot: number as u32, tenancy: (number >> 32) as u32 }
    }
}

/// What has come of a flow, in the order in which they give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All answers have come.
    Complete,
    /// No answer has come.
    Silent,
    /// An answer has come.
    Answered,
    /// The client has gone on after an answer.
    Established,
}

const STAGES: [Stage; 4] = [Stage::Complete, Stage::Silent, Stage::Answered, Stage::Established];

/// How long flows last.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// See [`Udp`].
    pub udp: Udp,
    /// How long a flow may be idle.
    pub idle: Option<Duration>,
}

#[derive(Debug)]
struct Slot<K, V> {
    /// `None`: the slot is free.
    flow: Option<Flow<K, V>>,
    tenancy: u32,
}

#[derive(Debug)]
struct Flow<K, V> {
    key: K,
    value: V,
    stage: Stage,
    /// The first datagram, or the last answer.
    base: Instant,
    /// The last datagram either way.
    used: Instant,
    datagrams: u64,
    answers: u64,
    was_answered: bool,
    went_on: bool,
}

/// The table; see the module's documentation. `K` tells clients apart, `V` is what is known about a flow.
#[derive(Debug)]
pub struct Flows<K, V> {
    index: HashMap<K, u32>,
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    order: Order<4>,
}

impl<K: Copy + Eq + Hash, V> Default for Flows<K, V> {
    fn default() -> Self {
        Self { index: HashMap::new(), slots: Vec::new(), free: Vec::new(), order: Order::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Flows<K, V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The flow of this client.
    pub fn find(&self, key: &K) -> Option<FlowId> {
        let slot = *self.index.get(key)?;
        Some(FlowId { slot, tenancy: self.slots[slot as usize].tenancy })
    }

    /// What is known about a flow, unless it has ended.
    pub fn get(&mut self, id: FlowId) -> Option<&mut V> {
        self.flow(id).map(|flow| &mut flow.value)
    }

    /// The client of a flow.
    pub fn key(&self, id: FlowId) -> Option<K> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.tenancy == id.tenancy)?;
        slot.flow.as_ref().map(|flow| flow.key)
    }

    /// Enters a flow whose first datagram is about to be heard of. There must be none of that client.
    pub fn insert(&mut self, key: K, value: V, now: Instant) -> FlowId {
        let stage = Stage::Silent;
        let flow = Flow {
            key,
            value,
            stage,
            base: now,
            used: now,
            datagrams: 0,
            answers: 0,
            was_answered: false,
            went_on: false,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { flow: None, tenancy: 0 });
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize].flow = Some(flow);
        self.index.insert(key, slot);
        self.order.push(stage as usize, slot);
        FlowId { slot, tenancy: self.slots[slot as usize].tenancy }
    }

    /// The client has sent a datagram.
    pub fn heard(&mut self, id: FlowId, udp: &Udp, now: Instant) {
        self.note(id, udp, now, |flow| {
            flow.datagrams += 1;
            flow.went_on |= flow.was_answered;
        });
    }

    /// The server has sent so many. Tells whether they are the first.
    pub fn answered(&mut self, id: FlowId, count: usize, udp: &Udp, now: Instant) -> bool {
        let mut first = false;
        self.note(id, udp, now, |flow| {
            first = flow.answers == 0;
            flow.answers += count as u64;
            flow.was_answered = true;
            flow.base = now;
        });
        first
    }

    /// It begins anew: with another server.
    pub fn restart(&mut self, id: FlowId, now: Instant) {
        if let Some(flow) = self.flow(id) {
            (flow.base, flow.answers, flow.datagrams) = (now, 0, 0);
        }
    }

    /// How many answers may be on their way, if each datagram gets one.
    pub fn outstanding(&mut self, id: FlowId) -> usize {
        self.flow(id).map_or(0, |flow| flow.datagrams.saturating_sub(flow.answers) as usize)
    }

    /// Whether it has got an answer from its server.
    pub fn has_answer(&mut self, id: FlowId) -> bool {
        self.flow(id).is_some_and(|flow| flow.answers > 0)
    }

    /// Whether it began then, with the server that it has, and has got no answer.
    pub fn awaits_answer(&self, id: FlowId, since: Instant) -> bool {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.tenancy == id.tenancy);
        let flow = slot.and_then(|slot| slot.flow.as_ref());
        flow.is_some_and(|flow| flow.answers == 0 && flow.base == since)
    }

    /// Whether it has got an answer from any server.
    pub fn was_answered(&self, id: FlowId) -> bool {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.tenancy == id.tenancy);
        slot.and_then(|slot| slot.flow.as_ref()).is_some_and(|flow| flow.was_answered)
    }

    /// Whether a flow has lasted for as long as it may.
    pub fn is_over(&mut self, id: FlowId, terms: &Terms, now: Instant) -> bool {
        self.flow(id).is_none_or(|flow| flow.end(terms) <= now)
    }

    /// The flow that gives way to a new one, in a table for `share` flows.
    pub fn first_to_go(&self, share: usize) -> Option<FlowId> {
        let silent = self.oldest(Stage::Silent);
        let too_many = silent.filter(|_| self.order.count(Stage::Silent as usize) > (share / WAITING).max(1));
        let complete = self.oldest(Stage::Complete);
        complete.or(too_many).or(self.oldest(Stage::Answered)).or(silent).or(self.oldest(Stage::Established))
    }

    /// A flow that is over, if there is one that was not used since.
    pub fn ended(&self, terms: &Terms, now: Instant) -> Option<FlowId> {
        let due = |stage: &Stage| self.due(*stage, terms).filter(|due| *due <= now).and_then(|_| self.oldest(*stage));
        STAGES.iter().find_map(due)
    }

    /// When to look for the next one. A flow whose client goes on in vain is over earlier, which its next datagram tells.
    pub fn next_end(&self, terms: &Terms) -> Option<Instant> {
        STAGES.into_iter().filter_map(|stage| self.due(stage, terms)).min()
    }

    /// Takes a flow out.
    pub fn remove(&mut self, id: FlowId) -> Option<(K, V)> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.tenancy == id.tenancy)?;
        let Flow { key, value, stage, .. } = slot.flow.take()?;
        slot.tenancy = (slot.tenancy + 1) & TENANCIES;
        self.index.remove(&key);
        self.order.remove(stage as usize, id.slot);
        self.free.push(id.slot);
        Some((key, value))
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = FlowId> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.flow.is_some());
        taken.map(|(number, slot)| FlowId { slot: number as u32, tenancy: slot.tenancy })
    }

    fn flow(&mut self, id: FlowId) -> Option<&mut Flow<K, V>> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.tenancy == id.tenancy)?.flow.as_mut()
    }

    /// Notes a use, after which the flow may be at another stage.
    fn note(&mut self, id: FlowId, udp: &Udp, now: Instant, change: impl FnOnce(&mut Flow<K, V>)) {
        let Some(flow) = self.flow(id) else { return };
        change(flow);
        flow.used = now;
        let before = std::mem::replace(&mut flow.stage, Stage::Silent);
        let stage = flow.stage_by(udp);
        flow.stage = stage;
        self.order.remove(before as usize, id.slot);
        self.order.push(stage as usize, id.slot);
    }

    fn oldest(&self, stage: Stage) -> Option<FlowId> {
        let slot = self.order.oldest(stage as usize)?;
        Some(FlowId { slot, tenancy: self.slots[slot as usize].tenancy })
    }

    /// When the flow of a stage that was not used for the longest time is over for certain.
    fn due(&self, stage: Stage, terms: &Terms) -> Option<Instant> {
        let flow = self.slots[self.order.oldest(stage as usize)? as usize].flow.as_ref()?;
        Some(flow.used + terms.rest(stage))
    }
}

impl<K, V> Flow<K, V> {
    fn stage_by(&self, udp: &Udp) -> Stage {
        let is_complete = |responses: u32| responses > 0 && self.answers >= self.datagrams * u64::from(responses);
        match udp.responses {
            Some(responses) if self.answers > 0 && is_complete(responses) => Stage::Complete,
            // A server that has taken it over need not have answered yet.
            _ if self.went_on => Stage::Established,
            _ if self.answers > 0 => Stage::Answered,
            _ => Stage::Silent,
        }
    }

    /// When it is over, if nothing comes.
    fn end(&self, terms: &Terms) -> Instant {
        let end = match self.stage {
            Stage::Complete => self.used + terms.rest(Stage::Complete),
            _ => self.base + terms.udp.timeout,
        };
        terms.idle.map_or(end, |idle| end.min(self.used + idle))
    }
}

impl Terms {
    /// How long a flow at that stage is kept after its last use.
    fn rest(&self, stage: Stage) -> Duration {
        let rest = if stage == Stage::Complete { REST } else { self.udp.timeout };
        self.idle.map_or(rest, |idle| idle.min(rest))
    }
}
