//! What can go wrong with a schema, with a value and with a body.

use std::fmt;

/// A schema file, or a schema from a handshake, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    route: String,
    path: String,
    kind: SchemaErrorKind,
}

/// What is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaErrorKind {
    /// The text is no JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// A file or a message definition must be a JSON object.
    #[error("expected an object")]
    NotAnObject,
    /// The tag of a field must be an integer from 0 to 2^28 - 1: the encoder of pomelo-protobuf
    /// shifts it left by three bits in signed 32-bit arithmetic.
    #[error("expected a tag from 0 to 268435455, found {0}")]
    BadTag(String),
    /// The type is none of the scalar types, no message in the definition that uses it and no
    /// global message. Definitions of enclosing messages are not searched.
    #[error("unknown type {0:?}")]
    UnknownType(String),
    /// The type of a `map` or `obj` field must be a message with a `value` and a scalar `key`.
    #[error("type {0:?} of a map is no message with a scalar `key` and a `value`")]
    BadEntry(String),
    /// A parsed field lacks its `option`, `type` or `tag`.
    #[error("expected a field with `option`, `type` and `tag`")]
    NotAField,
    /// Definitions are nested more than 64 levels deep.
    #[error("definitions are nested too deeply")]
    TooDeep,
}

impl SchemaError {
    pub(super) fn new(route: &str, path: String, kind: SchemaErrorKind) -> Self {
        Self {
            route: route.to_owned(),
            path,
            kind,
        }
    }

    /// The key of the file in whose definition the mistake is; empty if it is the file itself.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The nested messages and the field below [`route`](Self::route), joined by dots, for
    /// example `Player.Bag.items`; empty if it is the definition of the route itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn kind(&self) -> &SchemaErrorKind {
        &self.kind
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.route.is_empty() || !self.path.is_empty() {
            write!(f, "{:?}", self.route)?;
            if !self.path.is_empty() {
                write!(f, " at {}", self.path)?;
            }
            f.write_str(": ")?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for SchemaError {}

/// What is wrong between a body and its schema, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit<K>(Box<Located<K>>);

/// The path grows from the inside out while an error travels up; without an error there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Located<K> {
    path: String,
    kind: K,
}

impl<K> Misfit<K> {
    /// Where it is, for example `path[2].x`; empty for the message itself.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Why.
    pub fn kind(&self) -> &K {
        &self.0.kind
    }

    #[cold]
    pub(super) fn in_field(mut self, name: &str) -> Self {
        prefix_field(&mut self.0.path, name);
        self
    }

    #[cold]
    pub(super) fn in_element(mut self, index: usize) -> Self {
        prefix_element(&mut self.0.path, index);
        self
    }
}

impl<K> From<K> for Misfit<K> {
    #[cold]
    fn from(kind: K) -> Self {
        Self(Box::new(Located {
            path: String::new(),
            kind,
        }))
    }
}

impl<K: fmt::Display> fmt::Display for Misfit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "{}: ", self.0.path)?;
        }
        self.0.kind.fmt(f)
    }
}

impl<K: fmt::Debug + fmt::Display> std::error::Error for Misfit<K> {}

/// A value that does not fit the schema of its route: the mistake of the caller.
///
/// pomelo sends an *empty body* in place of a response or push that does not fit.
pub type EncodeError = Misfit<EncodeErrorKind>;

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// A `required` field is absent.
    MissingRequired,
    /// The value is of a kind that the type of the field cannot carry.
    Unsuitable {
        /// What the field takes.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// The number is not in the range of the type: 0 to 2^53 - 1 for `uInt32` and `uInt64`,
    /// -2^52 to 2^52 for the signed types.
    OutOfRange,
    /// The type of the field is unknown. Only schemas from a handshake can have such fields.
    UnknownType(String),
    /// Messages are nested more than 64 levels deep.
    TooDeep,
    /// The value's own `Serialize` failed.
    Custom(String),
}

impl fmt::Display for EncodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingRequired => f.write_str("required field is absent"),
            Self::Unsuitable { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::OutOfRange => f.write_str("number is out of the range of its type"),
            Self::UnknownType(name) => write!(f, "field has the unknown type {name:?}"),
            Self::TooDeep => f.write_str("messages are nested too deeply"),
            Self::Custom(text) => f.write_str(text),
        }
    }
}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        EncodeErrorKind::Custom(msg.to_string()).into()
    }
}

/// A body that is not of its schema, or that is and does not fit the type asked for.
pub type DecodeError = Misfit<DecodeErrorKind>;

/// Why a body was refused.
///
/// All but [`Mismatch`](Self::Mismatch) say that the body is malformed or over a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The body, or a nested message, ends inside a field; a length or a count promises more than
    /// there is.
    Cut,
    /// No field has this tag. It cannot be skipped: the heads of this dialect do not tell how
    /// long a field is.
    UnknownTag(u64),
    /// The type of the field is unknown. Only schemas from a handshake can have such fields.
    UnknownType(String),
    /// Messages are nested deeper than [`Limits::max_depth`](super::Limits::max_depth).
    TooDeep {
        /// The limit in force.
        max: usize,
    },
    /// The body has more than [`Limits::max_elements`](super::Limits::max_elements).
    TooManyElements {
        /// The limit in force.
        max: usize,
    },
    /// The body is well-formed, but not what the type asked for wants: a member is missing or of
    /// another kind.
    Mismatch(String),
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("body ends inside a field"),
            Self::UnknownTag(tag) => write!(f, "no field has the tag {tag}"),
            Self::UnknownType(name) => write!(f, "field has the unknown type {name:?}"),
            Self::TooDeep { max } => write!(f, "messages are nested more than {max} levels deep"),
            Self::TooManyElements { max } => write!(f, "body has more than {max} elements"),
            Self::Mismatch(text) => f.write_str(text),
        }
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        DecodeErrorKind::Mismatch(msg.to_string()).into()
    }
}

fn prefix_field(path: &mut String, name: &str) {
    *path = [name, dot(path), path].concat();
}

fn prefix_element(path: &mut String, index: usize) {
    *path = ["[", &decimal(index), "]", dot(path), path].concat();
}

/// What comes before the rest of a path.
fn dot(rest: &str) -> &'static str {
    if rest.is_empty() || rest.starts_with('[') {
        ""
    } else {
        "."
    }
}

/// `to_string` would bring the formatting of numbers into the browser's module, for this alone.
fn decimal(number: usize) -> String {
    let mut digits = match number / 10 {
        0 => String::new(),
        tens => decimal(tens),
    };
    let digit = u32::try_from(number % 10).ok();
    digits.extend(digit.and_then(|digit| char::from_digit(digit, 10)));
    digits
}
