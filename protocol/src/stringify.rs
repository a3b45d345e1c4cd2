//! Writes values as JSON text, as `JSON.stringify` would: no blanks, no newline at the end (a C
//! client of pomelo refuses both).
//!
//! The text is that of `serde_json`, except for characters above U+FFFF. The difference is the
//! time: most of what is sent is text, and text that needs no escape is copied in blocks here.

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct,
    SerializeStructVariant, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
    Serializer,
};
use serde_json::{Error, Value};

/// Appends `value` to `out`.
///
/// With `escape_astral`, characters above U+FFFF are written as `\ud83d\ude00`: the browser
/// client decodes 4-byte UTF-8 wrongly and swallows the byte after it, while every client reads
/// the escape.
pub(crate) fn write<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
    escape_astral: bool,
) -> Result<(), Error> {
    value.serialize(&mut Writer { out, escape_astral })
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    escape_astral: bool,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) {
        // A lead byte of four-byte UTF-8 is 0xf0 or above, and no other byte is.
        let escaped_from = if self.escape_astral { 0xf0 } else { 0xff };
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        // Most text is plain from end to end.
        if is_plain(text.as_bytes(), escaped_from) {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.text_with_escapes(text, escaped_from);
        }
        self.out.push(b'"');
    }

    #[cold]
    fn text_with_escapes(&mut self, text: &str, escaped_from: u8) {
        let is_special = |byte: &u8| is_special(*byte, escaped_from);
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(is_special) {
            let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            self.out.extend_from_slice(plain);
            rest = match special {
                [] => break,
                [a, b, c, d, behind @ ..] if *a >= 0xf0 => {
                    self.astral([*a, *b, *c, *d]);
                    behind
                }
                [byte, behind @ ..] => {
                    self.escape(*byte);
                    behind
                }
            };
        }
        self.out.extend_from_slice(rest);
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => return self.unit(byte.into()),
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    /// A character of four bytes, as the two units that UTF-16 has for it.
    fn astral(&mut self, bytes: [u8; 4]) {
        let point = bytes
            .into_iter()
            .fold(0, |point, byte| point << 6 | u32::from(byte & 0x3f));
        // The lead byte has three bits of its own, and the fold has kept six.
        let character = char::from_u32(point & 0x1f_ffff).unwrap_or(char::REPLACEMENT_CHARACTER);
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.unit(*unit);
        }
    }

    fn unit(&mut self, unit: u16) {
        let digit = |shift: u32| match (unit >> shift & 15).to_be_bytes() {
            [_, digit @ 0..=9] => b'0' + digit,
            [_, digit] => b'a' - 10 + digit,
        };
        self.out
            .extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    }

    /// Numbers are few and short; `serde_json` writes them well.
    fn number(&mut self, number: impl Serialize) -> Result<(), Error> {
        number.serialize(&mut serde_json::Serializer::new(&mut *self.out))
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }
}

const fn is_special(byte: u8, escaped_from: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte >= escaped_from)
}

/// Whether all bytes stand for themselves.
fn is_plain(text: &[u8], escaped_from: u8) -> bool {
    const BLOCK: usize = 16;
    // Without a branch for each byte, so that a block is looked at as a whole.
    let has_special = |block: &[u8]| {
        block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte, escaped_from))
    };
    let (blocks, _) = text.as_chunks::<BLOCK>();
    // The last block once more from behind, rather than its rest byte by byte.
    match text.last_chunk::<BLOCK>() {
        Some(last) => !blocks.iter().any(|block| has_special(block)) && !has_special(last),
        None => is_plain_word(text, escaped_from),
    }
}

/// [`is_plain`] of less than a block: most names of members.
fn is_plain_word(text: &[u8], escaped_from: u8) -> bool {
    let has_special = |word: u64| has_special(word, escaped_from);
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return !has_special(u64::from_ne_bytes(*first)) && !has_special(u64::from_ne_bytes(*last));
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let [first, last] = [first, last].map(|half| u64::from(u32::from_ne_bytes(*half)));
        return !has_special(first | last << 32);
    }
    !text.iter().any(|byte| is_special(*byte, escaped_from))
}

/// Whether one of the eight bytes [`is_special`].
const fn has_special(word: u64, escaped_from: u8) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const fn each(byte: u8) -> u64 {
        ONES * byte as u64
    }
    // Sets the high bit of a byte below the limit; in a byte behind such a one it may be wrong.
    const fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(each(limit)) & !word
    }
    let quote = below(word ^ each(b'"'), 1);
    let backslash = below(word ^ each(b'\\'), 1);
    // From 0xf0 on all of the upper four bits are set; text has no byte 0xff.
    let astral = match escaped_from {
        0xf0 => word & word << 1 & word << 2 & word << 3,
        _ => 0,
    };
    (below(word, 0x20) | quote | backslash | astral) & (ONES << 7) != 0
}

