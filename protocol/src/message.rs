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
    #[inline]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    #[inline]
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
    #[inline]
    pub const fn new(code: u16) -> Option<Self> {
        match NonZeroU16::new(code) {
            Some(code) => Some(Self(code)),
            None => None,
        }
    }

    /// The number on the wire.
    #[inline]
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

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The route whose name is [`shared`](Self::shared).
    pub(crate) const fn from_shared(name: Arc<str>) -> Self {
        Self(name)
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

/// The name of a route as its bytes stand in a message. Nothing is decided about them until
/// somebody asks: comparing is free, [`to_str`](Self::to_str) reads them as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteName<'a>(&'a [u8]);

impl<'a> RouteName<'a> {
    /// The bytes of the name: UTF-8 unless a peer wrote something else.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The name as text. Borrows, unless the bytes are no UTF-8: then CESU-8 pairs are joined and
    /// the rest is replaced by U+FFFD, as the original does, which can be longer than 255 bytes.
    #[inline]
    pub fn to_str(self) -> Cow<'a, str> {
        text::decode_utf8(self.0)
    }
}

impl<'a> From<&'a str> for RouteName<'a> {
    #[inline]
    fn from(name: &'a str) -> Self {
        Self(name.as_bytes())
    }
}

impl PartialEq<str> for RouteName<'_> {
    #[inline]
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for RouteName<'_> {
    #[inline]
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for RouteName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_str().fmt(f)
    }
}

impl fmt::Display for RouteName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_str().fmt(f)
    }
}

/// A route as a message carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the wire has two forms of route")]
pub enum WireRoute<'a> {
    /// The name.
    Name(RouteName<'a>),
    /// The dictionary's code.
    Code(RouteCode),
}

impl<'a> From<&'a str> for WireRoute<'a> {
    #[inline]
    fn from(name: &'a str) -> Self {
        Self::Name(name.into())
    }
}

impl From<RouteCode> for WireRoute<'_> {
    #[inline]
    fn from(code: RouteCode) -> Self {
        Self::Code(code)
    }
}

/// What precedes the body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    #[inline]
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
    /// [`EncodeError::RouteTooLong`] when a name is over 255 bytes; nothing is appended then.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub fn write(&self, out: &mut Vec<u8>, compressed: bool) -> Result<(), EncodeError> {
        let mut flag = (self.kind() as u8) << FLAG_KIND_SHIFT;
        if compressed {
            flag |= FLAG_COMPRESSED;
        }
        match *self {
            Self::Request { id, route } => write_route(out, flag, Some(id), route),
            Self::Notify { route } | Self::Push { route } => write_route(out, flag, None, route),
            Self::Response { id, error } => {
                if error {
                    flag |= FLAG_ERROR;
                }
                write_flag_and_id(out, flag, id);
                Ok(())
            }
        }
    }
}

#[cfg_attr(not(target_family = "wasm"), inline(always))]
fn write_route(
    out: &mut Vec<u8>,
    flag: u8,
    id: Option<Option<RequestId>>,
    route: WireRoute<'_>,
) -> Result<(), EncodeError> {
    match route {
        WireRoute::Code(code) => {
            let flag = flag | FLAG_ROUTE_CODE;
            match id {
                Some(id) => write_flag_and_id(out, flag, id),
                None => out.push(flag),
            }
            out.extend_from_slice(&code.get().to_be_bytes());
        }
        WireRoute::Name(RouteName(name)) => {
            let Ok(len) = u8::try_from(name.len()) else {
                return Err(EncodeError::RouteTooLong { len: name.len() });
            };
            match id {
                Some(id) => {
                    write_flag_and_id(out, flag, id);
                    out.push(len);
                }
                None => out.extend_from_slice(&[flag, len]),
            }
            out.extend_from_slice(name);
        }
    }
    Ok(())
}

/// Ids of one and two groups, those below 16384, are stored together with the flag.
#[cfg_attr(not(target_family = "wasm"), inline(always))]
fn write_flag_and_id(out: &mut Vec<u8>, flag: u8, id: Option<RequestId>) {
    let id = id.map_or(0, RequestId::get);
    let [low, ..] = id.to_le_bytes();
    let [second, ..] = (id >> 7).to_le_bytes();
    match id {
        0..0x80 => out.extend_from_slice(&[flag, low]),
        0x80..0x4000 => out.extend_from_slice(&[flag, low | 0x80, second]),
        _ => write_flag_and_long_id(out, flag, id),
    }
}

