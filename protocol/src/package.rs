//! The package layer: one kind byte, a 24-bit big-endian length, the body.
//!
//! ```text
//! 0      1               4            4 + n
//! +------+---------------+-------------+
//! | kind | body length n | body        |
//! +------+---------------+-------------+
//! ```

use bytes::{Buf as _, Bytes};

use crate::error::{DecodeError, EncodeError};
use crate::pieces::Pieces;

/// Length of a package head, in bytes.
pub const HEAD_LEN: usize = 4;

/// The longest body a 24-bit length can announce, in bytes.
pub const MAX_BODY_LEN: usize = 0xff_ffff;

/// The five kinds of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the wire has five kinds and is closed"
)]
pub enum PackageKind {
    /// JSON documents that open a connection, one in each direction.
    Handshake = 0x01,
    /// The client has understood the handshake response. Empty.
    HandshakeAck = 0x02,
    /// A sign of life. Empty.
    Heartbeat = 0x03,
    /// One message.
    Data = 0x04,
    /// The server ends the session; JSON `{"reason":...}` or empty.
    Kick = 0x05,
}

impl PackageKind {
    /// The kind with this number on the wire.
    ///
    /// # Errors
    /// [`DecodeError::UnknownPackageKind`] when there is none.
    #[inline]
    pub const fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            0x01 => Self::Handshake,
            0x02 => Self::HandshakeAck,
            0x03 => Self::Heartbeat,
            0x04 => Self::Data,
            0x05 => Self::Kick,
            other => return Err(DecodeError::UnknownPackageKind(other)),
        })
    }
}

/// One received package that owns its body (a slice of the bytes it arrived in).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// What the body is.
    pub kind: PackageKind,
    /// The body; empty for acknowledgements and heartbeats.
    pub body: Bytes,
}

/// One received package that borrows its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageRef<'a> {
    /// What the body is.
    pub kind: PackageKind,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> PackageRef<'a> {
    /// Takes the first package off `input`, without copying or allocating. `Ok(None)`, with
    /// `input` untouched, when it does not hold a whole one.
    ///
    /// # Errors
    /// [`DecodeError::UnknownPackageKind`] from the first byte on, and
    /// [`DecodeError::PackageTooLarge`] as soon as the head announces more than `max_body` bytes.
    #[inline]
    pub fn split_from(input: &mut &'a [u8], max_body: u32) -> Result<Option<Self>, DecodeError> {
        let Some(head) = Head::parse(input, max_body)? else {
            return Ok(None);
        };
        let after_head = input.get(HEAD_LEN..).unwrap_or_default();
        let Some((body, rest)) = after_head.split_at_checked(head.len) else {
            return Ok(None);
        };
        *input = rest;
        Ok(Some(Self {
            kind: head.kind,
            body,
        }))
    }
}

struct Head {
    kind: PackageKind,
    len: usize,
}

impl Head {
    #[inline]
    fn parse(input: &[u8], max_body: u32) -> Result<Option<Self>, DecodeError> {
        let Some(&[kind, a, b, c]) = input.first_chunk::<HEAD_LEN>() else {
            return Self::check_start(input);
        };
        let kind = PackageKind::from_byte(kind)?;
        let len = u32::from_be_bytes([0, a, b, c]);
        if len > max_body {
            return Err(DecodeError::PackageTooLarge { len, max: max_body });
        }
        Ok(Some(Self {
            kind,
            len: len as usize,
        }))
    }

    /// The first byte alone tells a stranger; waiting for three more helps nobody.
    #[cold]
    fn check_start(input: &[u8]) -> Result<Option<Self>, DecodeError> {
        match input.first() {
            Some(&kind) => PackageKind::from_byte(kind).map(|_| None),
            None => Ok(None),
        }
    }
}

/// Cuts a byte stream into packages, however the bytes arrive.
///
/// Push chunks, then pull packages until `Ok(None)`. Packages that lie whole in one chunk are
/// slices of it; only a package that spans chunks is copied, into [`Pieces`] that grow with the
/// bytes that arrive and never with the length a head promises. Between packages the decoder
/// holds no buffer at all.
#[derive(Debug)]
pub struct PackageDecoder {
    /// The unread rest of the newest chunk.
    input: Bytes,
    /// The start of a package that spans chunks, never empty. There only while `input` is used up
    /// or about to complete it; rare enough to be worth no more than a pointer.
    partial: Option<Box<Pieces>>,
    max_body: u32,
    failed: Option<DecodeError>,
}

