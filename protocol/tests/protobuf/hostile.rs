//! Bodies from peers that mean no good, and bodies that only look like it.

use pomelo_protocol::protobuf::{DecodeErrorKind, EncodeErrorKind, Limits, Message, Protos};
use serde::Deserialize;
use serde_json::{Value, json};

fn message(file: Value) -> Message {
    Protos::parse(&file).unwrap().message("m").unwrap()
}

fn refused(message: &Message, body: &[u8]) -> DecodeErrorKind {
    message.decode::<Value>(body).unwrap_err().kind().clone()
}

fn recursive() -> Message {
    message(json!({
        "message G": { "optional G g": 1, "repeated G l": 2, "optional uInt32 n": 3 },
        "m": { "optional G g": 1 },
    }))
}

/// Messages within messages, `depth` of them below the outermost.
fn nested(depth: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..depth {
        let mut around = vec![0x0a];
        let mut len = body.len();
        while len >= 128 {
            around.push(u8::try_from(len % 128).unwrap() | 128);
            len /= 128;
        }
        around.push(u8::try_from(len).unwrap());
        around.extend_from_slice(&body);
        body = around;
    }
    body
}

#[test]
fn depth_is_bounded_in_both_directions() {
    let schema = recursive();
    let deepest: Value = schema.decode(&nested(63)).unwrap();
    assert_eq!(
        refused(&schema, &nested(64)),
        DecodeErrorKind::TooDeep { max: 64 }
    );
    let mut body = Vec::new();
    schema.encode(&deepest, &mut body).unwrap();
    assert_eq!(body, nested(63));
    let error = schema
        .encode(&json!({ "g": deepest }), &mut body)
        .unwrap_err();
    assert_eq!(*error.kind(), EncodeErrorKind::TooDeep);
    assert_eq!(error.path().matches('g').count(), 64);
    let limits = Limits::default().max_depth(2);
    assert!(schema.decode_with::<Value>(&nested(1), limits).is_ok());
    assert!(schema.decode_with::<Value>(&nested(2), limits).is_err());
    // What nobody looks at is not entered.
    #[derive(Deserialize)]
    struct Nothing {}
    assert!(schema.decode::<Nothing>(&nested(10_000)).is_ok());
    assert_eq!(
        refused(&schema, &nested(10_000)),
        DecodeErrorKind::TooDeep { max: 64 }
    );
}

#[test]
fn elements_are_bounded() {
    let schema = message(json!({
        "message P": { "repeated uInt32 u": 1 },
        "m": { "repeated uInt32 u": 1, "repeated P p": 2, "map E e": 3 },
        "message E": { "required uInt32 key": 1, "required uInt32 value": 2 },
    }));
    let limits = |max| Limits::default().max_elements(max);
    // One field and three elements.
    let list = b"\x08\x03\x01\x02\x03";
    assert!(schema.decode_with::<Value>(list, limits(4)).is_ok());
    let error = schema.decode_with::<Value>(list, limits(3)).unwrap_err();
    assert_eq!(*error.kind(), DecodeErrorKind::TooManyElements { max: 3 });
    assert_eq!(error.path(), "u");
    // Nested messages count together.
    let nested = b"\x12\x04\x08\x02\x01\x02\x12\x04\x08\x02\x01\x02";
    assert!(schema.decode_with::<Value>(nested, limits(8)).is_ok());
    assert!(schema.decode_with::<Value>(nested, limits(7)).is_err());
    let entries = b"\x1a\x02\x01\x01\x02\x02";
    assert!(schema.decode_with::<Value>(entries, limits(3)).is_ok());
    assert!(schema.decode_with::<Value>(entries, limits(2)).is_err());
    let many = b"\x12\0".repeat(1 << 18);
    assert!(schema.decode::<Value>(&many).is_ok());
    let more = b"\x12\0".repeat((1 << 18) + 1);
    assert_eq!(
        refused(&schema, &more),
        DecodeErrorKind::TooManyElements { max: 1 << 18 }
    );
}

