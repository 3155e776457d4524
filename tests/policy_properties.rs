//! Properties of the policy: whatever commands, arrivals, failures and ends come in whatever order, these things hold.
//!
//! The model below keeps what the properties need and nothing else; it decides nothing itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pen::endpoint::{ClientAddr, Endpoint, Host, Port};
use pen::id::{AclId, ConnId, ServerId, Upstream};
use pen::policy::acl::{Net, Whom};
use pen::policy::balancer::{Admission, Balancer};
use pen::policy::command::Command;
use pen::policy::command::server::ServerChange;
use pen::policy::command::setting::Value;
use pen::policy::command::settings;
use pen::policy::counters::{Counters, SessionEnd};
use pen::policy::country::{Country, Edition, Geography, GeoipFile};
use pen::policy::facts::ClientFacts;
use pen::policy::identity::Identity;
use pen::policy::report::batch::Bounds;
use pen::policy::report::{Context, SocketStats};
use pen::policy::select::Why;
use pen::policy::servers::Target;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Servers 0 to 4.
const SERVERS: usize = 5;

/// Clients 10.0.0.0 to 10.0.0.15.
const CLIENTS: u8 = 16;

/// Lists 0 to 2 are used; list 0 stays empty, as everybody's default.
const LISTS: u8 = 3;

/// Client n is from country n modulo this; those of country 0 are from nowhere.
const COUNTRIES: u8 = 4;

#[derive(Debug)]
struct Atlas;

impl Geography for Atlas {
    fn country_of(&self, ip: IpAddr) -> Option<Country> {
        let IpAddr::V4(ip) = ip else { return None };
        Some(country(ip.octets()[3] % COUNTRIES)).filter(|found| *found != country(0))
    }
}

fn country(number: u8) -> Country {
    Country::parse(&format!("C{}", char::from(b'A' + number))).unwrap()
}

/// An entry of a list.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Net(bool, u8, u8),
    Country(bool, u8),
}

