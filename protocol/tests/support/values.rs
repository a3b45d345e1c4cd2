//! Bytes and texts as the vector files write them.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::js;

/// Longer byte strings are compared, and shown, by their length and digest.
const SHOWN: usize = 256;

pub(crate) fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{member}`"))
}

/// Bytes given as `{"$hex"}`, `{"$repeat"}` or null.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    if value.is_null() {
        return Vec::new();
    }
    if let Some(hex) = value["$hex"].as_str() {
        return js::bytes(hex);
    }
    let repeat = &value["$repeat"];
    let count = usize::try_from(repeat["count"].as_u64().unwrap()).unwrap();
    match repeat["hex"].as_str() {
        Some(hex) => js::bytes(hex).repeat(count),
        None => text(repeat, "text").repeat(count).into_bytes(),
    }
}

/// Bytes as text to be compared.
pub(crate) fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN {
        js::hex(bytes)
    } else {
        shown_digest(bytes.len(), &js::hex(&Sha256::digest(bytes)))
    }
}

fn shown_digest(len: usize, sha256: &str) -> String {
    format!("{len} bytes, sha256 {sha256}")
}

/// The text of bytes that a vector gives in any form.
pub(crate) fn shown_value(value: &Value) -> String {
    match value.get("$bytes") {
        Some(digest) => shown_by_digest(digest),
        None => shown(&bytes(value)),
    }
}

/// The text of `length` and `sha256`.
pub(crate) fn shown_by_digest(digest: &Value) -> String {
    let len = usize::try_from(digest["length"].as_u64().unwrap()).unwrap();
    shown_digest(len, text(digest, "sha256"))
}

/// What the original encoded: `hex`, or `length` and `sha256`, or a refusal.
pub(crate) fn encoded(vector: &Value) -> String {
    if let Some(hex) = vector["hex"].as_str() {
        shown(&js::bytes(hex))
    } else if vector.get("sha256").is_some() {
        shown_by_digest(vector)
    } else {
        let result = &vector["result"];
        let refused = result.get("throws").is_some() || result.get("hangs").is_some();
        assert!(refused, "no outcome");
        REFUSED.into()
    }
}

pub(crate) const REFUSED: &str = "refused";
