//! Schema files (`clientProtos.json`, `serverProtos.json`) to their parsed form, exactly as
//! pomelo-protobuf 0.4.0 and pinus-protobuf 1.7.4 parser.js make it: the parsed form travels in
//! the handshake and its text is part of the version.

use serde_json::{Map, Value, json};

use super::error::{SchemaError, SchemaErrorKind};
use crate::handshake::HandshakeError;
use crate::json::{Json, map_in_js_order};

/// Definitions nest by hand-written `message` keys, rarely more than three deep; the bound only
/// keeps the recursion finite.
pub(super) const MAX_NESTING: usize = 64;
/// `tag << 3` must stay positive in signed 32 bits.
pub(super) const MAX_TAG: u32 = (1 << 28) - 1;

pub(super) const MESSAGES: &str = "__messages";
pub(super) const TAGS: &str = "__tags";
pub(super) const GLOBAL: &str = "message ";

/// Where in a schema we are; becomes text only for an error.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Self>,
    name: &'a str,
    depth: usize,
}

impl<'a> Place<'a> {
    pub(super) fn route(name: &'a str) -> Self {
        Self {
            parent: None,
            name,
            depth: 0,
        }
    }

    pub(super) fn child(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            name,
            depth: self.depth + 1,
        }
    }

    pub(super) fn check_depth<E: Mistake>(&self) -> Result<(), E> {
        if self.depth > MAX_NESTING {
            return Err(E::at(self, || SchemaErrorKind::TooDeep));
        }
        Ok(())
    }

    /// The path below the route.
    fn path(&self) -> String {
        match self.parent {
            None => String::new(),
            Some(Place { parent: None, .. }) => self.name.to_owned(),
            Some(parent) => [&parent.path(), ".", self.name].concat(),
        }
    }
}

/// What is told of a mistake in a schema.
pub(super) trait Mistake {
    fn at(place: &Place<'_>, kind: impl FnOnce() -> SchemaErrorKind) -> Self;
}

impl Mistake for SchemaError {
    #[cold]
    fn at(place: &Place<'_>, kind: impl FnOnce() -> SchemaErrorKind) -> Self {
        let mut root = place;
        while let Some(parent) = root.parent {
            root = parent;
        }
        Self::new(root.name, place.path(), kind())
    }
}

/// Who connects to a server can do nothing about its schemas.
impl Mistake for HandshakeError {
    fn at(_: &Place<'_>, _: impl FnOnce() -> SchemaErrorKind) -> Self {
        Self::Protos
    }
}

pub(super) fn parse(file: &Value) -> Result<Value, SchemaError> {
    let file = object(file, &Place::route(""))?;
    let mut parsed = Map::new();
    for (route, definition) in file {
        parsed.insert(
            route.clone(),
            parse_definition(definition, &Place::route(route))?,
        );
    }
    Ok(Value::Object(map_in_js_order(parsed)))
}

fn parse_definition(definition: &Value, place: &Place<'_>) -> Result<Value, SchemaError> {
    place.check_depth()?;
    let mut parsed = Map::new();
    let mut messages = Map::new();
    let mut tags = Map::new();
    for (key, value) in object(definition, place)? {
        // Single blanks separate; every other number of words is ignored, as are unknown first
        // words.
        let mut words = key.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("message"), Some(name), None, None) => {
                messages.insert(name.into(), parse_definition(value, &place.child(name))?);
            }
            (
                Some(option @ ("required" | "optional" | "repeated" | "map" | "obj")),
                Some(kind),
                Some(name),
                None,
            ) => {
                let tag = tag(value, &place.child(name))?;
                let taken = tags.entry(tag.to_string()).or_insert(Value::Null);
                // The original tests `!!tags[tag]`: an empty name does not take its tag.
                if taken.as_str().is_none_or(str::is_empty) {
                    *taken = name.into();
                    parsed.insert(
                        name.into(),
                        json!({ "option": option, "type": kind, "tag": tag }),
                    );
                }
            }
            _ => {}
        }
    }
    parsed.insert(MESSAGES.into(), Value::Object(map_in_js_order(messages)));
    parsed.insert(TAGS.into(), Value::Object(map_in_js_order(tags)));
    Ok(Value::Object(map_in_js_order(parsed)))
}

fn object<'v>(value: &'v Value, place: &Place<'_>) -> Result<&'v Map<String, Value>, SchemaError> {
    value
        .as_object()
        .ok_or_else(|| Mistake::at(place, || SchemaErrorKind::NotAnObject))
}

pub(super) fn tag<J: Json, E: Mistake>(value: &J, place: &Place<'_>) -> Result<u32, E> {
    match value.as_f64() {
        Some(float) if float.fract() == 0.0 && (0.0..=f64::from(MAX_TAG)).contains(&float) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an integer in the range of u32"
            )]
            let tag = float as u32;
            Ok(tag)
        }
        _ => Err(E::at(place, || {
            SchemaErrorKind::BadTag(value.to_text().unwrap_or_default())
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::{SchemaErrorKind, Value, json, parse};

    #[test]
    fn routes_that_look_like_indices_come_first() {
        let file = json!({ "b": {}, "10": {}, "2": {}, "a": {} });
        let empty = r#"{"__messages":{},"__tags":{}}"#;
        assert_eq!(
            parse(&file).unwrap().to_string(),
            format!(r#"{{"2":{empty},"10":{empty},"b":{empty},"a":{empty}}}"#),
        );
    }

    #[test]
    fn tags_are_written_as_integers() {
        let file: Value = serde_json::from_str(r#"{"m":{"optional uInt32 a":1.0}}"#).unwrap();
        let parsed = parse(&file).unwrap();
        assert_eq!(
            parsed.to_string(),
            r#"{"m":{"a":{"option":"optional","type":"uInt32","tag":1},"__messages":{},"__tags":{"1":"a"}}}"#,
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let error = |file: Value| parse(&file).unwrap_err();
        assert_eq!(*error(json!([])).kind(), SchemaErrorKind::NotAnObject);
        assert_eq!(
            error(json!({ "onMove": 1 })).to_string(),
            r#""onMove": expected an object"#
        );
        let nested = error(json!({ "m": { "message A": { "message B": [] } } }));
        assert_eq!((nested.route(), nested.path()), ("m", "A.B"));
        for tag in [
            json!("1"),
            json!(-1),
            json!(1.5),
            json!(268_435_456),
            json!(null),
        ] {
            let error = error(json!({ "m": { "message A": { "optional uInt32 x": tag } } }));
            assert_eq!(*error.kind(), SchemaErrorKind::BadTag(tag.to_string()));
            assert_eq!(error.path(), "A.x");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut definition = json!({});
        for _ in 0..200 {
            definition = json!({ "message A": definition });
        }
        let error = parse(&json!({ "m": definition })).unwrap_err();
        assert_eq!(*error.kind(), SchemaErrorKind::TooDeep);
    }
}
