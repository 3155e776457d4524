//! What is said about one server, in `server N …` and in an operand.

use std::fmt;
use std::time::Duration;

use super::Command;
use super::parse::{number, place};
use crate::endpoint::Port;
use crate::endpoint::split_fields;
use crate::id::{AclId, ServerId};
use crate::policy::servers::Place;

/// What `server N` can change about a server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerChange {
    /// `acl A`: which clients it takes.
    Acl(AclId),
    /// `address A`.
    Address(Place),
    /// `port P`; 0 empties the slot.
    Port(Port),
    /// `max M`, the soft limit.
    Max(u32),
    /// `hard H`, the hard limit.
    Hard(u32),
    /// `blacklist T`: as if a connect had failed; 0 lifts it.
    Blacklist(Duration),
    /// `weight W`.
    Weight(u32),
    /// `prio P`.
    Prio(u32),
}

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acl(list) => write!(f, "acl {list}"),
            Self::Address(place) => write!(f, "address {place}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Max(n) => write!(f, "max {n}"),
            Self::Hard(n) => write!(f, "hard {n}"),
            Self::Blacklist(time) => write!(f, "blacklist {}", time.as_secs()),
            Self::Weight(n) => write!(f, "weight {n}"),
            Self::Prio(n) => write!(f, "prio {n}"),
        }
    }
}

impl Command {
    /// Reads a server as an operand gives it, `host:port:soft:hard:weight:prio` (pen(1)), into the command that adds it.
    /// Everything but the host may be left out or empty; a server without a port gets `port`.
    pub fn parse_server(id: ServerId, text: &str, port: Option<&Port>) -> Result<Self, String> {
        let fields = split_fields(text)?;
        if fields.len() > 6 {
            return Err(format!("\"{text}\" has more than host:port:soft:hard:weight:prio"));
        }
        let (place, port) = place(text, &fields, port)?;
        let mut changes = vec![ServerChange::Address(place), ServerChange::Port(port)];
        for (position, field) in fields.iter().enumerate().skip(2).filter(|(_, field)| !field.is_empty()) {
            let value = |what| number(what, field, 0, u64::from(u32::MAX));
            changes.push(match position {
                2 => ServerChange::Max(value("soft limit")?),
                3 => ServerChange::Hard(value("hard limit")?),
                4 => ServerChange::Weight(value("weight")?),
                _ => ServerChange::Prio(value("prio")?),
            });
        }
        Ok(Self::Server(id, changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_operand_becomes_the_command_that_adds_it() {
        let server = |text: &str| Command::parse_server(ServerId::new(2).unwrap(), text, Some(&Port::Number(80)));
        let reads = |text| server(text).map(|c| c.to_string());
        assert_eq!(reads("www1:8000:10").as_deref(), Ok("server 2 address www1 port 8000 max 10"));
        assert_eq!(reads("www3").as_deref(), Ok("server 2 address www3 port 80"));
        assert_eq!(
            reads("[::1]:25:1:2:3:4").as_deref(),
            Ok("server 2 address ::1 port 25 max 1 hard 2 weight 3 prio 4")
        );
        assert_eq!(reads("a::::5").as_deref(), Ok("server 2 address a port 80 weight 5"));
        assert_eq!(reads("/run/s::9").as_deref(), Ok("server 2 address /run/s port 80 max 9"));
        assert_eq!(reads("a:0"), Err(String::from("\"a:0\": port \"0\" is not a number from 1 to 65535")));
        assert_eq!(reads("a:1:x"), Err(String::from("soft limit: \"x\" is not a number from 0 to 4294967295")));
        assert!(reads("a:1:2:3:4:5:6").is_err());
        assert!(reads(":80").is_err());
        assert!(reads("[nonsense]:80").is_err());
    }
}
