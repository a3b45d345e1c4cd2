//! Integers on the wire: base 128, low group first, in the range of JavaScript's numbers
//! (pomelo-protobuf 0.4.0 codec.js computes in doubles).

use super::error::DecodeErrorKind;

/// 2^53 - 1: the largest integer whose neighbours a double can still tell apart.
pub(super) const MAX_UINT: u64 = (1 << 53) - 1;
/// 2^52: the largest magnitude whose zigzag form is still exact in a double.
pub(super) const MAX_SINT: u64 = 1 << 52;

const MORE: u8 = 0x80;
const GROUP: u8 = 0x7f;
/// The longest varint of 64 bits.
const MAX_LEN: usize = 10;
/// Groups that are added up in an integer: 56 bits.
const EXACT_GROUPS: usize = 8;

/// Appends `value`.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(byte) if byte < MORE => out.push(byte),
        _ => {
            let (bytes, len) = bytes(value);
            out.extend_from_slice(bytes.get(..len).unwrap_or_default());
        }
    }
}

/// Replaces the `width` bytes at `at` by `value`, moving what follows if the width differs.
#[inline]
pub(super) fn patch(out: &mut Vec<u8>, at: usize, width: usize, value: usize) {
    let (bytes, len) = bytes(value as u64);
    let bytes = bytes.get(..len).unwrap_or_default();
    if len == width {
        if let Some(place) = out.get_mut(at..at + width) {
            place.copy_from_slice(bytes);
        }
    } else {
        out.splice(at..at + width, bytes.iter().copied());
    }
}

/// The number of bytes `value` takes.
pub(super) fn width(value: usize) -> usize {
    bytes(value as u64).1
}

pub(super) fn bytes(mut value: u64) -> ([u8; MAX_LEN], usize) {
    let mut bytes = [0; MAX_LEN];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        #[expect(clippy::cast_possible_truncation, reason = "the seven lowest bits")]
        let group = value as u8 & GROUP;
        value >>= 7;
        if value == 0 {
            *byte = group;
            break;
        }
        *byte = group | MORE;
    }
    (bytes, len)
}

/// The zigzag form of a non-negative or a negative number.
#[inline]
pub(super) fn zigzag(magnitude: u64, negative: bool) -> u64 {
    if negative {
        magnitude * 2 - 1
    } else {
        magnitude * 2
    }
}

/// An unsigned integer as read: exact up to 2^53, above it the double a JavaScript peer would get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Uint {
    Exact(u64),
    Big(f64),
}

/// A cursor over a body. The only place that splits slices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'de> {
    rest: &'de [u8],
}

impl<'de> Reader<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<Uint, DecodeErrorKind> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < MORE => {
                self.rest = rest;
                Ok(Uint::Exact(u64::from(byte)))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<Uint, DecodeErrorKind> {
        let mut value = 0_u64;
        let mut big = None;
        let mut scale = 1.0;
        for (index, &byte) in self.rest.iter().enumerate() {
            let group = byte & GROUP;
            if index < EXACT_GROUPS {
                value |= u64::from(group) << (7 * index);
            } else if group != 0 {
                // Added group by group like codec.js, so that even the rounding is the same.
                big = Some(big.unwrap_or(value as f64) + f64::from(group) * scale);
            }
            if index + 1 == EXACT_GROUPS {
                scale = (1_u64 << 56) as f64;
            } else if index + 1 > EXACT_GROUPS {
                scale *= 128.0;
            }
            if byte < MORE {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(match big {
                    None if value <= MAX_UINT + 1 => Uint::Exact(value),
                    _ => Uint::Big(big.unwrap_or(value as f64)),
                });
            }
        }
        Err(DecodeErrorKind::Cut)
    }

    /// The tag of a head.
    #[inline]
    pub(super) fn head(&mut self) -> Result<u64, DecodeErrorKind> {
        Ok(match self.varint()? {
            Uint::Exact(head) => head >> 3,
            Uint::Big(_) => MAX_UINT,
        })
    }

    /// A length or a count. One too large for memory is larger than any body, too.
    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, DecodeErrorKind> {
        Ok(match self.varint()? {
            Uint::Exact(value) => usize::try_from(value).unwrap_or(usize::MAX),
            Uint::Big(_) => usize::MAX,
        })
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'de [u8], DecodeErrorKind> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeErrorKind::Cut)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeErrorKind> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeErrorKind::Cut)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The bytes behind a length.
    #[inline]
    pub(super) fn prefixed(&mut self) -> Result<&'de [u8], DecodeErrorKind> {
        let len = self.length()?;
        self.take(len)
    }

    pub(super) fn skip_varints(&mut self, count: usize) -> Result<(), DecodeErrorKind> {
        if count == 0 {
            return Ok(());
        }
        let last = self
            .rest
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| byte < MORE)
            .nth(count - 1);
        let (index, _) = last.ok_or(DecodeErrorKind::Cut)?;
        self.rest = self.rest.get(index + 1..).unwrap_or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{DecodeErrorKind, MAX_UINT, Reader, Uint, bytes, patch, put, width};

    fn read(bytes: &[u8]) -> Result<Uint, DecodeErrorKind> {
        Reader::new(bytes).varint()
    }

    #[test]
    fn exact_to_the_edge_of_doubles() {
        for value in [
            0,
            1,
            127,
            128,
            16383,
            16384,
            1 << 32,
            MAX_UINT,
            MAX_UINT + 1,
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(read(&out), Ok(Uint::Exact(value)));
            assert_eq!(out.len(), bytes(value).1);
        }
        assert_eq!(
            read(&[0x85, 0x80, 0x80, 0x00]),
            Ok(Uint::Exact(5)),
            "overlong forms count"
        );
        assert_eq!(
            read(&[0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
            Ok(Uint::Exact(5))
        );
    }

    #[test]
    fn above_it_the_double_of_the_original() {
        let mut ones = [0xff; 10];
        ones[9] = 0x01;
        assert_eq!(read(&ones), Ok(Uint::Big(18_446_744_073_709_552_000.0)));
        let mut twelve = [0xff; 12];
        twelve[11] = 0x01;
        assert_eq!(read(&twelve), Ok(Uint::Big(3.022_314_549_036_573e23)));
        assert_eq!(read(&[0xff; 200]), Err(DecodeErrorKind::Cut));
    }

    #[test]
    fn a_patch_moves_what_follows() {
        let mut out = b"ab\0cd".to_vec();
        patch(&mut out, 2, 1, 5);
        assert_eq!(out, b"ab\x05cd");
        patch(&mut out, 2, 1, 300);
        assert_eq!(out, b"ab\xac\x02cd");
        patch(&mut out, 2, 2, 7);
        assert_eq!(out, b"ab\x07cd");
        assert_eq!([width(127), width(128)], [1, 2]);
    }

    #[test]
    fn skipping_counts_last_bytes() {
        let mut reader = Reader::new(&[0x01, 0x80, 0x01, 0x05, 0x80]);
        assert_eq!(reader.skip_varints(2), Ok(()));
        assert_eq!(reader.len(), 2);
        assert_eq!(reader.skip_varints(2), Err(DecodeErrorKind::Cut));
        assert_eq!(reader.skip_varints(0), Ok(()));
    }
}
