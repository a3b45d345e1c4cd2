//! Compressed bodies: what the flag 0x10 means to pitaya, bounded.

use std::borrow::Cow;

/// Why a compressed body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// The stream begins like zlib or gzip but is damaged or cut.
    #[error("compressed body is damaged")]
    Damaged,
    /// The body would be longer than the limit once inflated.
    #[error("compressed body is over {max} bytes once inflated")]
    TooLarge {
        /// The limit in force, in bytes.
        max: usize,
    },
    /// The crate was built without the feature `gzip`.
    #[error("compressed bodies are not supported by this build")]
    Unsupported,
}

/// The plain form of `data` that may be a zlib (RFC 1950) or gzip (RFC 1952) stream; anything
/// else is answered as it is, since pomelo carries the flag without compressing. Memory grows
/// with what is inflated and stops at `max` bytes.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(data: &[u8], max: usize) -> Result<Cow<'_, [u8]>, InflateError> {
    match Envelope::of(data) {
        None => Ok(Cow::Borrowed(data)),
        Some(envelope) => inflate_stream(data, envelope, max).map(Cow::Owned),
    }
}

#[derive(Clone, Copy)]
enum Envelope {
    Zlib,
    Gzip,
}

impl Envelope {
    fn of(data: &[u8]) -> Option<Self> {
        match *data {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // Deflate with any window, and the head's check: a multiple of 31.
            [cmf, flags, ..]
                if cmf & 0x0f == 8
                    && cmf >> 4 <= 7
                    && u16::from_be_bytes([cmf, flags]).is_multiple_of(31) =>
            {
                Some(Self::Zlib)
            }
            _ => None,
        }
    }
}

#[cfg(feature = "gzip")]
fn inflate_stream(data: &[u8], envelope: Envelope, max: usize) -> Result<Vec<u8>, InflateError> {
    use std::io::Read as _;

    let limit = (max as u64).saturating_add(1);
    let mut plain = Vec::new();
    let read = match envelope {
        Envelope::Zlib => flate2::read::ZlibDecoder::new(data)
            .take(limit)
            .read_to_end(&mut plain),
        Envelope::Gzip => flate2::read::GzDecoder::new(data)
            .take(limit)
            .read_to_end(&mut plain),
    };
    read.map_err(|_| InflateError::Damaged)?;
    if plain.len() > max {
        return Err(InflateError::TooLarge { max });
    }
    Ok(plain)
}

#[cfg(not(feature = "gzip"))]
fn inflate_stream(_: &[u8], _: Envelope, _: usize) -> Result<Vec<u8>, InflateError> {
    Err(InflateError::Unsupported)
}

/// The zlib form of `plain`, the one pitaya sends, when it is shorter; `None` otherwise.
#[cfg(feature = "gzip")]
pub(crate) fn deflate(plain: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;

    let out = Vec::with_capacity(plain.len() / 2);
    let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder
        .finish()
        .ok()
        .filter(|packed| packed.len() < plain.len())
}

#[cfg(not(feature = "gzip"))]
pub(crate) fn deflate(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use super::*;

    #[test]
    fn both_envelopes_are_read_and_plain_bodies_pass() {
        let plain = b"{\"a\":1}".repeat(50);
        let zlib = deflate(&plain).unwrap();
        assert_eq!(inflate(&zlib, 1000).unwrap(), plain);
        let mut gzip = flate2::read::GzEncoder::new(&plain[..], flate2::Compression::best());
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut gzip, &mut packed).unwrap();
        assert_eq!(inflate(&packed, 1000).unwrap(), plain);
        assert!(matches!(inflate(b"{}", 1), Ok(Cow::Borrowed(b"{}"))));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflate(&vec![0; 10 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        assert_eq!(
            inflate(&bomb, 4096),
            Err(InflateError::TooLarge { max: 4096 })
        );
        assert_eq!(
            inflate(&bomb[..bomb.len() / 2], 20 << 20),
            Err(InflateError::Damaged)
        );
    }

    #[test]
    fn what_does_not_shrink_is_not_packed() {
        assert_eq!(deflate(b"{}"), None);
    }
}
