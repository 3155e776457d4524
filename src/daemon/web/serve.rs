//! A client of the web page: what it asks for, and its answer.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::bounded;
use rustix::rand::{GetRandomFlags, getrandom};

use super::change::Changes;
use super::events::{self, MOST};
use super::pages::Pages;
use super::recorder::Recorder;
use crate::daemon::complaints::Complaints;
use crate::daemon::control::executor::Executor;
use crate::daemon::crew::Client;
use crate::daemon::door::WEB;
use crate::daemon::events::Event;
use crate::daemon::seat::Seat;
use crate::endpoint::ClientAddr;
use crate::error::Error;
use crate::net::control::Verdict;
use crate::net::web::answer::{Answerer, Head};
use crate::net::web::{Fault, Received, receive};
use crate::policy::report::metrics::MEDIA_TYPE;
use crate::policy::report::page::live::{ICON, SCRIPT, STYLE, error, explain};
use crate::policy::report::query::{Format, Query};
use crate::policy::settings::Settings;
use crate::policy::web::Web;
use crate::policy::web::guard::is_own_name;
use crate::policy::web::route::{Asset, Route};
use crate::policy::web::status::{
    FORBIDDEN, METHOD_NOT_ALLOWED, NOT_FOUND, OK, SEE_OTHER, UNAUTHORIZED, UNAVAILABLE, phrase,
};
use crate::sys::log::Log;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// How long a browser keeps what belongs to pages, in seconds. A new pen has new files.
const KEPT: u32 = 60;

/// Why the page is not shown under a name that may be that of another site.
const FOREIGN_NAME: &str = "This name may be that of another site. The page answers to addresses, to localhost and to the name in the \
                            command web; web_acl lets it answer to all names.";

/// How a browser is asked for a name and a password (RFC 7617).
const CHALLENGE: &str = "Basic realm=\"pen\", charset=\"UTF-8\"";

/// Serves clients.
pub(super) struct Server {
    executor: Executor,
    pages: Pages,
    changes: Changes,
    complaints: Complaints,
    log: Log,
    /// What forms must send back. Only the pages show it.
    token: String,
    /// Each client that watches holds a copy.
    watching: Arc<()>,
}

impl Server {
    /// With what was recorded.
    pub(super) fn new(executor: Executor, recorder: Recorder, log: Log) -> Result<Self, Error> {
        let mut random = [0; 16];
        let given = getrandom(&mut random[..], GetRandomFlags::empty());
        given.map_err(|error| Error::System(String::from("getrandom"), error.into()))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let pages = Pages { reports: executor.reports(), recorder };
        let complaints = Complaints::new(log.clone(), WEB);
        Ok(Self { executor, pages, changes: Changes::default(), complaints, log, token, watching: Arc::default() })
    }

    /// Serves a client from its request to its end.
    pub(super) fn serve(&self, client: &Client) {
        // It fails when the client has left, or takes nothing of its answer.
        if self.answer(client).is_ok() {
            client.peer.finish();
        }
    }

    fn answer(&self, client: &Client) -> io::Result<()> {
        let Some(settings) = self.admits(client) else {
            self.complaints.tell(format_args!("web_acl denies {client}"), Instant::now());
            return fail(
                &Answerer::new(&client.peer, None),
                FORBIDDEN,
                "This host may not look at this page (web_acl).",
                &[],
            );
        };
        let received = match receive(&client.peer) {
            Ok(received) => received,
            Err(Fault::Gone) => return Ok(()),
            Err(Fault::Wrong(status)) => {
                return fail(&Answerer::new(&client.peer, None), status, "pen does not understand this request.", &[]);
            }
        };
        let answerer = Answerer::new(&client.peer, Some(&received.request));
        if client.address != ClientAddr::Local && !is_own_name(received.request.host.as_deref(), &settings.web) {
            return fail(&answerer, FORBIDDEN, FOREIGN_NAME, &[]);
        }
        match Route::find(&received.request) {
            Ok(route) => self.follow(route, client, &received, (&settings.web, &answerer)),
            Err(status) => {
                let allow = [("Allow", Route::methods(&received.request.path))];
                let lines = if status == METHOD_NOT_ALLOWED { &allow[..] } else { &[] };
                let sentence =
                    if status == NOT_FOUND { "There is no such page." } else { "This cannot be asked for here." };
                fail(&answerer, status, sentence, lines)
            }
        }
    }

    /// The settings, for a client that may look at the page.
    fn admits(&self, client: &Client) -> Option<Arc<Settings>> {
        let (answer, admitted) = bounded(1);
        self.executor.events.send(Event::AdmitToWeb(client.address, answer)).ok()?;
        admitted.recv().ok().flatten()
    }

