//! The supervisor: the only owner of the client table, the server table and the blacklist. It waits for one thing at a time,
//! asks the balancer what to do, and does it. It never blocks on anything else.

mod checking;
mod checks;
mod commands;
mod flows;
pub mod front;
mod sessions;
mod tables;

use std::collections::{TryReserveError, VecDeque};
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use self::checking::Checking;
use self::front::Front;
use crate::daemon::access_log::AccessLog;
use crate::daemon::complaints::Complaints;
use crate::daemon::events::{Event, Handshake};
use crate::daemon::idlers::Wanted;
use crate::daemon::latest::Latest;
use crate::daemon::live::Live;
use crate::daemon::mailbox::Mailbox;
use crate::daemon::pool::{Pool, WorkerId};
use crate::daemon::session::job::{Closed, Job, Order};
use crate::error::Error;
use crate::id::ConnId;
use crate::net::tls::Keyring;
use crate::policy::balancer::{Balancer, Choice, Transition};
use crate::policy::http::counts::Counts;
use crate::policy::report::SocketStats;
use crate::sys::clock::Clock;
use crate::sys::log::Log;

/// How often the pool is looked through for workers that are idle for long.
const ROUND: Duration = Duration::from_secs(5);

/// How often the bytes of some running sessions are booked: a client that was answered must not count as one that was not for the whole
/// length of its session.
const BOOK: Duration = Duration::from_secs(1);

/// How soon what could not be done at once is tried again.
const SOON: Duration = Duration::from_millis(20);

/// How often a failure that affects every client is logged.
const REMIND: Duration = Duration::from_secs(1);

/// The supervisor's belongings.
#[derive(Debug)]
pub struct Supervisor<F> {
    balancer: Balancer,
    events: Mailbox<Event>,
    sessions: Sessions<F>,
    front: Front,
    /// Certificates and keys for what is configured.
    keyring: Arc<Keyring>,
    helpers: Helpers,
    log: Log,
    clock: Clock,
    /// What `dummy` calls itself.
    name: Arc<str>,
    /// When a trouble that every client meets was last told.
    reminded: Option<Instant>,
    due: Due,
    /// A lack of threads was told, with that many workers.
    short_of_workers: Option<usize>,
    checking: Checking,
}

/// The sessions and who serves them.
#[derive(Debug)]
struct Sessions<F> {
    pool: Pool<F, Order>,
    closed: Receiver<Closed>,
    /// The running ones by connection number.
    running: Vec<Option<Running>>,
    /// Clients that found no worker because the system gives no more threads.
    waiting: VecDeque<Job>,
    /// The HTTP requests of all.
    requests: Counts,
}

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Sessions<F> {
    /// Has the memory ready for so many sessions at once. Clients that wait are few: see [`Supervisor::wait_for_worker`].
    fn try_reserve(&mut self, max: usize) -> Result<(), TryReserveError> {
        self.running.try_reserve_exact(max.saturating_sub(self.running.len()))?;
        self.pool.try_reserve(max)
    }
}

/// The threads that do for the supervisor what may block.
#[derive(Debug)]
pub struct Helpers {
    /// Keeps the idlers.
    pub idlers: Latest<Wanted>,
    /// How many idlers are connected.
    pub idle: usize,
    /// Wakes the resolver, which then asks what to do. The channel has room for one: the resolver has not asked yet if there is none.
    pub resolver: Sender<()>,
    /// Tells of clients that should be proxies.
    pub announcements: Arc<Complaints>,
    /// Writes the request log.
    pub access_log: AccessLog,
}

