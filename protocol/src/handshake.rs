//! The JSON documents that open a connection.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::dictionary::Dictionary;
use crate::gzip;
use crate::json::{self, Json};
use crate::package::{Frame, PackageKind};
use crate::protobuf::{self, Protos};

/// The code of a handshake response that lets the client in.
pub const CODE_OK: u16 = 200;
/// The handshake is malformed or the application refused it.
pub const CODE_REFUSED: u16 = 500;
/// The client is too old (pomelo's `checkClient`).
pub const CODE_OLD_CLIENT: u16 = 501;

/// The most bytes a compressed handshake response (pitaya) may inflate to.
const MAX_RESPONSE: usize = 4 << 20;
/// A heartbeat interval beyond this is not one.
const MAX_HEARTBEAT_SECS: f64 = 86_400.0;
/// 2^53, where doubles cease to tell integers apart.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

/// A handshake document that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The body is not a JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// A request without a truthy `sys`, which pomelo refuses.
    #[error("no member sys")]
    NoSys,
    /// A response without a numeric `code`.
    #[error("no member code")]
    NoCode,
    /// A compressed response is damaged or too large.
    #[error("compressed document does not inflate")]
    Inflate,
    /// The schemas in a response cannot be used.
    #[error("unusable protobuf schemas")]
    Protos,
}

/// What a client says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeRequest<J = Value> {
    sys: J,
    user: Option<J>,
}

impl HandshakeRequest {
    /// The request of a client that calls itself `client_type`, `version`; the browser client of
    /// pomelo is `js-websocket`, `0.0.1`.
    pub fn new(client_type: &str, version: &str) -> Self {
        Self::from_sys(json!({"type": client_type, "version": version}))
    }

    /// Reads the request as pomelo does: anything with a truthy `sys` will do.
    ///
    /// # Errors
    /// [`HandshakeError::NotJson`] and [`HandshakeError::NoSys`]; both are answered with
    /// [`CODE_REFUSED`].
    pub fn parse(body: &[u8]) -> Result<Self, HandshakeError> {
        let document: Document = json::read(body).map_err(|_| HandshakeError::NotJson)?;
        let sys = document.sys.filter(json::is_truthy);
        Ok(Self {
            sys: sys.ok_or(HandshakeError::NoSys)?,
            user: document.user,
        })
    }

    /// `sys.type`, the kind of client, if it is text.
    pub fn client_type(&self) -> Option<&str> {
        self.sys("type")?.as_str()
    }

    /// `sys.version`, if it is text.
    pub fn client_version(&self) -> Option<&str> {
        self.sys("version")?.as_str()
    }

    /// `sys.protoVersion`, the schemas the client has kept; text or, with the decodeIO plugin, a
    /// number.
    pub fn proto_version(&self) -> Option<&Value> {
        self.sys("protoVersion")
    }

    /// `sys.dictVersion`, the dictionary the client has kept.
    pub fn dict_version(&self) -> Option<&Value> {
        self.sys("dictVersion")
    }

    /// Any member of `sys`.
    pub fn sys(&self, name: &str) -> Option<&Value> {
        self.sys.get(name)
    }
}

impl<J: Json> HandshakeRequest<J> {
    /// The request whose member `sys`, which says what the client is, is this object.
    pub const fn from_sys(sys: J) -> Self {
        Self { sys, user: None }
    }

    /// Adds data for the application's handshake function.
    #[must_use]
    pub fn with_user(mut self, user: J) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets a member of `sys`, such as pitaya's `platform` or the browser client's `rsa`.
    #[must_use]
    pub fn with_sys(mut self, name: &str, value: J) -> Self {
        self.sys.set(name, value);
        self
    }

    /// `user`, the data for the application.
    pub const fn user(&self) -> Option<&J> {
        self.user.as_ref()
    }

    /// The JSON text of the document.
    pub fn to_text(&self) -> String {
        let mut text = Vec::from(b"{\"sys\":");
        if self.sys.write(&mut text, false).is_none() {
            text.extend_from_slice(b"{}");
        }
        if let Some(user) = &self.user {
            let end = text.len();
            text.extend_from_slice(b",\"user\":");
            if user.write(&mut text, false).is_none() {
                text.truncate(end);
            }
        }
        text.push(b'}');
        String::from_utf8(text).unwrap_or_default()
    }
}

