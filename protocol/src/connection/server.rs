//! The server's end: `Start -> Deciding -> AwaitAck -> Working -> closed`, after pomelo 2.2.7
//! `connectors/hybridsocket.js` and `connectors/common/handler.js`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use serde_json::Value;

use super::{Config, Link, SendError};
use crate::body::Body;
use crate::codec::Codec;
use crate::error::{CloseReason, DecodeError, Dropped};
use crate::handshake::{self, HandshakeRequest, Kept, Offer, Responses};
use crate::message::{Message, MessageHead, RequestId, Route};
use crate::package::{Frame, Package, PackageKind};
use crate::time::Instant;

/// What all connections of one connector share.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Limits and times.
    pub config: Config,
    /// What the handshake offers.
    pub offer: Offer,
    /// How messages are written. Its dictionary and schemas should be those of the offer.
    pub codec: Codec,
    /// Made of the offer when they are needed first.
    pub(crate) responses: Responses,
}

impl ServerSettings {
    /// How long a client may be silent; `None` without heartbeats.
    fn patience(&self) -> Option<Duration> {
        let interval = self
            .offer
            .heartbeat
            .filter(|interval| !interval.is_zero())?;
        let timeout = self.config.heartbeat_timeout;
        Some(timeout.unwrap_or_else(|| interval.saturating_mul(2)))
    }
}

/// What happened on a server's connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The client wants in. Answer with [`ServerConnection::accept`] or
    /// [`ServerConnection::reject`]; until then nothing more is taken from the client.
    Handshake(HandshakeRequest),
    /// The client has acknowledged: messages flow.
    Ready,
    /// A request; answer it with [`ServerConnection::send`] of a response.
    Request {
        /// To be given to the response.
        id: RequestId,
        /// Where it goes.
        route: Route,
        /// What it says.
        body: Body,
    },
    /// A message that gets no answer.
    Notify {
        /// Where it goes.
        route: Route,
        /// What it says.
        body: Body,
    },
    /// A message that is not decoded yet, only with
    /// [`Config::raw_messages`](super::Config::raw_messages): flag, id, route and body. Give it,
    /// or what it is meant to be, to [`ServerConnection::decode`].
    Raw(Bytes),
    /// A message was ignored.
    Dropped(Dropped),
    /// The connection has ended; told once. Send what `poll_transmit` still yields, then close
    /// the transport.
    Closed(CloseReason),
}

/// The server's end of one connection. The order of calls is in the
/// [module documentation](super).
#[derive(Debug)]
pub struct ServerConnection {
    settings: Arc<ServerSettings>,
    link: Link,
    state: State,
    /// When the connection began; from the acknowledgement on when the client last gave a sign of
    /// life. The deadline is counted from it when somebody asks: signs of life are many.
    since: Instant,
}

#[derive(Debug)]
enum State {
    Start,
    /// The application has the request.
    Deciding(Kept),
    AwaitAck,
    Working,
}

impl ServerConnection {
    /// A connection whose first byte is yet to come. The handshake must be finished within its
    /// timeout from `now`.
    pub fn new(now: Instant, settings: Arc<ServerSettings>) -> Self {
        Self {
            link: Link::new(now, settings.config.max_handshake),
            state: State::Start,
            since: now,
            settings,
        }
    }

    /// Bytes of a stream, cut anywhere.
    pub fn handle_data(&mut self, now: Instant, bytes: Bytes) {
        self.receive(now, bytes, false);
    }

    /// Takes the rest of a package that has begun, as far as it is there, off the front of a piece
    /// of a stream: the same as [`handle_data`](Self::handle_data) with one buffer less, which
    /// counts where packages are long. Nothing is taken between packages.
    pub fn handle_rest(&mut self, now: Instant, bytes: &mut &[u8]) {
        self.link.receive_rest(now, bytes);
    }

    /// One message of a message-based transport: whole packages, any number of them.
    pub fn handle_message(&mut self, now: Instant, bytes: Bytes) {
        self.receive(now, bytes, true);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Harmless when called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.now = self.link.now.max(now);
        if self
            .deadline()
            .is_none_or(|deadline| self.link.now < deadline)
        {
            return;
        }
        self.link.fail(match self.state {
            State::Working => CloseReason::HeartbeatTimeout,
            State::Start | State::Deciding(_) | State::AwaitAck => CloseReason::HandshakeTimeout,
        });
    }

