//! Headers in the requests of one session: lets a rewriter see what goes both ways, and change what the client says.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use super::job::Link;
use crate::endpoint::ClientAddr;
use crate::id::ConnId;
use crate::net::relay::filter::Filter;
use crate::net::relay::half::Way;
use crate::policy::http::forwarded::Rules;
use crate::policy::http::header::Client;
use crate::policy::http::rewriter::Rewriter;
use crate::policy::proxy::Ends;
use crate::policy::settings::Settings;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    rewriter: Rewriter<'a>,
    link: &'a Link,
}

impl<'a> Headers<'a> {
    /// For a session by these settings. The client comes from there, and `is_secure` if with TLS; `ends` are those of its connection.
    pub(super) fn new(
        conn: ConnId,
        (client, is_secure): (Option<SocketAddr>, bool),
        ends: impl FnOnce() -> Ends,
        settings: &'a Settings,
        link: &'a Link,
    ) -> Self {
        let headers = settings.http_headers.as_slice();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let (mut listener, mut id) = (None, String::new());
        if !headers.is_empty() {
            if let Ends::Tcp(_, destination) = ends() {
                listener = Some(destination.port());
            }
            id = format!("{:x}-{:x}-{conn}", now(), process::id());
        }
        let client = Client {
            address: ClientAddr::new(client.map(|client| client.ip())),
            port: client.map(|client| client.port()),
            listener,
            is_secure,
            id,
        };
        let rules = Rules { existing: settings.http_forwarded, style: settings.http_forwarded_style, headers };
        Self { rewriter: Rewriter::new(rules, client, settings.http_strict), link }
    }
}

/// Lets them see what goes one way.
#[derive(Debug)]
pub(super) struct Decorator<'a, 'b> {
    headers: &'b RefCell<Headers<'a>>,
    way: Way,
}

impl<'a, 'b> Decorator<'a, 'b> {
    /// For that direction.
    pub(super) fn new(headers: &'b RefCell<Headers<'a>>, way: Way) -> Self {
        Self { headers, way }
    }
}

impl Filter for Decorator<'_, '_> {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        let Headers { rewriter, link } = &mut *self.headers.borrow_mut();
        match self.way {
            Way::Up => rewriter.pass(bytes),
            Way::Down => rewriter.answered(bytes),
        }
        link.requests.add(rewriter.take_counts());
    }

    fn unseen(&self) -> u64 {
        let rewriter = &self.headers.borrow().rewriter;
        match self.way {
            Way::Up => rewriter.unseen(),
            Way::Down => rewriter.unseen_of_answer(),
        }
    }

    fn skip(&mut self, count: u64) {
        let rewriter = &mut self.headers.borrow_mut().rewriter;
        match self.way {
            Way::Up => rewriter.skip(count),
            Way::Down => rewriter.skip_answer(count),
        }
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        let Headers { rewriter, link } = &mut *self.headers.borrow_mut();
        match self.way {
            Way::Up => rewriter.end(bytes),
            Way::Down => rewriter.answers_ended(),
        }
        link.requests.add(rewriter.take_counts());
    }

    fn verdict(&self) -> Option<&'static [u8]> {
        if self.way == Way::Up { self.headers.borrow().rewriter.verdict() } else { None }
    }
}
