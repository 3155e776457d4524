//! Things that wait to be taken, found by a key in constant time, the oldest first.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Entries of the order that may be out of date before it is cleaned up, beside as many as there are things.
const STALE: usize = 64;

/// So many things of one key are looked at, the oldest ones. Those of one key are equal, but for requests whose first 900 bytes are: to
/// compare so many of these takes some microseconds, as the rest of the work for a line does.
const LOOKS: usize = 64;

/// Things that wait. Two of one key are kept in the order in which they came.
#[derive(Debug)]
pub struct Waiting<T> {
    queues: HashMap<u64, VecDeque<(u64, T)>>,
    /// When each came, with its key and its number; also of things that were taken since.
    order: VecDeque<(Instant, u64, u64)>,
    count: usize,
    /// The number of the next one.
    next: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), order: VecDeque::new(), count: 0, next: 0 }
    }
}

impl<T> Waiting<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one. `now` must not be before that of an earlier call.
    pub fn push(&mut self, now: Instant, key: u64, thing: T) {
        // Most keys have one thing, and room for more costs more than the thing.
        let queue = self.queues.entry(key).or_insert_with(|| VecDeque::with_capacity(1));
        queue.push_back((self.next, thing));
        self.order.push_back((now, key, self.next));
        self.next += 1;
        self.count += 1;
        if self.order.len() > 2 * self.count + STALE {
            let queues = &self.queues;
            self.order.retain(|(_, key, number)| place(queues, *key, *number).is_some());
        }
    }

    /// Takes the oldest one of a key that fits, if it is one of the oldest 64 of that key.
    pub fn take(&mut self, key: u64, fits: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.queues.get(&key)?.iter().take(LOOKS).position(|(_, thing)| fits(thing))?;
        self.remove(key, place)
    }

    /// When the oldest one came.
    pub fn oldest(&mut self) -> Option<Instant> {
        while let Some((time, key, number)) = self.order.front() {
            if place(&self.queues, *key, *number).is_some() {
                return Some(*time);
            }
            self.order.pop_front();
        }
        None
    }

    /// Takes the oldest one of all.
    pub fn pop(&mut self) -> Option<T> {
        self.oldest()?;
        let (_, key, number) = self.order.pop_front()?;
        self.remove(key, place(&self.queues, key, number)?)
    }

    fn remove(&mut self, key: u64, place: usize) -> Option<T> {
        let queue = self.queues.get_mut(&key)?;
        let (_, thing) = queue.remove(place)?;
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        self.count -= 1;
        Some(thing)
    }
}

/// Where in the queue of its key a thing is, if it still waits.
fn place<T>(queues: &HashMap<u64, VecDeque<(u64, T)>>, key: u64, number: u64) -> Option<usize> {
    queues.get(&key)?.binary_search_by_key(&number, |(number, _)| *number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn it_does_what_a_list_does(steps in vec((0u8..4, 0u64..3, 0u8..3), 0..400)) {
            let start = Instant::now();
            let (mut waiting, mut list) = (Waiting::default(), Vec::new());
            for (count, (what, key, kind)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(count as u64);
                match what {
                    0 | 1 => {
                        waiting.push(now, key, (kind, count));
                        list.push((now, key, (kind, count)));
                    }
                    2 => {
                        let own = list.iter().enumerate().filter(|(_, (_, other, _))| *other == key).take(LOOKS);
                        let place = own.filter(|(_, (_, _, (fits, _)))| *fits == kind).map(|(place, _)| place).next();
                        let expected = place.map(|place| list.remove(place).2);
                        prop_assert_eq!(waiting.take(key, |(fits, _)| *fits == kind), expected);
                    }
                    _ => {
                        prop_assert_eq!(waiting.oldest(), list.first().map(|(time, ..)| *time));
                        let expected = (!list.is_empty()).then(|| list.remove(0).2);
                        prop_assert_eq!(waiting.pop(), expected);
                    }
                }
                prop_assert_eq!((waiting.len(), waiting.is_empty()), (list.len(), list.is_empty()));
                prop_assert!(waiting.queues.values().all(|queue| !queue.is_empty()));
            }
        }
    }

    #[test]
    fn many_of_one_key_do_not_take_long() {
        let (now, looks) = (Instant::now(), std::cell::Cell::new(0));
        let mut waiting = Waiting::default();
        (0..100_000).for_each(|n| waiting.push(now, 0, n));
        let mut take = |wanted| {
            looks.set(0);
            let fits = |n: &usize| (looks.set(looks.get() + 1), *n == wanted).1;
            (waiting.take(0, fits), looks.get())
        };
        assert_eq!(
            [take(LOOKS - 1), take(LOOKS + 1), take(0)],
            [(Some(LOOKS - 1), LOOKS), (None, LOOKS), (Some(0), 1)]
        );
    }

    #[test]
    fn things_that_were_taken_need_no_memory_behind_one_that_stays() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        waiting.push(now, 0, 'a');
        for key in 1..10_000 {
            waiting.push(now, key, 'b');
            assert_eq!(waiting.take(key, |_| true), Some('b'));
        }
        assert!(waiting.order.len() <= 2 * waiting.len() + STALE + 2, "{}", waiting.order.len());
        assert_eq!((waiting.queues.len(), waiting.pop()), (1, Some('a')));
    }
}
