//! What must hold for any bytes at all: one function per fuzz target.
//!
//! `fuzz/` calls these with bytes of its own making, and the tests below with the corpora that
//! are kept there. Every function asserts invariants; that nothing panics comes with it.

mod connection;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::codec::Codec;
use crate::dictionary::Dictionary;
use crate::error::{DecodeError, EncodeError};
use crate::handshake::{HandshakeRequest, HandshakeResponse, Offer, ProtosOffer, Tables};
use crate::message::Message;
use crate::package::{Frame, Package, PackageDecoder, PackageRef, write_package};
use crate::protobuf::{EncodeErrorKind, Limits, Protos};

pub use connection::connection_ops;

/// Decisions taken off the front of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// `limit(1) cuts(1) stream`: however a stream is cut, its packages and its error are the same.
pub fn package(data: &[u8]) {
    let mut input = Input(data);
    let max_body = u32::from(input.byte().unwrap_or(0)) << 4;
    let cuts = input.byte().unwrap_or(0);
    let stream = input.0;

    let whole = stream_packages(max_body, [stream].into_iter(), true);
    for eager in [true, false] {
        let cut = stream_packages(max_body, Cuts::new(stream, cuts), eager);
        assert_eq!(whole, cut, "cut {cuts}, eager {eager}");
    }

    let mut rest = stream;
    let mut encoded = Vec::new();
    for package in &whole.packages {
        let borrowed = PackageRef::split_from(&mut rest, max_body);
        let borrowed = borrowed.expect("the decoder took it").expect("it is whole");
        assert_eq!(
            (borrowed.kind, borrowed.body),
            (package.kind, &*package.body)
        );
        write_package(&mut encoded, package.kind, |out| {
            out.extend_from_slice(&package.body);
            Ok::<_, EncodeError>(())
        })
        .expect("what was received can be sent");
        let frame = Frame::new(package.kind, &package.body).expect("it can be sent");
        assert!(encoded.ends_with(frame.as_bytes()));
        assert!(frame.as_websocket().ends_with(frame.as_bytes()));
    }
    let before = rest;
    assert_eq!(
        PackageRef::split_from(&mut rest, max_body),
        whole.error.map_or(Ok(None), Err)
    );
    assert_eq!(rest, before, "nothing is taken of what is not whole");
    assert_eq!(stream.strip_suffix(rest), Some(&*encoded));
    assert_eq!(
        whole.buffered,
        if whole.error.is_some() { 0 } else { rest.len() }
    );
}

#[derive(Debug, PartialEq)]
struct Decoded {
    packages: Vec<Package>,
    error: Option<DecodeError>,
    buffered: usize,
}

fn stream_packages<'a>(
    max_body: u32,
    chunks: impl Iterator<Item = &'a [u8]>,
    eager: bool,
) -> Decoded {
    let mut decoder = PackageDecoder::new(max_body);
    let mut packages = Vec::new();
    let mut error = None;
    let mut pull = |decoder: &mut PackageDecoder| {
        loop {
            match decoder.next_package() {
                Ok(Some(package)) => packages.push(package),
                Ok(None) => break,
                Err(found) => {
                    assert!(error.is_none_or(|earlier| earlier == found));
                    assert_eq!(decoder.buffered(), 0);
                    error = Some(found);
                    break;
                }
            }
        }
    };
    for (index, chunk) in chunks.enumerate() {
        let most = decoder.buffered() + chunk.len();
        let mut rest = chunk;
        if index % 2 == 1 {
            decoder.push_rest(&mut rest);
        }
        decoder.push(Bytes::copy_from_slice(rest));
        assert!(decoder.buffered() <= most);
        if eager || index % 3 == 2 {
            pull(&mut decoder);
        }
    }
    pull(&mut decoder);
    Decoded {
        packages,
        error,
        buffered: decoder.buffered(),
    }
}

/// Cuts of 1 to `cuts` + 1 bytes, by a small generator.
struct Cuts<'a> {
    rest: &'a [u8],
    cuts: usize,
    state: usize,
}

impl<'a> Cuts<'a> {
    fn new(rest: &'a [u8], cuts: u8) -> Self {
        Self {
            rest,
            cuts: usize::from(cuts),
            state: usize::from(cuts),
        }
    }
}

impl<'a> Iterator for Cuts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state = self.state.wrapping_mul(25_173).wrapping_add(13_849) % 65_536;
        let len = 1 + self.state % (self.cuts + 1);
        let (chunk, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        Some(chunk)
    }
}

