//! For how long the scheduler lets the calling thread run at a stretch: its slice. That is also what a thread gives up when it
//! lets others run.
//!
//! Newer kernels charge a thread that calls sched_yield(2) for all of its slice ("sched/fair: Forfeit vruntime on yield", 2025, in
//! 6.12 from 6.12.63 on): it runs again when the others have had as much. The usual slice is 1.4 ms with 2 cores and longer with
//! more. Since Linux 6.12 a thread may ask for one of its own (`sched_runtime`, sched_setattr(2)); before, the wish is ignored.

use std::time::Duration;

/// The slice of a thread while this lives; afterwards it is the usual one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    slice: Option<Duration>,
}

impl Pace {
    /// Asks for that slice. It is no more than a wish: whether it is granted does not matter to what the thread does.
    pub(super) fn keep(&mut self, slice: Duration) {
        if self.slice != Some(slice) {
            self.slice = Some(slice);
            ask(slice);
        }
    }

    /// The usual slice will do.
    pub(super) fn give_back(&mut self) {
        if self.slice.take().is_some() {
            ask(Duration::ZERO);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Zero: the usual slice.
#[cfg(feature = "slices")]
#[inline(never)]
fn ask(slice: Duration) {
    use uapi::c::{SCHED_BATCH, SCHED_OTHER};
    use uapi::{sched_getattr, sched_setattr};

    // The rest, such as the nice value, stays. To other policies the time means something else.
    if let Ok(mut attributes) = sched_getattr(0, 0) {
        if [SCHED_OTHER, SCHED_BATCH].contains(&(attributes.sched_policy as i32)) {
            attributes.sched_runtime = slice.as_nanos() as u64;
            // It fails where that is forbidden; then the usual slice has to do.
            let _ = sched_setattr(0, &attributes, 0);
        }
    }
}

#[cfg(not(feature = "slices"))]
fn ask(_: Duration) {}

#[cfg(feature = "slices")]
#[cfg(test)]
mod tests {
    use super::*;

    use uapi::{sched_getattr, sched_setattr};

    #[test]
    fn a_slice_is_the_threads_own_and_ends_with_its_pace() {
        // Every test has a thread of its own, so this is that thread's nice value only.
        let mut attributes = sched_getattr(0, 0).unwrap();
        let nice = (attributes.sched_nice + 1).min(19);
        attributes.sched_nice = nice;
        let Ok(()) = sched_setattr(0, &attributes, 0) else { return };

        let slice = || Duration::from_nanos(sched_getattr(0, 0).unwrap().sched_runtime);
        let (usual, wanted) = (slice(), Duration::from_micros(300));
        let mut pace = Pace::default();
        pace.keep(wanted);
        // Before Linux 6.12 no slice is told, nor granted.
        assert_eq!(slice(), if usual.is_zero() { usual } else { wanted });
        assert_eq!(sched_getattr(0, 0).unwrap().sched_nice, nice);
        drop(pace);
        assert_eq!(slice(), usual);
        assert_eq!(sched_getattr(0, 0).unwrap().sched_nice, nice);
    }
}