/// What commands have made due, and is done once for all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    grant: bool,
    idlers: bool,
    checks: bool,
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
    /// Of a balancer that is configured, with `pool` for its sessions, which report their end through `closed`.
    pub fn new(
        balancer: Balancer,
        events: Mailbox<Event>,
        (pool, closed): (Pool<F, Order>, Receiver<Closed>),
        (front, keyring): (Front, Arc<Keyring>),
        helpers: Helpers,
        (log, clock): (Log, Clock),
    ) -> Self {
        let name = front.names().into();
        let sessions =
            Sessions { pool, closed, running: Vec::new(), waiting: VecDeque::new(), requests: Counts::default() };
        Self {
            balancer,
            events,
            sessions,
            front,
            keyring,
            helpers,
            log,
            clock,
            name,
            reminded: None,
            due: Due { checks: true, ..Due::default() },
            short_of_workers: None,
            checking: Checking::default(),
        }
    }

    /// Whether pen is to abort after an error: `abort_on_error`.
    pub fn aborts_on_error(&self) -> bool {
        self.balancer.settings().abort_on_error
    }

    /// Works until TERM, or until something has ended without which pen is of no use.
    pub fn run(&mut self) -> Result<(), Error> {
        let (mut looked, mut booked, mut next) = (Instant::now(), Instant::now(), 0);
        let mut crew = false;
        loop {
            let behind = !self.sessions.waiting.is_empty()
                || self.helpers.idlers.is_late()
                || self.checking.is_late()
                || self.front.is_changing();
            // The bytes of flows are booked, too, which have no crew.
            let watched = crew || self.balancer.has_connections();
            let event = self.events.next(match (behind, watched) {
                (true, _) => Some(SOON),
                (false, true) => Some(BOOK),
                (false, false) => None,
            });
            let now = Instant::now();
            self.collect(now);
            self.catch_up();
            if self.front.release(now) {
                self.due.grant = true;
                self.settle(now);
            }
            if now.duration_since(booked) >= BOOK {
                booked = now;
                next = self.account(next).unwrap_or(0);
            }
            if now.duration_since(looked) >= ROUND {
                looked = now;
                self.front.permits.limit(self.front.grant.sessions);
                crew = self.sessions.pool.retire(now);
                self.short_of_workers = self.short_of_workers.filter(|told| self.sessions.pool.size() >= *told);
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
                    if let Some(transition) = self.balancer.proven(&target, now) {
                        self.tell(&transition, "");
                    }
                }
                Event::Terminate => return Ok(()),
                Event::Known(conn, facts, handshake) => {
                    if let Some(Handshake { resumed }) = handshake {
                        self.balancer.handshake_done(resumed);
                    }
                    self.known(conn, facts, now);
                }
                Event::Announced(conn, facts) => self.announced(conn, &facts, now),
                Event::Flows(dispatch) => self.dispatch(*dispatch, now),
                Event::Checked(id, name, found) => self.checked(id, &name, *found, now),
                Event::Follow(follower, answer) => {
                    // The caller may have given up; then the reply is dropped.
                    let _ = answer.try_send(self.follow(follower));
                }
                Event::Handshake(Ok(Handshake { resumed })) => self.balancer.handshake_done(resumed),
                Event::Handshake(Err(fault)) => self.balancer.handshake_failed(fault),
                Event::Keys(answer) => {
                    // The caller may have given up; then the reply is dropped.
                    let _ = answer.try_send((self.balancer.tls_config(), Arc::clone(&self.keyring)));
                }
                Event::Apply(prepared, answer) => {
                    let outcome = self.obey(prepared, now);
                    let exit = matches!(outcome, Ok((_, true)));
                    // The caller may have given up; then the reply is dropped.
                    let _ = answer.try_send(outcome.map(|(outcome, _)| outcome));
                    if exit {
                        self.log.notice("exit: ends");
                        return Ok(());
                    }
                }
                Event::Listeners(answer) => {
                    // The caller may have given up; then the reply is dropped.
                    let _ = answer.try_send(self.front.offer(now));
                }
                Event::Read(read) => self.read(read, now),
                Event::Admit(client, answer) => {
                    // The caller may have given up; then the reply is dropped.
                    let _ = answer.try_send(self.balancer.admits_to_control(client));
                }
                Event::AdmitToWeb(client, answer) => {
                    // The caller may have given up; then the reply is dropped.
                    let admitted = self.balancer.admits_to_web(client);
                    let _ = answer.try_send(admitted.then(|| Arc::clone(self.balancer.settings())));
                }
                Event::Idlers(count) => self.helpers.idle = count,
                Event::Ended(who) => {
                    let error = io::Error::other("ended unexpectedly");
                    return Err(Error::System(who.to_string(), error));
                }
            }
        }
    }

    fn tell_choice(&self, who: &dyn Display, conn: ConnId, choice: &Choice) {
        let Choice { upstream, target, why, .. } = choice;
        self.log.debug(1, || format!("connection {conn}: {who} -> {upstream} ({}): {}", target.name, why.text()));
    }

    fn tell(&mut self, transition: &Transition, cause: &str) {
        self.front.epoch.begin();
        let now = Instant::now();
        let event = match transition {
            Transition::Blacklisted(upstream, target, time) => {
                let (name, time) = (&target.name, time.as_secs());
                self.log.warning(format_args!("{upstream} ({name}): up -> blacklisted {time} s: {cause}"));
                self.tell_if_none_is_left(now);
                self.balancer.transition(*upstream, "up", "blacklisted", cause, now)
            }
            Transition::Up(upstream, target) => {
                self.log.notice(format_args!("{upstream} ({}): blacklisted -> up", target.name));
                self.balancer.transition(*upstream, "blacklisted", "up", "", now)
            }
        };
        if let Some(event) = event {
            self.announce(event);
        }
    }

    fn tell_if_none_is_left(&self, now: Instant) {
        if !self.balancer.has_server_up(now) {
            self.log.alert(match self.balancer.stand_in() {
                None => String::from("no server is left"),
                Some(target) => format!("no server is left: using the emergency server ({})", target.name),
            });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mailbox;
    use crate::daemon::permits::Permits;
    use crate::daemon::thread::{self, STACK};
    use crate::policy::identity::Identity;
    use crate::sys::limits::{Demand, Host};
    use crate::sys::root::Root;
    use crossbeam_channel::{bounded, unbounded};

    #[test]
    fn the_panic_of_a_thread_ends_pen_with_an_error() {
        let (events, inbox) = mailbox::to_this_thread(8);
        let log = Log::new(bounded(8).0);
        let access_log = AccessLog::start(None, Root::new(None).unwrap(), log.clone(), &events).unwrap();
        let announcements = Arc::new(Complaints::new(log.clone(), "PROXY protocol: "));
        let host = Host::default();
        let grant =
            host.grant(Demand { flows: false, sessions: 1, listeners: 0, pages: 0, pipes: 0, idlers: 0, checks: 0 });
        let mut supervisor = Supervisor::new(
            Balancer::new(Identity::default(), String::new()),
            inbox,
            (Pool::new(|_, _| {}), unbounded().1),
            (Front::new(Permits::new(1), host, grant, 0, events.clone()), Arc::default()),
            Helpers { idlers: Latest::new(bounded(1).0), idle: 0, resolver: bounded(1).0, announcements, access_log },
            (log, Clock::local()),
        );
        thread::start("helper", STACK, &events, || panic!("on purpose")).unwrap();
        assert_eq!(supervisor.run().unwrap_err().to_string(), "helper: ended unexpectedly");
    }
}
