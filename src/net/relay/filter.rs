//! What looks at the bytes of one direction, or changes them, before they are passed on.

/// Sees the bytes of one direction, in the order in which they are read.
pub trait Filter {
    /// Takes bytes that were read. What it leaves in `bytes` is passed on.
    fn pass(&mut self, bytes: &mut Vec<u8>);

    /// How many of the bytes that come next need not be seen; [`u64::MAX`], none of them. They may be spliced. It is asked again before
    /// each read.
    fn unseen(&self) -> u64;

    /// So many of them were passed on unseen.
    fn skip(&mut self, _count: u64) {}

    /// The source has ended. What it adds to `bytes` is passed on before the end.
    fn end(&mut self, _bytes: &mut Vec<u8>) {}

    /// The session is to end now, and these bytes are to be the last that the client gets.
    fn verdict(&self) -> Option<&'static [u8]> {
        None
    }
}

/// One filter behind the other.
impl<A: Filter, B: Filter> Filter for (A, B) {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        self.0.pass(bytes);
        self.1.pass(bytes);
    }

    fn unseen(&self) -> u64 {
        self.0.unseen().min(self.1.unseen())
    }

    fn skip(&mut self, count: u64) {
        self.0.skip(count);
        self.1.skip(count);
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        let mut rest = Vec::new();
        self.0.end(&mut rest);
        if !rest.is_empty() {
            self.1.pass(&mut rest);
        }
        bytes.append(&mut rest);
        self.1.end(bytes);
    }

    fn verdict(&self) -> Option<&'static [u8]> {
        self.0.verdict().or_else(|| self.1.verdict())
    }
}

/// A filter that is there or not.
impl<F: Filter> Filter for Option<F> {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        if let Some(filter) = self {
            filter.pass(bytes);
        }
    }

    fn unseen(&self) -> u64 {
        self.as_ref().map_or(u64::MAX, Filter::unseen)
    }

    fn skip(&mut self, count: u64) {
        if let Some(filter) = self {
            filter.skip(count);
        }
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        if let Some(filter) = self {
            filter.end(bytes);
        }
    }

    fn verdict(&self) -> Option<&'static [u8]> {
        self.as_ref().and_then(Filter::verdict)
    }
}
