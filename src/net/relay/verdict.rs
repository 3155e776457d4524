//! The end of a session that a filter decides: its last words to the client.

use super::half::{Broken, Half, Sides};

/// Ends both halves, if the filter of `up` says so and all that is on its way down has arrived. `sides` are those of `down`.
pub(super) fn carry_out(
    (up, down): (&mut Half<'_>, &mut Half<'_>),
    sides: &mut Sides<'_, '_>,
    buffer: &mut Vec<u8>,
) -> Result<(), Broken> {
    let Some(last_words) = up.verdict().filter(|_| down.writing().is_empty()) else { return Ok(()) };
    up.discard();
    down.conclude(last_words);
    // The words, then the end.
    down.pump(sides, buffer, false)?;
    down.pump(sides, buffer, false)?;
    Ok(())
}
