//! Types of Rust through the schema, without a value in between.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pomelo_protocol::protobuf::{
    DecodeErrorKind, EncodeErrorKind, Message, Protos, SchemaErrorKind,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn message(definition: Value) -> Message {
    Protos::parse(&json!({ "m": definition }))
        .unwrap()
        .message("m")
        .unwrap()
}

fn encode<T: Serialize + ?Sized>(message: &Message, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(value, &mut out).unwrap();
    out
}

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    message: &Message,
    value: &T,
    bytes: &str,
) {
    let body = encode(message, value);
    assert_eq!(hex(&body), bytes);
    assert_eq!(message.decode::<T>(&body).unwrap(), *value);
}

#[track_caller]
fn refused<T: Serialize + ?Sized>(message: &Message, value: &T) -> (String, EncodeErrorKind) {
    let mut out = vec![1, 2, 3];
    let error = message.encode(value, &mut out).unwrap_err();
    assert_eq!(out, [1, 2, 3]);
    (error.path().to_owned(), error.kind().clone())
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
struct Numbers {
    #[serde(default)]
    a: u8,
    #[serde(default)]
    b: i64,
    #[serde(default)]
    c: f32,
    #[serde(default)]
    d: f64,
    #[serde(default)]
    e: u128,
    #[serde(default)]
    f: i128,
}

fn numbers() -> Message {
    message(json!({
        "optional uInt32 a": 1,
        "optional sInt32 b": 2,
        "optional float c": 3,
        "optional double d": 4,
        "optional uInt64 e": 5,
        "optional sInt64 f": 6,
    }))
}

#[test]
fn every_width_of_number() {
    round_trip(
        &numbers(),
        &Numbers {
            a: 255,
            b: -(1 << 52),
            c: 0.1,
            d: -0.1,
            e: (1 << 53) - 1,
            f: 1 << 52,
        },
        "08ff0110ffffffffffffff0f1dcdcccc3d219a9999999999b9bf28ffffffffffffff0f308080808080808010",
    );
    // An integer for a float, and the other way round.
    let body = encode(&numbers(), &json!({ "c": 2, "d": -3, "a": 7.9, "b": -7.9 }));
    assert_eq!(
        numbers().decode::<Numbers>(&body).unwrap(),
        Numbers {
            c: 2.0,
            d: -3.0,
            a: 7,
            b: -7,
            ..Numbers::default()
        },
    );
    assert_eq!(
        encode(&numbers(), &(json!({ "d": u64::MAX }))),
        b"\x21\0\0\0\0\0\0\xf0\x43"
    );
    #[derive(Serialize)]
    struct Wide {
        d: u128,
    }
    assert_eq!(
        encode(&numbers(), &Wide { d: 1 << 64 }),
        b"\x21\0\0\0\0\0\0\xf0\x43"
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (name, value) in [
        ("a", json!(-1)),
        ("a", json!(1_u64 << 53)),
        ("a", json!(u64::MAX)),
        ("a", json!(1e16)),
        ("a", json!("99999999999999999999")),
        ("b", json!((1_i64 << 52) + 1)),
        ("b", json!(-(1_i64 << 52) - 1)),
        ("b", json!(i64::MIN)),
        ("e", json!(1_u64 << 53)),
        ("f", json!(f64::MAX)),
    ] {
        let (path, kind) = refused(&numbers(), &json!({ name: value }));
        assert_eq!(
            (path.as_str(), kind),
            (name, EncodeErrorKind::OutOfRange),
            "{value}"
        );
    }
    #[derive(Serialize)]
    struct Float {
        a: f64,
    }
    for a in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(
            refused(&numbers(), &Float { a }).1,
            EncodeErrorKind::OutOfRange
        );
    }
    #[derive(Serialize)]
    struct Wide {
        b: i128,
    }
    assert_eq!(
        refused(&numbers(), &Wide { b: i128::MIN }).1,
        EncodeErrorKind::OutOfRange
    );
    for value in [
        json!(true),
        json!(null),
        json!("x"),
        json!(""),
        json!([1]),
        json!({}),
    ] {
        let kind = refused(&numbers(), &json!({ "a": value })).1;
        assert!(
            matches!(kind, EncodeErrorKind::Unsuitable { .. }),
            "{value}: {kind:?}"
        );
    }
}

/// libpomelo2 sends 4294967295 as `80 80 80 80 f8 ff ff ff ff 01`.
#[test]
fn garbled_integers_saturate() {
    let body = b"\x08\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01";
    #[derive(Deserialize, Debug, PartialEq)]
    struct A<T> {
        a: T,
    }
    assert_eq!(numbers().decode::<A<u32>>(body).unwrap().a, u32::MAX);
    assert_eq!(numbers().decode::<A<i32>>(body).unwrap().a, i32::MAX);
    assert_eq!(
        numbers().decode::<A<u64>>(body).unwrap().a,
        18_446_744_071_562_067_968
    );
    assert_eq!(
        numbers().decode::<A<f64>>(body).unwrap().a,
        18_446_744_071_562_067_968.0
    );
    let huge = [&b"\x08"[..], &[0xff; 20], b"\x01"].concat();
    assert_eq!(numbers().decode::<A<u64>>(&huge).unwrap().a, u64::MAX);
    assert!(
        numbers().decode::<Value>(&huge).unwrap()["a"]
            .as_f64()
            .unwrap()
            > 1e40
    );
    // An exact number that the type does not hold is the type's mistake.
    let exact = encode(&numbers(), &json!({ "a": 256 }));
    let error = numbers().decode::<A<u8>>(&exact).unwrap_err();
    assert_eq!(error.path(), "a");
    assert!(matches!(error.kind(), DecodeErrorKind::Mismatch(_)));
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Point {
    x: u32,
    y: u32,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Wrapper(Point);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Shapes {
    one: Point,
    maybe: Option<Point>,
    many: Vec<Point>,
    wrapped: Wrapper,
    pair: (i32, i32),
    names: Vec<String>,
}

fn shapes() -> Message {
    message(json!({
        "message P": { "required uInt32 x": 1, "required uInt32 y": 2 },
        "required P one": 1,
        "optional P maybe": 2,
        "repeated P many": 3,
        "optional P wrapped": 4,
        "repeated int32 pair": 5,
        "repeated string names": 6,
    }))
}

#[test]
fn structs_options_newtypes_tuples_and_lists() {
    let value = Shapes {
        one: Point { x: 1, y: 2 },
        maybe: Some(Point { x: 3, y: 4 }),
        many: vec![Point { x: 5, y: 6 }, Point { x: 7, y: 300 }],
        wrapped: Wrapper(Point { x: 0, y: 0 }),
        pair: (-1, 1),
        names: vec!["a".into(), String::new()],
    };
    round_trip(
        &shapes(),
        &value,
        "0a0408011002120408031004\
         1a04080510061a05080710ac02220408001000\
         28020102320161 3200"
            .replace(' ', "")
            .as_str(),
    );
}

#[test]
fn absent_lists_are_empty_and_absent_options_none() {
    let empty = Shapes {
        one: Point { x: 1, y: 2 },
        maybe: None,
        many: Vec::new(),
        wrapped: Wrapper(Point { x: 0, y: 0 }),
        pair: (0, 0),
        names: Vec::new(),
    };
    round_trip(
        &shapes(),
        &empty,
        "0a0408011002220408001000 28020000"
            .replace(' ', "")
            .as_str(),
    );

    #[derive(Deserialize, Debug, PartialEq)]
    struct Lists {
        many: Option<Vec<Point>>,
        names: Vec<String>,
    }
    let lists = shapes().decode::<Lists>(b"").unwrap();
    assert_eq!(
        lists,
        Lists {
            many: None,
            names: Vec::new()
        }
    );
    // Untyped, what is absent is absent.
    assert_eq!(shapes().decode::<Value>(b"").unwrap(), json!({}));
    // A count of zero is a list.
    assert_eq!(
        shapes().decode::<Value>(b"\x28\0").unwrap(),
        json!({ "pair": [] })
    );
}

#[test]
fn tuples_take_what_they_need_and_refuse_what_is_short() {
    #[derive(Deserialize, Debug)]
    struct Pair {
        pair: (i32, i32),
        names: Vec<String>,
    }
    let body = encode(
        &shapes(),
        &json!({ "one": { "x": 0, "y": 0 }, "pair": [1], "names": [] }),
    );
    assert_eq!(shapes().decode::<Pair>(&body).unwrap_err().path(), "pair");
    // A visitor that stops early does not lose the place. `(i32, i32)` takes two of three.
    let body = encode(
        &shapes(),
        &json!({ "one": { "x": 0, "y": 0 }, "pair": [1, 2, 300], "names": ["n"] }),
    );
    let pair: Pair = shapes().decode(&body).unwrap();
    assert_eq!((pair.pair, pair.names), ((1, 2), vec!["n".to_owned()]));
}

#[test]
fn text_is_borrowed_where_it_can_be() {
    let schema = message(json!({ "optional string t": 1, "repeated string l": 2 }));
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        t: &'a str,
        #[serde(borrow)]
        l: Vec<Cow<'a, str>>,
    }
    let body = encode(&schema, &json!({ "t": "你好", "l": ["😀"] }));
    let Borrowed { t, l } = schema.decode(&body).unwrap();
    assert_eq!(t, "你好");
    assert!(body.as_ptr_range().contains(&t.as_ptr()));
    assert_eq!(l, ["😀"]);
    #[derive(Deserialize, Debug, PartialEq)]
    struct Owned {
        t: String,
        l: char,
    }
    let schema = message(json!({ "optional string t": 1, "optional string l": 2 }));
    let owned: Owned = schema
        .decode(b"\x0a\x06\xed\xa0\xbd\xed\xb8\x80\x12\x01c")
        .unwrap();
    assert_eq!(
        owned,
        Owned {
            t: "😀".into(),
            l: 'c'
        }
    );
    round_trip(
        &schema,
        &BTreeMap::from([("l", 'x')].map(|(k, v)| (k.to_owned(), v))),
        "120178",
    );
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Copy, PartialOrd, Eq, Ord)]
#[serde(rename_all = "lowercase")]
enum Color {
    Red,
    Green,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Event {
    Join(String),
    Move { x: i32, y: i32 },
    Say(String, String),
    At(Point),
}

#[test]
fn enums_are_text_or_messages() {
    let schema = message(json!({ "required string color": 1, "repeated string colors": 2 }));
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Colors {
        color: Color,
        colors: Vec<Color>,
    }
    let colors = Colors {
        color: Color::Red,
        colors: vec![Color::Green],
    };
    round_trip(&schema, &colors, "0a037265641205677265656e");

    let schema = message(json!({
        "message E": {
            "message P": { "required uInt32 x": 1, "required uInt32 y": 2 },
            "message M": { "required int32 x": 1, "required int32 y": 2 },
            "optional string Join": 1,
            "optional M Move": 2,
            "repeated string Say": 3,
            "optional P At": 4,
        },
        "repeated E events": 1,
    }));
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Events {
        events: Vec<Event>,
    }
    let events = Events {
        events: vec![
            Event::Join("a".into()),
            Event::Move { x: -1, y: 1 },
            Event::Say("b".into(), "c".into()),
            Event::At(Point { x: 1, y: 2 }),
        ],
    };
    round_trip(
        &schema,
        &events,
        "0a030a01610a06120408011002 0a061a01621a0163 0a06220408011002"
            .replace(' ', "")
            .as_str(),
    );
    // The outermost message can be an enum as well.
    let root = message(json!({ "optional string Join": 1, "repeated string Say": 3 }));
    round_trip(&root, &Event::Join("x".into()), "0a0178");
    round_trip(&root, &Event::Say("x".into(), "y".into()), "1a01781a0179");
    assert!(refused(&root, &Event::Move { x: 0, y: 0 }).0.is_empty());
}

#[test]
fn flattened_and_tagged_types_see_a_self_describing_format() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Outer {
        id: u32,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Inner {
        score: f64,
        list: Vec<i8>,
    }
    let schema = message(json!({
        "required uInt32 id": 1, "optional double score": 2, "repeated sInt32 list": 3,
        "optional string extra": 4,
    }));
    let outer = Outer {
        id: 7,
        inner: Inner {
            score: 0.5,
            list: vec![-1, 1],
        },
        rest: BTreeMap::from([("extra".to_owned(), json!("e"))]),
    };
    round_trip(
        &schema,
        &outer,
        "080711000000000000e03f180201 02220165"
            .replace(' ', "")
            .as_str(),
    );

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(tag = "type", rename_all = "lowercase")]
    enum Tagged {
        Hit { damage: u16 },
        Miss,
    }
    let schema = message(json!({ "required string type": 1, "optional uInt32 damage": 2 }));
    round_trip(&schema, &Tagged::Hit { damage: 1200 }, "0a0368697410b009");
    round_trip(&schema, &Tagged::Miss, "0a046d697373");

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(untagged)]
    enum Untagged {
        Damage { damage: u16 },
        Other { r#type: String },
    }
    round_trip(&schema, &Untagged::Other { r#type: "x".into() }, "0a0178");
}

#[test]
fn booleans_only_where_the_schema_has_them() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Flags {
        on: bool,
        all: Vec<bool>,
    }
    let schema = message(json!({ "required bool on": 1, "repeated bool all": 2 }));
    round_trip(
        &schema,
        &Flags {
            on: true,
            all: vec![true, false],
        },
        "080110020100",
    );
    assert_eq!(
        schema.decode::<Value>(b"\x08\x05").unwrap(),
        json!({ "on": true })
    );
    assert_eq!(encode(&schema, &json!({ "on": 0 })), b"\x08\0");
    for value in [json!(2), json!("true"), json!(null), json!(1.0)] {
        refused(&schema, &json!({ "on": value }));
    }
    let integer = message(json!({ "required uInt32 on": 1 }));
    let (path, kind) = refused(&integer, &json!({ "on": true }));
    let expected = EncodeErrorKind::Unsuitable {
        expected: "an unsigned integer",
        found: "a boolean",
    };
    assert_eq!((path.as_str(), kind), ("on", expected));
}

#[test]
fn maps_and_objects_of_pinus() {
    let definition = json!({
        "message Item": { "required string name": 1 },
        "message Entry": { "required uInt32 key": 1, "required Item value": 2 },
        "message Score": { "required string key": 1, "required sInt32 value": 2 },
        "map Entry items": 1,
        "obj Score scores": 2,
        "optional uInt32 end": 3,
    });
    let schema = message(definition);
    #[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
    struct Item {
        name: String,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
    struct Maps {
        items: BTreeMap<u32, Item>,
        scores: BTreeMap<String, i32>,
        end: u32,
    }
    let maps = Maps {
        items: BTreeMap::from([
            (1, Item { name: "a".into() }),
            (300, Item { name: "b".into() }),
        ]),
        scores: BTreeMap::from([("x".into(), -1), ("y".into(), 1)]),
        end: 9,
    };
    round_trip(
        &schema,
        &maps,
        "0a0201030a0161ac02030a016212020178010179021809",
    );
    // An empty map writes its count, an empty object nothing.
    round_trip(&schema, &Maps::default(), "0a001800");
    // Untyped: keys are text.
    let value: Value = schema
        .decode(b"\x0a\x01\x01\x03\x0a\x01a\x12\x01\x01x\x01")
        .unwrap();
    assert_eq!(
        value,
        json!({ "items": { "1": { "name": "a" } }, "scores": { "x": -1 } })
    );
    assert_eq!(
        encode(&schema, &value),
        b"\x0a\x01\x01\x03\x0a\x01a\x12\x01\x01x\x01"
    );
    // Occurrences add up; a map can be skipped; a null is left out.
    let value: Value = schema
        .decode(b"\x12\x01\x01x\x01\x18\x05\x12\x01\x01y\x02")
        .unwrap();
    assert_eq!(value, json!({ "scores": { "x": -1, "y": 1 }, "end": 5 }));
    #[derive(Deserialize)]
    struct End {
        end: u32,
    }
    let body = encode(&schema, &maps);
    assert_eq!(schema.decode::<End>(&body).unwrap().end, 9);
    assert_eq!(
        encode(&schema, &json!({ "items": null, "scores": null })),
        b""
    );
    // What no map is.
    assert_eq!(refused(&schema, &json!({ "items": [1] })).0, "items");
    assert_eq!(
        refused(&schema, &json!({ "items": { "x": { "name": "a" } } })).0,
        "items[0]"
    );
    assert_eq!(
        refused(&schema, &json!({ "items": { "1": {} } })).0,
        "items[0].name"
    );
}

#[test]
fn required_fields_must_be_there() {
    #[derive(Serialize, Default)]
    struct Value {
        one: Option<Point>,
    }
    let (path, kind) = refused(&shapes(), &Value::default());
    assert_eq!(
        (path.as_str(), kind),
        ("one", EncodeErrorKind::MissingRequired)
    );
    let (path, kind) = refused(&shapes(), &json!({ "one": { "x": 1 } }));
    assert_eq!(
        (path.as_str(), kind),
        ("one.y", EncodeErrorKind::MissingRequired)
    );
    let value = json!({ "one": { "x": 1, "y": 2 }, "many": [{ "x": 1, "y": 2 }, { "y": 2 }] });
    assert_eq!(refused(&shapes(), &value).0, "many[1].x");
    assert_eq!(refused(&shapes(), &json!(null)).0, "one");
    assert_eq!(refused(&shapes(), &()).0, "one");
    assert!(encode(&message(json!({ "optional uInt32 a": 1 })), &()).is_empty());
    // More fields than fit in a machine word.
    let many: serde_json::Map<String, serde_json::Value> = (0..300)
        .map(|i| (format!("required uInt32 f{i}"), json!(i)))
        .collect();
    let schema = message(many.into());
    let mut value: serde_json::Map<String, serde_json::Value> = (0..300)
        .rev()
        .map(|i| (format!("f{i}"), json!(i)))
        .collect();
    let body = encode(&schema, &value);
    assert_eq!(
        schema.decode::<serde_json::Value>(&body).unwrap(),
        json!(value)
    );
    value.shift_remove("f299").unwrap();
    assert_eq!(refused(&schema, &value).0, "f299");
}

#[test]
fn lists_that_lie_about_their_length_are_counted() {
    struct Liar(usize, u32);
    impl Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = serializer.serialize_seq(Some(self.0))?;
            for element in 0..self.1 {
                seq.serialize_element(&(element % 128))?;
            }
            seq.end()
        }
    }
    #[derive(Serialize)]
    struct List {
        l: Liar,
    }
    let schema = message(json!({ "repeated uInt32 l": 1 }));
    for (said, is) in [(0, 3), (3, 0), (1000, 2), (1, 1000)] {
        let body = encode(&schema, &List { l: Liar(said, is) });
        let list = schema.decode::<BTreeMap<String, Vec<u32>>>(&body).unwrap();
        assert_eq!(list.get("l").map_or(0, Vec::len), is as usize);
    }
}

#[test]
fn errors_name_their_place() {
    let schema = message(json!({
        "message P": { "optional uInt32 x": 1, "repeated string s": 2 },
        "repeated P path": 2,
    }));
    let mut out = Vec::new();
    let error = schema
        .encode(&json!({ "path": [{}, {}, { "x": -1 }] }), &mut out)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "path[2].x: number is out of the range of its type"
    );
    let error = schema
        .encode(&json!({ "path": [{ "s": ["a", 1] }] }), &mut out)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "path[0].s[1]: expected text, found a number"
    );
    let body = b"\x12\0\x12\x02\x08\x80";
    let error = schema.decode::<Value>(body).unwrap_err();
    assert_eq!(error.to_string(), "path[1].x: body ends inside a field");
    #[derive(Deserialize, Debug)]
    struct Typed {
        #[expect(dead_code, reason = "only its type matters")]
        path: Vec<Point>,
    }
    let error = schema.decode::<Typed>(b"\x12\x02\x08\x01").unwrap_err();
    assert_eq!(error.to_string(), "path[0]: missing field `y`");
}

