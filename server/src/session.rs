//! Sessions: one per connection that finished its handshake, found by id and by uid.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use pomelo_protocol::{CloseReason, Frame, ServerSettings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{PushError, SessionError};
use crate::lock;
use crate::mailbox::{Ending, Limits, Mailbox};

/// The name of a user: a text that is not empty, or an integer compared by its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Arc<str>);

impl Uid {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Uid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! uid_from {
    ($($from:ty => |$value:ident| $text:expr),+ $(,)?) => {$(
        impl From<$from> for Uid {
            fn from($value: $from) -> Self {
                Self(Arc::from($text))
            }
        }
    )+};
}

uid_from! {
    &str => |text| text,
    &String => |text| text.as_str(),
    String => |text| text,
    i32 => |number| number.to_string(),
    u32 => |number| number.to_string(),
    i64 => |number| number.to_string(),
    u64 => |number| number.to_string(),
}

impl From<&Self> for Uid {
    fn from(uid: &Self) -> Self {
        uid.clone()
    }
}

type Listener = Box<dyn FnOnce(ClosedSession) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

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
        self.settings
            .get(key)
            .and_then(|value| T::deserialize(value).ok())
    }
}

/// The session of one connection: a cheap handle, which does not keep the connection open.
///
/// Handlers get a per-request copy instead, [`FrontendSession`] or [`BackendSession`].
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    frontend_id: Arc<str>,
    peer: SocketAddr,
    service: Weak<Table>,
    mailbox: Mailbox,
    tables: Arc<ServerSettings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    uid: Option<Uid>,
    settings: Arc<Map<String, Value>>,
    listeners: Vec<Listener>,
    closed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.inner.id)
            .field("frontend_id", &self.inner.frontend_id)
            .field("uid", &self.uid())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Counted from 1 in each frontend.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The id of the server that holds the connection.
    pub fn frontend_id(&self) -> &str {
        &self.inner.frontend_id
    }

    /// The client's address.
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.peer
    }

    /// The uid it is bound to.
    pub fn uid(&self) -> Option<Uid> {
        lock(&self.inner.state).uid.clone()
    }

    /// A setting; `None` if it is absent or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let settings = self.settings();
        settings
            .get(key)
            .and_then(|value| T::deserialize(value).ok())
    }

    /// Changes a setting for every request from now on.
    pub fn set(&self, key: &str, value: Value) {
        let mut state = lock(&self.inner.state);
        Arc::make_mut(&mut state.settings).insert(key.to_owned(), value);
    }

    /// Puts an encoded message in the session's mailbox; never waits.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] and [`PushError::Full`].
    pub fn send(&self, frame: Frame) -> Result<(), PushError> {
        self.inner.mailbox.push(frame)
    }

    /// How many frames the full mailbox refused.
    pub fn dropped_frames(&self) -> u64 {
        self.inner.mailbox.dropped()
    }

    /// Closes the connection, with a kick package if there is a reason.
    ///
    /// What was pushed before is flushed first. The session is gone from the
    /// service when this returns.
    pub fn kick(&self, reason: Option<&str>) {
        if let Some(table) = self.inner.service.upgrade() {
            table.remove(self);
        }
        self.inner.mailbox.end(match reason {
            Some(reason) => Ending::Kick(reason.to_owned()),
            None => Ending::Close,
        });
    }

    /// What the client was told at its handshake, and so how its messages are encoded.
    pub(crate) fn tables(&self) -> &Arc<ServerSettings> {
        &self.inner.tables
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.inner.mailbox
    }

    pub(crate) fn request_copy(&self) -> RequestSession {
        let state = lock(&self.inner.state);
        RequestSession {
            copy: Arc::new(Mutex::new(Copy {
                uid: state.uid.clone(),
                settings: Arc::clone(&state.settings),
            })),
            session: self.clone(),
        }
    }

    fn settings(&self) -> Arc<Map<String, Value>> {
        Arc::clone(&lock(&self.inner.state).settings)
    }

    /// Takes the session out of the service and answers the futures of its `closed` listeners.
    pub(crate) fn close(
        &self,
        reason: &CloseReason,
    ) -> Vec<Pin<Box<dyn Future<Output = ()> + Send>>> {
        if let Some(table) = self.inner.service.upgrade() {
            table.remove(self);
        }
        self.inner.mailbox.end(Ending::Close);
        let (listeners, closed) = {
            let mut state = lock(&self.inner.state);
            state.closed = true;
            let closed = ClosedSession {
                id: self.inner.id,
                frontend_id: Arc::clone(&self.inner.frontend_id),
                uid: state.uid.clone(),
                settings: Arc::clone(&state.settings),
                reason: reason.clone(),
            };
            (std::mem::take(&mut state.listeners), closed)
        };
        listeners
            .into_iter()
            .map(|listener| listener(closed.clone()))
            .collect()
    }
}

