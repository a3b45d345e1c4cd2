//! The default choice of a backend server for a user, as pomelo makes it.
//!
//! pomelo 2.2.7's templates route a session to `servers[|crc32(uid)| % servers.length]` with crc
//! 0.2.0, a CRC-32 (IEEE) that sees only the low byte of every UTF-16 unit and whose result is a
//! signed 32-bit integer. A server that takes over from pomelo must choose alike, or users end up
//! on two servers at once.

/// CRC-32 over the low byte of every UTF-16 unit of `text`, as the signed integer that JavaScript
/// makes of it.
///
/// ```
/// assert_eq!(pomelo_protocol::crc32::crc32("user1"), -1_940_814_507);
/// ```
pub fn crc32(text: &str) -> i32 {
    let mut register = !0_u32;
    for unit in text.encode_utf16() {
        let [low, _] = unit.to_le_bytes();
        register ^= u32::from(low);
        for _ in 0..8 {
            // The reflected polynomial of IEEE 802.3.
            let feedback = 0xedb8_8320 & (register & 1).wrapping_neg();
            register = (register >> 1) ^ feedback;
        }
    }
    (!register).cast_signed()
}

/// Which of `servers` servers `key` belongs to: `|crc32(key)| mod servers`. `None` without any.
///
/// ```
/// assert_eq!(pomelo_protocol::crc32::index("user1", 5), Some(2));
/// assert_eq!(pomelo_protocol::crc32::index("user1", 0), None);
/// ```
pub fn index(key: &str, servers: usize) -> Option<usize> {
    let hash = usize::try_from(crc32(key).unsigned_abs()).ok()?;
    hash.checked_rem(servers)
}
