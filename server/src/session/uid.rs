//! Names of users.

use std::borrow::Borrow;
use std::fmt;

use arcstr::ArcStr;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// The name of a user: a text that is not empty, or an integer compared by its text.
///
/// It is written as a text, and read from a text or an integer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(ArcStr);

impl Uid {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Uid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

macro_rules! uid_from {
    ($($from:ty => |$value:ident| $text:expr),+ $(,)?) => {$(
        impl From<$from> for Uid {
            fn from($value: $from) -> Self {
                Self(ArcStr::from($text))
            }
        }
    )+};
}

uid_from! {
    &str => |text| text,
    &String => |text| text.as_str(),
    String => |text| text,
    i32 => |number| number.to_string(),
    u32 => |number| number.to_string(),
    i64 => |number| number.to_string(),
    u64 => |number| number.to_string(),
}

impl From<&Self> for Uid {
    fn from(uid: &Self) -> Self {
        uid.clone()
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrInteger;

        impl Visitor<'_> for TextOrInteger {
            type Value = Uid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an integer")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Uid, E> {
                Ok(text.into())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Uid, E> {
                Ok(number.into())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Uid, E> {
                Ok(number.into())
            }
        }

        deserializer.deserialize_any(TextOrInteger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_is_the_text_seven() {
        let uids: Vec<Uid> = serde_json::from_str(r#"[7, "7", -7, "a:b"]"#).unwrap();
        assert_eq!(
            uids,
            [7.into(), Uid::from(7_u64), "-7".into(), "a:b".into()]
        );
        assert_eq!(
            serde_json::to_string(&uids).unwrap(),
            r#"["7","7","-7","a:b"]"#
        );
        assert!(serde_json::from_str::<Uid>("7.5").is_err());
        assert!(serde_json::from_str::<Uid>("null").is_err());
    }
}
