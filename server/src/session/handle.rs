//! The session of one connection.

use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures_util::FutureExt;
use pomelo_protocol::{CloseReason, ServerSettings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::packed::{PackedAddress, PackedTime};
use super::table::{Frontend, Table};
use super::{FrontendSession, Login, RequestSession, Uid};
use crate::error::SessionError;
use crate::events::Event;
use crate::lock;
use crate::mailbox::{Ending, Mailbox};

/// What a `closed` listener waits for.
pub(crate) type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) type ClosedListener = Box<dyn FnOnce(ClosedSession) -> Closing + Send>;
pub(super) type UidListener = Arc<dyn Fn(&Uid) + Send + Sync>;

/// What a `closed` listener is given: the session is gone, its uid and settings are here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClosedSession {
    /// The session's id.
    pub id: u64,
    /// The frontend it was on.
    pub frontend_id: Arc<str>,
    /// The uid it was bound to.
    pub uid: Option<Uid>,
    /// Its settings.
    pub settings: Arc<Map<String, Value>>,
    /// Why it ended.
    pub reason: CloseReason,
}

impl ClosedSession {
    /// A setting; `None` if it is absent or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        setting(&self.settings, key)
    }
}

/// A session as plain data: what travels between servers, and what pomelo's `export` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionData {
    /// The session's id, counted from 1 in its frontend.
    pub id: u64,
    /// The server that holds the connection.
    pub frontend_id: Arc<str>,
    /// The uid it is bound to.
    pub uid: Option<Uid>,
    /// Its settings.
    pub settings: Arc<Map<String, Value>>,
}

/// The session of one connection: a cheap handle, which does not keep the connection open.
///
/// Handlers get a per-request copy instead, [`FrontendSession`] or
/// [`BackendSession`](super::BackendSession).
#[derive(Clone)]
pub struct Session {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    id: u64,
    pub(super) frontend: Arc<Frontend>,
    peer: PackedAddress,
    pub(super) mailbox: Mailbox,
    tables: Arc<ServerSettings>,
    /// Its uid does not lead here any more, or not here alone: who knows it by that uid looks again.
    doubted: AtomicBool,
    /// Out of the service; its connection may still write, and its listeners run later. Set under the
    /// lock of the state, as the next one.
    has_left: AtomicBool,
    /// Its listeners have been told.
    is_over: AtomicBool,
    state: Mutex<State>,
}

struct State {
    settings: Arc<Map<String, Value>>,
    bound: Option<Bound>,
    extra: Option<Box<Extra>>,
}

struct Bound {
    uid: Uid,
    since: PackedTime,
}

/// What most sessions do not have: an idle connection should be small.
#[derive(Default)]
struct Extra {
    listeners: Listeners,
    /// What was added to the record of the login.
    info: Map<String, Value>,
}