/// A message: head and body cover the input, and what was decoded is what its encoding decodes to.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::decode(data) else {
        return;
    };
    let head = data
        .strip_suffix(message.body)
        .expect("the body is the end of the message");

    let mut encoded = Vec::new();
    message
        .head
        .write(&mut encoded, message.compressed)
        .expect("what was received can be sent");
    // Ids may be padded and flags may have bits that mean nothing; the encoder does neither.
    assert!(encoded.len() <= head.len());
    if let ([flag, encoded @ ..], [given, head @ ..]) = (&*encoded, head) {
        assert_eq!(flag & !given, 0);
        assert!(encoded.len() < head.len() || encoded == head);
    }
    encoded.extend_from_slice(message.body);
    assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));

    const MAX_INFLATED: usize = 4096;
    let codec = Codec {
        max_inflated: MAX_INFLATED,
        ..Codec::default()
    };
    let raw = Bytes::copy_from_slice(message.body);
    let body = codec.body("a.b.c", raw.clone(), message.compressed);
    if let Ok(plain) = body.bytes() {
        assert!(plain.len() <= MAX_INFLATED.max(raw.len()));
        assert!(message.compressed || plain == raw);
        let strict = body.decode::<Value>().ok();
        let lenient = body.decode_or_empty::<Value>().expect("{} is a value");
        assert!(strict.is_none_or(|value| value == lenient || lenient == json!({})));
    }
}

/// Schemas for inputs that bring none: every kind of field, recursion, and the types of pinus.
const SCHEMAS: [&str; 4] = [
    r#"{"m":{"optional uInt32 u":1,"optional int32 i":2,"optional sInt32 s":3,
        "optional float f":4,"optional double d":5,"optional string t":6}}"#,
    r#"{"m":{"repeated uInt32 u":1,"repeated sInt32 s":2,"repeated float f":3,
        "repeated double d":4,"repeated string t":5,
        "message P":{"required uInt32 x":1,"optional string n":2},"repeated P p":6}}"#,
    r#"{"message G":{"optional G g":1,"repeated G l":2,"optional uInt32 n":3},
        "m":{"optional G g":1,"repeated G l":300}}"#,
    r#"{"m":{"optional uInt64 u":1,"optional sInt64 s":2,"optional bool b":3,
        "repeated bool bs":4,"repeated uInt64 us":5}}"#,
];

/// `schema 00 body`, the schema as JSON text or else a byte that picks one: what decodes stays
/// within the limits, and encoding it comes to rest after one round.
pub fn protobuf(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let schema = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let Some(protos) = schemas(schema) else {
        return;
    };
    let Some(message) = protos
        .routes()
        .next()
        .and_then(|route| protos.message(route))
    else {
        return;
    };
    let limits = Limits::default()
        .max_depth(MAX_DEPTH)
        .max_elements(MAX_ELEMENTS);
    let Ok(value) = message.decode_with::<Value>(body, limits) else {
        return;
    };
    assert!(depth(&value) <= 2 * MAX_DEPTH);
    assert!(leaves(&value) <= MAX_ELEMENTS);

    let mut encoded = b"before".to_vec();
    if let Err(error) = message.encode(&value, &mut encoded) {
        // Decoding asks for no required field, and integers beyond 2^53 only ever come in.
        assert!(!matches!(error.kind(), EncodeErrorKind::TooDeep), "{error}");
        assert_eq!(encoded, b"before");
        return;
    }
    let encoded = encoded.split_off(b"before".len());
    let again: Value = message
        .decode_with(&encoded, limits)
        .expect("what was encoded decodes");
    if !has_holes(&value) {
        assert_eq!(again, value);
    }
    let mut twice = Vec::new();
    message
        .encode(&again, &mut twice)
        .expect("what was encoded once is encoded again");
    assert_eq!(twice, encoded);
}

const MAX_DEPTH: usize = 16;
const MAX_ELEMENTS: usize = 2048;

fn schemas(text: &[u8]) -> Option<Protos> {
    if let [pick] = text {
        return Protos::parse_str(SCHEMAS.get(usize::from(*pick) % SCHEMAS.len())?).ok();
    }
    let file: Value = serde_json::from_slice(text).ok()?;
    let protos = Protos::parse(&file)
        .or_else(|_| Protos::from_parsed(&file))
        .ok()?;
    let sent: Value = serde_json::from_str(protos.parsed_text()).expect("the parsed form is JSON");
    let received = Protos::from_parsed(&sent).expect("what a server sends a client takes");
    assert_eq!(received.parsed(), protos.parsed());
    Some(protos)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(leaves).sum(),
        Value::Object(members) => members.values().map(leaves).sum(),
        _ => 1,
    }
}

