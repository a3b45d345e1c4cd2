//! All sessions of one frontend.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pomelo_protocol::{Frame, ServerSettings};
use serde_json::{Map, Value};
use tokio::net::TcpStream;

use super::handle::Owned;
use super::table::Table;
use super::{Session, Uid};
use crate::app::WeakApp;
use crate::connector::Hybrid;
use crate::error::{PushError, SessionError};
use crate::mailbox::{Flusher, Outgoing};

/// All sessions of one frontend: pomelo's `sessionService`. A clone is another handle to the same
/// table.
///
/// It knows this frontend only: the same uid may be online on another one.
/// [`BackendSessionService`](super::BackendSessionService) asks others.
#[derive(Debug, Clone)]
pub struct SessionService {
    pub(super) table: Arc<Table>,
}

impl SessionService {
    pub(crate) fn new(app: WeakApp, frontend_id: Arc<str>, hybrid: &Hybrid) -> Self {
        Self {
            table: Table::new(app, frontend_id, hybrid),
        }
    }

    pub(crate) fn create(
        &self,
        peer: SocketAddr,
        tables: Arc<ServerSettings>,
        early: Outgoing,
        socket: Option<Arc<TcpStream>>,
    ) -> Owned {
        let id = self.table.next_id.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(id, &self.table, peer, tables);
        session.mailbox().connect(early, socket);
        self.table.by_id.of(&id).insert(id, session.clone());
        Owned(session)
    }

    /// What writes pushes for connections that wait.
    pub(crate) fn flusher(&self) -> &Flusher {
        &self.table.frontend.flusher
    }

    /// The session with this id.
    pub fn by_id(&self, id: u64) -> Option<Session> {
        self.table.by_id.of(&id).get(&id).cloned()
    }

    /// The sessions bound to this uid, in the order of their binding; empty if there are none.
    pub fn by_uid(&self, uid: &str) -> Vec<Session> {
        let mut sessions = Vec::new();
        self.append_by_uid(uid, &mut sessions);
        sessions
    }

    /// Every session, in no particular order.
    pub fn all(&self) -> Vec<Session> {
        let mut sessions = Vec::with_capacity(self.count());
        for shard in self.table.by_id.each() {
            sessions.extend(shard.values().cloned());
        }
        sessions
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.table.by_id.each().map(|shard| shard.len()).sum()
    }

    /// How many sessions are bound to a uid.
    pub fn bound_count(&self) -> usize {
        self.table.bound.load(Ordering::Relaxed)
    }

    /// How many frames full mailboxes of this frontend have refused since the start.
    pub fn dropped_frames(&self) -> u64 {
        self.table.dropped.load(Ordering::Relaxed)
    }

    /// Calls `visit` with every session, in no particular order.
    ///
    /// No lock is held meanwhile: sessions that come or go during the visit may be missed or be
    /// closed already.
    pub fn for_each(&self, mut visit: impl FnMut(&Session)) {
        let mut sessions = Vec::new();
        for shard in self.table.by_id.each() {
            sessions.extend(shard.values().cloned());
            drop(shard);
            sessions.drain(..).for_each(|session| visit(&session));
        }
    }

    /// Calls `visit` with every session that is bound, once, however many its uid has; otherwise
    /// as [`for_each`](Self::for_each).
    pub fn for_each_bound(&self, mut visit: impl FnMut(&Session)) {
        let mut sessions = Vec::new();
        for shard in self.table.by_uid.each() {
            for (uid, first) in shard.iter() {
                self.table.append_all(uid.as_str(), first, &mut sessions);
            }
            drop(shard);
            sessions.drain(..).for_each(|session| visit(&session));
        }
    }

    /// The client's address of the session with this id.
    pub fn client_address(&self, id: u64) -> Option<SocketAddr> {
        Some(self.by_id(id)?.remote_address())
    }

    /// Puts an encoded message in the mailbox of the session with this id.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] also if there is no such session, [`PushError::Full`].
    pub fn send(&self, id: u64, frame: Frame) -> Result<(), PushError> {
        self.by_id(id).ok_or(PushError::Closed)?.send(frame)
    }

    /// Puts an encoded message in the mailboxes of the uid's sessions; answers how many took it.
    pub fn send_by_uid(&self, uid: &str, frame: &Frame) -> usize {
        let sessions = self.by_uid(uid);
        let sent = sessions.iter().map(|session| session.send(frame.clone()));
        sent.filter(Result::is_ok).count()
    }

    /// Binds the session with this id; see [`Session::bind`].
    ///
    /// # Errors
    ///
    /// [`SessionError`] with pomelo's texts.
    pub fn bind(&self, id: u64, uid: impl Into<Uid>) -> Result<(), SessionError> {
        self.open(id)?.bind(uid)
    }

    /// Unbinds the session with this id; see [`Session::unbind`].
    ///
    /// # Errors
    ///
    /// [`SessionError::NotBound`] and [`SessionError::Gone`].
    pub fn unbind(&self, id: u64, uid: impl Into<Uid>) -> Result<(), SessionError> {
        self.open(id)?.unbind(uid)
    }

    /// Writes one setting of the session with this id; `None` takes it away.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] if there is no such session.
    pub fn import(&self, id: u64, key: &str, value: Option<Value>) -> Result<(), SessionError> {
        self.open(id)?.import(key, value)
    }

    /// Writes settings of the session with this id over those of the same keys.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] if there is no such session.
    pub fn import_all(&self, id: u64, settings: Map<String, Value>) -> Result<(), SessionError> {
        self.open(id)?.import_all(settings)
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

    /// Appends the sessions of a uid: a push to many keeps one buffer.
    pub(crate) fn append_by_uid(&self, uid: &str, into: &mut Vec<Session>) {
        self.table.append(uid, into);
    }

    fn open(&self, id: u64) -> Result<Session, SessionError> {
        self.by_id(id).ok_or(SessionError::Gone(id))
    }
}