#[derive(Default)]
struct Listeners {
    closed: Vec<ClosedListener>,
    bind: Vec<UidListener>,
    unbind: Vec<UidListener>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.inner.id)
            .field("frontend_id", &self.frontend_id())
            .field("uid", &self.uid())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        id: u64,
        table: &Arc<Table>,
        peer: SocketAddr,
        tables: Arc<ServerSettings>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                frontend: Arc::clone(&table.frontend),
                peer: peer.into(),
                mailbox: Mailbox::default(),
                tables,
                doubted: AtomicBool::new(false),
                has_left: AtomicBool::new(false),
                is_over: AtomicBool::new(false),
                state: Mutex::new(State {
                    settings: Arc::clone(&table.frontend.no_settings),
                    bound: None,
                    extra: None,
                }),
            }),
        }
    }

    /// Counted from 1 in each frontend.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The id of the server that holds the connection.
    pub fn frontend_id(&self) -> &str {
        &self.inner.frontend.id
    }

    /// The client's address.
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.peer.into()
    }

    /// The uid it is bound to; the last one if it is closed.
    pub fn uid(&self) -> Option<Uid> {
        lock(&self.inner.state).uid().cloned()
    }

    /// Whether the session has left the service.
    pub fn is_closed(&self) -> bool {
        self.inner.has_left.load(Ordering::Acquire)
    }

    /// A setting; `None` if it is absent or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let settings = Arc::clone(&lock(&self.inner.state).settings);
        setting(&settings, key)
    }

    /// Changes a setting for every request from now on.
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let mut state = lock(&self.inner.state);
        Arc::make_mut(&mut state.settings).insert(key.to_owned(), value);
    }

    /// Changes several settings at once: pomelo's `set` with an object.
    pub fn set_all(&self, settings: Map<String, Value>) {
        let mut state = lock(&self.inner.state);
        Arc::make_mut(&mut state.settings).extend(settings);
    }

    /// Takes a setting away.
    pub fn remove(&self, key: &str) {
        let mut state = lock(&self.inner.state);
        // Nothing is copied for a key that is not there; the order of the others stays.
        if state.settings.contains_key(key) {
            Arc::make_mut(&mut state.settings).shift_remove(key);
        }
    }

    /// Binds the session to a uid. Binding the same uid again is a success and no event.
    ///
    /// # Errors
    ///
    /// [`SessionError`] with pomelo's texts.
    pub fn bind(&self, uid: impl Into<Uid>) -> Result<(), SessionError> {
        let uid = uid.into();
        if uid.as_str().is_empty() {
            return Err(SessionError::EmptyUid);
        }
        let gone = || SessionError::Gone(self.id());
        let table = self.inner.frontend.table.upgrade().ok_or_else(gone)?;
        let listeners = {
            let mut state = lock(&self.inner.state);
            if self.is_closed() {
                return Err(gone());
            }
            match state.uid() {
                Some(current) if *current == uid => return Ok(()),
                Some(current) => return Err(SessionError::AlreadyBound(current.to_string())),
                None => {}
            }
            table.enter(&uid, self)?;
            table.bound.fetch_add(1, Ordering::Relaxed);
            state.bound = Some(Bound {
                uid: uid.clone(),
                since: SystemTime::now().into(),
            });
            table.emit(|| Event::BindSession {
                session: self.clone(),
                uid: uid.clone(),
            });
            state.heard(|listeners| &listeners.bind)
        };
        tell(&listeners, &uid);
        Ok(())
    }

    /// Takes the binding to `uid` away.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotBound`] if it is bound to another or to none,
    /// [`SessionError::Gone`] if it is closed.
    pub fn unbind(&self, uid: impl Into<Uid>) -> Result<(), SessionError> {
        let uid = uid.into();
        let gone = || SessionError::Gone(self.id());
        let table = self.inner.frontend.table.upgrade().ok_or_else(gone)?;
        let listeners = {
            let mut state = lock(&self.inner.state);
            if self.is_closed() {
                return Err(gone());
            }
            let current = state.uid();
            if current != Some(&uid) {
                return Err(SessionError::NotBound(
                    current.map_or_else(|| "null".to_owned(), Uid::to_string),
                ));
            }
            state.bound = None;
            if let Some(extra) = &mut state.extra {
                extra.info = Map::new();
            }
            self.doubt();
            table.forget(&uid, self.id());
            table.bound.fetch_sub(1, Ordering::Relaxed);
            table.emit(|| Event::UnbindSession {
                session: self.clone(),
                uid: uid.clone(),
            });
            state.heard(|listeners| &listeners.unbind)
        };
        tell(&listeners, &uid);
        Ok(())
    }

    /// Closes the connection, with a kick package if there is a reason.
    ///
    /// What was pushed before is flushed first. The session is gone from the
    /// service when this returns; `closed` listeners run after it.
    pub fn kick(&self, reason: Option<&str>) {
        self.leave();
        self.end(match reason {
            Some(reason) => Ending::Kick(reason.into()),
            None => Ending::Close,
        });
    }

    /// Calls `listener` when the session is closed, for whatever reason, once.
    ///
    /// By then the session is gone from the service, but the copy that the
    /// listener gets has uid and settings. On a session that is closed already
    /// the listener is dropped, and the answer is `false`: a handler that did something the
    /// listener was to undo has to undo it then.
    pub fn on_closed<F, R>(&self, listener: F) -> bool
    where
        F: FnOnce(ClosedSession) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.listen(|listeners| {
            // What panics in a listener, or already in making its future, ends that one alone.
            let boxed: ClosedListener = Box::new(move |closed| {
                let listening = async move { listener(closed).await };
                Box::pin(async move {
                    if AssertUnwindSafe(listening).catch_unwind().await.is_err() {
                        tracing::error!("a closed listener panicked");
                    }
                })
            });
            listeners.closed.push(boxed);
        })
    }

    /// Calls `listener` with the uid each time the session is bound. A panic is logged and nothing
    /// else.
    pub fn on_bind(&self, listener: impl Fn(&Uid) + Send + Sync + 'static) {
        let _ = self.listen(|listeners| listeners.bind.push(Arc::new(listener)));
    }

    /// Calls `listener` with the uid each time the session is unbound, other than by closing.
    pub fn on_unbind(&self, listener: impl Fn(&Uid) + Send + Sync + 'static) {
        let _ = self.listen(|listeners| listeners.unbind.push(Arc::new(listener)));
    }

    /// A copy as a handler of this frontend gets one: pomelo's `toFrontendSession`.
    pub fn to_frontend_session(&self) -> FrontendSession {
        FrontendSession(self.request_copy())
    }

    /// The session as plain data.
    pub fn export(&self) -> SessionData {
        let state = lock(&self.inner.state);
        SessionData {
            id: self.inner.id,
            frontend_id: Arc::clone(&self.inner.frontend.id),
            uid: state.uid().cloned(),
            settings: Arc::clone(&state.settings),
        }
    }

    /// What a request's copy of the session has of its own.
    pub(super) fn snapshot(&self) -> (Option<Uid>, Arc<Map<String, Value>>) {
        let state = lock(&self.inner.state);
        (state.uid().cloned(), Arc::clone(&state.settings))
    }

    pub(crate) fn shared_frontend_id(&self) -> Arc<str> {
        Arc::clone(&self.inner.frontend.id)
    }

    /// What the client was told at its handshake, and so how its messages are encoded.
    pub(crate) fn tables(&self) -> &Arc<ServerSettings> {
        &self.inner.tables
    }

    /// From here on nobody relies on having found it under a uid.
    pub(super) fn doubt(&self) {
        self.inner.doubted.store(true, Ordering::Release);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.inner.doubted.load(Ordering::Acquire)
    }

    pub(crate) fn request_copy(&self) -> RequestSession {
        RequestSession::here(self)
    }

    /// Writes one setting, or takes it away; a closed session refuses.
    pub(super) fn import(&self, key: &str, value: Option<Value>) -> Result<(), SessionError> {
        self.open()?;
        match value {
            Some(value) => self.set(key, value),
            None => self.remove(key),
        }
        Ok(())
    }

    /// Writes settings over those of the same keys; a closed session refuses.
    pub(super) fn import_all(&self, settings: Map<String, Value>) -> Result<(), SessionError> {
        self.open()?;
        self.set_all(settings);
        Ok(())
    }

    /// The record of its login; `None` if it is not bound.
    pub(super) fn login(&self) -> Option<Login> {
        let state = lock(&self.inner.state);
        let bound = state.bound.as_ref()?;
        let info = state.extra.as_deref().map(|extra| extra.info.clone());
        Some(Login {
            time: bound.since.into(),
            uid: bound.uid.clone(),
            address: self.remote_address(),
            info: info.unwrap_or_default(),
        })
    }

    /// Adds to the record of its login, if there is one.
    pub(super) fn add_info(&self, info: Map<String, Value>) {
        let mut state = lock(&self.inner.state);
        if state.bound.is_some() {
            state.extra.get_or_insert_default().info.extend(info);
        }
    }

    /// Takes the session out of the service and answers the futures of its `closed` listeners;
    /// nothing of the user's runs before they are polled.
    pub(crate) fn close(&self, reason: &CloseReason) -> Vec<Closing> {
        self.leave();
        self.end(Ending::Close);
        let (listeners, closed) = {
            let mut state = lock(&self.inner.state);
            if self.inner.is_over.swap(true, Ordering::Relaxed) {
                return Vec::new();
            }
            let closed = ClosedSession {
                id: self.inner.id,
                frontend_id: Arc::clone(&self.inner.frontend.id),
                uid: state.uid().cloned(),
                settings: Arc::clone(&state.settings),
                reason: reason.clone(),
            };
            let extra = state.extra.as_deref_mut();
            let listeners = extra.map(|extra| mem::take(&mut extra.listeners));
            (listeners, closed)
        };
        let closing = listeners.map(|listeners| {
            let called = listeners.closed.into_iter();
            called.map(|listener| listener(closed.clone())).collect()
        });
        if let Some(table) = self.inner.frontend.table.upgrade() {
            table.emit(|| Event::CloseSession(closed));
        }
        closing.unwrap_or_default()
    }

    /// Takes the session out of both maps, once; uid and settings stay for the listeners.
    fn leave(&self) {
        self.doubt();
        let Some(table) = self.inner.frontend.table.upgrade() else {
            return;
        };
        let state = lock(&self.inner.state);
        if self.inner.has_left.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(uid) = state.uid() {
            table.forget(uid, self.id());
            table.bound.fetch_sub(1, Ordering::Relaxed);
        }
        table.by_id.of(&self.id()).remove(&self.id());
    }

    fn open(&self) -> Result<(), SessionError> {
        if self.is_closed() {
            return Err(SessionError::Gone(self.id()));
        }
        Ok(())
    }

    fn listen(&self, add: impl FnOnce(&mut Listeners)) -> bool {
        let mut state = lock(&self.inner.state);
        if self.inner.is_over.load(Ordering::Relaxed) {
            return false;
        }
        add(&mut state.extra.get_or_insert_default().listeners);
        true
    }
}

