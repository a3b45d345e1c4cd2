//! Random schemas with fitting values, against an encoder written from the description of the
//! format; and random bodies.

use pomelo_protocol::protobuf::{Limits, Protos};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A field as it is generated: its word, its type and what to make values from.
#[derive(Clone, Debug)]
struct Field {
    word: Word,
    kind: Kind,
    /// In the order of the value, not of the schema.
    rank: u32,
    tag_step: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Required,
    Optional,
    Absent,
    Repeated,
}

#[derive(Clone, Debug)]
enum Kind {
    Uint(Vec<u64>),
    Sint(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
    /// Elements of a list take the first so many fields.
    Message(Vec<Field>, Vec<usize>),
    Global(Vec<u8>),
}

fn finite32() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("JSON has no other", |f| f.is_finite())
}

fn finite64() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("JSON has no other", |f| f.is_finite())
}

fn few<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    vec(of, 0..5)
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let sint = prop_oneof![-200..200_i64, -(1_i64 << 52)..=1 << 52];
    let leaf = prop_oneof![
        few(prop_oneof![0..300_u64, 0..1_u64 << 53]).prop_map(Kind::Uint),
        few(sint).prop_map(Kind::Sint),
        few(finite32()).prop_map(Kind::Float),
        few(finite64()).prop_map(Kind::Double),
        few(any::<bool>()).prop_map(Kind::Bool),
        few(".{0,50}").prop_map(Kind::Text),
        few(any::<u8>()).prop_map(Kind::Global),
    ];
    let kind = leaf.prop_recursive(4, 40, 6, |inner| {
        (vec(field(inner), 0..6), vec(0..6_usize, 0..4))
            .prop_map(|(fields, takes)| Kind::Message(fields, takes))
    });
    vec(field(kind), 0..8)
}

