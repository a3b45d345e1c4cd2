//! The vectors made by pomelo-protobuf 0.4.0 and pomelo 2.2.7 (`tests/golden`).
//!
//! Where a rule of ours differs from the original, the difference is written down in a table with
//! the rule; a difference that is not in its table fails, and so does an entry without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use pomelo_protocol::protobuf::{Protos, SchemaErrorKind, version};
use serde_json::{Value, json};

use crate::js::{Js, bytes, hex};

const NO_SILENT_NUMBERS: &str =
    "a number is in range or refused, a fraction is cut, text is decimal";
const REQUIRED: &str = "an absent required field is an encode error";
const UNDEFINED: &str = "`None` is an absent member: nothing else is undefined in Rust";
const BUFFERS: &str = "buffers are as large as the message";
const UNKNOWN_TYPE: &str = "a field of unknown type cannot be used";
const PINUS: &str = "uInt64, sInt64 and bool are types, as in pinus";
const CUT: &str = "what is cut is refused";
const CESU: &str = "surrogate pairs of browsers are joined";
const UNSAFE_INTEGERS: &str = "integers are exact or refused";

fn file(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn vectors(file: &Value) -> &[Value] {
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len() as u64, file["count"].as_u64().unwrap());
    vectors
}

fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {vector}"))
}

/// What a codec makes of an input.
#[derive(Clone, Debug, PartialEq)]
enum Outcome<T> {
    Is(T),
    Refused,
    NoSchema,
}

/// Compares outcomes with the original's, one by one, up to a table of differences.
struct Comparison<T> {
    differences: BTreeMap<&'static str, (Outcome<T>, &'static str)>,
    used: BTreeSet<String>,
    wrong: Vec<String>,
}

