//! Packages, messages, dictionaries and handshakes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::package::MAX_BODY_LEN;
use pomelo_protocol::protobuf::Protos;
use pomelo_protocol::{
    Dictionary, Frame, Instant, Message, MessageHead, PackageDecoder, PackageKind, PackageRef,
    ProtosOffer, RequestId, RouteCode, ServerConnection, ServerEvent, ServerSettings, WireRoute,
};
use serde_json::{Value, json};

use super::Check;
use super::js;
use super::values::{REFUSED, bytes, encoded, shown, shown_value, text};

pub(crate) fn package_encode(vector: &Value) -> Vec<Check> {
    let input = &vector["input"];
    let kind = u8::try_from(input["type"].as_u64().unwrap())
        .ok()
        .and_then(|byte| PackageKind::from_byte(byte).ok());
    let frame = kind.and_then(|kind| Frame::new(kind, &bytes(&input["body"])).ok());
    let ours = frame.map_or_else(|| REFUSED.into(), |frame| shown(frame.as_bytes()));
    vec![Check::new("encode", encoded(vector), ours)]
}

pub(crate) fn package_decode(vector: &Value) -> Vec<Check> {
    let input = js::bytes(text(vector, "hex"));
    let result = &vector["result"]["ok"];
    let original = match result.as_array() {
        Some(list) => list.clone(),
        None => vec![result.clone()],
    };
    let original: Vec<_> = original
        .iter()
        .map(|package| {
            shown_package(
                package["type"].as_u64().unwrap(),
                &shown_value(&package["body"]),
            )
        })
        .collect();
    vec![
        Check::new("message", original.concat(), whole(&input)),
        // The stream decoder, byte by byte, sees what the slice decoder sees; it alone may wait.
        Check::new("stream", slice(&input), stream(&input)),
    ]
}

fn shown_package(kind: u64, body: &str) -> String {
    format!("[{kind} {body}]")
}

fn max() -> u32 {
    u32::try_from(MAX_BODY_LEN).unwrap()
}

fn whole(input: &[u8]) -> String {
    let seen = slice(input);
    // What waits for more in a stream is cut off in a message.
    seen.strip_suffix(" waits")
        .map_or_else(|| seen.clone(), |packages| format!("{packages} cut"))
}

fn slice(mut input: &[u8]) -> String {
    let mut seen = String::new();
    loop {
        match PackageRef::split_from(&mut input, max()) {
            Ok(Some(package)) => {
                seen += &shown_package(package.kind as u64, &shown(package.body));
            }
            Ok(None) if input.is_empty() => return seen,
            Ok(None) => return seen + " waits",
            Err(error) => return format!("{seen} {error}"),
        }
    }
}

fn stream(input: &[u8]) -> String {
    let mut seen = String::new();
    let mut decoder = PackageDecoder::new(max());
    for &byte in input {
        decoder.push(Bytes::copy_from_slice(&[byte]));
        loop {
            match decoder.next_package() {
                Ok(Some(package)) => {
                    seen += &shown_package(package.kind as u64, &shown(&package.body));
                }
                Ok(None) => break,
                Err(error) => return format!("{seen} {error}"),
            }
        }
    }
    if decoder.buffered() > 0 {
        seen += " waits";
    }
    seen
}

pub(crate) fn message_encode(vector: &Value) -> Vec<Check> {
    let input = &vector["input"];
    let body = match input["bodyText"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => bytes(&input["body"]),
    };
    let ours = message_head(input).and_then(|head| {
        let mut out = Vec::new();
        head.write(&mut out, input["compressGzip"] == 1).ok()?;
        out.extend_from_slice(&body);
        Some(out)
    });
    let shown_ours = ours
        .as_ref()
        .map_or_else(|| REFUSED.into(), |out| shown(out));
    let mut checks = vec![Check::new("encode", encoded(vector), shown_ours)];
    if let Some(decoded) = vector.get("decoded") {
        let encoded = match vector["hex"].as_str() {
            Some(hex) => js::bytes(hex),
            None => ours.unwrap_or_default(),
        };
        checks.push(Check::new(
            "decode",
            shown_result(decoded),
            decoded_message(&encoded),
        ));
    }
    checks
}

/// The head that JavaScript's arguments mean; `None` when they cannot be said in Rust.
fn message_head(input: &Value) -> Option<MessageHead<'_>> {
    let id = || Some(RequestId::new(input["id"].as_u64()?));
    let route = || match (&input["route"], input["compressRoute"] == 1) {
        (Value::String(name), false) => Some(WireRoute::from(name.as_str())),
        (Value::Null, false) => Some(WireRoute::from("")),
        (Value::Number(code), true) => {
            let code = u16::try_from(code.as_u64()?).ok()?;
            Some(WireRoute::Code(RouteCode::new(code)?))
        }
        _ => None,
    };
    Some(match input["type"].as_u64()? {
        0 => MessageHead::Request {
            id: id()?,
            route: route()?,
        },
        1 => MessageHead::Notify { route: route()? },
        2 => MessageHead::Response {
            id: id()?,
            error: false,
        },
        3 => MessageHead::Push { route: route()? },
        _ => return None,
    })
}

pub(crate) fn message_decode(vector: &Value) -> Vec<Check> {
    let ours = decoded_message(&js::bytes(text(vector, "hex")));
    vec![Check::new("decode", shown_result(&vector["result"]), ours)]
}

fn shown_result(result: &Value) -> String {
    match result.get("ok") {
        Some(message) => shown_message(
            &message["type"],
            &message["id"],
            &message["compressRoute"],
            &message["route"],
            &message["compressGzip"],
            &shown_value(&message["body"]),
        ),
        None => {
            assert!(result.get("throws").is_some(), "no outcome");
            REFUSED.into()
        }
    }
}