    /// How many bytes have come of a package that is not whole, once there are no more events.
    pub fn unfinished(&self) -> usize {
        self.link.decoder.unfinished()
    }

    /// The peer will send nothing more. What it sent before is still taken.
    pub fn handle_eof(&mut self, now: Instant) {
        self.link.now = self.link.now.max(now);
        self.link.eof = true;
    }

    /// Lets the client in. `user` is what the application has to say to it. Does nothing unless a
    /// handshake is waiting.
    pub fn accept(&mut self, now: Instant, user: Option<&Value>) {
        self.link.now = self.link.now.max(now);
        if !self.link.is_open() {
            return;
        }
        let State::Deciding(kept) = self.state else {
            return;
        };
        let settings = &self.settings;
        match settings.responses.frame(&settings.offer, kept, user) {
            Some(frame) => {
                self.link.outbox.push_control(frame);
                self.state = State::AwaitAck;
            }
            // User data of 16 MiB: the client cannot be told anything but no.
            None => self.refuse(handshake::CODE_REFUSED),
        }
    }

    /// Refuses the client with this code ([`handshake::CODE_REFUSED`] or
    /// [`handshake::CODE_OLD_CLIENT`]) and ends the connection. Does nothing unless a handshake is
    /// waiting.
    pub fn reject(&mut self, now: Instant, code: u16) {
        self.link.now = self.link.now.max(now);
        if matches!(self.state, State::Deciding(_)) {
            self.refuse(code);
        }
    }

    fn refuse(&mut self, code: u16) {
        self.refuse_because(code, CloseReason::Rejected(i64::from(code)));
    }

    fn refuse_because(&mut self, code: u16, reason: CloseReason) {
        if !self.link.is_open() {
            return;
        }
        let text = handshake::refusal_text(code);
        if let Ok(frame) = Frame::new(PackageKind::Handshake, text.as_bytes()) {
            self.link.outbox.push_control(frame);
        }
        self.link.end(reason);
    }

    /// Sends a response or push made with the codec of the settings.
    ///
    /// # Errors
    /// [`SendError`]; the frame is not sent then and the caller decides what that means.
    pub fn send(&mut self, frame: Frame) -> Result<(), SendError> {
        if !self.link.is_open() {
            return Err(SendError::Closed);
        }
        if !matches!(self.state, State::Working) {
            return Err(SendError::NotReady);
        }
        self.link.outbox.push(frame, &self.settings.config)
    }

    /// Ends the session and tells the client why, behind everything already sent. Before the
    /// acknowledgement the client is not told, as in pomelo.
    pub fn kick(&mut self, reason: &str) {
        if !self.link.is_open() {
            return;
        }
        if matches!(self.state, State::Working) {
            self.link.outbox.push_control(Frame::kick(reason));
        }
        self.link.end(CloseReason::Kicked(Some(reason.to_owned())));
    }

    /// Ends the connection; what was sent before still goes out, except after
    /// [`CloseReason::Transport`] and [`CloseReason::OutboxFull`].
    pub fn close(&mut self, reason: CloseReason) {
        self.link.close(reason);
    }

    /// Decodes the message of a data package: what is done without being asked unless
    /// [`Config::raw_messages`](super::Config::raw_messages) is on. `None`: it is empty, which
    /// ends the connection.
    pub fn decode(&mut self, data: &Bytes) -> Option<ServerEvent> {
        self.message(data.clone())
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        loop {
            if !self.link.is_open() {
                return self.link.told().map(ServerEvent::Closed);
            }
            if matches!(self.state, State::Deciding(_)) {
                return None;
            }
            let Some(package) = self.link.next_package() else {
                if self.link.is_open() {
                    return None;
                }
                continue;
            };
            if let Some(event) = self.handle_package(package) {
                return Some(event);
            }
        }
    }

