//! Numbers given for a field, turned into its payload. The rules are JavaScript's (`parseInt` for
//! integer fields, `Number` for floats) as far as they lose nothing silently.

use super::error::{EncodeError, EncodeErrorKind};
use super::table::Kind;
use super::varint::{MAX_SINT, MAX_UINT, put, zigzag};

/// `value` and its sign, for every kind that takes numbers.
#[inline]
pub(super) fn put_integer(
    out: &mut Vec<u8>,
    kind: Kind,
    magnitude: u64,
    negative: bool,
) -> Result<(), EncodeError> {
    let negative = negative && magnitude != 0;
    match kind {
        Kind::Uint if !negative && magnitude <= MAX_UINT => put(out, magnitude),
        Kind::Sint if magnitude <= MAX_SINT => put(out, zigzag(magnitude, negative)),
        Kind::Uint | Kind::Sint => return Err(out_of_range()),
        Kind::Float | Kind::Double => {
            let float = magnitude as f64;
            put_float(out, kind, if negative { -float } else { float });
        }
        Kind::Bool if !negative && magnitude <= 1 => put(out, magnitude),
        Kind::Bool | Kind::Text | Kind::Message(_) | Kind::Unknown => {
            return Err(unsuitable(kind, "a number"));
        }
    }
    Ok(())
}

pub(super) fn put_number(out: &mut Vec<u8>, kind: Kind, value: f64) -> Result<(), EncodeError> {
    match kind {
        Kind::Float | Kind::Double => {
            put_float(out, kind, value);
            Ok(())
        }
        Kind::Uint | Kind::Sint => {
            // A fraction is cut. The original makes 1 of 1e21 and 5 of 5e-7, by way of their text;
            // what is too large is refused here, what is too small is 0.
            let whole = value.trunc();
            if whole.is_nan() || whole.abs() > MAX_UINT as f64 {
                return Err(out_of_range());
            }
            #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53")]
            let magnitude = whole.abs() as u64;
            put_integer(out, kind, magnitude, whole < 0.0)
        }
        Kind::Bool | Kind::Text | Kind::Message(_) | Kind::Unknown => {
            Err(unsuitable(kind, "a number"))
        }
    }
}

/// Text given for a field of numbers.
pub(super) fn put_numeric_text(
    out: &mut Vec<u8>,
    kind: Kind,
    text: &str,
    number_of: fn(&str) -> f64,
) -> Result<(), EncodeError> {
    match kind {
        Kind::Float | Kind::Double => {
            put_float(out, kind, number_of(text));
            Ok(())
        }
        Kind::Uint | Kind::Sint => {
            let (magnitude, negative) = integer_of(text).ok_or_else(|| unsuitable(kind, "text"))?;
            put_integer(out, kind, magnitude?, negative)
        }
        Kind::Bool | Kind::Text | Kind::Message(_) | Kind::Unknown => Err(unsuitable(kind, "text")),
    }
}

/// Little-endian; out of the range of a single it becomes an infinity, every NaN the quiet one.
#[inline]
pub(super) fn put_float(out: &mut Vec<u8>, kind: Kind, value: f64) {
    if kind == Kind::Float {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to single is the type"
        )]
        let single = value as f32;
        let single = if single.is_nan() { f32::NAN } else { single };
        out.extend_from_slice(&single.to_le_bytes());
    } else {
        let double = if value.is_nan() { f64::NAN } else { value };
        out.extend_from_slice(&double.to_le_bytes());
    }
}

#[cold]
pub(super) fn unsuitable(kind: Kind, found: &'static str) -> EncodeError {
    EncodeErrorKind::Unsuitable {
        expected: expected(kind),
        found,
    }
    .into()
}

#[cold]
fn out_of_range() -> EncodeError {
    EncodeErrorKind::OutOfRange.into()
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Uint => "an unsigned integer",
        Kind::Sint => "an integer",
        Kind::Float | Kind::Double => "a number",
        Kind::Bool => "a boolean",
        Kind::Text => "text",
        Kind::Message(_) => "a message",
        Kind::Unknown => "nothing",
    }
}

/// JavaScript's `Number(text)`.
pub(crate) fn number_of(text: &str) -> f64 {
    let text = text.trim();
    let radix = |digits, radix| u64::from_str_radix(digits, radix).map_or(f64::NAN, |n| n as f64);
    match text {
        "" => 0.0,
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => match text.split_at_checked(2) {
            Some(("0x" | "0X", digits)) => radix(digits, 16),
            Some(("0o" | "0O", digits)) => radix(digits, 8),
            Some(("0b" | "0B", digits)) => radix(digits, 2),
            // Rust also reads words like `nan` and `inf`, JavaScript does not.
            _ if text
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) =>
            {
                text.parse().unwrap_or(f64::NAN)
            }
            _ => f64::NAN,
        },
    }
}

/// A decimal integer, a fraction cut off. What `parseInt` reads of `12abc` or `1e3` would be a
/// silent mistake.
fn integer_of(text: &str) -> Option<(Result<u64, EncodeError>, bool)> {
    let text = text.trim();
    let (text, negative) = match text.strip_prefix('-') {
        Some(text) => (text, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!whole.is_empty() && digits(whole) && digits(fraction))
        .then(|| (whole.parse().map_err(|_| out_of_range()), negative))
}

#[cfg(test)]
mod tests {
    use super::{integer_of, number_of};

    #[test]
    fn texts_are_numbers_as_in_javascript() {
        for (text, number) in [
            ("", 0.0),
            ("  1.5\n", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1e3", -1000.0),
            ("0x1F", 31.0),
            ("0b11", 3.0),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(number_of(text), number, "{text:?}");
        }
        for text in [
            "x", "nan", "inf", "infinity", "1 2", "--1", "0x", "e", "1_000", "好",
        ] {
            assert!(number_of(text).is_nan(), "{text:?}");
        }
    }

    #[test]
    fn integers_of_text_are_whole() {
        for (text, number) in [
            ("12", (12, false)),
            (" -5 ", (5, true)),
            ("+7.9", (7, false)),
            ("-0", (0, true)),
        ] {
            assert_eq!(integer_of(text), Some((Ok(number.0), number.1)), "{text:?}");
        }
        for text in ["", "x", "12abc", "1e3", "-", ".5", "0x10", "1.2.3", "١"] {
            assert_eq!(integer_of(text), None, "{text:?}");
        }
        assert!(matches!(
            integer_of("99999999999999999999"),
            Some((Err(_), false))
        ));
    }
}
