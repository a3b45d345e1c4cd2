//! The compiled schema: flat tables with indices, made once per schema set. Messages may refer to
//! each other in circles, indices may too.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::SchemaErrorKind;
use super::file::{GLOBAL, MESSAGES, Mistake, Place, TAGS, tag};
use crate::json::Json;
use crate::names::{Names, Routes};

/// Tags below this are found by index: one byte of head has room for 15, two bytes for 2047, but
/// files number their fields from 1 on.
const DENSE_TAGS: u32 = 128;
const NO_FIELD: u32 = u32::MAX;

/// How the payload of one value is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Uint,
    Sint,
    Float,
    Double,
    Bool,
    Text,
    Message(u32),
    Unknown,
}

impl Kind {
    fn scalar(name: &str) -> Option<Self> {
        Some(match name {
            "uInt32" | "uInt64" => Self::Uint,
            "int32" | "sInt32" | "sInt64" => Self::Sint,
            "float" => Self::Float,
            "double" => Self::Double,
            "bool" => Self::Bool,
            "string" => Self::Text,
            _ => return None,
        })
    }

    /// The wire type a head names. Nobody reads it.
    fn wire(self) -> u32 {
        match self {
            Self::Uint | Self::Sint | Self::Bool => 0,
            Self::Double => 1,
            Self::Float => 5,
            Self::Text | Self::Message(_) | Self::Unknown => 2,
        }
    }

    /// The fewest bytes a payload takes.
    pub(super) fn min_len(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Double => 8,
            Self::Uint
            | Self::Sint
            | Self::Bool
            | Self::Text
            | Self::Message(_)
            | Self::Unknown => 1,
        }
    }
}

/// How often and in which form the payload of a field comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Head, payload.
    Single,
    /// A list of numbers: head once, count, payloads.
    Counted,
    /// A list of strings or messages: head and payload per element.
    Repeated,
    /// pinus' `map` and `obj`: head once, count, key and value payloads in turn.
    Entries {
        key: Kind,
        /// An empty `map` writes the count 0, an empty `obj` nothing.
        keep_empty: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Of this field in its definition.
    pub(super) index: u32,
    pub(super) name: Arc<str>,
    /// As written in the schema, for errors.
    pub(super) type_name: Box<str>,
    pub(super) head: u32,
    pub(super) shape: Shape,
    /// Of the element, or of the value of an entry.
    pub(super) kind: Kind,
    required: bool,
}

/// One message definition.
#[derive(Clone, Debug, Default)]
pub(super) struct Definition {
    pub(super) fields: Box<[Field]>,
    pub(super) required: FieldSet,
    /// Fields whose absence and emptiness are the same on the wire.
    pub(super) lists: Box<[u32]>,
    by_name: Names,
    dense: Box<[u32]>,
    sparse: Box<[(u32, u32)]>,
}

impl Definition {
    fn new(fields: Vec<Field>, by_name: Names, tags: &[(u32, u32)]) -> Self {
        let mut required = FieldSet::default();
        let mut lists = Vec::new();
        for (field, index) in fields.iter().zip(0_u32..) {
            if field.required {
                required.insert(index);
            }
            if field.shape != Shape::Single {
                lists.push(index);
            }
        }
        let mut dense = Vec::new();
        let mut sparse = Vec::new();
        for &(tag, index) in tags {
            if tag < DENSE_TAGS {
                let place = tag as usize;
                if dense.len() <= place {
                    dense.resize(place + 1, NO_FIELD);
                }
                if let Some(slot) = dense.get_mut(place) {
                    *slot = index;
                }
            } else {
                sparse.push((tag, index));
            }
        }
        sparse.sort_unstable();
        Self {
            required,
            lists: lists.into(),
            by_name,
            dense: dense.into(),
            sparse: sparse.into(),
            fields: fields.into(),
        }
    }

    #[inline]
    pub(super) fn field(&self, index: u32) -> Option<&Field> {
        self.fields.get(index as usize)
    }

    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    pub(super) fn by_tag(&self, tag: u64) -> Option<&Field> {
        let place = usize::try_from(tag).unwrap_or(usize::MAX);
        match self.dense.get(place) {
            Some(&index) => self.field(index),
            None => self.by_large_tag(tag),
        }
    }

