//! Reads the file of lvsmon, and gets ready what its services need: addresses, and what speaks TLS to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::endpoint::{Address, Endpoint, Host, Port};
use crate::error::Error;
use crate::net::probe::reach::{Reach, Tls};
use crate::net::resolve::Names;
use crate::net::tls::Connector;
use crate::policy::check::kind::Kind;
use crate::policy::check::roster::{Pace, Service};
use crate::policy::lookups::{Lookups, Round};
use crate::policy::lvsmon::conf::{self, Configuration};
use crate::policy::proxy::writer::local;
use crate::policy::tls::Trust;
use crate::sys::files;
use crate::sys::key_files::KeyFiles;
use crate::sys::program::runnable;
use crate::sys::root::Root;

/// The largest file that is read, in bytes: a hundred for each of the most services that there can be.
const LARGEST: u64 = 100_000_000;

/// What lvsmon reads files with.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) file: PathBuf,
    pub(super) root: Root,
    pub(super) key_files: KeyFiles,
    pub(super) pace: Pace,
    names: Names,
    /// For services of UDP.
    udp_names: Names,
    /// What hosts meant when they could be looked up.
    known: HashMap<String, Vec<IpAddr>>,
    /// Hosts that could not be looked up the last time.
    failing: HashSet<String>,
}

/// What speaks TLS to services that are trusted alike.
type Connectors = BTreeMap<Trust, (Arc<Trust>, Arc<Connector>)>;

/// What a file asks for.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) services: Vec<Service<Reach>>,
    pub(super) configuration: Configuration,
    /// Trust of services that speak TLS.
    connectors: Connectors,
    /// Names that are to be looked up again.
    has_names: bool,
    has_unresolved: bool,
    /// What is odd.
    pub(super) warnings: Vec<String>,
}

impl Loaded {
    /// Takes the services for the monitor. What they were made of is kept only if names are to be looked up again.
    pub(super) fn take_services(&mut self) -> Vec<Service<Reach>> {
        if self.lookups() == Lookups::default() {
            self.configuration.services = Vec::new();
        }
        std::mem::take(&mut self.services)
    }

    /// Which names are to be looked up again.
    pub(super) fn lookups(&self) -> Lookups {
        Lookups { unresolved: self.has_unresolved, every: self.configuration.resolve.filter(|_| self.has_names) }
    }
}

impl Loader {
    pub(super) fn new(file: PathBuf, root: Root, key_files: KeyFiles, pace: Pace) -> Self {
        let [names, udp_names] = [false, true].map(|udp| Names::new(key_files.is_jailed(), udp));
        Self { file, root, key_files, pace, names, udp_names, known: HashMap::new(), failing: HashSet::new() }
    }

    /// The same in the jail and as the user, which is where files are read again.
    pub(super) fn confined(self, root: Root) -> Self {
        Self { key_files: self.key_files.confined(root.clone()), root, ..self }
    }

    /// Reads the file, and all that it names.
    pub(super) fn load(&mut self) -> Result<Loaded, Error> {
        let name = self.file.display().to_string();
        let failed = |error| Error::System(format!("Can't read file {name}"), error);
        let text = files::read(&self.root.name(&self.file), LARGEST).map_err(failed)?;
        let configuration = conf::parse(&name, &text, self.pace).map_err(Error::Config)?;
        let mut loaded = Loaded {
            services: Vec::new(),
            configuration,
            connectors: BTreeMap::new(),
            has_names: false,
            has_unresolved: false,
            warnings: Vec::new(),
        };
        self.connect(&mut loaded)?;
        self.look_up(&mut loaded, Round::All)?;
        Ok(loaded)
    }

    /// Makes what speaks TLS to the services.
    fn connect(&self, loaded: &mut Loaded) -> Result<(), Error> {
        for service in loaded.configuration.services.iter().filter(|service| service.kind.needs_tls()) {
            let trust = &service.options.trust;
            if !loaded.connectors.contains_key(&**trust) {
                let mut warn = |text| loaded.warnings.push(text);
                let connector = Connector::load(trust, &self.key_files, &mut warn)
                    .map(Arc::new)
                    .map_err(|error| Error::Config(format!("{}:{}: {error}", self.file.display(), service.line)))?;
                loaded.connectors.insert((**trust).clone(), (Arc::clone(trust), connector));
            }
        }
        Ok(())
    }