impl PackageDecoder {
    /// A decoder that refuses bodies over `max_body` bytes.
    pub fn new(max_body: u32) -> Self {
        Self {
            input: Bytes::new(),
            partial: None,
            max_body,
            failed: None,
        }
    }

    /// Changes the limit, in bytes, for packages whose head has not been taken yet.
    pub const fn set_max_body(&mut self, max_body: u32) {
        self.max_body = max_body;
    }

    /// Gives the decoder the next chunk of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        if self.failed.is_some() {
            return;
        }
        if self.input.is_empty() {
            self.input = chunk;
        } else {
            let mut joined = Vec::with_capacity(self.input.len() + chunk.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&chunk);
            self.input = joined.into();
        }
    }

    /// Takes what an unfinished package lacks off the front of `chunk`, which is as good as
    /// [`push`](Self::push)ing it and spares a buffer. Nothing is taken between packages, and
    /// nothing while an earlier chunk waits.
    pub fn push_rest(&mut self, chunk: &mut &[u8]) {
        let Some(partial) = self.partial.as_mut().filter(|_| self.input.is_empty()) else {
            return;
        };
        fill(partial, HEAD_LEN, chunk);
        // What is wrong with the head is told when the package is asked for.
        if let Ok(Some(head)) = Head::parse(partial.front(), self.max_body) {
            fill(partial, HEAD_LEN + head.len, chunk);
        }
    }

    /// The next package, or `Ok(None)` when more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError::UnknownPackageKind`] and [`DecodeError::PackageTooLarge`]. A stream cannot
    /// be read on after either: the same error is answered from then on and what was buffered is
    /// gone.
    #[inline]
    pub fn next_package(&mut self) -> Result<Option<Package>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let taken = if self.partial.is_none() {
            self.take()
        } else {
            self.complete()
        };
        taken.map_err(|error| self.fail(error))
    }

    #[cold]
    fn fail(&mut self, error: DecodeError) -> DecodeError {
        self.failed = Some(error);
        self.discard();
        error
    }

    /// How many bytes wait in the decoder.
    pub fn buffered(&self) -> usize {
        self.unfinished() + self.input.len()
    }

    /// How many bytes have come of a package that is not whole, once
    /// [`next_package`](Self::next_package) has said so.
    pub fn unfinished(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.len())
    }

    /// Forgets all buffered bytes.
    pub fn discard(&mut self) {
        self.input = Bytes::new();
        self.partial = None;
    }

    /// A package that lies in the newest chunk from its first byte on.
    #[inline]
    fn take(&mut self) -> Result<Option<Package>, DecodeError> {
        let Some(head) = Head::parse(&self.input, self.max_body)? else {
            return Ok(self.keep_partial());
        };
        let body = match self.input.len().checked_sub(HEAD_LEN + head.len) {
            None => return Ok(self.keep_partial()),
            // Most chunks are one package: nothing is shared then, and no chunk is pinned
            // for as long as the connection is quiet.
            Some(0) => {
                let mut package = core::mem::take(&mut self.input);
                package.advance(HEAD_LEN);
                package
            }
            Some(_) => {
                self.input.advance(HEAD_LEN);
                self.input.split_to(head.len)
            }
        };
        Ok(Some(Package {
            kind: head.kind,
            body,
        }))
    }

    /// A package that an earlier chunk began.
    fn complete(&mut self) -> Result<Option<Package>, DecodeError> {
        let Some(partial) = &mut self.partial else {
            return Ok(None);
        };
        let mut input = &*self.input;
        fill(partial, HEAD_LEN, &mut input);
        let head = Head::parse(partial.front(), self.max_body)?;
        if let Some(head) = &head {
            fill(partial, HEAD_LEN + head.len, &mut input);
        }
        let taken = self.input.len() - input.len();
        self.input.advance(taken);
        if self.input.is_empty() {
            // An empty rest would pin the chunk.
            self.input = Bytes::new();
        }
        let Some(head) = head.filter(|head| partial.len() == HEAD_LEN + head.len) else {
            return Ok(None);
        };
        let mut body = Bytes::from(partial.join());
        self.partial = None;
        body.advance(HEAD_LEN);
        Ok(Some(Package {
            kind: head.kind,
            body,
        }))
    }

    fn keep_partial(&mut self) -> Option<Package> {
        let input = core::mem::take(&mut self.input);
        if !input.is_empty() {
            self.partial.get_or_insert_default().push(&input);
        }
        None
    }
}