    fn by_large_tag(&self, tag: u64) -> Option<&Field> {
        let tag = u32::try_from(tag).ok()?;
        let place = self
            .sparse
            .binary_search_by_key(&tag, |&(tag, _)| tag)
            .ok()?;
        self.field(self.sparse.get(place)?.1)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Field> {
        self.field(self.by_name.get(name)?)
    }
}

/// A set of field indices: no allocation for messages of up to 64 fields.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldSet {
    low: u64,
    #[expect(
        clippy::box_collection,
        reason = "almost never there, and sets are moved around"
    )]
    high: Option<Box<Vec<u64>>>,
}

impl FieldSet {
    /// True if `index` was not in the set before.
    #[inline]
    pub(super) fn insert(&mut self, index: u32) -> bool {
        if index >= u64::BITS {
            return self.insert_high(index);
        }
        let bit = 1_u64 << index;
        let new = self.low & bit == 0;
        self.low |= bit;
        new
    }

    #[cold]
    fn insert_high(&mut self, index: u32) -> bool {
        let (place, bit) = (
            (index / u64::BITS) as usize - 1,
            1_u64 << (index % u64::BITS),
        );
        let high = self.high.get_or_insert_default();
        if high.len() <= place {
            high.resize(place + 1, 0);
        }
        let new = high.get(place).is_some_and(|word| word & bit == 0);
        if let Some(word) = high.get_mut(place) {
            *word |= bit;
        }
        new
    }

    #[inline]
    pub(super) fn contains(&self, index: u32) -> bool {
        let bit = 1_u64 << (index % u64::BITS);
        let word = match ((index / u64::BITS) as usize, &self.high) {
            (0, _) => self.low,
            (place, Some(high)) => high.get(place - 1).copied().unwrap_or_default(),
            (_, None) => 0,
        };
        word & bit != 0
    }

    pub(super) fn len(&self) -> usize {
        let high: u32 = self
            .high
            .iter()
            .flat_map(|high| high.iter())
            .map(|w| w.count_ones())
            .sum();
        (self.low.count_ones() + high) as usize
    }

    /// The first index that is in `self` and not in `other`.
    #[inline]
    pub(super) fn first_not_in(&self, other: &Self) -> Option<u32> {
        if self.low & !other.low == 0 && self.high.is_none() {
            return None;
        }
        let words = 1 + self.high.as_ref().map_or(0, |high| high.len());
        let last = u32::try_from(words)
            .unwrap_or(u32::MAX)
            .saturating_mul(u64::BITS);
        (0..last).find(|&index| self.contains(index) && !other.contains(index))
    }
}

/// A compiled schema set.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// Writes a text and its length, if not as plain UTF-8; see
    /// [`Protos::with_surrogate_pairs`](super::Protos::with_surrogate_pairs).
    pub(super) put_text: Option<fn(&mut Vec<u8>, &str)>,
    /// See [`Json::number_of`].
    pub(super) number_of: fn(&str) -> f64,
    definitions: Vec<Definition>,
    routes: Routes,
    /// Stands in for an index that is none of the above, so that looking one up cannot fail.
    empty: Definition,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            put_text: None,
            // Without a field there is nothing to read.
            number_of: |_| f64::NAN,
            definitions: Vec::new(),
            routes: Routes::default(),
            empty: Definition::default(),
        }
    }
}

impl Tables {
    #[inline]
    pub(super) fn definition(&self, index: u32) -> &Definition {
        self.definitions.get(index as usize).unwrap_or(&self.empty)
    }

