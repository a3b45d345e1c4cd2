//! The choice of a server, signatures, and the formats of the other connectors.

use pomelo_protocol::crypto::{PublicKey, SIGNATURE_MEMBER};
use pomelo_protocol::mqtt::{Publish, Qos};
use pomelo_protocol::{crc32, socketio};
use serde_json::Value;

use super::Check;
use super::js;
use super::values::{REFUSED, text};

pub(crate) fn crc32(vector: &Value) -> Vec<Check> {
    let key = text(vector, "input");
    let hash = crc32::crc32(key);
    let mut checks = vec![
        Check::new("int32", vector["int32"].to_string(), hash.to_string()),
        Check::new("hex", text(vector, "uint32hex"), format!("{hash:08x}")),
    ];
    for (servers, index) in vector["index"].as_object().unwrap() {
        let ours = crc32::index(key, servers.parse().unwrap()).unwrap();
        checks.push(Check::new("index", index.to_string(), ours.to_string()));
    }
    checks
}

pub(crate) fn sio_request(vector: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(input) = vector.get("input") {
        let route = match &input["route"] {
            Value::String(route) => route.clone(),
            repeat => {
                let repeat = &repeat["$repeat"];
                let count = usize::try_from(repeat["count"].as_u64().unwrap()).unwrap();
                text(repeat, "text").repeat(count)
            }
        };
        let request = socketio::Request {
            id: u32::try_from(input["id"].as_u64().unwrap()).unwrap(),
            route: &route,
            body: &input["body"].to_string(),
        };
        let original = vector["text"].as_str().unwrap_or(REFUSED);
        let ours = request.encode().unwrap_or_else(|_| REFUSED.into());
        checks.push(Check::new("encode", original, ours));
    }
    if let Some(units) = vector["utf16"].as_str() {
        let units = units.split_whitespace();
        let units = units.map(|unit| u16::from_str_radix(unit, 16).unwrap());
        let received: String = char::decode_utf16(units).map(Result::unwrap).collect();
        let decoded = &vector["decoded"];
        let original = match decoded.get("ok") {
            Some(request) => {
                let (id, body) = (&request["id"], &request["body"]);
                format!("{id} {} {body}", text(request, "route"))
            }
            None => {
                assert!(decoded.get("throws").is_some(), "no outcome");
                REFUSED.into()
            }
        };
        let ours = socketio::Request::decode(&received)
            .ok()
            .and_then(|request| {
                let body: Value = serde_json::from_str(request.body).ok()?;
                Some(format!("{} {} {body}", request.id, request.route))
            });
        checks.push(Check::new(
            "decode",
            original,
            ours.unwrap_or_else(|| REFUSED.into()),
        ));
    }
    checks
}

pub(crate) fn sio_send(vector: &Value) -> Vec<Check> {
    let input = &vector["input"];
    let ours = if let Some(batch) = input["batch"].as_array() {
        let texts: Vec<_> = batch
            .iter()
            .map(|message| match message["push"].as_str() {
                Some(route) => socketio::push(route, &message["body"]).unwrap(),
                None => response(&message["response"], &message["body"]),
            })
            .collect();
        socketio::batch(texts.iter().map(String::as_str))
    } else if let Some(reason) = input.get("kick") {
        socketio::kick(reason.as_str())
    } else if input["reqId"].as_u64().is_some_and(|id| id != 0) {
        response(&input["reqId"], &input["body"])
    } else {
        socketio::push(text(input, "route"), &input["body"]).unwrap()
    };
    vec![Check::new("text", text(vector, "text"), ours)]
}

fn response(id: &Value, body: &Value) -> String {
    let body = body.get("$undefined").is_none().then_some(body);
    let id = u32::try_from(id.as_u64().unwrap()).unwrap();
    socketio::response(id, body).unwrap()
}

pub(crate) fn mqtt_publish(vector: &Value) -> Vec<Check> {
    let original = match vector["hex"].as_str() {
        Some(hex) => hex.to_owned(),
        None => {
            assert!(vector["result"]["ok"].is_null(), "no outcome");
            REFUSED.into()
        }
    };
    let packet = publish(&vector["input"]);
    let mut out = Vec::new();
    let written = packet
        .as_ref()
        .and_then(|packet| packet.write(&mut out).ok());
    let ours = written.map_or_else(|| REFUSED.into(), |()| js::hex(&out));
    let mut checks = vec![Check::new("encode", original, ours)];
    if let (Some(packet), Some(hex)) = (packet, vector["hex"].as_str()) {
        let bytes = js::bytes(hex);
        let mut input = bytes.as_slice();
        let back = Publish::split_from(&mut input, 1 << 20);
        checks.push(Check::new(
            "decode",
            format!("{:?}", Ok::<_, ()>(Some(packet))),
            format!("{:?}", back.map_err(drop)),
        ));
        assert!(input.is_empty());
    }
    checks
}

/// The packet that JavaScript's members mean; `None` when they cannot be said in Rust.
fn publish(input: &Value) -> Option<Publish<'_>> {
    let payload = match &input["payload"] {
        Value::Null => "",
        payload => payload.as_str()?,
    };
    let id = || u16::try_from(input["messageId"].as_u64()?).ok();
    let qos = match input["qos"].as_u64().unwrap_or_default() {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce(id()?),
        2 => Qos::ExactlyOnce(id()?),
        _ => return None,
    };
    Some(Publish {
        qos,
        dup: input["dup"] == true,
        retain: input["retain"] == true,
        ..Publish::new(input["topic"].as_str()?, payload.as_bytes())
    })
}

pub(crate) fn crypto(vector: &Value) -> Vec<Check> {
    let key = PublicKey::from_handshake(&vector["key"]);
    let mut body = serde_json::from_str(text(vector, "bodyText")).unwrap();
    let accepted = key.is_some_and(|key| key.verify(&mut body));
    body.shift_remove(SIGNATURE_MEMBER);
    let signed = serde_json::to_string(&body).unwrap();
    vec![
        Check::new("text", text(vector, "signedText"), signed),
        Check::new(
            "accepted",
            vector["accepted"].to_string(),
            accepted.to_string(),
        ),
    ]
}