/// Moves bytes over until there are as many as wanted.
fn fill(partial: &mut Pieces, want: usize, input: &mut &[u8]) {
    let missing = want.saturating_sub(partial.len()).min(input.len());
    partial.push(input.split_off(..missing).unwrap_or_default());
}

/// Appends one package to `out`; its body is what `body` appends. The length is patched in
/// afterwards, so nothing is built twice.
///
/// # Errors
/// What `body` answers, or [`EncodeError::PackageTooLarge`]. `out` is then as long as before.
#[inline]
pub fn write_package<E: From<EncodeError>>(
    out: &mut Vec<u8>,
    kind: PackageKind,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    // Told as it comes: a result that is passed on is copied each time.
    if let Err(error) = body(out) {
        out.truncate(start);
        return Err(error);
    }
    if let Err(error) = patch_len(out, start) {
        out.truncate(start);
        return Err(error.into());
    }
    Ok(())
}

#[inline]
fn patch_len(out: &mut [u8], start: usize) -> Result<(), EncodeError> {
    let len = out.len().saturating_sub(start + HEAD_LEN);
    if len > MAX_BODY_LEN {
        return Err(EncodeError::PackageTooLarge { len });
    }
    let [.., a, b, c] = len.to_be_bytes();
    if let Some(field) = out.get_mut(start + 1..start + HEAD_LEN) {
        field.copy_from_slice(&[a, b, c]);
    }
    Ok(())
}

/// The longest head of an unmasked WebSocket frame, in bytes.
const WEBSOCKET_HEAD_MAX: usize = 10;
/// FIN and opcode 2 (binary) of RFC 6455.
const WEBSOCKET_BINARY: u8 = 0x82;

/// One encoded package, ready to be sent to any number of peers: a clone costs a reference count.
///
/// The unmasked WebSocket frame that a server wraps around a package depends on nothing but the
/// package, so it is built along with it and serves every WebSocket receiver too.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// WebSocket head, then the package.
    wire: Bytes,
}

impl Frame {
    /// A package whose body is what `body` appends to the vector it is given.
    ///
    /// `scratch` is overwritten; keep it for the next frame so that encoding allocates only the
    /// exactly sized bytes of the frame itself.
    ///
    /// # Errors
    /// What `body` answers, or [`EncodeError::PackageTooLarge`].
    pub fn build<E: From<EncodeError>>(
        scratch: &mut Vec<u8>,
        kind: PackageKind,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        Ok(FrameRef::build(scratch, kind, body)?.to_frame())
    }

    /// A package with this body.
    ///
    /// # Errors
    /// [`EncodeError::PackageTooLarge`] when the body is over [`MAX_BODY_LEN`].
    pub fn new(kind: PackageKind, body: &[u8]) -> Result<Self, EncodeError> {
        let capacity = WEBSOCKET_HEAD_MAX + HEAD_LEN + body.len().min(MAX_BODY_LEN);
        Self::build(&mut Vec::with_capacity(capacity), kind, |out| {
            if body.len() > MAX_BODY_LEN {
                return Err(EncodeError::PackageTooLarge { len: body.len() });
            }
            out.extend_from_slice(body);
            Ok(())
        })
    }

    /// The heartbeat package.
    pub const fn heartbeat() -> Self {
        Self {
            wire: Bytes::from_static(&[WEBSOCKET_BINARY, 4, 0x03, 0, 0, 0]),
        }
    }

    /// The handshake acknowledgement package.
    pub const fn handshake_ack() -> Self {
        Self {
            wire: Bytes::from_static(&[WEBSOCKET_BINARY, 4, 0x02, 0, 0, 0]),
        }
    }