    /// The next frame to send.
    #[inline]
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        self.link.outbox.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` after the end and
    /// while no heartbeats are agreed on.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline().filter(|_| self.link.is_open())
    }

    /// Whether the client has acknowledged and the connection has not ended.
    pub fn is_working(&self) -> bool {
        self.link.is_open() && matches!(self.state, State::Working)
    }

    fn receive(&mut self, now: Instant, bytes: Bytes, whole_message: bool) {
        self.link.receive(now, bytes, whole_message);
        // Nothing is taken until the application has decided, and it may take its time.
        let max = self.settings.config.max_handshake;
        let len = u32::try_from(self.link.waiting()).unwrap_or(u32::MAX);
        if matches!(self.state, State::Deciding(_)) && len > max {
            self.link
                .fail(DecodeError::TooMuchEarlyData { len, max }.into());
        }
    }

    fn handle_package(&mut self, package: Package) -> Option<ServerEvent> {
        if matches!(self.state, State::Working)
            && (package.kind == PackageKind::Heartbeat || !self.settings.config.strict_heartbeat)
        {
            self.since = self.link.now;
        }
        match (package.kind, &self.state) {
            (PackageKind::Handshake, State::Start) => {
                match HandshakeRequest::parse(&package.body) {
                    Ok(request) => {
                        self.state = State::Deciding(self.settings.offer.kept_by(&request));
                        return Some(ServerEvent::Handshake(request));
                    }
                    Err(error) => {
                        self.refuse_because(handshake::CODE_REFUSED, CloseReason::Handshake(error))
                    }
                }
            }
            (PackageKind::HandshakeAck, State::AwaitAck) => {
                self.state = State::Working;
                self.link
                    .decoder
                    .set_max_body(self.settings.config.max_package);
                self.since = self.link.now;
                if self.settings.patience().is_some() {
                    self.link.outbox.push_control(Frame::heartbeat());
                }
                return Some(ServerEvent::Ready);
            }
            (PackageKind::Heartbeat, State::Working) => {
                // A peer that sends heartbeats without reading the answers gets no more of them.
                if self.settings.patience().is_some() {
                    let _ = self
                        .link
                        .outbox
                        .push(Frame::heartbeat(), &self.settings.config);
                }
            }
            (PackageKind::Data, State::Working) if self.settings.config.raw_messages => {
                return Some(ServerEvent::Raw(package.body));
            }
            (PackageKind::Data, State::Working) => return self.message(package.body),
            (PackageKind::Data, _) => return Some(ServerEvent::Dropped(Dropped::NotReady)),
            (PackageKind::Kick, _) => {
                self.link
                    .fail(DecodeError::UnexpectedPackage(PackageKind::Kick).into());
            }
            (
                PackageKind::Handshake | PackageKind::HandshakeAck | PackageKind::Heartbeat,
                State::Start | State::Deciding(_) | State::AwaitAck | State::Working,
            ) => {}
        }
        None
    }

    /// Until when the client must have acknowledged; then until when it must have sent something,
    /// if heartbeats are agreed on.
    fn deadline(&self) -> Option<Instant> {
        let patience = match self.state {
            State::Working => self.settings.patience()?,
            State::Start | State::Deciding(_) | State::AwaitAck => {
                self.settings.config.handshake_timeout
            }
        };
        Some(self.since + patience)
    }

    fn message(&mut self, data: Bytes) -> Option<ServerEvent> {
        match self.message_event(data) {
            Ok(event) => Some(event),
            Err(error) => self.link.message_fault(error).map(ServerEvent::Dropped),
        }
    }

    fn message_event(&self, mut data: Bytes) -> Result<ServerEvent, DecodeError> {
        let codec = &self.settings.codec;
        let message = Message::decode(&data)?;
        let (id, route) = match &message.head {
            MessageHead::Request { id, route } => (*id, route),
            MessageHead::Notify { route } => (None, route),
            other @ (MessageHead::Response { .. } | MessageHead::Push { .. }) => {
                return Ok(ServerEvent::Dropped(Dropped::UnexpectedKind(other.kind())));
            }
        };
        let route = codec.route(route)?;
        let compressed = message.compressed;
        // The body is what is left of the message, and keeps its reference to the chunk.
        let head = data.len() - message.body.len();
        data.advance(head);
        let body = codec.body(&route, data, compressed);
        Ok(match id {
            Some(id) => ServerEvent::Request { id, route, body },
            None => ServerEvent::Notify { route, body },
        })
    }
}
