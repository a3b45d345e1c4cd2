//! Calls between our own servers: what pomelo's `sessionRemote` and `channelRemote` do.
//!
//! A call is a struct of plain data, and so is its answer; [`App::system`] brings it to a server
//! by id. A server that runs in this process executes it at once, in the caller's task: calls
//! happen in the order in which they are made, and a message is encoded straight into the frame
//! of its receivers. For all others there is a typed error at once.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::App;
use crate::channel::BroadcastOptions;
use crate::encode::Encoded;
use crate::error::{PushError, RpcError, SessionError};
use crate::push::{Delivery, Outbound, OutboundKind};
use crate::session::{Session, SessionData, SessionService, Uid};

/// Why a frontend could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// No server has this id.
    #[error("no server with id {0:?}")]
    Unknown(String),
    /// The server runs in another process, and nothing leads there.
    #[error("server {0:?} does not run in this process")]
    Unreachable(String),
    /// The server has no clients.
    #[error("server {0:?} is not a frontend")]
    NotFrontend(String),
    /// The application has ended.
    #[error("the application has ended")]
    Ended,
}

/// A call that one server makes to another.
pub(crate) trait SystemCall {
    type Answer;
    type Error: From<ReachError>;

    /// Executes the call on the server it is meant for.
    fn run(self, server: &App) -> Result<Self::Answer, Self::Error>;
}

impl App {
    /// Makes a system call to the server with this id.
    #[expect(
        clippy::manual_async_fn,
        reason = "nothing is awaited in memory, and the type promises Send"
    )]
    pub(crate) fn system<C: SystemCall + Send>(
        &self,
        server_id: &str,
        call: C,
    ) -> impl Future<Output = Result<C::Answer, C::Error>> + Send {
        async move {
            let server = self.server(server_id).map_err(|error| match error {
                RpcError::NotHere(id) => ReachError::Unreachable(id),
                _ => ReachError::Unknown(server_id.to_owned()),
            })?;
            call.run(&server)
        }
    }
}

fn frontend(server: &App) -> Result<&SessionService, ReachError> {
    if server.is_frontend() {
        Ok(server.sessions())
    } else {
        Err(ReachError::NotFrontend(server.server_id().to_owned()))
    }
}

macro_rules! session_calls {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ } -> $answer:ty = |$sessions:ident| $run:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)+
        }

        impl SystemCall for $name {
            type Answer = $answer;
            type Error = SessionError;

            fn run(self, server: &App) -> Result<$answer, SessionError> {
                let $sessions = frontend(server)?;
                let Self { $($field),+ } = self;
                $run
            }
        }
    )+};
}

session_calls! {
    Bind { sid: u64, uid: Uid } -> () = |sessions| sessions.bind(sid, uid);
    Unbind { sid: u64, uid: Uid } -> () = |sessions| sessions.unbind(sid, uid);
    /// Writes one setting; none takes it away.
    Push { sid: u64, key: String, value: Option<Value> } -> () =
        |sessions| sessions.import(sid, &key, value);
    PushAll { sid: u64, settings: Map<String, Value> } -> () =
        |sessions| sessions.import_all(sid, settings);
    GetBySid { sid: u64 } -> Option<SessionData> =
        |sessions| Ok(sessions.by_id(sid).as_ref().map(Session::export));
    GetByUid { uid: Uid } -> Vec<SessionData> =
        |sessions| Ok(sessions.by_uid(uid.as_str()).iter().map(Session::export).collect());
    /// Answers whether there was such a session.
    KickBySid { sid: u64, reason: Option<String> } -> bool =
        |sessions| Ok(sessions.kick_by_id(sid, reason.as_deref()));
    /// Answers how many sessions there were.
    KickByUid { uid: Uid, reason: Option<String> } -> usize =
        |sessions| Ok(sessions.kick_by_uid(uid.as_str(), reason.as_deref()));
}

/// Pushes a message to the sessions of uids; each uid is looked up there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "M: Deserialize<'de>"))]
pub(crate) struct PushMessage<'a, M> {
    pub(crate) route: Cow<'a, str>,
    pub(crate) message: M,
    pub(crate) uids: Cow<'a, [Uid]>,
    /// What the application gives along for the push scheduler.
    pub(crate) options: Cow<'a, Value>,
}

/// Pushes a message to every session of a frontend.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "M: Deserialize<'de>"))]
pub(crate) struct Broadcast<'a, M> {
    pub(crate) route: Cow<'a, str>,
    pub(crate) message: M,
    pub(crate) options: Cow<'a, BroadcastOptions>,
}

impl<M: Serialize> SystemCall for PushMessage<'_, M> {
    type Answer = Delivery;
    type Error = PushError;

    fn run(self, server: &App) -> Result<Delivery, PushError> {
        push_to(
            server,
            &self.route,
            &self.message,
            &self.uids,
            &self.options,
        )
    }
}

impl<M: Serialize> SystemCall for Broadcast<'_, M> {
    type Answer = Delivery;
    type Error = PushError;

    fn run(self, server: &App) -> Result<Delivery, PushError> {
        let sessions = frontend(server)?;
        let options = &*self.options;
        let outbound = Outbound {
            kind: OutboundKind::Broadcast,
            id: None,
            route: &self.route,
            options: &options.user,
        };
        let mut push = Encoded::new(server, &self.route, &self.message)?;
        let scheduler = server.scheduler(&outbound)?;
        let filter = server.channels().broadcast_filter();
        let mut delivery = Delivery::default();
        let mut failed = None;
        let mut visit = |session: &Session| match push.frame(session) {
            Ok(frame) => {
                if filter.is_none_or(|filter| filter(session, &frame, &options.filter)) {
                    delivery.count(scheduler.schedule(&outbound, frame, session));
                }
            }
            Err(error) => failed = Some(error),
        };
        if options.bound_only {
            sessions.for_each_bound(&mut visit);
        } else {
            sessions.for_each(&mut visit);
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(delivery),
        }
    }
}

/// The body of [`PushMessage`]: one encoding, then a reference count and a queue slot per session.
fn push_to<M: Serialize>(
    server: &App,
    route: &str,
    message: &M,
    uids: &[Uid],
    options: &Value,
) -> Result<Delivery, PushError> {
    let sessions = frontend(server)?;
    let outbound = Outbound {
        kind: OutboundKind::Push,
        id: None,
        route,
        options,
    };
    let mut push = Encoded::new(server, route, message)?;
    let scheduler = server.scheduler(&outbound)?;
    let mut delivery = Delivery::default();
    let mut found = Vec::new();
    for uid in uids {
        sessions.append_by_uid(uid.as_str(), &mut found);
        let mut online = false;
        for session in found.drain(..) {
            let frame = push.frame(&session)?;
            online |= delivery.count(scheduler.schedule(&outbound, frame, &session));
        }
        if !online {
            delivery.failed.push(uid.clone());
        }
    }
    Ok(delivery)
}