#[test]
fn unknown_types_of_a_peer_fail_when_used() {
    let parsed = json!({ "m": {
        "x": { "option": "optional", "type": "Nowhere", "tag": 1 },
        "y": { "option": "optional", "type": "uInt32", "tag": 2 },
        "z": { "option": "hash", "type": "uInt32", "tag": 3 },
        "__messages": {},
        "__tags": { "1": "x", "2": "y", "3": "z" },
    } });
    let schema = Protos::from_parsed(&parsed).unwrap().message("m").unwrap();
    round_trip(&schema, &BTreeMap::from([("y".to_owned(), 5_u8)]), "1005");
    for name in ["x", "z"] {
        let (path, kind) = refused(&schema, &json!({ name: 1 }));
        assert_eq!(path, name);
        assert!(matches!(kind, EncodeErrorKind::UnknownType(_)));
    }
    let error = schema.decode::<Value>(b"\x0a\x01a").unwrap_err();
    assert_eq!(
        *error.kind(),
        DecodeErrorKind::UnknownType("Nowhere".into())
    );
}

#[test]
fn maps_need_a_key_and_a_value() {
    let error = |definition: Value| Protos::parse(&json!({ "m": definition })).unwrap_err();
    for definition in [
        json!({ "map Nowhere x": 1 }),
        json!({ "map uInt32 x": 1 }),
        json!({ "map E x": 1, "message E": { "optional string key": 1 } }),
        json!({ "obj E x": 1, "message E": { "optional E key": 1, "optional string value": 2 } }),
    ] {
        let error = error(definition);
        assert!(
            matches!(error.kind(), SchemaErrorKind::BadEntry(_)),
            "{error}"
        );
        assert_eq!((error.route(), error.path()), ("m", "x"));
    }
    // The types of an entry are looked up where the map is, as long as it is a map's entry.
    let entry = json!({ "optional string key": 1, "optional Item value": 2 });
    let error = error(json!({ "message Item": {}, "message E": entry, "repeated E x": 1 }));
    assert_eq!(
        (error.path(), error.kind()),
        ("E.value", &SchemaErrorKind::UnknownType("Item".into()))
    );
}

