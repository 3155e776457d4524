//! Floor 1: pure decisions. No I/O, no threads, no clocks (`now` is an argument), no locks.

pub mod acl;
pub mod admission;
mod announced;
pub mod balancer;
pub mod clients;
pub mod command;
pub mod connections;
pub mod country;
pub mod facts;
pub mod flows;
mod handshakes;
pub mod hash;
pub mod http;
pub mod identity;
pub mod listeners;
pub mod lookups;
pub mod order;
pub mod pem;
pub mod proxy;
pub mod report;
pub mod select;
pub mod servers;
pub mod settings;
pub mod soundness;
pub mod tls;
pub mod udp;
pub mod weblog;