    pub(super) fn route(&self, route: &str) -> Option<u32> {
        self.routes.get(route)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// Compiles the parsed form. With `STRICT` a type that nothing defines is a mistake now, otherwise
/// when the field is used.
pub(super) fn compile<J: Json, E: Mistake, const STRICT: bool>(parsed: &J) -> Result<Tables, E> {
    let file = members(parsed, &Place::route(""))?;
    let mut compiler = Compiler::<J, E, STRICT> {
        parsed,
        routes: Routes::new(
            file.iter()
                .map(|(route, _)| route.as_ref().into())
                .zip(0..)
                .collect(),
        ),
        definitions: vec![Definition::default(); file.len()],
        entries: Vec::new(),
        mistakes: Vec::new(),
    };
    for ((route, definition), index) in file.iter().zip(0_u32..) {
        compiler.definition(definition.as_ref(), index, &Place::route(route))?;
    }
    let Compiler {
        mistakes,
        entries,
        routes,
        definitions,
        ..
    } = compiler;
    let is_entry = |index, name: &str| entries.contains(&index) && matches!(name, "key" | "value");
    let mut mistakes = mistakes.into_iter();
    if let Some((_, _, mistake)) = mistakes.find(|(index, name, _)| !is_entry(*index, name)) {
        return Err(mistake);
    }
    Ok(Tables {
        put_text: None,
        number_of: J::number_of,
        definitions,
        routes,
        empty: Definition::default(),
    })
}

/// The members of an object.
type Members<'p, J> = Vec<(Cow<'p, str>, Cow<'p, J>)>;

fn members<'p, J: Json, E: Mistake>(value: &'p J, place: &Place<'_>) -> Result<Members<'p, J>, E> {
    value
        .members()
        .ok_or_else(|| E::at(place, || SchemaErrorKind::NotAnObject))
}

struct Compiler<'p, J, E, const STRICT: bool> {
    parsed: &'p J,
    routes: Routes,
    definitions: Vec<Definition>,
    /// Messages that are entries of a `map` or `obj` somewhere. The types of their `key` and
    /// `value` are looked up there, so they need not be known in the message itself.
    entries: Vec<u32>,
    /// If `STRICT`, fields of unknown type: index of the message, name of the field, the error.
    mistakes: Vec<(u32, String, E)>,
}

/// The messages a definition can name: its own, then the globals. Not those of the definitions
/// around it (pomelo-protobuf 0.4.0 encoder.js).
struct Scope<'s, J> {
    messages: Option<&'s J>,
    /// Of its own messages, by name.
    indices: Names,
}

