//! The integration tests: real clients, a real pen, real servers, all on the loopback interface.
//!
//! One crate, a module a topic. `harness` starts and watches the programs; nothing here sleeps where it can wait for
//! what it wants to see, and everything waited for has a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod addresses;
mod advice;
mod architecture;
mod checks;
mod command_line;
mod commands_at_start;
mod compat;
mod config_files;
mod connection_log;
mod control;
mod control_access;
mod control_places;
mod counters;
mod countries;
mod crowd;
mod daemon;
mod debug;
mod distribution;
mod dummy;
mod early_ends;
mod forwarded;
mod hup_under_load;
mod interrupted;
mod jail;
mod limits;
mod listen;
mod lvsmon;
mod maintenance;
mod manual;
mod memory;
mod mergelogs;
#[cfg(feature = "web")]
mod metrics;
mod migration;
mod names;
mod nginx;
mod one_log;
mod operators_log;
mod options;
mod packaging;
#[cfg(feature = "web")]
mod pages;
mod pair;
mod penctl;
mod penlog_network;
mod penlogd;
mod penlogd_service;
mod policy_properties;
mod proxy_chain;
mod proxy_protocol;
#[cfg(feature = "tls")]
mod proxy_protocol_tls;
mod random_commands;
mod relay;
mod reload;
mod reports;
mod request_log;
mod request_log_files;
mod requests;
mod rewriting;
mod selection;
mod service;
mod service_manager;
mod services;
mod signals;
mod source;
mod status_page;
mod steering;
mod syslog;
#[cfg(not(feature = "tls"))]
mod tls_absent;
#[cfg(feature = "tls")]
mod tls_client_certificates;
#[cfg(feature = "tls")]
mod tls_closing;
#[cfg(feature = "tls")]
mod tls_conversations;
#[cfg(feature = "tls")]
mod tls_handshakes;
#[cfg(feature = "tls")]
mod tls_idle;
#[cfg(feature = "tls")]
mod tls_leaks;
#[cfg(feature = "tls")]
mod tls_memory;
#[cfg(feature = "tls")]
mod tls_ocsp;
#[cfg(feature = "tls")]
mod tls_options;
#[cfg(feature = "tls")]
mod tls_pem;
#[cfg(feature = "tls")]
mod tls_proxy_protocol;
#[cfg(feature = "tls")]
mod tls_reload;
#[cfg(feature = "tls")]
mod tls_resumption;
#[cfg(feature = "tls")]
mod tls_server_ends;
#[cfg(feature = "tls")]
mod tls_servers;
#[cfg(feature = "tls")]
mod tls_servers_of_others;
#[cfg(feature = "tls")]
mod tls_sni;
mod top;
mod transcript;
mod udp_addresses;
mod udp_compat;
mod udp_crowd;
mod udp_failures;
mod udp_flows;
mod udp_icmp;
mod udp_leaks;
mod udp_moves;
mod udp_one_way;
mod udp_programs;
mod udp_reports;
mod udp_sizes;
mod udp_source;
mod udp_start;
mod udp_steering;
mod ways;
#[cfg(feature = "web")]
mod web;
#[cfg(not(feature = "web"))]
mod web_absent;
mod web_servers;
mod weblog;
mod written;
