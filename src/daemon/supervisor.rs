//! The supervisor: the only owner of the client table, the server table and the blacklist. It waits for one thing at a time,
//! asks the balancer what to do, and does it. It never blocks on anything else.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::event::{Arrival, Closed, Event, Order, Proof, Signal};
use super::permits::Permits;
use super::pool::{Pool, WorkerId};
use super::session::{Job, Link, Task};
use crate::endpoint::ClientAddr;
use crate::error::{Error, reason};
use crate::id::ConnId;
use crate::net::clock::Clock;
use crate::net::log::Log;
use crate::net::socket::Fault;
use crate::policy::balancer::{Assignment, Balancer, Choice, Turn};
use crate::policy::report::Wire;

/// How often the pool is looked through for workers that are idle for long.
const ROUND: Duration = Duration::from_secs(5);

/// How soon a client that found no worker is looked at again.
const SOON: Duration = Duration::from_millis(20);

/// How often a trouble that every client meets is worth a line.
const REMIND: Duration = Duration::from_secs(1);

/// The supervisor's belongings.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is documented at its type")]
pub struct Supervisor<F> {
    pub balancer: Balancer,
    pub pool: Pool<F>,
    pub permits: Permits,
    /// How many sessions there may be at once.
    pub sessions_max: usize,
    pub log: Log,
    pub clock: Clock,
    /// What `dummy` calls itself.
    pub name: Arc<str>,
    pub events: Receiver<Event>,
    pub closed: Receiver<Closed>,
    /// The running sessions by connection number.
    pub sessions: Vec<Session>,
    /// Clients that found no worker because the system gives no more threads.
    pub waiting: VecDeque<Job>,
    pub reminded: Option<Instant>,
}

