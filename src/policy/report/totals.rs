//! What the servers add up to: how many are in which state, and their traffic.

use std::time::Instant;

use crate::policy::servers::{Server, State};

/// Sums over the server table. Empty slots count for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many servers there are.
    pub servers: usize,
    /// In the order of [`Totals::STATES`].
    states: [usize; Totals::STATES.len()],
    /// Bytes sent to servers.
    pub sent: u64,
    /// Bytes received from servers.
    pub received: u64,
}

impl Totals {
    /// The states of servers with the words of a sentence, the worst first.
    const STATES: [(State, &'static str); 7] = [
        (State::Down, "down"),
        (State::Unresolved, "unresolved"),
        (State::Blacklisted, "blacklisted"),
        (State::Maint, "in maintenance"),
        (State::Drain, "draining"),
        (State::Full, "full"),
        (State::Up, "up"),
    ];

    /// The sums over these servers.
    pub fn of<'a>(servers: impl IntoIterator<Item = &'a Server>, now: Instant) -> Self {
        let mut totals = Self::default();
        for server in servers {
            let state = server.state(now);
            let Some(place) = Self::STATES.iter().position(|(known, _)| *known == state) else { continue };
            totals.servers += 1;
            totals.states[place] += 1;
            totals.sent = totals.sent.wrapping_add(server.sent);
            totals.received = totals.received.wrapping_add(server.received);
        }
        totals
    }

    /// How many are in that state.
    pub fn count(&self, state: State) -> usize {
        Self::STATES.iter().zip(self.states).find(|((known, _), _)| *known == state).map_or(0, |(_, count)| count)
    }

    /// The state that the servers together are in: that of the worst.
    pub fn worst(&self) -> State {
        let there = Self::STATES.iter().zip(self.states).find(|(_, count)| *count > 0);
        there.map_or(State::Empty, |((state, _), _)| *state)
    }

    /// The same as a sentence: `All 3 servers are up.`, `1 of 3 servers is down, 1 draining.`
    pub fn sentence(&self) -> String {
        let servers = self.servers;
        match (servers, self.count(State::Up)) {
            (0, _) => return String::from("There are no servers."),
            (1, 1) => return String::from("The server is up."),
            (_, up) if up == servers => return format!("All {servers} servers are up."),
            _ => {}
        }
        let others =
            Self::STATES.iter().zip(self.states).filter(|((state, _), count)| *state != State::Up && *count > 0);
        let parts: Vec<_> = others.map(|((_, words), count)| (count, *words)).collect();
        let mut sentence = String::new();
        for (place, (count, words)) in parts.into_iter().enumerate() {
            let part = match (place, servers, count) {
                (0, 1, _) => format!("The server is {words}"),
                (0, _, _) if count == servers => format!("All {servers} servers are {words}"),
                (0, _, 1) => format!("1 of {servers} servers is {words}"),
                (0, ..) => format!("{count} of {servers} servers are {words}"),
                _ => format!(", {count} {words}"),
            };
            sentence.push_str(&part);
        }
        sentence + "."
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::policy::servers::AdminState;

    #[test]
    fn one_sentence_says_how_the_servers_are() {
        let now = Instant::now();
        let server = |admin| {
            let mut server = Server::default();
            server.admin = admin;
            server.move_to(Endpoint::without_port("192.0.2.1"), 80, now);
            server
        };
        let (ready, drain, maint) = (server(AdminState::Ready), server(AdminState::Drain), server(AdminState::Maint));
        let empty = Server::default();
        for (servers, sentence) in [
            (vec![&empty], "There are no servers."),
            (vec![&ready, &empty], "The server is up."),
            (vec![&ready; 3], "All 3 servers are up."),
            (vec![&drain], "The server is draining."),
            (vec![&maint; 2], "All 2 servers are in maintenance."),
            (vec![&ready, &ready, &drain], "1 of 3 servers is draining."),
            (vec![&ready, &drain, &maint, &maint], "2 of 4 servers are in maintenance, 1 draining."),
        ] {
            assert_eq!(Totals::of(servers, now).sentence(), sentence);
        }
        let totals = Totals::of([&ready, &maint], now);
        assert_eq!((totals.worst(), totals.count(State::Up), totals.servers), (State::Maint, 1, 2));
    }
}