#[test]
fn handles_are_shared() {
    let protos = Protos::parse(&json!({
        "b": {}, "message G": { "optional G g": 1 }, "a": { "optional G g": 1 },
    }))
    .unwrap();
    assert_eq!(protos.routes().collect::<Vec<_>>(), ["b", "a"]);
    assert!(!protos.is_empty());
    assert!(Protos::default().is_empty());
    assert_eq!(Protos::default().parsed_text(), "{}");
    assert!(protos.message("message G").is_some());
    assert!(protos.message("c").is_none());
    assert_eq!(
        format!("{:?}", protos.message("a").unwrap()),
        r#"Message {"g"}"#
    );
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&protos);
    shared(&protos.message("a").unwrap());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn emoji_for_the_browser_client_are_surrogate_pairs() {
    let protos = Protos::parse(&json!({"onChat": {"required string msg": 1}})).unwrap();
    let chat = json!({"msg": "a😀"});
    let utf8 = encode(&protos.message("onChat").unwrap(), &chat);
    assert_eq!(utf8, b"\x0a\x05a\xf0\x9f\x98\x80");
    let old = protos.with_surrogate_pairs().message("onChat").unwrap();
    let pairs = encode(&old, &chat);
    assert_eq!(pairs, b"\x0a\x07a\xed\xa0\xbd\xed\xb8\x80");
    for body in [utf8, pairs] {
        assert_eq!(old.decode::<Value>(&body).unwrap(), chat);
    }
    assert_eq!(
        protos.parsed_text(),
        protos.with_surrogate_pairs().parsed_text()
    );
}
