//! JavaScript values as JSON documents, and as bodies in the protobuf dialect.

use std::borrow::Cow;
use std::fmt;

use pomelo_protocol::Json;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = JSON, js_name = parse, catch)]
    fn json_parse(text: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_namespace = JSON, js_name = stringify, catch)]
    fn json_stringify(value: &JsValue) -> Result<Option<String>, JsValue>;
    #[wasm_bindgen(js_namespace = Object, catch)]
    fn keys(value: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_namespace = Array, js_name = isArray)]
    fn is_array(value: &JsValue) -> bool;
    #[wasm_bindgen(js_namespace = ArrayBuffer, js_name = isView)]
    fn is_view(value: &JsValue) -> bool;
    // A getter of the page's may throw: nothing may unwind through this module.
    #[wasm_bindgen(js_namespace = Reflect, js_name = get, catch)]
    fn member(value: &JsValue, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_namespace = Reflect, js_name = get, catch)]
    fn element(value: &JsValue, index: u32) -> Result<JsValue, JsValue>;
    // Not an assignment, which would call what is called `__proto__`.
    #[wasm_bindgen(js_namespace = Object, js_name = fromEntries)]
    fn from_entries(entries: &JsValue) -> JsValue;
    #[wasm_bindgen(js_namespace = Reflect, js_name = set, catch)]
    fn set_member(value: &JsValue, name: &str, member: &JsValue) -> Result<bool, JsValue>;
    #[wasm_bindgen(js_namespace = Array, js_name = of)]
    fn empty_list() -> JsValue;
    #[wasm_bindgen(js_namespace = Array, js_name = of)]
    fn pair(name: &JsValue, value: &JsValue) -> JsValue;
    #[wasm_bindgen(js_name = Number)]
    fn number_of(text: &str) -> f64;
    #[wasm_bindgen(js_namespace = Reflect, js_name = set)]
    fn set_element(value: &JsValue, index: u32, element: &JsValue);
}

/// A value of the page's.
#[derive(Clone)]
pub(crate) struct Js(JsValue);

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

pub(crate) fn list<const N: usize>(elements: [JsValue; N]) -> JsValue {
    let list = empty_list();
    for (element, index) in elements.iter().zip(0..) {
        set_element(&list, index, element);
    }
    list
}

/// What `value` has under its own names; nothing if it is no object.
fn own_keys(value: &JsValue) -> Vec<String> {
    let Ok(keys) = keys(value) else {
        return Vec::new();
    };
    (0..length(&keys))
        .filter_map(|index| element(&keys, index).ok()?.as_string())
        .collect()
}

fn length(list: &JsValue) -> u32 {
    let length = member(list, "length").ok().and_then(|n| n.as_f64());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates"
    )]
    let length = length.unwrap_or_default() as u32;
    length
}

fn is_list(value: &JsValue) -> bool {
    is_array(value) || is_view(value)
}

impl Json for Js {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = pomelo_protocol::decode_utf8(text);
        json_parse(&text).ok().map(Self)
    }

    fn to_text(&self) -> Option<String> {
        json_stringify(&self.0).ok().flatten()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, Self>> {
        let value = member(&self.0, name).ok()?;
        (!value.is_undefined()).then(|| Cow::Owned(Self(value)))
    }

    fn set(&mut self, name: &str, value: Self) {
        // A frozen object, or none, stays as it is.
        let _ = set_member(&self.0, name, &value.0);
    }

    fn members(&self) -> Option<Vec<(Cow<'_, str>, Cow<'_, Self>)>> {
        if !self.0.is_object() || is_list(&self.0) {
            return None;
        }
        let names = own_keys(&self.0).into_iter();
        Some(
            names
                .filter_map(|name| {
                    let value = member(&self.0, &name).ok()?;
                    Some((Cow::Owned(name), Cow::Owned(Self(value))))
                })
                .collect(),
        )
    }

    fn as_str(&self) -> Option<Cow<'_, str>> {
        self.0.as_string().map(Cow::Owned)
    }

    fn as_f64(&self) -> Option<f64> {
        self.0.as_f64()
    }

    fn is_truthy(&self) -> bool {
        self.0.is_truthy()
    }

    fn number_of(text: &str) -> f64 {
        number_of(text)
    }
}

impl Serialize for Js {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = &self.0;
        if let Some(number) = value.as_f64() {
            serializer.serialize_f64(number)
        } else if let Some(text) = value.as_string() {
            serializer.serialize_str(&text)
        } else if let Some(flag) = value.as_bool() {
            serializer.serialize_bool(flag)
        } else if value.is_null() {
            serializer.serialize_unit()
        } else if !value.is_object() {
            // Undefined, functions and symbols are absent, as in JSON.
            serializer.serialize_none()
        } else if is_list(value) {
            let length = length(value);
            let mut list = serializer.serialize_seq(usize::try_from(length).ok())?;
            for index in 0..length {
                let element = element(value, index).unwrap_or(JsValue::UNDEFINED);
                list.serialize_element(&Self(element))?;
            }
            list.end()
        } else {
            let names = own_keys(value);
            let mut map = serializer.serialize_map(Some(names.len()))?;
            for name in names {
                let member = member(value, &name).unwrap_or(JsValue::UNDEFINED);
                map.serialize_entry(&name, &Self(member))?;
            }
            map.end()
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
        let list = empty_list();
        let mut index = 0;
        while let Some(element) = elements.next_element_seed(Self)? {
            set_element(&list, index, &element);
            index += 1;
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsValue, A::Error> {
        let entries = empty_list();
        let mut index = 0;
        while let Some(name) = members.next_key_seed(Key)? {
            let value = members.next_value_seed(Self)?;
            set_element(&entries, index, &pair(&name, &value));
            index += 1;
        }
        Ok(from_entries(&entries))
    }
}
