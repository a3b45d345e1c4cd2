//! The message layer: the body of a data package.
//!
//! ```text
//! flag(1) [id(1..10)] [route] body
//!
//! flag bit  0     the route is a 2-byte code of the dictionary
//!      bits 1-3   kind: 0 request, 1 notify, 2 response, 3 push
//!      bit  4     the body is compressed
//!      bit  5     the response is an error (pitaya only)
//! ```

use core::fmt;
use core::num::{NonZeroU16, NonZeroU64};
use core::ops::Deref;
use std::borrow::{Borrow, Cow};
use std::sync::Arc;

use crate::error::{DecodeError, EncodeError};
use crate::text;

const FLAG_ROUTE_CODE: u8 = 0x01;
const FLAG_KIND_SHIFT: u8 = 1;
const FLAG_KIND_MASK: u8 = 0x07;
const FLAG_COMPRESSED: u8 = 0x10;
const FLAG_ERROR: u8 = 0x20;

/// Ten groups of seven bits hold 64 bits.
const MAX_ID_LEN: u32 = 10;
/// The longest plain route, in bytes: its length is one byte.
const MAX_ROUTE_LEN: usize = 0xff;

/// The four kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the wire has four kinds and is closed"
)]
pub enum MessageKind {
    /// Client to server, wants one response.
    Request = 0,
    /// Client to server, gets no response, not even an error.
    Notify = 1,
    /// Server to client, answers the request with the same id. Carries no route.
    Response = 2,
    /// Server to client, unasked.
    Push = 3,
}

/// The id that ties a response to its request. Chosen by the client; 0 on the wire means "none"
/// and cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(NonZeroU64);

impl RequestId {
    /// `None` for 0.
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The dictionary's code of a route, 1..=65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteCode(NonZeroU16);

impl RouteCode {
    /// `None` for 0, which is never assigned.
    pub const fn new(code: u16) -> Option<Self> {
        match NonZeroU16::new(code) {
            Some(code) => Some(Self(code)),
            None => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// The name of a route, at most 255 bytes of UTF-8. A clone costs a reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route(Arc<str>);

impl Route {
    /// A route with this name.
    ///
    /// # Errors
    /// [`EncodeError::RouteTooLong`] over 255 bytes.
    pub fn new(name: &str) -> Result<Self, EncodeError> {
        if name.len() > MAX_ROUTE_LEN {
            return Err(EncodeError::RouteTooLong { len: name.len() });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that came from the wire. Joining and replacing bad UTF-8 can make it longer than
    /// its bytes were; such a route matches nothing and is never sent.
    pub(crate) fn received(name: &str) -> Self {
        Self(name.into())
    }
}

impl Deref for Route {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Route {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A route as a message carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the wire has two forms of route")]
pub enum WireRoute<'a> {
    /// The name. Decoding joins CESU-8 pairs and replaces what is no UTF-8, as the original does.
    Name(Cow<'a, str>),
    /// The dictionary's code.
    Code(RouteCode),
}

impl<'a> From<&'a str> for WireRoute<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(Cow::Borrowed(name))
    }
}

impl From<RouteCode> for WireRoute<'_> {
    fn from(code: RouteCode) -> Self {
        Self::Code(code)
    }
}

/// What precedes the body of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the wire has four kinds and is closed"
)]
pub enum MessageHead<'a> {
    /// A request. An id of `None` is 0 on the wire: pomelo handles it like a notify, since no
    /// answer to it is possible.
    Request {
        /// To be echoed in the response.
        id: Option<RequestId>,
        /// Where it goes.
        route: WireRoute<'a>,
    },
    /// A notify.
    Notify {
        /// Where it goes.
        route: WireRoute<'a>,
    },
    /// A response. An id of `None` is 0 on the wire and answers nothing.
    Response {
        /// The id of the request.
        id: Option<RequestId>,
        /// pitaya's mark that the body is an error document.
        error: bool,
    },
    /// A push.
    Push {
        /// What it is about.
        route: WireRoute<'a>,
    },
}

impl MessageHead<'_> {
    /// The kind of message this head begins.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Request { .. } => MessageKind::Request,
            Self::Notify { .. } => MessageKind::Notify,
            Self::Response { .. } => MessageKind::Response,
            Self::Push { .. } => MessageKind::Push,
        }
    }

    /// Appends the head to `out`. `compressed` says that the body which follows is.
    ///
    /// # Errors
    /// [`EncodeError::RouteTooLong`]; nothing is appended then.
    pub fn write(&self, out: &mut Vec<u8>, compressed: bool) -> Result<(), EncodeError> {
        let mut flag = (self.kind() as u8) << FLAG_KIND_SHIFT;
        if compressed {
            flag |= FLAG_COMPRESSED;
        }
        let (id, route) = match self {
            Self::Request { id, route } => (Some(*id), Some(route)),
            Self::Notify { route } | Self::Push { route } => (None, Some(route)),
            Self::Response { id, error } => {
                if *error {
                    flag |= FLAG_ERROR;
                }
                (Some(*id), None)
            }
        };
        match route {
            Some(WireRoute::Code(_)) => flag |= FLAG_ROUTE_CODE,
            Some(WireRoute::Name(name)) if name.len() > MAX_ROUTE_LEN => {
                return Err(EncodeError::RouteTooLong { len: name.len() });
            }
            Some(WireRoute::Name(_)) | None => {}
        }
        out.push(flag);
        if let Some(id) = id {
            write_id(out, id.map_or(0, RequestId::get));
        }
        match route {
            Some(WireRoute::Code(code)) => out.extend_from_slice(&code.get().to_be_bytes()),
            Some(WireRoute::Name(name)) => {
                let [.., len] = name.len().to_be_bytes();
                out.push(len);
                out.extend_from_slice(name.as_bytes());
            }
            None => {}
        }
        Ok(())
    }
}

