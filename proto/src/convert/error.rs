//! What can be wrong with a `.proto` file, each with what to write instead.

use std::fmt;

/// Why [`convert`](super::convert) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file cannot be read or is not correct protobuf. The text names file, line and column.
    #[error("{0}")]
    Compile(String),
    /// The files are correct, but the dialect cannot express them. All refusals.
    #[error("{}", Lines(.0))]
    Refused(Vec<Refusal>),
    /// No message has a route.
    #[error(
        "no message has a route: import \"pomelo/options.proto\" and write \
         `option (pomelo.client) = \"...\";` or `option (pomelo.server) = \"...\";` in a message"
    )]
    NoRoutes,
}

impl From<protox::Error> for ConvertError {
    fn from(error: protox::Error) -> Self {
        // The Debug form of this type is its message with file, line and column before it; Display
        // lacks the place.
        Self::Compile(format!("{error:?}"))
    }
}

/// One part of a `.proto` file the dialect cannot express.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Something that was converted but needs care.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// Where it is.
    pub place: Place,
    /// What to know about it.
    pub caution: Caution,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.caution)
    }
}

/// A message or a field in a `.proto` file. Displayed as `chat.proto:12: Send.rid`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The file, as a path if it came from the file system.
    pub file: String,
    /// Line in it, from 1.
    pub line: Option<u32>,
    /// Full name of the message, or of message and field.
    pub element: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.element)
    }
}

/// Why a message or a field cannot be converted. The text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// `int32`, `int64`: protobuf writes a negative value as ten bytes of two's complement, which no
    /// type of the dialect reads.
    #[error(
        "{0} has no counterpart: use sint32 if it can be negative, uint32 if it cannot, \
         or [(pomelo.as) = UINT32] to promise that it never is"
    )]
    SignedVarint(&'static str),
    /// `bool`: JSON carries `true`, which the dialect cannot encode.
    #[error(
        "bool has no counterpart: use uint32 with 0 and 1, or [(pomelo.as) = UINT32] if whoever \
         writes the body gives a number"
    )]
    Bool,
    /// An enum: JSON often carries a name, which the dialect cannot encode.
    #[error(
        "an enum has no counterpart: use uint32, or [(pomelo.as) = UINT32] if whoever writes the \
         body gives the number"
    )]
    Enum,
    /// An enum mapped to `uInt32` has a negative value.
    #[error("the enum value {0} is negative and does not fit uInt32: give it another number")]
    NegativeEnumValue(String),
    /// `fixed32`, `fixed64`, `sfixed32`, `sfixed64`.
    #[error("{0} has no counterpart: use uint32, sint32 or double")]
    Fixed(&'static str),
    /// `bytes`.
    #[error("bytes has no counterpart: use string and send base64")]
    Bytes,
    /// `map<K, V>`.
    #[error("a map has no counterpart: use a repeated message with the fields key and value")]
    Map,
    /// A oneof: the dialect cannot say that only one of its members is present.
    #[error("the oneof {0} has no counterpart: write its members as optional fields")]
    Oneof(String),
    /// A proto2 group.
    #[error("a group has no counterpart: use a message")]
    Group,
    /// A proto2 message with extension ranges: an unknown field is an error in the dialect.
    #[error("extensions have no counterpart: write the fields in the message itself")]
    Extensions,
    /// A proto2 default value.
    #[error("the dialect has no default values: remove the default, an absent field stays absent")]
    Default,
    /// A field number above 2^28-1, which the original computes with in signed 32 bits.
    #[error("field numbers end at 268435455 in the dialect: use a smaller one than {0}")]
    FieldNumber(u32),
    /// `(pomelo.as)` on a type it says nothing about.
    #[error("(pomelo.as) is for int32, int64, bool and enum fields: remove it")]
    NeedlessAs,
    /// `(pomelo.required)` on a repeated field.
    #[error("a repeated field cannot be required: remove (pomelo.required)")]
    RequiredRepeated,
    /// `(pomelo.required)` on a field that is `optional`.
    #[error("the field is both optional and (pomelo.required): remove one of them")]
    RequiredOptional,
    /// A name that the original parser uses itself, or that every JavaScript object has.
    #[error("the name {0} means something else to the original's JavaScript: use another")]
    ReservedName(String),
    /// A message named like a type of the dialect.
    #[error("{0} is a type of the dialect: give the message another name")]
    TypeName(String),
    /// A route that is empty, longer than the 255 bytes the wire has room for, or holds a blank.
    #[error("{0:?} is not a route: it must have 1 to 255 bytes and no white space")]
    Route(String),
    /// Two messages claim the same route for the same direction.
    #[error("the route {route:?} belongs to {first} already: a route has one body per direction")]
    DuplicateRoute {
        /// The route.
        route: String,
        /// Full name of the message that has it.
        first: String,
    },
}

/// What to know about something that was converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Caution {
    /// The dialect counts the elements of a list of numbers, protobuf counts bytes or repeats the
    /// head.
    #[error(
        "a repeated number has other bytes in the dialect than in standard protobuf: only a \
         decoder of the dialect reads it"
    )]
    RepeatedNumber,
    /// The dialect's integers are JavaScript numbers.
    #[error("values beyond {0} do not survive: the dialect's integers are JavaScript numbers")]
    LargeInteger(&'static str),
    /// serverProtos has the route of a request.
    #[error(
        "the responses of {0} are encoded: libpomelo2 cannot read them, and an answer that does \
         not fit, such as {{\"code\":500}}, becomes an empty body"
    )]
    ResponseRoute(String),
}

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, refusal) in self.0.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{refusal}")?;
        }
        Ok(())
    }
}