/// What the supervisor keeps of a running session.
#[derive(Debug, Default)]
pub struct Session {
    link: Weak<Link>,
    worker: Option<WorkerId>,
}

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Works until TERM, or until something has ended without which pen is of no use.
    pub fn run(mut self) -> Result<(), Error> {
        let mut looked = Instant::now();
        let mut crew = false;
        loop {
            let event = match (self.waiting.is_empty(), crew) {
                (false, _) => self.events.recv_timeout(SOON),
                (true, true) => self.events.recv_timeout(ROUND),
                (true, false) => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let now = Instant::now();
            self.collect(now);
            if now.duration_since(looked) >= ROUND {
                looked = now;
                self.permits.limit(self.sessions_max);
                crew = self.pool.retire(now);
            }
            match event {
                Ok(Event::Arrived(arrival)) => {
                    self.arrive(arrival, now);
                    crew = true;
                }
                Ok(Event::Failed(conn, error)) => self.fail(conn, &error, now),
                Ok(Event::Connected(conn)) => {
                    if let Some(turn) = self.balancer.connected(conn) {
                        self.tell(&turn, "");
                    }
                }
                Ok(Event::Signal(Signal::Terminate)) => return Ok(()),
                Ok(Event::Signal(Signal::Statistics)) => self.statistics(now),
                Ok(Event::Signal(Signal::Reload)) => {
                    self.log.debug(1, || String::from("HUP: there is no file to reload"))
                }
                Ok(Event::Died(who)) => {
                    return Err(Error::System(who.to_string(), io::Error::other("ended unexpectedly")));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::System(String::from("events"), io::Error::other("nobody is left to send any")));
                }
            }
        }
    }

    /// Books the sessions that have ended, and gives their workers to whoever waits for one.
    fn collect(&mut self, now: Instant) {
        while let Ok(Closed { conn, worker, sent, received }) = self.closed.try_recv() {
            self.balancer.account(conn, sent, received);
            self.balancer.close(conn, now);
            match self.waiting.pop_front() {
                Some(job) => self.start(worker, job),
                None => self.pool.release(worker, now),
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { socket, peer, permit } = arrival;
        let client = ClientAddr::new(peer.map(|peer| peer.ip()));
        let (conn, task) = match self.balancer.assign(client, peer.map(|peer| peer.port()), now) {
            Assignment::Refuse(why) => return self.log.debug(1, || format!("client {client}: refused: {why}")),
            Assignment::Dummy(conn) => (conn, Task::Dummy(Arc::clone(&self.name))),
            Assignment::Connect(conn, choice) => {
                self.tell_choice(&client, conn, &choice);
                let proof = proof(&choice);
                (conn, Task::Connect(choice.target, proof))
            }
        };
        let link = Arc::new(Link::new(socket));
        if self.sessions.len() <= conn.index() {
            self.sessions.resize_with(conn.index() + 1, Session::default);
        }
        self.sessions[conn.index()] = Session { link: Arc::downgrade(&link), worker: None };
        let settings = Arc::clone(self.balancer.settings());
        let job = Job { conn, link, peer, task, settings, permit };
        match self.pool.hire() {
            Ok(worker) => self.start(worker, job),
            Err(error) => self.wait_for_worker(job, &error, now),
        }
    }

    fn start(&mut self, worker: WorkerId, job: Job) {
        self.sessions[job.conn.index()].worker = Some(worker);
        self.pool.order(worker, Order::Serve(job));
    }

    /// The system gives no more threads: serve with those there are, and accept no more clients than that.
    fn wait_for_worker(&mut self, job: Job, error: &io::Error, now: Instant) {
        let workers = self.pool.size();
        self.remind(format_args!("cannot start more than {workers} workers: {}", reason(error)), now);
        if workers == 0 {
            self.balancer.close(job.conn, now);
            return;
        }
        self.permits.limit(workers);
        self.waiting.push_back(job);
    }

    fn fail(&mut self, conn: ConnId, error: &io::Error, now: Instant) {
        let blame = Fault::of(error) == Fault::Server;
        if !blame {
            self.remind(format_args!("cannot connect to a server: {}", reason(error)), now);
        }
        let (next, turn) = self.balancer.fail_over(conn, blame, now);
        if let Some(turn) = turn {
            self.tell(&turn, &reason(error));
        }
        let Some(worker) = self.sessions.get(conn.index()).and_then(|session| session.worker) else { return };
        match next {
            Some(choice) => {
                self.tell_choice(&"failed over", conn, &choice);
                let proof = proof(&choice);
                self.pool.order(worker, Order::Retry(choice.target, proof));
            }
            None => {
                self.log.debug(1, || format!("connection {conn}: refused: no server is available"));
                self.pool.order(worker, Order::Refuse);
            }
        }
    }

    fn statistics(&mut self, now: Instant) {
        for conn in self.balancer.connection_ids() {
            if let Some(link) = self.link(conn) {
                let (sent, received) = link.take_counts();
                self.balancer.account(conn, sent, received);
            }
        }
        let wire = |conn| self.link(conn).map_or(Wire::default(), |link| link.wire());
        let time = self.clock.format(SystemTime::now());
        self.log.notice(self.balancer.statistics(&time, now, &wire));
    }

    fn link(&self, conn: ConnId) -> Option<Arc<Link>> {
        self.sessions.get(conn.index())?.link.upgrade()
    }

    fn tell_choice(&self, who: &dyn Display, conn: ConnId, choice: &Choice) {
        let Choice { upstream, target, why, .. } = choice;
        self.log.debug(1, || format!("connection {conn}: {who} -> {upstream} ({}): {}", target.name, why.text()));
    }

    fn tell(&self, turn: &Turn, cause: &str) {
        match turn {
            Turn::Blacklisted(upstream, target, time) => self.log.warning(format_args!(
                "{upstream} ({}): up -> blacklisted {} s: {cause}",
                target.name,
                time.as_secs()
            )),
            Turn::Up(upstream, target) => {
                self.log.notice(format_args!("{upstream} ({}): blacklisted -> up", target.name))
            }
        }
    }

    fn remind(&mut self, text: impl Display, now: Instant) {
        if self.reminded.is_none_or(|then| now.duration_since(then) >= REMIND) {
            self.reminded = Some(now);
            self.log.error(text);
        }
    }
}

fn proof(choice: &Choice) -> Proof {
    if choice.unproven { Proof::Wanted } else { Proof::Unneeded }
}