    /// A kick package with the body `{"reason":<reason>}`, the form pomelo's hybridconnector
    /// sends. The reason is cut at a character so that the package stays under 64 KiB.
    pub fn kick(reason: &str) -> Self {
        // Worst case of JSON escaping is six bytes a byte.
        const MAX_REASON: usize = 10_000;
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = reason.get(..end).unwrap_or_default();
        let body = format!("{{\"reason\":{}}}", serde_json::Value::from(reason));
        match Self::new(PackageKind::Kick, body.as_bytes()) {
            Ok(frame) => frame,
            Err(_) => Self {
                wire: Bytes::from_static(&[WEBSOCKET_BINARY, 4, 0x05, 0, 0, 0]),
            },
        }
    }

    /// The frame, borrowed.
    pub fn borrowed(&self) -> FrameRef<'_> {
        let wire = &*self.wire;
        FrameRef {
            wire,
            package: wire.get(self.websocket_head_len()..).unwrap_or_default(),
        }
    }

    /// The package, as it goes over TCP.
    pub fn as_bytes(&self) -> &[u8] {
        self.borrowed().as_bytes()
    }

    /// The package in an unmasked binary WebSocket frame, as a server sends it.
    pub fn as_websocket(&self) -> &[u8] {
        &self.wire
    }

    /// The package as shared bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        let head = self.websocket_head_len();
        let mut wire = self.wire;
        wire.advance(head);
        wire
    }

    /// The package in an unmasked binary WebSocket frame as shared bytes, without a copy.
    pub fn into_websocket(self) -> Bytes {
        self.wire
    }

    /// The head of an unmasked binary WebSocket message of `len` bytes, for several packages
    /// ([`into_bytes`](Self::into_bytes)) in one message.
    pub fn websocket_head(len: usize) -> Bytes {
        let (head, head_len) = websocket_head(len);
        let head = head.get(WEBSOCKET_HEAD_MAX - head_len..);
        Bytes::copy_from_slice(head.unwrap_or_default())
    }

    /// Length of the package, in bytes, its head included.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a package has at least its head"
    )]
    pub fn len(&self) -> usize {
        self.wire.len() - self.websocket_head_len()
    }

    fn websocket_head_len(&self) -> usize {
        websocket_head_len(&self.wire)
    }
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Frame")
            .field(&format_args!("{} bytes", self.len()))
            .finish()
    }
}

/// One encoded package in borrowed memory: a [`Frame`] for a single receiver, who copies it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// WebSocket head, then the package.
    wire: &'a [u8],
    package: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// A package whose body is what `body` appends to the vector it is given: `scratch`, which is
    /// overwritten.
    ///
    /// # Errors
    /// What `body` answers, or [`EncodeError::PackageTooLarge`].
    #[inline]
    pub fn build<E: From<EncodeError>>(
        scratch: &'a mut Vec<u8>,
        kind: PackageKind,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        scratch.clear();
        scratch.extend_from_slice(&[0; WEBSOCKET_HEAD_MAX]);
        write_package(scratch, kind, body)?;
        let head_len = write_websocket_head(scratch);
        let wire = scratch
            .get(WEBSOCKET_HEAD_MAX - head_len..)
            .unwrap_or_default();
        let package = scratch.get(WEBSOCKET_HEAD_MAX..).unwrap_or_default();
        Ok(Self { wire, package })
    }

    /// The package, as it goes over TCP.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.package
    }

    /// The package in an unmasked binary WebSocket frame, as a server sends it.
    #[inline]
    pub const fn as_websocket(self) -> &'a [u8] {
        self.wire
    }

    /// A frame of its own: one allocation.
    pub fn to_frame(self) -> Frame {
        Frame {
            wire: Bytes::copy_from_slice(self.wire),
        }
    }
}

impl core::fmt::Debug for FrameRef<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FrameRef")
            .field(&format_args!("{} bytes", self.as_bytes().len()))
            .finish()
    }
}

fn websocket_head_len(wire: &[u8]) -> usize {
    match wire.get(1) {
        Some(126) => 4,
        Some(127) => WEBSOCKET_HEAD_MAX,
        _ => 2,
    }
}

