//! Names of servers: which of them are to be looked up again, and what follows from it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balancer::Balancer;
use super::command::apply::Effect;
use super::servers::{Server, Target};
use crate::endpoint::{Endpoint, Host};
use crate::id::Upstream;

/// How often a name that cannot be looked up is tried again. It is as long as a failed server is left alone by default.
pub const RETRY: Duration = Duration::from_secs(30);

/// Which lookups are due, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// A name could not be looked up: try it again every [`RETRY`].
    pub unresolved: bool,
    /// Look up all names that often: `resolve`. `None` also where no server has a name.
    pub every: Option<Duration>,
}

/// When lookups are to be made.
#[derive(Debug, Default)]
pub struct Schedule {
    lookups: Lookups,
    retry: Option<Instant>,
    renewal: Option<Instant>,
}

/// The names to look up in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Those that could not be looked up before.
    Unresolved,
    /// All.
    All,
}

impl Schedule {
    /// Follows the configuration. What is planned already keeps its time.
    pub fn plan(&mut self, lookups: Lookups, now: Instant) {
        if lookups.unresolved != self.lookups.unresolved {
            self.retry = lookups.unresolved.then(|| now + RETRY);
        }
        if lookups.every != self.lookups.every {
            self.renewal = lookups.every.map(|time| now + time);
        }
        self.lookups = lookups;
    }

    /// When the next round is due; `None`: not before the configuration changes.
    pub fn next(&self) -> Option<Instant> {
        self.retry.into_iter().chain(self.renewal).min()
    }

    /// The round that is due at `now`.
    pub fn due(&self, now: Instant) -> Option<Round> {
        let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        match (is_due(self.renewal), is_due(self.retry)) {
            (true, _) => Some(Round::All),
            (false, true) => Some(Round::Unresolved),
            (false, false) => None,
        }
    }

    /// A round has ended at `now`. The next one is as far away whatever it took.
    pub fn done(&mut self, round: Round, now: Instant) {
        self.retry = self.lookups.unresolved.then(|| now + RETRY);
        if round == Round::All {
            self.renewal = self.lookups.every.map(|time| now + time);
        }
    }
}

impl Balancer {
    /// Which lookups the configuration asks for.
    pub fn lookups(&self) -> Lookups {
        let mut named = self.targets().filter(|target| target.endpoint.host().is_some_and(Host::is_name)).peekable();
        let every = self.settings.resolve.filter(|_| named.peek().is_some());
        Lookups { unresolved: named.any(Target::is_unresolved), every }
    }

    /// What the log tells of a name that cannot be looked up: whether the server keeps its addresses or has none.
    pub(super) fn lookup_failed(&self, upstream: Upstream, cause: &str) -> Option<Effect> {
        let target = self.target(upstream)?;
        let result = if target.is_unresolved() {
            format!("tried again every {} s", RETRY.as_secs())
        } else {
            String::from("it keeps its addresses")
        };
        Some(Effect::Notice(format!("{upstream} ({}): cannot be looked up: {cause}; {result}", target.name)))
    }

    /// The name of a server was looked up. Returns what has changed, for the log; `None`: nothing, as the addresses are the same or the
    /// server has another name by now.
    pub(super) fn relocate(&mut self, upstream: Upstream, host: Host, now: Instant) -> Option<String> {
        let before = Arc::clone(self.target(upstream)?);
        let Endpoint::Tcp(old, port) = &before.endpoint else { return None };
        if *old != host || host.addresses().is_empty() || is_same(old.addresses(), host.addresses()) {
            return None;
        }
        let change = format!("{upstream} ({}): {} -> {}", before.name, list(old.addresses()), list(host.addresses()));
        let endpoint = Endpoint::Tcp(host, port.clone());
        match upstream {
            Upstream::Regular(id) => {
                let server = &mut self.servers[id.index()];
                server.move_to(endpoint, server.port(), now);
                server.note(now);
            }
            Upstream::Emergency => Arc::make_mut(&mut self.settings).emergency = Some(Arc::new(Target::new(endpoint))),
            Upstream::Abuse => Arc::make_mut(&mut self.settings).abuse = Some(Arc::new(Target::new(endpoint))),
        }
        Some(change)
    }

