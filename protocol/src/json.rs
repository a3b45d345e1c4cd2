//! JSON as the old clients can read and write it.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::text;

/// Appends `value` as `JSON.stringify` would write it: no blanks, no newline at the end (a C
/// client of pomelo refuses both).
///
/// With `escape_astral`, characters above U+FFFF are written as `\ud83d\ude00`: the browser
/// client decodes 4-byte UTF-8 wrongly and swallows the byte after it, while every client reads
/// the escape.
pub(crate) fn write<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
    escape_astral: bool,
) -> Result<(), serde_json::Error> {
    if escape_astral {
        value.serialize(&mut Serializer::with_formatter(out, EscapeAstral))
    } else {
        value.serialize(&mut Serializer::with_formatter(out, CompactFormatter))
    }
}

/// Reads JSON. Text that is no UTF-8 is no reason to refuse it: CESU-8 pairs, which the browser
/// client writes, are joined and the rest is replaced by U+FFFD.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(data: &[u8]) -> Result<T, serde_json::Error> {
    match serde_json::from_slice(data) {
        Err(error) if std::str::from_utf8(data).is_err() => {
            serde_json::from_str(&text::decode_utf8(data)).map_err(|_| error)
        }
        result => result,
    }
}

/// Whether JavaScript takes the value for true.
pub(crate) fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

struct EscapeAstral;

impl Formatter for EscapeAstral {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // A lead byte of four-byte UTF-8 is 0xf0 or above, and no other byte is.
        if fragment.bytes().all(|byte| byte < 0xf0) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut plain = 0;
        for (at, character) in fragment.char_indices() {
            if character <= '\u{ffff}' {
                continue;
            }
            writer.write_all(fragment.get(plain..at).unwrap_or_default().as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + character.len_utf8();
        }
        writer.write_all(fragment.get(plain..).unwrap_or_default().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn astral_characters_travel_as_escapes() {
        let mut out = Vec::new();
        write(&mut out, "a\u{1f600}文b\u{10ffff}", true).unwrap();
        assert_eq!(out, "\"a\\ud83d\\ude00文b\\udbff\\udfff\"".as_bytes());
        assert_eq!(read::<String>(&out).unwrap(), "a\u{1f600}文b\u{10ffff}");
        out.clear();
        write(&mut out, "\u{1f600}", false).unwrap();
        assert_eq!(out, "\"\u{1f600}\"".as_bytes());
    }

    #[test]
    fn text_of_browser_clients_is_joined_and_nonsense_replaced() {
        assert_eq!(
            read::<String>(b"\"\xed\xa0\xbd\xed\xb8\x80\"").unwrap(),
            "\u{1f600}"
        );
        assert_eq!(read::<String>(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
        assert!(read::<String>(b"\"a").is_err());
    }
}
