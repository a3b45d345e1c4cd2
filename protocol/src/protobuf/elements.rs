//! Lists and maps, wherever in the message their elements are.

use std::iter::empty;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::decode::{Payload, Result, Single, Source};
use super::error::DecodeError;
use super::scan::{Context, count, head, skip, skip_payload};
use super::table::{Definition, Field, Kind, Shape};
use super::varint::Reader;

/// Where the elements of a list, or the entries of a map, are.
pub(super) struct Run<'a, 'de> {
    definition: &'a Definition,
    field: &'a Field,
    /// At the next element, or behind the last one of a chunk.
    reader: Reader<'de>,
    /// Elements left behind this head: of one string or message, or of a count.
    left: usize,
    scattered: bool,
}

impl<'a, 'de> Run<'a, 'de> {
    /// With `reader` behind the first head of `field`.
    #[inline]
    pub(super) fn new(
        definition: &'a Definition,
        field: &'a Field,
        reader: Reader<'de>,
        scattered: bool,
    ) -> Self {
        Self {
            definition,
            field,
            reader,
            left: 0,
            scattered,
        }
    }

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
pub(super) struct Multiple<'m, 'a, 'de> {
    context: &'m mut Context<'a>,
    run: Run<'a, 'de>,
    /// The reader of the message around, behind the first head.
    place: &'m mut Reader<'de>,
    depth: usize,
}

impl<'m, 'a, 'de> Multiple<'m, 'a, 'de> {
    #[inline]
    pub(super) fn new(
        context: &'m mut Context<'a>,
        run: Run<'a, 'de>,
        place: &'m mut Reader<'de>,
        depth: usize,
    ) -> Self {
        Self {
            context,
            run,
            place,
            depth,
        }
    }
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
    /// Gives the payload that comes next to `take`, and makes sure that it is used up.
    #[inline]
    fn payload<T>(
        &mut self,
        kind: Kind,
        take: impl FnOnce(Single<'_, 'a, 'de>) -> Result<T>,
    ) -> Result<T> {
        let reader = &mut self.run.reader;
        let before = reader.len();
        let source = Source::Ahead(&mut *reader, self.run.field, kind);
        let value = take(Single {
            context: self.context,
            source,
            depth: self.depth,
        })?;
        if reader.len() == before {
            skip_payload(self.run.field, kind, reader)?;
        }
        Ok(value)
    }

    #[inline]
    fn element<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        self.payload(self.run.field.kind, |payload| seed.deserialize(payload))
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
        self.payload(key, |payload| seed.deserialize(Key(payload)))
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
        let (payload, context, depth) = self.0.read()?;
        let text = match payload {
            Payload::Uint(value) => value.to_string(),
            Payload::Sint(value) => value.to_string(),
            Payload::Big(value) | Payload::Double(value) => value.to_string(),
            Payload::Float(value) => value.to_string(),
            Payload::Bool(value) => value.to_string(),
            Payload::Text(_) | Payload::Message(..) => {
                let source = Source::Known(payload);
                return Single {
                    context,
                    source,
                    depth,
                }
                .deserialize_any(visitor);
            }
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
pub(super) struct Absent {
    pub(super) shape: Shape,
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
