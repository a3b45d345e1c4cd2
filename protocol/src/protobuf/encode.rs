//! `serde::Serializer` over a schema: values go straight into the buffer. Lengths of nested
//! messages and counts of lists are patched in place.

use serde::ser::{Serialize, Serializer};

use super::MAX_DEPTH;
use super::compound::{Compound, Level, List, Members};
use super::error::{EncodeError, EncodeErrorKind};
use super::number::{put_float, put_integer, put_number, put_numeric_text, unsuitable};
use super::table::{Definition, Field, Kind, Shape, Tables};
use super::varint::put;

pub(super) type Result<T> = std::result::Result<T, EncodeError>;

/// Whether the value was there at all: `None` is an absent member.
pub(super) type Present = bool;

/// Appends `value` as a message of `definition`.
pub(super) fn encode<T: Serialize + ?Sized>(
    tables: &Tables,
    definition: &Definition,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<()> {
    let place = Place::Root(definition);
    value
        .serialize(Slot {
            tables,
            out,
            place,
            depth: 0,
        })
        .map(|_| ())
}

/// Where a value goes.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// The message itself: no head, no length.
    Root(&'a Definition),
    /// All of a field.
    Field(&'a Field),
    /// One element of a list.
    Element(&'a Field),
    /// Key or value of a map entry: a payload without a head.
    Payload(&'a Field, Kind),
}

/// The serializer of one value.
pub(super) struct Slot<'o, 'a> {
    pub(super) tables: &'a Tables,
    pub(super) out: &'o mut Vec<u8>,
    pub(super) place: Place<'a>,
    /// Messages around this value.
    pub(super) depth: usize,
}

impl<'o, 'a> Slot<'o, 'a> {
    /// Writes the head, if there is one, and tells the payload.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn begin(&mut self, found: &'static str) -> Result<Kind> {
        let (field, kind) = match self.place {
            Place::Field(field) if field.shape != Shape::Single => {
                return Err(EncodeErrorKind::Unsuitable {
                    expected: list_of(field),
                    found,
                }
                .into());
            }
            Place::Field(field) => {
                put(self.out, field.head.into());
                (field, field.kind)
            }
            Place::Element(field) => {
                if field.shape == Shape::Repeated {
                    put(self.out, field.head.into());
                }
                (field, field.kind)
            }
            Place::Payload(field, kind) => (field, kind),
            Place::Root(_) => {
                return Err(EncodeErrorKind::Unsuitable {
                    expected: "a message",
                    found,
                }
                .into());
            }
        };
        if kind == Kind::Unknown {
            return Err(EncodeErrorKind::UnknownType(field.type_name.as_ref().to_owned()).into());
        }
        Ok(kind)
    }

    #[inline]
    fn integer(mut self, magnitude: u64, negative: bool) -> Result<Present> {
        let kind = self.begin("a number")?;
        put_integer(self.out, kind, magnitude, negative)?;
        Ok(true)
    }

    /// `null` and the like: [`Serializer::serialize_unit`].
    fn null(mut self) -> Result<Present> {
        match self.place {
            // Nothing to say: an empty message, as long as nothing is required.
            Place::Root(definition) => Level::new(definition, None).close(self.out).map(|()| true),
            // The original leaves out a list that is null.
            Place::Field(field) if field.shape != Shape::Single => Ok(true),
            Place::Field(_) | Place::Element(_) | Place::Payload(..) => {
                match self.begin("null")? {
                    kind @ (Kind::Float | Kind::Double) => {
                        put_float(self.out, kind, 0.0);
                        Ok(true)
                    }
                    kind => Err(unsuitable(kind, "null")),
                }
            }
        }
    }

    /// Opens the message that goes here.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn message(mut self, found: &'static str) -> Result<Members<'o, 'a>> {
        if self.depth >= MAX_DEPTH {
            return Err(EncodeErrorKind::TooDeep.into());
        }
        let level = match self.place {
            Place::Root(definition) => Level::new(definition, None),
            Place::Field(_) | Place::Element(_) | Place::Payload(..) => {
                let kind = self.begin(found)?;
                let Kind::Message(index) = kind else {
                    return Err(unsuitable(kind, found));
                };
                // One byte for the length is enough for almost every nested message.
                self.out.push(0);
                Level::new(self.tables.definition(index), Some(self.out.len()))
            }
        };
        Ok(Members::open(self.tables, self.out, level, self.depth + 1))
    }

    /// Opens the map or object that goes here.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn map(self, len: Option<usize>) -> Result<Compound<'o, 'a>> {
        match self.place {
            Place::Field(field) => match field.shape {
                Shape::Entries { key, keep_empty } => {
                    let entries = (key, keep_empty);
                    List::open(self, field, len, Some(entries)).map(Compound::Entries)
                }
                Shape::Single | Shape::Counted | Shape::Repeated => {
                    self.message("a map").map(Compound::Members)
                }
            },
            Place::Root(_) | Place::Element(_) | Place::Payload(..) => {
                self.message("a map").map(Compound::Members)
            }
        }
    }

    #[inline]
    fn list(self, len: Option<usize>) -> Result<List<'o, 'a>> {
        match self.place {
            Place::Field(field) if matches!(field.shape, Shape::Counted | Shape::Repeated) => {
                List::open(self, field, len, None)
            }
            Place::Root(_) | Place::Field(_) | Place::Element(_) | Place::Payload(..) => {
                Err(self.refuse("a list"))
            }
        }
    }

    #[cold]
    fn refuse(self, found: &'static str) -> EncodeError {
        let kind = match self.place {
            Place::Root(_) => {
                return EncodeErrorKind::Unsuitable {
                    expected: "a message",
                    found,
                }
                .into();
            }
            Place::Field(field) if field.shape != Shape::Single => {
                return EncodeErrorKind::Unsuitable {
                    expected: list_of(field),
                    found,
                }
                .into();
            }
            Place::Field(field) | Place::Element(field) => field.kind,
            Place::Payload(_, kind) => kind,
        };
        unsuitable(kind, found)
    }
}

fn list_of(field: &Field) -> &'static str {
    match field.shape {
        Shape::Entries { .. } => "a map",
        Shape::Single | Shape::Counted | Shape::Repeated => "a list",
    }
}

