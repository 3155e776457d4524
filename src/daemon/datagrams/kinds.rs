//! What the name of a socket stands for, by its two highest bits. Flows have none of them, and have names of 62 bits.

pub(super) const MASK: u64 = 3 << 62;
pub(super) const PASSAGE: u64 = 1 << 62;
pub(super) const DOOR: u64 = 2 << 62;
