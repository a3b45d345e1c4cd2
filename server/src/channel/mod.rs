//! Channels: named groups of users to push to.
//!
//! The path of a push: channel -> one group per frontend -> one call to each frontend, where the
//! message is encoded once -> a reference count and a queue slot per session.

mod group;
mod service;

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

pub use self::service::{BroadcastOptions, ChannelConfig, ChannelService};

use self::group::{Members, Receivers};
use crate::app::App;
use crate::error::PushError;
use crate::lock;
use crate::push::Delivery;
use crate::rpc::system::{Broadcast, PushMessage, ReachError};
use crate::session::Uid;
use crate::store::Writer;

/// Who got a push and who did not.
///
/// "Got" means handed to the session's mailbox, not received by the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushReport {
    /// How many sessions took it.
    pub delivered: usize,
    /// Uids that have no session on the frontend they were said to be on,
    /// and those of frontends that could not be reached.
    pub failed: Vec<Uid>,
    /// How many sessions refused it because their mailbox was full.
    pub overflowed: usize,
    /// Frontends that could not be reached, and why.
    pub unreachable: Vec<(Arc<str>, ReachError)>,
}

impl PushReport {
    fn add(&mut self, delivery: Delivery) {
        self.delivered += delivery.delivered;
        self.overflowed += delivery.overflowed;
        self.failed.extend(delivery.failed);
    }
}

/// A named group of users, each with the frontend they are on. A clone is another handle to it.
///
/// Membership is not tied to sessions: a user who disconnects stays until
/// [`leave`](Self::leave), which normally a `closed` listener calls.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    service: Weak<service::Inner>,
    writer: Option<Arc<Writer>>,
    duplicates: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Members,
    destroyed: bool,
}

impl Channel {
    fn new(name: &str, service: &Arc<service::Inner>) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
                service: Arc::downgrade(service),
                writer: service.writer.clone(),
                duplicates: service.duplicates(),
                state: Mutex::default(),
            }),
        }
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Adds a user who is on `frontend_id`. Adding twice changes nothing, unless
    /// [duplicates](ChannelConfig::duplicates) are wanted.
    ///
    /// Answers `false` if the channel is destroyed, or uid or frontend id are empty.
    pub fn add(&self, uid: impl Into<Uid>, frontend_id: &str) -> bool {
        let uid = uid.into();
        if uid.as_str().is_empty() || frontend_id.is_empty() {
            return false;
        }
        let mut state = lock(&self.inner.state);
        if state.destroyed {
            return false;
        }
        let duplicates = self.inner.duplicates;
        if state.members.add(uid.clone(), frontend_id, duplicates)
            && let Some(writer) = &self.inner.writer
        {
            writer.add(&self.inner.name, frontend_id, uid.as_str());
        }
        true
    }

    /// Takes a user out; `false` if the user is not there.
    pub fn leave(&self, uid: impl Into<Uid>, frontend_id: &str) -> bool {
        let uid = uid.into();
        let mut state = lock(&self.inner.state);
        let removed = state.members.remove(&uid, frontend_id);
        // The store knows a member once.
        if let Some(writer) = &self.inner.writer
            && removed
            && !state.members.contains(&uid, frontend_id)
        {
            writer.remove(&self.inner.name, frontend_id, uid.as_str());
        }
        removed
    }

    /// Members as they were stored; the store has them already.
    fn restore(&self, members: Vec<(String, String)>) {
        let mut state = lock(&self.inner.state);
        for (frontend_id, uid) in members {
            state.members.add(uid.into(), &frontend_id, false);
        }
    }

    /// The uids, grouped by frontend in the order of the first `add`.
    #[doc(alias = "getMembers")]
    pub fn members(&self) -> Vec<Uid> {
        lock(&self.inner.state).members.uids()
    }

    /// The frontend a member is on, as it was added; the last one if it was added on several.
    #[doc(alias = "getMember")]
    pub fn member(&self, uid: &str) -> Option<Arc<str>> {
        lock(&self.inner.state).members.record(uid)
    }

    /// How many members there are.
    #[doc(alias = "getUserAmount")]
    pub fn len(&self) -> usize {
        lock(&self.inner.state).members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`destroy`](Self::destroy) was called.
    pub fn is_destroyed(&self) -> bool {
        lock(&self.inner.state).destroyed
    }

    /// Pushes to all members; the message is encoded once per frontend.
    ///
    /// # Errors
    ///
    /// [`PushError::ChannelDestroyed`], [`PushError::AllFailed`] if there are members and none of
    /// their frontends can be reached, [`PushError::Encode`].
    ///
    /// # Cancel safety
    ///
    /// In one process the push happens at the first poll, whole or not at all.
    #[doc(alias = "pushMessage")]
    pub fn push_message<T: Serialize + Sync + ?Sized>(
        &self,
        route: &str,
        message: &T,
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        self.push_message_with(route, message, Value::Null)
    }

    /// [`push_message`](Self::push_message) with options for the push schedulers of the
    /// frontends.
    ///
    /// # Errors
    ///
    /// As [`push_message`](Self::push_message).
    pub fn push_message_with<T: Serialize + Sync + ?Sized>(
        &self,
        route: &str,
        message: &T,
        options: impl Into<Value>,
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        let options = options.into();
        async move {
            let groups = {
                let state = lock(&self.inner.state);
                if state.destroyed {
                    return Err(PushError::ChannelDestroyed);
                }
                state.members.snapshot()
            };
            let service = self.inner.service.upgrade().ok_or(ReachError::Ended)?;
            let app = service.app.upgrade().ok_or(ReachError::Ended)?;
            if groups.is_empty() {
                return Ok(PushReport::default());
            }
            push_to_groups(&app, route, message, &groups, &options).await
        }
    }

    /// Pushes a message that names its route itself, in its member `route`, which is sent along:
    /// pomelo's `pushMessage` without a route.
    ///
    /// # Errors
    ///
    /// As [`push_message`](Self::push_message), and [`PushError::NoRoute`].
    pub async fn push_routed<T: Serialize + Sync + ?Sized>(
        &self,
        message: &T,
    ) -> Result<PushReport, PushError> {
        let (route, message) = with_own_route(message)?;
        self.push_message(&route, &message).await
    }

    /// Ends the channel: it is forgotten by the service, takes no member and pushes nothing.
    pub fn destroy(&self) {
        let service = self.inner.service.upgrade();
        // The service is locked first and all the while: `create` answers this channel before or
        // a new one after, and never one that refuses.
        let mut channels = service.as_ref().map(|service| lock(&service.channels));
        let mut state = lock(&self.inner.state);
        if std::mem::replace(&mut state.destroyed, true) {
            return;
        }
        if let Some(channels) = &mut channels {
            channels.remove(&self.inner.name);
        }
        if let Some(writer) = &self.inner.writer {
            writer.destroy(&self.inner.name);
        }
    }
}

