//! The TLS handshake with a session's client.

use std::sync::Arc;
use std::time::Instant;

use super::worker::{Session, Worker};
use crate::daemon::events::{Event, Handshake};
use crate::net::dummy;
use crate::net::relay::stream::Stream;
use crate::net::tls::{Failure, Terminator};
use crate::policy::tls::HandshakeFault;
use crate::policy::weblog::connection::Ending;

impl Worker {
    /// The client's side of the session, and its handshake if TLS is spoken. `None`: the client does not speak it as it should.
    pub(super) fn meet<'a>(
        &self,
        session: &Session<'a>,
        terminator: Option<&Terminator>,
    ) -> Option<(Stream<'a>, Option<Handshake>)> {
        let Some(terminator) = terminator else { return Some((Stream::Plain(&session.link.client), None)) };
        let deadline = Instant::now() + session.settings.ssl.handshake_timeout;
        let outcome = terminator.accept(Arc::clone(&session.link.client), deadline);
        match outcome {
            Ok(tls) => {
                let handshake = Handshake { resumed: tls.is_resumed() };
                Some((Stream::Tls(Box::new(tls)), Some(handshake)))
            }
            Err(failure) => {
                // The supervisor is gone only when the process is about to end.
                let _ = self.events.send(Event::Handshake(Err(failure.fault)));
                self.refuse(session, &failure);
                None
            }
        }
    }

    fn refuse(&self, session: &Session<'_>, Failure { fault, text }: &Failure) {
        let Session { conn, link, .. } = *session;
        let client = session.address();
        session.trail.ends(Ending::Tls);
        match fault {
            // So do port scanners and simple health checks.
            HandshakeFault::Closed => {
                self.log.debug(2, || format!("connection {conn}: client {client}: no TLS: {text}"))
            }
            _ => self.complaints.tell(format_args!("client {client}: no TLS: {text}"), Instant::now()),
        }
        if *fault == HandshakeFault::PlainHttp {
            // Its end says nothing more.
            let _ = dummy::refuse(&mut Stream::Plain(&link.client));
        }
    }
}
