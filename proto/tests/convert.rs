//! The converter: every supported shape against a golden file, and every refusal.

#![cfg(feature = "convert")]

use std::{fs, path::PathBuf};

use pomelo_proto::convert::{Caution, ConvertError, Converted, Reason, convert};
use serde_json::{Value, json};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

/// Converts one file of that text.
fn convert_text(name: &str, text: &str) -> Result<Converted, ConvertError> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("cargo made the parent");
    let file = dir.join("test.proto");
    fs::write(&file, text).expect("the directory is there");
    convert([file], [dir])
}

/// Converts a proto3 message of these fields, with `more` beside it.
fn convert_fields(name: &str, fields: &str, more: &str) -> Result<Converted, ConvertError> {
    let text = format!(
        "syntax = \"proto3\";\nimport \"pomelo/options.proto\";\nmessage M {{\n  \
         option (pomelo.client) = \"a.b.c\";\n  {fields}\n}}\n{more}\n"
    );
    convert_text(name, &text)
}

/// The only refusal there is: its reason, line and element.
fn refusal(result: Result<Converted, ConvertError>) -> (Reason, Option<u32>, String) {
    match result {
        Err(ConvertError::Refused(refusals)) => match refusals.as_slice() {
            [one] => (
                one.reason.clone(),
                one.place.line,
                one.place.element.clone(),
            ),
            _ => panic!("one refusal expected: {refusals:#?}"),
        },
        other => panic!("a refusal expected: {other:?}"),
    }
}

#[test]
fn every_shape() {
    let converted = convert([format!("{DATA}/shapes.proto")], [DATA]).unwrap();
    for (value, name) in [(&converted.client, "client"), (&converted.server, "server")] {
        let golden = fs::read_to_string(format!("{DATA}/shapes.{name}Protos.json")).unwrap();
        // As text: the order of the members is part of the schema version.
        assert_eq!(format!("{value:#}\n"), golden, "{name}");
    }
    let notes: Vec<_> = converted
        .notes
        .iter()
        .map(|note| (note.place.element.as_str(), note.caution.clone()))
        .collect();
    assert_eq!(
        notes,
        [
            ("game.area.Move.at", Caution::LargeInteger("2^53-1")),
            (
                "game.area.Move.dy",
                Caution::LargeInteger("plus or minus 2^52")
            ),
            ("game.area.Move.ids", Caution::RepeatedNumber),
            ("game.area.Move.costs", Caution::RepeatedNumber),
        ]
    );
}

#[test]
fn the_same_input_gives_the_same_text() {
    let text = || {
        let converted = convert([format!("{DATA}/shapes.proto")], [DATA]).unwrap();
        format!("{}{}", converted.client, converted.server)
    };
    let first = text();
    // Maps of the converter are seeded anew each time.
    assert!((0..20).all(|_| text() == first));
}

#[test]
fn the_file_of_the_options_needs_no_include_and_may_have_one() {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let chat = convert([format!("{proto}/chat.proto")], [proto]).unwrap();
    assert_eq!(
        chat.client["gate.gateHandler.queryEntry"],
        json!({ "required string uid": 1 })
    );
    assert_eq!(chat.server.as_object().map(|routes| routes.len()), Some(3));
    assert!(chat.notes.is_empty(), "{:?}", chat.notes);
}

#[test]
fn refused_types() {
    let enums = "enum E { ZERO = 0; } enum N { NONE = 0; LESS = -1; }";
    let cases = [
        ("int32 f = 1;", Reason::SignedVarint("int32")),
        ("int64 f = 1;", Reason::SignedVarint("int64")),
        ("repeated int32 f = 1;", Reason::SignedVarint("int32")),
        ("bool f = 1;", Reason::Bool),
        ("E f = 1;", Reason::Enum),
        (
            "N f = 1 [(pomelo.as) = UINT32];",
            Reason::NegativeEnumValue("LESS".into()),
        ),
        ("fixed32 f = 1;", Reason::Fixed("fixed32")),
        ("fixed64 f = 1;", Reason::Fixed("fixed64")),
        ("sfixed32 f = 1;", Reason::Fixed("sfixed32")),
        ("sfixed64 f = 1;", Reason::Fixed("sfixed64")),
        ("bytes f = 1;", Reason::Bytes),
        ("map<string, uint32> f = 1;", Reason::Map),
        ("oneof o { uint32 f = 1; }", Reason::Oneof("o".into())),
        ("uint32 f = 268435456;", Reason::FieldNumber(268_435_456)),
        ("string f = 1 [(pomelo.as) = UINT32];", Reason::NeedlessAs),
        (
            "repeated string f = 1 [(pomelo.required) = true];",
            Reason::RequiredRepeated,
        ),
        (
            "optional string f = 1 [(pomelo.required) = true];",
            Reason::RequiredOptional,
        ),
    ];
    for (i, (field, reason)) in cases.into_iter().enumerate() {
        let refused = refusal(convert_fields(&format!("type-{i}"), field, enums));
        assert_eq!(refused, (reason, Some(5), "M.f".to_owned()), "{field}");
    }
}

