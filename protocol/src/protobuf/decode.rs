//! `serde::Deserializer` over a schema: visitors read straight from the body.

use std::borrow::Cow;
use std::iter::empty;

use serde::de::value::{
    CowStrDeserializer, MapAccessDeserializer, MapDeserializer, SeqDeserializer, StrDeserializer,
};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::Limits;
use super::error::{DecodeError, DecodeErrorKind};
use super::scan::{Context, Outline, count, head, outline, skip, unknown_type};
use super::table::{Definition, Field, FieldSet, Kind, Shape, Tables};
use super::varint::{Reader, Uint};
use crate::text::decode_utf8;

type Result<T> = std::result::Result<T, DecodeError>;

/// 2^64, the first double that is no `u64`.
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// Reads `body` as a message of `definition`.
pub(super) fn decode<'de, T: Deserialize<'de>>(
    tables: &Tables,
    definition: &Definition,
    body: &'de [u8],
    limits: Limits,
) -> Result<T> {
    let mut context = Context::new(tables, limits);
    let payload = Payload::Message(definition, body);
    T::deserialize(Single {
        context: &mut context,
        payload,
        depth: 0,
    })
}

/// The payload of one value.
#[derive(Clone, Copy)]
enum Payload<'a, 'de> {
    Uint(u64),
    Sint(i64),
    /// An integer above 2^53, where JavaScript peers have lost the last digits.
    Big(f64),
    Float(f32),
    Double(f64),
    Bool(bool),
    Text(&'de [u8]),
    Message(&'a Definition, &'de [u8]),
}

impl<'a, 'de> Payload<'a, 'de> {
    #[inline]
    fn read(
        tables: &'a Tables,
        field: &Field,
        kind: Kind,
        reader: &mut Reader<'de>,
    ) -> Result<Self> {
        Ok(match kind {
            Kind::Uint => match reader.varint()? {
                Uint::Exact(value) => Self::Uint(value),
                Uint::Big(value) => Self::Big(value),
            },
            Kind::Sint => match reader.varint()? {
                Uint::Exact(value) => {
                    // At most 2^53: the halves fit.
                    let half = (value >> 1) as i64;
                    Self::Sint(if value & 1 == 0 { half } else { -half - 1 })
                }
                // So large a double is even, and even is positive in zigzag.
                Uint::Big(value) => Self::Big(value / 2.0),
            },
            Kind::Float => Self::Float(f32::from_le_bytes(reader.array()?)),
            Kind::Double => Self::Double(f64::from_le_bytes(reader.array()?)),
            Kind::Bool => Self::Bool(reader.varint()? != Uint::Exact(0)),
            Kind::Text => Self::Text(reader.prefixed()?),
            Kind::Message(index) => Self::Message(tables.definition(index), reader.prefixed()?),
            Kind::Unknown => {
                return Err(unknown_type(field));
            }
        })
    }
}

/// The deserializer of one payload.
struct Single<'c, 'a, 'de> {
    context: &'c mut Context<'a>,
    payload: Payload<'a, 'de>,
    /// Messages around this value.
    depth: usize,
}

