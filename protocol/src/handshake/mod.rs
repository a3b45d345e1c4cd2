//! The JSON documents that open a connection.

mod offer;
mod request;
mod response;

pub(crate) use self::offer::{Kept, Responses, refusal_text};
pub use self::offer::{Offer, ProtosOffer};
pub use self::request::HandshakeRequest;
pub use self::response::{HandshakeResponse, ProtosTable, Tables};

/// The code of a handshake response that lets the client in.
pub const CODE_OK: u16 = 200;
/// The handshake is malformed or the application refused it.
pub const CODE_REFUSED: u16 = 500;
/// The client is too old (pomelo's `checkClient`).
pub const CODE_OLD_CLIENT: u16 = 501;

/// A handshake document that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The body is not a JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// A request without a truthy `sys`, which pomelo refuses.
    #[error("no member sys")]
    NoSys,
    /// A response without a numeric `code`.
    #[error("no member code")]
    NoCode,
    /// A compressed response is damaged or too large.
    #[error("compressed document does not inflate")]
    Inflate,
    /// The schemas in a response cannot be used.
    #[error("unusable protobuf schemas")]
    Protos,
}
