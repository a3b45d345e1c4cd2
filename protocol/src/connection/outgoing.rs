//! What a client writes: bodies of both kinds, a Rust type's and a document.

use serde::Serialize;
use serde_json::Value;

use crate::codec::{Codec, CodecError};
use crate::json::Json;
use crate::message::{MessageHead, RequestId};
use crate::package::Frame;

/// A body on its way out.
pub(super) trait Outgoing<J> {
    /// To be kept until the handshake tells how it is written.
    fn document(&self) -> Result<J, CodecError>;

    fn write(&self, codec: &Codec, route: &str, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

pub(super) struct Typed<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Serialize + ?Sized> Outgoing<Value> for Typed<'_, T> {
    fn document(&self) -> Result<Value, CodecError> {
        Ok(serde_json::to_value(self.0)?)
    }

    fn write(&self, codec: &Codec, route: &str, out: &mut Vec<u8>) -> Result<(), CodecError> {
        codec.write_body(out, route, self.0)
    }
}

pub(super) struct Document<J>(pub(super) J);

impl<J: Json> Outgoing<J> for Document<J> {
    fn document(&self) -> Result<J, CodecError> {
        Ok(self.0.clone())
    }

    fn write(&self, codec: &Codec, route: &str, out: &mut Vec<u8>) -> Result<(), CodecError> {
        codec.write_document(out, route, &self.0)
    }
}

/// A request or, without an id, a notify; `None` for an empty body.
pub(super) fn encode<J>(
    codec: &Codec,
    scratch: &mut Vec<u8>,
    id: Option<RequestId>,
    route: &str,
    body: Option<&impl Outgoing<J>>,
) -> Result<Frame, CodecError> {
    let wire = codec.wire_route(route);
    let head = match id {
        Some(id) => MessageHead::Request {
            id: Some(id),
            route: wire,
        },
        None => MessageHead::Notify { route: wire },
    };
    codec.encode(scratch, &head, |out| match body {
        Some(body) => body.write(codec, route, out),
        None => Ok(()),
    })
}
