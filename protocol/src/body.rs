//! A received body: its bytes, how they are written, and how to read them.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;

use crate::gzip::{self, InflateError};
use crate::json::{self, Json};
use crate::protobuf;

/// The body of a received message. Reading it is left to whoever knows the type; a clone costs a
/// reference count or two.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Bytes,
    format: Format,
    packing: Packing,
}

#[derive(Clone, Copy, Debug)]
enum Packing {
    Plain,
    /// Compressed, unless it only says so.
    Packed(gzip::Limits),
    /// It was tried, and is not tried again.
    Damaged,
}

#[derive(Clone, Debug)]
enum Format {
    Json,
    Protobuf(protobuf::Message),
}

/// Why a body cannot be read as what was asked for: the peer's fault, or a type that does not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// A compressed body is damaged or too large.
    #[error("body does not inflate")]
    Inflate(#[from] InflateError),
    /// The body is no JSON, or no JSON of the type asked for.
    #[error("body is not the JSON that was expected")]
    Json(#[from] serde_json::Error),
    /// The body is no JSON at all.
    #[error("body is not JSON")]
    NotJson,
    /// The body does not follow the schema of its route, or its schema does not fit the type.
    #[error("body does not fit the protobuf schema of its route")]
    Protobuf(#[from] protobuf::DecodeError),
}

impl Body {
    /// A plain JSON body.
    pub const fn json(bytes: Bytes) -> Self {
        Self {
            bytes,
            format: Format::Json,
            packing: Packing::Plain,
        }
    }

    pub(crate) fn received(
        bytes: Bytes,
        schema: Option<protobuf::Message>,
        packed: Option<gzip::Limits>,
    ) -> Self {
        let format = match schema {
            Some(message) => Format::Protobuf(message),
            None => Format::Json,
        };
        Self {
            bytes,
            format,
            packing: packed.map_or(Packing::Plain, Packing::Packed),
        }
    }

    /// Reads the body, straight from JSON or from the protobuf dialect.
    ///
    /// # Errors
    /// [`BodyError`]; the body stays as it was.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        let plain = self.plain()?;
        Ok(match &self.format {
            Format::Json => json::read(&plain)?,
            Format::Protobuf(message) => message.decode(&plain)?,
        })
    }

    /// Reads the body as a document, for those who have another kind than `serde_json`'s.
    ///
    /// # Errors
    /// [`BodyError`]; [`BodyError::NotJson`] stands in for [`BodyError::Json`].
    pub fn document<J: Json>(&self) -> Result<J, BodyError> {
        let plain = self.plain()?;
        match &self.format {
            Format::Json => J::parse(&plain).ok_or(BodyError::NotJson),
            Format::Protobuf(message) => Ok(message.decode(&plain)?),
        }
    }

    /// Reads the body the way a pomelo server does: what is no JSON at all, and the values
    /// `null`, `false`, `0` and `""`, count as `{}` (pomelo 2.2.7 `connectors/common/coder.js`).
    /// Bodies in the protobuf dialect are read as by [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`BodyError`], when the value or the `{}` in its place is not a `T`.
    pub fn decode_or_empty<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        let plain = self.plain()?;
        match &self.format {
            Format::Protobuf(message) => Ok(message.decode(&plain)?),
            Format::Json if counts_as_empty(&plain) => Ok(json::read(b"{}")?),
            Format::Json => match json::read(&plain) {
                Err(error) if !error.is_data() => Ok(json::read(b"{}")?),
                result => Ok(result?),
            },
        }
    }

    /// The body as JSON text, whatever it was written in; plain JSON is not copied.
    ///
    /// # Errors
    /// [`BodyError::Inflate`], or [`BodyError::Protobuf`] when the body breaks its schema. JSON
    /// is not checked.
    pub fn to_json(&self) -> Result<Bytes, BodyError> {
        match &self.format {
            Format::Json => self.bytes(),
            Format::Protobuf(message) => {
                let value: Value = message.decode(&self.plain()?)?;
                Ok(value.to_string().into())
            }
        }
    }

    /// The bytes of the body, inflated if they were compressed, in whatever form they are: for an
    /// application that runs a codec of its own.
    ///
    /// # Errors
    /// [`BodyError::Inflate`].
    pub fn bytes(&self) -> Result<Bytes, BodyError> {
        Ok(match self.plain()? {
            Cow::Borrowed(_) => self.bytes.clone(),
            Cow::Owned(plain) => plain.into(),
        })
    }

    /// Whether the body is in the protobuf dialect rather than JSON.
    pub const fn is_protobuf(&self) -> bool {
        matches!(self.format, Format::Protobuf(_))
    }

    /// The bytes as they came, if they are compressed and this build cannot inflate them: the
    /// application may, and goes on with [`inflated`](Self::inflated).
    pub fn packed(&self) -> Option<&Bytes> {
        matches!(self.plain(), Err(InflateError::Unsupported)).then_some(&self.bytes)
    }

    /// The same body with its bytes inflated.
    #[must_use]
    pub fn inflated(self, bytes: Bytes) -> Self {
        Self {
            bytes,
            packing: Packing::Plain,
            ..self
        }
    }

    /// Inflates the body here and now, if it is compressed, in place of each time it is read. Adds
    /// to `made` how many bytes came out, of a body that fails as well: what was inflated is work,
    /// and who counts what a peer costs wants to know.
    ///
    /// # Errors
    /// [`InflateError`]. The body then stays as it is, and one that is damaged is not inflated
    /// again to find that out.
    #[inline]
    pub fn inflate(&mut self, made: &mut usize) -> Result<(), InflateError> {
        match self.packing {
            Packing::Packed(limits) => self.unpack(limits, made),
            Packing::Plain | Packing::Damaged => Ok(()),
        }
    }

    fn unpack(&mut self, limits: gzip::Limits, made: &mut usize) -> Result<(), InflateError> {
        match gzip::inflate_counted(&self.bytes, limits, made) {
            Ok(Cow::Borrowed(_)) => {}
            Ok(Cow::Owned(plain)) => self.bytes = plain.into(),
            Err(error) => {
                if error == InflateError::Damaged {
                    self.packing = Packing::Damaged;
                }
                return Err(error);
            }
        }
        self.packing = Packing::Plain;
        Ok(())
    }

    fn plain(&self) -> Result<Cow<'_, [u8]>, InflateError> {
        match self.packing {
            Packing::Plain => Ok(Cow::Borrowed(&self.bytes)),
            Packing::Packed(limits) => gzip::inflate_counted(&self.bytes, limits, &mut 0),
            Packing::Damaged => Err(InflateError::Damaged),
        }
    }
}