/// Writes the WebSocket head right before the package in `scratch`; answers its length.
fn write_websocket_head(scratch: &mut [u8]) -> usize {
    let len = scratch.len().saturating_sub(WEBSOCKET_HEAD_MAX);
    let (head, head_len) = websocket_head(len);
    if let Some(place) = scratch.first_chunk_mut::<WEBSOCKET_HEAD_MAX>() {
        *place = head;
    }
    head_len
}

/// The head of a message of `len` bytes, at the end of the array, and its length.
fn websocket_head(len: usize) -> ([u8; WEBSOCKET_HEAD_MAX], usize) {
    let bytes = (len as u64).to_be_bytes();
    let [.., high, low] = bytes;
    match len {
        0..126 => ([0, 0, 0, 0, 0, 0, 0, 0, WEBSOCKET_BINARY, low], 2),
        126..0x1_0000 => ([0, 0, 0, 0, 0, 0, WEBSOCKET_BINARY, 126, high, low], 4),
        _ => {
            let mut head = [WEBSOCKET_BINARY; WEBSOCKET_HEAD_MAX];
            let [_, mark, field @ ..] = &mut head;
            *mark = 127;
            *field = bytes;
            (head, WEBSOCKET_HEAD_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(decoder: &mut PackageDecoder) -> Vec<(PackageKind, Vec<u8>)> {
        let mut packages = Vec::new();
        while let Some(package) = decoder.next_package().unwrap() {
            packages.push((package.kind, package.body.to_vec()));
        }
        packages
    }

    #[test]
    fn a_chunk_that_is_used_up_is_let_go() {
        for first in [
            &b"\x04\0\0\x01a"[..],
            b"\x04\0\0\x01a\x03\0\0\0",
            b"\x04\0\0",
        ] {
            let mut decoder = PackageDecoder::new(10);
            let chunks = [first, b"\x01a"].map(Bytes::copy_from_slice);
            decoder.push(chunks[0].clone());
            drain(&mut decoder);
            assert!(chunks[0].is_unique(), "{first:?}");
            if decoder.buffered() > 0 {
                decoder.push(chunks[1].clone());
                assert_eq!(drain(&mut decoder).len(), 1);
                assert!(chunks[1].is_unique());
            }
        }
    }

    #[test]
    fn a_stream_is_cut_at_every_byte() {
        let mut stream = Vec::new();
        for (kind, body) in [
            (PackageKind::Handshake, &b"{}"[..]),
            (PackageKind::HandshakeAck, b""),
            (PackageKind::Data, &[7; 300]),
            (PackageKind::Heartbeat, b""),
        ] {
            stream.extend_from_slice(Frame::new(kind, body).unwrap().as_bytes());
        }
        let mut whole = PackageDecoder::new(1024);
        whole.push(Bytes::from(stream.clone()));
        let expected = drain(&mut whole);
        assert_eq!(expected.len(), 4);
        for cut in 0..stream.len() {
            let mut decoder = PackageDecoder::new(1024);
            decoder.push(Bytes::copy_from_slice(&stream[..cut]));
            let mut got = drain(&mut decoder);
            decoder.push(Bytes::copy_from_slice(&stream[cut..]));
            got.extend(drain(&mut decoder));
            assert_eq!(got, expected, "cut at {cut}");
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_long_package_is_the_same_however_it_comes() {
        let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let long = Frame::new(PackageKind::Data, &body).unwrap();
        let stream = [long.as_bytes(), Frame::heartbeat().as_bytes()].concat();
        for piece in [1, 3, 1000, 16 << 10, (16 << 10) + 4, 65_536, 99_999] {
            let mut decoder = PackageDecoder::new(100_000);
            let mut got = Vec::new();
            for (place, mut chunk) in stream.chunks(piece).enumerate() {
                if place % 2 == 1 {
                    decoder.push_rest(&mut chunk);
                }
                decoder.push(Bytes::copy_from_slice(chunk));
                got.extend(drain(&mut decoder));
                if got.is_empty() {
                    let so_far = (place + 1) * piece;
                    assert_eq!((decoder.unfinished(), decoder.buffered()), (so_far, so_far));
                }
            }
            let heartbeat = (PackageKind::Heartbeat, Vec::new());
            assert_eq!(got, [(PackageKind::Data, body.clone()), heartbeat]);
            assert_eq!((decoder.unfinished(), decoder.buffered()), (0, 0));
        }
    }

    #[test]
    fn a_rest_does_not_overtake_a_chunk_that_waits() {
        let mut decoder = PackageDecoder::new(10);
        let mut rest = &b"a"[..];
        decoder.push_rest(&mut rest);
        assert_eq!(rest, b"a", "nothing has begun");
        decoder.push(Bytes::from_static(b"\x04\0\0"));
        assert_eq!(drain(&mut decoder), []);
        decoder.push(Bytes::from_static(b"\x02"));
        decoder.push_rest(&mut rest);
        assert_eq!(rest, b"a");
        decoder.push(Bytes::copy_from_slice(rest));
        assert_eq!(drain(&mut decoder), []);
        let mut rest = &b"b\x03\0\0\0"[..];
        decoder.push_rest(&mut rest);
        assert_eq!(rest, b"\x03\0\0\0", "no more than is lacking");
        assert_eq!(drain(&mut decoder), [(PackageKind::Data, b"ab".to_vec())]);
    }

    #[test]
    fn an_oversize_head_is_refused_before_a_byte_is_reserved() {
        let mut decoder = PackageDecoder::new(100);
        decoder.push(Bytes::from_static(&[4, 0xff, 0xff]));
        assert_eq!(decoder.next_package(), Ok(None));
        decoder.push(Bytes::from_static(&[0xff]));
        let error = DecodeError::PackageTooLarge {
            len: 0xff_ffff,
            max: 100,
        };
        assert_eq!(decoder.next_package(), Err(error));
        assert_eq!(decoder.buffered(), 0);
        decoder.push(Bytes::from_static(&[3, 0, 0, 0]));
        assert_eq!(
            decoder.next_package(),
            Err(error),
            "the stream has lost its place"
        );
    }

    #[test]
    fn a_promised_length_reserves_nothing() {
        let mut decoder = PackageDecoder::new(0xff_ffff);
        decoder.push(Bytes::from_static(&[4, 0xff, 0xff, 0xff, 1, 2, 3]));
        assert_eq!(decoder.next_package(), Ok(None));
        assert_eq!(decoder.unfinished(), 7);
        // Pieces reserve little more than they hold.
        let partial = decoder.partial.as_ref().unwrap();
        assert_eq!(partial.front(), [4, 0xff, 0xff, 0xff, 1, 2, 3]);
    }

    #[test]
    fn the_websocket_frame_is_right_at_each_length_form() {
        for (len, head) in [
            (0, vec![0x82, 4]),
            (121, vec![0x82, 125]),
            (122, vec![0x82, 126, 0, 126]),
            (65_531, vec![0x82, 126, 0xff, 0xff]),
            (65_532, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = Frame::new(PackageKind::Data, &vec![9; len]).unwrap();
            assert_eq!(frame.len(), len + HEAD_LEN);
            assert_eq!(frame.as_websocket(), [&head, frame.as_bytes()].concat());
            assert_eq!(frame.clone().into_bytes(), frame.as_bytes());
        }
        assert_eq!(
            Frame::heartbeat(),
            Frame::new(PackageKind::Heartbeat, b"").unwrap()
        );
        assert_eq!(
            Frame::handshake_ack(),
            Frame::new(PackageKind::HandshakeAck, b"").unwrap()
        );
    }

    #[test]
    fn a_body_over_24_bits_is_refused() {
        let body = vec![0; MAX_BODY_LEN + 1];
        let error = EncodeError::PackageTooLarge {
            len: MAX_BODY_LEN + 1,
        };
        assert_eq!(Frame::new(PackageKind::Data, &body), Err(error));
        assert!(Frame::new(PackageKind::Data, &body[1..]).is_ok());
        let mut out = vec![1, 2];
        let written = write_package(&mut out, PackageKind::Data, |out| {
            out.extend_from_slice(&body);
            Ok::<_, EncodeError>(())
        });
        assert_eq!((written, out), (Err(error), vec![1, 2]));
    }

    #[test]
    fn a_kick_reason_is_json_and_bounded() {
        assert_eq!(
            Frame::kick("x\"y").as_bytes(),
            b"\x05\0\0\x11{\"reason\":\"x\\\"y\"}"
        );
        assert!(Frame::kick(&"\u{1}人".repeat(20_000)).len() < 65_536);
    }
}
