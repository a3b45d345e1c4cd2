//! pomelo's protobuf dialect: bodies by schema, without field names on the wire.
//!
//! A schema set ([`Protos`]) comes from a file of the original format (`clientProtos.json` for what
//! clients send, `serverProtos.json` for what the server sends) or, on a client, from the
//! handshake. It has a [`Message`] for every route whose bodies are encoded; bodies of other routes
//! are JSON. Values are ordinary serde types: they are written to and read from the body directly.
//!
//! ```
//! use pomelo_protocol::protobuf::Protos;
//! use serde::{Deserialize, Serialize};
//!
//! let protos = Protos::parse_str(
//!     r#"{
//!         "onMove": {
//!             "required uInt32 entityId": 1,
//!             "message Path": { "required uInt32 x": 1, "required uInt32 y": 2 },
//!             "repeated Path path": 2
//!         }
//!     }"#,
//! )?;
//! let on_move = protos.message("onMove").expect("the file has this route");
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! #[serde(rename_all = "camelCase")]
//! struct Move {
//!     entity_id: u32,
//!     path: Vec<Point>,
//! }
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Point {
//!     x: u32,
//!     y: u32,
//! }
//!
//! let value = Move { entity_id: 14, path: vec![Point { x: 128, y: 796 }] };
//! let mut body = Vec::new();
//! on_move.encode(&value, &mut body)?;
//! assert_eq!(body, b"\x08\x0e\x12\x06\x08\x80\x01\x10\x9c\x06");
//! assert_eq!(on_move.decode::<Move>(&body)?, value);
//!
//! // Without a type of one's own:
//! let value: serde_json::Value = on_move.decode(&body)?;
//! assert_eq!(value["path"][0]["y"], 796);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What goes where
//!
//! | type in the schema | takes | gives |
//! |---|---|---|
//! | `uInt32`, `uInt64` | 0 to 2^53 - 1; fractions are cut; decimal text | `u64` |
//! | `int32`, `sInt32`, `sInt64` | -2^52 to 2^52; fractions are cut; decimal text | `i64` |
//! | `float`, `double` | numbers; as in JavaScript also text, booleans and `null` (0) | `f32`, `f64` |
//! | `bool` (pinus) | booleans, 0, 1 | `bool` |
//! | `string` | text, characters, names of enum variants | text, borrowed if it is valid UTF-8 |
//! | a message | structs, maps, enum variants with content | a map or struct |
//! | `repeated` of any of these | sequences and tuples | a sequence |
//! | `map`, `obj` (pinus) | maps and structs | a map |
//!
//! The names `uInt32` and `int32` promise less than the wire carries: nothing is cut to 32 bits.
//! `None` is an absent member; JSON's `null` is a value, which only lists (left out) and floats
//! (0) can take. Members that the schema does not have are ignored. An empty list is written like
//! an absent one; for a struct that has such a member, an absent list therefore reads as an empty
//! one, while an `Option` of a list reads as `None`.
//!
//! Integers above 2^53 come only from peers that garble them: libpomelo2 sends negative numbers
//! given for `uInt32`, and numbers from 2^31 on, as ten bytes. They read as the double that a
//! JavaScript peer would see, and saturate where the type is smaller.
//!
//! # Where it differs from pomelo-protobuf
//!
//! | situation | pomelo-protobuf 0.4.0 | here |
//! |---|---|---|
//! | number out of range, `null`, text or a boolean that is no number | exception, or a wrong number | [`EncodeError`] |
//! | required field absent | empty body | [`EncodeError`]; the caller sends the empty body |
//! | head of an integer | browsers write wire type 2 | 0; any is read |
//! | characters above U+FFFF from browsers (CESU-8) | garbled | joined |
//! | cut strings, nested lengths that are too short | read in part | [`DecodeError`] |
//! | type that nothing defines | head without a payload | [`SchemaError`]; if the schema is a peer's, an error when the field is used |
//! | any number of elements, any depth | until memory or stack is gone | [`Limits`] |

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod compound;
mod decode;
mod elements;
mod encode;
mod error;
mod file;
mod name;
mod number;
mod scan;
mod table;
mod varint;

pub use error::{
    DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Misfit, SchemaError,
    SchemaErrorKind,
};

use file::Mistake;
pub(crate) use number::number_of;
use table::{Definition, Tables};

use crate::handshake::HandshakeError;
use crate::json::Json;
use crate::text;

/// Depth to which messages nest, in both directions: half of what `serde_json` allows for the same
/// value as JSON, so that the stack of a thread, or of a browser, is never in question.
const MAX_DEPTH: usize = 64;

/// A set of schemas: routes, and the global messages they share.
///
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Protos(Arc<Set>);

struct Set {
    tables: Tables,
    text: String,
    /// Of the text: few ask for it. Boxed so that a client that never does has no use for the
    /// code of a [`Value`].
    parsed: OnceLock<Arc<dyn Parsed>>,
}

trait Parsed: Send + Sync {
    fn value(&self) -> &Value;
}

impl Parsed for Value {
    fn value(&self) -> &Value {
        self
    }
}

impl Default for Set {
    fn default() -> Self {
        Self {
            tables: Tables::default(),
            text: "{}".to_owned(),
            parsed: OnceLock::new(),
        }
    }
}

impl Protos {
    /// Reads the content of a schema file.
    ///
    /// What the original ignores is ignored: keys that are neither a field nor a message, and
    /// fields whose tag an earlier field of the same message has. The types of pinus (`uInt64`,
    /// `sInt64`, `bool`, `map`, `obj`) are known.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] for what cannot work: a definition that is no object, a tag that is no
    /// integer or out of range, a type that nothing defines.
    pub fn parse(file: &Value) -> Result<Self, SchemaError> {
        Self::compile::<_, _, true>(&file::parse(file)?)
    }

    /// [`parse`](Self::parse) from text.
    ///
    /// # Errors
    ///
    /// As `parse`, and [`SchemaErrorKind::NotJson`].
    pub fn parse_str(json: &str) -> Result<Self, SchemaError> {
        let file = serde_json::from_str(json).map_err(|error| {
            SchemaError::new(
                "",
                String::new(),
                SchemaErrorKind::NotJson(error.to_string()),
            )
        })?;
        Self::parse(&file)
    }

    /// Reads the parsed form, as a server sends it in the handshake (`sys.protos.server` and
    /// `sys.protos.client`).
    ///
    /// A field whose type nothing defines does no harm until it is used: servers of the original
    /// accept such files.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] if `parsed` is not of the parsed form.
    pub fn from_parsed<J: Json>(parsed: &J) -> Result<Self, SchemaError> {
        Self::compile::<_, _, false>(parsed)
    }

    /// [`from_parsed`](Self::from_parsed) in a handshake.
    pub(crate) fn received<J: Json>(parsed: &J) -> Result<Self, HandshakeError> {
        Self::compile::<_, _, false>(parsed)
    }

    fn compile<J: Json, E: Mistake, const STRICT: bool>(parsed: &J) -> Result<Self, E> {
        let tables = table::compile::<J, E, STRICT>(parsed)?;
        Ok(Self(Arc::new(Set {
            tables,
            text: parsed.to_text().unwrap_or_default(),
            parsed: OnceLock::new(),
        })))
    }

    /// The same schemas for a peer whose decoder knows only characters of up to three bytes, as
    /// that of the original's browser client (pomelo-protobuf `decoder.js`): text above U+FFFF is
    /// written as surrogate pairs (CESU-8), which any decoder of this crate joins again.
    #[must_use]
    pub fn with_surrogate_pairs(&self) -> Self {
        let mut tables = self.0.tables.clone();
        tables.put_text = Some(put_surrogate_pairs);
        Self(Arc::new(Set {
            tables,
            parsed: self.0.parsed.clone(),
            text: self.0.text.clone(),
        }))
    }

    /// The parsed form, its members in the order of the original.
    pub fn parsed(&self) -> &Value {
        let set = &self.0;
        let parse = || serde_json::from_str::<Value>(&set.text).unwrap_or_default();
        set.parsed.get_or_init(|| Arc::new(parse())).value()
    }

    /// The parsed form as the original's `JSON.stringify` writes it. Made once.
    pub fn parsed_text(&self) -> &str {
        &self.0.text
    }

    /// Whether it is the same set, not only an equal one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The schema of a route, if its bodies are encoded by one.
    ///
    /// Like in the original a global message is also a route, named `message Name`.
    pub fn message(&self, route: &str) -> Option<Message> {
        let index = self.0.tables.route(route)?;
        Some(Message {
            set: Arc::clone(&self.0),
            index,
        })
    }

    /// True if nothing is defined, as with a missing file.
    pub fn is_empty(&self) -> bool {
        self.0.tables.is_empty()
    }

    /// The routes, in the order of the parsed form, without the global messages.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        let keys = self
            .parsed()
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys);
        keys.map(String::as_str)
            .filter(|route| !route.starts_with(file::GLOBAL))
    }
}

