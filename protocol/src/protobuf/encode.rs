//! `serde::Serializer` over a schema: values go straight into the buffer. Lengths of nested
//! messages and counts of lists are patched in place.

use serde::ser::{
    Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::MAX_DEPTH;
use super::error::{EncodeError, EncodeErrorKind};
use super::number::{put_float, put_integer, put_number, put_numeric_text, unsuitable};
use super::table::{Definition, Field, FieldSet, Kind, Shape, Tables};
use super::varint::{patch, put, width};

type Result<T> = core::result::Result<T, EncodeError>;

/// Whether the value was there at all: `None` is an absent member.
type Present = bool;

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
enum Place<'a> {
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
struct Slot<'o, 'a> {
    tables: &'a Tables,
    out: &'o mut Vec<u8>,
    place: Place<'a>,
    /// Messages around this value.
    depth: usize,
}

impl<'o, 'a> Slot<'o, 'a> {
    /// Writes the head, if there is one, and tells the payload.
    #[inline]
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
            return Err(EncodeErrorKind::UnknownType(field.type_name.to_string()).into());
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
    #[inline]
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
        let depth = self.depth + 1;
        Ok(Members {
            tables: self.tables,
            out: self.out,
            level,
            around: None,
            key: None,
            depth,
        })
    }

    /// Opens the map or object that goes here.
    #[inline]
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
            Kind::Text => {
                put(self.out, value.len() as u64);
                self.out.extend_from_slice(value.as_bytes());
            }
            kind => put_numeric_text(self.out, kind, value)?,
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

/// An open message.
struct Level<'a> {
    definition: &'a Definition,
    /// Where the body begins, one byte after the place of its length.
    body: Option<usize>,
    seen: FieldSet,
    /// The field that comes next if the value lists its members as the schema does.
    next: u32,
}

impl<'a> Level<'a> {
    #[inline]
    fn new(definition: &'a Definition, body: Option<usize>) -> Self {
        Self {
            definition,
            body,
            seen: FieldSet::default(),
            next: 0,
        }
    }

    #[inline]
    fn find(&mut self, name: &str) -> Option<&'a Field> {
        let definition = self.definition;
        let found = match definition.field(self.next) {
            Some(field) if *field.name == *name => field,
            _ => definition.by_name(name)?,
        };
        self.next = found.index + 1;
        Some(found)
    }

    #[inline]
    fn close(self, out: &mut Vec<u8>) -> Result<()> {
        if let Some(index) = self.definition.required.first_not_in(&self.seen) {
            let name = self.definition.field(index).map_or("", |field| &field.name);
            return Err(EncodeError::from(EncodeErrorKind::MissingRequired).in_field(name));
        }
        if let Some(body) = self.body {
            let len = out.len() - body;
            patch(out, body - 1, 1, len);
        }
        Ok(())
    }
}

/// The message around the fields of an enum variant, and the variant's name.
type Around<'a> = Box<(Level<'a>, &'static str)>;

/// Members of an open message.
struct Members<'o, 'a> {
    tables: &'a Tables,
    out: &'o mut Vec<u8>,
    level: Level<'a>,
    around: Option<Around<'a>>,
    /// The field of the key that was just given, if it has one.
    key: Option<&'a Field>,
    depth: usize,
}