fn field(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Field> {
    let word = prop_oneof![
        Just(Word::Required),
        Just(Word::Optional),
        Just(Word::Absent),
        Just(Word::Repeated),
    ];
    let step = prop_oneof![1..4_u32, 1..300_u32, 1..1_000_000_u32];
    (word, kind, any::<u32>(), step).prop_map(|(word, kind, rank, tag_step)| Field {
        word,
        kind,
        rank,
        tag_step,
    })
}

/// The definition of `fields` as a file has it.
fn definition(fields: &[Field]) -> Value {
    let mut definition = Map::new();
    let mut tag = 0;
    for (index, field) in fields.iter().enumerate() {
        tag += field.tag_step;
        let kind = match &field.kind {
            Kind::Uint(_) => "uInt32".to_owned(),
            Kind::Sint(_) => ["int32", "sInt32"][index % 2].to_owned(),
            Kind::Float(_) => "float".to_owned(),
            Kind::Double(_) => "double".to_owned(),
            Kind::Bool(_) => "bool".to_owned(),
            Kind::Text(_) => "string".to_owned(),
            Kind::Global(_) => "Global".to_owned(),
            Kind::Message(inner, _) => {
                definition.insert(format!("message M{index}"), self::definition(inner));
                format!("M{index}")
            }
        };
        let word = match field.word {
            Word::Required => "required",
            Word::Optional | Word::Absent => "optional",
            Word::Repeated => "repeated",
        };
        definition.insert(format!("{word} {kind} f{index}"), json!(tag));
    }
    Value::Object(definition)
}

/// A value that fits: all members but the absent ones.
fn value(fields: &[Field]) -> Value {
    let mut ranked: Vec<_> = fields.iter().enumerate().collect();
    ranked.sort_by_key(|(_, field)| field.rank);
    let mut members = Map::new();
    for (index, field) in ranked {
        let list: Vec<Value> = match &field.kind {
            Kind::Uint(list) => list.iter().map(|v| json!(v)).collect(),
            Kind::Sint(list) => list.iter().map(|v| json!(v)).collect(),
            Kind::Float(list) => list.iter().map(|&v| json!(f64::from(v))).collect(),
            Kind::Double(list) => list.iter().map(|v| json!(v)).collect(),
            Kind::Bool(list) => list.iter().map(|v| json!(v)).collect(),
            Kind::Text(list) => list.iter().map(|v| json!(v)).collect(),
            Kind::Message(inner, takes) => takes.iter().map(|&n| element(inner, n)).collect(),
            Kind::Global(depths) => depths.iter().map(|&depth| global(depth % 8)).collect(),
        };
        let single = || match &field.kind {
            Kind::Message(inner, _) => value(inner),
            Kind::Uint(_) | Kind::Sint(_) => json!(7),
            Kind::Float(_) | Kind::Double(_) => json!(0.5),
            Kind::Bool(_) => json!(true),
            Kind::Text(_) => json!("t"),
            Kind::Global(_) => global(1),
        };
        let member = match field.word {
            Word::Absent => continue,
            Word::Repeated => Value::Array(list),
            Word::Required | Word::Optional => list.first().cloned().unwrap_or_else(single),
        };
        members.insert(format!("f{index}"), member);
    }
    Value::Object(members)
}

/// The value of a message without its optional members from the `take`th on.
fn element(fields: &[Field], take: usize) -> Value {
    let mut value = value(fields);
    let members = value.as_object_mut().unwrap();
    for (index, field) in fields.iter().enumerate().skip(take) {
        if field.word != Word::Required {
            members.shift_remove(&format!("f{index}"));
        }
    }
    value
}

/// A message that contains itself.
fn global(depth: u8) -> Value {
    let mut value = json!({ "n": depth });
    if depth > 0 {
        value["down"] = json!([global(depth - 1)]);
    }
    value
}

/// The encoder of the description, by way of the file and with no other idea than to be right.
fn naive(file: &Value, definition: &Value, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, member) in value.as_object().unwrap() {
        let fields = definition.as_object().unwrap().iter();
        let (key, tag) = fields
            .filter(|(key, _)| !key.starts_with("message "))
            .find(|(key, _)| key.split(' ').nth(2) == Some(name))
            .unwrap();
        let (word, kind) = {
            let mut words = key.split(' ');
            (words.next().unwrap(), words.next().unwrap())
        };
        let wire = match kind {
            "uInt32" | "int32" | "sInt32" | "bool" => 0,
            "double" => 1,
            "float" => 5,
            _ => 2,
        };
        let head = varint(u128::from(tag.as_u64().unwrap() * 8 + wire));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to single is the type"
        )]
        let payload = |value: &Value| match kind {
            "uInt32" => varint(value.as_u64().unwrap().into()),
            "int32" | "sInt32" => {
                let n = i128::from(value.as_i64().unwrap());
                varint(u128::try_from(if n < 0 { -2 * n - 1 } else { 2 * n }).unwrap())
            }
            "bool" => varint(value.as_bool().unwrap().into()),
            "float" => (value.as_f64().unwrap() as f32).to_le_bytes().to_vec(),
            "double" => value.as_f64().unwrap().to_le_bytes().to_vec(),
            "string" => prefixed(value.as_str().unwrap().as_bytes().to_vec()),
            message => {
                let key = format!("message {message}");
                let inner = definition.get(&key).unwrap_or_else(|| &file[&key]);
                prefixed(naive(file, inner, value))
            }
        };
        if word != "repeated" {
            out.extend([head, payload(member)].concat());
            continue;
        }
        let list = member.as_array().unwrap();
        if kind == "string"
            || !["uInt32", "int32", "sInt32", "bool", "double", "float"].contains(&kind)
        {
            for element in list {
                out.extend([head.clone(), payload(element)].concat());
            }
        } else if !list.is_empty() {
            out.extend([head, varint(list.len() as u128)].concat());
            out.extend(list.iter().flat_map(payload));
        }
    }
    out
}

fn varint(mut value: u128) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(u8::try_from(value % 128 + 128).unwrap());
        value /= 128;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

fn prefixed(body: Vec<u8>) -> Vec<u8> {
    [varint(body.len() as u128), body].concat()
}

/// What a value reads as: empty lists are absent.
fn without_empty_lists(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, member)| member.as_array().is_none_or(|list| !list.is_empty()))
                .map(|(name, member)| (name, without_empty_lists(member)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(without_empty_lists).collect()),
        other => other,
    }
}

fn file(fields: &[Field]) -> Value {
    json!({
        "m": definition(fields),
        "message Global": { "required uInt32 n": 1, "repeated Global down": 2 },
    })
}

/// Every kind of field, for bodies without a meaning.
fn everything() -> Protos {
    Protos::parse(&json!({
        "message G": { "optional G g": 1, "repeated G l": 2, "optional uInt32 n": 3 },
        "message E": { "required uInt32 key": 1, "required string value": 2 },
        "message F": { "required string key": 1, "required G value": 2 },
        "m": {
            "optional uInt32 a": 0, "optional sInt32 b": 1, "optional float c": 2,
            "optional double d": 3, "optional string e": 4, "optional bool f": 5,
            "repeated uInt32 g": 6, "repeated sInt32 h": 7, "repeated float i": 8,
            "repeated double j": 9, "repeated string k": 10, "repeated bool l": 11,
            "optional G m": 12, "repeated G n": 13, "map E o": 14, "obj F p": 15,
            "optional uInt32 q": 16, "repeated uInt32 r": 500,
        },
    }))
    .unwrap()
}

