//! A balancer after an hour of work, without sockets: what its pages are made of.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pen::endpoint::ClientAddr;
use pen::id::{ConnId, ServerId};
use pen::policy::balancer::{Admission, Balancer};
use pen::policy::changes::ServerEvent;
use pen::policy::clients::Client;
use pen::policy::command::Command;
use pen::policy::facts::ClientFacts;
use pen::policy::history::{History, INTERVAL};
use pen::policy::identity::Identity;
use pen::policy::report::batch::{Batch, Bounds, ConnectionRow, Summary};
use pen::policy::report::page::live::facts::{Live, Overview, ROWS, Rows};
use pen::policy::report::page::live::{error, explain, lists, overview, server};
use pen::policy::report::{Context, SocketStats};
use pen::policy::servers::Server;

/// The token of the forms.
pub(crate) const TOKEN: &str = "0123456789abcdef";

/// All that the pages are made of.
pub(crate) struct Scene {
    pub(crate) balancer: Balancer,
    pub(crate) history: History,
    pub(crate) events: Vec<(String, Arc<ServerEvent>)>,
    pub(crate) now: Instant,
    pub(crate) control: bool,
}

impl Scene {
    /// A balancer to which these commands were said.
    pub(crate) fn new(name: &str, listen: &str, commands: &[String]) -> Self {
        let now = Instant::now();
        let identity = Identity { file: Some(format!("/etc/pen/{name}.conf").into()), ..Identity::default() };
        let mut balancer = Balancer::new(identity, listen.to_string());
        for line in commands {
            let mut command = Command::parse(line, None).unwrap();
            for host in command.names().0.into_iter().filter(|host| host.is_name()) {
                host.resolved(vec!["192.0.2.10".parse().unwrap()]);
            }
            balancer.apply(command, &Context::start(now));
        }
        Self { balancer, history: History::default(), events: Vec::new(), now, control: true }
    }

    /// A client comes and gets a server.
    pub(crate) fn arrive(&mut self, ip: Ipv4Addr) -> Option<ConnId> {
        let facts = ClientFacts::new(ClientAddr::new(Some(ip.into())), None);
        let Admission::AtOnce(id) = self.balancer.admit(facts.clone(), self.now) else { return None };
        self.balancer.choose(id, facts, self.now).is_ok().then_some(id)
    }

    /// A check of a server has this result. Enough of them in a row change its state.
    pub(crate) fn check(&mut self, number: usize, succeeded: bool, reason: &str) {
        let id = ServerId::new(number).unwrap();
        let event = self.balancer.reported(id, succeeded, reason, self.now);
        self.events.extend(event.map(|event| (String::from("2026-03-04 05:06:07"), Arc::new(event))));
    }

    pub(crate) fn command(&mut self, line: &str) {
        self.balancer.apply(Command::parse(line, None).unwrap(), &Context::start(self.now));
    }

    /// Time goes by, and a sample is taken.
    pub(crate) fn look(&mut self) {
        self.now += INTERVAL;
        for (number, server) in self.servers() {
            self.history.sample(number, &server, self.now);
        }
        self.history.end_pass(self.servers().len());
    }

    pub(crate) fn servers(&self) -> Vec<(usize, Server)> {
        self.balancer.server_batch(0, Bounds { rows: usize::MAX, slots: usize::MAX }).rows
    }

    pub(crate) fn summary(&self) -> Summary {
        self.balancer.summary(self.now, String::from("2026-03-04 05:06:07"))
    }

    pub(crate) fn clients(&self, from: usize) -> Batch<(usize, Client)> {
        self.balancer.client_batch(from, None, Bounds { rows: ROWS, slots: 2000 })
    }

    pub(crate) fn connections(&self, from: usize) -> Batch<ConnectionRow> {
        self.balancer.connection_batch(from, Bounds { rows: ROWS, slots: 2000 }, |_| SocketStats::default())
    }

    /// All pages, by the names of files for them.
    pub(crate) fn pages(&self) -> Vec<(&'static str, String)> {
        let summary = self.summary();
        let control = self.control.then_some(TOKEN);
        let uptime = Some(Duration::from_secs(3 * 86_400 + 7300));
        let live = Live { summary: &summary, history: &self.history, uptime, control };
        let (clients, connections) = (self.clients(0), self.connections(0));
        let process = [
            ("Threads", String::from("1,012")),
            ("Descriptors", String::from("2,049 of 4,096")),
            ("Memory", String::from("31 MB")),
        ];
        let below = Overview { events: &self.events, clients: &clients, connections: &connections, process: &process };
        let mut status = overview::begin(&live);
        for (number, server) in self.servers() {
            status += &overview::server(&live, number, &server);
        }
        status += &overview::end(&live, &below);
        let one = |number: usize, from: usize| {
            let clients = Rows { from, batch: &clients };
            let sessions = Rows { from, batch: &connections };
            server::page(&live, number, &self.servers()[number].1, &clients, &sessions)
        };
        let answer = "client 192.0.2.1\nclient_acl 0 permits it\nit is new\nserver 0 (web1.example:80): can take it\n\
                      first choice: server 0: hash\n-> server 0 (web1.example:80): hash\n";
        vec![
            ("index", status),
            ("server0", one(0, 0)),
            ("server1", one(1, 100)),
            ("clients", lists::clients_page(&live, &Rows { from: 100, batch: &self.clients(100) })),
            ("connections", lists::connections_page(&live, &Rows { from: 0, batch: &connections })),
            ("explain", explain::page("192.0.2.1", Some(Ok(answer)))),
            ("explain_empty", explain::page("", None)),
            ("explain_error", explain::page("<b>'\"", Some(Err("<b>'\" is not an address")))),
            ("error", error::page(404, "Not Found", "There is no page of this name.")),
        ]
    }
}
