//! JSON as the old clients can read and write it.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::protobuf;
use crate::stringify;
use crate::text;

/// JSON documents as a client's connection handles them: those of `serde_json` nearly everywhere,
/// those of the JavaScript engine in a browser, where a second parser would only be weight.
///
/// [`Serialize`] and [`DeserializeOwned`] are for bodies in the protobuf dialect.
pub trait Json: Clone + fmt::Debug + Serialize + DeserializeOwned {
    /// Reads JSON; `None` when it is none. Text that is no UTF-8 is no reason to refuse it:
    /// CESU-8 pairs are joined and the rest is replaced by U+FFFD.
    fn parse(text: &[u8]) -> Option<Self>;

    /// The document as `JSON.stringify` writes it; `None` when it has no JSON form.
    fn to_text(&self) -> Option<String>;

    /// A member of an object.
    fn get(&self, name: &str) -> Option<Cow<'_, Self>>;

    /// Sets a member of an object; anything else stays as it is.
    fn set(&mut self, name: &str, value: Self);

    /// The members of an object in the order in which JavaScript lists them; `None` for anything
    /// that is no object, arrays included.
    fn members(&self) -> Option<Vec<(Cow<'_, str>, Cow<'_, Self>)>>;

    /// Whether it has [`members`](Self::members).
    fn is_object(&self) -> bool {
        self.members().is_some()
    }

    /// Text.
    fn as_str(&self) -> Option<Cow<'_, str>>;

    /// A number.
    fn as_f64(&self) -> Option<f64>;

    /// Whether JavaScript takes the value for true.
    fn is_truthy(&self) -> bool;

    /// JavaScript's `Number(text)`: text given for a number of the protobuf dialect.
    fn number_of(text: &str) -> f64;

    /// Appends the text of [`to_text`](Self::to_text), characters above U+FFFF as escapes with
    /// `escape_astral`; `None`, with nothing appended, when there is none.
    fn write(&self, out: &mut Vec<u8>, escape_astral: bool) -> Option<()> {
        let text = self.to_text()?;
        if escape_astral {
            // Characters of more than one byte are only inside strings.
            write_escaped(out, &text).ok()?;
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        Some(())
    }
}

impl Json for Value {
    fn parse(text: &[u8]) -> Option<Self> {
        read(text).ok()
    }

    fn to_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn write(&self, out: &mut Vec<u8>, escape_astral: bool) -> Option<()> {
        let start = out.len();
        stringify::write(out, self, escape_astral)
            .inspect_err(|_| out.truncate(start))
            .ok()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, Self>> {
        Self::get(self, name).map(Cow::Borrowed)
    }

    fn set(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.insert(name.to_owned(), value);
        }
    }

    fn members(&self) -> Option<Vec<(Cow<'_, str>, Cow<'_, Self>)>> {
        let members = in_js_order(self.as_object()?.iter().collect(), |(name, _)| name);
        let members = members.into_iter();
        Some(
            members
                .map(|(name, value)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(value)))
                .collect(),
        )
    }

    fn is_object(&self) -> bool {
        Self::is_object(self)
    }

    fn as_str(&self) -> Option<Cow<'_, str>> {
        Self::as_str(self).map(Cow::Borrowed)
    }

    fn as_f64(&self) -> Option<f64> {
        Self::as_f64(self)
    }

    fn is_truthy(&self) -> bool {
        is_truthy(self)
    }

    fn number_of(text: &str) -> f64 {
        protobuf::number_of(text)
    }
}

/// A map whose members are in the order in which JavaScript lists them.
pub(crate) fn map_in_js_order(map: Map<String, Value>) -> Map<String, Value> {
    if !map.keys().any(|key| array_index(key).is_some()) {
        return map;
    }
    in_js_order(map.into_iter().collect(), |(name, _)| name)
        .into_iter()
        .collect()
}

/// JavaScript lists members whose names look like array indices first, ascending.
fn in_js_order<T>(mut members: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    // Stable, and `None` sorts last by the first part of the key.
    members.sort_by_key(|member| {
        let index = array_index(name(member));
        (index.is_none(), index)
    });
    members
}

/// The canonical decimal forms of 0 to 2^32 - 2.
fn array_index(key: &str) -> Option<u32> {
    let canonical = key == "0" || key.starts_with(|c: char| matches!(c, '1'..='9'));
    let index = key.parse().ok().filter(|_| canonical)?;
    (index < u32::MAX).then_some(index)
}

/// Reads JSON. Text that is no UTF-8 is no reason to refuse it: CESU-8 pairs, which the browser
/// client writes, are joined and the rest is replaced by U+FFFD.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(data: &[u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(data) {
        // Once over the whole costs less than over each string.
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(data)
            .or_else(|error| serde_json::from_str(&text::decode_utf8(data)).map_err(|_| error)),
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

/// Copies JSON text with its characters above U+FFFF as escapes.
fn write_escaped<W: ?Sized + io::Write>(writer: &mut W, text: &str) -> io::Result<()> {
    // A lead byte of four-byte UTF-8 is 0xf0 or above, and no other byte is.
    if text.bytes().all(|byte| byte < 0xf0) {
        return writer.write_all(text.as_bytes());
    }
    let mut plain = 0;
    for (at, character) in text.char_indices() {
        if character <= '\u{ffff}' {
            continue;
        }
        writer.write_all(text.get(plain..at).unwrap_or_default().as_bytes())?;
        for unit in character.encode_utf16(&mut [0; 2]) {
            let digit = |shift: u32| match (*unit >> shift & 15).to_be_bytes() {
                [_, digit @ 0..=9] => b'0' + digit,
                [_, digit] => b'a' - 10 + digit,
            };
            writer.write_all(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)])?;
        }
        plain = at + character.len_utf8();
    }
    writer.write_all(text.get(plain..).unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_indices_are_canonical() {
        assert_eq!(array_index("0"), Some(0));
        assert_eq!(array_index("4294967294"), Some(4_294_967_294));
        for other in [
            "4294967295",
            "00",
            "01",
            "+1",
            "-1",
            "1.0",
            "",
            "a",
            "99999999999",
        ] {
            assert_eq!(array_index(other), None, "{other}");
        }
    }

    #[test]
    fn members_are_listed_as_in_javascript() {
        let value: Value = read(br#"{"b":1,"10":2,"2":3,"a":4}"#).unwrap();
        let members = Json::members(&value).unwrap();
        let names: Vec<_> = members.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["2", "10", "b", "a"]);
        assert!(Json::members(&Value::from(1)).is_none());
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
