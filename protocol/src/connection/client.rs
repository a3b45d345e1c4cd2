//! The client's end: `AwaitResponse -> Working -> closed`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::outgoing::{Document, Outgoing, Typed, encode};
use super::pending::Pending;
use super::{Config, Link, SendError};
use crate::body::Body;
use crate::codec::{Codec, CodecError};
use crate::error::{CloseReason, DecodeError, Dropped};
use crate::handshake::{CODE_OK, HandshakeError, HandshakeRequest, HandshakeResponse, Tables};
use crate::heartbeat::{Due, Heartbeat};
use crate::json::Json;
use crate::message::{Message, MessageHead, RequestId, Route};
use crate::package::{Frame, Package, PackageKind};
use crate::time::Instant;

/// Ids stay where every server's 32-bit signed arithmetic reads them.
const MAX_ID: u64 = 0x7fff_ffff;

/// What happened on a client's connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent<J = Value> {
    /// The server has let this client in.
    Ready {
        /// What the application's handshake function answered.
        user: Option<J>,
    },
    /// A pending request was answered.
    Response {
        /// Of the request.
        id: RequestId,
        /// Of the request.
        route: Route,
        /// What it says.
        body: Body,
        /// pitaya's mark that the body is an error document.
        error: bool,
    },
    /// A push.
    Push {
        /// What it is about.
        route: Route,
        /// What it says.
        body: Body,
    },
    /// The server ends the session, with its reason if it gave one. [`ClientEvent::Closed`]
    /// follows.
    Kicked(Option<String>),
    /// A message as it came, with [`Config::raw_messages`];
    /// [`decode`](ClientConnection::decode) reads it.
    Raw(Bytes),
    /// A compressed response to the handshake, with [`Config::application_inflates`];
    /// [`handle_handshake`](ClientConnection::handle_handshake) goes on with it.
    PackedHandshake(Bytes),
    /// A message was ignored.
    Dropped(Dropped),
    /// The connection has ended; told once. Pending requests get no answer any more.
    Closed(CloseReason),
}

/// Why a request or notify was not sent: the caller's fault, or that of the connection's state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The message cannot be written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The outgoing queue is full or the connection has ended.
    #[error(transparent)]
    Send(#[from] SendError),
    /// As many requests as allowed wait for their responses.
    #[error("too many pending requests")]
    TooManyPending,
}

/// The client's end of one connection. The order of calls is in the
/// [module documentation](super).
#[derive(Debug)]
pub struct ClientConnection<J = Value> {
    config: Config,
    link: Link,
    state: State<J>,
    tables: Tables<J>,
    codec: Codec,
    scratch: Vec<u8>,
    next_id: u64,
    pending: Pending,
    heartbeat: Option<Heartbeat>,
    heartbeat_interval: Option<Duration>,
    handshake_deadline: Instant,
    serializer: Option<String>,
}

#[derive(Debug)]
enum State<J> {
    /// Messages wait here until the dictionary and schemas are known.
    AwaitResponse(VecDeque<Early<J>>),
    Working,
}

#[derive(Debug)]
struct Early<J> {
    id: Option<RequestId>,
    route: Route,
    body: J,
    /// Of the body as JSON.
    bytes: usize,
}

impl ClientConnection {
    /// Sends a request; its response comes as [`ClientEvent::Response`] with the same id. Before
    /// [`ClientEvent::Ready`] it waits.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is sent and nothing is pending then.
    pub fn request<T: Serialize + ?Sized>(
        &mut self,
        route: &str,
        body: &T,
    ) -> Result<RequestId, RequestError> {
        self.send_request(route, &Typed(body))
    }

    /// Sends a notify. Before [`ClientEvent::Ready`] it waits.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is sent then.
    pub fn notify<T: Serialize + ?Sized>(
        &mut self,
        route: &str,
        body: &T,
    ) -> Result<(), RequestError> {
        self.deliver(None, route, &Typed(body)).map(drop)
    }
}