/// What counts of a request, the last of each name as in JavaScript.
#[derive(Default)]
struct Document {
    sys: Option<Value>,
    user: Option<Value>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Sys,
    User,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut document = Document::default();
                while let Some(member) = map.next_key()? {
                    match member {
                        Member::Sys => document.sys = Some(map.next_value()?),
                        Member::User => document.user = Some(map.next_value()?),
                        Member::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(document)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// What a server offers in the handshake, the same for all its clients.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Offer {
    /// The heartbeat interval; `None` or zero: no heartbeats at all, as pomelo without the
    /// option. Whole seconds are safest: a C client cuts fractions off.
    pub heartbeat: Option<Duration>,
    /// The dictionary of `useDict`.
    pub dictionary: Option<Dictionary>,
    /// The schemas of `useProtobuf` or of the decodeIO plugin.
    pub protos: Option<ProtosOffer>,
}

/// The schemas a server offers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProtosOffer {
    /// pomelo's protobuf dialect; sent when the client's version differs.
    Dialect {
        /// Schemas of bodies from the client.
        client: Protos,
        /// Schemas of bodies to the client.
        server: Protos,
        /// See [`protobuf::version`]; empty when neither schema file exists.
        version: String,
    },
    /// ProtoBuf.js descriptors of pomelo's decodeIO plugin; sent when the client's version is
    /// missing or smaller.
    Descriptors {
        /// Descriptor of bodies from the client.
        client: Value,
        /// Descriptor of bodies to the client.
        server: Value,
        /// Modification time, in milliseconds since 1970.
        version: u64,
    },
}

impl ProtosOffer {
    /// The dialect with the version that pomelo would compute for these schemas.
    pub fn dialect(client: Protos, server: Protos) -> Self {
        let version = protobuf::version(&client, &server);
        Self::Dialect {
            client,
            server,
            version,
        }
    }

    /// Whether the client that has kept this version has these already.
    fn are_kept(&self, kept: Option<&Value>) -> bool {
        let Some(kept) = kept.filter(|version| json::is_truthy(version)) else {
            return false;
        };
        match self {
            Self::Dialect { version, .. } => kept == version.as_str(),
            Self::Descriptors { version, .. } => kept.as_f64().is_some_and(|kept| {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds fit 53 bits")]
                let version = *version as f64;
                kept >= version
            }),
        }
    }

    /// The member `protos`.
    fn text(&self) -> String {
        match self {
            Self::Dialect {
                client,
                server,
                version,
            } => {
                let (server, client) = (server.parsed_text(), client.parsed_text());
                let version = Value::from(version.as_str());
                format!("{{\"server\":{server},\"client\":{client},\"version\":{version}}}")
            }
            Self::Descriptors {
                client,
                server,
                version,
            } => format!("{{\"server\":{server},\"client\":{client},\"version\":{version}}}"),
        }
    }

    /// Whether these are the same schemas, not only equal ones, which is seen at a glance.
    /// Descriptors would have to be compared.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Dialect {
                    client,
                    server,
                    version,
                },
                Self::Dialect {
                    client: other_client,
                    server: other_server,
                    version: other_version,
                },
            ) => client.is(other_client) && server.is(other_server) && version == other_version,
            _ => false,
        }
    }
}

/// Which tables a client has kept, and so does not need to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    dictionary: bool,
    protos: bool,
}

impl Offer {
    /// The response that lets a client in, byte for byte pomelo 2.2.7's
    /// (`connectors/commands/handshake.js`). `user` is what the application's handshake function
    /// answered; falsy values are left out.
    pub fn response_text(&self, request: &HandshakeRequest, user: Option<&Value>) -> String {
        self.text(self.kept_by(request), user)
    }

    pub(crate) fn kept_by(&self, request: &HandshakeRequest) -> Kept {
        Kept {
            dictionary: self
                .dictionary
                .as_ref()
                .zip(request.dict_version())
                .is_some_and(|(dictionary, kept)| kept == dictionary.version()),
            protos: self
                .protos
                .as_ref()
                .is_some_and(|protos| protos.are_kept(request.proto_version())),
        }
    }

    fn text(&self, kept: Kept, user: Option<&Value>) -> String {
        let mut text = format!("{{\"code\":{CODE_OK},\"sys\":{{");
        let mut first = true;
        let mut member = |text: &mut String, name: &str, value: &str| {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}\"{name}\":{value}");
        };
        if let Some(heartbeat) = self.heartbeat.filter(|heartbeat| !heartbeat.is_zero()) {
            member(&mut text, "heartbeat", &heartbeat.as_secs_f64().to_string());
        }
        if let Some(dictionary) = &self.dictionary {
            if !kept.dictionary {
                member(&mut text, "dict", dictionary.dict_text());
                member(&mut text, "routeToCode", dictionary.dict_text());
                member(&mut text, "codeToRoute", dictionary.code_to_route_text());
                member(
                    &mut text,
                    "dictVersion",
                    &format!("\"{}\"", dictionary.version()),
                );
            }
            member(&mut text, "useDict", "true");
        }
        if let Some(protos) = &self.protos {
            if !kept.protos {
                member(&mut text, "protos", &protos.text());
            }
            member(&mut text, "useProto", "true");
        }
        text.push('}');
        if let Some(user) = user.filter(|user| json::is_truthy(user)) {
            let _ = write!(text, ",\"user\":{user}");
        }
        text.push('}');
        text
    }

    /// Whether the other says the same, as far as that is seen at a glance.
    fn is(&self, other: &Self) -> bool {
        let dictionary = match (&self.dictionary, &other.dictionary) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let protos = match (&self.protos, &other.protos) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        dictionary && protos && self.heartbeat == other.heartbeat
    }
}

