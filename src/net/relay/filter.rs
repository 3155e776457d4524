//! What looks at the bytes of one direction, or changes them, before they are passed on.

/// Sees the bytes of one direction, in the order in which they are read.
pub trait Filter {
    /// Takes bytes that were read. What it leaves in `bytes` is passed on.
    fn pass(&mut self, bytes: &mut Vec<u8>);

    /// Whether the bytes that come next need not be seen. They may be spliced then. It is asked again before each read.
    fn is_done(&self) -> bool;
}

/// One filter behind the other.
impl<A: Filter, B: Filter> Filter for (A, B) {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        self.0.pass(bytes);
        self.1.pass(bytes);
    }

    fn is_done(&self) -> bool {
        self.0.is_done() && self.1.is_done()
    }
}

/// A filter that is there or not.
impl<F: Filter> Filter for Option<F> {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        if let Some(filter) = self {
            filter.pass(bytes);
        }
    }

    fn is_done(&self) -> bool {
        self.as_ref().is_none_or(Filter::is_done)
    }
}
