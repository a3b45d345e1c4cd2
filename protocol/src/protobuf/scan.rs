//! The first look at a message: heads only. It finds what is malformed before a visitor sees
//! anything, counts against the limit, and tells which fields come in several places, so that the
//! second look can be a straight walk.

use super::Limits;
use super::error::{DecodeError, DecodeErrorKind};
use super::table::{Definition, Field, FieldSet, Kind, Shape, Tables};
use super::varint::Reader;

/// What one body may still cost, and the schemas it is read with.
pub(super) struct Context<'a> {
    pub(super) tables: &'a Tables,
    pub(super) limits: Limits,
    elements: usize,
}

impl<'a> Context<'a> {
    pub(super) fn new(tables: &'a Tables, limits: Limits) -> Self {
        Self {
            tables,
            limits,
            elements: limits.max_elements,
        }
    }

    #[inline]
    fn spend(&mut self, count: usize) -> Result<(), DecodeError> {
        let max = self.limits.max_elements;
        match self.elements.checked_sub(count) {
            Some(left) => self.elements = left,
            None => return Err(DecodeErrorKind::TooManyElements { max }.into()),
        }
        Ok(())
    }
}

/// What is known of a message before it is walked.
pub(super) struct Outline {
    /// Number of different fields.
    pub(super) distinct: usize,
    /// Fields that occur again after something else: lists that go on, values that are replaced.
    scattered: Option<Box<FieldSet>>,
}

impl Outline {
    #[inline]
    pub(super) fn is_scattered(&self, field: &Field) -> bool {
        self.scattered
            .as_ref()
            .is_some_and(|fields| fields.contains(field.index))
    }
}

/// Looks at the heads of a message that has `depth` messages around it.
pub(super) fn outline(
    context: &mut Context<'_>,
    definition: &Definition,
    body: &[u8],
    depth: usize,
) -> Result<Outline, DecodeError> {
    let max = context.limits.max_depth;
    if depth >= max {
        return Err(DecodeErrorKind::TooDeep { max }.into());
    }
    let mut reader = Reader::new(body);
    let mut seen = FieldSet::default();
    let mut distinct = 0;
    let mut scattered: Option<Box<FieldSet>> = None;
    let mut previous = None;
    while !reader.is_empty() {
        let field = head(definition, &mut reader)?;
        let count = skip(field, &mut reader).map_err(|e| e.in_field(&field.name))?;
        let spent = context.spend(1_usize.saturating_add(count));
        spent.map_err(|e| e.in_field(&field.name))?;
        if seen.insert(field.index) {
            distinct += 1;
        } else if previous != Some(field.index) || field.shape != Shape::Repeated {
            scattered.get_or_insert_default().insert(field.index);
        }
        previous = Some(field.index);
    }
    Ok(Outline {
        distinct,
        scattered,
    })
}

/// Reads a head. Its three lowest bits are a wire type that nobody looks at: browser clients
/// write 2 for every integer.
#[cfg_attr(not(target_family = "wasm"), inline(always))]
pub(super) fn head<'a>(
    definition: &'a Definition,
    reader: &mut Reader<'_>,
) -> Result<&'a Field, DecodeError> {
    let tag = reader.head()?;
    definition
        .by_tag(tag)
        .ok_or_else(|| DecodeErrorKind::UnknownTag(tag).into())
}

/// Skips what follows a head; tells how many elements it announces.
#[inline]
pub(super) fn skip(field: &Field, reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    match field.shape {
        Shape::Single | Shape::Repeated => {
            skip_payload(field, field.kind, reader)?;
            Ok(0)
        }
        Shape::Counted => {
            let count = count(field, reader)?;
            skip_payloads(field, count, reader)?;
            Ok(count)
        }
        Shape::Entries { key, .. } => {
            let count = count(field, reader)?;
            for _ in 0..count {
                skip_payload(field, key, reader)?;
                skip_payload(field, field.kind, reader)?;
            }
            Ok(count)
        }
    }
}

/// A count that the rest of the message has room for.
#[inline]
pub(super) fn count(field: &Field, reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = reader.length()?;
    let key = match field.shape {
        Shape::Entries { key, .. } => key.min_len(),
        Shape::Single | Shape::Counted | Shape::Repeated => 0,
    };
    match count.checked_mul(key + field.kind.min_len()) {
        Some(len) if len <= reader.len() => Ok(count),
        _ => Err(DecodeErrorKind::Cut.into()),
    }
}

#[cfg_attr(not(target_family = "wasm"), inline(always))]
pub(super) fn skip_payload(
    field: &Field,
    kind: Kind,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    match kind {
        Kind::Uint | Kind::Sint | Kind::Bool => reader.skip_varint(),
        Kind::Float | Kind::Double => reader.take(kind.min_len()).map(|_| ()),
        Kind::Text | Kind::Message(_) => reader.prefixed().map(|_| ()),
        Kind::Unknown => Err(unknown_type(field)),
    }
}

fn skip_payloads(field: &Field, count: usize, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match field.kind {
        Kind::Uint | Kind::Sint | Kind::Bool => reader.skip_varints(count),
        Kind::Float | Kind::Double => reader
            .take(count.saturating_mul(field.kind.min_len()))
            .map(|_| ()),
        kind @ (Kind::Text | Kind::Message(_) | Kind::Unknown) => {
            (0..count).try_for_each(|_| skip_payload(field, kind, reader))
        }
    }
}

#[cold]
pub(super) fn unknown_type(field: &Field) -> DecodeError {
    DecodeErrorKind::UnknownType(field.type_name.as_ref().to_owned()).into()
}