#[test]
fn promises_larger_than_the_body_are_refused() {
    let schema = message(json!({ "m": {
        "repeated uInt32 u": 1, "repeated float f": 2, "repeated double d": 3,
        "optional string t": 4, "repeated string l": 5, "map E e": 6,
        "message E": { "required uInt32 key": 1, "required double value": 2 },
    } }));
    for body in [
        &b"\x08\xff\xff\xff\xff\x0f"[..],
        b"\x08\x02\x01",
        b"\x08\x01\x80",
        b"\x08",
        b"\x15\x02\0\0\0\0\0\0\0",
        b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0",
        b"\x19\x01\0\0\0\0",
        b"\x22\x05a",
        b"\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
        b"\x2a\x01",
        b"\x32\x01\x01\0\0\0\0",
        b"\x32\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ] {
        assert_eq!(refused(&schema, body), DecodeErrorKind::Cut, "{body:02x?}");
    }
    for (body, tag) in [
        (&b"\0"[..], 0),
        (b"\x78\x01", 15),
        (b"\xf8\xff\xff\xff\x0f\0", 0x1fff_ffff),
    ] {
        assert_eq!(refused(&schema, body), DecodeErrorKind::UnknownTag(tag));
    }
    assert!(matches!(
        refused(&schema, &[0xff; 40]),
        DecodeErrorKind::Cut
    ));
    let huge = [&[0xff; 40][..], &[1]].concat();
    assert!(matches!(
        refused(&schema, &huge),
        DecodeErrorKind::UnknownTag(_)
    ));
}

#[test]
fn fields_may_be_scattered() {
    let schema = message(json!({ "m": {
        "optional uInt32 a": 1, "repeated uInt32 u": 2, "repeated string t": 3,
        "message P": { "optional uInt32 x": 1 }, "optional P p": 4,
    } }));
    let body = [
        &b"\x08\x01"[..],    // a = 1
        b"\x10\x01\x05",     // u += [5]
        b"\x1a\x01a",        // t += ["a"]
        b"\x1a\x01b",        // t += ["b"]
        b"\x22\x02\x08\x01", // p = {x: 1}
        b"\x10\x02\x06\x07", // u += [6, 7]
        b"\x08\x02",         // a = 2
        b"\x1a\x01c",        // t += ["c"]
        b"\x22\0",           // p = {}
        b"\x10\0",           // u += []
    ]
    .concat();
    let expected = r#"{"a":2,"u":[5,6,7],"t":["a","b","c"],"p":{}}"#;
    assert_eq!(schema.decode::<Value>(&body).unwrap().to_string(), expected);
    #[derive(Deserialize, Debug, PartialEq)]
    struct Typed {
        a: u8,
        u: [u8; 3],
        t: Vec<String>,
    }
    let typed: Typed = schema.decode(&body).unwrap();
    let t = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(
        typed,
        Typed {
            a: 2,
            u: [5, 6, 7],
            t
        }
    );
    // Straight after each other, and the same head written in different ways.
    let body = b"\x10\x01\x05\x12\x01\x06\x90\x80\0\x01\x07";
    assert_eq!(
        schema.decode::<Value>(body).unwrap(),
        json!({ "u": [5, 6, 7] })
    );
}

#[test]
fn a_wide_schema_is_no_slower_way_in() {
    // More fields than the sets hold without an allocation, each coming twice.
    let mut definition = serde_json::Map::new();
    for tag in 0..400 {
        definition.insert(format!("repeated uInt32 f{tag}"), json!(tag));
    }
    let schema = message(json!({ "m": definition }));
    let value: Value = (0..400)
        .map(|tag| (format!("f{tag}"), json!([tag])))
        .collect();
    let mut body = Vec::new();
    schema.encode(&value, &mut body).unwrap();
    schema.encode(&value, &mut body).unwrap();
    let twice: Value = (0..400)
        .map(|tag| (format!("f{tag}"), json!([tag, tag])))
        .collect();
    assert_eq!(schema.decode::<Value>(&body).unwrap(), twice);
}

#[test]
fn seeds_that_ask_for_nothing_lose_nothing() {
    #[derive(Debug, PartialEq)]
    struct Blind;
    impl<'de> Deserialize<'de> for Blind {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Typed {
        u: Blind,
        t: Blind,
        s: Blind,
        end: u8,
    }
    let schema = message(json!({ "m": {
        "repeated uInt32 u": 1, "repeated string t": 2, "optional string s": 3,
        "optional uInt32 end": 4,
    } }));
    let mut body = Vec::new();
    schema
        .encode(
            &json!({ "u": [1, 300], "t": ["a", "b"], "s": "x", "end": 9 }),
            &mut body,
        )
        .unwrap();
    let typed: Typed = schema.decode(&body).unwrap();
    assert_eq!(
        typed,
        Typed {
            u: Blind,
            t: Blind,
            s: Blind,
            end: 9
        }
    );
}
