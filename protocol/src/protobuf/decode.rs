//! `serde::Deserializer` over a schema: visitors read straight from the body.

use std::borrow::Cow;

use serde::de::value::{CowStrDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::Limits;
use super::elements::{Absent, Multiple, Run};
use super::error::DecodeError;
use super::scan::{Context, Outline, head, outline, skip, skip_payload, unknown_type};
use super::table::{Definition, Field, FieldSet, Kind, Shape, Tables};
use super::varint::{Reader, Uint};
use crate::text::decode_utf8;

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

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
    let source = Source::Known(Payload::Message(definition, body));
    T::deserialize(Single {
        context: &mut context,
        source,
        depth: 0,
    })
}

/// The payload of one value.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a, 'de> {
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
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
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
pub(super) struct Single<'c, 'a, 'de> {
    pub(super) context: &'c mut Context<'a>,
    pub(super) source: Source<'c, 'a, 'de>,
    /// Messages around this value.
    pub(super) depth: usize,
}

pub(super) enum Source<'c, 'a, 'de> {
    /// Not read yet: reading and visiting in one go is what makes small fields fast.
    Ahead(&'c mut Reader<'de>, &'a Field, Kind),
    Known(Payload<'a, 'de>),
}

impl<'c, 'a, 'de> Single<'c, 'a, 'de> {
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn read(self) -> Result<(Payload<'a, 'de>, &'c mut Context<'a>, usize)> {
        let payload = match self.source {
            Source::Ahead(reader, field, kind) => {
                Payload::read(self.context.tables, field, kind, reader)?
            }
            Source::Known(payload) => payload,
        };
        Ok((payload, self.context, self.depth))
    }
}

impl<'a, 'de> Payload<'a, 'de> {
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn visit<V: Visitor<'de>>(
        self,
        context: &mut Context<'a>,
        depth: usize,
        wanted: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self {
            Self::Uint(value) => visitor.visit_u64(value),
            Self::Sint(value) => visitor.visit_i64(value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an integer in the range of u64"
            )]
            Self::Big(value) if value < TWO_64 => visitor.visit_u64(value as u64),
            Self::Big(value) | Self::Double(value) => visitor.visit_f64(value),
            Self::Float(value) => visitor.visit_f32(value),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Text(bytes) => match decode_utf8(bytes) {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Self::Message(definition, body) => {
                let mut members = Message::new(context, definition, body, wanted, depth)?;
                visitor.visit_map(&mut members)
            }
        }
    }
}

/// A type that wants integers gets them from what is no exact integer: libpomelo2 sends negative
/// numbers, and numbers from 2^31 on, as ten bytes; one such field must not spoil the message.
macro_rules! saturate {
    ($($method:ident => $visit:ident: $integer:ty,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let (payload, context, depth) = self.read()?;
            match payload {
                #[expect(clippy::cast_possible_truncation, reason = "`as` saturates here")]
                Payload::Big(value) => visitor.$visit(value as $integer),
                Payload::Bool(value) => visitor.$visit(value.into()),
                _ => payload.visit(context, depth, &[], visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Single<'_, '_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let (payload, context, depth) = self.read()?;
        payload.visit(context, depth, &[], visitor)
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
        let (payload, context, depth) = self.read()?;
        match payload {
            Payload::Text(bytes) => visitor.visit_borrowed_bytes(bytes),
            _ => payload.visit(context, depth, &[], visitor),
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

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (payload, context, depth) = self.read()?;
        payload.visit(context, depth, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (payload, context, depth) = self.read()?;
        match payload {
            Payload::Text(bytes) => visitor.visit_enum(CowStrDeserializer::new(decode_utf8(bytes))),
            Payload::Message(definition, body) => {
                let members = Message::new(context, definition, body, &[], depth)?;
                visitor.visit_enum(MapAccessDeserializer::new(members))
            }
            _ => payload.visit(context, depth, &[], visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if let Source::Ahead(reader, field, kind) = self.source {
            skip_payload(field, kind, reader)?;
        }
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
    // Inlined so that the members are made where they stay: they are too large to be copied.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    fn new(
        context: &'c mut Context<'a>,
        definition: &'a Definition,
        body: &'de [u8],
        wanted: &'static [&'static str],
        depth: usize,
    ) -> Result<Self> {
        let outline = outline(context, definition, body, depth)?;
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
        let before = self.reader.len();
        let value = if field.shape == Shape::Single {
            let source = if scattered {
                let tables = self.context.tables;
                Source::Known(last(tables, self.definition, field, self.reader)?)
            } else {
                Source::Ahead(&mut self.reader, field, field.kind)
            };
            seed.deserialize(Single {
                context: self.context,
                source,
                depth: self.depth,
            })?
        } else {
            let run = Run::new(self.definition, field, self.reader, scattered);
            let place = &mut self.reader;
            seed.deserialize(Multiple::new(self.context, run, place, self.depth))?
        };
        if self.reader.len() == before {
            // A replaced value, or the seed asked for nothing.
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
    mut reader: Reader<'de>,
) -> Result<Payload<'a, 'de>> {
    let reader = &mut reader;
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