impl State {
    fn uid(&self) -> Option<&Uid> {
        Some(&self.bound.as_ref()?.uid)
    }

    fn heard(&self, of: impl FnOnce(&Listeners) -> &Vec<UidListener>) -> Vec<UidListener> {
        let extra = self.extra.as_deref();
        extra
            .map(|extra| of(&extra.listeners).clone())
            .unwrap_or_default()
    }
}

impl Table {
    /// Under the session's lock, which keeps the order of a session's events.
    fn emit(&self, event: impl FnOnce() -> Event) {
        if let Some(app) = self.app.upgrade() {
            app.emit_with(event);
        }
    }
}

/// A listener that panics keeps neither the others nor the caller from going on.
fn tell(listeners: &[UidListener], uid: &Uid) {
    for listener in listeners {
        if catch_unwind(AssertUnwindSafe(|| listener(uid))).is_err() {
            tracing::error!("a bind or unbind listener panicked");
        }
    }
}

pub(super) fn setting<T: DeserializeOwned>(settings: &Map<String, Value>, key: &str) -> Option<T> {
    T::deserialize(settings.get(key)?).ok()
}

/// A session in the hands of its connection: one that ends without [`Session::close`], because
/// its task was dropped, leaves the service all the same.
#[derive(Debug)]
pub(crate) struct Owned(pub(super) Session);

impl std::ops::Deref for Owned {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Nobody is left to run the listeners; after a close in good order there are none.
        drop(self.0.close(&CloseReason::Local));
        // Handles that others keep do not keep the socket.
        drop(self.0.mailbox().disconnect());
    }
}

#[cfg(test)]
pub(crate) fn size() -> usize {
    size_of::<Inner>()
}
