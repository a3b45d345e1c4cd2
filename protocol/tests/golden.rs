//! The committed golden vectors, all of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use pomelo_protocol::protobuf::Protos;
use serde_json::Value;

/// Checks one committed file: every vector passes, and every known difference has its vector.
fn check(name: &str) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let report = support::check_file(&std::fs::read_to_string(path).unwrap());
    let failures: Vec<_> = report.failed.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(report.passed > 0);
    assert_eq!(
        report.unused,
        Vec::<String>::new(),
        "differences without a vector"
    );
}

macro_rules! files {
    ($($test:ident $name:literal,)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*
    };
}

files! {
    packages "packages",
    messages "messages",
    dictionary "dictionary",
    handshake "handshake",
    client "client",
    connectors "connectors",
    crc32 "crc32",
    crypto "crypto",
    exchanges "exchanges",
    protobuf "protobuf",
    varint "varint",
    protos_version "protos-version",
}

/// The one schema file that is refused is a good one without its field of unknown type.
#[test]
fn odd_keys_parse_as_in_the_original() {
    let text = include_str!("golden/protobuf.json");
    let mut golden: Value = serde_json::from_str(text).unwrap();
    let odd = &mut golden["schemas"]["odd"]["m"];
    let members = odd.as_object_mut().unwrap();
    members.shift_remove("optional Missing x").unwrap();
    let vectors = golden["vectors"].as_array().unwrap();
    let parse = vectors.iter().find(|v| v["name"] == "parse schema odd");
    let expected = parse.unwrap()["parsedText"]
        .as_str()
        .unwrap()
        .replace(r#""x":{"option":"optional","type":"Missing","tag":4},"#, "")
        .replace(r#""4":"x","#, "");
    let ours = Protos::parse(&golden["schemas"]["odd"]).unwrap();
    assert_eq!(ours.parsed_text(), expected);
}
