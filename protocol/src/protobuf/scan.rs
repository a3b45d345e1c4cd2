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
    fn spend(&mut self, count: usize) -> Result<(), DecodeErrorKind> {
        let max = self.limits.max_elements;
        self.elements = self
            .elements
            .checked_sub(count)
            .ok_or(DecodeErrorKind::TooManyElements { max })?;
        Ok(())
    }
}

/// What is known of a message before it is walked.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// Number of different fields.
    pub(super) distinct: usize,
    /// Fields that occur again after something else: lists that go on, values that are replaced.
    pub(super) scattered: FieldSet,
}

pub(super) fn outline(
    context: &mut Context<'_>,
    definition: &Definition,
    body: &[u8],
) -> Result<Outline, DecodeError> {
    let mut reader = Reader::new(body);
    let mut seen = FieldSet::default();
    let mut outline = Outline::default();
    let mut previous = None;
    while !reader.is_empty() {
        let (index, field) = head(definition, &mut reader)?;
        let count = skip(field, &mut reader).map_err(|kind| located(kind, field))?;
        context
            .spend(1_usize.saturating_add(count))
            .map_err(|kind| located(kind, field))?;
        if seen.insert(index) {
            outline.distinct += 1;
        } else if previous != Some(index) || field.shape != Shape::Repeated {
            outline.scattered.insert(index);
        }
        previous = Some(index);
    }
    Ok(outline)
}

#[cold]
pub(super) fn located(kind: DecodeErrorKind, field: &Field) -> DecodeError {
    DecodeError::from(kind).in_field(&field.name)
}

/// Reads a head. Its three lowest bits are a wire type that nobody looks at: browser clients
/// write 2 for every integer.
#[inline]
pub(super) fn head<'a>(
    definition: &'a Definition,
    reader: &mut Reader<'_>,
) -> Result<(u32, &'a Field), DecodeErrorKind> {
    let tag = reader.head()?;
    definition
        .by_tag(tag)
        .ok_or(DecodeErrorKind::UnknownTag(tag))
}

/// Skips what follows a head; tells how many elements it announces.
#[inline]
pub(super) fn skip(field: &Field, reader: &mut Reader<'_>) -> Result<usize, DecodeErrorKind> {
    match field.shape {
        Shape::Single | Shape::Repeated => {
            skip_payloads(field, field.kind, 1, reader)?;
            Ok(0)
        }
        Shape::Counted => {
            let count = count(field, reader)?;
            skip_payloads(field, field.kind, count, reader)?;
            Ok(count)
        }
        Shape::Entries { key, .. } => {
            let count = count(field, reader)?;
            for _ in 0..count {
                skip_payloads(field, key, 1, reader)?;
                skip_payloads(field, field.kind, 1, reader)?;
            }
            Ok(count)
        }
    }
}

/// A count that the rest of the message has room for.
#[inline]
pub(super) fn count(field: &Field, reader: &mut Reader<'_>) -> Result<usize, DecodeErrorKind> {
    let count = reader.length()?;
    let key = match field.shape {
        Shape::Entries { key, .. } => key.min_len(),
        Shape::Single | Shape::Counted | Shape::Repeated => 0,
    };
    match count.checked_mul(key + field.kind.min_len()) {
        Some(len) if len <= reader.len() => Ok(count),
        _ => Err(DecodeErrorKind::Cut),
    }
}

#[inline]
pub(super) fn skip_payloads(
    field: &Field,
    kind: Kind,
    count: usize,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeErrorKind> {
    match kind {
        Kind::Uint | Kind::Sint | Kind::Bool => reader.skip_varints(count),
        Kind::Float | Kind::Double => reader
            .take(count.saturating_mul(kind.min_len()))
            .map(|_| ()),
        Kind::Text | Kind::Message(_) => (0..count).try_for_each(|_| reader.prefixed().map(|_| ())),
        Kind::Unknown => Err(DecodeErrorKind::UnknownType(field.type_name.to_string())),
    }
}
