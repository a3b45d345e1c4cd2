//! What a server answers, out of what it offers to all its clients.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::{CODE_OK, HandshakeRequest};
use crate::dictionary::Dictionary;
use crate::json;
use crate::package::{Frame, PackageKind};
use crate::protobuf::{self, Protos};

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