impl<'o, 'a> Serializer for Slot<'o, 'a> {
    type Ok = Present;
    type Error = EncodeError;
    type SerializeSeq = List<'o, 'a>;
    type SerializeTuple = List<'o, 'a>;
    type SerializeTupleStruct = List<'o, 'a>;
    type SerializeTupleVariant = List<'o, 'a>;
    type SerializeMap = Compound<'o, 'a>;
    type SerializeStruct = Compound<'o, 'a>;
    type SerializeStructVariant = Compound<'o, 'a>;

    fn serialize_bool(mut self, value: bool) -> Result<Present> {
        match self.begin("a boolean")? {
            Kind::Bool => put(self.out, u64::from(value)),
            kind @ (Kind::Float | Kind::Double) => {
                put_float(self.out, kind, f64::from(u8::from(value)));
            }
            kind => return Err(unsuitable(kind, "a boolean")),
        }
        Ok(true)
    }

    fn serialize_i8(self, value: i8) -> Result<Present> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<Present> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<Present> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<Present> {
        self.integer(value.unsigned_abs(), value < 0)
    }

    fn serialize_i128(self, value: i128) -> Result<Present> {
        match u64::try_from(value.unsigned_abs()) {
            Ok(magnitude) => self.integer(magnitude, value < 0),
            // Integer fields refuse it, the others take it as the float it is to JavaScript.
            Err(_) => self.serialize_f64(value as f64),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<Present> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<Present> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<Present> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<Present> {
        self.integer(value, false)
    }

    fn serialize_u128(self, value: u128) -> Result<Present> {
        match u64::try_from(value) {
            Ok(magnitude) => self.integer(magnitude, false),
            Err(_) => self.serialize_f64(value as f64),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<Present> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(mut self, value: f64) -> Result<Present> {
        let kind = self.begin("a number")?;
        put_number(self.out, kind, value)?;
        Ok(true)
    }

    fn serialize_char(self, value: char) -> Result<Present> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, value: &str) -> Result<Present> {
        if let Place::Field(Field {
            shape: Shape::Repeated,
            kind: Kind::Text,
            ..
        }) = self.place
        {
            // To the original a string is a list of its UTF-16 units, too. A unit that is half a
            // character becomes U+FFFD there.
            let mut list = self.list(None)?;
            for unit in value.encode_utf16() {
                let unit = char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
                list.element(&unit)?;
            }
            return list.close();
        }
        match self.begin("text")? {
            Kind::Text => match self.tables.put_text {
                Some(put_text) => put_text(self.out, value),
                None => {
                    put(self.out, value.len() as u64);
                    self.out.extend_from_slice(value.as_bytes());
                }
            },
            kind => put_numeric_text(self.out, kind, value, self.tables.number_of)?,
        }
        Ok(true)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Present> {
        match self.place {
            Place::Field(Field {
                shape: Shape::Counted,
                ..
            }) => {
                let mut list = self.list(Some(value.len()))?;
                for byte in value {
                    list.element(byte)?;
                }
                list.close()
            }
            _ => Err(self.refuse("bytes")),
        }
    }

    fn serialize_none(self) -> Result<Present> {
        match self.place {
            Place::Field(_) => Ok(false),
            // These cannot be left out.
            Place::Root(_) | Place::Element(_) | Place::Payload(..) => self.null(),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Present> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Present> {
        self.null()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Present> {
        self.null()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Present> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Present> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Present> {
        let mut message = self.message("an enum")?;
        message.member(variant, value)?;
        message.close()
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<List<'o, 'a>> {
        self.list(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<List<'o, 'a>> {
        self.list(Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<List<'o, 'a>> {
        self.list(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<List<'o, 'a>> {
        let (slot, around) = self.message("an enum")?.variant(variant)?;
        let mut list = slot.list(Some(len)).map_err(|e| e.in_field(variant))?;
        list.around = Some(around);
        Ok(list)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'o, 'a>> {
        self.map(len)
    }

    // Inlined so that the members are made where they stay: they are too large to be copied.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Compound<'o, 'a>> {
        self.map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'o, 'a>> {
        let (slot, around) = self.message("an enum")?.variant(variant)?;
        let mut members = slot.message("an enum").map_err(|e| e.in_field(variant))?;
        members.around = Some(around);
        Ok(Compound::Members(members))
    }
}
