//! Messages of one connection: which route has a code, which body is JSON, protobuf dialect or
//! compressed.

use bytes::Bytes;
use serde::Serialize;

use crate::body::Body;
use crate::dictionary::Dictionary;
use crate::error::{DecodeError, EncodeError};
use crate::gzip;
use crate::json::Json;
use crate::message::{MessageHead, RequestId, Route, WireRoute};
use crate::package::{Frame, FrameRef, PackageKind};
use crate::protobuf::{self, Protos};
use crate::stringify;

/// What both ends agreed on in the handshake, applied to messages. The same for all sessions of a
/// server's connector, so one encoded push serves everybody.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Codec {
    /// Routes that travel as codes. Default: none.
    pub dictionary: Option<Dictionary>,
    /// Routes that are kept by name, so that a message to one of them, whatever form its route
    /// has, shares that name and no other is made. Default: none but those of `dictionary`.
    pub known: Option<Dictionary>,
    /// Schemas of received bodies by route: `clientProtos` at a server, `serverProtos` at a
    /// client. Default: none, all bodies are JSON.
    pub incoming: Protos,
    /// Schemas of sent bodies by route. Default: none.
    pub outgoing: Protos,
    /// Write characters above U+FFFF in JSON as escapes. Default: true, because the browser
    /// client of pomelo garbles them otherwise; false for byte equality with pomelo.
    pub escape_astral: bool,
    /// Send bodies of at least this many bytes compressed when that makes them shorter. Default:
    /// never, since the clients of pomelo do not inflate (only those of pitaya do).
    pub compress_from: Option<usize>,
    /// The most bytes a received compressed body may inflate to. Default: 1 MiB, the default
    /// limit of a plain one.
    pub max_inflated: usize,
    /// How many times its length a received compressed body may become, wherever it has become
    /// more than 64 KiB. Default: any number of times, up to `max_inflated`.
    pub max_inflate_ratio: Option<u32>,
}

impl Default for Codec {
    fn default() -> Self {
        Self {
            dictionary: None,
            known: None,
            incoming: Protos::default(),
            outgoing: Protos::default(),
            escape_astral: true,
            compress_from: None,
            max_inflated: 1 << 20,
            max_inflate_ratio: None,
        }
    }
}

/// Why a message cannot be sent: the caller's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The route or the body is too long.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The body cannot be written as JSON.
    #[error("body cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The body has no JSON form.
    #[error("body has no JSON form")]
    NotJson,
    /// The body does not fit the schema of its route.
    #[error("body does not fit the protobuf schema of its route")]
    Misfit(#[from] protobuf::EncodeError),
}

impl Codec {
    /// Encodes a request. `scratch` is overwritten; keep it for the next message.
    ///
    /// # Errors
    /// [`CodecError`]: the route or body is too long or the body does not fit its schema.
    pub fn request<T: Serialize + ?Sized>(
        &self,
        scratch: &mut Vec<u8>,
        id: RequestId,
        route: &str,
        body: &T,
    ) -> Result<Frame, CodecError> {
        let head = MessageHead::Request {
            id: Some(id),
            route: self.wire_route(route),
        };
        self.encode(scratch, &head, |out| self.write_body(out, route, body))
    }

    /// Encodes a notify. See [`request`](Self::request).
    ///
    /// # Errors
    /// [`CodecError`], as for a request.
    pub fn notify<T: Serialize + ?Sized>(
        &self,
        scratch: &mut Vec<u8>,
        route: &str,
        body: &T,
    ) -> Result<Frame, CodecError> {
        self.encode(
            scratch,
            &MessageHead::Notify {
                route: self.wire_route(route),
            },
            |out| self.write_body(out, route, body),
        )
    }

    /// Encodes a response. `route` is that of the request: it picks the schema, but does not
    /// travel.
    ///
    /// # Errors
    /// [`CodecError`]. On [`CodecError::Misfit`] pomelo sends an empty body, see
    /// [`empty_response`](Self::empty_response).
    pub fn response<T: Serialize + ?Sized>(
        &self,
        scratch: &mut Vec<u8>,
        id: RequestId,
        route: &str,
        body: &T,
    ) -> Result<Frame, CodecError> {
        Ok(self.response_in(scratch, id, route, body)?.to_frame())
    }

