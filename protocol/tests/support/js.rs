//! Values of JavaScript, and how the golden vectors write those that JSON lacks.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A value as JavaScript has it. Numbers are compared bit by bit, so NaN equals NaN and 0 is not
/// -0.
#[derive(Clone, Debug)]
pub(crate) enum Js {
    Undefined,
    Null,
    Bool(bool),
    Int(i64),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Js {
    pub(crate) fn from_vector(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Number(number.as_f64().unwrap()),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::from_vector).collect()),
            Value::Object(members) => match members.iter().next() {
                Some((key, name)) if key == "$num" => Self::Number(match name.as_str().unwrap() {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    "-0" => -0.0,
                    other => panic!("{other}"),
                }),
                Some((key, _)) if key == "$undefined" => Self::Undefined,
                _ => Self::Object(
                    members
                        .iter()
                        .map(|(k, v)| (k.clone(), Self::from_vector(v)))
                        .collect(),
                ),
            },
        }
    }

    fn number(&self) -> Option<f64> {
        match *self {
            Self::Int(int) => Some(int as f64),
            Self::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// Text that is the same exactly when the values are equal.
impl fmt::Display for Js {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined => f.write_str("undefined"),
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => write!(f, "{:?}", *value as f64),
            Self::Number(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(list) => {
                f.write_str("[")?;
                for element in list {
                    write!(f, "{element},")?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (name, value) in members {
                    write!(f, "{name:?}:{value},")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl PartialEq for Js {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.to_bits() == b.to_bits(),
                _ => false,
            },
        }
    }
}

impl Serialize for Js {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Undefined => serializer.serialize_none(),
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Js {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Js;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Js, E> {
                Ok(Js::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Js, E> {
                Ok(Js::Int(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Js, E> {
                Ok(i64::try_from(value).map_or(Js::Number(value as f64), Js::Int))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Js, E> {
                Ok(Js::Number(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Js, E> {
                Ok(Js::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Js, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(Js::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Js, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Js::Object(members))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