fn shown_message(
    kind: &Value,
    id: &Value,
    coded: &Value,
    route: &Value,
    compressed: &Value,
    body: &str,
) -> String {
    // A response has no route, whatever its bit says.
    let coded = if route.is_null() { &Value::Null } else { coded };
    format!("type {kind} id {id} code {coded} route {route} gzip {compressed} body {body}")
}

fn decoded_message(data: &[u8]) -> String {
    let Ok(message) = Message::decode(data) else {
        return REFUSED.into();
    };
    let number = |id: &Option<RequestId>| id.map_or(0, RequestId::get);
    let (id, route) = match &message.head {
        MessageHead::Request { id, route } => (number(id), Some(route)),
        MessageHead::Notify { route } | MessageHead::Push { route } => (0, Some(route)),
        MessageHead::Response { id, .. } => (number(id), None),
    };
    let (coded, route) = match route {
        Some(WireRoute::Name(name)) => (json!(0), json!(name.to_str())),
        Some(WireRoute::Code(code)) => (json!(1), json!(code.get())),
        None => (Value::Null, Value::Null),
    };
    shown_message(
        &json!(message.head.kind() as u8),
        &json!(id),
        &coded,
        &route,
        &json!(u8::from(message.compressed)),
        &shown(message.body),
    )
}

pub(crate) fn dictionary(vector: &Value) -> Vec<Check> {
    let dictionary = build_dictionary(&vector["handlers"], &vector["userDictionary"]);
    vec![
        Check::new("dictText", text(vector, "dictText"), dictionary.dict_text()),
        Check::new(
            "codeToRouteText",
            text(vector, "codeToRouteText"),
            dictionary.code_to_route_text(),
        ),
        Check::new("version", text(vector, "version"), dictionary.version()),
    ]
}

/// `handlers` is `{serverType: {handler: [methods]}}`; `user` a list, or anything else for none.
pub(crate) fn build_dictionary(handlers: &Value, user: &Value) -> Dictionary {
    let mut routes = Vec::new();
    for (server, handlers) in handlers.as_object().unwrap() {
        for (handler, methods) in handlers.as_object().unwrap() {
            for method in methods.as_array().unwrap() {
                routes.push(format!("{server}.{handler}.{}", method.as_str().unwrap()));
            }
        }
    }
    let user = user.as_array().map(Vec::as_slice).unwrap_or_default();
    Dictionary::build(
        routes.iter().map(String::as_str),
        user.iter().map(|route| route.as_str().unwrap()),
    )
    .unwrap()
}

pub(crate) fn handshake(fixture: &Value, vector: &Value) -> Vec<Check> {
    let options = &vector["options"];
    let mut settings = ServerSettings::default();
    settings.offer.heartbeat = options["heartbeat"].as_f64().map(Duration::from_secs_f64);
    if options["useDict"] == true {
        let dictionary = build_dictionary(&fixture["handlers"], &fixture["userDictionary"]);
        settings.offer.dictionary = Some(dictionary);
    }
    if options["useProtobuf"] == true {
        let protos = |side: &str| Protos::parse(&fixture[side]).unwrap();
        let offer = ProtosOffer::dialect(protos("clientProtos"), protos("serverProtos"));
        settings.offer.protos = Some(offer);
    }
    if text(vector, "name").starts_with("decodeIO plugin") {
        // The plugin is no option of the connector; these vectors say so in their names only.
        settings.offer.protos = Some(ProtosOffer::Descriptors {
            client: json!({"messages": []}),
            server: json!({"messages": []}),
            version: 1_400_000_000_000,
        });
    }

    let now = Instant::default();
    let mut server = ServerConnection::new(now, Arc::new(settings));
    server.handle_data(now, js::bytes(text(vector, "requestHex")).into());
    let (mut public_key, mut closed) = (String::new(), false);
    while let Some(event) = server.poll_event() {
        match event {
            ServerEvent::Handshake(request) => {
                let refuses = options["checkClient"]
                    .as_str()
                    .is_some_and(|check| check.starts_with("false"));
                if options["useCrypto"] == true {
                    let key = request.sys("rsa").unwrap();
                    public_key = format!("key {key} ");
                }
                match options["handshake"].as_str() {
                    _ if refuses => server.reject(now, 501),
                    None | Some("answers nothing") => server.accept(now, None),
                    Some("answers an error") => server.reject(now, 500),
                    Some("answers the string \"hi\"") => server.accept(now, Some(&json!("hi"))),
                    Some("answers {welcome: user.name}") => {
                        let name = &request.user().unwrap()["name"];
                        server.accept(now, Some(&json!({"welcome": name})));
                    }
                    Some(other) => panic!("unknown handshake function {other}"),
                }
            }
            ServerEvent::Closed(_) => closed = true,
            other => panic!("unexpected {other:?}"),
        }
    }
    let mut ours = public_key;
    while let Some(frame) = server.poll_transmit() {
        ours += &format!("send {} ", shown(frame.as_bytes()));
    }
    if closed {
        ours += "close ";
    }
    let original: String = vector["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(
            |event| match event.as_object().unwrap().iter().next().unwrap() {
                (name, Value::String(hex)) if name == "send" => {
                    format!("send {} ", shown(&js::bytes(hex)))
                }
                (name, Value::Bool(true)) if name == "close" => "close ".to_owned(),
                (name, key) if name == "setPubKey" => format!("key {key} "),
                other => panic!("unknown event {other:?}"),
            },
        )
        .collect();
    vec![Check::new("events", original, ours)]
}