    /// [`response`](Self::response) that stays in `scratch`: it has one receiver only, and who
    /// gathers what goes to that one copies it anyway.
    ///
    /// # Errors
    /// As for [`response`](Self::response).
    pub fn response_in<'a, T: Serialize + ?Sized>(
        &self,
        scratch: &'a mut Vec<u8>,
        id: RequestId,
        route: &str,
        body: &T,
    ) -> Result<FrameRef<'a>, CodecError> {
        let head = MessageHead::Response {
            id: Some(id),
            error: false,
        };
        self.encode_in(scratch, &head, |out| self.write_body(out, route, body))
    }

    /// [`response_in`](Self::response_in) of JSON text that is there already. It goes out as it is,
    /// whatever [`escape_astral`](Self::escape_astral) says, unless the route has a schema.
    ///
    /// # Errors
    /// As for [`response`](Self::response); text that is no JSON is only noticed where there is a
    /// schema.
    pub fn response_json_in<'a>(
        &self,
        scratch: &'a mut Vec<u8>,
        id: RequestId,
        route: &str,
        text: &[u8],
    ) -> Result<FrameRef<'a>, CodecError> {
        let head = MessageHead::Response {
            id: Some(id),
            error: false,
        };
        self.encode_in(scratch, &head, |out| {
            match self.outgoing.message(route) {
                Some(message) => {
                    let value: serde_json::Value = serde_json::from_slice(text)?;
                    message.encode(&value, out)?;
                }
                None => out.extend_from_slice(text),
            }
            Ok(())
        })
    }

    /// Encodes a push.
    ///
    /// # Errors
    /// [`CodecError`]. On [`CodecError::Misfit`] pomelo sends an empty body, see
    /// [`empty_push`](Self::empty_push).
    pub fn push<T: Serialize + ?Sized>(
        &self,
        scratch: &mut Vec<u8>,
        route: &str,
        body: &T,
    ) -> Result<Frame, CodecError> {
        self.encode(
            scratch,
            &MessageHead::Push {
                route: self.wire_route(route),
            },
            |out| self.write_body(out, route, body),
        )
    }

    /// A response without a body: what a client of pomelo gets when the answer does not fit the
    /// schema of the route.
    ///
    /// # Errors
    /// None for a message this short; the type keeps the callers uniform.
    pub fn empty_response(&self, id: RequestId) -> Result<Frame, EncodeError> {
        empty(&MessageHead::Response {
            id: Some(id),
            error: false,
        })
    }

    /// A push without a body.
    ///
    /// # Errors
    /// [`EncodeError::RouteTooLong`].
    pub fn empty_push(&self, route: &str) -> Result<Frame, EncodeError> {
        empty(&MessageHead::Push {
            route: self.wire_route(route),
        })
    }

    /// Appends `body` as the route's schema or else JSON says, without any head.
    ///
    /// # Errors
    /// [`CodecError::Json`] or [`CodecError::Misfit`].
    pub fn write_body<T: Serialize + ?Sized>(
        &self,
        out: &mut Vec<u8>,
        route: &str,
        body: &T,
    ) -> Result<(), CodecError> {
        match self.outgoing.message(route) {
            Some(message) => Ok(message.encode(body, out)?),
            None => Ok(stringify::write(out, body, self.escape_astral)?),
        }
    }

    /// [`write_body`](Self::write_body) for documents of another kind than `serde_json`'s.
    ///
    /// # Errors
    /// [`CodecError::NotJson`] or [`CodecError::Misfit`].
    pub fn write_document<J: Json>(
        &self,
        out: &mut Vec<u8>,
        route: &str,
        body: &J,
    ) -> Result<(), CodecError> {
        match self.outgoing.message(route) {
            Some(message) => Ok(message.encode(body, out)?),
            None => body
                .write(out, self.escape_astral)
                .ok_or(CodecError::NotJson),
        }
    }

    /// A received body of this route. Nothing is decoded yet.
    pub fn body(&self, route: &str, bytes: Bytes, compressed: bool) -> Body {
        let schema = if self.incoming.is_empty() {
            None
        } else {
            self.incoming.message(route)
        };
        let limits = gzip::Limits {
            max: self.max_inflated,
            max_ratio: self.max_inflate_ratio,
        };
        Body::received(bytes, schema, compressed.then_some(limits))
    }

    /// The route behind its form on the wire.
    ///
    /// # Errors
    /// [`DecodeError::UnknownRouteCode`], also for any code when there is no dictionary.
    pub fn route(&self, route: &WireRoute<'_>) -> Result<Route, DecodeError> {
        match route {
            WireRoute::Code(code) => self
                .dictionary
                .as_ref()
                .and_then(|dictionary| dictionary.route(*code))
                .cloned()
                .ok_or_else(|| DecodeError::UnknownRouteCode(code.get())),
            WireRoute::Name(name) => {
                let known = self.known.as_ref().or(self.dictionary.as_ref());
                Ok(known
                    .and_then(|dictionary| dictionary.known(*name))
                    .unwrap_or_else(|| Route::received(&name.to_str())))
            }
        }
    }

    pub(crate) fn wire_route<'a>(&self, route: &'a str) -> WireRoute<'a> {
        match self
            .dictionary
            .as_ref()
            .and_then(|dictionary| dictionary.code(route))
        {
            Some(code) => code.into(),
            None => route.into(),
        }
    }

    pub(crate) fn encode(
        &self,
        scratch: &mut Vec<u8>,
        head: &MessageHead<'_>,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<Frame, CodecError> {
        Ok(self.encode_in(scratch, head, write_body)?.to_frame())
    }

    fn encode_in<'a>(
        &self,
        scratch: &'a mut Vec<u8>,
        head: &MessageHead<'_>,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<FrameRef<'a>, CodecError> {
        let Some(compress_from) = self.compress_from else {
            return FrameRef::build(scratch, PackageKind::Data, |out| {
                head.write(out, false)?;
                write_body(out)
            });
        };
        let mut plain = Vec::new();
        write_body(&mut plain)?;
        let packed = if plain.len() >= compress_from {
            gzip::deflate(&plain)
        } else {
            None
        };
        FrameRef::build(scratch, PackageKind::Data, |out| {
            head.write(out, packed.is_some())?;
            out.extend_from_slice(packed.as_ref().unwrap_or(&plain));
            Ok(())
        })
    }
}

