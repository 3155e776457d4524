//! Sessions, from the arrival of a client to the end: which worker serves it, and where it goes when a connect fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::{Running, Supervisor};
use crate::daemon::events::Arrival;
use crate::daemon::live::Live;
use crate::daemon::pool::WorkerId;
use crate::daemon::session::job::{Closed, Job, Link, Order, Proof, Route, Task};
use crate::daemon::session::trail;
use crate::error::reason;
use crate::id::ConnId;
use crate::net::connect::Fault;
use crate::net::tls::ServerFailure;
use crate::policy::balancer::{Admission, Choice};
use crate::policy::country::Country;
use crate::policy::facts::ClientFacts;
use crate::policy::refusal::Refusal;
use crate::policy::weblog::Record;
use crate::policy::weblog::connection::LogFormat;

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Books the sessions that have ended, and gives their workers to clients that wait for one.
    pub(super) fn collect(&mut self, now: Instant) {
        while let Ok(Closed { conn, worker, end, sent, received, requests }) = self.sessions.closed.try_recv() {
            self.sessions.requests += requests;
            self.balancer.account(conn, sent, received);
            self.balancer.session_ended(conn, &end);
            if let Some(event) = self.balancer.observe(conn, end.cold, now) {
                self.changed(event, now);
            }
            self.balancer.close(conn, now);
            match self.sessions.waiting.pop_front() {
                Some(job) => self.start(worker, job),
                None => self.sessions.pool.release(worker, now),
            }
        }
    }

    /// Does what could not be done at once: finds workers for clients that wait for one, and tells the
    /// idlers' thread what it could not be told.
    pub(super) fn catch_up(&mut self) {
        while let Some(job) = self.sessions.waiting.pop_front() {
            match self.sessions.pool.hire() {
                Ok(worker) => self.start(worker, job),
                Err(_) => {
                    self.sessions.waiting.push_front(job);
                    break;
                }
            }
        }
        self.helpers.idlers.catch_up();
        self.checking.catch_up();
    }

    pub(super) fn arrive(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { socket, peer, permit } = arrival;
        let facts = ClientFacts::of(peer);
        let client = facts.address;
        let (conn, task) = match self.balancer.admit(facts.clone(), now) {
            Admission::Refused(why @ Refusal::ProxyAcl) => {
                self.balancer.refused(why);
                return self.helpers.announcements.tell(format_args!("client {client}: refused: {why}"), now);
            }
            Admission::Refused(why) => return self.refuse(peer, &facts, why, now),
            Admission::Later(conn, wait) => (conn, Task::Wait(wait)),
            Admission::Dummy(conn) => (conn, Task::Dummy(Arc::clone(&self.name))),
            Admission::AtOnce(conn) => match self.balancer.choose(conn, facts.clone(), now) {
                Err(why) => {
                    self.balancer.close(conn, now);
                    return self.refuse(peer, &facts, why, now);
                }
                Ok(choice) => {
                    self.tell_choice(&client, conn, &choice);
                    (conn, Task::Connect(self.route(choice, Some(&facts))))
                }
            },
        };
        let link = Arc::new(Link::new(socket));
        self.run_session(conn, Running { live: Arc::<Link>::downgrade(&link), worker: None });
        let settings = Arc::clone(self.balancer.settings());
        let terminator = self.keyring.terminator().cloned();
        let job = Job { conn, link, peer, task, terminator, settings, permit };
        match self.sessions.pool.hire() {
            Ok(worker) => self.start(worker, job),
            Err(error) => self.wait_for_worker(job, &error, now),
        }
    }

    pub(super) fn run_session(&mut self, conn: ConnId, running: Running) {
        if self.sessions.running.len() <= conn.index() {
            self.sessions.running.resize_with(conn.index() + 1, || None);
        }
        self.sessions.running[conn.index()] = Some(running);
    }

    fn start(&mut self, worker: WorkerId, job: Job) {
        if let Some(running) = &mut self.sessions.running[job.conn.index()] {
            running.worker = Some(worker);
        }
        self.sessions.pool.order(worker, Order::Serve(job));
    }

    /// The system gives no more threads: serve with those there are, and accept no more clients than that. It is told once, until
    /// workers have ended.
    fn wait_for_worker(&mut self, job: Job, error: &io::Error, now: Instant) {
        let workers = self.sessions.pool.size();
        if self.short_of_workers.is_none() {
            self.short_of_workers = Some(workers);
            self.log.error(format_args!("cannot start more than {workers} workers: {}", reason(error)));
        }
        // Without workers none will be free.
        if workers == 0 || self.sessions.waiting.try_reserve(1).is_err() {
            self.balancer.refused(Refusal::Shortage);
            self.balancer.close(job.conn, now);
            return;
        }
        self.front.permits.limit(workers);
        self.sessions.waiting.push_back(job);
    }

    pub(super) fn fail(&mut self, conn: ConnId, error: &io::Error, now: Instant) {
        let fault = Fault::of(error);
        let blame = fault == Fault::Server;
        if !blame {
            self.cannot_connect(&reason(error), now);
        }
        if fault == Fault::Shortage {
            // It has waited, and would lack the same for any other server.
            return self.proceed(conn, Err(Refusal::Shortage), None, "");
        }
        if let Some(failure) = ServerFailure::of(error) {
            self.balancer.server_tls_failed(conn, failure.fault);
        }
        let (next, transition) = self.balancer.fail_over(conn, blame, now);
        if let Some(transition) = transition {
            self.tell(&transition, &reason(error));
        }
        self.proceed(conn, next.ok_or(Refusal::NoServer), None, "failed over");
    }

    pub(super) fn known(&mut self, conn: ConnId, facts: ClientFacts, now: Instant) {
        let choice = self.balancer.choose(conn, facts.clone(), now);
        self.proceed(conn, choice, Some(&facts), "is known");
    }

    /// A client was announced by its proxy: tells the worker, which waits for it, what it gets.
    pub(super) fn announced(&mut self, conn: ConnId, facts: &ClientFacts, now: Instant) {
        let task = match self.balancer.announced(conn, facts.clone(), now) {
            Admission::Refused(why) => Err(why),
            Admission::Later(_, wait) => Ok(Task::Wait(wait)),
            Admission::Dummy(_) => Ok(Task::Dummy(Arc::clone(&self.name))),
            Admission::AtOnce(_) => self.balancer.choose(conn, facts.clone(), now).map(|choice| {
                self.tell_choice(&facts.address, conn, &choice);
                Task::Connect(self.route(choice, Some(facts)))
            }),
        };
        let Some(worker) = self.running(conn).and_then(|running| running.worker) else { return };
        let order = task.map(Order::Meet).unwrap_or_else(|why| {
            self.balancer.refused(why);
            self.log.debug(1, || format!("client {}: refused: {why}", facts.address));
            Order::Refuse
        });
        self.sessions.pool.order(worker, order);
    }

    /// The way to the server that was chosen.
    /// `facts`: of a client that comes for the first time.
    fn route(&self, Choice { target, unproven, .. }: Choice, facts: Option<&ClientFacts>) -> Route {
        let country = facts.and_then(|facts| self.country(facts));
        let connector = target.tls.as_ref().and_then(|tls| self.keyring.connector(tls)).cloned();
        Route { target, connector, proof: if unproven { Proof::Wanted } else { Proof::Unneeded }, country }
    }

    /// Where a client comes from, if the log is to tell it.
    pub(super) fn country(&self, facts: &ClientFacts) -> Option<Country> {
        let wanted = trail::format(self.balancer.settings()).is_some_and(LogFormat::asks_for_country);
        if wanted { self.balancer.country(facts) } else { None }
    }

    /// A client gets nothing. It is a line in the log of connections, unless there are many of them.
    pub(super) fn refuse(&mut self, peer: Option<SocketAddr>, facts: &ClientFacts, why: Refusal, now: Instant) {
        self.balancer.refused(why);
        self.log.debug(1, || format!("client {}: refused: {why}", facts.address));
        let Some(format) = trail::format(self.balancer.settings()) else { return };
        let line = || trail::refused(format, peer, self.country(facts));
        self.helpers.access_log.refused(now, || Record::ready(line().as_bytes()));
    }

    /// Tells a worker that waits for it how its session goes on.
    fn proceed(&mut self, conn: ConnId, choice: Result<Choice, Refusal>, facts: Option<&ClientFacts>, who: &str) {
        let Some(worker) = self.running(conn).and_then(|running| running.worker) else { return };
        match choice {
            Ok(choice) => {
                self.tell_choice(&who, conn, &choice);
                self.sessions.pool.order(worker, Order::Retry(self.route(choice, facts)));
            }
            Err(why) => {
                self.balancer.refused(why);
                self.log.debug(1, || format!("connection {conn}: refused: {why}"));
                self.sessions.pool.order(worker, Order::Refuse);
            }
        }
    }

    pub(super) fn live(&self, conn: ConnId) -> Option<Arc<dyn Live>> {
        self.running(conn)?.live.upgrade()
    }

    pub(super) fn running(&self, conn: ConnId) -> Option<&Running> {
        self.sessions.running.get(conn.index())?.as_ref()
    }
}
