//! What can go wrong, by operation.

use std::io;
use std::time::Duration;

use pomelo_protocol::{Body, BodyError, CloseReason};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is no URL with a host, or a `tcp:` URL without a port.
    #[error("{url:?} is not an address of the form tcp://host:port or ws://host:port/path")]
    InvalidUrl {
        /// What was given.
        url: String,
    },
    /// The address names a transport that this client does not speak.
    #[error("scheme {scheme:?} is not supported, only tcp and ws are")]
    UnsupportedScheme {
        /// The part before `://`.
        scheme: String,
    },
    /// The server could not be reached.
    #[error("cannot connect")]
    Io(#[source] io::Error),
    /// The server was reached but refuses to speak WebSocket. The source is tungstenite's error.
    #[error("the server did not accept the WebSocket upgrade")]
    Upgrade(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The transport was not there in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// The transport was there, but the handshake ended without success: refused
    /// ([`CloseReason::Rejected`]), malformed, or not answered in time.
    #[error("handshake failed")]
    Handshake(#[source] CloseReason),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection ended before the answer came, or before the request was made. Whether the server
    /// acted on the request is unknown.
    #[error("the connection is closed")]
    Closed(#[source] CloseReason),
    /// No answer in time. The server may still act on the request; a late answer is ignored.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request was not sent: it cannot be encoded, or too many requests or bytes are waiting already.
    #[error("the request cannot be sent")]
    Send(#[source] pomelo_protocol::RequestError),
    /// The server answered with the error flag, as pitaya does. The body is normally
    /// `{"code":…,"msg":…}`. (pomelo, pinus and nano put errors into an ordinary answer.)
    #[error("the server answered with an error")]
    Refused(Body),
    /// The answer is not what the caller expected.
    #[error("the answer cannot be decoded")]
    Decode(#[source] BodyError),
}

/// Why a notify was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed(#[source] CloseReason),
    /// It cannot be encoded, or too much is waiting to be sent already.
    #[error("the message cannot be sent")]
    Send(#[source] pomelo_protocol::RequestError),
}
