//! Where the sessions of one frontend are found, in shards.
//!
//! Messages touch no map here: a request has its session in hand, and only a push by uid looks one
//! shard up, that to a channel once for each member. A session's own lock is taken before that of a
//! shard, never the other way round, and nothing of the user's runs under either.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use serde_json::{Map, Value};

use super::{Session, Uid};
use crate::app::WeakApp;
use crate::connector::{Encode, Hybrid};
use crate::error::SessionError;
use crate::lock;
use crate::mailbox::{Flusher, Limits};
use crate::workers;

/// Enough that threads of a large machine seldom meet in one shard; an empty one costs 64 bytes.
const SHARDS: usize = 32;

#[derive(Debug)]
pub(super) struct Sharded<K, V, S = RandomState> {
    shards: Vec<Mutex<HashMap<K, V, S>>>,
    /// Chooses a shard and nothing more, so it need not withstand anybody.
    choice: Quick,
}

/// A hash for keys that nobody outside chooses.
type Quick = foldhash::fast::RandomState;

impl<K: Hash + Eq, V, S: BuildHasher + Default> Sharded<K, V, S> {
    fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default)
                .take(SHARDS)
                .collect(),
            choice: Quick::default(),
        }
    }

    pub(super) fn of<Q>(&self, key: &Q) -> MutexGuard<'_, HashMap<K, V, S>>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        let shards = self.shards.len() as u64;
        let index = usize::try_from(self.choice.hash_one(key) % shards).unwrap_or_default();
        let shard = self.shards.get(index).or_else(|| self.shards.first());
        lock(shard.expect("there are SHARDS shards, and the index is below"))
    }

    /// Each shard in turn.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, HashMap<K, V, S>>> {
        self.shards.iter().map(lock)
    }
}

/// What all sessions of a frontend share, and may still look at when the frontend has ended.
pub(super) struct Frontend {
    pub(super) id: Arc<str>,
    pub(super) table: Weak<Table>,
    pub(super) limits: Limits,
    pub(super) encode: Option<Arc<Encode>>,
    pub(super) flusher: Flusher,
    /// What a session has as long as nothing is set; shared, since most never set anything.
    pub(super) no_settings: Arc<Map<String, Value>>,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) app: WeakApp,
    pub(super) frontend: Arc<Frontend>,
    single_session: bool,
    pub(super) next_id: AtomicU64,
    /// The ids are the server's own.
    pub(super) by_id: Sharded<u64, Session, Quick>,
    /// The first that was bound of each uid that is online, nearly always the only one.
    pub(super) by_uid: Sharded<Uid, Session>,
    /// Those that were bound later and are still there, in this order; locked after the shard of
    /// the first.
    pub(super) others: Sharded<Uid, Vec<Session>>,
    /// Sockets, those that have not finished their handshake included.
    pub(super) connections: AtomicUsize,
    pub(super) bound: AtomicUsize,
    /// Frames that full mailboxes refused.
    pub(super) dropped: AtomicU64,
}

impl Table {
    pub(super) fn new(app: WeakApp, frontend_id: Arc<str>, hybrid: &Hybrid) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            app,
            frontend: Arc::new(Frontend {
                id: frontend_id,
                table: Weak::clone(this),
                limits: hybrid.mailbox,
                encode: hybrid.encode.clone(),
                flusher: Flusher::new(workers()),
                no_settings: Arc::default(),
            }),
            single_session: hybrid.single_session,
            next_id: AtomicU64::new(1),
            by_id: Sharded::new(),
            by_uid: Sharded::new(),
            others: Sharded::new(),
            connections: AtomicUsize::new(0),
            bound: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Enters the session under the uid; called under the session's lock.
    pub(super) fn enter(&self, uid: &Uid, session: &Session) -> Result<(), SessionError> {
        let mut shard = self.by_uid.of(uid.as_str());
        let Some(first) = shard.get(uid.as_str()) else {
            shard.insert(uid.clone(), session.clone());
            return Ok(());
        };
        if self.single_session {
            return Err(SessionError::SingleSession(uid.to_string()));
        }
        first.doubt();
        let mut others = self.others.of(uid.as_str());
        let others = others.entry(uid.clone()).or_default();
        others.iter().for_each(Session::doubt);
        others.push(session.clone());
        Ok(())
    }

    /// Takes exactly this session, which is in doubt, out: others of the same uid stay.
    pub(super) fn forget(&self, uid: &Uid, id: u64) {
        let mut shard = self.by_uid.of(uid.as_str());
        let Some(first) = shard.get_mut(uid.as_str()) else {
            return;
        };
        let mut others = self.others.of(uid.as_str());
        let Some(rest) = others.get_mut(uid.as_str()) else {
            if first.id() == id {
                shard.remove(uid.as_str());
            }
            return;
        };
        if first.id() == id {
            *first = rest.remove(0);
        } else {
            rest.retain(|other| other.id() != id);
        }
        if rest.is_empty() {
            others.remove(uid.as_str());
        }
    }

    /// Appends the sessions of a uid, in the order of their binding.
    pub(super) fn append(&self, uid: &str, into: &mut Vec<Session>) {
        if let Some(first) = self.by_uid.of(uid).get(uid) {
            self.append_all(uid, first, into);
        }
    }

    /// Under the lock of the shard that has the first.
    pub(super) fn append_all(&self, uid: &str, first: &Session, into: &mut Vec<Session>) {
        into.push(first.clone());
        // All but the last of them are in doubt.
        if first.is_doubted()
            && let Some(rest) = self.others.of(uid).get(uid)
        {
            into.extend_from_slice(rest);
        }
    }
}