/// Responses without user data, made once for all clients that have kept the same tables: with a
/// dictionary and schemas they are long.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    /// What they were made of: whoever owns settings may change them.
    offer: OnceLock<Offer>,
    /// One for each [`Kept`].
    frames: [OnceLock<Frame>; 4],
}

impl Responses {
    /// The package that lets a client in; `None` when it is too long for one.
    pub(crate) fn frame(&self, offer: &Offer, kept: Kept, user: Option<&Value>) -> Option<Frame> {
        let make = |user| {
            let text = offer.text(kept, user);
            Frame::new(PackageKind::Handshake, text.as_bytes()).ok()
        };
        let user = user.filter(|user| json::is_truthy(user));
        if user.is_some() || !self.offer.get_or_init(|| offer.clone()).is(offer) {
            return make(user);
        }
        let place = usize::from(kept.dictionary) * 2 + usize::from(kept.protos);
        let place = self.frames.get(place)?;
        if let Some(frame) = place.get() {
            return Some(frame.clone());
        }
        let frame = make(None)?;
        Some(place.get_or_init(|| frame).clone())
    }
}

impl Clone for Responses {
    /// A clone of settings is made to be changed.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The response that refuses a client.
pub(crate) fn refusal_text(code: u16) -> String {
    format!("{{\"code\":{code}}}")
}

/// What a server answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandshakeResponse<J = Value> {
    /// 200, or why the server refuses.
    pub code: i64,
    /// The heartbeat interval; `None` when there are to be none.
    pub heartbeat: Option<Duration>,
    /// The dictionary, when the server sent one, and its version, when it sent that.
    pub dictionary: Option<(Dictionary, Option<J>)>,
    /// Whether the server uses a dictionary, sent or kept.
    pub use_dict: bool,
    /// The schemas, when the server sent them.
    pub protos: Option<ProtosTable<J>>,
    /// Whether the server uses schemas, sent or kept.
    pub use_proto: bool,
    /// pitaya's `sys.serializer`: `json` or `protobuf`.
    pub serializer: Option<String>,
    /// What the application's handshake function answered.
    pub user: Option<J>,
}

impl<J: Json> HandshakeResponse<J> {
    /// Reads the response of pomelo, pinus, nano or pitaya. pitaya's may be a bare zlib stream.
    ///
    /// # Errors
    /// [`HandshakeError`], when it is no document, has no code or holds unusable schemas.
    pub fn parse(body: &[u8]) -> Result<Self, HandshakeError> {
        let plain = gzip::inflate(body, MAX_RESPONSE, None).map_err(|_| HandshakeError::Inflate)?;
        Self::from_document(&J::parse(&plain).ok_or(HandshakeError::NotJson)?)
    }

    fn from_document(document: &J) -> Result<Self, HandshakeError> {
        if !document.is_object() {
            return Err(HandshakeError::NotJson);
        }
        let code = document
            .get("code")
            .and_then(|code| whole(code.as_f64()?))
            .ok_or(HandshakeError::NoCode)?;
        let sys = document.get("sys");
        let member = |name| sys.as_ref()?.get(name);
        let dict = member("routeToCode")
            .or_else(|| member("dict"))
            .filter(|dict| dict.is_object());
        let protos = match member("protos") {
            Some(protos) if protos.is_object() => Some(ProtosTable::parse(&*protos)?),
            _ => None,
        };
        let truthy = |name| member(name).is_some_and(|value| value.is_truthy());
        Ok(Self {
            code,
            heartbeat: member("heartbeat").and_then(|seconds| heartbeat(seconds.as_f64()?)),
            use_dict: dict.is_some() || truthy("useDict"),
            dictionary: dict.map(|dict| {
                (
                    Dictionary::from_handshake(&*dict),
                    member("dictVersion").map(Cow::into_owned),
                )
            }),
            use_proto: protos.is_some() || truthy("useProto"),
            protos,
            serializer: member("serializer").and_then(|name| Some(name.as_str()?.into_owned())),
            user: document.get("user").map(Cow::into_owned),
        })
    }
}

fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53")]
    let whole = number as i64;
    (number.fract() == 0.0 && number.abs() < MAX_SAFE).then_some(whole)
}

