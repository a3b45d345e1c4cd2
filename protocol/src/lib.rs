//! The pomelo wire protocol, without IO: everything a server or client of NetEase's pomelo
//! family (pomelo, pinus, nano, pitaya) needs between its socket and its application.
//!
//! ```text
//! transport   TCP stream, or WebSocket messages
//! package     kind(1) length(3) body            PackageDecoder, Frame
//! message     flag [id] [route] body            Message, MessageHead
//! body        JSON, protobuf dialect, zlib      Codec, Body, protobuf
//! ```
//!
//! Nothing here reads a socket or a clock, spawns, or blocks: bytes and time come in, frames and
//! events go out. [`ServerConnection`] and [`ClientConnection`] are the two ends of a connection;
//! whoever drives them follows one rule:
//!
//! *After every input or command, take events until there are none, send frames until there are
//! none, then wait for bytes or for the deadline.*
//!
//! ```
//! use std::sync::Arc;
//! use pomelo_protocol::{
//!     ClientConnection, ClientEvent, Config, HandshakeRequest, Instant, ServerConnection,
//!     ServerEvent, ServerSettings, Tables,
//! };
//!
//! let now = Instant::default();
//! let settings = Arc::new(ServerSettings::default());
//! let mut server = ServerConnection::new(now, settings.clone());
//! let hello = HandshakeRequest::new("rust", "1.0.0");
//! let mut client = ClientConnection::new(now, Config::client(), hello, Tables::default());
//!
//! client.request("connector.entryHandler.entry", &serde_json::json!({"name": "bob"}))?;
//! let mut answer = None;
//! while answer.is_none() {
//!     while let Some(frame) = client.poll_transmit() {
//!         server.handle_data(now, frame.into_bytes());
//!     }
//!     while let Some(event) = server.poll_event() {
//!         match event {
//!             ServerEvent::Handshake(_) => server.accept(now, None),
//!             ServerEvent::Request { id, route, .. } => {
//!                 let body = serde_json::json!({"code": 200});
//!                 let frame = settings.codec.response(&mut Vec::new(), id, &route, &body)?;
//!                 server.send(frame)?;
//!             }
//!             _ => {}
//!         }
//!     }
//!     while let Some(frame) = server.poll_transmit() {
//!         client.handle_data(now, frame.into_bytes());
//!     }
//!     while let Some(event) = client.poll_event() {
//!         if let ClientEvent::Response { body, .. } = event {
//!             answer = Some(body.decode::<serde_json::Value>()?);
//!         }
//!     }
//! }
//! assert_eq!(answer, Some(serde_json::json!({"code": 200})));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `gzip` (default): inflate bodies that carry the compression flag, deflate on request.
//! - `codec`: packages through tokio-util's `Framed` (`PackageCodec`); the only one that knows Tokio.
//! - `crypto`: check the signatures of pomelo's option `useCrypto` (`crypto::PublicKey`).

mod body;
mod codec;
pub mod connection;
pub mod crc32;
#[cfg(feature = "crypto")]
pub mod crypto;
mod dictionary;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod gzip;
pub mod handshake;
mod heartbeat;
mod json;
mod message;
pub mod mqtt;
mod names;
pub mod package;
#[cfg(feature = "codec")]
mod package_codec;
mod pieces;
pub mod protobuf;
pub mod socketio;
mod stringify;
mod text;
mod time;

pub use body::{Body, BodyError};
pub use codec::{Codec, CodecError};
pub use connection::{
    ClientConnection, ClientEvent, Config, RequestError, SendError, ServerConnection, ServerEvent,
    ServerSettings,
};
pub use dictionary::{Dictionary, DictionaryError};
pub use error::{CloseReason, DecodeError, Dropped, EncodeError};
pub use gzip::{InflateError, inflate};
pub use handshake::{
    HandshakeError, HandshakeRequest, HandshakeResponse, Offer, ProtosOffer, ProtosTable, Tables,
};
pub use json::Json;
pub use message::{
    Message, MessageHead, MessageKind, RequestId, Route, RouteCode, RouteName, WireRoute,
};
pub use package::{
    Frame, FrameRef, Package, PackageDecoder, PackageKind, PackageRef, write_package,
};
#[cfg(feature = "codec")]
pub use package_codec::{PackageCodec, PackageCodecError};
pub use pieces::{Joined, Pieces};
pub use text::decode_utf8;
pub use time::Instant;
