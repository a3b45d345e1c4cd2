//! Messages as signatures have them.

use pomelo_protocol::Body;
use pomelo_protocol::crypto::PublicKey;

/// The body without its signature, if that is good.
pub(super) fn verified(key: &PublicKey, body: &Body) -> Option<Body> {
    let mut members = body.decode_or_empty().ok()?;
    if !key.verify(&mut members) {
        return None;
    }
    let text = serde_json::to_vec(&members).ok()?;
    Some(Body::json(text.into()))
}