impl<J: Json> ClientConnection<J> {
    /// A connection whose transport has just opened: the handshake is the first frame to send.
    /// `tables` are those kept from an earlier connection to the same server, or the default.
    pub fn new(
        now: Instant,
        config: Config,
        request: HandshakeRequest<J>,
        tables: Tables<J>,
    ) -> Self {
        let mut link = Link::new(now, config.max_handshake);
        let text = tables.announce(request).to_text();
        match Frame::new(PackageKind::Handshake, text.as_bytes()) {
            Ok(frame) => link.outbox.push_control(frame),
            // User data of 16 MiB: no server can be told that.
            Err(_) => link.fail(CloseReason::Local),
        }
        Self {
            link,
            state: State::AwaitResponse(VecDeque::new()),
            tables,
            codec: Codec {
                max_inflated: config.max_package as usize,
                ..Codec::default()
            },
            scratch: Vec::new(),
            next_id: 1,
            pending: Pending::default(),
            heartbeat: None,
            heartbeat_interval: None,
            handshake_deadline: now + config.handshake_timeout,
            serializer: None,
            config,
        }
    }

    /// Bytes of a stream, cut anywhere.
    pub fn handle_data(&mut self, now: Instant, bytes: Bytes) {
        self.link.receive(now, bytes, false);
    }

    /// One message of a message-based transport: whole packages, any number of them.
    pub fn handle_message(&mut self, now: Instant, bytes: Bytes) {
        self.link.receive(now, bytes, true);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Harmless when called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.now = self.link.now.max(now);
        let now = self.link.now;
        if !self.link.is_open() {
            return;
        }
        if matches!(self.state, State::AwaitResponse(_)) {
            if now >= self.handshake_deadline {
                self.link.fail(CloseReason::HandshakeTimeout);
            }
            return;
        }
        match self.heartbeat.as_mut().map(|heartbeat| heartbeat.due(now)) {
            Some(Due::Dead) => self.link.fail(CloseReason::HeartbeatTimeout),
            // A full queue means that bytes are on their way, which serves as well.
            Some(Due::Send) => {
                let _ = self.link.outbox.push(Frame::heartbeat(), &self.config);
            }
            Some(Due::Nothing) | None => {}
        }
    }

    /// The peer will send nothing more. What it sent before is still taken.
    pub fn handle_eof(&mut self, now: Instant) {
        self.link.now = self.link.now.max(now);
        self.link.eof = true;
    }

    /// The response to the handshake from [`ClientEvent::PackedHandshake`], inflated by the
    /// application. The event that follows from it comes before any of
    /// [`poll_event`](Self::poll_event).
    pub fn handle_handshake(&mut self, body: Bytes) -> Option<ClientEvent<J>> {
        if !self.link.is_open() || !matches!(self.state, State::AwaitResponse(_)) {
            return None;
        }
        match HandshakeResponse::parse(&body) {
            Ok(response) if response.code == i64::from(CODE_OK) => {
                return Some(self.ready(response));
            }
            Ok(response) => self.link.fail(CloseReason::Rejected(response.code)),
            Err(HandshakeError::Inflate)
                if cfg!(not(feature = "gzip")) && self.config.application_inflates =>
            {
                return Some(ClientEvent::PackedHandshake(body));
            }
            Err(error) => self.link.fail(CloseReason::Handshake(error)),
        }
        None
    }

    /// `request` for a document of the connection's own kind.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is sent and nothing is pending then.
    pub fn request_document(&mut self, route: &str, body: J) -> Result<RequestId, RequestError> {
        self.send_request(route, &Document(body))
    }

    /// `notify` for a document of the connection's own kind.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is sent then.
    pub fn notify_document(&mut self, route: &str, body: J) -> Result<(), RequestError> {
        self.deliver(None, route, &Document(body)).map(drop)
    }

    /// Takes an id for a request that the application encodes itself; the response to it comes
    /// like any other.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is pending then.
    pub fn expect_response(&mut self, route: &str) -> Result<RequestId, RequestError> {
        if self.pending.len() >= self.config.max_pending {
            return Err(RequestError::TooManyPending);
        }
        let route = Route::new(route).map_err(CodecError::from)?;
        let id = self.free_id();
        self.pending.insert(id, route);
        Ok(id)
    }

