//! Text from peers that write UTF-16 units one by one.

use std::borrow::Cow;

/// The three bytes of one UTF-16 surrogate, as CESU-8 writes it.
const SURROGATE_LEN: usize = 3;

/// Reads `bytes` as UTF-8 without ever failing.
///
/// The browser builds of pomelo-protocol and pomelo-protobuf encode characters above U+FFFF as two
/// groups of three bytes (CESU-8); such a pair becomes the one character it means. A surrogate
/// without its partner, and everything else that is no UTF-8, becomes U+FFFD, counted as
/// [`String::from_utf8_lossy`] counts (a lone surrogate is one character, so one U+FFFD).
pub fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match core::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(repair(bytes)),
    }
}

/// How many bytes [`write_surrogate_pairs`] appends.
pub(crate) fn surrogate_pairs_len(text: &str) -> usize {
    // Characters above U+FFFF, and nothing else, begin with a byte from 0xf0 on.
    let astral = text.bytes().filter(|&byte| byte >= 0xf0).count();
    text.len() + 2 * astral
}

/// Appends `text` with its characters above U+FFFF as two groups of three bytes (CESU-8), which
/// the browser builds read, where they garble the four bytes of UTF-8.
pub(crate) fn write_surrogate_pairs(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        let mut units = [0; 2];
        match character.encode_utf16(&mut units) {
            [high, low] => {
                for unit in [*high, *low] {
                    let [top, bottom] = unit.to_be_bytes();
                    out.extend([
                        0xe0 | top >> 4,
                        0x80 | (top & 0x0f) << 2 | bottom >> 6,
                        0x80 | bottom & 0x3f,
                    ]);
                }
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Splits `text` behind its first `units` UTF-16 units; `None` when it has fewer or the place is
/// inside a surrogate pair.
pub(crate) fn utf16_prefix(text: &str, units: usize) -> Option<(&str, &str)> {
    let mut seen = 0;
    for (at, character) in text.char_indices() {
        if seen == units {
            return text.split_at_checked(at);
        }
        seen += character.len_utf16();
        if seen > units {
            return None;
        }
    }
    (seen == units).then_some((text, ""))
}

#[cold]
fn repair(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    // Each turn looks no further than to the next nonsense, so the walk is linear.
    while let Err(error) = core::str::from_utf8(rest) {
        let (valid, bad) = rest
            .split_at_checked(error.valid_up_to())
            .unwrap_or_default();
        text.push_str(core::str::from_utf8(valid).unwrap_or_default());
        let (character, len) = match surrogates(bad) {
            Some(found) => found,
            None => (
                char::REPLACEMENT_CHARACTER,
                error.error_len().unwrap_or(bad.len()),
            ),
        };
        text.push(character);
        rest = bad.get(len..).unwrap_or_default();
    }
    text.push_str(core::str::from_utf8(rest).unwrap_or_default());
    text
}

/// A CESU-8 pair or a lone surrogate at the start of `bytes`, and how many bytes it takes.
fn surrogates(bytes: &[u8]) -> Option<(char, usize)> {
    let first = surrogate(bytes)?;
    let second = bytes.get(SURROGATE_LEN..).and_then(surrogate);
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    Some(match pair {
        Some(character) => (character, 2 * SURROGATE_LEN),
        None => (char::REPLACEMENT_CHARACTER, SURROGATE_LEN),
    })
}

fn surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [0xed, middle @ 0xa0..=0xbf, last @ 0x80..=0xbf, ..] => {
            Some(0xd000 | u16::from(middle & 0x3f) << 6 | u16::from(last & 0x3f))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{Cow, decode_utf8, surrogate_pairs_len, write_surrogate_pairs};

    const SMILE: &[u8] = b"\xed\xa0\xbd\xed\xb8\x80";

    #[test]
    fn valid_text_is_borrowed() {
        assert!(matches!(
            decode_utf8("a é 你 😀".as_bytes()),
            Cow::Borrowed("a é 你 😀")
        ));
        assert!(matches!(decode_utf8(b""), Cow::Borrowed("")));
    }

    #[test]
    fn pairs_are_joined() {
        assert_eq!(decode_utf8(SMILE), "😀");
        assert_eq!(decode_utf8(&[b"a", SMILE, SMILE, b"z"].concat()), "a😀😀z");
        assert_eq!(decode_utf8(b"\xed\xaf\xbf\xed\xbf\xbf"), "\u{10ffff}");
        assert_eq!(decode_utf8(b"\xed\xa0\x80\xed\xb0\x80"), "\u{10000}");
    }

    #[test]
    fn lone_surrogates_are_one_replacement() {
        assert_eq!(decode_utf8(b"\xed\xa0\xbd"), "\u{fffd}");
        assert_eq!(decode_utf8(b"x\xed\xb8\x80y"), "x\u{fffd}y");
        assert_eq!(
            decode_utf8(&[b"\xed\xa0\xbd", SMILE].concat()),
            "\u{fffd}😀"
        );
        assert_eq!(decode_utf8(b"\xed\xb8\x80\xed\xa0\xbd"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_cut_pair_is_replaced() {
        for len in 1..SMILE.len() {
            let text = decode_utf8(&SMILE[..len]);
            assert!(text.chars().all(|c| c == '\u{fffd}'), "{len}: {text:?}");
        }
    }

    #[test]
    fn the_rest_is_counted_as_the_standard_library_counts() {
        for bytes in [
            &b"\xffA"[..],
            b"\xc3",
            b"\xf0\x9f\x98",
            b"\xe4\xbd",
            b"a\x80\x80b",
            b"\xc0\xaf",
        ] {
            assert_eq!(decode_utf8(bytes), String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn any_utf16_survives_cesu(units in any::<Vec<u16>>()) {
            let mut bytes = Vec::new();
            for &unit in &units {
                // UTF-16 units as the browser build writes them: each on its own.
                match char::from_u32(u32::from(unit)) {
                    Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => bytes.extend_from_slice(&[
                        0xed,
                        u8::try_from(unit >> 6 & 0x3f).unwrap() | 0x80,
                        u8::try_from(unit & 0x3f).unwrap() | 0x80,
                    ]),
                }
            }
            prop_assert_eq!(decode_utf8(&bytes), String::from_utf16_lossy(&units));
        }

        #[test]
        fn without_surrogates_it_is_the_standard_library(bytes in any::<Vec<u8>>()) {
            let lossy = String::from_utf8_lossy(&bytes);
            let ours = decode_utf8(&bytes);
            if bytes.windows(2).all(|w| w[0] != 0xed || w[1] < 0xa0) {
                prop_assert_eq!(ours, lossy);
            } else {
                prop_assert!(ours.chars().count() <= lossy.chars().count());
            }
        }
    }

    #[test]
    fn surrogate_pairs_read_as_what_they_were() {
        for text in ["", "plain", "a\u{ffff}中😀z", "\u{10000}\u{10ffff}"] {
            let mut bytes = Vec::new();
            write_surrogate_pairs(&mut bytes, text);
            assert_eq!(decode_utf8(&bytes), text);
            assert_eq!(bytes.len(), surrogate_pairs_len(text));
        }
    }
}
