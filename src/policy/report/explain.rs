//! `explain`: which server a client would get now, step by step, without changing anything.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

use crate::endpoint::{ClientAddr, Host};
use crate::id::ServerId;
use crate::policy::balancer::Balancer;
use crate::policy::country::GeoipFile;
use crate::policy::facts::ClientFacts;
use crate::policy::hash;
use crate::policy::report::Context;
use crate::policy::select::{Unfit, View};
use crate::policy::servers::Server;
use crate::policy::settings::Tracking;

impl Balancer {
    pub(super) fn explain(&self, ip: IpAddr, context: &Context<'_>) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_explanation(&mut text, ClientAddr::new(Some(ip)), context);
        text
    }

    fn write_explanation(&self, out: &mut String, client: ClientAddr, context: &Context<'_>) -> std::fmt::Result {
        let Context { now, most, .. } = *context;
        let s = &self.settings;
        writeln!(out, "client {client}")?;
        if s.dummy {
            return writeln!(out, "pen answers itself (dummy)");
        }
        let list = s.client_acl;
        let facts = ClientFacts::new(client, s.roundrobin.then_some(0));
        let geography = self.geography();
        let servers = self.servers.iter().filter(|server| !server.is_empty());
        if servers.map(|server| server.acl).chain([list]).any(|list| self.acls[list.index()].asks_for_countries()) {
            let source = self.geoip.as_ref().map(GeoipFile::path);
            match (facts.country(geography), source) {
                (Some(country), Some(file)) => writeln!(out, "it is in {country} ({})", file.display())?,
                (_, Some(file)) => writeln!(out, "its country is not known ({})", file.display())?,
                (_, None) => writeln!(out, "its country is not known (geoip names no file)")?,
            }
        }
        if !self.acls[list.index()].permits(&facts, geography) {
            writeln!(out, "client_acl {list} denies it")?;
            return match self.abuse() {
                Some(target) => writeln!(out, "-> abuse server ({})", target.name),
                None => writeln!(out, "-> refused"),
            };
        }
        writeln!(out, "client_acl {list} permits it")?;
        let known = self.clients.get(client);
        let last = known.filter(|_| s.tracks()).and_then(|known| known.remembered(s.tracking, now));
        match (known, last) {
            _ if s.roundrobin => writeln!(out, "clients are not tracked (roundrobin)")?,
            _ if s.tracking == Tracking::Off => writeln!(out, "clients are not tracked (no tracking)")?,
            (Some(known), Some(id)) => {
                writeln!(out, "it used server {id} {} seconds ago", now.duration_since(known.seen).as_secs())?;
            }
            (Some(_), None) => writeln!(out, "it was here, but too long ago or without a server")?,
            (None, _) => writeln!(out, "it is new")?,
        }
        let view = self.view(&facts, last, &[], now);
        for (number, server) in self.servers.iter().enumerate() {
            let Some(id) = ServerId::new(number) else { break };
            writeln!(out, "server {id} ({}): {}", server.target().name, fitness(&view, id, server, now))?;
        }
        if s.peek {
            writeln!(out, "the choice waits for its first bytes (peek)")?;
        }
        if s.hash && s.roundrobin {
            writeln!(out, "the hash includes its port (hash and roundrobin): here, port 0")?;
        }
        let hash = hash::of_client(client, s.roundrobin.then_some(0));
        match view.initial(self.current, hash) {
            Some((id, why)) => writeln!(out, "first choice: server {id}: {}", why.text())?,
            None => writeln!(out, "first choice: none")?,
        }
        let (connections, most) = (self.connections.len(), self.settings.conn_max.min(most));
        // A new flow takes the place of an old one.
        if connections >= most && !self.identity.udp {
            writeln!(out, "it waits: pen is at its limit of {most} connections")?;
        }
        match self.select(&view, hash, true) {
            Ok(choice) => writeln!(out, "-> {} ({}): {}", choice.upstream, choice.target.name, choice.why.text()),
            Err(why) => writeln!(out, "-> refused: {why}"),
        }
    }
}

fn fitness(view: &View<'_>, id: ServerId, server: &Server, now: Instant) -> String {
    match view.fitness(id) {
        Ok(()) => String::from("can take it"),
        Err(Unfit::Empty) => String::from("empty slot"),
        Err(Unfit::Unresolved) => match server.endpoint().host().and_then(Host::failure) {
            Some(cause) => format!("unresolved: {cause}"),
            None => String::from("unresolved"),
        },
        Err(Unfit::Tried) => String::from("failed already"),
        Err(Unfit::Denied) => format!("acl {} denies it", server.acl),
        Err(Unfit::Full) => {
            let (limit, name) = if view.last == Some(id) { (server.hard, "hard") } else { (server.soft, "soft") };
            format!("full: {} connections, {name} limit {limit}", server.connections)
        }
        Err(Unfit::Weightless) => String::from("weight 0: no new clients"),
        Err(Unfit::Down) => format!("down: {}", server.checked.words()),
        Err(Unfit::Maint) => String::from("in maintenance (maint)"),
        Err(Unfit::Drain) => String::from("draining (drain)"),
        Err(Unfit::Blacklisted) => match server.blacklisted_for(now) {
            Some(left) => format!("blacklisted for {} more seconds", left.as_secs() + 1),
            None => String::from("being tried by another client"),
        },
    }
}
