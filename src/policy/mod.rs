//! Floor 1: pure decisions. No I/O, no threads, no clocks (`now` is an argument), no locks.

pub mod acl;
pub mod answers;
pub mod balancer;
pub mod change;
pub mod clients;
pub mod command;
pub mod commands;
pub mod configure;
pub mod connections;
pub mod country;
pub mod explain;
pub mod file;
pub mod identity;
pub mod json;
pub mod page;
pub mod query;
pub mod report;
pub mod select;
pub mod servers;
pub mod settings;
pub mod words;
