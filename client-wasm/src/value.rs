//! JavaScript values as JSON documents, and as bodies in the protobuf dialect.

use std::borrow::Cow;
use std::fmt;

use pomelo_protocol::Json;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

// What is one line there would be a hundred bytes here for each question. Only bytes and 32-bit
// numbers pass in a form that needs no glue around it, so texts go as values, too.
#[wasm_bindgen(raw_module = "pomelo-value")]
extern "C" {
    fn parse(text: JsValue) -> JsValue;
    fn stringify(value: &JsValue, escape: i32) -> JsValue;
    fn utf8(text: &JsValue) -> Option<Vec<u8>>;
    fn kind(value: &JsValue) -> i32;
    fn truthy(value: &JsValue) -> bool;
    fn number(value: &JsValue) -> f64;
    fn get(value: &JsValue, name: JsValue) -> JsValue;
    fn set(value: &JsValue, name: JsValue, member: JsValue);
    fn parts(value: &JsValue) -> JsValue;
    #[wasm_bindgen(js_name = get)]
    fn part(parts: &JsValue, index: i32) -> JsValue;
    fn object(named: JsValue) -> JsValue;
    #[wasm_bindgen(js_name = list)]
    fn empty() -> JsValue;
    fn push(list: &JsValue, element: JsValue);
}

/// What `kind` answers.
const ABSENT: i32 = 0;
const NULL: i32 = 1;
const FALSE: i32 = 2;
const TRUE: i32 = 3;
const NUMBER: i32 = 4;
const TEXT: i32 = 5;
const LIST: i32 = 6;
const OBJECT: i32 = 7;

/// A value of the page's.
#[derive(Clone)]
pub(crate) struct Js(JsValue);

impl Js {
    /// Undefined, or one of the things that JSON leaves out like that.
    pub(crate) fn is_absent(&self) -> bool {
        kind(&self.0) == ABSENT
    }

    /// The value, unless it is absent.
    fn present(value: JsValue) -> Option<Self> {
        let value = Self(value);
        (!value.is_absent()).then_some(value)
    }
}

/// A text of JavaScript's.
pub(crate) fn text(value: &JsValue) -> Option<String> {
    String::from_utf8(utf8(value)?).ok()
}

impl From<JsValue> for Js {
    fn from(value: JsValue) -> Self {
        Self(value)
    }
}

impl From<Js> for JsValue {
    fn from(value: Js) -> Self {
        value.0
    }
}

impl fmt::Debug for Js {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Js")
    }
}

/// The parts of a list or object, one after the other.
struct Parts {
    list: JsValue,
    next: i32,
    end: i32,
}

impl Parts {
    fn of(value: &JsValue) -> Self {
        let list = parts(value);
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let end = number(&get(&list, "length".into())) as i32;
        Self { list, next: 0, end }
    }

    fn next(&mut self) -> Option<JsValue> {
        let index = self.next;
        if index >= self.end {
            return None;
        }
        self.next += 1;
        Some(part(&self.list, index))
    }

    fn next_text(&mut self) -> Option<String> {
        text(&self.next()?)
    }
}

impl Json for Js {
    fn parse(text: &[u8]) -> Option<Self> {
        let text: &str = &pomelo_protocol::decode_utf8(text);
        Self::present(parse(text.into()))
    }

    fn to_text(&self) -> Option<String> {
        text(&stringify(&self.0, 0))
    }

    fn write(&self, out: &mut Vec<u8>, escape_astral: bool) -> Option<()> {
        out.extend(utf8(&stringify(&self.0, escape_astral.into()))?);
        Some(())
    }

    fn get(&self, name: &str) -> Option<Cow<'_, Self>> {
        Self::present(get(&self.0, name.into())).map(Cow::Owned)
    }

    fn set(&mut self, name: &str, value: Self) {
        // A frozen object, or none, stays as it is.
        set(&self.0, name.into(), value.0);
    }

    fn is_object(&self) -> bool {
        kind(&self.0) == OBJECT
    }

    fn members(&self) -> Option<Vec<(Cow<'_, str>, Cow<'_, Self>)>> {
        if !self.is_object() {
            return None;
        }
        let mut parts = Parts::of(&self.0);
        let mut members = Vec::new();
        while let (Some(name), Some(value)) = (parts.next_text(), parts.next()) {
            members.push((Cow::Owned(name), Cow::Owned(Self(value))));
        }
        Some(members)
    }

    fn as_str(&self) -> Option<Cow<'_, str>> {
        text(&self.0).map(Cow::Owned)
    }

    fn as_f64(&self) -> Option<f64> {
        (kind(&self.0) == NUMBER).then(|| number(&self.0))
    }

    fn is_truthy(&self) -> bool {
        truthy(&self.0)
    }

    fn number_of(text: &str) -> f64 {
        number(&text.into())
    }
}

impl Serialize for Js {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = &self.0;
        match kind(value) {
            NULL => serializer.serialize_unit(),
            FALSE => serializer.serialize_bool(false),
            TRUE => serializer.serialize_bool(true),
            NUMBER => serializer.serialize_f64(number(value)),
            TEXT => serializer.serialize_str(&text(value).unwrap_or_default()),
            LIST => {
                let mut parts = Parts::of(value);
                let mut list = serializer.serialize_seq(usize::try_from(parts.end).ok())?;
                while let Some(element) = parts.next() {
                    list.serialize_element(&Self(element))?;
                }
                list.end()
            }
            OBJECT => {
                let mut parts = Parts::of(value);
                let mut map = serializer.serialize_map(usize::try_from(parts.end / 2).ok())?;
                while let (Some(name), Some(value)) = (parts.next_text(), parts.next()) {
                    map.serialize_key(&name)?;
                    map.serialize_value(&Self(value))?;
                }
                map.end()
            }
            _ => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Js {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder).map(Self)
    }
}

/// Makes JavaScript values.
struct Builder;

impl<'de> DeserializeSeed<'de> for Builder {
    type Value = JsValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Makes names: text, or numbers, of which JavaScript makes text by itself.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = JsValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsValue, D::Error> {
        deserializer.deserialize_f64(Builder)
    }
}

impl<'de> Visitor<'de> for Builder {
    type Value = JsValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsValue, E> {
        Ok(value.into())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JavaScript has no other numbers"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<JsValue, E> {
        Ok((value as f64).into())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JavaScript has no other numbers"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<JsValue, E> {
        Ok((value as f64).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<JsValue, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<JsValue, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<JsValue, E> {
        Ok(JsValue::NULL)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<JsValue, A::Error> {
        let list = empty();
        while let Some(element) = elements.next_element_seed(Self)? {
            push(&list, element);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsValue, A::Error> {
        let named = empty();
        while let Some(name) = members.next_key_seed(Key)? {
            push(&named, name);
            push(&named, members.next_value_seed(Self)?);
        }
        Ok(object(named))
    }
}
