//! Running sessions, as the supervisor sees them.

use std::fmt::Debug;

use crate::policy::http::counts::Counts;
use crate::policy::report::SocketStats;

/// What the supervisor can see and do of a running session, whatever that is made of. It holds it weakly, so that what the session
/// owns is gone when the session ends.
pub trait Live: Debug + Send + Sync {
    /// Ends the session.
    fn close(&self);

    /// Takes the bytes that were not accounted yet: to the server, and from it.
    fn take_counts(&self) -> (u64, u64);

    /// Takes the HTTP requests that were not counted yet.
    fn take_requests(&self) -> Counts;

    /// What reports show of its sockets.
    fn socket_stats(&self) -> SocketStats;
}
