//! pen, a load balancer for TCP.
//!
//! An accept thread hands each client to the supervisor; the supervisor, the only owner of the client table, the server
//! table and the blacklist, decides which server it gets and gives the socket to an idle worker of a bounded pool; the
//! worker connects, copies both ways until both ends are done, and reports back. The control port talks to the supervisor
//! through the same mailbox. Nothing is async.
//!
//! ```text
//!               permits (conn_max of them: no permit, no accept)
//!             ┌──────────────────────────────────────────────────┐
//!             v                                                  │
//!  listener ─ acceptor ──Event::Arrived──> supervisor ──Order──> worker 1..conn_max ── server
//!                                           ^ ^ ^ │   (most recently idle first)  │
//!  control port ─ a thread a client ────────┘ │ │ └──Retry/Refuse── Order ────────┤
//!  HUP ── signals ── reloader ─Event::Commands┘ └─────Event::Failed / Closed──────┘
//!  USR1 ── signals ── reporter ── pages of the tables, one at a time
//!  TERM ── signals ── Event::Signal
//!                                           messages ──> logger (stderr, syslog)      every thread sends here
//!                                           requests ──> access log                   workers send here
//! ```
//!
//! `src/README.md` tells how a byte, a command and a HUP go through these files.
//!
//! # Floors
//!
//! Imports point down, and no two files import each other; `tests/architecture.rs` holds them to it.
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 4 | [`cli`] | one file a program: arguments, usage, terminal output, exit codes |
//! | 3 | [`daemon`] | everything that spawns, waits, joins |
//! | 2 | [`net`] | blocking I/O on sockets: listen, connect, TLS, the relay, names, the control port's lines |
//! | 2 | [`sys`] | this host: files, privileges, limits, the clock, syslog, log destinations |
//! | 1 | [`policy`] | pure decisions: which server, who gets in, the command language, reports, requests |
//! | 0 | [`endpoint`], [`id`], [`error`] | the words that every floor uses |
//!
//! # Invariants
//!
//! 1. No unsafe code. System calls come through `rustix` and `nix`.
//! 2. One mutator: [`Balancer::apply`](policy::balancer::Balancer::apply). Options, `-O`, files, the control port and HUP all
//!    become the same [`Command`](policy::command::Command). Its inverse is `Balancer::to_commands`, which `write` prints.
//!    Laws: `parse(display(c)) == c`, and replaying `to_commands()` gives the same configuration.
//! 3. The supervisor never blocks, and never does work that grows with the number of clients: not on a worker, a disk, DNS, or
//!    for a report. A thread that wants a report gets copies of pages of the tables, and renders them itself.
//! 4. Every blocking call has a deadline or a named way to be woken. TERM works on an idle pen at once, since the
//!    supervisor is the main thread: when it returns the process ends. EINTR is no error.
//! 5. Back-pressure is not accepting. Nothing queues without a bound in bytes, and a slow peer costs its own session only.
//! 6. A panic in a session ends that session. The end of any other thread ends the process with a non-zero status.
//! 7. What can fail at start fails before any client is accepted, on stderr, with a non-zero exit status; in the background,
//!    too.
//! 8. No input from the network can panic, allocate without a bound, or stall another client.
//! 9. Threads start after the fork. Privileges drop in this order: chroot, chdir, groups, gid, uid, capabilities; then a check
//!    that they cannot come back.

pub mod cli;
pub mod daemon;
pub mod endpoint;
pub mod error;
pub mod id;
pub mod net;
pub mod policy;
pub mod sys;