/// What is being written between two brackets.
struct Members<'a, 'b> {
    writer: &'a mut Writer<'b>,
    is_first: bool,
    close: &'static [u8],
}

impl<'a, 'b> Members<'a, 'b> {
    fn open(writer: &'a mut Writer<'b>, open: &[u8], close: &'static [u8]) -> Self {
        writer.out.extend_from_slice(open);
        Self {
            writer,
            is_first: true,
            close,
        }
    }

    /// Of a variant, the value of the one member that its name is.
    fn of_variant(
        writer: &'a mut Writer<'b>,
        variant: &str,
        open: &[u8],
        close: &'static [u8],
    ) -> Self {
        writer.out.push(b'{');
        writer.text(variant);
        writer.out.push(b':');
        Self::open(writer, open, close)
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        value.serialize(&mut *self.writer)
    }

    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.comma();
        self.writer.text(name);
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.out.extend_from_slice(self.close);
    }
}

/// A struct, or one of `serde_json`'s own that stands for text to be written as it is.
enum Struct<'a, 'b> {
    Members(Members<'a, 'b>),
    Raw(&'a mut Writer<'b>),
}

macro_rules! numbers {
    ($($method:ident $number:ty,)*) => {$(
        fn $method(self, number: $number) -> Result<(), Error> {
            self.number(number)
        }
    )*};
}