    /// A request with an id of [`expect_response`](Self::expect_response), or without one a
    /// notify, as the connection itself would write it; the frame's body is the message.
    ///
    /// # Errors
    /// [`CodecError`]; nothing is sent in any case.
    pub fn encode_document(
        &mut self,
        id: Option<RequestId>,
        route: &str,
        body: J,
    ) -> Result<Frame, CodecError> {
        let body = Document(body);
        encode(&self.codec, &mut self.scratch, id, route, Some(&body))
    }

    /// Sends a message that the application has encoded itself.
    ///
    /// # Errors
    /// [`RequestError`], before [`ClientEvent::Ready`] with [`SendError::NotReady`]: such a
    /// message cannot wait, since its form depends on what the handshake brings.
    pub fn send_message(&mut self, message: &[u8]) -> Result<(), RequestError> {
        if !self.link.is_open() {
            return Err(SendError::Closed.into());
        }
        if matches!(self.state, State::AwaitResponse(_)) {
            return Err(SendError::NotReady.into());
        }
        let frame = Frame::new(PackageKind::Data, message).map_err(CodecError::from)?;
        Ok(self.link.outbox.push(frame, &self.config)?)
    }

    /// Decodes the message of a data package: what is done without being asked unless
    /// [`Config::raw_messages`] is on. `None`: it is empty, which ends the connection.
    pub fn decode(&mut self, data: &Bytes) -> Option<ClientEvent<J>> {
        match Message::decode(data).and_then(|message| self.message_event(data, &message)) {
            Ok(event) => Some(event),
            Err(error) => self.link.message_fault(error).map(ClientEvent::Dropped),
        }
    }

    /// Forgets a pending request: its response, if one comes, is dropped.
    pub fn forget(&mut self, id: RequestId) {
        self.pending.remove(id);
        if let State::AwaitResponse(early) = &mut self.state {
            early.retain(|message| message.id != Some(id));
        }
    }