impl<'de> Single<'_, '_, 'de> {
    fn message<V: Visitor<'de>>(
        self,
        wanted: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.payload {
            Payload::Message(definition, body) => {
                let mut members = Message::new(self.context, definition, body, wanted, self.depth)?;
                visitor.visit_map(&mut members)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

/// A type that wants integers gets them from what is no exact integer: libpomelo2 sends negative
/// numbers, and numbers from 2^31 on, as ten bytes; one such field must not spoil the message.
macro_rules! saturate {
    ($($method:ident => $visit:ident: $integer:ty,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.payload {
                #[expect(clippy::cast_possible_truncation, reason = "`as` saturates here")]
                Payload::Big(value) => visitor.$visit(value as $integer),
                Payload::Bool(value) => visitor.$visit(value.into()),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Single<'_, '_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.payload {
            Payload::Uint(value) => visitor.visit_u64(value),
            Payload::Sint(value) => visitor.visit_i64(value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an integer in the range of u64"
            )]
            Payload::Big(value) if value < TWO_64 => visitor.visit_u64(value as u64),
            Payload::Big(value) | Payload::Double(value) => visitor.visit_f64(value),
            Payload::Float(value) => visitor.visit_f32(value),
            Payload::Bool(value) => visitor.visit_bool(value),
            Payload::Text(bytes) => match decode_utf8(bytes) {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Payload::Message(..) => self.message(&[], visitor),
        }
    }

    saturate! {
        deserialize_i8 => visit_i8: i8,
        deserialize_i16 => visit_i16: i16,
        deserialize_i32 => visit_i32: i32,
        deserialize_i64 => visit_i64: i64,
        deserialize_i128 => visit_i128: i128,
        deserialize_u8 => visit_u8: u8,
        deserialize_u16 => visit_u16: u16,
        deserialize_u32 => visit_u32: u32,
        deserialize_u64 => visit_u64: u64,
        deserialize_u128 => visit_u128: u128,
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.payload {
            Payload::Text(bytes) => visitor.visit_borrowed_bytes(bytes),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.message(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.payload {
            Payload::Text(bytes) => visitor.visit_enum(CowStrDeserializer::new(decode_utf8(bytes))),
            Payload::Message(definition, body) => {
                let members = Message::new(self.context, definition, body, &[], self.depth)?;
                visitor.visit_enum(MapAccessDeserializer::new(members))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string unit unit_struct seq tuple tuple_struct map identifier
    }
}

/// The members of one message.
struct Message<'c, 'a, 'de> {
    context: &'c mut Context<'a>,
    definition: &'a Definition,
    reader: Reader<'de>,
    outline: Outline,
    /// Fields already handed out; what follows of them is skipped.
    seen: FieldSet,
    /// The field whose value comes next.
    current: Option<&'a Field>,
    /// Members a struct asks for. A list it asks for is empty if it is absent: the wire does not
    /// tell these apart.
    wanted: &'static [&'static str],
    /// The body is over; empty lists follow.
    over: bool,
    depth: usize,
}

impl<'c, 'a, 'de> Message<'c, 'a, 'de> {
    fn new(
        context: &'c mut Context<'a>,
        definition: &'a Definition,
        body: &'de [u8],
        wanted: &'static [&'static str],
        depth: usize,
    ) -> Result<Self> {
        let max = context.limits.max_depth;
        if depth >= max {
            return Err(DecodeErrorKind::TooDeep { max }.into());
        }
        let outline = outline(context, definition, body)?;
        Ok(Self {
            context,
            definition,
            reader: Reader::new(body),
            outline,
            seen: FieldSet::default(),
            current: None,
            wanted,
            over: false,
            depth: depth + 1,
        })
    }

    #[inline]
    fn advance(&mut self) -> Result<Option<&'a Field>> {
        self.current = None;
        while !self.reader.is_empty() {
            let field = head(self.definition, &mut self.reader)?;
            if self.seen.insert(field.index) {
                self.current = Some(field);
                return Ok(Some(field));
            }
            skip(field, &mut self.reader).map_err(|e| e.in_field(&field.name))?;
        }
        self.over = true;
        if self.wanted.is_empty() {
            return Ok(None);
        }
        let definition = self.definition;
        for &index in &*definition.lists {
            let Some(field) = definition.field(index) else {
                continue;
            };
            if self.wanted.contains(&&*field.name) && self.seen.insert(index) {
                self.current = Some(field);
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    #[inline]
    fn value<T: DeserializeSeed<'de>>(&mut self, field: &'a Field, seed: T) -> Result<T::Value> {
        if self.over {
            return seed.deserialize(Absent { shape: field.shape });
        }
        let scattered = self.outline.is_scattered(field);
        if field.shape == Shape::Single {
            let mut place = self.reader;
            let payload = Payload::read(self.context.tables, field, field.kind, &mut self.reader)?;
            let payload = if scattered {
                last(self.context.tables, self.definition, field, &mut place)?
            } else {
                payload
            };
            return seed.deserialize(Single {
                context: self.context,
                payload,
                depth: self.depth,
            });
        }
        let before = self.reader.len();
        let value = seed.deserialize(Multiple {
            context: self.context,
            run: Run {
                definition: self.definition,
                field,
                reader: self.reader,
                left: 0,
                scattered,
            },
            place: &mut self.reader,
            depth: self.depth,
        })?;
        if self.reader.len() == before {
            // The seed asked for nothing.
            skip(field, &mut self.reader)?;
        }
        Ok(value)
    }
}

/// The value that counts if a field is there more than once: the last one replaces the others.
#[cold]
fn last<'a, 'de>(
    tables: &'a Tables,
    definition: &Definition,
    field: &Field,
    reader: &mut Reader<'de>,
) -> Result<Payload<'a, 'de>> {
    let mut payload = Payload::read(tables, field, field.kind, reader)?;
    while !reader.is_empty() {
        let other = head(definition, reader)?;
        if other.index == field.index {
            payload = Payload::read(tables, field, field.kind, reader)?;
        } else {
            skip(other, reader)?;
        }
    }
    Ok(payload)
}

impl<'de> MapAccess<'de> for Message<'_, '_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        match self.advance()? {
            Some(field) => seed
                .deserialize(StrDeserializer::new(&field.name))
                .map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let Some(field) = self.current.take() else {
            return Err(serde::de::Error::custom(
                "value is asked for before its key",
            ));
        };
        self.value(field, seed).map_err(|e| e.in_field(&field.name))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.outline.distinct.saturating_sub(self.seen.len()))
    }
}

/// Where the elements of a list, or the entries of a map, are.
struct Run<'a, 'de> {
    definition: &'a Definition,
    field: &'a Field,
    /// At the next element, or behind the last one of a chunk.
    reader: Reader<'de>,
    /// Elements left behind this head: of one string or message, or of a count.
    left: usize,
    scattered: bool,
}

impl Run<'_, '_> {
    /// Reads what comes behind a head.
    #[inline]
    fn begin(&mut self) -> Result<()> {
        self.left = match self.field.shape {
            Shape::Single | Shape::Repeated => 1,
            Shape::Counted | Shape::Entries { .. } => count(self.field, &mut self.reader)?,
        };
        Ok(())
    }

    /// Moves to the next element; false if there is none.
    #[inline]
    fn advance(&mut self) -> Result<bool> {
        while self.left == 0 {
            if !self.find_head()? {
                return Ok(false);
            }
            self.begin()?;
        }
        self.left -= 1;
        Ok(true)
    }

    /// Moves behind the next head of this field: the very next one, or, if the field is scattered
    /// over the message, one further on.
    #[inline]
    fn find_head(&mut self) -> Result<bool> {
        if !self.scattered && self.field.shape != Shape::Repeated {
            return Ok(false);
        }
        while !self.reader.is_empty() {
            let mut ahead = self.reader;
            let other = head(self.definition, &mut ahead)?;
            if other.index == self.field.index {
                self.reader = ahead;
                return Ok(true);
            }
            if !self.scattered {
                return Ok(false);
            }
            skip(other, &mut ahead)?;
            self.reader = ahead;
        }
        Ok(false)
    }

    /// Exact for all but scattered lists, and never more than the body has elements.
    fn size_hint(&self) -> usize {
        let mut count = self.left;
        if self.field.shape == Shape::Repeated && !self.scattered && count > 0 {
            // Heads and lengths only: cheaper than growing a `Vec` step by step.
            let mut ahead = self.reader;
            while skip(self.field, &mut ahead).is_ok() {
                match head(self.definition, &mut ahead) {
                    Ok(other) if other.index == self.field.index => count += 1,
                    _ => break,
                }
            }
        }
        count
    }
}

/// The deserializer of all elements of a list or all entries of a map.
struct Multiple<'m, 'a, 'de> {
    context: &'m mut Context<'a>,
    run: Run<'a, 'de>,
    /// The reader of the message around, behind the first head.
    place: &'m mut Reader<'de>,
    depth: usize,
}

impl<'de> Deserializer<'de> for Multiple<'_, '_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Self {
            context,
            mut run,
            place,
            depth,
        } = self;
        run.begin()?;
        let mut elements = Elements {
            context,
            run,
            depth,
            number: 0,
            inside: false,
        };
        let value = match elements.run.field.shape {
            Shape::Entries { .. } => visitor.visit_map(&mut elements)?,
            Shape::Single | Shape::Counted | Shape::Repeated => visitor.visit_seq(&mut elements)?,
        };
        let Elements { run, inside, .. } = elements;
        if run.left == 0 && !run.scattered && !inside {
            *place = run.reader;
        } else {
            // The walk goes on behind the first chunk, whatever the visitor took.
            skip(run.field, place)?;
        }
        Ok(value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        skip(self.run.field, self.place)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

struct Elements<'m, 'a, 'de> {
    context: &'m mut Context<'a>,
    run: Run<'a, 'de>,
    depth: usize,
    number: usize,
    /// Between a key and its value.
    inside: bool,
}

impl<'a, 'de> Elements<'_, 'a, 'de> {
    #[inline]
    fn payload(&mut self, kind: Kind) -> Result<Payload<'a, 'de>> {
        Payload::read(
            self.context.tables,
            self.run.field,
            kind,
            &mut self.run.reader,
        )
    }

    #[inline]
    fn element<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let payload = self.payload(self.run.field.kind)?;
        seed.deserialize(Single {
            context: self.context,
            payload,
            depth: self.depth,
        })
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, '_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if !self.run.advance()? {
            return Ok(None);
        }
        let index = self.number;
        self.number += 1;
        self.element(seed)
            .map(Some)
            .map_err(|e| e.in_element(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.run.size_hint())
    }
}

impl<'de> MapAccess<'de> for Elements<'_, '_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Shape::Entries { key, .. } = self.run.field.shape else {
            return Ok(None);
        };
        if !self.run.advance()? {
            return Ok(None);
        }
        self.inside = true;
        let index = self.number;
        let payload = self.payload(key)?;
        let key = Key(Single {
            context: self.context,
            payload,
            depth: self.depth,
        });
        seed.deserialize(key)
            .map(Some)
            .map_err(|e| e.in_element(index))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let index = self.number;
        self.number += 1;
        let value = self.element(seed).map_err(|e| e.in_element(index))?;
        self.inside = false;
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.run.size_hint())
    }
}

/// The deserializer of a map's key: text, as in JSON, unless the type asks for another kind.
struct Key<'c, 'a, 'de>(Single<'c, 'a, 'de>);

macro_rules! keys_as_they_are {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.0.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_, '_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let text = match self.0.payload {
            Payload::Uint(value) => value.to_string(),
            Payload::Sint(value) => value.to_string(),
            Payload::Big(value) | Payload::Double(value) => value.to_string(),
            Payload::Float(value) => value.to_string(),
            Payload::Bool(value) => value.to_string(),
            Payload::Text(_) | Payload::Message(..) => return self.0.deserialize_any(visitor),
        };
        visitor.visit_string(text)
    }

    keys_as_they_are! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf
        deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

/// The deserializer of a list or map that a struct asks for and the body does not have.
struct Absent {
    shape: Shape,
}

impl<'de> Deserializer<'de> for Absent {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.shape {
            Shape::Entries { .. } => visitor.visit_map(MapDeserializer::<_, DecodeError>::new(
                empty::<(&str, &str)>(),
            )),
            Shape::Single | Shape::Counted | Shape::Repeated => {
                visitor.visit_seq(SeqDeserializer::<_, DecodeError>::new(empty::<&str>()))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