impl<'a, 'b> Serializer for &'a mut Writer<'b> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a, 'b>;
    type SerializeTuple = Members<'a, 'b>;
    type SerializeTupleStruct = Members<'a, 'b>;
    type SerializeTupleVariant = Members<'a, 'b>;
    type SerializeMap = Members<'a, 'b>;
    type SerializeStruct = Struct<'a, 'b>;
    type SerializeStructVariant = Members<'a, 'b>;

    numbers! {
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_u128 u128,
        serialize_f32 f32,
        serialize_f64 f64,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.text(character.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.text(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.null();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut members = Members::open(self, b"{", b"}");
        members.member(variant, value)?;
        members.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a, 'b>, Error> {
        Ok(Members::open(self, b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'a, 'b>, Error> {
        Ok(Members::open(self, b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a, 'b>, Error> {
        Ok(Members::open(self, b"[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a, 'b>, Error> {
        Ok(Members::of_variant(self, variant, b"[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a, 'b>, Error> {
        Ok(Members::open(self, b"{", b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Struct<'a, 'b>, Error> {
        // With its features `arbitrary_precision` and `raw_value`, which an application may have
        // turned on.
        Ok(match name {
            "$serde_json::private::Number" | "$serde_json::private::RawValue" => Struct::Raw(self),
            _ => Struct::Members(Members::open(self, b"{", b"}")),
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a, 'b>, Error> {
        Ok(Members::of_variant(self, variant, b"{", b"}}"))
    }
}

macro_rules! elements {
    ($($kind:ident $method:ident,)*) => {$(
        impl $kind for Members<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

impl SerializeMap for Members<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma();
        key.serialize(Key(&mut *self.writer))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Struct<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        match self {
            Self::Members(members) => members.member(name, value),
            Self::Raw(writer) => {
                let Value::String(text) = serde_json::to_value(value)? else {
                    return Err(Error::custom("expected text"));
                };
                writer.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }

    fn end(self) -> Result<(), Error> {
        if let Self::Members(members) = self {
            members.close();
        }
        Ok(())
    }
}

impl SerializeStructVariant for Members<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.member(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

/// The name of a map's member: text, or what `serde_json` takes for it.
struct Key<'a, 'b>(&'a mut Writer<'b>);

impl Key<'_, '_> {
    fn quoted(self, write: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.0.out.push(b'"');
        write(self.0)?;
        self.0.out.push(b'"');
        Ok(())
    }
}

fn no_key<T>() -> Result<T, Error> {
    Err(Error::custom("key must be a string"))
}

macro_rules! number_keys {
    ($($method:ident $number:ty,)*) => {$(
        fn $method(self, number: $number) -> Result<(), Error> {
            self.quoted(|writer| writer.number(number))
        }
    )*};
}

macro_rules! float_keys {
    ($($method:ident $number:ty,)*) => {$(
        fn $method(self, number: $number) -> Result<(), Error> {
            if !number.is_finite() {
                return Err(Error::custom("float key must be finite (got NaN or +/-inf)"));
            }
            self.quoted(|writer| writer.number(number))
        }
    )*};
}

type Never = Impossible<(), Error>;

impl Serializer for Key<'_, '_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    number_keys! {
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_u128 u128,
    }

    float_keys! {
        serialize_f32 f32,
        serialize_f64 f64,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.quoted(|writer| writer.serialize_bool(value))
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.0.serialize_char(character)
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.0.serialize_str(text)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        no_key()
    }

    fn serialize_none(self) -> Result<(), Error> {
        no_key()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        no_key()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        no_key()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.0.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        no_key()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Never, Error> {
        no_key()
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, Error> {
        no_key()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, Error> {
        no_key()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, Error> {
        no_key()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, Error> {
        no_key()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never, Error> {
        no_key()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, Error> {
        no_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn text<T: Serialize + ?Sized>(value: &T, escape_astral: bool) -> Result<String, Error> {
        let mut out = Vec::new();
        write(&mut out, value, escape_astral)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[track_caller]
    fn as_serde_json<T: Serialize + ?Sized>(value: &T) {
        let (ours, theirs) = (text(value, false), serde_json::to_string(value));
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
            (ours, theirs) => assert_eq!(
                ours.map_err(|error| error.to_string()),
                theirs.map_err(|error| error.to_string())
            ),
        }
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(u8),
        Tuple(u8, char),
        Struct { a: Option<i64>, b: () },
    }

    #[derive(Serialize)]
    struct Pair(i128, u128);

    #[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Wrapped<T>(T);

    #[derive(Serialize)]
    struct Empty;

    #[test]
    fn every_form_of_serde_is_written_as_serde_json_writes_it() {
        let shapes = [
            Shape::Unit,
            Shape::New(1),
            Shape::Tuple(2, '\u{1f600}'),
            Shape::Struct { a: Some(-3), b: () },
            Shape::Struct { a: None, b: () },
        ];
        as_serde_json(&shapes);
        as_serde_json(&(Pair(i128::MIN, u128::MAX), Wrapped("w"), Empty, ()));
        as_serde_json(&(true, 1.5_f32, 1e300, f64::NAN, f32::INFINITY, 0.1 + 0.2));
        as_serde_json(&(u64::MAX, i64::MIN, i8::MIN, u16::MAX, -0.0));
        as_serde_json(&(Vec::<u8>::new(), [[1, 2], [3, 4]], json!({}), json!([])));
        as_serde_json("\u{7f}\u{0}\u{8}\u{c}\n\r\t\u{1b}\"\\/\u{2028}\u{e000}\u{ffff}");
        as_serde_json(&format_args!("formatted {}", "\"text\""));
    }

    #[test]
    fn keys_are_what_serde_json_takes() {
        as_serde_json(&BTreeMap::from([(-1, "a"), (i64::MAX, "b")]));
        as_serde_json(&BTreeMap::from([(true, 1), (false, 2)]));
        as_serde_json(&BTreeMap::from([('"', 1), ('\u{1f600}', 2)]));
        as_serde_json(&BTreeMap::from([(Wrapped("x"), 1), (Wrapped("y\n"), 2)]));
        as_serde_json(&BTreeMap::from([(u128::MAX, 1)]));
        as_serde_json(&BTreeMap::from([(Some("s"), 1)]));
        as_serde_json(&BTreeMap::from([((), 1)]));
        as_serde_json(&BTreeMap::from([([1, 2], 1)]));
        as_serde_json(&BTreeMap::from([(None::<u8>, 1)]));
    }

    #[test]
    fn numbers_and_raw_text_of_an_application_with_those_features_are_written_as_they_are() {
        #[derive(Serialize)]
        #[serde(rename = "$serde_json::private::Number")]
        struct Number {
            #[serde(rename = "$serde_json::private::Number")]
            number: &'static str,
        }
        let long = "0.100000000000000000000000001";
        assert_eq!(
            text(&[Number { number: long }], true).unwrap(),
            format!("[{long}]")
        );
    }

    #[test]
    fn astral_characters_travel_as_escapes() {
        let all = "a\u{1f600}文b\u{10ffff}\u{10000}";
        assert_eq!(
            text(all, true).unwrap(),
            "\"a\\ud83d\\ude00文b\\udbff\\udfff\\ud800\\udc00\""
        );
        assert_eq!(text(all, false).unwrap(), format!("\"{all}\""));
    }

    #[test]
    fn whatever_needs_an_escape_is_seen_wherever_it_stands() {
        for len in 1..40 {
            for at in 0..len {
                for special in (0..0x20_u8)
                    .chain(*b"\"\\")
                    .map(char::from)
                    .chain(['\u{1f600}'])
                {
                    for other in ['a', '\u{7f}', '\u{ffff}', '#', '!', '['] {
                        let mut units = vec![other; len];
                        as_serde_json(&units.iter().collect::<String>());
                        units[at] = special;
                        let text = units.into_iter().collect::<String>();
                        as_serde_json(&text);
                        let escaped = self::text(&text, true).unwrap();
                        assert!(escaped.bytes().all(|byte| byte < 0xf0), "{text:?}");
                    }
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~\u{0}-\u{1f}\u{1f600}]{0,70}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_document_is_written_as_serde_json_writes_it(value in value()) {
            prop_assert_eq!(text(&value, false).unwrap(), serde_json::to_string(&value).unwrap());
            let escaped = text(&value, true).unwrap();
            prop_assert!(escaped.bytes().all(|byte| byte < 0xf0));
            let back: Value = serde_json::from_str(&escaped).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
