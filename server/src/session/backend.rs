//! Sessions of other servers.

use std::fmt;

use serde_json::{Map, Value};

use super::{BackendSession, RequestSession, Uid};
use crate::app::App;
use crate::error::SessionError;
use crate::rpc::system::{Bind, GetBySid, GetByUid, KickBySid, KickByUid, Push, PushAll, Unbind};

/// Asks any frontend for its sessions, by id or by uid: pomelo's `backendSessionService`.
///
/// Every call goes to the frontend whose id is given; one that runs in this process answers at
/// once. Dropping a call's future before it is ready leaves open whether it happened.
#[derive(Clone)]
pub struct BackendSessionService {
    app: App,
}

impl fmt::Debug for BackendSessionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendSessionService")
            .finish_non_exhaustive()
    }
}

impl BackendSessionService {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }

    /// A copy of the session with this id, if there is one.
    ///
    /// # Errors
    ///
    /// [`SessionError::Frontend`], as for all calls here, if the frontend cannot be reached.
    pub async fn by_id(
        &self,
        frontend_id: &str,
        id: u64,
    ) -> Result<Option<BackendSession>, SessionError> {
        let found = self.app.system(frontend_id, GetBySid { sid: id }).await?;
        Ok(found.map(|data| BackendSession(RequestSession::there(self.app.clone(), data))))
    }

    /// Copies of the uid's sessions on that frontend; empty if there are none.
    ///
    /// # Errors
    ///
    /// [`SessionError::Frontend`].
    pub async fn by_uid(
        &self,
        frontend_id: &str,
        uid: impl Into<Uid> + Send,
    ) -> Result<Vec<BackendSession>, SessionError> {
        let uid = uid.into();
        let found = self.app.system(frontend_id, GetByUid { uid }).await?;
        let there = |data| BackendSession(RequestSession::there(self.app.clone(), data));
        Ok(found.into_iter().map(there).collect())
    }

    /// Closes the session with this id; `false` if there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::Frontend`].
    pub async fn kick_by_id(
        &self,
        frontend_id: &str,
        id: u64,
        reason: Option<&str>,
    ) -> Result<bool, SessionError> {
        let reason = reason.map(str::to_owned);
        let call = KickBySid { sid: id, reason };
        self.app.system(frontend_id, call).await
    }

    /// Closes every session of the uid on that frontend; answers how many.
    ///
    /// # Errors
    ///
    /// [`SessionError::Frontend`].
    pub async fn kick_by_uid(
        &self,
        frontend_id: &str,
        uid: impl Into<Uid> + Send,
        reason: Option<&str>,
    ) -> Result<usize, SessionError> {
        let (uid, reason) = (uid.into(), reason.map(str::to_owned));
        let call = KickByUid { uid, reason };
        self.app.system(frontend_id, call).await
    }

    /// Binds the session with this id.
    ///
    /// # Errors
    ///
    /// [`SessionError`] with pomelo's texts, and [`SessionError::Frontend`].
    pub async fn bind(
        &self,
        frontend_id: &str,
        id: u64,
        uid: impl Into<Uid> + Send,
    ) -> Result<(), SessionError> {
        let uid = uid.into();
        self.app.system(frontend_id, Bind { sid: id, uid }).await
    }

    /// Unbinds the session with this id.
    ///
    /// # Errors
    ///
    /// [`SessionError`] with pomelo's texts, and [`SessionError::Frontend`].
    pub async fn unbind(
        &self,
        frontend_id: &str,
        id: u64,
        uid: impl Into<Uid> + Send,
    ) -> Result<(), SessionError> {
        let uid = uid.into();
        self.app.system(frontend_id, Unbind { sid: id, uid }).await
    }

    /// Writes one setting of the session with this id; `None` takes it away.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] and [`SessionError::Frontend`].
    pub async fn push(
        &self,
        frontend_id: &str,
        id: u64,
        key: &str,
        value: Option<Value>,
    ) -> Result<(), SessionError> {
        let key = key.to_owned();
        let call = Push {
            sid: id,
            key,
            value,
        };
        self.app.system(frontend_id, call).await
    }

    /// Writes settings of the session with this id over those of the same keys.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] and [`SessionError::Frontend`].
    pub async fn push_all(
        &self,
        frontend_id: &str,
        id: u64,
        settings: Map<String, Value>,
    ) -> Result<(), SessionError> {
        let call = PushAll { sid: id, settings };
        self.app.system(frontend_id, call).await
    }
}