    fn follow(
        &self,
        route: Route,
        client: &Client,
        received: &Received,
        (web, to): (&Web, &Answerer<'_>),
    ) -> io::Result<()> {
        let page = |text: &str| to.answer(&head(OK, HTML), text);
        // Reports wait for each other. What is not made of one does not ask for it.
        let summary = || self.pages.reports.summary();
        let control = web.control.then_some(self.token.as_str());
        match route {
            Route::Status => {
                let summary = summary()?;
                to.stream(&head(OK, HTML), |out| self.pages.overview(&summary, control, out))
            }
            Route::Connections(from) => page(&self.pages.connections(&summary()?, from)?),
            Route::Clients(from) => page(&self.pages.clients(&summary()?, from)?),
            Route::Server(id, clients, sessions) => {
                let summary = summary()?;
                match self.pages.server(&summary, control, id, (clients, sessions))? {
                    Some(text) => page(&text),
                    None => fail(to, NOT_FOUND, "There is no such server.", &[]),
                }
            }
            Route::Explain(client) => page(&self.explain(client.as_deref())?),
            Route::Metrics => {
                let summary = summary()?;
                to.stream(&head(OK, MEDIA_TYPE), |out| self.pages.metrics(&summary, out))
            }
            Route::Health => {
                let (verdict, reply) = self.say("health")?;
                let status = if verdict == Verdict::Accepted { OK } else { UNAVAILABLE };
                to.answer(&head(status, TEXT), &reply)
            }
            Route::ServersJson => self.report(&Query::Servers(Format::Json), to),
            Route::ConnectionsJson => self.report(&Query::Connections(Format::Json), to),
            Route::ClientsJson(time) => self.report(&Query::Recent(time, Format::Json), to),
            Route::Events => match self.seat() {
                Some((seat, _place)) => to.stream(&head(OK, EVENTS), |out| events::stream(&client.peer, &seat, out)),
                None => fail(to, UNAVAILABLE, "Too many clients watch already.", &[]),
            },
            Route::Asset(asset) => {
                let (kind, text) = match asset {
                    Asset::Style => ("text/css; charset=utf-8", STYLE),
                    Asset::Script => ("text/javascript; charset=utf-8", SCRIPT),
                    Asset::Icon => ("image/svg+xml", ICON),
                };
                to.answer(&Head { age: KEPT, ..head(OK, kind) }, text)
            }
            Route::Change(id) => {
                match self.changes.make((client, id), received, (web, &self.token), (&self.executor, &self.log)) {
                    Ok(next) => to.answer(&Head { lines: &[("Location", &next)], ..head(SEE_OTHER, TEXT) }, ""),
                    Err((UNAUTHORIZED, why)) => fail(to, UNAUTHORIZED, &why, &[("WWW-Authenticate", CHALLENGE)]),
                    Err((status, why)) => fail(to, status, &why, &[]),
                }
            }
        }
    }

    /// What one who watches needs, with its place among those of the page.
    fn seat(&self) -> Option<(Seat, Arc<()>)> {
        let place = Arc::clone(&self.watching);
        // The first one is the server's own.
        let count = Arc::strong_count(&place) - 1;
        let seat = if count > MOST { None } else { Seat::take(&self.executor.events) };
        seat.map(|seat| (seat, place))
    }

    /// The page of `explain`.
    fn explain(&self, client: Option<&str>) -> io::Result<String> {
        let Some(text) = client.filter(|text| !text.is_empty()) else { return Ok(explain::page("", None)) };
        let (verdict, reply) = self.say(&format!("explain {}", text.replace(char::is_control, " ")))?;
        let answer = if verdict == Verdict::Accepted { Ok(reply.as_str()) } else { Err(reply.trim_end()) };
        Ok(explain::page(text, Some(answer)))
    }

    /// A report as it is on the control port.
    fn report(&self, query: &Query, to: &Answerer<'_>) -> io::Result<()> {
        to.stream(&head(OK, JSON), |out| {
            self.pages.reports.write(query, out).map_or(Ok(()), |written| written.map(drop))
        })
    }

    fn say(&self, line: &str) -> io::Result<(Verdict, String)> {
        let mut reply = Vec::new();
        let verdict = self.executor.say(line, &mut reply)?;
        Ok((verdict, String::from_utf8_lossy(&reply).into_owned()))
    }
}

fn head(status: u16, kind: &'static str) -> Head<'static> {
    Head { status, kind, age: 0, lines: &[] }
}

fn fail(to: &Answerer<'_>, status: u16, sentence: &str, lines: &[(&'static str, &str)]) -> io::Result<()> {
    let page = error::page(status, phrase(status), sentence);
    to.answer(&Head { lines, ..head(status, HTML) }, &page)
}