fn put_surrogate_pairs(out: &mut Vec<u8>, value: &str) {
    varint::put(out, text::surrogate_pairs_len(value) as u64);
    text::write_surrogate_pairs(out, value);
}

impl fmt::Debug for Protos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Protos")
            .field(&format_args!("{}", self.0.text))
            .finish()
    }
}

/// The `protoVersion` of two schema sets: clients that have it stored are not sent the schemas.
///
/// A server that has neither file announces the empty string instead; that is for the caller to
/// know.
pub fn version(client: &Protos, server: &Protos) -> String {
    let mut hash = Md5::new();
    hash.update(client.parsed_text());
    hash.update(server.parsed_text());
    STANDARD.encode(hash.finalize())
}

/// The schema of the bodies of one route.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Message {
    set: Arc<Set>,
    index: u32,
}

impl Message {
    /// Appends the encoding of `value` to `out`.
    ///
    /// Members are written in the order in which `value` lists them. A value without members
    /// leaves `out` as it is: an empty body.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the value does not fit the schema; `out` is then as before.
    pub fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        encode::encode(&self.set.tables, self.definition(), value, out)
            .inspect_err(|_| out.truncate(start))
    }

    /// Reads a body with the default [`Limits`].
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the body is malformed, over a limit, or not what `T` wants.
    pub fn decode<'de, T: Deserialize<'de>>(&self, body: &'de [u8]) -> Result<T, DecodeError> {
        self.decode_with(body, Limits::default())
    }

    /// Reads a body.
    ///
    /// Required fields are not checked, as in the original: it is up to `T` what must be there.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the body is malformed, over a limit, or not what `T` wants.
    pub fn decode_with<'de, T: Deserialize<'de>>(
        &self,
        body: &'de [u8],
        limits: Limits,
    ) -> Result<T, DecodeError> {
        decode::decode(&self.set.tables, self.definition(), body, limits)
    }

    fn definition(&self) -> &Definition {
        self.set.tables.definition(self.index)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.definition().fields.iter().map(|field| &*field.name);
        f.write_str("Message ")?;
        f.debug_set().entries(fields).finish()
    }
}

/// What one body may cost its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Messages within messages, the outermost included. Default 64, half of what JSON may nest in
    /// `serde_json`: each level is a few calls deep on the stack.
    pub max_depth: usize,
    /// Fields and elements of lists in the whole body. Default 262144 (2^18), enough for the tiles
    /// of a map of 512 by 512. An element can take as little as a byte or two on the wire, and
    /// much more in memory: as `serde_json::Value`s that many numbers or texts are about 20 MB,
    /// and messages of one field about 55 MB, however long the body is.
    pub max_elements: usize,
}

impl Limits {
    /// Sets [`max_depth`](Self::max_depth).
    #[must_use]
    pub const fn max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// Sets [`max_elements`](Self::max_elements).
    #[must_use]
    pub const fn max_elements(mut self, max_elements: usize) -> Self {
        self.max_elements = max_elements;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_depth: MAX_DEPTH,
            max_elements: 1 << 18,
        }
    }
}
