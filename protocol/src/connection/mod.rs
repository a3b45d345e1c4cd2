//! The two ends of a connection as state machines without IO or clock.
//!
//! # The rule
//!
//! After every input or command: take events with `poll_event` until `None`, send what
//! `poll_transmit` yields until `None`, then wait for bytes or for `poll_timeout`. Packages are
//! decoded as events are taken, so nothing is buffered that was not received.
//!
//! # What bad input gets
//!
//! | input | server | client |
//! |---|---|---|
//! | unknown package kind | close, [`DecodeError::UnknownPackageKind`] | same |
//! | a kind the side never receives (kick at a server) | close, [`DecodeError::UnexpectedPackage`] | acknowledgement: ignored |
//! | announced length over the limit | close before a byte is reserved, [`DecodeError::PackageTooLarge`] | same |
//! | stream ends inside a package | the part is dropped, [`CloseReason::Peer`] | same |
//! | several packages in one transport message | all are handled, in order | same |
//! | transport message ends inside a package, or has one to three bytes | what is whole is handled, then close, [`DecodeError::PackageCut`] | same |
//! | empty transport message | ignored | same |
//! | handshake that is no JSON or has no `sys` | answered 500, close, [`CloseReason::Handshake`] | response unusable: close, [`CloseReason::Handshake`] |
//! | second handshake | ignored | ignored |
//! | acknowledgement or heartbeat before the handshake is answered | ignored | ignored |
//! | data before the acknowledgement | [`Dropped::NotReady`] | same, before the response |
//! | handshake, acknowledgement and data in one write | handled in order | - |
//! | more than a handshake's worth of bytes while the application decides | close, [`DecodeError::TooMuchEarlyData`] | - |
//! | nothing acknowledged in time | close, [`CloseReason::HandshakeTimeout`] | no response in time: same |
//! | silence | close, [`CloseReason::HeartbeatTimeout`] | same |
//! | data package without a message | close, [`DecodeError::EmptyMessage`] | same |
//! | message cut in id, code or route; id over 64 bits; unknown kind | [`Dropped::Malformed`] | same |
//! | unknown route code | [`Dropped::Malformed`] | same |
//! | message of a kind for the other side | [`Dropped::UnexpectedKind`] | same |
//! | response to no pending request | - | [`Dropped::UnknownResponse`] |
//! | damaged compressed body, body that breaks its schema, body that is no JSON | error when the body is read ([`crate::BodyError`]) | same |
//! | compressed body that becomes too long, or far longer than it came | the same, or where the driver inflates it ([`crate::Body::inflate`]); `pomelo-server` kicks | same |
//! | peer that does not read | the sender gets [`SendError::Full`] | same |
//!
//! pomelo differs in that it closes on several packages in one message, pads cut ones with zeros,
//! stops serving a connection after a message it cannot decode, loses what comes in one write
//! with the handshake, and waits for a handshake for ever.

mod client;
mod outgoing;
mod pending;
mod server;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

pub use client::{ClientConnection, ClientEvent, RequestError};
pub use server::{ServerConnection, ServerEvent, ServerSettings};

use crate::error::{CloseReason, DecodeError, Dropped};
use crate::package::{Frame, Package, PackageDecoder};
use crate::time::Instant;

/// Limits and times of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The longest package body taken before the handshake is finished, in bytes. Default at a
    /// server: 64 KiB, far above any handshake, since strangers send it.
    pub max_handshake: u32,
    /// The longest package body taken afterwards, in bytes. Default: 1 MiB.
    pub max_package: u32,
    /// How long the handshake may take, from the first byte of the connection to the
    /// acknowledgement. Default: 10 s; pomelo waits for ever on WebSocket.
    pub handshake_timeout: Duration,
    /// Server: silence after which the connection is closed. Default: `None`, twice the
    /// heartbeat interval, as in pomelo.
    pub heartbeat_timeout: Option<Duration>,
    /// Server: only heartbeats count as a sign of life, as in pomelo, instead of any package.
    /// Default: false, which keeps clients that are busy sending data.
    pub strict_heartbeat: bool,
    /// Messages are handed out as they came, [`ServerEvent::Raw`] and [`ClientEvent::Raw`], for
    /// an application that rewrites them or has a codec of its own. Default: false.
    pub raw_messages: bool,
    /// Clients, in builds without the feature `gzip`: a compressed response to the handshake is
    /// told as [`ClientEvent::PackedHandshake`] for the application to inflate. Off by default:
    /// it ends the connection.
    pub application_inflates: bool,
    /// Client: the most requests that may wait for their responses. Default: 1024.
    pub max_pending: usize,
    /// The most frames that wait to be sent. Default: 1024.
    pub outbox_frames: usize,
    /// The most bytes that wait to be sent. Default: 4 MiB, four packages of the default limit.
    /// A single frame over it is taken when nothing else waits.
    pub outbox_bytes: usize,
}

impl Config {
    /// The defaults for a client: as for a server, but the handshake response, which brings the
    /// dictionary and schemas, may be as long as any package.
    pub fn client() -> Self {
        let server = Self::default();
        Self {
            max_handshake: server.max_package,
            ..server
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_handshake: 64 << 10,
            max_package: 1 << 20,
            handshake_timeout: Duration::from_secs(10),
            heartbeat_timeout: None,
            strict_heartbeat: false,
            max_pending: 1024,
            raw_messages: false,
            application_inflates: false,
            outbox_frames: 1024,
            outbox_bytes: 4 << 20,
        }
    }
}