/// Objects and arrays, nearly all bodies, are told by their first character.
fn counts_as_empty(plain: &[u8]) -> bool {
    match plain.trim_ascii_start().first() {
        Some(b'{' | b'[') => false,
        None => true,
        Some(_) => json::read::<Value>(plain).map_or(true, |value| !json::is_truthy(&value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[cfg(feature = "gzip")]
    #[test]
    fn what_is_inflated_once_is_not_inflated_again() {
        let limits = gzip::Limits {
            max: 1000,
            max_ratio: None,
        };
        let received = |bytes: &[u8]| Body::received(bytes.to_vec().into(), None, Some(limits));
        let plain = b"[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";
        let packed = gzip::deflate(plain).unwrap();
        let mut made = 0;
        let mut body = received(&packed);
        assert_eq!(body.inflate(&mut made), Ok(()));
        assert_eq!(made, plain.len());
        assert_eq!(body.inflate(&mut made), Ok(()));
        assert_eq!(made, plain.len(), "once");
        assert_eq!(body.bytes().unwrap(), &plain[..]);

        // The end is missing: what came before was inflated all the same.
        let mut body = received(&packed[..packed.len() - 1]);
        made = 0;
        assert_eq!(body.inflate(&mut made), Err(InflateError::Damaged));
        assert_eq!(made, plain.len());
        assert!(matches!(
            body.decode::<Value>(),
            Err(BodyError::Inflate(InflateError::Damaged))
        ));

        let mut body = received(b"{}");
        made = 0;
        assert_eq!(body.inflate(&mut made), Ok(()));
        assert_eq!((made, body.bytes().unwrap()), (0, Bytes::from("{}")));
    }

    #[test]
    fn what_is_no_json_counts_as_an_empty_object() {
        for text in [
            "", "  ", "zz", "null", "false", "0", "0.0", "\"\"", "{\"a\":", "{} x",
        ] {
            let body = Body::json(Bytes::from_static(text.as_bytes()));
            assert_eq!(
                body.decode_or_empty::<Value>().unwrap(),
                json!({}),
                "{text:?}"
            );
        }
        for (text, value) in [("5", json!(5)), ("[]", json!([])), ("\"s\"", json!("s"))] {
            let body = Body::json(Bytes::from_static(text.as_bytes()));
            assert_eq!(body.decode_or_empty::<Value>().unwrap(), value);
        }
        let body = Body::json(Bytes::from_static(b"{\"a\":1}"));
        assert!(
            body.decode_or_empty::<Vec<u8>>().is_err(),
            "a wrong type stays an error"
        );
        assert!(
            Body::json(Bytes::from_static(b"zz"))
                .decode::<Value>()
                .is_err()
        );
    }
}
