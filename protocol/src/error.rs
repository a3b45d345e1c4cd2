//! What can go wrong on the wire: the peer's mistakes ([`DecodeError`]) apart from the caller's
//! ([`EncodeError`]).

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
    /// A WebSocket message ends inside a package.
    #[error("message ends inside a package")]
    PackageCut,
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
    /// The route is not UTF-8.
    #[error("route is not valid UTF-8")]
    RouteNotUtf8,
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