/// All sessions of one frontend. A clone is another handle to the same table.
#[derive(Debug, Clone)]
pub struct SessionService {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    frontend_id: Arc<str>,
    single_session: bool,
    next_id: AtomicU64,
    maps: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: HashMap<u64, Session>,
    by_uid: HashMap<Uid, Vec<Session>>,
}

impl SessionService {
    pub(crate) fn new(frontend_id: Arc<str>, single_session: bool) -> Self {
        Self {
            table: Arc::new(Table {
                frontend_id,
                single_session,
                next_id: AtomicU64::new(1),
                maps: Mutex::default(),
            }),
        }
    }

    pub(crate) fn create(
        &self,
        peer: SocketAddr,
        limits: Limits,
        tables: Arc<ServerSettings>,
    ) -> Session {
        let session = Session {
            inner: Arc::new(Inner {
                id: self.table.next_id.fetch_add(1, Ordering::Relaxed),
                frontend_id: Arc::clone(&self.table.frontend_id),
                peer,
                service: Arc::downgrade(&self.table),
                mailbox: Mailbox::new(limits),
                tables,
                state: Mutex::default(),
            }),
        };
        lock(&self.table.maps)
            .by_id
            .insert(session.id(), session.clone());
        session
    }

    /// The session with this id.
    pub fn by_id(&self, id: u64) -> Option<Session> {
        lock(&self.table.maps).by_id.get(&id).cloned()
    }

    /// The sessions bound to this uid; empty if there are none.
    pub fn by_uid(&self, uid: &str) -> Vec<Session> {
        lock(&self.table.maps)
            .by_uid
            .get(uid)
            .cloned()
            .unwrap_or_default()
    }

    /// Every session.
    pub fn all(&self) -> Vec<Session> {
        lock(&self.table.maps).by_id.values().cloned().collect()
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        lock(&self.table.maps).by_id.len()
    }

    /// Closes every session of the uid, with a kick package if there is a reason; answers how many.
    pub fn kick_by_uid(&self, uid: &str, reason: Option<&str>) -> usize {
        let sessions = self.by_uid(uid);
        for session in &sessions {
            session.kick(reason);
        }
        sessions.len()
    }

    /// Closes the session with this id; `false` if there is none.
    pub fn kick_by_id(&self, id: u64, reason: Option<&str>) -> bool {
        let session = self.by_id(id);
        if let Some(session) = &session {
            session.kick(reason);
        }
        session.is_some()
    }
}

impl Table {
    /// Removes exactly this session: an entry of the same name that belongs to another stays.
    fn remove(&self, session: &Session) {
        let mut maps = lock(&self.maps);
        maps.by_id.remove(&session.id());
        let uid = session.uid();
        if let Some(uid) = uid {
            maps.forget(&uid, session.id());
        }
    }

    fn bind(&self, session: &Session, uid: Uid) -> Result<(), SessionError> {
        if uid.as_str().is_empty() {
            return Err(SessionError::EmptyUid);
        }
        let mut maps = lock(&self.maps);
        if !maps.by_id.contains_key(&session.id()) {
            return Err(SessionError::Gone(session.id()));
        }
        let mut state = lock(&session.inner.state);
        match &state.uid {
            Some(current) if *current == uid => return Ok(()),
            Some(current) => return Err(SessionError::AlreadyBound(current.to_string())),
            None => {}
        }
        let sessions = maps.by_uid.entry(uid.clone()).or_default();
        if self.single_session && !sessions.is_empty() {
            return Err(SessionError::SingleSession(uid.to_string()));
        }
        sessions.push(session.clone());
        state.uid = Some(uid);
        Ok(())
    }

    fn unbind(&self, session: &Session, uid: &Uid) -> Result<(), SessionError> {
        let mut maps = lock(&self.maps);
        if !maps.by_id.contains_key(&session.id()) {
            return Err(SessionError::Gone(session.id()));
        }
        let mut state = lock(&session.inner.state);
        if state.uid.as_ref() != Some(uid) {
            let current = state
                .uid
                .as_ref()
                .map_or_else(|| "null".to_owned(), Uid::to_string);
            return Err(SessionError::NotBound(current));
        }
        state.uid = None;
        maps.forget(uid, session.id());
        Ok(())
    }
}

impl Maps {
    fn forget(&mut self, uid: &Uid, id: u64) {
        if let Some(sessions) = self.by_uid.get_mut(uid) {
            sessions.retain(|other| other.id() != id);
            if sessions.is_empty() {
                self.by_uid.remove(uid);
            }
        }
    }
}

/// The session as one request sees it: a copy, made when the request arrived.
///
/// `get` and `set` work on the copy only; [`push`](Self::push) and
/// [`push_all`](Self::push_all) write it back. What is set and not pushed is
/// forgotten with the request. Clones share the copy.
#[derive(Debug, Clone)]
pub struct RequestSession {
    copy: Arc<Mutex<Copy>>,
    session: Session,
}

