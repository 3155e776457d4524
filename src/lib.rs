//! pen, a load balancer for simple TCP and UDP protocols.
//!
//! An accept thread hands each client to the supervisor; the supervisor, the only owner of the client table, the server
//! table and the blacklist, decides which server it gets and gives the socket to an idle worker of a bounded pool; the
//! worker connects, copies both ways until both ends are done, and reports back. Signals and the control port talk to the
//! supervisor through the same channel. Nothing is async.
//!
//! ```text
//!               permits (conn_max of them: no permit, no accept)
//!             ┌──────────────────────────────────────────────────┐
//!             v                                                  │
//!  listener ─ acceptor ──Event::Arrived──> supervisor ──Order──> worker 1..conn_max ── server
//!                                           ^ ^ ^ ^ │  (most recently idle first)   │
//!  control socket ─ control ─Event::Commands┘ │ │ │ └──Retry/Refuse── order ────────┤
//!  HUP USR1 TERM ── signals ──Event::Signal───┘ │ └─────Event::Failed / Closed──────┘
//!  files ────────── clerk ────Event::Commands───┘
//!                                           └── lines ──> logger (stderr, syslog)   [everybody sends here]
//!                                             requests ──> recorder (request log)   [workers send here]
//! ```
//!
//! # Floors
//!
//! Imports point down; `tests/architecture.rs` holds them to it.
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 4 | [`cli`] | one file a program: arguments, usage, terminal output, exit codes |
//! | 3 | [`daemon`] | everything that spawns, waits, selects, joins |
//! | 2 | [`net`] | blocking I/O: sockets, the relay, the control port's bytes, names, files, privileges, the wall clock, syslog |
//! | 1 | [`policy`] | pure decisions: which server, who is remembered, the command language, answers, reports |
//! | 0 | [`endpoint`], [`id`], [`error`] | the words that every floor uses |
//!
//! # Invariants
//!
//! 1. No unsafe code. System calls come through `rustix`, `nix` and `uapi`.
//! 2. One mutator: [`Balancer::apply`](policy::balancer::Balancer::apply). Options, `-O`, files, the control port and HUP all
//!    become the same [`Command`](policy::command::Command); what it asks of the world outside is an
//!    [`Effect`](policy::configure::Effect). Its inverse is `Balancer::to_commands`, which `write` prints. Laws:
//!    `parse(display(c)) == c`, and replaying `to_commands()` gives the same configuration.
//! 3. The supervisor never blocks: not on a worker, not on a disk, not on DNS, not on a client of the control port.
//! 4. Every blocking call has a deadline or a named way to be woken. TERM works on an idle pen at once, since the
//!    supervisor is the main thread: when it returns the process ends.
//! 5. Back-pressure is not accepting. Nothing queues without a bound, and a slow peer costs its own session only.
//! 6. A panic in a session ends that session; the end of the supervisor, the acceptor, the signal thread or the control
//!    thread ends the process with a non-zero status.
//! 7. What can fail at start fails before any client is accepted, on stderr, with a non-zero exit status; in the background,
//!    too.
//! 8. No input from the network can panic, allocate without a bound, or stall another client.

pub mod cli;
pub mod daemon;
pub mod endpoint;
pub mod error;
pub mod id;
pub mod net;
pub mod policy;
pub mod sys;
