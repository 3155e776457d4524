//! Floor 4: the programs as their users meet them. Arguments, usage, exit codes; no threads, no sockets.

pub mod balancer;
pub mod getopt;
