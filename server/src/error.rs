//! What can go wrong, by who has to act on it.

use std::io;

use pomelo_protocol::{BodyError, CodecError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::ConfigError;
use crate::rpc::system::ReachError;
use crate::store::StoreError;

/// The failure of a handler, a remote or a filter.
///
/// The client sees pomelo's answer to `next(err, response)`: the given response
/// with `code: 500` added unless it has a `code` of its own, and without a
/// response exactly `{"code":500}`. The text never leaves the server.
#[derive(Debug)]
pub struct Error(Box<Details>);

/// On the heap: every request carries a place for an error, few have one.
#[derive(Debug)]
struct Details {
    message: String,
    reply: Option<Value>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error that answers `{"code":500}`; `message` is for the log.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            message: message.into(),
            reply: None,
            source: None,
        }))
    }

    /// An error that answers `reply`, with `code: 500` added if `reply` has no truthy `code`.
    ///
    /// A reply that serde refuses is left out, so that the client gets `{"code":500}`.
    #[must_use]
    pub fn with_reply(mut self, reply: impl Serialize) -> Self {
        self.0.reply = serde_json::to_value(reply).ok();
        self
    }

    /// The text for the log.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What [`with_reply`](Self::with_reply) was given.
    pub fn reply(&self) -> Option<&Value> {
        self.0.reply.as_ref()
    }

    /// The application's own error, if this one was made from an `E` with `?` in this process.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.source.as_ref()?.downcast_ref()
    }

    /// The body that the client gets.
    pub(crate) fn to_body(&self) -> Value {
        // connector.js of pomelo 2.2.7: `if (err && !resp.code) resp.code = 500`.
        match &self.0.reply {
            None => code_500(),
            Some(value) if is_falsy(value) => code_500(),
            Some(Value::Object(members)) => {
                let mut members = members.clone();
                if members.get("code").is_none_or(is_falsy) {
                    members.insert("code".to_owned(), 500.into());
                }
                Value::Object(members)
            }
            Some(other) => other.clone(),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Any error of the application becomes an [`Error`] with `?`; it answers `{"code":500}`.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(Details {
            message: error.to_string(),
            reply: None,
            source: Some(Box::new(error)),
        }))
    }
}

/// `{"code":500}`
pub(crate) fn code_500() -> Value {
    let mut members = Map::new();
    members.insert("code".to_owned(), 500.into());
    Value::Object(members)
}

/// JavaScript's idea of false, which decides about default answers.
pub(crate) fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Why [`AppBuilder::start`](crate::AppBuilder::start) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A configuration file is missing, unreadable or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A frontend's port could not be opened.
    #[error("server {server}: cannot listen on {address}")]
    Listen {
        /// The server's id.
        server: String,
        /// The address asked for.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The admin port could not be opened.
    #[error("cannot listen on {address} for administration")]
    Admin {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A route given to `handler` or `remote` has not three parts, or is there twice.
    #[error("route {0:?} {1}")]
    Route(String, &'static str),
    /// The dictionary or the schemas cannot be built.
    #[error("server {server}: {problem}")]
    Tables {
        /// The server's id.
        server: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A hook of the lifecycle failed or panicked.
    #[error("server {server}: {hook}: {problem}")]
    Hook {
        /// The server's id.
        server: String,
        /// Which hook.
        hook: String,
        /// What it says.
        problem: String,
    },
    /// A component failed or panicked.
    #[error("server {server}: component {name:?}: {problem}")]
    Component {
        /// The server's id.
        server: String,
        /// The component's name.
        name: String,
        /// What it says.
        problem: String,
    },
    /// The command line has an argument that nobody knows.
    #[error("unknown or incomplete argument {0:?}")]
    Argument(String),
    /// A server that shall run here is not in the configuration.
    #[error("no server has the id {0:?}")]
    UnknownServer(String),
    /// A server type that shall run here is not in the configuration.
    #[error("no server is of type {0:?}")]
    UnknownType(String),
    /// The time zone for crons is not known to this system.
    #[error("unknown time zone {0:?}")]
    TimeZone(String),
    /// The channels of the last run cannot be restored.
    #[error("server {server}: the channels cannot be restored")]
    Store {
        /// The server's id.
        server: String,
        /// What the store said.
        source: StoreError,
    },
    /// There is nothing to run: no server in the configuration.
    #[error("no servers are configured for environment {0:?}")]
    NoServers(String),
}

/// Why a session refused an operation; the texts are pomelo's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session is closed.
    #[error("session does not exist, sid: {0}")]
    Gone(u64),
    /// The session is bound to another uid.
    #[error("session has already bind with {0}")]
    AlreadyBound(String),
    /// `singleSession` is on and the uid has a session.
    #[error("singleSession is enabled, and session has already bind with uid: {0}")]
    SingleSession(String),
    /// `unbind` of a uid that is not the session's; holds the current one, or `null`.
    #[error("session has not bind with {0}")]
    NotBound(String),
    /// A uid must not be empty.
    #[error("uid must not be empty")]
    EmptyUid,
    /// The session's frontend cannot be asked.
    #[error(transparent)]
    Frontend(#[from] ReachError),
}

/// Why a push did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The session is closed or closing.
    #[error("session is closed")]
    Closed,
    /// The session's mailbox is full; under
    /// [`Overflow::Disconnect`](crate::Overflow::Disconnect) it is being closed for it.
    #[error("session's mailbox is full")]
    Full,
    /// The list of receivers is empty.
    #[error("uids should not be empty")]
    NoUids,
    /// No frontend of the group could be reached.
    #[error("all uids push message fail")]
    AllFailed,
    /// No frontend of the type could be reached.
    #[error("broadcast fails")]
    BroadcastFailed,
    /// The frontend cannot be reached.
    #[error(transparent)]
    Frontend(#[from] ReachError),
    /// The message was to name its route in a member `route` and does not.
    #[error("the message has no member route, or it is no text")]
    NoRoute,
    /// The selector of the push schedulers chose one that there is not.
    #[error("no push scheduler with id {0:?}")]
    NoScheduler(String),
    /// The channel was destroyed.
    #[error("channel is not running now")]
    ChannelDestroyed,
    /// The message cannot be encoded.
    #[error("the message cannot be encoded")]
    Encode(#[from] CodecError),
}

/// Why a remote call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The route has not the form `serverType.service.method`.
    #[error("rpc route {0:?} has not three parts")]
    Route(String),
    /// No server of this type is there.
    #[error("can not find server info for type:{0}")]
    NoServer(String),
    /// Servers are chosen by weight, and none of this type has one.
    #[error("no server of type {0} has a weight")]
    NoWeight(String),
    /// No server has this id.
    #[error("no server with id {0:?}")]
    UnknownServer(String),
    /// The server with this id runs in another process, and nothing leads there.
    #[error("server {0:?} does not run in this process")]
    NotHere(String),
    /// The server has no such remote.
    #[error("no such remote: {0}")]
    UnknownRemote(String),
    /// The remote itself failed.
    #[error("{0}")]
    Remote(String),
    /// An rpc filter of the caller refused the call.
    #[error("{0}")]
    Filter(String),
    /// No answer came in time.
    #[error("no answer within the time limit")]
    Timeout,
    /// The arguments cannot be written as JSON.
    #[error("arguments cannot be encoded: {0}")]
    Arguments(String),
    /// The answer is not what the caller expects.
    #[error("the answer is of another type")]
    Answer(#[from] BodyError),
}
