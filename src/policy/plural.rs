//! Numbers in messages.

/// A number with what is counted: `1 line`, `2 lines`.
pub fn counted(count: impl TryInto<u64>, one: &str, more: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_one() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "is", "are")), ["0 are", "1 is", "2 are"]);
    }
}
