//! The protobuf dialect: schemas, bodies, integers and versions.

use pomelo_protocol::protobuf::{Protos, SchemaErrorKind, version};
use serde_json::{Value, json};

use super::Check;
use super::js::{Js, bytes, hex};
use super::values::{REFUSED, text};

const NO_SCHEMA: &str = "no schema";

/// A schema of the file's. What we refuse as a file stands in its parsed form.
fn schema(file: &Value, name: &str) -> Protos {
    Protos::parse(&file["schemas"][name]).unwrap_or_else(|error| {
        assert!(
            matches!(error.kind(), SchemaErrorKind::UnknownType(_)),
            "{error}"
        );
        let parsed = file["vectors"]
            .as_array()
            .unwrap()
            .iter()
            .find(|vector| vector["kind"] == "protobuf.parse" && vector["schema"] == name)
            .unwrap();
        from_text(text(parsed, "parsedText"))
    })
}

fn from_text(parsed: &str) -> Protos {
    Protos::from_parsed(&serde_json::from_str::<Value>(parsed).unwrap()).unwrap()
}

pub(crate) fn parse(file: &Value, vector: &Value) -> Vec<Check> {
    let original = text(vector, "parsedText");
    let ours = match Protos::parse(&file["schemas"][text(vector, "schema")]) {
        Ok(protos) => protos.parsed_text().to_owned(),
        Err(error) => format!("{REFUSED}: {error}"),
    };
    let from_parsed = from_text(original);
    vec![
        Check::new("file", original, ours),
        Check::new("parsed", original, from_parsed.parsed_text()),
        Check::new("value", original, from_parsed.parsed().to_string()),
    ]
}

pub(crate) fn encode(file: &Value, vector: &Value) -> Vec<Check> {
    let protos = schema(file, text(vector, "schema"));
    let route = text(vector, "route");
    let ours = encoded(&protos, route, &Js::from_vector(&vector["message"]));
    let original = match vector["hex"].as_str() {
        Some(hex) => hex.to_owned(),
        None if route == "nosuch" => NO_SCHEMA.into(),
        // The original answers null where it then sends an empty body.
        None => result(&vector["result"], |null| {
            assert!(null.is_null());
            String::new()
        }),
    };
    let mut checks = vec![Check::new("encode", original, ours)];
    let Some(body) = vector["hex"].as_str() else {
        return checks;
    };
    let meaning = result(&vector["decoded"], |value| {
        Js::from_vector(value).to_string()
    });
    let ours = decoded(&protos, route, body);
    checks.push(Check::new("decode", &*meaning, ours));
    // Browsers write wire type 2 for integers and CESU-8 for emoji, and mean the same.
    if let Some(body) = vector["clientBuild"]["hex"].as_str() {
        checks.push(Check::new(
            "browser",
            meaning,
            decoded(&protos, route, body),
        ));
    }
    checks
}

pub(crate) fn decode(file: &Value, vector: &Value) -> Vec<Check> {
    let protos = schema(file, text(vector, "schema"));
    let route = text(vector, "route");
    let original = match route {
        "nosuch" => NO_SCHEMA.into(),
        _ => result(&vector["result"], |value| {
            Js::from_vector(value).to_string()
        }),
    };
    let ours = decoded(&protos, route, text(vector, "hex"));
    vec![Check::new("decode", original, ours)]
}

fn encoded(protos: &Protos, route: &str, message: &Js) -> String {
    let Some(schema) = protos.message(route) else {
        return NO_SCHEMA.into();
    };
    let mut out = b"before".to_vec();
    let encoded = schema.encode(message, &mut out);
    let (before, body) = out.split_at(6);
    assert_eq!(before, b"before");
    match encoded {
        Ok(()) => hex(body),
        Err(_) => {
            assert!(body.is_empty(), "an error leaves the buffer as it was");
            REFUSED.into()
        }
    }
}

fn decoded(protos: &Protos, route: &str, body: &str) -> String {
    match protos.message(route) {
        Some(schema) => schema
            .decode::<Js>(&bytes(body))
            .map_or_else(|_| REFUSED.into(), |value| value.to_string()),
        None => NO_SCHEMA.into(),
    }
}

/// The original's answer: `ok`'s text, or a refusal.
fn result(result: &Value, ok: impl Fn(&Value) -> String) -> String {
    match result.get("ok") {
        Some(value) => ok(value),
        None => {
            assert!(
                result.get("throws").is_some() || result.get("hangs").is_some(),
                "no outcome"
            );
            REFUSED.into()
        }
    }
}

pub(crate) fn varint(kind: &str, vector: &Value) -> Vec<Check> {
    let protos = Protos::parse(&json!({
        "varint.uint": { "optional uInt32 v": 1 },
        "varint.sint": { "optional sInt32 v": 1 },
    }))
    .unwrap();
    let object = |value: &Value| Js::Object(vec![("v".into(), Js::from_vector(value))]);
    let ours = encoded(&protos, kind, &object(&vector["input"]));
    let Some(hex) = vector["hex"].as_str() else {
        return vec![Check::new("encode", REFUSED, ours)];
    };
    let body = format!("08{hex}");
    let meaning = object(&vector["decoded"]).to_string();
    let back = decoded(&protos, kind, &body);
    vec![
        Check::new("encode", body, ours),
        Check::new("decode", meaning, back),
    ]
}

pub(crate) fn protos_version(vector: &Value) -> Vec<Check> {
    let protos = |side: &str| match &vector[format!("{side}Protos")] {
        Value::Null => Protos::default(),
        file => Protos::parse(file).unwrap_or_else(|error| {
            assert!(
                matches!(error.kind(), SchemaErrorKind::UnknownType(_)),
                "{error}"
            );
            from_text(text(vector, &format!("{side}Text")))
        }),
    };
    let (client, server) = (protos("client"), protos("server"));
    vec![
        Check::new("client", text(vector, "clientText"), client.parsed_text()),
        Check::new("server", text(vector, "serverText"), server.parsed_text()),
        Check::new(
            "version",
            text(vector, "version"),
            version(&client, &server),
        ),
    ]
}
