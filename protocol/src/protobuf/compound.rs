//! What is open while a value is written: messages, lists, maps.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::encode::{Place, Present, Result, Slot};
use super::error::{EncodeError, EncodeErrorKind};
use super::name::Name;
use super::table::{Definition, Field, FieldSet, Kind, Shape, Tables};
use super::varint::{patch, put, width};

/// An open message.
pub(super) struct Level<'a> {
    definition: &'a Definition,
    /// Where the body begins, one byte after the place of its length.
    body: Option<usize>,
    seen: FieldSet,
    /// The field that comes next if the value lists its members as the schema does.
    next: u32,
}

impl<'a> Level<'a> {
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn new(definition: &'a Definition, body: Option<usize>) -> Self {
        Self {
            definition,
            body,
            seen: FieldSet::default(),
            next: 0,
        }
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn find(&mut self, name: &str) -> Option<&'a Field> {
        let definition = self.definition;
        let found = match definition.field(self.next) {
            Some(field) if *field.name == *name => field,
            _ => definition.by_name(name)?,
        };
        self.next = found.index + 1;
        Some(found)
    }

    #[inline]
    pub(super) fn close(self, out: &mut Vec<u8>) -> Result<()> {
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
pub(super) type Around<'a> = Box<(Level<'a>, &'static str)>;

/// Members of an open message.
pub(super) struct Members<'o, 'a> {
    tables: &'a Tables,
    out: &'o mut Vec<u8>,
    level: Level<'a>,
    pub(super) around: Option<Around<'a>>,
    /// The field of the key that was just given, if it has one.
    key: Option<&'a Field>,
    depth: usize,
}

impl<'o, 'a> Members<'o, 'a> {
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn open(
        tables: &'a Tables,
        out: &'o mut Vec<u8>,
        level: Level<'a>,
        depth: usize,
    ) -> Self {
        Self {
            tables,
            out,
            level,
            around: None,
            key: None,
            depth,
        }
    }

    #[inline]
    pub(super) fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        match self.level.find(name) {
            Some(field) => self.field(field, value),
            // Members without a field are ignored.
            None => Ok(()),
        }
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
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
    pub(super) fn variant(mut self, name: &'static str) -> Result<(Slot<'o, 'a>, Around<'a>)> {
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
    pub(super) fn close(self) -> Result<Present> {
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
pub(super) struct List<'o, 'a> {
    tables: &'a Tables,
    out: &'o mut Vec<u8>,
    field: &'a Field,
    /// Kind of the keys and whether an empty map is written.
    entries: Option<(Kind, bool)>,
    pub(super) around: Option<Around<'a>>,
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
    pub(super) fn open(
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
    pub(super) fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
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
    pub(super) fn close(self) -> Result<Present> {
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
pub(super) enum Compound<'o, 'a> {
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
    pub(super) fn close(self) -> Result<Present> {
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
                members.key = key.serialize(Name(&mut members.level))?;
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
