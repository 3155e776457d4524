//! Floor 3: the threads, what they wait for and what they tell each other.

pub mod acceptor;
pub mod access_log;
pub mod complaints;
pub mod control;
pub mod datagrams;
pub mod detach;
pub mod dispatch;
pub mod events;
pub mod idle;
pub mod idlers;
pub mod latest;
pub mod live;
pub mod logger;
pub mod mailbox;
pub mod penlog;
pub mod penlogd;
pub mod permits;
pub mod pool;
pub mod reloader;
pub mod reporter;
pub mod resolver;
pub mod session;
pub mod signals;
pub mod startup;
pub mod supervisor;
pub mod thread;
