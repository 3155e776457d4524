//! The order of use of the slots of a table: doubly linked lists through the slots, so that moving one and finding the least recently
//! used cost the same whatever the size of the table.

use std::collections::TryReserveError;

/// The end of a list. No table is that large.
const NONE: u32 = u32::MAX;

/// `N` lists over the slots of one table. A slot is in one of them at most.
#[derive(Debug)]
pub struct Order<const N: usize> {
    lists: [List; N],
    links: Vec<Link>,
}

/// The ends of a list, and how many slots are in it.
#[derive(Clone, Copy, Debug)]
struct List {
    newest: u32,
    oldest: u32,
    count: usize,
}

/// The neighbours of a slot in its list; [`NONE`] at the ends.
#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
}

impl<const N: usize> Default for Order<N> {
    fn default() -> Self {
        Self { lists: [List { newest: NONE, oldest: NONE, count: 0 }; N], links: Vec::new() }
    }
}

impl<const N: usize> Order<N> {
    /// Has the memory ready for so many slots.
    pub fn try_reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.links.try_reserve_exact(slots.saturating_sub(self.links.len()))
    }

    /// As [`Order::try_reserve`]; a lack of memory is fatal.
    pub fn reserve(&mut self, slots: usize) {
        self.links.reserve_exact(slots.saturating_sub(self.links.len()));
    }

    /// Gives back what was reserved and is not needed for so many slots.
    pub fn shrink_to(&mut self, slots: usize) {
        self.links.shrink_to(slots);
    }

    /// How many slots are in that list.
    pub fn count(&self, list: usize) -> usize {
        self.lists[list].count
    }

    /// The slot of that list which was not used for the longest time.
    pub fn oldest(&self, list: usize) -> Option<u32> {
        Some(self.lists[list].oldest).filter(|slot| *slot != NONE)
    }

    /// Takes a slot out of its list.
    pub fn remove(&mut self, list: usize, slot: u32) {
        let Link { newer, older } = self.links[slot as usize];
        let list = &mut self.lists[list];
        list.count -= 1;
        match newer {
            NONE => list.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => list.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// Puts a slot that is in no list into that one, as the one used last.
    pub fn push(&mut self, list: usize, slot: u32) {
        let slots = self.links.len().max(slot as usize + 1);
        self.links.resize(slots, Link { newer: NONE, older: NONE });
        let list = &mut self.lists[list];
        list.count += 1;
        let older = std::mem::replace(&mut list.newest, slot);
        self.links[slot as usize] = Link { newer: NONE, older };
        match older {
            NONE => list.oldest = slot,
            older => self.links[older as usize].newer = slot,
        }
    }
}
