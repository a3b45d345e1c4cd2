//! What a client reads in the answer, and keeps of it.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::{HandshakeError, HandshakeRequest};
use crate::dictionary::Dictionary;
use crate::gzip;
use crate::json::Json;
use crate::protobuf::Protos;

/// The most bytes a compressed handshake response (pitaya) may inflate to.
const MAX_RESPONSE: usize = 4 << 20;
/// A heartbeat interval beyond this is not one.
const MAX_HEARTBEAT_SECS: f64 = 86_400.0;
/// 2^53, where doubles cease to tell integers apart.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

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
