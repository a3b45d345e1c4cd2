//! What can go wrong: the peer's mistakes ([`DecodeError`], [`Dropped`]) apart from the caller's
//! ([`EncodeError`]), and why a connection ended ([`CloseReason`]).

use crate::handshake::HandshakeError;
use crate::message::MessageKind;
use crate::package::PackageKind;

/// Bytes from the peer that are no pomelo wire data.
///
/// "More bytes are needed" is never an error: decoders of streams answer `Ok(None)` for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first byte of a package is none of the five kinds.
    #[error("unknown package kind {0:#04x}")]
    UnknownPackageKind(u8),
    /// A package head announces more than the configured maximum; nothing was reserved for it.
    #[error("package body of {len} bytes is over the limit of {max}")]
    PackageTooLarge {
        /// Announced length of the body, in bytes.
        len: u32,
        /// The limit in force, in bytes.
        max: u32,
    },
    /// A message of a message-based transport (WebSocket) ends inside a package.
    #[error("transport message ends inside a package")]
    PackageCut,
    /// A package kind that this side of the connection never receives.
    #[error("unexpected {0:?} package")]
    UnexpectedPackage(PackageKind),
    /// More bytes than a handshake may have, while the application still decides on it.
    #[error("{len} bytes before the handshake was answered, over the limit of {max}")]
    TooMuchEarlyData {
        /// How much has come, in bytes.
        len: u32,
        /// The limit in force, in bytes.
        max: u32,
    },
    /// A data package without a single byte.
    #[error("data package without a message")]
    EmptyMessage,
    /// Bits 1 to 3 of the flag byte are none of the four kinds.
    #[error("unknown message kind {0}")]
    UnknownMessageKind(u8),
    /// The message ends inside its id, route code or route.
    #[error("message ends inside its head")]
    MessageCut,
    /// The id has more than ten bytes or does not fit 64 bits.
    #[error("message id is longer than 64 bits")]
    IdTooLong,
    /// The dictionary has no route for the code.
    #[error("unknown route code {0}")]
    UnknownRouteCode(u16),
}

/// Something the caller asked for that the wire cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A package body has a 24-bit length.
    #[error("package body of {len} bytes is over 16777215")]
    PackageTooLarge {
        /// Length of the body, in bytes.
        len: usize,
    },
    /// A route has an 8-bit length.
    #[error("route of {len} bytes is over 255")]
    RouteTooLong {
        /// Length of the route in UTF-8, in bytes.
        len: usize,
    },
}

/// A message of the peer that was ignored, and why. The connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Dropped {
    /// The message does not decode or names a route code that nobody knows.
    #[error("malformed message: {0}")]
    Malformed(#[from] DecodeError),
    /// Data before the handshake was acknowledged, as pomelo drops it.
    #[error("data before the handshake was finished")]
    NotReady,
    /// A message kind that this side never takes: a push sent to a server, for example.
    #[error("unexpected {0:?} message")]
    UnexpectedKind(MessageKind),
    /// A response whose id belongs to no pending request: answered twice, forgotten or invented.
    #[error("response to no pending request (id {0})")]
    UnknownResponse(u64),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it without saying why to the peer.
    #[error("closed by this side")]
    Local,
    /// The peer closed its end of the transport.
    #[error("closed by the peer")]
    Peer,
    /// The server ended the session on purpose and said so. At the server: what the application
    /// gave; at the client: what the kick package held, if anything.
    #[error("kicked{}", .0.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Kicked(Option<String>),
    /// Nothing came from the peer for the heartbeat timeout.
    #[error("heartbeat timeout")]
    HeartbeatTimeout,
    /// The handshake was not finished in time.
    #[error("handshake timeout")]
    HandshakeTimeout,
    /// The server refused the handshake with this code (500 refused or malformed, 501 client too
    /// old, 400 at pitaya).
    #[error("handshake refused with code {0}")]
    Rejected(i64),
    /// The handshake document of the peer is unusable.
    #[error("bad handshake: {0}")]
    Handshake(HandshakeError),
    /// The peer sent what the protocol forbids.
    #[error("protocol violation: {0}")]
    Protocol(DecodeError),
    /// The peer did not read and the bounded queue of frames for it was full.
    #[error("outgoing queue is full")]
    OutboxFull,
    /// The transport failed.
    #[error("transport failed")]
    Transport,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_errors_stay_small() {
        assert!(size_of::<DecodeError>() <= 16);
        assert!(size_of::<EncodeError>() <= 16);
        assert!(size_of::<Dropped>() <= 24);
    }
}