#[test]
fn refused_names() {
    for (i, name) in ["__tags", "__proto__", "constructor"]
        .into_iter()
        .enumerate()
    {
        let result = convert_fields(&format!("field-{i}"), &format!("string {name} = 1;"), "");
        assert_eq!(refusal(result).0, Reason::ReservedName(name.into()));
    }
    let result = convert_fields("message-type", "uInt32 f = 1;", "message uInt32 {}");
    assert_eq!(
        refusal(result),
        (Reason::TypeName("uInt32".into()), Some(7), "uInt32".into())
    );
    let result = convert_fields("message-name", "valueOf f = 1;", "message valueOf {}");
    assert_eq!(refusal(result).0, Reason::ReservedName("valueOf".into()));
}

#[test]
fn refused_routes() {
    let long = "r".repeat(256);
    for (i, route) in ["", "on Chat", "message X", long.as_str()]
        .into_iter()
        .enumerate()
    {
        let option = format!("option (pomelo.server) = \"{route}\";");
        let result = convert_fields(&format!("route-{i}"), &option, "");
        assert_eq!(refusal(result).0, Reason::Route(route.into()));
    }
    let result = convert_fields(
        "route-reserved",
        "option (pomelo.server) = \"toString\";",
        "",
    );
    assert_eq!(refusal(result).0, Reason::ReservedName("toString".into()));

    let twice = "message Other { option (pomelo.client) = \"a.b.c\"; }";
    let result = convert_fields("route-twice", "", twice);
    let reason = Reason::DuplicateRoute {
        route: "a.b.c".into(),
        first: "M".into(),
    };
    assert_eq!(refusal(result), (reason, Some(7), "Other".into()));
}

#[test]
fn refused_parts_of_proto2() {
    let cases = [
        ("optional group F = 1 {}", Reason::Group, "M.f"),
        (
            "optional uint32 f = 1 [default = 7];",
            Reason::Default,
            "M.f",
        ),
        ("extensions 100 to 199;", Reason::Extensions, "M"),
    ];
    for (i, (field, reason, element)) in cases.into_iter().enumerate() {
        let text = format!(
            "syntax = \"proto2\";\nimport \"pomelo/options.proto\";\n\
             message M {{ option (pomelo.client) = \"a.b.c\"; {field} }}\n"
        );
        let refused = refusal(convert_text(&format!("proto2-{i}"), &text));
        assert_eq!(refused, (reason, Some(3), element.to_owned()), "{field}");
    }
}

#[test]
fn all_refusals_are_told_and_each_once() {
    let fields = "option (pomelo.server) = \"onM\";\n  bytes f = 1;\n  N n = 2;";
    let Err(error) = convert_fields("all", fields, "message N { bool b = 1; }") else {
        panic!("refusals expected");
    };
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0]
            .ends_with("test.proto:6: M.f: bytes has no counterpart: use string and send base64")
    );
    assert!(
        lines[1].contains("test.proto:9: N.b: bool has no counterpart: use uint32"),
        "{text}"
    );
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    for (name, text) in [
        (
            "syntax",
            "syntax = \"proto3\";\nmessage M {\n  string = 1;\n}\n",
        ),
        (
            "type",
            "syntax = \"proto3\";\nmessage M {\n  Missing m = 1;\n}\n",
        ),
        (
            "import",
            "syntax = \"proto3\";\n\nimport \"missing.proto\";\n",
        ),
    ] {
        let Err(ConvertError::Compile(message)) = convert_text(&format!("bad-{name}"), text) else {
            panic!("{name}: a compile error expected");
        };
        assert!(message.contains("test.proto:3:"), "{name}: {message}");
    }
    let missing = convert([format!("{DATA}/missing.proto")], [DATA]);
    assert!(
        matches!(missing, Err(ConvertError::Compile(_))),
        "{missing:?}"
    );
}

#[test]
fn no_routes() {
    let result = convert_text(
        "none",
        "syntax = \"proto3\";\nmessage M { string s = 1; }\n",
    );
    assert_eq!(result, Err(ConvertError::NoRoutes));
}

#[test]
fn encoded_responses_are_noted() {
    let converted = convert_fields("response", "option (pomelo.server) = \"a.b.c\";", "").unwrap();
    let cautions: Vec<_> = converted.notes.iter().map(|note| &note.caution).collect();
    assert_eq!(cautions, [&Caution::ResponseRoute("a.b.c".into())]);
    assert_eq!(
        converted.server,
        json!({ "a.b.c": Value::Object(Default::default()) })
    );
}