fn heartbeat(seconds: f64) -> Option<Duration> {
    if seconds > 0.0 && seconds <= MAX_HEARTBEAT_SECS {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a day has fewer nanoseconds than 2^53"
        )]
        let interval = Duration::from_nanos((seconds * 1e9 + 0.5) as u64);
        (!interval.is_zero()).then_some(interval)
    } else {
        None
    }
}

/// Schemas of both directions as a client got them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProtosTable<J = Value> {
    /// Schemas of bodies from the client.
    pub client: Protos,
    /// Schemas of bodies to the client.
    pub server: Protos,
    /// The server's version of them, when it sent one.
    pub version: Option<J>,
}

impl<J: Json> ProtosTable<J> {
    fn parse(protos: &J) -> Result<Self, HandshakeError> {
        let table = |name| match protos.get(name) {
            Some(parsed) => Protos::received(&*parsed),
            None => Ok(Protos::default()),
        };
        Ok(Self {
            client: table("client")?,
            server: table("server")?,
            version: protos.get("version").map(Cow::into_owned),
        })
    }

    /// Without a version a server cannot tell that a client has them already.
    fn is_versioned(&self) -> bool {
        self.version.as_ref().is_some_and(J::is_truthy)
    }
}

/// What a client keeps from one connection to the next: each table together with its version, so
/// that a server may leave it out of the handshake.
#[derive(Clone, Debug)]
pub struct Tables<J = Value> {
    dictionary: Option<(Dictionary, J)>,
    protos: Option<ProtosTable<J>>,
}

impl<J> Default for Tables<J> {
    fn default() -> Self {
        Self {
            dictionary: None,
            protos: None,
        }
    }
}

impl<J: Json> Tables<J> {
    /// Tables that an application has stored as the member `protos` of a handshake response:
    /// `{"server":…,"client":…,"version":…}`, as browser clients keep them in `localStorage`.
    ///
    /// # Errors
    /// [`HandshakeError::Protos`] when they are no usable schemas.
    pub fn from_protos(protos: &J) -> Result<Self, HandshakeError> {
        Ok(Self {
            dictionary: None,
            protos: Some(ProtosTable::parse(protos)?).filter(ProtosTable::is_versioned),
        })
    }

    /// The schemas that are kept, to be stored.
    pub const fn protos(&self) -> Option<&ProtosTable<J>> {
        self.protos.as_ref()
    }

    /// Adds the versions of the kept tables to a request.
    pub(crate) fn announce(&self, mut request: HandshakeRequest<J>) -> HandshakeRequest<J> {
        if let Some((_, version)) = &self.dictionary {
            request = request.with_sys("dictVersion", version.clone());
        }
        if let Some(version) = self
            .protos
            .as_ref()
            .and_then(|protos| protos.version.as_ref())
        {
            request = request.with_sys("protoVersion", version.clone());
        }
        request
    }

    /// The tables in force after this response, which are then kept as far as they have versions.
    pub(crate) fn agree(
        &mut self,
        response: &mut HandshakeResponse<J>,
    ) -> (Option<Dictionary>, Option<ProtosTable<J>>) {
        let dictionary = match response.dictionary.take() {
            Some((dictionary, version)) => {
                let version = version.filter(J::is_truthy);
                self.dictionary = version.map(|version| (dictionary.clone(), version));
                Some(dictionary)
            }
            None if response.use_dict => self.dictionary.as_ref().map(|kept| kept.0.clone()),
            None => None,
        };
        let protos = match response.protos.take() {
            Some(protos) => {
                self.protos = protos.is_versioned().then(|| protos.clone());
                Some(protos)
            }
            None if response.use_proto => self.protos.clone(),
            None => None,
        };
        (dictionary, protos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sys_and_user_of_a_request_count_and_the_last_of_each() {
        let text = br#"{"user":1,"a":{"sys":0},"sys":[],"b":1e999,"sys":{"type":"t"},"user":null}"#;
        let expected = HandshakeRequest::from_sys(json!({"type": "t"})).with_user(Value::Null);
        assert_eq!(HandshakeRequest::parse(text), Ok(expected));
        for (text, error) in [
            ("[1]", HandshakeError::NotJson),
            ("null", HandshakeError::NotJson),
            ("{\"sys\":{}} 1", HandshakeError::NotJson),
            ("{\"sys\":{},\"a\":}", HandshakeError::NotJson),
            ("{\"sys\":{},\"sys\":0}", HandshakeError::NoSys),
            ("{}", HandshakeError::NoSys),
        ] {
            let parsed = HandshakeRequest::parse(text.as_bytes());
            assert_eq!(parsed, Err(error), "{text}");
        }
    }
}
