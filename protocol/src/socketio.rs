//! The strings of pomelo's socket.io connector (`sioconnector`), without socket.io.
//!
//! A client sends event `message` with a string that begins with a binary head, one byte per
//! character; the server answers event `message` with JSON text:
//!
//! ```text
//! client   id(4) route_len(1) route body        characters, body is JSON
//! server   {"id":1,"body":…}  {"route":"onChat","body":…}  {"route":"onKick","reason":…}
//! ```

use serde::Serialize;
use serde_json::Value;

use crate::error::{DecodeError, EncodeError};
use crate::text::utf16_prefix;

/// Characters before the route.
const HEAD_LEN: usize = 5;

/// What a client sends: a request, or with id 0 a notify.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the format is closed")]
pub struct Request<'a> {
    /// To be echoed in the response; 0 wants none.
    pub id: u32,
    /// Where it goes.
    pub route: &'a str,
    /// JSON text, not yet read.
    pub body: &'a str,
}

impl<'a> Request<'a> {
    /// Takes the head off a message. Of the characters of the head only the low bytes count, as
    /// in pomelo 2.2.7 (`connectors/sioconnector.js`); the route is counted in UTF-16 units.
    ///
    /// # Errors
    /// [`DecodeError::MessageCut`] when the text ends inside head or route, or when the route
    /// would end inside a surrogate pair. pomelo throws inside socket.io.
    pub fn decode(text: &'a str) -> Result<Self, DecodeError> {
        let (head, rest) = utf16_prefix(text, HEAD_LEN).ok_or(DecodeError::MessageCut)?;
        let mut bytes = head.encode_utf16().map(|unit| {
            let [low, _] = unit.to_le_bytes();
            low
        });
        let mut byte = || bytes.next().ok_or(DecodeError::MessageCut);
        let id = u32::from_be_bytes([byte()?, byte()?, byte()?, byte()?]);
        let route_len = usize::from(byte()?);
        let (route, body) = utf16_prefix(rest, route_len).ok_or(DecodeError::MessageCut)?;
        Ok(Self { id, route, body })
    }

    /// The text of the message.
    ///
    /// # Errors
    /// [`EncodeError::RouteTooLong`] over 255 UTF-16 units.
    pub fn encode(&self) -> Result<String, EncodeError> {
        let len = self.route.encode_utf16().count();
        let len = u8::try_from(len).map_err(|_| EncodeError::RouteTooLong { len })?;
        let mut text = String::with_capacity(2 * HEAD_LEN + self.route.len() + self.body.len());
        text.extend(self.id.to_be_bytes().map(char::from));
        text.push(char::from(len));
        text.push_str(self.route);
        text.push_str(self.body);
        Ok(text)
    }
}

/// The text of a response. Without a body the member is left out, as for JavaScript's `undefined`.
///
/// # Errors
/// What `body` answers to being serialized.
pub fn response<T: Serialize + ?Sized>(
    id: u32,
    body: Option<&T>,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Response<'a, T: ?Sized> {
        id: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<&'a T>,
    }
    serde_json::to_string(&Response { id, body })
}

/// The text of a push.
///
/// # Errors
/// What `body` answers to being serialized.
pub fn push<T: Serialize + ?Sized>(route: &str, body: &T) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Push<'a, T: ?Sized> {
        route: &'a str,
        body: &'a T,
    }
    serde_json::to_string(&Push { route, body })
}

/// The text of several responses and pushes in one message.
pub fn batch<'a>(messages: impl IntoIterator<Item = &'a str>) -> String {
    let messages: Vec<_> = messages.into_iter().collect();
    format!("[{}]", messages.join(","))
}

/// The text that precedes every close by the server.
pub fn kick(reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!(
            "{{\"route\":\"onKick\",\"reason\":{}}}",
            Value::from(reason)
        ),
        None => "{\"route\":\"onKick\"}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_head_is_refused() {
        let text = Request {
            id: 0xfffe_fd00,
            route: "聊天.😀",
            body: "{}",
        };
        let text = text.encode().unwrap();
        let whole = Request::decode(&text).unwrap();
        assert_eq!((whole.id, whole.route), (0xfffe_fd00, "聊天.😀"));
        let head = text.len() - "{}".len();
        for end in (0..head).filter(|end| text.is_char_boundary(*end)) {
            assert_eq!(Request::decode(&text[..end]), Err(DecodeError::MessageCut));
        }
    }

    #[test]
    fn a_route_cannot_end_inside_a_pair() {
        assert_eq!(
            Request::decode("\0\0\0\u{1}\u{1}😀{}"),
            Err(DecodeError::MessageCut)
        );
    }
}
