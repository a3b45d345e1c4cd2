//! What a client says first.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::HandshakeError;
use crate::json::{self, Json};

/// What a client says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeRequest<J = Value> {
    sys: J,
    /// On the heap: it is rare, and whatever else a client sends is moved as a part of the same
    /// event.
    user: Option<Box<J>>,
}

impl HandshakeRequest {
    /// The request of a client that calls itself `client_type`, `version`; the browser client of
    /// pomelo is `js-websocket`, `0.0.1`.
    pub fn new(client_type: &str, version: &str) -> Self {
        Self::from_sys(json!({"type": client_type, "version": version}))
    }

    /// Reads the request as pomelo does: anything with a truthy `sys` will do.
    ///
    /// # Errors
    /// [`HandshakeError::NotJson`] and [`HandshakeError::NoSys`]; both are answered with
    /// [`CODE_REFUSED`](super::CODE_REFUSED).
    pub fn parse(body: &[u8]) -> Result<Self, HandshakeError> {
        let document: Document = json::read(body).map_err(|_| HandshakeError::NotJson)?;
        let sys = document.sys.filter(json::is_truthy);
        Ok(Self {
            sys: sys.ok_or(HandshakeError::NoSys)?,
            user: document.user.map(Box::new),
        })
    }

    /// `sys.type`, the kind of client, if it is text.
    pub fn client_type(&self) -> Option<&str> {
        self.sys("type")?.as_str()
    }

    /// `sys.version`, if it is text.
    pub fn client_version(&self) -> Option<&str> {
        self.sys("version")?.as_str()
    }

    /// `sys.protoVersion`, the schemas the client has kept; text or, with the decodeIO plugin, a
    /// number.
    pub fn proto_version(&self) -> Option<&Value> {
        self.sys("protoVersion")
    }

    /// `sys.dictVersion`, the dictionary the client has kept.
    pub fn dict_version(&self) -> Option<&Value> {
        self.sys("dictVersion")
    }

    /// Any member of `sys`.
    pub fn sys(&self, name: &str) -> Option<&Value> {
        self.sys.get(name)
    }
}

impl<J: Json> HandshakeRequest<J> {
    /// The request whose member `sys`, which says what the client is, is this object.
    pub const fn from_sys(sys: J) -> Self {
        Self { sys, user: None }
    }

    /// Adds data for the application's handshake function.
    #[must_use]
    pub fn with_user(mut self, user: J) -> Self {
        self.user = Some(Box::new(user));
        self
    }

    /// Sets a member of `sys`, such as pitaya's `platform` or the browser client's `rsa`.
    #[must_use]
    pub fn with_sys(mut self, name: &str, value: J) -> Self {
        self.sys.set(name, value);
        self
    }

    /// `user`, the data for the application.
    pub const fn user(&self) -> Option<&J> {
        match &self.user {
            Some(user) => Some(&**user),
            None => None,
        }
    }

    /// The JSON text of the document.
    pub fn to_text(&self) -> String {
        let mut text = Vec::from(b"{\"sys\":");
        if self.sys.write(&mut text, false).is_none() {
            text.extend_from_slice(b"{}");
        }
        if let Some(user) = &self.user {
            let end = text.len();
            text.extend_from_slice(b",\"user\":");
            if user.write(&mut text, false).is_none() {
                text.truncate(end);
            }
        }
        text.push(b'}');
        String::from_utf8(text).unwrap_or_default()
    }
}

/// What counts of a request, the last of each name as in JavaScript.
#[derive(Default)]
struct Document {
    sys: Option<Value>,
    user: Option<Value>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Sys,
    User,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut document = Document::default();
                while let Some(member) = map.next_key()? {
                    match member {
                        Member::Sys => document.sys = Some(map.next_value()?),
                        Member::User => document.user = Some(map.next_value()?),
                        Member::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(document)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sys_and_user_of_a_request_count_and_the_last_of_each() {
        let text = br#"{"user":1,"a":{"sys":0},"sys":[],"b":1e999,"sys":{"type":"t"},"user":null}"#;
        let expected = HandshakeRequest::from_sys(json!({"type": "t"})).with_user(Value::Null);
        assert_eq!(HandshakeRequest::parse(text), Ok(expected));
        for (text, error) in [
            ("[1]", HandshakeError::NotJson),
            ("null", HandshakeError::NotJson),
            ("{\"sys\":{}} 1", HandshakeError::NotJson),
            ("{\"sys\":{},\"a\":}", HandshakeError::NotJson),
            ("{\"sys\":{},\"sys\":0}", HandshakeError::NoSys),
            ("{}", HandshakeError::NoSys),
        ] {
            let parsed = HandshakeRequest::parse(text.as_bytes());
            assert_eq!(parsed, Err(error), "{text}");
        }
    }
}
