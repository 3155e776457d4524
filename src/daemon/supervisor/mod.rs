//! The supervisor: the only owner of the client table, the server table and the blacklist. It waits for one thing at a time,
//! asks the balancer what to do, and does it. It never blocks on anything else.

mod commands;
mod tables;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::daemon::access_log::AccessLog;
use crate::daemon::events::{Arrival, Event};
use crate::daemon::idlers::Wanted;
use crate::daemon::latest::Latest;
use crate::daemon::mailbox::{Handle, Mailbox};
use crate::daemon::permits::Permits;
use crate::daemon::pool::{Pool, WorkerId};
use crate::daemon::session::job::{Closed, Job, Link, Live, Order, Proof, Task};
use crate::error::Error;
use crate::error::reason;
use crate::id::ConnId;
use crate::net::connect::Fault;
use crate::net::listener::Listener;
use crate::policy::balancer::{Admission, Balancer, Choice, Transition};
use crate::policy::facts::ClientFacts;
use crate::policy::report::SocketStats;
use crate::sys::clock::Clock;
use crate::sys::log::Log;

/// How often the pool is looked through for workers that are idle for long.
const ROUND: Duration = Duration::from_secs(5);

/// How soon what could not be done at once is tried again.
const SOON: Duration = Duration::from_millis(20);

/// How often a trouble that every client meets is worth a line.
const REMIND: Duration = Duration::from_secs(1);

/// The supervisor's belongings.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is documented at its type")]
pub struct Supervisor<F> {
    pub balancer: Balancer,
    pub pool: Pool<F, Order>,
    pub permits: Permits,
    /// How many sessions there may be at once.
    pub sessions_max: usize,
    pub log: Log,
    pub clock: Clock,
    /// What `dummy` calls itself.
    pub name: Arc<str>,
    pub events: Mailbox<Event>,
    pub closed: Receiver<Closed>,
    /// The running sessions by connection number.
    pub sessions: Vec<Option<Running>>,
    /// Clients that found no worker because the system gives no more threads.
    pub waiting: VecDeque<Job>,
    pub reminded: Option<Instant>,
    /// To the thread that keeps the idlers.
    pub idlers: Latest<Wanted>,
    pub access_log: AccessLog,
    /// How many idlers are connected.
    pub idle: usize,
    /// For acceptors that a `listen` starts.
    pub doorway: Handle<Event>,
    pub listener: Arc<Listener>,
}

/// What the supervisor keeps of a running session.
#[derive(Debug)]
pub struct Running {
    live: Weak<dyn Live>,
    worker: Option<WorkerId>,
}