/// One message, borrowing from the package it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the wire is closed")]
pub struct Message<'a> {
    /// Kind, id and route.
    pub head: MessageHead<'a>,
    /// The flag that says the body is compressed. pomelo carries it through without acting on
    /// it, so a body with the flag may still be plain.
    pub compressed: bool,
    /// The body as it stands on the wire.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Decodes the body of a data package. Allocates only for a route that is no UTF-8. Bits 6
    /// and 7 of the flag are ignored, and so is the route bit of a response.
    ///
    /// # Errors
    /// [`DecodeError::EmptyMessage`], [`DecodeError::UnknownMessageKind`],
    /// [`DecodeError::MessageCut`], [`DecodeError::IdTooLong`], or
    /// [`DecodeError::UnknownRouteCode`] for code 0.
    pub fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(data);
        let flag = reader.byte().ok_or(DecodeError::EmptyMessage)?;
        let kind = (flag >> FLAG_KIND_SHIFT) & FLAG_KIND_MASK;
        let coded = flag & FLAG_ROUTE_CODE != 0;
        let head = match kind {
            0 => MessageHead::Request {
                id: reader.id()?,
                route: reader.route(coded)?,
            },
            1 => MessageHead::Notify {
                route: reader.route(coded)?,
            },
            2 => MessageHead::Response {
                id: reader.id()?,
                error: flag & FLAG_ERROR != 0,
            },
            3 => MessageHead::Push {
                route: reader.route(coded)?,
            },
            other => return Err(DecodeError::UnknownMessageKind(other)),
        };
        Ok(Self {
            head,
            compressed: flag & FLAG_COMPRESSED != 0,
            body: reader.0,
        })
    }
}

fn write_id(out: &mut Vec<u8>, mut id: u64) {
    while id > 0x7f {
        let [low, ..] = id.to_le_bytes();
        out.push(low | 0x80);
        id >>= 7;
    }
    let [low, ..] = id.to_le_bytes();
    out.push(low);
}