/// Numbers that JSON does not have read as null, and empty lists are not written: neither comes
/// back.
fn has_holes(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty() || items.iter().any(has_holes),
        Value::Object(members) => members.values().any(has_holes),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A JSON document taken for a request, for a response, and for the user data of an offer: what
/// the server offers is what the client ends up with, sent or kept.
pub fn handshake(data: &[u8]) {
    if let Ok(request) = HandshakeRequest::parse(data) {
        let again = HandshakeRequest::parse(request.to_text().as_bytes());
        assert_eq!(again.as_ref(), Ok(&request));
        offered(&request);
    }
    if let Ok(response) = HandshakeResponse::parse(data) {
        kept(response);
    }
}

fn offered(request: &HandshakeRequest) {
    let dictionary =
        Dictionary::build(["connector.entryHandler.entry"], ["onChat"]).expect("two short routes");
    let protos = Protos::parse_str(SCHEMAS[0]).expect("a fixed schema");
    let offer = Offer {
        heartbeat: Some(core::time::Duration::from_secs(3)),
        dictionary: Some(dictionary.clone()),
        protos: Some(ProtosOffer::dialect(protos.clone(), protos.clone())),
    };
    let version = crate::protobuf::version(&protos, &protos);
    // A stranger may claim to have tables that it does not have.
    let claims = request
        .dict_version()
        .is_some_and(|kept| kept == dictionary.version())
        || request.proto_version().is_some_and(|kept| *kept == version);

    let mut tables = Tables::default();
    for round in 0..2 {
        let announced = tables.announce(request.clone());
        let text = offer.response_text(&announced, request.user());
        let mut response =
            HandshakeResponse::parse(text.as_bytes()).expect("a client reads what a server sends");
        assert_eq!(response.code, 200);
        assert_eq!(response.heartbeat, offer.heartbeat);
        assert!(response.use_dict && response.use_proto);
        let user = request.user().filter(|user| crate::json::is_truthy(user));
        assert_eq!(response.user.as_ref(), user);
        if claims {
            return;
        }
        // A `sys` that is no object has no room for versions: everything is sent again.
        if round == 1 && announced.sys("dictVersion").is_some() {
            assert!(response.dictionary.is_none() && response.protos.is_none());
        }
        let (agreed, schemas) = tables.agree(&mut response);
        assert!(agreed.as_ref() == Some(&dictionary));
        let schemas = schemas.expect("they were offered");
        assert_eq!(schemas.client.parsed(), protos.parsed());
        assert_eq!(schemas.server.parsed(), protos.parsed());
    }
}

fn kept(mut response: HandshakeResponse) {
    let day = core::time::Duration::from_hours(24);
    assert!(
        response
            .heartbeat
            .is_none_or(|interval| !interval.is_zero() && interval <= day)
    );
    assert!(response.use_dict || response.dictionary.is_none());
    assert!(response.use_proto || response.protos.is_none());

    let mut tables = Tables::default();
    let (dictionary, protos) = tables.agree(&mut response);
    let announced = tables.announce(HandshakeRequest::new("fuzz", "1"));
    let kept_dictionary = announced.dict_version().is_some();
    let kept_protos = announced.proto_version().is_some();

    // The same server once more, which need not send what it sent before.
    let text = json!({"code": 200, "sys": {"useDict": true, "useProto": true}}).to_string();
    let mut short = HandshakeResponse::parse(text.as_bytes()).expect("a short response");
    let (dictionary_again, protos_again) = tables.agree(&mut short);
    assert_eq!(dictionary_again.is_some(), kept_dictionary);
    assert!(!kept_dictionary || dictionary_again == dictionary);
    assert_eq!(protos_again.is_some(), kept_protos);
    if let (Some(again), Some(protos)) = (protos_again, protos) {
        assert_eq!(again.client.parsed(), protos.client.parsed());
        assert_eq!(again.server.parsed(), protos.server.parsed());
    }

    // A dictionary that came over the wire, offered on.
    if let Some(dictionary) = dictionary {
        let offer = Offer {
            dictionary: Some(dictionary.clone()),
            ..Offer::default()
        };
        let text = offer.response_text(&HandshakeRequest::new("fuzz", "1"), None);
        let response = HandshakeResponse::parse(text.as_bytes()).expect("an offer is readable");
        let (again, version) = response.dictionary.expect("it was offered");
        assert_eq!(again.version(), dictionary.version());
        assert_eq!(version, Some(Value::from(dictionary.version())));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Replays every file of `fuzz/corpus/NAME`. The corpora are not part of the published crate.
    fn replay(name: &str, target: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        if !root.exists() {
            return;
        }
        let mut files = 0;
        for entry in std::fs::read_dir(root.join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let replayed = std::panic::catch_unwind(|| target(&data));
            assert!(replayed.is_ok(), "see above: {}", path.display());
            files += 1;
        }
        assert!(files > 0, "the corpus of {name} is empty");
    }

    #[test]
    fn package_corpus() {
        replay("package", super::package);
    }

    #[test]
    fn message_corpus() {
        replay("message", super::message);
    }

    #[test]
    fn protobuf_corpus() {
        replay("protobuf", super::protobuf);
    }

    #[test]
    fn handshake_corpus() {
        replay("handshake", super::handshake);
    }

    #[test]
    fn connection_ops_corpus() {
        replay("connection_ops", super::connection_ops);
    }
}