impl Running {
    /// What reports show of it.
    pub(super) fn socket_stats(&self) -> SocketStats {
        self.live.upgrade().map_or(SocketStats::default(), |live| live.socket_stats())
    }
}

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Works until TERM, or until something has ended without which pen is of no use.
    pub fn run(mut self) -> Result<(), Error> {
        let mut looked = Instant::now();
        let mut crew = false;
        loop {
            let behind = !self.waiting.is_empty() || self.idlers.is_late();
            let event = self.events.next(match (behind, crew) {
                (true, _) => Some(SOON),
                (false, true) => Some(ROUND),
                (false, false) => None,
            });
            let now = Instant::now();
            self.collect(now);
            self.catch_up();
            if now.duration_since(looked) >= ROUND {
                looked = now;
                self.permits.limit(self.sessions_max);
                crew = self.pool.retire(now);
            }
            let Some(event) = event else { continue };
            match event {
                Event::Arrived(arrival) => {
                    self.arrive(arrival, now);
                    crew = true;
                }
                Event::Failed(conn, error) => self.fail(conn, &error, now),
                Event::Short(reason) => self.cannot_connect(&reason, now),
                Event::Proven(target) => {
                    if let Some(transition) = self.balancer.proven(&target) {
                        self.tell(&transition, "");
                    }
                }
                Event::Terminate => return self.leave(Ok(())),
                Event::Spoke(conn, facts) => self.spoke(conn, facts, now),
                Event::Apply(prepared, answer) => {
                    let outcome = self.obey(prepared, now);
                    let exit = matches!(outcome, Ok((_, true)));
                    // Whoever asked may be gone: then nobody needs to know.
                    let _ = answer.try_send(outcome.map(|(outcome, _)| outcome));
                    if exit {
                        return self.leave(Ok(()));
                    }
                }
                Event::Read(read) => self.read(read, now),
                Event::Admit(client, answer) => {
                    // Whoever asked may be gone: then nobody needs to know.
                    let _ = answer.try_send(self.balancer.admits_to_control(client));
                }
                Event::Idlers(count) => self.idle = count,
                Event::Ended(who) => {
                    let error = io::Error::other("ended unexpectedly");
                    return self.leave(Err(Error::System(who.to_string(), error)));
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

    /// Does what could not be done at once: finds workers for clients that wait for one, and tells the
    /// idlers' thread what it could not be told.
    fn catch_up(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            match self.pool.hire() {
                Ok(worker) => self.start(worker, job),
                Err(_) => {
                    self.waiting.push_front(job);
                    break;
                }
            }
        }
        self.idlers.catch_up();
    }

    fn arrive(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { socket, peer, permit } = arrival;
        let facts = ClientFacts::of(peer);
        let client = facts.address;
        let (conn, task) = match self.balancer.admit(facts.clone(), now) {
            Admission::Refused(why) => return self.log.debug(1, || format!("client {client}: refused: {why}")),
            Admission::AfterFirstBytes(conn) => (conn, Task::Peek),
            Admission::Dummy(conn) => (conn, Task::Dummy(Arc::clone(&self.name))),
            Admission::AtOnce(conn) => match self.balancer.choose(conn, facts, now) {
                Err(why) => {
                    self.balancer.close(conn, now);
                    return self.log.debug(1, || format!("client {client}: refused: {why}"));
                }
                Ok(choice) => {
                    self.tell_choice(&client, conn, &choice);
                    let proof = proof(&choice);
                    (conn, Task::Connect(choice.target, proof))
                }
            },
        };
        let link = Arc::new(Link::new(socket));
        if self.sessions.len() <= conn.index() {
            self.sessions.resize_with(conn.index() + 1, || None);
        }
        self.sessions[conn.index()] = Some(Running { live: Arc::<Link>::downgrade(&link), worker: None });
        let settings = Arc::clone(self.balancer.settings());
        let job = Job { conn, link, peer, task, settings, permit };
        match self.pool.hire() {
            Ok(worker) => self.start(worker, job),
            Err(error) => self.wait_for_worker(job, &error, now),
        }
    }

    fn start(&mut self, worker: WorkerId, job: Job) {
        if let Some(running) = &mut self.sessions[job.conn.index()] {
            running.worker = Some(worker);
        }
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
        let fault = Fault::of(error);
        let blame = fault == Fault::Server;
        if !blame {
            self.cannot_connect(&reason(error), now);
        }
        if fault == Fault::Shortage {
            // It has waited, and would lack the same for any other server.
            return self.proceed(conn, Err("this host is short of descriptors or memory"), "");
        }
        let (next, transition) = self.balancer.fail_over(conn, blame, now);
        if let Some(transition) = transition {
            self.tell(&transition, &reason(error));
        }
        self.proceed(conn, next.ok_or("no server is available"), "failed over");
    }

    fn spoke(&mut self, conn: ConnId, facts: ClientFacts, now: Instant) {
        let choice = self.balancer.choose(conn, facts, now);
        self.proceed(conn, choice, "has spoken");
    }

    /// Tells a worker that waits for it how its session goes on.
    fn proceed(&self, conn: ConnId, choice: Result<Choice, &'static str>, who: &str) {
        let Some(worker) = self.running(conn).and_then(|running| running.worker) else { return };
        match choice {
            Ok(choice) => {
                self.tell_choice(&who, conn, &choice);
                let proof = proof(&choice);
                self.pool.order(worker, Order::Retry(choice.target, proof));
            }
            Err(why) => {
                self.log.debug(1, || format!("connection {conn}: refused: {why}"));
                self.pool.order(worker, Order::Refuse);
            }
        }
    }

    fn leave(&self, outcome: Result<(), Error>) -> Result<(), Error> {
        self.listener.remove_file();
        if outcome.is_err() && self.balancer.settings().abort_on_error {
            std::process::abort();
        }
        outcome
    }

    pub(super) fn live(&self, conn: ConnId) -> Option<Arc<dyn Live>> {
        self.running(conn)?.live.upgrade()
    }

    pub(super) fn running(&self, conn: ConnId) -> Option<&Running> {
        self.sessions.get(conn.index())?.as_ref()
    }

    fn tell_choice(&self, who: &dyn Display, conn: ConnId, choice: &Choice) {
        let Choice { upstream, target, why, .. } = choice;
        self.log.debug(1, || format!("connection {conn}: {who} -> {upstream} ({}): {}", target.name, why.text()));
    }

    fn tell(&self, transition: &Transition, cause: &str) {
        match transition {
            Transition::Blacklisted(upstream, target, time) => {
                let (name, time) = (&target.name, time.as_secs());
                self.log.warning(format_args!("{upstream} ({name}): up -> blacklisted {time} s: {cause}"));
                if !self.balancer.has_server_up() {
                    self.log.alert(match self.balancer.stand_in() {
                        None => String::from("no server is left"),
                        Some(target) => format!("no server is left: using the emergency server ({})", target.name),
                    });
                }
            }
            Transition::Up(upstream, target) => {
                self.log.notice(format_args!("{upstream} ({}): blacklisted -> up", target.name))
            }
        }
    }

    /// Tells of a connect that failed, or has to wait, and the server has nothing to do with it.
    fn cannot_connect(&mut self, reason: &str, now: Instant) {
        self.remind(format_args!("cannot connect to a server: {reason}"), now);
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