impl<'o, 'a> Members<'o, 'a> {
    #[inline]
    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        match self.level.find(name) {
            Some(field) => self.field(field, value),
            // Members without a field are ignored.
            None => Ok(()),
        }
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, field: &'a Field, value: &T) -> Result<()> {
        let slot = Slot {
            tables: self.tables,
            out: &mut *self.out,
            place: Place::Field(field),
            depth: self.depth,
        };
        if value.serialize(slot).map_err(|e| e.in_field(&field.name))? {
            self.level.seen.insert(field.index);
        }
        Ok(())
    }

    /// The slot of an enum variant with fields of its own: the only member of this message.
    fn variant(mut self, name: &'static str) -> Result<(Slot<'o, 'a>, Around<'a>)> {
        let Some(field) = self.level.find(name) else {
            return Err(EncodeErrorKind::Unsuitable {
                expected: "a variant that the schema has a field for",
                found: name,
            }
            .into());
        };
        self.level.seen.insert(field.index);
        let slot = Slot {
            tables: self.tables,
            out: self.out,
            place: Place::Field(field),
            depth: self.depth,
        };
        Ok((slot, Box::new((self.level, name))))
    }

    #[inline]
    fn close(self) -> Result<Present> {
        match self.around {
            None => self.level.close(self.out)?,
            Some(around) => {
                let (outer, variant) = *around;
                self.level
                    .close(self.out)
                    .map_err(|e| e.in_field(variant))?;
                outer.close(self.out)?;
            }
        }
        Ok(true)
    }
}

/// An open list, or the open entries of a map.
struct List<'o, 'a> {
    tables: &'a Tables,
    out: &'o mut Vec<u8>,
    field: &'a Field,
    /// Kind of the keys and whether an empty map is written.
    entries: Option<(Kind, bool)>,
    around: Option<Around<'a>>,
    /// Where the head begins, for a list that turns out to be empty.
    start: usize,
    /// Where the count is and what is written there.
    count_at: usize,
    announced: usize,
    count: usize,
    depth: usize,
}

impl<'o, 'a> List<'o, 'a> {
    #[inline]
    fn open(
        slot: Slot<'o, 'a>,
        field: &'a Field,
        len: Option<usize>,
        entries: Option<(Kind, bool)>,
    ) -> Result<Self> {
        let Slot {
            tables, out, depth, ..
        } = slot;
        let start = out.len();
        let announced = len.unwrap_or_default();
        let mut count_at = start;
        if field.shape != Shape::Repeated {
            put(out, field.head.into());
            count_at = out.len();
            put(out, announced as u64);
        }
        let around = None;
        Ok(Self {
            tables,
            out,
            field,
            entries,
            around,
            start,
            count_at,
            announced,
            count: 0,
            depth,
        })
    }

    #[inline]
    fn slot(&mut self, place: Place<'a>) -> Slot<'_, 'a> {
        Slot {
            tables: self.tables,
            out: &mut *self.out,
            place,
            depth: self.depth,
        }
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let (place, index) = (Place::Element(self.field), self.count);
        value
            .serialize(self.slot(place))
            .map_err(|e| e.in_element(index))?;
        self.count += 1;
        Ok(())
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let kind = self.entries.map_or(Kind::Unknown, |(kind, _)| kind);
        let (place, index) = (Place::Payload(self.field, kind), self.count);
        key.serialize(self.slot(place))
            .map_err(|e| e.in_element(index))?;
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let (place, index) = (Place::Payload(self.field, self.field.kind), self.count);
        value
            .serialize(self.slot(place))
            .map_err(|e| e.in_element(index))?;
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn close(self) -> Result<Present> {
        let keep_empty = self.entries.is_some_and(|(_, keep_empty)| keep_empty);
        if self.count == 0 && !keep_empty {
            self.out.truncate(self.start);
        } else if self.field.shape != Shape::Repeated && self.count != self.announced {
            patch(self.out, self.count_at, width(self.announced), self.count);
        }
        if let Some(around) = self.around {
            around.0.close(self.out)?;
        }
        Ok(true)
    }
}

impl SerializeSeq for List<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<Present> {
        self.close()
    }
}

impl SerializeTuple for List<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<Present> {
        self.close()
    }
}

impl SerializeTupleStruct for List<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<Present> {
        self.close()
    }
}

impl SerializeTupleVariant for List<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value).map_err(|e| match &self.around {
            Some(around) => e.in_field(around.1),
            None => e,
        })
    }

    fn end(self) -> Result<Present> {
        self.close()
    }
}

/// What `serialize_map` and `serialize_struct` open: the field decides which.
enum Compound<'o, 'a> {
    Members(Members<'o, 'a>),
    Entries(List<'o, 'a>),
}