    fn target(&self, upstream: Upstream) -> Option<&Arc<Target>> {
        match upstream {
            Upstream::Regular(id) => {
                self.servers.get(id.index()).filter(|server| !server.is_empty()).map(Server::target)
            }
            Upstream::Emergency => self.settings.emergency.as_ref(),
            Upstream::Abuse => self.settings.abuse.as_ref(),
        }
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        let servers = self.servers.iter().filter(|server| !server.is_empty()).map(Server::target);
        servers.chain(&self.settings.emergency).chain(&self.settings.abuse).map(Arc::as_ref)
    }
}

/// Whether these are the same addresses, in whatever order.
fn is_same(some: &[IpAddr], others: &[IpAddr]) -> bool {
    some.len() == others.len() && some.iter().all(|ip| others.contains(ip))
}

fn list(addresses: &[IpAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    if addresses.is_empty() { String::from("unresolved") } else { addresses.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ServerId;
    use crate::policy::command::Command;
    use crate::policy::identity::Identity;
    use crate::policy::report::Context;
    use crate::policy::servers::Health;

    const SECOND: Duration = Duration::from_secs(1);

    fn host(name: &str, addresses: &[&str]) -> Host {
        let mut host = Host::new(name);
        if addresses.is_empty() {
            host.failed(String::from("not today"));
        } else {
            host.resolved(addresses.iter().map(|ip| ip.parse().unwrap()).collect());
        }
        host
    }

    /// A balancer after these commands, whose names have these addresses.
    fn balancer(lines: &[&str], hosts: &[Host], now: Instant) -> Balancer {
        let mut balancer = Balancer::new(Identity::default(), String::from("80"));
        lines.iter().for_each(|line| drop(apply(&mut balancer, line, hosts, now)));
        balancer
    }

    fn apply(balancer: &mut Balancer, line: &str, hosts: &[Host], now: Instant) -> Vec<Effect> {
        let mut command = Command::parse(line, None).unwrap();
        for host in command.names().0 {
            if let Some(known) = hosts.iter().find(|known| *known == host) {
                *host = known.clone();
            }
        }
        balancer.apply(command, &Context::start(now)).effects
    }

    fn server() -> Upstream {
        Upstream::Regular(ServerId::new(0).unwrap())
    }

    #[test]
    fn names_are_tried_again_every_30_seconds_and_all_of_them_at_the_interval() {
        let start = Instant::now();
        let after = |seconds: u32| start + SECOND * seconds;
        let mut schedule = Schedule::default();
        schedule.plan(Lookups::default(), start);
        assert_eq!((schedule.next(), schedule.due(after(9999))), (None, None));
        schedule.plan(Lookups { unresolved: true, every: None }, start);
        // Another one that cannot be looked up does not put off the first.
        schedule.plan(Lookups { unresolved: true, every: None }, after(20));
        assert_eq!((schedule.next(), schedule.due(after(29))), (Some(after(30)), None));
        assert_eq!(schedule.due(after(30)), Some(Round::Unresolved));
        // The round took 10 seconds.
        schedule.done(Round::Unresolved, after(40));
        assert_eq!(schedule.next(), Some(after(70)));
        schedule.plan(Lookups { unresolved: true, every: Some(SECOND * 20) }, after(41));
        assert_eq!(schedule.due(after(61)), Some(Round::All));
        schedule.done(Round::All, after(61));
        assert_eq!(schedule.next(), Some(after(81)));
        schedule.plan(Lookups { unresolved: false, every: None }, after(62));
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn names_are_looked_up_for_servers_that_have_some() {
        let now = Instant::now();
        let lines = ["resolve 60", "server 0 address 192.0.2.1 port 80", "server 2 address /run/s"];
        let mut balancer = balancer(&lines, &[], now);
        assert_eq!(balancer.lookups(), Lookups::default());
        let hosts = [host("a", &["192.0.2.2"]), host("b", &[])];
        apply(&mut balancer, "server 1 address a port 80", &hosts, now);
        assert_eq!(balancer.lookups(), Lookups { unresolved: false, every: Some(SECOND * 60) });
        apply(&mut balancer, "emergency b:80", &hosts, now);
        assert_eq!(balancer.lookups(), Lookups { unresolved: true, every: Some(SECOND * 60) });
        apply(&mut balancer, "no emergency", &hosts, now);
        apply(&mut balancer, "server 3 address b port 80", &hosts, now);
        apply(&mut balancer, "no resolve", &hosts, now);
        assert_eq!(balancer.lookups(), Lookups { unresolved: true, every: None });
        // An empty slot has no server.
        apply(&mut balancer, "server 3 port 0", &hosts, now);
        assert_eq!(balancer.lookups(), Lookups::default());
    }

    #[test]
    fn what_was_looked_up_for_another_name_changes_nothing() {
        let now = Instant::now();
        let mut balancer = balancer(&["server 0 address a port 80"], &[host("a", &["192.0.2.1"])], now);
        assert_eq!(balancer.relocate(server(), host("b", &["192.0.2.2"]), now), None);
        assert_eq!(balancer.relocate(Upstream::Emergency, host("a", &["192.0.2.2"]), now), None);
        assert_eq!(balancer.relocate(server(), host("a", &[]), now), None);
        assert_eq!(balancer.servers[0].target().addresses.len(), 1);
        let change = balancer.relocate(server(), host("a", &["192.0.2.2", "192.0.2.3"]), now);
        assert_eq!(change.as_deref(), Some("server 0 (a:80): 192.0.2.1 -> 192.0.2.2, 192.0.2.3"));
        assert_eq!(balancer.servers[0].port(), 80);
    }

    #[test]
    fn the_order_of_addresses_changes_nothing_and_one_that_stays_keeps_the_health() {
        let now = Instant::now();
        let mut balancer = balancer(&["server 0 address a port 80"], &[host("a", &["192.0.2.1", "192.0.2.2"])], now);
        let target = Arc::clone(balancer.servers[0].target());
        assert_eq!(balancer.relocate(server(), host("a", &["192.0.2.2", "192.0.2.1"]), now), None);
        let turned = [host("a", &["192.0.2.2", "192.0.2.1"])];
        apply(&mut balancer, "server 0 address a", &turned, now);
        assert!(Arc::ptr_eq(&target, balancer.servers[0].target()));
        let blacklisted = Health::Blacklisted { until: now + SECOND * 60 };
        balancer.servers[0].health = blacklisted;
        balancer.relocate(server(), host("a", &["192.0.2.2", "192.0.2.3"]), now).unwrap();
        assert_eq!(balancer.servers[0].health, blacklisted);
        // The trial of a target that is gone proves nothing: another client may try.
        balancer.servers[0].health = Health::Trial;
        balancer.relocate(server(), host("a", &["192.0.2.3"]), now).unwrap();
        assert_eq!(balancer.servers[0].health, Health::Blacklisted { until: now });
        balancer.relocate(server(), host("a", &["192.0.2.4"]), now).unwrap();
        assert_eq!(balancer.servers[0].health, Health::Up);
    }

    #[test]
    fn a_server_keeps_the_addresses_of_its_own_name_alone() {
        let now = Instant::now();
        let mut balancer = balancer(&["server 0 address a port 80"], &[host("a", &["192.0.2.1"])], now);
        let unknown = [host("a", &[]), host("b", &[])];
        let notice = |text: &str| vec![Effect::Notice(String::from(text))];
        assert_eq!(
            apply(&mut balancer, "server 0 address a port 81", &unknown, now),
            notice("server 0 (a:81): cannot be looked up: not today; it keeps its addresses")
        );
        assert_eq!(balancer.servers[0].target().addresses[0].to_string(), "192.0.2.1:81");
        assert_eq!(
            apply(&mut balancer, "server 0 address b", &unknown, now),
            notice("server 0 (b:81): cannot be looked up: not today; tried again every 30 s")
        );
        assert!(balancer.servers[0].is_unresolved());
        apply(&mut balancer, "server 0 address a", &unknown, now);
        assert!(balancer.servers[0].is_unresolved(), "it takes up the addresses of a name that it had before");
    }
}