/// Bytes that often are heads, counts and lengths.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![0..16_u8, 0..128_u8, any::<u8>()], 0..200)
}

fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let schema = everything().message("m").unwrap();
    let limits = Limits::default().max_depth(8).max_elements(64);
    let Ok(value) = schema.decode_with::<Value>(body, limits) else {
        return Ok(());
    };
    prop_assert!(schema.decode::<Value>(body).is_ok(), "limits only refuse");
    // One more than the limit: an `obj` looks like a message.
    prop_assert!(depth(&value) <= 9);
    prop_assert!(elements(&value) <= 64);
    // What we can write, we read back the same, and write the same again.
    let mut again = Vec::new();
    if schema.encode(&value, &mut again).is_ok() {
        let read: Value = schema.decode(&again).unwrap();
        let mut third = Vec::new();
        schema.encode(&read, &mut third).unwrap();
        prop_assert_eq!(again, third);
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(list) => list.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn elements(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(|v| 1 + elements(v)).sum(),
        // Elements of lists of strings and messages have heads of their own; those of numbers
        // share one, which was counted with the member.
        Value::Array(list) => list
            .iter()
            .map(|v| 1 + elements(v))
            .sum::<usize>()
            .saturating_sub(1),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn values_travel_and_are_written_as_described(fields in fields()) {
        let file = file(&fields);
        let value = value(&fields);
        let protos = Protos::parse(&file).unwrap();
        let again = Protos::from_parsed(protos.parsed()).unwrap();
        prop_assert_eq!(protos.parsed_text(), again.parsed_text());
        let schema = again.message("m").unwrap();

        let mut body = Vec::new();
        schema.encode(&value, &mut body).unwrap();
        prop_assert_eq!(&body, &naive(&file, &file["m"], &value));
        let read: Value = schema.decode(&body).unwrap();
        prop_assert_eq!(read.to_string(), without_empty_lists(value).to_string());
    }

    #[test]
    fn a_cut_is_an_error_or_a_shorter_message(fields in fields(), at in any::<prop::sample::Index>()) {
        let schema = Protos::parse(&file(&fields)).unwrap().message("m").unwrap();
        let mut body = Vec::new();
        schema.encode(&value(&fields), &mut body).unwrap();
        if body.is_empty() {
            return Ok(());
        }
        let at = at.index(body.len());
        if let Ok(short) = schema.decode::<Value>(&body[..at]) {
            let whole: Value = schema.decode(&body).unwrap();
            let members = whole.as_object().unwrap().len();
            prop_assert!(short.as_object().unwrap().len() <= members);
            prop_assert_ne!(short, whole);
        }
    }

    #[test]
    fn noise_is_refused_or_read_within_limits(body in noise()) {
        check(&body)?;
    }

    #[test]
    fn flipped_bits_are_refused_or_read(depths in vec(0..6_u8, 0..6), flips in vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        let schema = everything().message("m").unwrap();
        let globals: Vec<Value> = depths.iter().map(|&d| json!({ "n": d, "g": { "l": [{}, { "n": d }] } })).collect();
        let value = json!({
            "a": 1, "b": -300, "e": "text", "g": depths, "k": ["x", "y"], "n": globals,
            "o": { "1": "one", "2": "two" }, "p": { "x": { "n": 3 } }, "r": [1, 2, 3],
        });
        let mut body = Vec::new();
        schema.encode(&value, &mut body).unwrap();
        for (at, flip) in flips {
            let at = at.index(body.len());
            body[at] ^= flip;
        }
        check(&body)?;
    }

    #[test]
    fn noise_as_a_schema_is_refused_or_used(keys in vec((schema_key(), 0..4_u32, any::<bool>()), 0..8)) {
        let mut definition = Map::new();
        for (key, tag, nested) in keys {
            let content = if nested { json!({ "optional M a": tag }) } else { json!(tag) };
            definition.insert(key, content);
        }
        let file = json!({ "m": definition, "message M": { "optional M m": 1 } });
        let Ok(protos) = Protos::parse(&file) else { return Ok(()) };
        let again = Protos::from_parsed(protos.parsed()).unwrap();
        prop_assert_eq!(protos.parsed_text(), again.parsed_text());
        for body in [&b""[..], b"\x08\x01", b"\x0a\0", b"\x12\0\x1a\x01\x01"] {
            let read = |protos: &Protos| {
                protos.message("m").unwrap().decode::<Value>(body).map_err(|e| e.to_string())
            };
            prop_assert_eq!(read(&protos), read(&again));
        }
    }
}

/// Mostly keys that mean something.
fn schema_key() -> impl Strategy<Value = String> {
    "(required|optional|repeated|map|obj|message|message|x) (uInt32|string|M|E|N)( a| b| c| key| value|)"
}
