//! What there is on the web page.

use std::time::Duration;

use super::request::{Method, Request};
use super::status::{BAD_REQUEST, METHOD_NOT_ALLOWED, NOT_FOUND};
use crate::id::ServerId;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: the status page.
    Status,
    /// `/connections?from=N`: the connections from that number on.
    Connections(usize),
    /// `/clients?from=N`: the clients from that number on.
    Clients(usize),
    /// `/servers/N?clients=N&sessions=N`: a server, with its clients and its sessions from those numbers on.
    Server(ServerId, usize, usize),
    /// `/explain?client=ADDRESS`.
    Explain(Option<String>),
    /// `/metrics`.
    Metrics,
    /// `/health`.
    Health,
    /// `/api/servers`.
    ServersJson,
    /// `/api/connections`.
    ConnectionsJson,
    /// `/api/clients?since=SECONDS`.
    ClientsJson(Duration),
    /// `/api/events`.
    Events,
    /// A file that pages need.
    Asset(Asset),
    /// `POST /servers/N`: changes a server.
    Change(ServerId),
}

/// The files that pages need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asset {
    /// `/pen.css`.
    Style,
    /// `/pen.js`.
    Script,
    /// `/pen.svg`.
    Icon,
}

/// The clients that `/api/clients` has, if nothing else is asked for: as `recent`.
const RECENT: Duration = Duration::from_secs(300);

impl Route {
    /// Reads a request. The error is the status of the answer (RFC 9110).
    pub fn find(request: &Request) -> Result<Self, u16> {
        let route = match request.path.as_str() {
            "/" => Self::Status,
            "/connections" => Self::Connections(offset(request, "from")?),
            "/clients" => Self::Clients(offset(request, "from")?),
            "/explain" => Self::Explain(request.asked("client").map(str::trim).map(String::from)),
            "/metrics" => Self::Metrics,
            "/health" => Self::Health,
            "/api/servers" => Self::ServersJson,
            "/api/connections" => Self::ConnectionsJson,
            "/api/clients" => {
                let seconds = request.asked("since").map(|text| text.parse().map_err(|_| BAD_REQUEST)).transpose()?;
                Self::ClientsJson(seconds.map_or(RECENT, |n: u32| Duration::from_secs(n.into())))
            }
            "/api/events" => Self::Events,
            "/pen.css" => Self::Asset(Asset::Style),
            "/pen.js" => Self::Asset(Asset::Script),
            "/pen.svg" | "/favicon.ico" => Self::Asset(Asset::Icon),
            path => {
                let number = path.strip_prefix("/servers/").and_then(|text| text.parse().ok()).ok_or(NOT_FOUND)?;
                let id = ServerId::new(number).ok_or(NOT_FOUND)?;
                match request.method {
                    Method::Post => return Ok(Self::Change(id)),
                    _ => Self::Server(id, offset(request, "clients")?, offset(request, "sessions")?),
                }
            }
        };
        match request.method {
            Method::Get | Method::Head => Ok(route),
            Method::Post | Method::Other => Err(METHOD_NOT_ALLOWED),
        }
    }

    /// The methods that it takes, as `Allow` lists them.
    pub fn methods(path: &str) -> &'static str {
        if path.starts_with("/servers/") { "GET, HEAD, POST" } else { "GET, HEAD" }
    }
}

fn offset(request: &Request, word: &str) -> Result<usize, u16> {
    request.asked(word).map_or(Ok(0), |text| text.parse().map_err(|_| BAD_REQUEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::web::request::{Progress, read};

    fn find(line: &str) -> Result<Route, u16> {
        match read(format!("{line} HTTP/1.0\r\n\r\n").as_bytes()) {
            Progress::Whole(request, _) => Route::find(&request),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_path_is_something_or_nothing() {
        let one = ServerId::new(1).unwrap();
        for (line, expected) in [
            ("GET /", Ok(Route::Status)),
            ("HEAD /?x", Ok(Route::Status)),
            ("GET /clients?from=500", Ok(Route::Clients(500))),
            ("GET /connections", Ok(Route::Connections(0))),
            ("GET /connections?from=x", Err(400)),
            ("GET /servers/1?clients=7", Ok(Route::Server(one, 7, 0))),
            ("POST /servers/1", Ok(Route::Change(one))),
            ("GET /servers/", Err(404)),
            ("GET /servers/99999999999999999999", Err(404)),
            ("GET /servers/1/", Err(404)),
            ("GET /explain?client=+192.0.2.1", Ok(Route::Explain(Some(String::from("192.0.2.1"))))),
            ("GET /api/clients", Ok(Route::ClientsJson(RECENT))),
            ("GET /api/clients?since=5", Ok(Route::ClientsJson(Duration::from_secs(5)))),
            ("GET /api/clients?since=-1", Err(400)),
            ("GET /favicon.ico", Ok(Route::Asset(Asset::Icon))),
            ("GET /nothing", Err(404)),
            ("GET //", Err(404)),
            ("POST /", Err(405)),
            ("DELETE /servers/1", Err(405)),
            ("POST /health", Err(405)),
        ] {
            assert_eq!(find(line), expected, "{line}");
        }
    }
}
