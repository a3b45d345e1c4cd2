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
    /// The body becomes far longer than it came, as bodies with something in them do not.
    #[error("compressed body inflates to more than {max_ratio} times its length")]
    TooDense {
        /// The limit in force.
        max_ratio: u32,
    },
    /// The crate was built without the feature `gzip`.
    #[error("compressed bodies are not supported by this build")]
    Unsupported,
}

/// How much a compressed body may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In bytes.
    pub(crate) max: usize,
    /// Above [`ANY_RATIO`] bytes.
    pub(crate) max_ratio: Option<u32>,
}

/// Whatever its length, a body may inflate to so many bytes: short ones that say the same again
/// and again are shorter by any factor, and cost little.
#[cfg_attr(
    not(feature = "gzip"),
    expect(dead_code, reason = "nothing is inflated")
)]
const ANY_RATIO: usize = 64 * 1024;

/// The plain form of `data` that may be a zlib (RFC 1950) or gzip (RFC 1952) stream; anything
/// else is answered as it is, since pomelo carries the flag without compressing. Memory grows
/// with what is inflated and stops at `max` bytes, or, above 64 KiB, where `max_ratio` times as
/// many bytes have come out as went in.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(
    data: &[u8],
    max: usize,
    max_ratio: Option<u32>,
) -> Result<Cow<'_, [u8]>, InflateError> {
    inflate_counted(data, Limits { max, max_ratio }, &mut 0)
}

/// [`inflate`] that adds to `made` how many bytes came out, of what fails as well.
pub(crate) fn inflate_counted<'a>(
    data: &'a [u8],
    limits: Limits,
    made: &mut usize,
) -> Result<Cow<'a, [u8]>, InflateError> {
    match Envelope::of(data) {
        None => Ok(Cow::Borrowed(data)),
        Some(envelope) => inflate_stream(data, envelope, limits, made).map(Cow::Owned),
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
fn inflate_stream(
    data: &[u8],
    envelope: Envelope,
    limits: Limits,
    made: &mut usize,
) -> Result<Vec<u8>, InflateError> {
    use flate2::bufread::{GzDecoder, ZlibDecoder};

    let mut plain = Vec::new();
    let read = match envelope {
        Envelope::Zlib => read(
            ZlibDecoder::new(data),
            |decoder| data.len() - decoder.get_ref().len(),
            limits,
            &mut plain,
        ),
        Envelope::Gzip => read(
            GzDecoder::new(data),
            |decoder| data.len() - decoder.get_ref().len(),
            limits,
            &mut plain,
        ),
    };
    *made += plain.len();
    read.map(|()| plain)
}

/// Looks at the limits again and again, so that little is made of what breaks them.
#[cfg(feature = "gzip")]
fn read<D: std::io::Read>(
    mut decoder: D,
    taken: impl Fn(&D) -> usize,
    limits: Limits,
    plain: &mut Vec<u8>,
) -> Result<(), InflateError> {
    use std::io::Read as _;

    const STEP: usize = 16 * 1024;

    loop {
        let room = limits.max.saturating_sub(plain.len()).saturating_add(1);
        let step = room.min(STEP) as u64;
        let read = decoder.by_ref().take(step).read_to_end(plain);
        let read = read.map_err(|_| InflateError::Damaged)?;
        if plain.len() > limits.max {
            return Err(InflateError::TooLarge { max: limits.max });
        }
        if let Some(max_ratio) = limits.max_ratio
            && plain.len() > ANY_RATIO
            && plain.len() as u64 > (taken(&decoder) as u64).saturating_mul(max_ratio.into())
        {
            return Err(InflateError::TooDense { max_ratio });
        }
        if (read as u64) < step {
            return Ok(());
        }
    }
}

#[cfg(not(feature = "gzip"))]
fn inflate_stream(
    _: &[u8],
    _: Envelope,
    _: Limits,
    _: &mut usize,
) -> Result<Vec<u8>, InflateError> {
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

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::read::GzEncoder::new(plain, flate2::Compression::best());
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut gzip, &mut packed).expect("memory never fails");
        packed
    }

    #[test]
    fn both_envelopes_are_read_and_plain_bodies_pass() {
        let plain = b"{\"a\":1}".repeat(50);
        let zlib = deflate(&plain).unwrap();
        assert_eq!(inflate(&zlib, 1000, Some(1)).unwrap(), plain);
        assert_eq!(inflate(&gzip(&plain), 1000, Some(1)).unwrap(), plain);
        assert!(matches!(
            inflate(b"{}", 1, Some(0)),
            Ok(Cow::Borrowed(b"{}"))
        ));
        // Exactly as long as the limit, or as a step.
        for len in [0, 1, 350, 16 << 10, 48 << 10, 100 << 10] {
            let plain = vec![b'x'; len];
            let packed = gzip(&plain);
            assert_eq!(inflate(&packed, len, None).unwrap(), plain);
            let over = inflate(&packed, len.saturating_sub(1), None);
            assert_eq!(over.is_err(), len > 0, "{len}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflate(&vec![0; 10 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        assert_eq!(
            inflate(&bomb, 4096, None),
            Err(InflateError::TooLarge { max: 4096 })
        );
        assert_eq!(
            inflate(&bomb[..bomb.len() / 2], 20 << 20, None),
            Err(InflateError::Damaged)
        );
    }

    #[test]
    fn a_bomb_is_seen_before_it_is_large() {
        let zeros = vec![0; 10 << 20];
        for bomb in [deflate(&zeros).unwrap(), gzip(&zeros)] {
            let limits = Limits {
                max: 20 << 20,
                max_ratio: Some(100),
            };
            let mut made = 0;
            assert_eq!(
                inflate_counted(&bomb, limits, &mut made),
                Err(InflateError::TooDense { max_ratio: 100 })
            );
            assert!((ANY_RATIO..2 * ANY_RATIO).contains(&made), "{made}");
        }
        // However dense, up to there it is nobody's business.
        let short = deflate(&zeros[..ANY_RATIO]).unwrap();
        assert!(inflate(&short, 1 << 20, Some(1)).is_ok());
        // A long list of much the same, as games have them.
        let list: String = (0..10_000)
            .map(|n| format!(r#"{{"itemId":1,"count":1,"bind":false,"slot":{n}}},"#))
            .collect();
        let packed = gzip(list.as_bytes());
        assert!(list.len() > 10 * packed.len());
        assert_eq!(
            inflate(&packed, 1 << 20, Some(100)).unwrap(),
            list.as_bytes()
        );
    }

    #[test]
    fn what_does_not_shrink_is_not_packed() {
        assert_eq!(deflate(b"{}"), None);
    }
}
