//! CRC32C (RFC 9260 appendix A), the checksum of v2.

/// The polynomial, reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of these bytes. Headers are short, so that a table would not pay.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa, "RFC 3720 appendix B.4");
        assert_eq!(crc32c(b""), 0);
    }
}
