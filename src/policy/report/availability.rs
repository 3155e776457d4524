//! `health`: whether a new client would get a server, for programs in front that send clients elsewhere if not.

use std::time::Instant;

use crate::policy::balancer::Balancer;
use crate::policy::plural::counted;
use crate::policy::servers::State;

impl Balancer {
    /// The reply of a pen that can take clients; the error is that of one that cannot, with the reason. A server can take one if it is up
    /// and below its soft limit; the emergency server always can.
    pub fn availability(&self, now: Instant) -> Result<String, String> {
        let states: Vec<_> = self.servers.iter().map(|server| server.state(now)).collect();
        let up = states.iter().filter(|state| **state == State::Up).count();
        if self.settings.dummy {
            return Ok(String::from("ok: pen answers itself (dummy)\n"));
        }
        if up > 0 {
            return Ok(format!("ok: {} up\n", counted(up, "server", "servers")));
        }
        let count = |wanted: State| states.iter().filter(|state| **state == wanted).count();
        let others = [State::Down, State::Blacklisted, State::Full, State::Drain, State::Maint, State::Unresolved];
        let found = others.iter().map(|state| (count(*state), state.word())).filter(|(count, _)| *count > 0);
        let found: Vec<_> = found.map(|(count, word)| format!("{count} {word}")).collect();
        let why = if found.is_empty() { String::from("there is none") } else { found.join(", ") };
        match self.stand_in() {
            Some(target) => {
                Ok(format!("ok: the emergency server ({}); no other can take a client: {why}\n", target.name))
            }
            None => Err(format!("no server can take a client: {why}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::command::Command;
    use crate::policy::identity::Identity;
    use crate::policy::report::Context;

    #[test]
    fn a_server_that_is_up_is_enough_and_the_reply_counts_the_others() {
        let now = Instant::now();
        let mut balancer = Balancer::new(Identity::default(), String::from("80"));
        assert_eq!(balancer.availability(now), Err(String::from("no server can take a client: there is none\n")));
        for (line, expected) in [
            ("server 0 address 192.0.2.1 port 80", "ok: 1 server up"),
            ("server 1 address 192.0.2.2 port 80", "ok: 2 servers up"),
            ("server 0 drain", "ok: 1 server up"),
            ("server 1 blacklist 9", "no server can take a client: 1 blacklisted, 1 drain"),
            ("server 0 maint", "no server can take a client: 1 blacklisted, 1 maint"),
            (
                "emergency 192.0.2.9:80",
                "ok: the emergency server (192.0.2.9:80); no other can take a client: 1 blacklisted, 1 maint",
            ),
            ("dummy", "ok: pen answers itself (dummy)"),
        ] {
            balancer.apply(Command::parse(line, None).unwrap(), &Context::start(now));
            let (Ok(reply) | Err(reply)) = balancer.availability(now);
            assert_eq!(reply.trim_end(), expected, "{line}");
        }
    }
}
