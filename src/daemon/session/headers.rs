//! Headers in the requests of one session: lets a rewriter see what goes both ways, and change what the client says.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use super::job::Link;
use crate::endpoint::ClientAddr;
use crate::id::ConnId;
use crate::net::connect::local_address;
use crate::net::relay::filter::Filter;
use crate::net::relay::half::Way;
use crate::policy::http::forwarded::Rules;
use crate::policy::http::header::Client;
use crate::policy::http::rewriter::Rewriter;
use crate::policy::settings::Settings;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    rewriter: Rewriter<'a>,
    link: &'a Link,
}

impl<'a> Headers<'a> {
    /// For a session by these settings, with this client. `peer`: where the client comes from. `is_secure`: it speaks TLS to pen.
    pub(super) fn new(
        conn: ConnId,
        link: &'a Link,
        peer: Option<SocketAddr>,
        settings: &'a Settings,
        is_secure: bool,
    ) -> Self {
        let headers = settings.http_headers.as_slice();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let client = Client {
            address: ClientAddr::new(peer.map(|peer| peer.ip())),
            port: peer.as_ref().map(SocketAddr::port),
            listener: if headers.is_empty() { None } else { local_address(&link.client).map(|address| address.port()) },
            is_secure,
            id: if headers.is_empty() { String::new() } else { format!("{:x}-{:x}-{conn}", now(), process::id()) },
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
        if self.way == Way::Up {
            let Headers { rewriter, link } = &mut *self.headers.borrow_mut();
            rewriter.end(bytes);
            link.requests.add(rewriter.take_counts());
        }
    }

    fn verdict(&self) -> Option<&'static [u8]> {
        if self.way == Way::Up { self.headers.borrow().rewriter.verdict() } else { None }
    }
}