impl Compound<'_, '_> {
    #[inline]
    fn named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        match self {
            Self::Members(members) => members.member(name, value),
            Self::Entries(entries) => {
                entries.key(name)?;
                entries.value(value)
            }
        }
    }

    #[inline]
    fn close(self) -> Result<Present> {
        match self {
            Self::Members(members) => members.close(),
            Self::Entries(entries) => entries.close(),
        }
    }
}

impl SerializeStruct for Compound<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        self.named(key, value)
    }

    #[inline]
    fn end(self) -> Result<Present> {
        self.close()
    }
}

impl SerializeStructVariant for Compound<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        self.named(key, value).map_err(|e| match self {
            Self::Members(Members {
                around: Some(around),
                ..
            }) => e.in_field(around.1),
            Self::Members(_) | Self::Entries(_) => e,
        })
    }

    fn end(self) -> Result<Present> {
        self.close()
    }
}

impl SerializeMap for Compound<'_, '_> {
    type Ok = Present;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        match self {
            Self::Members(members) => {
                members.key = key.serialize(Name {
                    level: &mut members.level,
                })?;
                Ok(())
            }
            Self::Entries(entries) => entries.key(key),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match self {
            Self::Members(members) => match members.key.take() {
                Some(field) => members.field(field, value),
                None => Ok(()),
            },
            Self::Entries(entries) => entries.value(value),
        }
    }

    fn end(self) -> Result<Present> {
        self.close()
    }
}

/// The serializer of a member's name: finds its field.
struct Name<'l, 'a> {
    level: &'l mut Level<'a>,
}

impl Name<'_, '_> {
    #[cold]
    fn refuse(found: &'static str) -> EncodeError {
        EncodeErrorKind::Unsuitable {
            expected: "the name of a member",
            found,
        }
        .into()
    }
}

macro_rules! names_of_integers {
    ($($method:ident: $integer:ty,)*) => {$(
        fn $method(self, value: $integer) -> Result<Self::Ok> {
            Ok(self.level.find(&value.to_string()))
        }
    )*};
}

impl<'a> Serializer for Name<'_, 'a> {
    type Ok = Option<&'a Field>;
    type Error = EncodeError;
    type SerializeSeq = Impossible<Self::Ok, EncodeError>;
    type SerializeTuple = Impossible<Self::Ok, EncodeError>;
    type SerializeTupleStruct = Impossible<Self::Ok, EncodeError>;
    type SerializeTupleVariant = Impossible<Self::Ok, EncodeError>;
    type SerializeMap = Impossible<Self::Ok, EncodeError>;
    type SerializeStruct = Impossible<Self::Ok, EncodeError>;
    type SerializeStructVariant = Impossible<Self::Ok, EncodeError>;

    names_of_integers! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
    }

    fn serialize_f32(self, _value: f32) -> Result<Self::Ok> {
        Err(Self::refuse("a float"))
    }

    fn serialize_f64(self, _value: f64) -> Result<Self::Ok> {
        Err(Self::refuse("a float"))
    }

    fn serialize_char(self, value: char) -> Result<Self::Ok> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Self::Ok> {
        Ok(self.level.find(value))
    }

    fn serialize_bytes(self, _value: &[u8]) -> Result<Self::Ok> {
        Err(Self::refuse("bytes"))
    }

    fn serialize_none(self) -> Result<Self::Ok> {
        Err(Self::refuse("nothing"))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Self::Ok> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Self::Ok> {
        Err(Self::refuse("null"))
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Self::Ok> {
        Err(Self::refuse("null"))
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Self::Ok> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Self::Ok> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Self::Ok> {
        Err(Self::refuse("an enum"))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq> {
        Err(Self::refuse("a list"))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple> {
        Err(Self::refuse("a list"))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct> {
        Err(Self::refuse("a list"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        Err(Self::refuse("an enum"))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap> {
        Err(Self::refuse("a map"))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeStruct> {
        Err(Self::refuse("a map"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant> {
        Err(Self::refuse("an enum"))
    }
}