fn empty(head: &MessageHead<'_>) -> Result<Frame, EncodeError> {
    Frame::build(&mut Vec::new(), PackageKind::Data, |out| {
        head.write(out, false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id(id: u64) -> RequestId {
        RequestId::new(id).unwrap()
    }

    #[test]
    fn text_goes_out_as_it_is_or_by_its_schema() {
        let codec = Codec {
            outgoing: Protos::parse(&json!({"pb": {"required uInt32 a": 1}})).unwrap(),
            ..Codec::default()
        };
        let scratch = &mut Vec::new();
        let mut bytes = |route: &str, text: &str| {
            let frame = codec.response_json_in(scratch, id(1), route, text.as_bytes());
            frame.map(|frame| frame.as_bytes().to_vec())
        };
        assert_eq!(bytes("a", " 1.0 ").unwrap(), b"\x04\0\0\x07\x04\x01 1.0 ");
        assert_eq!(
            bytes("pb", r#"{"a":300}"#).unwrap(),
            b"\x04\0\0\x05\x04\x01\x08\xac\x02"
        );
        assert!(matches!(bytes("pb", "{}"), Err(CodecError::Misfit(_))));
        assert!(matches!(bytes("pb", "{"), Err(CodecError::Json(_))));
    }

    #[test]
    fn codes_and_schemas_apply_by_route() {
        let server = Protos::parse(&json!({"onPb": {"required uInt32 a": 1}})).unwrap();
        let codec = Codec {
            dictionary: Some(Dictionary::build(["a.b.c"], ["onPb"]).unwrap()),
            outgoing: server,
            ..Codec::default()
        };
        let scratch = &mut Vec::new();
        let frame = codec.push(scratch, "onPb", &json!({"a": 300})).unwrap();
        assert_eq!(frame.as_bytes(), b"\x04\0\0\x06\x07\0\x02\x08\xac\x02");
        let misfit = codec.push(scratch, "onPb", &json!({"zz": 1}));
        assert!(matches!(misfit, Err(CodecError::Misfit(_))));
        assert_eq!(
            codec.empty_push("onPb").unwrap().as_bytes(),
            b"\x04\0\0\x03\x07\0\x02"
        );
        let frame = codec
            .response(scratch, id(1), "a.b.c", &json!({"code": 200}))
            .unwrap();
        assert_eq!(frame.as_bytes(), b"\x04\0\0\x0e\x04\x01{\"code\":200}");
        let frame = codec.request(scratch, id(1), "x.y.z", &json!({})).unwrap();
        assert_eq!(frame.as_bytes(), b"\x04\0\0\x0a\0\x01\x05x.y.z{}");
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn long_bodies_are_compressed_only_on_request() {
        use crate::message::Message;
        use serde_json::Value;

        let body = json!({"text": "long ".repeat(100)});
        let codec = Codec {
            compress_from: Some(64),
            ..Codec::default()
        };
        let frame = codec.push(&mut Vec::new(), "onLong", &body).unwrap();
        assert!(frame.len() < 100);
        let bytes = frame.into_bytes();
        let message = Message::decode(&bytes[4..]).unwrap();
        assert!(message.compressed);
        let received = codec.body("onLong", bytes.slice_ref(message.body), true);
        assert_eq!(received.decode::<Value>().unwrap(), body);
        let bounded = Codec {
            max_inflated: 100,
            ..Codec::default()
        };
        assert!(
            bounded
                .body("onLong", received.bytes().unwrap(), true)
                .bytes()
                .is_ok()
        );
        assert!(
            bounded
                .body("onLong", bytes.slice_ref(message.body), true)
                .bytes()
                .is_err()
        );
        let plain = Codec::default()
            .push(&mut Vec::new(), "onLong", &body)
            .unwrap();
        assert!(plain.len() > 500);
    }
}