/// A message's own route, and the message with it.
fn with_own_route<T: Serialize + ?Sized>(message: &T) -> Result<(String, Value), PushError> {
    let message = serde_json::to_value(message).map_err(pomelo_protocol::CodecError::Json)?;
    let route = message.get("route").and_then(Value::as_str);
    let route = route.ok_or(PushError::NoRoute)?.to_owned();
    Ok((route, message))
}

/// One call per frontend; those in this process are executed in the order of the groups.
async fn push_to_groups<T, G>(
    app: &App,
    route: &str,
    message: &T,
    groups: &[(Arc<str>, G)],
    options: &Value,
) -> Result<PushReport, PushError>
where
    T: Serialize + Sync + ?Sized,
    G: Deref<Target: Receivers>,
{
    let calls = groups.iter().map(|(frontend, receivers)| {
        let call = PushMessage {
            route: Cow::Borrowed(route),
            message,
            uids: Cow::Borrowed(receivers.uids()),
            options: Cow::Borrowed(options),
            found: receivers.found(),
        };
        app.system(frontend, call)
    });
    let mut report = PushReport::default();
    for ((frontend, receivers), answer) in groups.iter().zip(join_all(calls).await) {
        match answer {
            Ok(delivery) => report.add(delivery),
            Err(PushError::Frontend(error)) => {
                report.failed.extend_from_slice(receivers.uids());
                report.unreachable.push((Arc::clone(frontend), error));
            }
            Err(error) => return Err(error),
        }
    }
    if report.unreachable.len() == groups.len() {
        return Err(PushError::AllFailed);
    }
    Ok(report)
}

/// One call per frontend of the type.
async fn broadcast_to<T: Serialize + Sync + ?Sized>(
    app: &App,
    server_type: &str,
    route: &str,
    message: &T,
    options: &BroadcastOptions,
) -> Result<PushReport, PushError> {
    let topology = app.topology();
    let servers = topology.by_type(server_type);
    let calls = servers.iter().map(|server| {
        let call = Broadcast {
            route: Cow::Borrowed(route),
            message,
            options: Cow::Borrowed(options),
        };
        app.system(&server.id, call)
    });
    let mut report = PushReport::default();
    for (server, answer) in servers.iter().zip(join_all(calls).await) {
        match answer {
            Ok(delivery) => report.add(delivery),
            Err(PushError::Frontend(error)) => {
                report.unreachable.push((Arc::clone(&server.id), error));
            }
            Err(error) => return Err(error),
        }
    }
    if !servers.is_empty() && report.unreachable.len() == servers.len() {
        return Err(PushError::BroadcastFailed);
    }
    Ok(report)
}