/// The only place that takes bytes off a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(DecodeError::MessageCut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn id(&mut self) -> Result<Option<RequestId>, DecodeError> {
        let mut id = 0_u64;
        for group in 0..MAX_ID_LEN {
            let byte = self.byte().ok_or(DecodeError::MessageCut)?;
            let bits = u64::from(byte & 0x7f);
            let shift = group * 7;
            if (bits << shift) >> shift != bits {
                return Err(DecodeError::IdTooLong);
            }
            id |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(RequestId::new(id));
            }
        }
        Err(DecodeError::IdTooLong)
    }

    fn route(&mut self, coded: bool) -> Result<WireRoute<'a>, DecodeError> {
        if coded {
            let code = match *self.take(2)? {
                [high, low] => u16::from_be_bytes([high, low]),
                _ => return Err(DecodeError::MessageCut),
            };
            let code = RouteCode::new(code).ok_or(DecodeError::UnknownRouteCode(code))?;
            return Ok(WireRoute::Code(code));
        }
        let len = self.byte().ok_or(DecodeError::MessageCut)?;
        Ok(WireRoute::Name(text::decode_utf8(
            self.take(usize::from(len))?,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> Option<RequestId> {
        RequestId::new(id)
    }

    #[test]
    fn ids_of_any_64_bits_come_back() {
        for value in [
            1,
            127,
            128,
            0x7fff_ffff,
            0x8000_0000,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            let head = MessageHead::Request {
                id: id(value),
                route: "a.b.c".into(),
            };
            head.write(&mut out, false).unwrap();
            out.extend_from_slice(b"{}");
            let message = Message::decode(&out).unwrap();
            assert_eq!(
                message,
                Message {
                    head,
                    compressed: false,
                    body: b"{}"
                }
            );
        }
    }

    #[test]
    fn an_id_over_64_bits_is_refused() {
        for bytes in [
            &[0xff; 11][..],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            let data = [&[0][..], bytes, &[0]].concat();
            assert_eq!(Message::decode(&data), Err(DecodeError::IdTooLong));
        }
    }

    #[test]
    fn every_cut_of_a_head_is_noticed() {
        for data in [
            &b"\x00\x80\x01\x05a.b.c"[..],
            b"\x01\x01\x00\x07",
            b"\x03\x00\x07",
        ] {
            assert!(Message::decode(data).is_ok());
            for cut in 1..data.len() {
                assert_eq!(Message::decode(&data[..cut]), Err(DecodeError::MessageCut));
            }
        }
        assert_eq!(Message::decode(b""), Err(DecodeError::EmptyMessage));
        assert_eq!(
            Message::decode(b"\x01\x01\x00\x00"),
            Err(DecodeError::UnknownRouteCode(0))
        );
    }

    #[test]
    fn a_response_has_no_route_whatever_its_flag_says() {
        let message = Message::decode(b"\xf5\x07{}").unwrap();
        assert_eq!(
            message.head,
            MessageHead::Response {
                id: id(7),
                error: true
            }
        );
        assert!(message.compressed);
        assert_eq!(message.body, b"{}");
    }

    #[test]
    fn a_route_that_is_no_utf8_becomes_one_that_nobody_has() {
        let message = Message::decode(b"\x02\x03a\xff.").unwrap();
        assert_eq!(
            message.head,
            MessageHead::Notify {
                route: "a\u{fffd}.".into()
            }
        );
    }

    #[test]
    fn a_route_over_255_bytes_is_refused() {
        let name = "x".repeat(256);
        let mut out = Vec::new();
        let head = MessageHead::Push {
            route: name.as_str().into(),
        };
        assert_eq!(
            head.write(&mut out, false),
            Err(EncodeError::RouteTooLong { len: 256 })
        );
        assert!(out.is_empty());
        assert!(Route::new(&name).is_err());
        assert!(Route::new(&name[1..]).is_ok());
    }
}
