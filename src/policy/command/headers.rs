//! Applies `http_header`.

use std::sync::Arc;

use super::apply::Outcome;
use crate::policy::balancer::Balancer;
use crate::policy::http::header::{self, Header};

impl Balancer {
    /// Adds a header. One of the same name it takes the place of.
    pub(super) fn set_header(&mut self, header: Header) -> Outcome {
        let headers = Arc::make_mut(&mut Arc::make_mut(&mut self.settings).http_headers);
        match headers.iter().position(|there| there.name().eq_ignore_ascii_case(header.name())) {
            Some(place) => headers[place] = header,
            None if headers.len() == header::MOST => {
                return Outcome::refusal(format!(
                    "http_header {}: there are {} already\n",
                    header.name(),
                    header::MOST
                ));
            }
            None => headers.push(header),
        }
        Outcome::default()
    }

    /// Removes the header of that name, or all.
    pub(super) fn remove_headers(&mut self, name: Option<String>) -> Outcome {
        let headers = Arc::make_mut(&mut Arc::make_mut(&mut self.settings).http_headers);
        let before = headers.len();
        match &name {
            None => headers.clear(),
            Some(name) => headers.retain(|header| !header.name().eq_ignore_ascii_case(name)),
        }
        match name {
            Some(name) if headers.len() == before => {
                Outcome::refusal(format!("http_header {name}: there is none of that name\n"))
            }
            _ => Outcome::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::policy::command::Command;
    use crate::policy::identity::Identity;
    use crate::policy::report::Context;

    #[test]
    fn headers_and_proxy_headers_are_written_as_they_are_read() {
        let now = Instant::now();
        let apply = |balancer: &mut Balancer, line: &str| {
            let command = Command::parse(line, None).unwrap();
            assert_eq!(command.to_string(), line);
            balancer.apply(command, &Context::start(now)).reply
        };
        let mut balancer = Balancer::new(Identity::default(), String::from("80"));
        for line in [
            "http_header A one  two",
            "http_header B %c",
            "http_header b %l",
            "no http_header a",
            "server 0 address ::1 port 80 send_proxy v2",
            "server 1 send_proxy v1",
            "server 2 address ::1 port 81 send_proxy v1",
            "server 2 send_proxy off",
        ] {
            assert_eq!(apply(&mut balancer, line), "");
        }
        assert_eq!(apply(&mut balancer, "http_header"), "b %l\n");
        let commands = balancer.to_commands(now);
        let written: Vec<_> = commands.iter().map(Command::to_string).collect();
        assert!(written.windows(2).any(|pair| pair == ["no http_header", "http_header b %l"]), "{written:?}");
        assert_eq!(written.iter().filter(|line| line.contains(" send_proxy ")).count(), 2, "{written:?}");
        let mut again = Balancer::new(Identity::default(), String::from("80"));
        commands.iter().for_each(|command| drop(again.apply(command.clone(), &Context::start(now))));
        assert_eq!(again.to_commands(now), commands);
        // A server that is removed forgets it.
        apply(&mut balancer, "no server 0");
        assert!(!balancer.to_commands(now).iter().any(|command| command.to_string().contains("v2")));
    }
}