    /// Ends the connection; what was sent before still goes out, except after
    /// [`CloseReason::Transport`].
    pub fn close(&mut self, reason: CloseReason) {
        self.link.close(reason);
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ClientEvent<J>> {
        loop {
            if !self.link.is_open() {
                let reason = self.link.told()?;
                self.pending.clear();
                return Some(ClientEvent::Closed(reason));
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

    /// The next frame to send. A WebSocket client sends one frame per message, masked.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        self.link.outbox.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.link.is_open() {
            return None;
        }
        match self.state {
            State::AwaitResponse(_) => Some(self.handshake_deadline),
            State::Working => self.heartbeat.as_ref().map(Heartbeat::next_deadline),
        }
    }

    /// The dictionary and schemas to keep for the next connection to the same server.
    pub const fn tables(&self) -> &Tables<J> {
        &self.tables
    }

    /// How messages are written and read on this connection.
    pub const fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The heartbeat interval the server asked for, from [`ClientEvent::Ready`] on.
    pub const fn heartbeat_interval(&self) -> Option<Duration> {
        self.heartbeat_interval
    }

    /// pitaya's `sys.serializer`, from [`ClientEvent::Ready`] on.
    pub fn serializer(&self) -> Option<&str> {
        self.serializer.as_deref()
    }

    /// Number of requests that wait for their responses.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn free_id(&mut self) -> RequestId {
        loop {
            let id = self.next_id;
            self.next_id = if id >= MAX_ID { 1 } else { id + 1 };
            // `next_id` starts at 1 and returns to 1, so the id is never 0.
            if let Some(id) = RequestId::new(id)
                && !self.pending.contains(id)
            {
                return id;
            }
        }
    }

    fn send_request(
        &mut self,
        route: &str,
        body: &impl Outgoing<J>,
    ) -> Result<RequestId, RequestError> {
        if self.pending.len() >= self.config.max_pending {
            return Err(RequestError::TooManyPending);
        }
        let id = self.free_id();
        let known = self.deliver(Some(id), route, body)?;
        self.pending.insert(id, known);
        Ok(id)
    }

    fn deliver(
        &mut self,
        id: Option<RequestId>,
        route: &str,
        body: &impl Outgoing<J>,
    ) -> Result<Route, RequestError> {
        if !self.link.is_open() {
            return Err(SendError::Closed.into());
        }
        let known = Route::new(route).map_err(CodecError::from)?;
        match &mut self.state {
            State::AwaitResponse(early) => {
                if early.len() >= self.config.max_pending {
                    return Err(RequestError::TooManyPending);
                }
                let body = body.document()?;
                self.scratch.clear();
                body.write(&mut self.scratch, false)
                    .ok_or(CodecError::NotJson)?;
                let bytes = self.scratch.len();
                let waiting: usize = early.iter().map(|message| message.bytes).sum();
                if !early.is_empty() && waiting.saturating_add(bytes) > self.config.outbox_bytes {
                    return Err(SendError::Full.into());
                }
                early.push_back(Early {
                    id,
                    route: known.clone(),
                    body,
                    bytes,
                });
            }
            State::Working => {
                let frame = encode(&self.codec, &mut self.scratch, id, route, Some(body))?;
                self.link.outbox.push(frame, &self.config)?;
            }
        }
        Ok(known)
    }

    fn handle_package(&mut self, package: Package) -> Option<ClientEvent<J>> {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.alive(self.link.now);
        }
        match (package.kind, &self.state) {
            (PackageKind::Handshake, State::AwaitResponse(_)) => {
                self.handle_handshake(package.body)
            }
            (PackageKind::Data, State::Working) if self.config.raw_messages => {
                Some(ClientEvent::Raw(package.body))
            }
            (PackageKind::Data, State::Working) => self.decode(&package.body),
            (PackageKind::Data, State::AwaitResponse(_)) => {
                Some(ClientEvent::Dropped(Dropped::NotReady))
            }
            (PackageKind::Kick, _) => {
                let reason = kick_reason::<J>(&package.body);
                self.link.fail(CloseReason::Kicked(reason.clone()));
                Some(ClientEvent::Kicked(reason))
            }
            // nano and pitaya send heartbeats from the first moment.
            (
                PackageKind::Handshake | PackageKind::HandshakeAck | PackageKind::Heartbeat,
                State::AwaitResponse(_) | State::Working,
            ) => None,
        }
    }

    fn ready(&mut self, mut response: HandshakeResponse<J>) -> ClientEvent<J> {
        let (dictionary, protos) = self.tables.agree(&mut response);
        self.codec.dictionary = dictionary;
        if let Some(protos) = protos {
            self.codec.outgoing = protos.client;
            self.codec.incoming = protos.server;
        }
        self.serializer = response.serializer;
        self.link.decoder.set_max_body(self.config.max_package);
        self.link.outbox.push_control(Frame::handshake_ack());
        self.heartbeat_interval = response.heartbeat;
        self.heartbeat = response
            .heartbeat
            .map(|interval| Heartbeat::new(self.link.now, interval));
        let early = match std::mem::replace(&mut self.state, State::Working) {
            State::AwaitResponse(early) => early,
            State::Working => VecDeque::new(),
        };
        for Early {
            id, route, body, ..
        } in early
        {
            // The schema is known only now. A message that does not fit it is sent without a body,
            // as the browser client does, so that the request is answered all the same.
            let mut encode = |body| encode(&self.codec, &mut self.scratch, id, &route, body);
            let frame = encode(Some(&Document(body))).or_else(|_| encode(None));
            if let Ok(frame) = frame {
                // Taken already, within the limits: a full queue must not lose them.
                self.link.outbox.push_control(frame);
            }
        }
        ClientEvent::Ready {
            user: response.user,
        }
    }

