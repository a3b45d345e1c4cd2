//! Where the sessions of one frontend are found, in shards.
//!
//! Messages touch no map here: a request has its session in hand, and only a push by uid looks one
//! shard up, that to a channel once for each member. A session's own lock is taken before that of a shard, never the other way round, and
//! nothing of the user's runs under either.

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
    pub(super) by_uid: Sharded<Uid, Online>,
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
            connections: AtomicUsize::new(0),
            bound: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Enters the session under the uid; called under the session's lock.
    pub(super) fn enter(&self, uid: &Uid, session: &Session) -> Result<(), SessionError> {
        let mut shard = self.by_uid.of(uid.as_str());
        match shard.get_mut(uid.as_str()) {
            Some(_) if self.single_session => {
                return Err(SessionError::SingleSession(uid.to_string()));
            }
            Some(online) => {
                online.sessions().iter().for_each(Session::doubt);
                online.push(session.clone());
            }
            None => drop(shard.insert(uid.clone(), Online::One(session.clone()))),
        }
        Ok(())
    }

    /// Takes exactly this session out: others of the same uid stay.
    pub(super) fn forget(&self, uid: &Uid, id: u64) {
        let mut shard = self.by_uid.of(uid.as_str());
        if shard
            .get_mut(uid.as_str())
            .is_some_and(|online| online.forget(id))
        {
            shard.remove(uid.as_str());
        }
    }
}

/// The sessions of one uid, in the order of their binding: nearly always one.
#[derive(Debug)]
pub(super) enum Online {
    One(Session),
    #[expect(
        clippy::box_collection,
        reason = "rare, and so not a part of every entry's size"
    )]
    Many(Box<Vec<Session>>),
}

impl Online {
    pub(super) fn sessions(&self) -> &[Session] {
        match self {
            Self::One(session) => std::slice::from_ref(session),
            Self::Many(sessions) => sessions,
        }
    }

    fn push(&mut self, session: Session) {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![first.clone(), session])),
            Self::Many(sessions) => sessions.push(session),
        }
    }

    /// Takes the session with this id out; answers whether none is left.
    fn forget(&mut self, id: u64) -> bool {
        match self {
            Self::One(session) => session.id() == id,
            Self::Many(sessions) => {
                sessions.retain(|other| other.id() != id);
                sessions.is_empty()
            }
        }
    }
}