#[derive(Debug)]
struct Copy {
    uid: Option<Uid>,
    settings: Arc<Map<String, Value>>,
}

impl RequestSession {
    /// The session's id, counted from 1 in its frontend.
    pub fn id(&self) -> u64 {
        self.session.id()
    }

    /// The server that holds the connection.
    pub fn frontend_id(&self) -> &str {
        self.session.frontend_id()
    }

    /// The uid when the request arrived, or what this copy bound since.
    pub fn uid(&self) -> Option<Uid> {
        lock(&self.copy).uid.clone()
    }

    /// A setting of the copy; `None` if it is absent or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let settings = Arc::clone(&lock(&self.copy).settings);
        settings
            .get(key)
            .and_then(|value| T::deserialize(value).ok())
    }

    /// Changes a setting of the copy. A value that serde refuses is stored as null.
    pub fn set(&self, key: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        Arc::make_mut(&mut lock(&self.copy).settings).insert(key.to_owned(), value);
    }

    /// Binds the session to a uid. Binding the same uid again is a success.
    ///
    /// # Errors
    ///
    /// [`SessionError`] with pomelo's texts.
    pub fn bind<U: Into<Uid>>(
        &self,
        uid: U,
    ) -> impl Future<Output = Result<(), SessionError>> + Send + use<U> {
        let (this, uid) = (self.clone(), uid.into());
        async move {
            this.table()?.bind(&this.session, uid.clone())?;
            lock(&this.copy).uid = Some(uid);
            Ok(())
        }
    }

    /// Takes the binding to `uid` away.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotBound`] if it is bound to another or to none.
    pub fn unbind<U: Into<Uid>>(
        &self,
        uid: U,
    ) -> impl Future<Output = Result<(), SessionError>> + Send + use<U> {
        let (this, uid) = (self.clone(), uid.into());
        async move {
            this.table()?.unbind(&this.session, &uid)?;
            lock(&this.copy).uid = None;
            Ok(())
        }
    }

    /// Writes one setting of the copy to the session.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] if the session is closed.
    pub fn push(&self, key: &str) -> impl Future<Output = Result<(), SessionError>> + Send + use<> {
        let (this, key) = (self.clone(), key.to_owned());
        async move {
            this.table()?;
            let value = lock(&this.copy).settings.get(&key).cloned();
            this.session.set(&key, value.unwrap_or(Value::Null));
            Ok(())
        }
    }

    /// Writes all settings of the copy to the session, over newer values, too.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] if the session is closed.
    pub fn push_all(&self) -> impl Future<Output = Result<(), SessionError>> + Send + use<> {
        let this = self.clone();
        async move {
            this.table()?;
            let settings = Arc::clone(&lock(&this.copy).settings);
            let mut state = lock(&this.session.inner.state);
            let mine = Arc::make_mut(&mut state.settings);
            for (key, value) in settings.iter() {
                mine.insert(key.clone(), value.clone());
            }
            Ok(())
        }
    }

    /// Closes the connection, with a kick package if there is a reason.
    pub fn kick(&self, reason: Option<&str>) {
        self.session.kick(reason);
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The table, if the session is still in it.
    fn table(&self) -> Result<Arc<Table>, SessionError> {
        let gone = SessionError::Gone(self.id());
        let Some(table) = self.session.inner.service.upgrade() else {
            return Err(gone);
        };
        if lock(&table.maps).by_id.contains_key(&self.id()) {
            Ok(table)
        } else {
            Err(gone)
        }
    }
}

/// The request's session in a handler that runs on the client's own frontend.
#[derive(Debug, Clone)]
pub struct FrontendSession(pub(crate) RequestSession);

impl Deref for FrontendSession {
    type Target = RequestSession;

    fn deref(&self) -> &RequestSession {
        &self.0
    }
}

impl FrontendSession {
    /// Calls `listener` when the session is closed, for whatever reason, once.
    ///
    /// By then the session is gone from the service, but the copy that the
    /// listener gets has uid and settings. On a session that is closed already
    /// the listener is dropped.
    pub fn on_closed<F, R>(&self, listener: F)
    where
        F: FnOnce(ClosedSession) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let mut state = lock(&self.session().inner.state);
        if !state.closed {
            state
                .listeners
                .push(Box::new(move |closed| Box::pin(listener(closed))));
        }
    }
}

/// The request's session in a handler that runs on another server than the client's frontend.
#[derive(Debug, Clone)]
pub struct BackendSession(pub(crate) RequestSession);

impl Deref for BackendSession {
    type Target = RequestSession;

    fn deref(&self) -> &RequestSession {
        &self.0
    }
}
