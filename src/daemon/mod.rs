//! Floor 3: the threads, what they wait for and what they tell each other.

pub mod acceptor;
mod administration;
pub mod claims;
pub mod clerk;
pub mod control;
mod countries;
pub mod detach;
pub mod event;
pub mod idlers;
pub mod logger;
pub mod permits;
pub mod plan;
pub mod pool;
pub mod post;
pub mod reading;
pub mod recorder;
pub mod recording;
pub mod session;
pub mod signals;
pub mod startup;
pub mod steering;
pub mod supervisor;