impl<J: Json, E: Mistake, const STRICT: bool> Compiler<'_, J, E, STRICT> {
    fn definition(&mut self, parsed: &J, index: u32, place: &Place<'_>) -> Result<(), E> {
        place.check_depth()?;
        let own = members(parsed, place)?;
        let messages = parsed.get(MESSAGES);
        let nested = match &messages {
            Some(messages) => members(messages.as_ref(), &place.child(MESSAGES))?,
            None => Vec::new(),
        };
        let mut names = Vec::with_capacity(nested.len());
        for (name, message) in &nested {
            let index = u32::try_from(self.definitions.len()).unwrap_or(u32::MAX);
            self.definitions.push(Definition::default());
            names.push((name.as_ref().into(), index));
            self.definition(message.as_ref(), index, &place.child(name))?;
        }
        let scope = Scope {
            messages: messages.as_deref(),
            indices: Names::new(names),
        };

        let mut fields = Vec::new();
        let mut names = Vec::new();
        let mut own_tags = Vec::new();
        for (name, field) in &own {
            if name == MESSAGES || name == TAGS {
                continue;
            }
            let place = place.child(name);
            let number = u32::try_from(fields.len()).unwrap_or(u32::MAX);
            let (tag, field) = self.field(name, number, field.as_ref(), &scope, &place)?;
            if STRICT && field.kind == Kind::Unknown {
                let type_name = field.type_name.to_string();
                let mistake = E::at(&place, || match field.shape {
                    Shape::Entries { .. } => SchemaErrorKind::BadEntry(type_name),
                    Shape::Single | Shape::Counted | Shape::Repeated => {
                        SchemaErrorKind::UnknownType(type_name)
                    }
                });
                self.mistakes.push((index, name.to_string(), mistake));
            }
            names.push((Arc::clone(&field.name), number));
            fields.push(field);
            own_tags.push((tag, number));
        }
        let indices = Names::new(names);
        let tags = match parsed.get(TAGS) {
            Some(tags) => members(tags.as_ref(), &place.child(TAGS))?
                .iter()
                .filter_map(|(tag, name)| {
                    Some((tag.parse().ok()?, indices.get(name.as_str()?.as_ref())?))
                })
                .collect(),
            None => own_tags,
        };
        if let Some(slot) = self.definitions.get_mut(index as usize) {
            *slot = Definition::new(fields, indices, &tags);
        }
        Ok(())
    }

    fn field(
        &mut self,
        name: &str,
        index: u32,
        parsed: &J,
        scope: &Scope<'_, J>,
        place: &Place<'_>,
    ) -> Result<(u32, Field), E> {
        let (Some(option), Some(type_name), Some(number)) = (
            text(parsed, "option"),
            text(parsed, "type"),
            parsed.get("tag"),
        ) else {
            return Err(E::at(place, || SchemaErrorKind::NotAField));
        };
        let tag = tag(number.as_ref(), place)?;
        let kind = self.kind(&type_name, scope);
        let (shape, kind) = match option.as_str() {
            "map" | "obj" => {
                if let Kind::Message(entry) = kind {
                    self.entries.push(entry);
                }
                let unusable = (Kind::Unknown, Kind::Unknown);
                let (key, value) = self.entry(&type_name, scope).unwrap_or(unusable);
                let keep_empty = option == "map";
                (Shape::Entries { key, keep_empty }, value)
            }
            "required" | "optional" => (Shape::Single, kind),
            "repeated" => match kind {
                Kind::Text | Kind::Message(_) | Kind::Unknown => (Shape::Repeated, kind),
                Kind::Uint | Kind::Sint | Kind::Float | Kind::Double | Kind::Bool => {
                    (Shape::Counted, kind)
                }
            },
            // A word of a dialect we do not know: nothing can be said about the payload.
            _ => (Shape::Single, Kind::Unknown),
        };
        let field = Field {
            index,
            name: name.into(),
            type_name: type_name.into(),
            // Below 2^31, as tags are below 2^28.
            head: tag << 3 | kind_of_head(shape, kind),
            shape,
            kind,
            required: option == "required",
        };
        Ok((tag, field))
    }

    fn kind(&self, name: &str, scope: &Scope<'_, J>) -> Kind {
        Kind::scalar(name)
            .or_else(|| scope.indices.get(name).map(Kind::Message))
            .or_else(|| self.global(name).map(Kind::Message))
            .unwrap_or(Kind::Unknown)
    }

    fn global(&self, name: &str) -> Option<u32> {
        self.routes.get(&[GLOBAL, name].concat())
    }

    /// The kinds of key and value of a `map` or `obj`. pinus-protobuf 1.7.4 encoder.js takes only
    /// their type names from the entry message and looks these up where the *field* is.
    fn entry(&self, name: &str, scope: &Scope<'_, J>) -> Option<(Kind, Kind)> {
        let entry = scope
            .messages
            .and_then(|messages| messages.get(name))
            .or_else(|| self.parsed.get(&[GLOBAL, name].concat()))?;
        let kind = |member| {
            let member = entry.get(member)?;
            Some(self.kind(&text(member.as_ref(), "type")?, scope))
        };
        let (key, value) = (kind("key")?, kind("value")?);
        let usable = !matches!(key, Kind::Message(_) | Kind::Unknown) && value != Kind::Unknown;
        usable.then_some((key, value))
    }
}

fn text<J: Json>(parsed: &J, member: &str) -> Option<String> {
    let text = parsed.get(member)?;
    Some(text.as_str()?.into_owned())
}

/// Maps are written with the head of a message, whatever their values are.
fn kind_of_head(shape: Shape, kind: Kind) -> u32 {
    match shape {
        Shape::Entries { .. } => Kind::Unknown.wire(),
        Shape::Single | Shape::Counted | Shape::Repeated => kind.wire(),
    }
}

#[cfg(test)]
mod tests {
    use super::FieldSet;

    #[test]
    fn sets_hold_any_index() {
        let mut set = FieldSet::default();
        for index in [0, 127, 128, 1000] {
            assert!(!set.contains(index));
            assert!(set.insert(index));
            assert!(!set.insert(index));
            assert!(set.contains(index));
        }
        assert_eq!(set.len(), 4);
        let mut other = FieldSet::default();
        assert_eq!(set.first_not_in(&other), Some(0));
        for index in [0, 127, 128] {
            other.insert(index);
        }
        assert_eq!(set.first_not_in(&other), Some(1000));
        other.insert(1000);
        assert_eq!(set.first_not_in(&other), None);
    }
}
