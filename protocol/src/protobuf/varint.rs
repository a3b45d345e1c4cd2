//! Integers on the wire: base 128, low group first, in the range of JavaScript's numbers
//! (pomelo-protobuf 0.4.0 codec.js computes in doubles).

use super::error::{DecodeError, DecodeErrorKind};

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
    let mut rest = value;
    while rest > u64::from(GROUP) {
        out.push(low_group(rest) | MORE);
        rest >>= 7;
    }
    out.push(low_group(rest));
}

#[inline]
fn low_group(value: u64) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "the seven lowest bits")]
    let group = value as u8 & GROUP;
    group
}

/// Replaces the `width` bytes at `at` by `value`, moving what follows if the width differs.
#[inline]
pub(super) fn patch(out: &mut Vec<u8>, at: usize, width: usize, value: usize) {
    match (out.get_mut(at), u8::try_from(value)) {
        (Some(place), Ok(byte)) if byte < MORE && width == 1 => *place = byte,
        _ => patch_long(out, at, width, value),
    }
}

fn patch_long(out: &mut Vec<u8>, at: usize, width: usize, value: usize) {
    let (bytes, len) = bytes(value as u64);
    let end = out.len();
    // Room first, so that what follows moves once.
    out.resize(end.max(end + len - width), 0);
    out.copy_within(at + width..end, at + len);
    out.truncate(end + len - width);
    if let (Some(place), Some(bytes)) = (out.get_mut(at..at + len), bytes.get(..len)) {
        place.copy_from_slice(bytes);
    }
}

/// The number of bytes `value` takes.
pub(super) fn width(value: usize) -> usize {
    bytes(value as u64).1
}

fn bytes(mut value: u64) -> ([u8; MAX_LEN], usize) {
    let mut bytes = [0; MAX_LEN];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        let group = low_group(value);
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

#[cold]
fn cut() -> DecodeError {
    DecodeErrorKind::Cut.into()
}

/// A varint of any length, and its length. Takes and gives no reference to the reader, so that
/// the optimizer can keep that one in registers.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> Result<(Uint, usize), DecodeError> {
    let mut value = 0;
    let mut shift = 0;
    for (&byte, len) in bytes.iter().take(EXACT_GROUPS).zip(1..) {
        value |= u64::from(byte & GROUP) << shift;
        shift += 7;
        if byte < MORE {
            let exact = value <= MAX_UINT + 1;
            return Ok((
                if exact {
                    Uint::Exact(value)
                } else {
                    Uint::Big(value as f64)
                },
                len,
            ));
        }
    }
    endless_varint(bytes, value)
}

/// More than 56 bits, or an overlong form of fewer.
#[cold]
fn endless_varint(bytes: &[u8], low: u64) -> Result<(Uint, usize), DecodeError> {
    let mut sum = low as f64;
    let mut scale = (1_u64 << (7 * EXACT_GROUPS)) as f64;
    for (&byte, len) in bytes.iter().zip(1..).skip(EXACT_GROUPS) {
        // Added group by group like codec.js, so that even the rounding is the same. Nothing is
        // added for no bits: in time the scale is infinite.
        if byte & GROUP != 0 {
            sum += f64::from(byte & GROUP) * scale;
        }
        scale *= 128.0;
        if byte < MORE {
            let big = sum > (MAX_UINT + 1) as f64;
            return Ok((
                if big {
                    Uint::Big(sum)
                } else {
                    Uint::Exact(low)
                },
                len,
            ));
        }
    }
    Err(cut())
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

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn varint(&mut self) -> Result<Uint, DecodeError> {
        match self.short() {
            Some(byte) => Ok(Uint::Exact(u64::from(byte))),
            None => self.long(),
        }
    }

    /// A varint of one byte, if the next one is.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn short(&mut self) -> Option<u8> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < MORE => {
                self.rest = rest;
                Some(byte)
            }
            _ => None,
        }
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn long(&mut self) -> Result<Uint, DecodeError> {
        let (value, len) = long_varint(self.rest)?;
        self.rest = self.rest.get(len..).unwrap_or_default();
        Ok(value)
    }

    /// The tag of a head.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn head(&mut self) -> Result<u64, DecodeError> {
        match self.short() {
            Some(byte) => Ok(u64::from(byte >> 3)),
            None => Ok(match self.long()? {
                Uint::Exact(head) => head >> 3,
                Uint::Big(_) => MAX_UINT,
            }),
        }
    }

    /// A length or a count. One too large for memory is larger than any body, too.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        match self.short() {
            Some(byte) => Ok(usize::from(byte)),
            None => Ok(match self.long()? {
                Uint::Exact(value) => usize::try_from(value).unwrap_or(usize::MAX),
                Uint::Big(_) => usize::MAX,
            }),
        }
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn take(&mut self, len: usize) -> Result<&'de [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(cut)?;
        self.rest = rest;
        Ok(head)
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The bytes behind a length.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn prefixed(&mut self) -> Result<&'de [u8], DecodeError> {
        let len = self.length()?;
        self.take(len)
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn skip_varint(&mut self) -> Result<(), DecodeError> {
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or_else(cut)?;
            self.rest = rest;
            if byte < MORE {
                return Ok(());
            }
        }
    }

    pub(super) fn skip_varints(&mut self, count: usize) -> Result<(), DecodeError> {
        if count == 0 {
            return Ok(());
        }
        let last = self
            .rest
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| byte < MORE)
            .nth(count - 1);
        let (index, _) = last.ok_or_else(cut)?;
        self.rest = self.rest.get(index + 1..).unwrap_or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, MAX_UINT, Reader, Uint, bytes, cut, patch, put, width};

    fn read(bytes: &[u8]) -> Result<Uint, DecodeError> {
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
        assert_eq!(read(&[0xff; 200]), Err(cut()));
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
        assert_eq!(reader.skip_varints(2), Err(cut()));
        assert_eq!(reader.skip_varints(0), Ok(()));
    }
}
