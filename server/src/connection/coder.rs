//! Messages as the application's own coders and signatures have them.

#[cfg(feature = "crypto")]
use pomelo_protocol::Body;
#[cfg(feature = "crypto")]
use pomelo_protocol::crypto::PublicKey;
use pomelo_protocol::{Frame, PackageKind};

use crate::connector::Encode;
use crate::session::Session;

/// Whether the package of a message holds a push; what a server sends else is a response.
pub(super) fn is_push(frame: &Frame) -> bool {
    const FLAG: usize = 4;
    let flag = frame.as_bytes().get(FLAG).copied().unwrap_or_default();
    flag & 0x0e == 0x06
}

/// What the application's own encoder makes of a package.
pub(super) fn encoded(encode: &Encode, frame: &Frame, session: &Session) -> Option<Frame> {
    const HEAD: usize = 4;
    let message = encode(frame.as_bytes().get(HEAD..)?, session)?;
    Frame::new(PackageKind::Data, &message)
        .inspect_err(|error| tracing::warn!(%error, "message of encode cannot be sent"))
        .ok()
}

/// The body without its signature, if that is good.
#[cfg(feature = "crypto")]
pub(super) fn verified(key: &PublicKey, body: &Body) -> Option<Body> {
    let mut members = body.decode_or_empty().ok()?;
    if !key.verify(&mut members) {
        return None;
    }
    let text = serde_json::to_vec(&members).ok()?;
    Some(Body::json(text.into()))
}