fn write_flag_and_long_id(out: &mut Vec<u8>, flag: u8, mut id: u64) {
    out.push(flag);
    while id > 0x7f {
        let [low, ..] = id.to_le_bytes();
        out.push(low | 0x80);
        id >>= 7;
    }
    let [last, ..] = id.to_le_bytes();
    out.push(last);
}

/// One message, borrowing from the package it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Decodes the body of a data package, without copying or allocating. Bits 6 and 7 of the
    /// flag are ignored, and so is the route bit of a response.
    ///
    /// # Errors
    /// [`DecodeError::EmptyMessage`], [`DecodeError::UnknownMessageKind`],
    /// [`DecodeError::MessageCut`], [`DecodeError::IdTooLong`], or
    /// [`DecodeError::UnknownRouteCode`] for code 0.
    #[inline]
    pub fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let (&flag, rest) = data.split_first().ok_or(DecodeError::EmptyMessage)?;
        let coded = flag & FLAG_ROUTE_CODE != 0;
        let (head, body) = match (flag >> FLAG_KIND_SHIFT) & FLAG_KIND_MASK {
            0 => {
                let (id, rest) = read_id(rest)?;
                let (route, body) = read_route(rest, coded)?;
                (MessageHead::Request { id, route }, body)
            }
            1 => {
                let (route, body) = read_route(rest, coded)?;
                (MessageHead::Notify { route }, body)
            }
            2 => {
                let (id, body) = read_id(rest)?;
                let error = flag & FLAG_ERROR != 0;
                (MessageHead::Response { id, error }, body)
            }
            3 => {
                let (route, body) = read_route(rest, coded)?;
                (MessageHead::Push { route }, body)
            }
            other => return Err(DecodeError::UnknownMessageKind(other)),
        };
        Ok(Self {
            head,
            compressed: flag & FLAG_COMPRESSED != 0,
            body,
        })
    }
}

// The helpers of `decode` and `write` are inlined by force: each is called from several arms, which
// keeps the compiler from doing it, and a call through memory is most of what they would cost. In
// a browser bytes count for more than that.

type Taken<'a, T> = Result<(T, &'a [u8]), DecodeError>;

/// Takes an id off `data`. Ids of one and two groups, those below 16384, are read in place.
#[cfg_attr(not(target_family = "wasm"), inline(always))]
fn read_id(data: &[u8]) -> Taken<'_, Option<RequestId>> {
    match *data {
        [last @ 0..0x80, ref rest @ ..] => Ok((RequestId::new(last.into()), rest)),
        [low, last @ 0..0x80, ref rest @ ..] => {
            let id = u64::from(low & 0x7f) | u64::from(last) << 7;
            Ok((RequestId::new(id), rest))
        }
        _ => read_long_id(data),
    }
}

fn read_long_id(data: &[u8]) -> Taken<'_, Option<RequestId>> {
    let mut rest = data;
    let mut id = 0_u64;
    for group in 0..MAX_ID_LEN {
        let (&byte, behind) = rest.split_first().ok_or(DecodeError::MessageCut)?;
        rest = behind;
        let bits = u64::from(byte & 0x7f);
        let shift = group * 7;
        if (bits << shift) >> shift != bits {
            return Err(DecodeError::IdTooLong);
        }
        id |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((RequestId::new(id), rest));
        }
    }
    Err(DecodeError::IdTooLong)
}

#[cfg_attr(not(target_family = "wasm"), inline(always))]
fn read_route(data: &[u8], coded: bool) -> Taken<'_, WireRoute<'_>> {
    if coded {
        let (code, rest) = data.split_first_chunk().ok_or(DecodeError::MessageCut)?;
        let code = u16::from_be_bytes(*code);
        let code = RouteCode::new(code).ok_or(DecodeError::UnknownRouteCode(code))?;
        return Ok((WireRoute::Code(code), rest));
    }
    let (&len, rest) = data.split_first().ok_or(DecodeError::MessageCut)?;
    let (name, rest) = rest
        .split_at_checked(len.into())
        .ok_or(DecodeError::MessageCut)?;
    Ok((WireRoute::Name(RouteName(name)), rest))
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
            0x3fff,
            0x4000,
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
        let MessageHead::Notify {
            route: WireRoute::Name(name),
        } = message.head
        else {
            panic!("{message:?}");
        };
        assert_eq!(name.as_bytes(), b"a\xff.");
        assert_eq!(name.to_str(), "a\u{fffd}.");
        assert_eq!(name.to_string(), "a\u{fffd}.");
        assert_ne!(name, "a\u{fffd}.");
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
