//! Changes that wait to be told to a program. Their number has a bound, and the last state of each service is never lost.

use std::collections::VecDeque;

/// Items that wait, each about a subject.
#[derive(Debug)]
pub struct Backlog<K, T> {
    waiting: VecDeque<(K, T)>,
    most: usize,
    left_out: u64,
}

impl<K: PartialEq, T> Backlog<K, T> {
    /// For that many items. There may be more only if all are about different subjects.
    pub fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), most, left_out: 0 }
    }

    /// Adds an item. If there is no room, the oldest one about the same subject gives way.
    pub fn push(&mut self, subject: K, item: T) {
        if self.waiting.len() >= self.most {
            if let Some(place) = self.waiting.iter().position(|(other, _)| *other == subject) {
                self.waiting.remove(place);
                self.left_out += 1;
            }
        }
        self.waiting.push_back((subject, item));
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<(K, T)> {
        self.waiting.pop_front()
    }

    /// How many have given way since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_room_the_oldest_about_the_same_subject_gives_way() {
        let mut backlog = Backlog::new(3);
        for (subject, item) in [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("c", 5), ("c", 6)] {
            backlog.push(subject, item);
        }
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(order, [("b", 2), ("a", 3), ("a", 4), ("c", 6)]);
        assert_eq!((backlog.take_left_out(), backlog.take_left_out()), (2, 0));
    }
}
