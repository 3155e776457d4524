//! Resolves names. Only this module uses DNS, `/etc/hosts` and `/etc/services`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};

use crate::endpoint::{Address, Endpoint, Host, Port};
use crate::error::Error;
use crate::policy::command::Command;
use crate::policy::listeners::Listeners;

/// How many names are remembered; a configuration has far fewer.
const MOST: usize = 10_000;

/// What names mean. In a jail, which often has neither resolver nor `/etc/services`, a name that cannot be looked up means what it
/// meant when pen was started, so that a file with names can be read again there.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<HashMap<Asked, Vec<SocketAddr>>>,
    jailed: bool,
    /// Services are those of UDP.
    udp: bool,
}

/// A place to listen on.
#[derive(Clone, Debug)]
pub struct Place {
    /// As it was written.
    pub text: String,
    /// In the resolver's order.
    pub addresses: Vec<Address>,
}

/// A host, or a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Host(String),
    Service(String),
}

impl Names {
    /// For a pen that is going to be in a jail, or is not, and balances datagrams, or does not.
    pub fn new(jailed: bool, udp: bool) -> Self {
        Self { known: Mutex::default(), jailed, udp }
    }

    /// Resolves every name in a command, so that it can be applied. Blocks for as long as the resolver takes. Gives the error of a host
    /// that cannot be looked up, which the host then knows, too. A service that cannot is a wrong value.
    pub fn resolve(&self, command: &mut Command) -> Result<Option<Error>, Error> {
        let (hosts, ports) = command.names();
        ports.into_iter().try_for_each(|port| self.port(port))?;
        let mut failed = None;
        for host in hosts {
            if let Err(error) = self.host(host) {
                host.failed(error.cause());
                failed = Some(error);
            }
        }
        Ok(failed)
    }

    /// Looks the name of a host up again, whatever it stands for by now.
    pub fn again(&self, host: &Host) -> Result<Host, Error> {
        let mut host = Host::new(host.name());
        self.host(&mut host)?;
        Ok(host)
    }

    /// The places to listen on, with their addresses.
    pub fn places(&self, listeners: &Listeners) -> Result<Vec<Place>, Error> {
        let place = |(text, endpoint): &(String, Endpoint)| {
            self.listener(endpoint).map(|addresses| Place { text: text.clone(), addresses })
        };
        listeners.places().iter().map(place).collect()
    }

    /// The addresses to listen on, in the resolver's order.
    pub fn listener(&self, endpoint: &Endpoint) -> Result<Vec<Address>, Error> {
        match endpoint.clone() {
            Endpoint::Unix(path) => Ok(vec![Address::Unix(path)]),
            Endpoint::Tcp(mut name, mut service) => {
                self.host(&mut name)?;
                self.port(&mut service)?;
                let number = service.number().unwrap_or(0);
                Ok(name.addresses().iter().map(|ip| Address::Ip(SocketAddr::new(*ip, number))).collect())
            }
        }
    }

    /// Fills in the addresses of a name; a literal address has its own already.
    fn host(&self, host: &mut Host) -> Result<(), Error> {
        if host.addresses().is_empty() {
            let found = self.look_up(Asked::Host(host.name().to_string()))?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for ip in found.into_iter().map(|address| address.ip()) {
                if !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
            host.resolved(addresses);
        }
        Ok(())
    }

    /// Replaces a service name by its number.
    fn port(&self, port: &mut Port) -> Result<(), Error> {
        if let Port::Service(name) = port {
            let found = self.look_up(Asked::Service(name.clone()))?;
            let number = found.first().map_or(0, SocketAddr::port);
            *port = Port::Number(number);
        }
        Ok(())
    }

    fn look_up(&self, asked: Asked) -> Result<Vec<SocketAddr>, Error> {
        let found = ask(&asked, if self.udp { SockType::DGram } else { SockType::Stream });
        if self.jailed {
            // A panic cannot leave the map inconsistent.
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match &found {
                Ok(found) if known.len() < MOST => drop(known.insert(asked, found.clone())),
                Ok(_) => {}
                Err(_) => return known.get(&asked).cloned().ok_or(()).or(found),
            }
        }
        found
    }
}

fn ask(asked: &Asked, kind: SockType) -> Result<Vec<SocketAddr>, Error> {
    let (host, service) = match asked {
        Asked::Host(name) => (Some(name.as_str()), None),
        Asked::Service(name) => (None, Some(name.as_str())),
    };
    let unknown = |cause: String| Error::Address(host.or(service).unwrap_or_default().to_string(), cause);
    let hints = AddrInfoHints { socktype: kind.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(host, service, Some(hints)).map_err(|e| {
        let text = std::io::Error::from(e).to_string();
        let cause = text.trim_start_matches("failed to lookup address information: ").to_string();
        unknown(cause)
    })?;
    let addresses: Vec<_> = found.filter_map(Result::ok).map(|info| info.sockaddr).collect();
    if addresses.is_empty() { Err(unknown(String::from("no address found"))) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(line: &str) -> Result<Command, Error> {
        let mut parsed = Command::parse(line, None).unwrap();
        Names::default().resolve(&mut parsed)?.map_or(Ok(parsed), Err)
    }

    #[test]
    fn names_of_hosts_and_services_are_found() {
        let mut found = resolved("emergency localhost:smtp").unwrap();
        assert!(found.names().0[0].addresses().iter().all(IpAddr::is_loopback));
        assert_eq!(found.names().1[0].number(), Some(25));
    }

    #[test]
    fn an_unknown_name_is_told_in_pens_words() {
        let error = resolved("emergency no-such-host.invalid:80").unwrap_err().to_string();
        assert!(error.starts_with("unknown or invalid address [no-such-host.invalid]: "), "{error}");
        let error = resolved("emergency 127.0.0.1:no-such-service").unwrap_err().to_string();
        assert!(error.starts_with("unknown or invalid address [no-such-service]: "), "{error}");
    }
}
