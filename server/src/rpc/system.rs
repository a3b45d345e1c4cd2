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
use crate::session::{Found, Search, Session, SessionData, SessionService, Uid};

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
    /// Where the frontend finds the sessions of the uids again, if it is in this process.
    #[serde(skip)]
    pub(crate) found: Option<&'a Found>,
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
        let sessions = frontend(server)?;
        let outbound = Outbound {
            kind: OutboundKind::Push,
            id: None,
            route: &self.route,
            options: &self.options,
        };
        let mut push = Encoded::new(server, &self.route, &self.message)?;
        let scheduler = server.scheduler(&outbound)?;
        let mut delivery = Delivery::default();
        let mut search = Search::new(sessions, self.found, self.uids.len());
        for (place, uid) in self.uids.iter().enumerate() {
            let mut online = false;
            for session in search.sessions(place, uid) {
                let frame = push.frame(session)?;
                online |= delivery.count(scheduler.schedule(&outbound, frame, session));
            }
            if !online {
                delivery.failed.push(uid.clone());
            }
        }
        Ok(delivery)
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

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::mailbox::Outgoing;
    use crate::session::Owned;

    async fn frontend() -> App {
        let servers = json!({"test": {"connector": [
            {"id": "connector-1", "host": "127.0.0.1", "port": 1, "clientPort": 0, "frontend": true}]}});
        let running = App::builder()
            .env("test")
            .config(Config::from_servers(&servers, "test").unwrap())
            .start()
            .await
            .unwrap();
        running.app("connector-1").unwrap().clone()
    }

    fn session(app: &App) -> Owned {
        let front = app.front().unwrap();
        let peer = ([127, 0, 0, 1], 1).into();
        let tables = front.offered().settings().clone();
        app.sessions()
            .create(peer, tables, Outgoing::default(), None)
    }

    /// Makes the call as an engine between processes would: as bytes, there and back.
    fn over<Sent, Received>(server: &App, call: Sent) -> Result<Received::Answer, Received::Error>
    where
        Sent: Serialize,
        Received: SystemCall<Answer: Serialize + DeserializeOwned + PartialEq + Debug>,
        Received: DeserializeOwned,
    {
        let bytes = serde_json::to_vec(&call).unwrap();
        let received: Received = serde_json::from_slice(&bytes).unwrap();
        let answer = received.run(server)?;
        let bytes = serde_json::to_vec(&answer).unwrap();
        let back = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer, back);
        Ok(back)
    }

    fn same<C>(server: &App, call: C) -> Result<C::Answer, SessionError>
    where
        C: SystemCall<Error = SessionError> + Serialize + DeserializeOwned,
        C::Answer: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        over::<C, C>(server, call)
    }

    #[tokio::test]
    async fn calls_and_answers_are_plain_data() {
        let app = frontend().await;
        let one = session(&app);
        let two = session(&app);
        let (sid, uid) = (one.id(), Uid::from("u:1"));
        let bind = |sid| Bind {
            sid,
            uid: "u:1".into(),
        };
        same(&app, bind(sid)).unwrap();
        same(&app, bind(two.id())).unwrap();
        assert_eq!(same(&app, bind(9)), Err(SessionError::Gone(9)));
        let key = "k".to_owned();
        let value = Some(json!({"deep": [1.5, null]}));
        let push = Push { sid, key, value };
        same(&app, push).unwrap();
        let settings = Map::from_iter([("l".to_owned(), json!(2))]);
        same(&app, PushAll { sid, settings }).unwrap();
        let got = same(&app, GetBySid { sid }).unwrap().unwrap();
        assert_eq!(got, one.export());
        assert_eq!(got.settings.len(), 2);
        assert_eq!(same(&app, GetBySid { sid: 9 }).unwrap(), None);
        let all = same(&app, GetByUid { uid: uid.clone() }).unwrap();
        assert_eq!(all, [one.export(), two.export()]);

        let uids = [uid.clone(), Uid::from("nobody")];
        let message = json!({"n": 1});
        let options = json!({"for": "the scheduler"});
        let pushed = over::<_, PushMessage<'static, Value>>(
            &app,
            PushMessage {
                route: Cow::Borrowed("onX"),
                message: &message,
                uids: Cow::Borrowed(&uids),
                options: Cow::Borrowed(&options),
                found: None,
            },
        );
        let delivery = pushed.unwrap();
        assert_eq!((delivery.delivered, delivery.overflowed), (2, 0));
        assert_eq!(delivery.failed, uids[1..]);
        let options = BroadcastOptions::new().bound_only().filter_param(1);
        let pushed = over::<_, Broadcast<'static, Value>>(
            &app,
            Broadcast {
                route: Cow::Borrowed("onX"),
                message: &message,
                options: Cow::Borrowed(&options),
            },
        );
        assert_eq!(pushed.unwrap().delivered, 2);
        // The frames are those of a push within the process.
        let direct = PushMessage {
            route: Cow::Borrowed("onX"),
            message: &message,
            uids: Cow::Borrowed(&uids[..1]),
            options: Cow::Owned(Value::Null),
            found: None,
        };
        direct.run(&app).unwrap();
        let frames = one.mailbox().drain();
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|frame| frame == &frames[0]));

        let unbind = Unbind {
            sid,
            uid: uid.clone(),
        };
        same(&app, unbind).unwrap();
        let reason = Some("bye".to_owned());
        let kick = KickByUid { uid, reason };
        assert_eq!(same(&app, kick), Ok(1));
        let kick = |sid| KickBySid { sid, reason: None };
        assert_eq!(same(&app, kick(sid)), Ok(true));
        assert_eq!(same(&app, kick(sid)), Ok(false));
        assert_eq!(app.sessions().count(), 0);
    }

    #[tokio::test]
    async fn a_frame_is_shared_and_not_copied() {
        let app = frontend().await;
        let sessions: Vec<Owned> = (0..3).map(|_| session(&app)).collect();
        for session in &sessions {
            session.bind("u").unwrap();
        }
        let push = PushMessage {
            route: Cow::Borrowed("onX"),
            message: "x".repeat(1000),
            uids: Cow::Owned(vec!["u".into()]),
            options: Cow::Owned(Value::Null),
            found: None,
        };
        assert_eq!(push.run(&app).unwrap().delivered, 3);
        let places: Vec<*const u8> = sessions
            .iter()
            .map(|session| session.mailbox().drain()[0].as_ptr())
            .collect();
        assert!(places.iter().all(|place| *place == places[0]));
    }
}