impl Entry {
    fn permits(self) -> bool {
        match self {
            Self::Net(permit, ..) | Self::Country(permit, _) => permit,
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Limits { server: usize, soft: u32, hard: u32 },
    Ranks { server: usize, weight: u32, prio: u32 },
    Empty { server: usize, empty: bool },
    Ban { server: usize, seconds: u64 },
    Access { server: usize, list: u8 },
    AclEntry { list: u8, permit: bool, client: u8, bits: u8 },
    CountryEntry { list: u8, permit: bool, country: u8 },
    Geoip(bool),
    NoAcl { list: u8 },
    ClientAcl { list: u8 },
    Switch(Switch, bool),
    Track(Option<u64>),
    Emergency(bool),
    Abuse(bool),
    Arrive { client: u8, port: u16 },
    Fail { which: usize, blame: bool },
    Connect { which: usize },
    Close { which: usize },
    Time { milliseconds: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Switch {
    Hash,
    Prio,
    Roundrobin,
    Stubborn,
    Weight,
}

fn event() -> impl Strategy<Value = Event> {
    let server = 0..SERVERS;
    let list = 1..LISTS;
    let which = 0usize..100;
    let switch = prop_oneof![
        Just(Switch::Hash),
        Just(Switch::Prio),
        Just(Switch::Roundrobin),
        Just(Switch::Stubborn),
        Just(Switch::Weight),
    ];
    prop_oneof![
        2 => (server.clone(), 0u32..4, 0u32..4).prop_map(|(server, soft, hard)| Event::Limits { server, soft, hard }),
        1 => (server.clone(), 0u32..4, 0u32..4).prop_map(|(server, weight, prio)| Event::Ranks { server, weight, prio }),
        1 => (server.clone(), any::<bool>()).prop_map(|(server, empty)| Event::Empty { server, empty }),
        1 => (server.clone(), 0u64..5).prop_map(|(server, seconds)| Event::Ban { server, seconds }),
        1 => (server, 0..LISTS).prop_map(|(server, list)| Event::Access { server, list }),
        1 => (list.clone(), any::<bool>(), 0..CLIENTS, 28u8..=32)
            .prop_map(|(list, permit, client, bits)| Event::AclEntry { list, permit, client, bits }),
        1 => (list.clone(), any::<bool>(), 0..COUNTRIES)
            .prop_map(|(list, permit, country)| Event::CountryEntry { list, permit, country }),
        1 => any::<bool>().prop_map(Event::Geoip),
        1 => list.prop_map(|list| Event::NoAcl { list }),
        1 => (0..LISTS).prop_map(|list| Event::ClientAcl { list }),
        2 => (switch, any::<bool>()).prop_map(|(switch, on)| Event::Switch(switch, on)),
        1 => proptest::option::of(0u64..5).prop_map(Event::Track),
        1 => any::<bool>().prop_map(Event::Emergency),
        1 => any::<bool>().prop_map(Event::Abuse),
        20 => (0..CLIENTS, any::<u16>()).prop_map(|(client, port)| Event::Arrive { client, port }),
        8 => (which.clone(), prop::bool::weighted(0.8)).prop_map(|(which, blame)| Event::Fail { which, blame }),
        6 => which.clone().prop_map(|which| Event::Connect { which }),
        8 => which.prop_map(|which| Event::Close { which }),
        4 => (0u64..3000).prop_map(|milliseconds| Event::Time { milliseconds }),
    ]
}

fn client(number: u8) -> ClientAddr {
    ClientAddr::new(Some(Ipv4Addr::new(10, 0, 0, number).into()))
}

fn id(number: usize) -> ServerId {
    ServerId::new(number).unwrap()
}

fn list(number: u8) -> AclId {
    AclId::new(number.into()).unwrap()
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint::Tcp(Host::new(&format!("192.0.2.{last}")), Port::Number(80))
}

/// What is known of a server.
#[derive(Clone, Debug, Default)]
struct Server {
    soft: u32,
    hard: u32,
    weight: u32,
    prio: u32,
    list: u8,
    empty: bool,
}

/// What is known of a connection.
#[derive(Debug)]
struct Connection {
    client: u8,
    upstream: Upstream,
    /// The server it was to go back to.
    last: Option<usize>,
    failed: BTreeSet<usize>,
    /// The emergency server failed it.
    emergency_failed: bool,
    target: Arc<Target>,
}

/// Everything that the properties speak of.
struct Model {
    balancer: Balancer,
    now: Instant,
    servers: Vec<Server>,
    lists: [Vec<Entry>; LISTS as usize],
    /// There is country data.
    atlas: bool,
    client_list: u8,
    on: BTreeMap<Switch, bool>,
    /// `None`: no tracking. `Some(0)`: for ever.
    tracking: Option<u64>,
    emergency: bool,
    abuse: bool,
    /// For each client, the server of its last connection and when it last arrived.
    memory: HashMap<u8, (Option<usize>, Instant)>,
    connections: HashMap<ConnId, Connection>,
    /// How often connects have failed, and how many sessions have ended: of each server, of the emergency and of the abuse server.
    ends: [(u64, u64); SERVERS + 2],
}

/// The place of a server in [`Model::ends`].
fn place(upstream: Upstream) -> usize {
    match upstream {
        Upstream::Regular(server) => server.index(),
        Upstream::Emergency => SERVERS,
        Upstream::Abuse => SERVERS + 1,
    }
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            balancer: Balancer::new(Identity::default(), String::new()),
            now: Instant::now(),
            servers: vec![Server::default(); SERVERS],
            lists: Default::default(),
            atlas: false,
            client_list: 0,
            on: BTreeMap::new(),
            tracking: Some(0),
            emergency: false,
            abuse: false,
            memory: HashMap::new(),
            connections: HashMap::new(),
            ends: Default::default(),
        };
        for number in 0..SERVERS {
            model.place_server(number, false);
        }
        model
    }

    fn is(&self, switch: Switch) -> bool {
        self.on.get(&switch).copied().unwrap_or(false)
    }

    fn set(&mut self, word: &str, value: Value) {
        self.apply(Command::Set(settings::find(word).unwrap(), value));
    }

    fn apply(&mut self, command: Command) {
        self.balancer.apply(command, &Context::start(self.now));
    }

    fn change(&mut self, server: usize, changes: Vec<ServerChange>) {
        self.apply(Command::Server(id(server), changes));
    }

    fn place_server(&mut self, server: usize, empty: bool) {
        self.servers[server].empty = empty;
        let port = if empty { Port::Number(0) } else { Port::Number(80) };
        self.change(server, vec![ServerChange::Address(endpoint(server as u8 + 1)), ServerChange::Port(port)]);
    }

    /// How many connections are on a server.
    fn load(&self, server: usize) -> u32 {
        let on_it = |c: &&Connection| c.upstream == Upstream::Regular(id(server));
        self.connections.values().filter(on_it).count() as u32
    }

    fn permits(&self, list: u8, client: u8) -> bool {
        let entries = &self.lists[usize::from(list)];
        let shift = |bits: u8| u32::from(32 - bits);
        let hit = entries.iter().find(|entry| match entry {
            Entry::Net(_, net, bits) => u32::from(*net) >> shift(*bits) == u32::from(client) >> shift(*bits),
            Entry::Country(_, country) => self.atlas && *country != 0 && client % COUNTRIES == *country,
        });
        match (hit, entries.last()) {
            (Some(entry), _) => entry.permits(),
            (None, Some(entry)) => !entry.permits(),
            (None, None) => true,
        }
    }

    /// Whether the server could take the client, as far as anything but its health goes.
    fn fits(&self, server: usize, client: u8, last: Option<usize>) -> bool {
        let Server { soft, hard, weight, list, empty, .. } = self.servers[server];
        let known = last == Some(server);
        let limit = if known { hard } else { soft };
        let weighted = || self.servers.iter().any(|server| server.weight > 0 && !server.empty);
        let by_hash = self.is(Switch::Hash) && weighted();
        let by_weight = (self.is(Switch::Weight) || by_hash) && !self.is(Switch::Prio);
        !empty
            && self.permits(list, client)
            && (limit == 0 || self.load(server) < limit)
            && (known || !by_weight || weight > 0)
    }

    fn anything_fits(&self, client: u8, last: Option<usize>, failed: &BTreeSet<usize>) -> bool {
        (0..SERVERS).any(|server| !failed.contains(&server) && self.fits(server, client, last))
    }

    /// The server that a client is to go back to.
    fn last(&self, client: u8) -> Option<usize> {
        if self.is(Switch::Roundrobin) {
            return None;
        }
        let (server, seen) = self.memory.get(&client)?;
        match self.tracking {
            None => None,
            Some(seconds) if seconds > 0 && self.now - *seen > Duration::from_secs(seconds) => None,
            Some(_) => *server,
        }
    }

    /// One of the connections, if there are any; they are numbered anew each time.
    fn pick(&self, which: usize) -> Option<ConnId> {
        let mut ids: Vec<_> = self.connections.keys().copied().collect();
        ids.sort();
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    fn happen(&mut self, event: Event) -> TestCaseResult {
        match event {
            Event::Limits { server, soft, hard } => {
                (self.servers[server].soft, self.servers[server].hard) = (soft, hard);
                self.change(server, vec![ServerChange::Max(soft), ServerChange::Hard(hard)]);
            }
            Event::Ranks { server, weight, prio } => {
                (self.servers[server].weight, self.servers[server].prio) = (weight, prio);
                self.change(server, vec![ServerChange::Weight(weight), ServerChange::Prio(prio)]);
            }
            Event::Empty { server, empty } => self.place_server(server, empty),
            Event::Ban { server, seconds } => {
                self.change(server, vec![ServerChange::Blacklist(Duration::from_secs(seconds))]);
            }
            Event::Access { server, list: number } => {
                self.servers[server].list = number;
                self.change(server, vec![ServerChange::Acl(list(number))]);
            }
            Event::AclEntry { list: number, permit, client, bits } => {
                self.lists[usize::from(number)].push(Entry::Net(permit, client, bits));
                let net = Net::parse(&format!("10.0.0.{client}/{bits}"), None).unwrap();
                self.apply(Command::Acl { list: list(number), permit, whom: Whom::Net(net) });
            }
            Event::CountryEntry { list: number, permit, country: code } => {
                self.lists[usize::from(number)].push(Entry::Country(permit, code));
                self.apply(Command::Acl { list: list(number), permit, whom: Whom::Country(country(code)) });
            }
            Event::Geoip(on) => {
                self.atlas = on;
                let mut file = GeoipFile::named(PathBuf::from("/atlas"));
                file.read(Arc::new(Atlas), Edition::default());
                self.apply(Command::Geoip(Some(file).filter(|_| on)));
            }
            Event::NoAcl { list: number } => {
                self.lists[usize::from(number)].clear();
                self.apply(Command::NoAcl(list(number)));
            }
            Event::ClientAcl { list: number } => {
                self.client_list = number;
                self.set("client_acl", Value::Acl(list(number)));
            }
            Event::Switch(switch, on) => {
                self.on.insert(switch, on);
                let word = match switch {
                    Switch::Hash => "hash",
                    Switch::Prio => "prio",
                    Switch::Roundrobin => "roundrobin",
                    Switch::Stubborn => "stubborn",
                    Switch::Weight => "weight",
                };
                self.set(word, Value::Switch(on));
            }
            Event::Track(seconds) => {
                self.tracking = seconds;
                self.set("tracking", Value::OptionalSeconds(seconds.map(Duration::from_secs)));
            }
            Event::Emergency(on) => {
                self.emergency = on;
                self.set("emergency", Value::Server(on.then(|| endpoint(101))));
            }
            Event::Abuse(on) => {
                self.abuse = on;
                self.set("abuse", Value::Server(on.then(|| endpoint(102))));
            }
            Event::Arrive { client, port } => self.arrive(client, port)?,
            Event::Fail { which, blame } => self.fail(which, blame)?,
            Event::Connect { which } => {
                if let Some(conn) = self.pick(which) {
                    let target = Arc::clone(&self.connections[&conn].target);
                    self.balancer.proven(&target, self.now);
                }
            }
            Event::Close { which } => {
                if let Some(conn) = self.pick(which) {
                    let upstream = self.connections.remove(&conn).unwrap().upstream;
                    self.ends[place(upstream)].1 += 1;
                    let (connect, cold) = (Some(Duration::ZERO), which % 2 == 0);
                    self.balancer.session_ended(conn, &SessionEnd { connect, cold, length: Duration::ZERO });
                    self.balancer.close(conn, self.now);
                }
            }
            Event::Time { milliseconds } => self.now += Duration::from_millis(milliseconds),
        }
        self.counts_agree()
    }

    fn arrive(&mut self, number: u8, port: u16) -> TestCaseResult {
        let last = self.last(number);
        let denied = !self.permits(self.client_list, number);
        let facts = ClientFacts::new(client(number), Some(port));
        let admission = self.balancer.admit(facts.clone(), self.now);
        let refused_at_the_door = denied && !self.abuse;
        if !refused_at_the_door {
            self.memory.entry(number).or_insert((None, self.now)).1 = self.now;
        }
        let conn = match admission {
            Admission::AtOnce(conn) => conn,
            Admission::Refused(_) => {
                prop_assert!(refused_at_the_door);
                return Ok(());
            }
            Admission::Later(..) | Admission::Dummy(_) => {
                return Err(TestCaseError::fail("nobody asked for that"));
            }
        };
        match self.balancer.choose(conn, facts, self.now) {
            Err(why) => {
                self.balancer.close(conn, self.now);
                prop_assert!(
                    refused_at_the_door
                        || self.is(Switch::Stubborn)
                        || (!self.emergency && !self.anything_fits(number, last, &BTreeSet::new())),
                    "refused ({why}) although a server fits"
                );
            }
            Ok(choice) => {
                prop_assert!(!refused_at_the_door, "a denied client got {}", choice.upstream);
                prop_assert_eq!(denied, choice.upstream == Upstream::Abuse);
                let failed = BTreeSet::new();
                self.check_choice(number, last, choice.upstream, &failed)?;
                if self.is(Switch::Stubborn) && !denied {
                    let first = !matches!(choice.why, Why::LastResort | Why::Emergency);
                    prop_assert!(first, "stubborn, and yet {:?}", choice.why);
                }
                if let (Some(last), Why::Remembered) = (last, choice.why) {
                    prop_assert_eq!(choice.upstream, Upstream::Regular(id(last)));
                }
                self.book(
                    conn,
                    Connection {
                        client: number,
                        upstream: choice.upstream,
                        target: choice.target,
                        last,
                        failed,
                        emergency_failed: false,
                    },
                );
            }
        }
        Ok(())
    }

    fn fail(&mut self, which: usize, blame: bool) -> TestCaseResult {
        let Some(conn) = self.pick(which) else { return Ok(()) };
        let mut connection = self.connections.remove(&conn).unwrap();
        let before = connection.upstream;
        if let Upstream::Regular(server) = before {
            connection.failed.insert(server.index());
        }
        self.ends[place(before)].0 += 1;
        connection.emergency_failed |= before == Upstream::Emergency;
        let (next, _) = self.balancer.fail_over(conn, blame, self.now);
        match next {
            Some(choice) => {
                prop_assert!(!self.is(Switch::Stubborn) || before == Upstream::Emergency, "stubborn fails over");
                prop_assert!(before != Upstream::Abuse, "a denied client was passed on to {}", choice.upstream);
                prop_assert!(choice.upstream != Upstream::Abuse, "an honest client was sent to the abuse server");
                let again = choice.upstream == Upstream::Emergency && connection.emergency_failed;
                prop_assert!(!again, "the emergency server is asked twice");
                self.check_choice(connection.client, connection.last, choice.upstream, &connection.failed)?;
                connection.upstream = choice.upstream;
                connection.target = choice.target;
                self.book(conn, connection);
            }
            None => {
                let over = match before {
                    Upstream::Abuse => true,
                    Upstream::Emergency => !self.anything_fits(connection.client, connection.last, &connection.failed),
                    Upstream::Regular(_) => {
                        let fits = self.anything_fits(connection.client, connection.last, &connection.failed);
                        self.is(Switch::Stubborn) || ((!self.emergency || connection.emergency_failed) && !fits)
                    }
                };
                prop_assert!(over, "refused after {before} although a server fits");
                // The worker reports the end of the session that came to nothing.
                self.balancer.close(conn, self.now);
            }
        }
        Ok(())
    }

    /// What must be true of any server that a client is given.
    fn check_choice(
        &self,
        client: u8,
        last: Option<usize>,
        upstream: Upstream,
        failed: &BTreeSet<usize>,
    ) -> TestCaseResult {
        match upstream {
            Upstream::Regular(server) => {
                let server = server.index();
                let Server { soft, hard, empty, list, .. } = self.servers[server];
                prop_assert!(!empty, "server {server} is an empty slot");
                prop_assert!(!failed.contains(&server), "server {server} has failed this connection before");
                prop_assert!(self.permits(list, client), "server {server} does not take client {client}");
                let load = self.load(server);
                if last == Some(server) {
                    prop_assert!(hard == 0 || load < hard, "hard limit {hard} of server {server}, which has {load}");
                } else {
                    prop_assert!(soft == 0 || load < soft, "soft limit {soft} of server {server}, which has {load}");
                }
                prop_assert!(self.fits(server, client, last));
            }
            Upstream::Emergency => prop_assert!(self.emergency, "there is no emergency server"),
            Upstream::Abuse => prop_assert!(self.abuse, "there is no abuse server"),
        }
        Ok(())
    }

    fn book(&mut self, conn: ConnId, connection: Connection) {
        if let Upstream::Regular(server) = connection.upstream {
            self.memory.entry(connection.client).or_insert((None, self.now)).0 = Some(server.index());
        }
        let before = self.connections.insert(conn, connection);
        assert!(before.is_none(), "connection {conn} was given twice");
    }

    /// The number of connections on each server, as the balancer reports it, is the number there are.
    fn counts_agree(&self) -> TestCaseResult {
        let expected: Vec<_> = (0..SERVERS).map(|server| self.load(server)).collect();
        prop_assert_eq!(counts(&self.balancer), expected);
        let mut ids: Vec<_> = self.connections.keys().copied().collect();
        ids.sort();
        prop_assert_eq!(connection_ids(&self.balancer), ids);
        let stand_ins = self.balancer.summary(self.now, String::new()).stand_ins;
        for (upstream, stand_in) in [(Upstream::Emergency, &stand_ins.emergency), (Upstream::Abuse, &stand_ins.abuse)] {
            let there = self.connections.values().filter(|connection| connection.upstream == upstream).count();
            prop_assert_eq!(stand_in.connections as usize, there);
        }
        let servers = self.balancer.server_batch(0, Bounds::STEP).rows;
        let regular = servers.iter().map(|(_, server)| &server.counters);
        let counters = regular.chain([&stand_ins.emergency.counters, &stand_ins.abuse.counters]);
        let told = |counters: &Counters| (counters.failed, counters.total());
        prop_assert!(counters.clone().map(told).eq(self.ends), "{:?}", self.ends);
        prop_assert!(counters.clone().all(|counters| counters.total() == counters.sessions.count()));
        Ok(())
    }
}

/// The connections of each server, read from its table.
fn counts(balancer: &Balancer) -> Vec<u32> {
    balancer.server_batch(0, Bounds::STEP).rows.iter().map(|(_, server)| server.connections).collect()
}

/// The numbers of all connections, in their order.
fn connection_ids(balancer: &Balancer) -> Vec<ConnId> {
    let rows = balancer.connection_batch(0, Bounds::STEP, |_| SocketStats::default()).rows;
    rows.iter().map(|row| row.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_a_rule(events in vec(event(), 0..150)) {
        let mut model = Model::new();
        for event in events {
            model.happen(event)?;
        }
        for conn in model.connections.keys().copied().collect::<Vec<_>>() {
            model.connections.remove(&conn);
            model.balancer.close(conn, model.now);
        }
        prop_assert_eq!(counts(&model.balancer), [0; SERVERS]);
        prop_assert!(connection_ids(&model.balancer).is_empty());
    }

    #[test]
    fn every_event_about_a_connection_that_is_over_is_harmless(events in vec(event(), 0..60), late in 0usize..3) {
        let mut model = Model::new();
        for event in events {
            model.happen(event)?;
        }
        let Some(conn) = model.pick(0) else { return Ok(()) };
        let connection = model.connections.remove(&conn).unwrap();
        model.balancer.close(conn, model.now);
        match late {
            0 => model.balancer.close(conn, model.now),
            1 => drop(model.balancer.proven(&connection.target, model.now)),
            _ => prop_assert_eq!(model.balancer.fail_over(conn, true, model.now), (None, None)),
        }
        model.balancer.account(conn, 1, 1);
        model.counts_agree()?;
    }

    #[test]
    fn priority_takes_the_lowest_number_that_fits(
        ranks in vec((0u32..4, 0u32..3), SERVERS),
        clients in vec(0u8..CLIENTS, 1..40),
    ) {
        let mut model = Model::new();
        model.happen(Event::Switch(Switch::Prio, true))?;
        for (server, (prio, soft)) in ranks.into_iter().enumerate() {
            model.happen(Event::Ranks { server, weight: 0, prio })?;
            model.happen(Event::Limits { server, soft, hard: 0 })?;
        }
        for number in clients {
            let last = model.last(number);
            let best = (0..SERVERS).filter(|s| model.fits(*s, number, last)).min_by_key(|s| model.servers[*s].prio);
            let before = model.connections.len();
            model.happen(Event::Arrive { client: number, port: 1 })?;
            if last.is_none() {
                prop_assert_eq!(best.is_some(), model.connections.len() > before);
                prop_assert_eq!(model.memory[&number].0, best);
            }
        }
    }

    #[test]
    fn weight_takes_the_least_loaded_for_its_weight(
        weights in vec(0u32..5, SERVERS),
        clients in vec((0u8..CLIENTS, any::<bool>()), 1..60),
    ) {
        let mut model = Model::new();
        model.happen(Event::Switch(Switch::Weight, true))?;
        model.happen(Event::Track(None))?;
        for (server, weight) in weights.into_iter().enumerate() {
            model.happen(Event::Ranks { server, weight, prio: 0 })?;
        }
        for (number, leaves) in clients {
            let load = |s: &usize, more| f64::from(model.load(*s) + more) / f64::from(model.servers[*s].weight);
            // The load of the least loaded with one connection more.
            let least = (0..SERVERS).filter(|s| model.servers[*s].weight > 0).map(|s| load(&s, 1)).reduce(f64::min);
            let loads: Vec<_> = (0..SERVERS).map(|s| load(&s, 0)).collect();
            let before: BTreeSet<_> = model.connections.keys().copied().collect();
            model.happen(Event::Arrive { client: number, port: 1 })?;
            let new = model.connections.iter().find(|(conn, _)| !before.contains(conn));
            match (new, least) {
                (None, None) => {}
                (Some((_, Connection { upstream: Upstream::Regular(server), .. })), Some(least)) => {
                    prop_assert!(loads[server.index()] < least - 1e-9, "{loads:?}: {server}");
                }
                other => prop_assert!(false, "{other:?}"),
            }
            if leaves {
                model.happen(Event::Close { which: usize::from(number) })?;
            }
        }
    }

    #[test]
    fn round_robin_is_fair(count in 1usize..200) {
        let mut model = Model::new();
        model.happen(Event::Switch(Switch::Roundrobin, true))?;
        for n in 0..count {
            model.happen(Event::Arrive { client: (n * 7 % usize::from(CLIENTS)) as u8, port: n as u16 })?;
        }
        let loads: Vec<_> = (0..SERVERS).map(|server| model.load(server)).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
    }

    #[test]
    fn a_client_finds_its_server_again_as_long_as_nothing_changes(clients in vec(0u8..CLIENTS, 1..60), hash: bool) {
        let mut model = Model::new();
        model.happen(Event::Switch(Switch::Hash, hash))?;
        let mut homes: HashMap<u8, usize> = HashMap::new();
        for number in clients {
            model.happen(Event::Arrive { client: number, port: 1 })?;
            let server = model.memory[&number].0.unwrap();
            prop_assert_eq!(*homes.entry(number).or_insert(server), server);
        }
    }

    #[test]
    fn the_hash_depends_on_the_client_alone(first in vec(0u8..CLIENTS, 1..30), second in vec(0u8..CLIENTS, 1..30)) {
        let mut homes: HashMap<u8, usize> = HashMap::new();
        for clients in [first, second] {
            let mut model = Model::new();
            model.happen(Event::Switch(Switch::Hash, true))?;
            model.happen(Event::Track(None))?;
            for number in clients {
                model.happen(Event::Arrive { client: number, port: 1 })?;
                let server = model.memory[&number].0.unwrap();
                prop_assert_eq!(*homes.entry(number).or_insert(server), server);
            }
        }
    }

    #[test]
    fn a_failing_server_is_left_alone_for_the_blacklist_time(seconds in 1u64..60, clients in vec(0u8..CLIENTS, 1..30)) {
        let mut model = Model::new();
        model.set("blacklist", Value::Seconds(Duration::from_secs(seconds)));
        model.happen(Event::Switch(Switch::Roundrobin, true))?;
        model.happen(Event::Arrive { client: 0, port: 1 })?;
        model.happen(Event::Fail { which: 0, blame: true })?;
        prop_assert_eq!(model.load(0), 0);
        model.now += Duration::from_secs(seconds) - Duration::from_millis(1);
        for number in clients {
            model.happen(Event::Arrive { client: number, port: 1 })?;
        }
        prop_assert_eq!(model.load(0), 0);
        model.now += Duration::from_millis(1);
        for number in 0..SERVERS as u8 {
            model.happen(Event::Arrive { client: number, port: 1 })?;
        }
        prop_assert_eq!(model.load(0), 1, "one client tries the server, and the others do not wait for it");
    }
}
