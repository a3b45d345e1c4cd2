//! Who is connected and who is logged in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{SessionService, Uid};

/// Connections and logins of one frontend at one moment: pomelo's connection statistics, under
/// its names when written by serde.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectionStatistics {
    /// The frontend.
    pub server_id: Arc<str>,
    /// Open connections, those that have not finished their handshake included.
    #[serde(rename = "totalConnCount")]
    pub connections: usize,
    /// Sessions that are bound to a uid.
    #[serde(rename = "loginedCount")]
    pub logged_in: usize,
    /// One record for each of them, the oldest first.
    #[serde(rename = "loginedList")]
    pub logins: Vec<Login>,
}

/// A session that is bound to a uid.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Login {
    /// When it was bound; milliseconds since 1970 when written by serde.
    #[serde(rename = "loginTime", serialize_with = "milliseconds")]
    pub time: SystemTime,
    /// The user.
    pub uid: Uid,
    /// The client's address.
    pub address: SocketAddr,
    /// What [`SessionService::update_user_info`] added.
    #[serde(flatten)]
    pub info: Map<String, Value>,
}

fn milliseconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl SessionService {
    /// How many connections are open, those that have not finished their handshake included.
    pub fn connection_count(&self) -> usize {
        self.table.connections.load(Ordering::Relaxed)
    }

    /// Counts and records; walks over all bound sessions.
    pub fn statistics(&self) -> ConnectionStatistics {
        let mut logins = Vec::with_capacity(self.bound_count());
        self.for_each_bound(|session| {
            logins.extend(session.login());
        });
        logins.sort_by_key(|login| login.time);
        ConnectionStatistics {
            server_id: Arc::clone(&self.table.frontend.id),
            connections: self.connection_count(),
            logged_in: logins.len(),
            logins,
        }
    }

    /// Adds members to the login records of the uid's sessions: pomelo's `updateUserInfo`.
    pub fn update_user_info(&self, uid: &str, info: &Map<String, Value>) {
        for session in self.by_uid(uid) {
            session.add_info(info.clone());
        }
    }

    /// Counts a connection, until [`disconnected`](Self::disconnected).
    pub(crate) fn connected(&self) {
        self.table.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.table.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