/// A frame that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer does not read as fast as this side sends; the bounds are in [`Config`].
    #[error("outgoing queue is full")]
    Full,
    /// The handshake is not finished; pomelo drops such messages.
    #[error("handshake is not finished")]
    NotReady,
    /// The connection has ended.
    #[error("connection is closed")]
    Closed,
}

/// Frames on their way out, bounded.
#[derive(Debug, Default)]
struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Outbox {
    fn push(&mut self, frame: Frame, config: &Config) -> Result<(), SendError> {
        let full = self.frames.len() >= config.outbox_frames
            || self.bytes.saturating_add(frame.len()) > config.outbox_bytes;
        if full && !self.frames.is_empty() {
            return Err(SendError::Full);
        }
        self.push_control(frame);
        Ok(())
    }

    /// Handshakes, heartbeats and kicks: at most one per received package, and none in answer to
    /// a peer that has stopped reading (see the callers).
    fn push_control(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    #[inline]
    fn pop(&mut self) -> Option<Frame> {
        // Asked for after each message, most of which leave nothing here.
        if self.frames.is_empty() {
            return None;
        }
        self.pop_front()
    }

    fn pop_front(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        if self.frames.is_empty() {
            // Nothing stays reserved for the rest of a quiet connection.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What both sides have: received bytes, frames to send, and the end.
#[derive(Debug)]
struct Link {
    decoder: PackageDecoder,
    /// The bytes in the decoder are a whole transport message: packages must end with it.
    in_message: bool,
    /// Transport messages behind that one, which came while the application was deciding.
    #[expect(
        clippy::box_collection,
        reason = "rare, and so not a part of every connection's size"
    )]
    messages: Option<Box<VecDeque<Bytes>>>,
    /// The peer has sent its last byte.
    eof: bool,
    outbox: Outbox,
    now: Instant,
    ended: bool,
    /// Why, until the driver has been told.
    reason: Option<Box<CloseReason>>,
}

impl Link {
    fn new(now: Instant, max_body: u32) -> Self {
        Self {
            decoder: PackageDecoder::new(max_body),
            in_message: false,
            messages: None,
            eof: false,
            outbox: Outbox::default(),
            now,
            ended: false,
            reason: None,
        }
    }

    fn is_open(&self) -> bool {
        !self.ended
    }

    fn receive(&mut self, now: Instant, bytes: Bytes, whole_message: bool) {
        self.now = self.now.max(now);
        if !self.is_open() {
        } else if whole_message && self.waiting() > 0 {
            if !bytes.is_empty() {
                self.messages.get_or_insert_default().push_back(bytes);
            }
        } else {
            self.in_message = whole_message;
            self.decoder.push(bytes);
        }
    }

    fn receive_rest(&mut self, now: Instant, bytes: &mut &[u8]) {
        self.now = self.now.max(now);
        if self.is_open() && !self.in_message {
            self.decoder.push_rest(bytes);
        }
    }

    /// What received bytes that are not handled yet cost in memory.
    fn waiting(&self) -> usize {
        let messages = self.messages.iter().flat_map(|messages| messages.iter());
        let behind: usize = messages.map(|m| m.len() + size_of::<Bytes>()).sum();
        self.decoder.buffered() + behind
    }

    /// The next whole package. Ends the connection on a broken stream.
    #[inline]
    fn next_package(&mut self) -> Option<Package> {
        if !self.is_open() {
            return None;
        }
        match self.decoder.next_package() {
            Ok(Some(package)) => Some(package),
            Ok(None) => self.next_message(),
            Err(error) => {
                self.fail(CloseReason::Protocol(error));
                None
            }
        }
    }

    /// The first package of the next transport message, when the last one is used up.
    fn next_message(&mut self) -> Option<Package> {
        if self.in_message && self.decoder.buffered() > 0 {
            self.fail(CloseReason::Protocol(DecodeError::PackageCut));
            return None;
        }
        if let Some(next) = self.messages.as_mut().and_then(|m| m.pop_front()) {
            self.decoder.push(next);
            return self.next_package();
        }
        self.messages = None;
        if self.eof {
            self.fail(CloseReason::Peer);
        }
        None
    }

    /// Ends the connection; what waits in the outbox is still sent.
    fn end(&mut self, reason: CloseReason) {
        if self.is_open() {
            self.ended = true;
            self.reason = Some(Box::new(reason));
            self.decoder.discard();
            self.messages = None;
        }
    }

    /// Ends the connection at once.
    fn fail(&mut self, reason: CloseReason) {
        if self.is_open() {
            self.end(reason);
            self.outbox.clear();
        }
    }

    /// Ends the connection as the driver wants it; without a transport, or when the peer does not
    /// read, what waits is given up.
    fn close(&mut self, reason: CloseReason) {
        match reason {
            CloseReason::Transport | CloseReason::OutboxFull => self.fail(reason),
            reason => self.end(reason),
        }
    }

    /// A message error only loses the message, unless there was none: that ends the connection.
    fn message_fault(&mut self, error: DecodeError) -> Option<Dropped> {
        if error == DecodeError::EmptyMessage {
            self.fail(error.into());
            return None;
        }
        Some(Dropped::Malformed(error))
    }

    fn told(&mut self) -> Option<CloseReason> {
        self.reason.take().map(|reason| *reason)
    }
}

impl From<DecodeError> for CloseReason {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error)
    }
}