    /// Looks names up, and gives the services their addresses. A service whose name cannot be looked up keeps those that it had.
    pub(super) fn look_up(&mut self, loaded: &mut Loaded, round: Round) -> Result<(), Error> {
        let mut asked: HashMap<String, Result<Vec<IpAddr>, Arc<str>>> = HashMap::new();
        let mut services = Vec::with_capacity(loaded.configuration.services.len());
        let failed_before = std::mem::take(&mut self.failing);
        (loaded.has_names, loaded.has_unresolved) = (false, false);
        for written in &loaded.configuration.services {
            let at = |error: &dyn Display| {
                Error::Config(format!("{}:{}: service {}: {error}", self.file.display(), written.line, written.name))
            };
            let mut target = Reach { source: written.options.source, ..Reach::default() };
            target.header = written.options.proxy.map(local).unwrap_or_default();
            match &written.endpoint {
                _ if !written.kind.connects() => {}
                Endpoint::Unix(path) => target.addresses = vec![Address::Unix(path.clone())],
                Endpoint::Tcp(host, port) => {
                    let port = self.port(port, written.kind.is_udp()).map_err(|error| at(&error))?;
                    if !host.is_name() {
                        let ips = host.addresses().iter();
                        target.addresses = ips.map(|ip| Address::Ip(SocketAddr::new(*ip, port))).collect();
                        services.push(service(written, target, &loaded.connectors));
                        continue;
                    }
                    let kept = self.known.get(host.name());
                    let found = asked.entry(host.name().to_string()).or_insert_with(|| match kept {
                        Some(kept) if round == Round::Unresolved && !failed_before.contains(host.name()) => {
                            Ok(kept.clone())
                        }
                        _ => self
                            .names
                            .again(host)
                            .map(|host| host.addresses().to_vec())
                            .map_err(|error| error.cause().into()),
                    });
                    loaded.has_names = true;
                    let ips = match found {
                        Ok(ips) => self.known.entry(host.name().to_string()).insert_entry(ips.clone()).into_mut(),
                        Err(cause) => {
                            loaded.has_unresolved = true;
                            target.unresolved = Some(Arc::clone(cause));
                            if self.failing.insert(host.name().to_string()) && !failed_before.contains(host.name()) {
                                loaded.warnings.push(format!(
                                    "{}:{}: {}: cannot be looked up: {cause}",
                                    self.file.display(),
                                    written.line,
                                    host.name()
                                ));
                            }
                            self.known.entry(host.name().to_string()).or_default()
                        }
                    };
                    target.addresses = ips.iter().map(|ip| Address::Ip(SocketAddr::new(*ip, port))).collect();
                }
            }
            services.push(service(written, target, &loaded.connectors));
        }
        loaded.services = services;
        Ok(())
    }

    fn port(&self, port: &Port, is_udp: bool) -> Result<u16, Error> {
        if let Some(number) = port.number() {
            return Ok(number);
        }
        let anywhere = Endpoint::Tcp(Host::any(), port.clone());
        let names = if is_udp { &self.udp_names } else { &self.names };
        match names.listener(&anywhere)?.first() {
            Some(Address::Ip(address)) => Ok(address.port()),
            _ => Err(Error::Address(port.to_string(), String::from("no port found"))),
        }
    }
}

/// The service for the monitor.
fn service(written: &conf::Service, mut target: Reach, connectors: &Connectors) -> Service<Reach> {
    if let Some((trust, connector)) = connectors.get(&*written.options.trust).filter(|_| written.kind.needs_tls()) {
        let name = tls_name(written);
        target.tls = Some(Tls { name, trust: Arc::clone(trust), connector: Arc::clone(connector) });
    }
    let (name, address) = (Arc::clone(&written.name), Arc::clone(&written.address));
    Service { name, address, kind: Arc::clone(&written.kind), pace: written.options.pace, target }
}

/// The name that is asked for and verified: that of the settings, else the host that the check names, else that of the service.
fn tls_name(service: &conf::Service) -> Arc<str> {
    let own = || service.endpoint.host().map_or("localhost", Host::name);
    service.options.tls_name.clone().unwrap_or_else(|| Arc::from(service.kind.tls_host().unwrap_or_else(own)))
}

/// Whether the programs of the services can be run, here and as this user.
pub(super) fn check_programs(services: &[Service<Reach>]) -> Result<(), Error> {
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for service in services {
        let Kind::Exec(words) = &*service.kind else { continue };
        let Some(program) = words.first().filter(|program| seen.insert(program.as_str())) else { continue };
        if let Err(error) = runnable(Path::new(program)) {
            errors.push(format!("service {}: {error}", service.name));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Config(errors.join("\n"))) }
}
