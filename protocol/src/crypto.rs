//! The signature check of pomelo's option `useCrypto` (feature `crypto`).
//!
//! A client announces an RSA key in the handshake (`sys.rsa`) and adds a member `__crypto__` to
//! every body: the hex RSASSA-PKCS1-v1_5 signature of the JSON text of the body without that
//! member. Nothing is encrypted. pomelo 2.2.7 (`components/connector.js`) drops messages whose
//! check fails; so should the caller. Keys of 1024 bits and SHA-1 are what old clients have: this
//! is for their sake, not a means of protection to build on.

use num_bigint::BigUint;
use serde_json::{Map, Value};

/// The member that holds the signature.
pub const SIGNATURE_MEMBER: &str = "__crypto__";

/// The shortest modulus, in hex digits: below 512 bits anyone can sign.
const MIN_MODULUS_DIGITS: usize = 128;
/// The longest modulus, in hex digits (4096 bits): the work of a check grows with its square.
const MAX_MODULUS_DIGITS: usize = 1024;
/// Clients use 65537. A stranger chooses the exponent, so it is bounded.
const MAX_EXPONENT: u64 = u32::MAX as u64;

/// The public key of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    modulus: BigUint,
    exponent: BigUint,
    /// Hex digits of the modulus as it was sent; a signature must have as many.
    digits: usize,
}

impl PublicKey {
    /// Reads `sys.rsa` of a handshake request: `rsa_n`, the modulus in hex, and `rsa_e`, the
    /// exponent, a number. `None` when it is unusable, in particular when the exponent is text
    /// (with which every check of pomelo's fails too), or the modulus has not 512 to 4096 bits.
    pub fn from_handshake(rsa: &Value) -> Option<Self> {
        let digits = rsa.get("rsa_n")?.as_str()?;
        let exponent = rsa.get("rsa_e")?.as_u64()?;
        let bounded = (MIN_MODULUS_DIGITS..=MAX_MODULUS_DIGITS).contains(&digits.len());
        if !bounded || exponent > MAX_EXPONENT {
            return None;
        }
        let modulus = BigUint::parse_bytes(digits.as_bytes(), 16)?;
        // An even modulus is no product of two odd primes.
        (modulus.bit(0) && exponent > 1).then(|| Self {
            modulus,
            exponent: exponent.into(),
            digits: digits.len(),
        })
    }

    /// Whether `body` holds a good signature of the rest of it, which is then left: the member is
    /// taken out either way.
    ///
    /// The text that is checked is the JSON of the parsed body, so `body` must have kept the
    /// order of its members and its numbers, as this crate's JSON does. Accepted is a signature
    /// over its UTF-8, over its UTF-8 encoded twice (what pomelo checks for Chinese texts on
    /// current Node) or over the low bytes of its UTF-16 units (on old Node).
    pub fn verify(&self, body: &mut Map<String, Value>) -> bool {
        let Some(Value::String(signature)) = body.shift_remove(SIGNATURE_MEMBER) else {
            return false;
        };
        let Some(block) = self.open(&signature) else {
            return false;
        };
        let Ok(text) = serde_json::to_string(body) else {
            return false;
        };
        let twice: String = text.bytes().map(char::from).collect();
        let low: Vec<u8> = text
            .encode_utf16()
            .map(|unit| {
                let [low, _] = unit.to_le_bytes();
                low
            })
            .collect();
        [text.as_bytes(), twice.as_bytes(), &low]
            .into_iter()
            .any(|signed| is_digest_of(&block, signed))
    }

    /// The digest information inside the signature's padding.
    fn open(&self, signature: &str) -> Option<Vec<u8>> {
        if signature.len() != self.digits {
            return None;
        }
        let number = BigUint::parse_bytes(signature.as_bytes(), 16)?;
        if number >= self.modulus {
            return None;
        }
        // 00 01 ff .. ff 00 digest information; the leading zero is not in the number.
        let block = number.modpow(&self.exponent, &self.modulus).to_bytes_be();
        let width = usize::try_from(self.modulus.bits().div_ceil(8)).ok()?;
        if block.len() + 1 != width {
            return None;
        }
        let padded = block.strip_prefix(&[0x01])?;
        let padding = padded.iter().take_while(|byte| **byte == 0xff).count();
        if padding < MIN_PADDING {
            return None;
        }
        padded
            .get(padding..)?
            .strip_prefix(&[0x00])
            .map(<[u8]>::to_vec)
    }
}

/// PKCS #1 wants eight bytes of padding at least.
const MIN_PADDING: usize = 8;

// The DER of DigestInfo up to the digest, RFC 8017 section 9.2 note 1.
const MD5: &[u8] = b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10";
const SHA1: &[u8] = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
const SHA256: &[u8] =
    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const SHA512: &[u8] =
    b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

fn is_digest_of(block: &[u8], signed: &[u8]) -> bool {
    use sha2::Digest as _;
    if let Some(digest) = block.strip_prefix(SHA256) {
        digest == sha2::Sha256::digest(signed).as_slice()
    } else if let Some(digest) = block.strip_prefix(SHA1) {
        digest == sha1::Sha1::digest(signed).as_slice()
    } else if let Some(digest) = block.strip_prefix(SHA512) {
        digest == sha2::Sha512::digest(signed).as_slice()
    } else if let Some(digest) = block.strip_prefix(MD5) {
        digest == md5::Md5::digest(signed).as_slice()
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded() {
        let key = |digits: usize, exponent: Value| {
            let modulus = format!("{}1", "f".repeat(digits - 1));
            PublicKey::from_handshake(&serde_json::json!({"rsa_n": modulus, "rsa_e": exponent}))
        };
        assert!(key(128, 65537.into()).is_some());
        assert!(key(1024, 3.into()).is_some());
        assert!(key(127, 65537.into()).is_none());
        assert!(key(1025, 65537.into()).is_none());
        assert!(key(256, (1_u64 << 32).into()).is_none());
        assert!(key(256, 1.into()).is_none());
        assert!(key(256, "65537".into()).is_none());
    }

    #[test]
    fn the_member_is_taken_out_of_refused_bodies_too() {
        let modulus = "f".repeat(256);
        let rsa = serde_json::json!({"rsa_n": modulus, "rsa_e": 3});
        let key = PublicKey::from_handshake(&rsa).unwrap();
        for signature in ["", "zz", &"0".repeat(256), &modulus, &"é".repeat(128)] {
            let mut body = Map::new();
            body.insert(SIGNATURE_MEMBER.into(), signature.into());
            assert!(!key.verify(&mut body), "{signature}");
            assert!(body.is_empty());
        }
    }
}
