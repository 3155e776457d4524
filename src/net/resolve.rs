//! Names to addresses: the only place that asks DNS, `/etc/hosts` and `/etc/services`.

use std::net::{IpAddr, SocketAddr};

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};

use crate::endpoint::{Address, Endpoint, Host, Port};
use crate::error::Error;
use crate::policy::command::Command;

/// Resolves every name in a command, so that it can be applied. Blocks for as long as the resolver takes.
pub fn command(command: &mut Command) -> Result<(), Error> {
    command.hosts().into_iter().try_for_each(host)?;
    command.ports().into_iter().try_for_each(port)
}

/// The addresses to listen on, in the resolver's order.
pub fn listener(endpoint: &Endpoint) -> Result<Vec<Address>, Error> {
    match endpoint.clone() {
        Endpoint::Unix(path) => Ok(vec![Address::Unix(path)]),
        Endpoint::Tcp(mut name, mut service) => {
            host(&mut name)?;
            port(&mut service)?;
            let number = service.number().unwrap_or(0);
            Ok(name.addresses().iter().map(|ip| Address::Ip(SocketAddr::new(*ip, number))).collect())
        }
    }
}

/// Fills in the addresses of a name; a literal address has its own already.
fn host(host: &mut Host) -> Result<(), Error> {
    if host.addresses().is_empty() {
        let found = lookup(Some(host.name()), None)?;
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
pub fn port(port: &mut Port) -> Result<(), Error> {
    if let Port::Service(name) = port {
        let found = lookup(None, Some(name))?;
        let number = found.first().map_or(0, SocketAddr::port);
        *port = Port::Number(number);
    }
    Ok(())
}

fn lookup(host: Option<&str>, service: Option<&str>) -> Result<Vec<SocketAddr>, Error> {
    let asked = || host.or(service).unwrap_or_default().to_string();
    let unknown = |cause: String| Error::Address(asked(), cause);
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
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
        command(&mut parsed).map(|()| parsed)
    }

    #[test]
    fn names_of_hosts_and_services_are_found() {
        let mut found = resolved("emergency localhost:smtp").unwrap();
        assert!(found.hosts()[0].addresses().iter().all(IpAddr::is_loopback));
        assert_eq!(found.ports()[0].number(), Some(25));
    }

    #[test]
    fn an_unknown_name_is_told_in_pens_words() {
        let error = resolved("emergency no-such-host.invalid:80").unwrap_err().to_string();
        assert!(error.starts_with("unknown or invalid address [no-such-host.invalid]: "), "{error}");
        let error = resolved("emergency 127.0.0.1:no-such-service").unwrap_err().to_string();
        assert!(error.starts_with("unknown or invalid address [no-such-service]: "), "{error}");
    }
}