impl<T: PartialEq + Debug> Comparison<T> {
    fn new(
        differences: impl IntoIterator<Item = (&'static str, Outcome<T>, &'static str)>,
    ) -> Self {
        let differences = differences
            .into_iter()
            .map(|(name, ours, rule)| (name, (ours, rule)));
        Self {
            differences: differences.collect(),
            used: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    fn check(&mut self, name: &str, original: &Outcome<T>, ours: &Outcome<T>) {
        match self.differences.get(name) {
            None if ours == original => {}
            None => self
                .wrong
                .push(format!("{name}: {ours:?} is not {original:?}")),
            Some((expected, rule)) => {
                assert_ne!(expected, original, "{name}: this is no difference ({rule})");
                assert_eq!(ours, expected, "{name}: {rule}");
                self.used.insert(name.to_owned());
            }
        }
    }

    fn finish(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        for name in self.differences.keys() {
            assert!(self.used.contains(*name), "no vector is named {name}");
        }
    }
}

/// The schemas of protobuf.json. One of them we refuse as a file: it stands in its parsed form.
fn schemas(file: &Value) -> BTreeMap<&str, Protos> {
    let mut schemas = BTreeMap::new();
    for vector in vectors(file)
        .iter()
        .filter(|v| v["kind"] == "protobuf.parse")
    {
        let name = text(vector, "schema");
        let parsed_text = text(vector, "parsedText");
        let from_parsed = Protos::from_parsed(&serde_json::from_str(parsed_text).unwrap()).unwrap();
        assert_eq!(from_parsed.parsed_text(), parsed_text, "{name}");
        let protos = match Protos::parse(&file["schemas"][name]) {
            Ok(protos) => protos,
            Err(error) => {
                assert_eq!(name, "odd", "{error}");
                assert_eq!(
                    *error.kind(),
                    SchemaErrorKind::UnknownType("Missing".into())
                );
                assert_eq!((error.route(), error.path()), ("m", "x"));
                from_parsed
            }
        };
        assert_eq!(protos.parsed_text(), parsed_text, "{name}");
        assert_eq!(protos.parsed().to_string(), parsed_text, "{name}");
        schemas.insert(name, protos);
    }
    assert_eq!(schemas.len(), 10);
    schemas
}

/// The odd file without its field of unknown type is a good one.
#[test]
fn odd_keys_parse_as_in_the_original() {
    let golden = file("protobuf");
    let mut odd = golden["schemas"]["odd"].clone();
    odd["m"]
        .as_object_mut()
        .unwrap()
        .shift_remove("optional Missing x")
        .unwrap();
    let vector = vectors(&golden)
        .iter()
        .find(|v| v["name"] == "parse schema odd")
        .unwrap();
    let expected = text(vector, "parsedText")
        .replace(r#""x":{"option":"optional","type":"Missing","tag":4},"#, "")
        .replace(r#""4":"x","#, "");
    assert_eq!(Protos::parse(&odd).unwrap().parsed_text(), expected);
}

fn encoded(protos: &Protos, route: &str, message: &Js) -> Outcome<String> {
    let Some(schema) = protos.message(route) else {
        return Outcome::NoSchema;
    };
    let mut out = b"before".to_vec();
    match schema.encode(message, &mut out) {
        Ok(()) => Outcome::Is(hex(out.strip_prefix(b"before").unwrap())),
        Err(_) => {
            assert_eq!(out, b"before", "an error leaves the buffer as it was");
            Outcome::Refused
        }
    }
}

fn decoded(protos: &Protos, route: &str, body: &str) -> Outcome<Js> {
    let Some(schema) = protos.message(route) else {
        return Outcome::NoSchema;
    };
    schema
        .decode(&bytes(body))
        .map_or(Outcome::Refused, Outcome::Is)
}

/// The original's answer: the bytes or value if `ok`, an empty body for null.
fn original<T>(vector: &Value, member: &str, ok: impl Fn(&Value) -> T) -> Outcome<T> {
    let result = &vector[member];
    match result.get("ok") {
        Some(value) => Outcome::Is(ok(value)),
        None => {
            assert!(
                result.get("throws").is_some() || result.get("hangs").is_some(),
                "{vector}"
            );
            Outcome::Refused
        }
    }
}

fn is(hex: &str) -> Outcome<String> {
    Outcome::Is(hex.into())
}

#[test]
fn encoding_is_the_original() {
    use Outcome::Refused;
    let golden = file("protobuf");
    let schemas = schemas(&golden);
    let ten_doubles = format!("290a{}", "000000000000f03f".repeat(10));
    let mut comparison = Comparison::new([
        (
            "scalars: uInt32 given string \"12abc\"",
            Refused,
            NO_SILENT_NUMBERS,
        ),
        (
            "scalars: uInt32 given 1e21 becomes 1",
            Refused,
            NO_SILENT_NUMBERS,
        ),
        (
            "scalars: uInt32 given 5e-7 becomes 5",
            is("0800"),
            NO_SILENT_NUMBERS,
        ),
        (
            "scalars: uInt32 given array [7] becomes 7",
            Refused,
            NO_SILENT_NUMBERS,
        ),
        ("scalars: string given undefined throws", is(""), UNDEFINED),
        ("required: missing required a gives null", Refused, REQUIRED),
        ("required: missing required c gives null", Refused, REQUIRED),
        (
            "repeated: message element missing required gives null",
            Refused,
            REQUIRED,
        ),
        (
            "nested: inner required missing gives null",
            Refused,
            REQUIRED,
        ),
        ("nested: inner object null gives null", Refused, REQUIRED),
        (
            "repeated: double ten short values overflow the buffer and throw",
            is(&ten_doubles),
            BUFFERS,
        ),
        ("odd: uInt64 writes a tag and no value", is("0805"), PINUS),
        ("odd: uInt64 then another field", is("08052801"), PINUS),
        ("odd: repeated sInt64 throws", is("10020204"), PINUS),
        ("odd: bool writes a tag and no value", is("18012802"), PINUS),
        (
            "odd: undefined message type writes a tag and no value",
            Refused,
            UNKNOWN_TYPE,
        ),
    ]);
    let mut count = 0;
    for vector in vectors(&golden)
        .iter()
        .filter(|v| v["kind"] == "protobuf.encode")
    {
        let (name, route) = (text(vector, "name"), text(vector, "route"));
        let ours = encoded(
            &schemas[text(vector, "schema")],
            route,
            &Js::from_vector(&vector["message"]),
        );
        let original = match vector["hex"].as_str() {
            Some(hex) => Outcome::Is(hex.to_owned()),
            None if route == "nosuch" => Outcome::NoSchema,
            None => original(vector, "result", |null| {
                assert!(null.is_null());
                String::new()
            }),
        };
        comparison.check(name, &original, &ours);
        count += 1;
    }
    assert_eq!(count, 193);
    comparison.finish();
}

#[test]
fn decoding_is_the_original() {
    use Outcome::Refused;
    let golden = file("protobuf");
    let schemas = schemas(&golden);
    let value = |json| Outcome::Is(Js::from_vector(&json));
    let mut comparison = Comparison::new([
        (
            "decode scalars: string longer than data is cut",
            Refused,
            CUT,
        ),
        ("decode scalars: string length only", Refused, CUT),
        (
            "decode scalars: string CESU-8 emoji",
            value(json!({ "t": "😀" })),
            CESU,
        ),
        ("decode repeated: nested length too short", Refused, CUT),
        (
            "decode odd: uInt64 field has no decoder: undefined",
            Refused,
            PINUS,
        ),
        (
            "decode odd: repeated sInt64: count undefineds",
            Refused,
            PINUS,
        ),
    ]);
    let mut count = 0;
    for vector in vectors(&golden)
        .iter()
        .filter(|v| v["kind"] == "protobuf.decode")
    {
        let route = text(vector, "route");
        let ours = decoded(&schemas[text(vector, "schema")], route, text(vector, "hex"));
        let original = match route {
            "nosuch" => Outcome::NoSchema,
            _ => original(vector, "result", Js::from_vector),
        };
        comparison.check(text(vector, "name"), &original, &ours);
        count += 1;
    }
    assert_eq!(count, 39);
    comparison.finish();
}

/// What the original writes for types it does not know.
const HEADS_WITHOUT_PAYLOADS: [(&str, Outcome<Js>, &str); 4] = [
    (
        "odd: uInt64 writes a tag and no value",
        Outcome::Refused,
        PINUS,
    ),
    ("odd: uInt64 then another field", Outcome::Refused, PINUS),
    (
        "odd: bool writes a tag and no value",
        Outcome::Refused,
        PINUS,
    ),
    (
        "odd: undefined message type writes a tag and no value",
        Outcome::Refused,
        UNKNOWN_TYPE,
    ),
];

/// What the original decodes from its own encodings.
#[test]
fn encodings_of_the_server_build_are_understood() {
    let golden = file("protobuf");
    let schemas = schemas(&golden);
    let mut comparison = Comparison::new(HEADS_WITHOUT_PAYLOADS);
    let mut count = 0;
    for vector in vectors(&golden)
        .iter()
        .filter(|v| v["kind"] == "protobuf.encode")
    {
        let Some(body) = vector["hex"].as_str() else {
            continue;
        };
        let ours = decoded(
            &schemas[text(vector, "schema")],
            text(vector, "route"),
            body,
        );
        comparison.check(
            text(vector, "name"),
            &original(vector, "decoded", Js::from_vector),
            &ours,
        );
        count += 1;
    }
    assert!(count > 150);
    comparison.finish();
}

/// Browsers write wire type 2 for integers and CESU-8 for emoji, and mean the same.
#[test]
fn encodings_of_browsers_mean_the_same() {
    let golden = file("protobuf");
    let schemas = schemas(&golden);
    // The browser build cuts doubles of few digits off at the end of its buffer.
    let cut = [
        "scalars: double 0",
        "scalars: double 1",
        "scalars: double -1",
        "scalars: double -0",
        "globals: encode with a global message key as route",
    ];
    let cut = cut.map(|name| (name, Outcome::Refused, CUT));
    let mut comparison = Comparison::new(HEADS_WITHOUT_PAYLOADS.into_iter().chain(cut));
    let mut count = 0;
    for vector in vectors(&golden)
        .iter()
        .filter(|v| v["kind"] == "protobuf.encode")
    {
        let Some(body) = vector["clientBuild"]["hex"].as_str() else {
            continue;
        };
        if vector["hex"].is_null() {
            continue;
        }
        let ours = decoded(
            &schemas[text(vector, "schema")],
            text(vector, "route"),
            body,
        );
        comparison.check(
            text(vector, "name"),
            &original(vector, "decoded", Js::from_vector),
            &ours,
        );
        count += 1;
    }
    assert!(count > 150);
    comparison.finish();
}

#[test]
fn integers_are_the_original() {
    use Outcome::Refused;
    let protos = Protos::parse(&json!({
        "uint": { "optional uInt32 v": 1 },
        "sint": { "optional sInt32 v": 1 },
    }))
    .unwrap();
    let golden = file("varint");
    let mut comparison = Comparison::new([
        ("uint 9007199254740992", Refused, UNSAFE_INTEGERS),
        ("uint 18446744073709552000", Refused, UNSAFE_INTEGERS),
        ("uint 100000000000000000000", Refused, UNSAFE_INTEGERS),
        ("sint -4503599627370497", Refused, UNSAFE_INTEGERS),
    ]);
    for vector in vectors(&golden) {
        let name = text(vector, "name");
        let route = text(vector, "kind").strip_prefix("varint.").unwrap();
        let input = Js::from_vector(&vector["input"]);
        let ours = encoded(&protos, route, &Js::Object(vec![("v".into(), input)]));
        let original = match vector["hex"].as_str() {
            Some(hex) => Outcome::Is(format!("08{hex}")),
            None => Refused,
        };
        comparison.check(name, &original, &ours);
        if let Some(hex) = vector["hex"].as_str() {
            let ours = decoded(&protos, route, &format!("08{hex}"));
            let value = Js::from_vector(&vector["decoded"]);
            assert_eq!(
                ours,
                Outcome::Is(Js::Object(vec![("v".into(), value)])),
                "{name}"
            );
        }
    }
    comparison.finish();
}

#[test]
fn versions_are_the_original() {
    let golden = file("protos-version");
    let protos = |vector: &Value, side: &str| {
        let file = &vector[format!("{side}Protos")];
        let protos = match file {
            Value::Null => Protos::default(),
            file => Protos::parse(file).unwrap_or_else(|error| {
                assert!(
                    matches!(error.kind(), SchemaErrorKind::UnknownType(_)),
                    "{error}"
                );
                let parsed = text(vector, &format!("{side}Text"));
                Protos::from_parsed(&serde_json::from_str(parsed).unwrap()).unwrap()
            }),
        };
        assert_eq!(protos.parsed_text(), text(vector, &format!("{side}Text")));
        protos
    };
    let mut refused = 0;
    for vector in vectors(&golden) {
        let (client, server) = (protos(vector, "client"), protos(vector, "server"));
        let ours = version(&client, &server);
        if vector["serverProtos"].is_null() && vector["clientProtos"].is_null() {
            // Without either file pomelo announces no version; that two sets are empty says less.
            assert_eq!(text(vector, "version"), "");
            refused += 1;
        } else {
            assert_eq!(ours, text(vector, "version"), "{}", text(vector, "name"));
        }
    }
    assert_eq!(refused, 1);
}