    fn message_event(
        &mut self,
        data: &Bytes,
        message: &Message<'_>,
    ) -> Result<ClientEvent<J>, DecodeError> {
        let bytes = data.slice_ref(message.body);
        Ok(match &message.head {
            MessageHead::Response { id, error } => {
                match id.and_then(|id| Some((id, self.pending.remove(id)?))) {
                    Some((id, route)) => {
                        let body = self.codec.body(&route, bytes, message.compressed);
                        ClientEvent::Response {
                            id,
                            route,
                            body,
                            error: *error,
                        }
                    }
                    None => {
                        ClientEvent::Dropped(Dropped::UnknownResponse(id.map_or(0, RequestId::get)))
                    }
                }
            }
            MessageHead::Push { route } => {
                let route = self.codec.route(route)?;
                let body = self.codec.body(&route, bytes, message.compressed);
                ClientEvent::Push { route, body }
            }
            other @ (MessageHead::Request { .. } | MessageHead::Notify { .. }) => {
                ClientEvent::Dropped(Dropped::UnexpectedKind(other.kind()))
            }
        })
    }
}

/// pomelo sends `{"reason":...}`, pitaya nothing, others may send bare text.
fn kick_reason<J: Json>(body: &[u8]) -> Option<String> {
    let Some(document) = J::parse(body) else {
        let text = crate::text::decode_utf8(body);
        return (!text.trim().is_empty()).then(|| text.into_owned());
    };
    let reason = if document.is_object() {
        document.get("reason")?.into_owned()
    } else {
        document
    };
    let text = reason.as_str().map(Cow::into_owned);
    text.or_else(|| reason.to_text())
        .filter(|text| reason.as_str().is_some() || text != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target `connection_ops`.
    #[test]
    fn requests_that_waited_for_the_handshake_survive_a_short_outbox() {
        let config = Config {
            outbox_frames: 2,
            ..Config::client()
        };
        let hello = HandshakeRequest::new("test", "1");
        let mut client =
            ClientConnection::new(Instant::default(), config, hello, Tables::default());
        for _ in 0..5 {
            client.request("a.b.c", &1).unwrap();
        }
        while client.poll_transmit().is_some() {}
        let response = Frame::new(PackageKind::Handshake, br#"{"code":200,"sys":{}}"#).unwrap();
        client.handle_data(Instant::default(), response.into_bytes());
        assert!(matches!(
            client.poll_event(),
            Some(ClientEvent::Ready { .. })
        ));
        let sent = std::iter::from_fn(|| client.poll_transmit()).count();
        assert_eq!(sent, 1 + 5, "the acknowledgement and every request");
    }

    #[test]
    fn requests_that_wait_for_the_handshake_are_bounded_in_bytes() {
        let config = Config {
            outbox_bytes: 100,
            ..Config::client()
        };
        let hello = HandshakeRequest::new("test", "1");
        let mut client =
            ClientConnection::new(Instant::default(), config, hello, Tables::default());
        client.request("a.b.c", &"x".repeat(200)).unwrap();
        let refused = client.request("a.b.c", &1);
        assert!(matches!(refused, Err(RequestError::Send(SendError::Full))));
        assert_eq!(client.pending(), 1);
    }

    #[cfg(not(feature = "gzip"))]
    #[test]
    fn the_application_inflates_where_the_build_cannot() {
        let hello = HandshakeRequest::new("test", "1");
        let config = Config {
            application_inflates: true,
            ..Config::client()
        };
        let mut client =
            ClientConnection::new(Instant::default(), config, hello, Tables::default());
        let packed = b"\x78\x9c...";
        let response = Frame::new(PackageKind::Handshake, packed).unwrap();
        client.handle_message(Instant::default(), response.into_bytes());
        let Some(ClientEvent::PackedHandshake(bytes)) = client.poll_event() else {
            panic!("no event");
        };
        assert_eq!(&bytes[..], packed);
        let ready = client.handle_handshake(br#"{"code":200,"sys":{}}"#[..].into());
        assert!(matches!(ready, Some(ClientEvent::Ready { .. })));
        assert!(client.handle_handshake(Bytes::new()).is_none(), "too late");

        let mut data = b"\x16\x01a".to_vec();
        data.extend_from_slice(packed);
        let Some(ClientEvent::Push { body, .. }) = client.decode(&data.into()) else {
            panic!("no push");
        };
        assert_eq!(body.packed().unwrap(), &packed[..]);
        let body = body.inflated(Bytes::from_static(b"7"));
        assert_eq!(body.decode::<u8>().unwrap(), 7);
        assert!(body.packed().is_none());
    }
}
