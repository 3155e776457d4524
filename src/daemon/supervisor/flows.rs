//! Flows of datagrams: what their threads report and ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::{Running, Supervisor};
use crate::daemon::dispatch::{Answer, Ask, Dispatch, Ended, FlowLink, Grant, Reply};
use crate::daemon::pool::WorkerId;
use crate::daemon::session::job::Order;
use crate::error::reason;
use crate::id::ConnId;
use crate::net::connect::Fault;
use crate::policy::balancer::Choice;
use crate::policy::facts::ClientFacts;
use crate::policy::flows::Recheck;
use crate::policy::refusal::Refusal;

impl<F: Fn(WorkerId, Receiver<Order>) + Clone + Send + 'static> Supervisor<F> {
    /// Books what a thread reports, then answers it.
    pub(super) fn dispatch(&mut self, dispatch: Dispatch, now: Instant) {
        let Dispatch { ended, answered, silent, failed, asks, reply } = dispatch;
        for flow in ended {
            self.book(flow);
            self.balancer.flow_ended(flow.conn, now);
            self.balancer.close(flow.conn, now);
        }
        for conn in answered {
            if let Some(transition) = self.balancer.flow_answered(conn, now) {
                self.tell(&transition, "");
            }
        }
        for conn in silent {
            if let Some(transition) = self.balancer.flow_silent(conn, now) {
                let count = self.balancer.settings().udp.silence;
                self.tell(&transition, &format!("no answer to {count} new flows in a row"));
            }
        }
        for (target, error) in failed {
            let transition = match Fault::of(&error) {
                Fault::Server => self.balancer.target_failed(&target, now),
                Fault::Shortage | Fault::Local => {
                    self.cannot_connect(&reason(&error), now);
                    None
                }
            };
            if let Some(transition) = transition {
                self.tell(&transition, &reason(&error));
            }
        }
        let answers = asks.into_iter().map(|ask| self.answer(ask, now)).collect();
        if let Some(reply) = reply {
            let settings = Arc::clone(self.balancer.settings());
            // The thread waits for it, and is gone only when the process is about to end.
            let _ = reply.try_send(Reply { answers, settings, share: self.front.share() });
        }
    }

    fn answer(&mut self, ask: Ask, now: Instant) -> Answer {
        match ask {
            Ask::Begin(client) => self.begin_flow(client, now),
            Ask::Again(flow) => {
                self.book(flow);
                match self.balancer.recheck_flow(flow.conn, now) {
                    Recheck::Stays => Answer::Stays { makeshift: self.balancer.is_makeshift(flow.conn) },
                    Recheck::Moves(choice) => {
                        self.tell_choice(&"chooses again", flow.conn, &choice);
                        Answer::Goes(self.grant(flow.conn, choice))
                    }
                    Recheck::Refused(why) => self.turn_away(flow.conn, why),
                }
            }
            Ask::Failed { flow, error, answered } => self.fail_flow(flow, &error, answered, now),
            Ask::Pass { client, bytes, tried } => {
                let facts = ClientFacts::of(Some(client));
                match self.balancer.pass(facts.clone(), bytes as u64, &tried, now) {
                    Ok((choice, transition)) => {
                        if let Some(transition) = transition {
                            self.tell(&transition, "");
                        }
                        Answer::Goes(Grant::of(choice))
                    }
                    Err(why) => {
                        self.refuse(Some(client), &facts, why, now);
                        Answer::Refused
                    }
                }
            }
        }
    }

    fn begin_flow(&mut self, client: SocketAddr, now: Instant) -> Answer {
        let facts = ClientFacts::of(Some(client));
        match self.balancer.begin_flow(facts.clone(), now) {
            Err(why) => {
                self.refuse(Some(client), &facts, why, now);
                Answer::Refused
            }
            Ok((conn, choice)) => {
                self.tell_choice(&client, conn, &choice);
                let link = Arc::new(FlowLink::default());
                self.run_session(conn, Running { live: Arc::<FlowLink>::downgrade(&link), worker: None });
                let country = self.country(&facts);
                Answer::Goes(Grant { new: Some((conn, link)), country, ..self.grant(conn, choice) })
            }
        }
    }

    /// As [`Supervisor::fail`], for a flow.
    fn fail_flow(&mut self, flow: Ended, error: &io::Error, answered: bool, now: Instant) -> Answer {
        let fault = Fault::of(error);
        self.book(flow);
        if fault != Fault::Server {
            self.cannot_connect(&reason(error), now);
        }
        if fault == Fault::Shortage {
            self.balancer.leave_server(flow.conn, now);
            return self.turn_away(flow.conn, Refusal::Shortage);
        }
        let (next, transition) = self.balancer.fail_flow(flow.conn, answered, fault == Fault::Server, now);
        if let Some(transition) = transition {
            self.tell(&transition, &reason(error));
        }
        match next {
            Some(choice) => {
                self.tell_choice(&"failed over", flow.conn, &choice);
                Answer::Goes(self.grant(flow.conn, choice))
            }
            None => self.turn_away(flow.conn, Refusal::NoServer),
        }
    }

    /// Its thread ends the flow, and reports that.
    fn turn_away(&mut self, conn: ConnId, why: Refusal) -> Answer {
        self.balancer.refused(why);
        self.log.debug(1, || format!("connection {conn}: refused: {why}"));
        Answer::Refused
    }

    fn grant(&self, conn: ConnId, choice: Choice) -> Grant {
        Grant { makeshift: self.balancer.is_makeshift(conn), ..Grant::of(choice) }
    }

    fn book(&mut self, Ended { conn, counts: (sent, received) }: Ended) {
        self.balancer.account(conn, sent, received);
    }
}
