//! Sessions as handlers see them: copies, one per request.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::handle::setting;
use super::{ClosedSession, Session, SessionData, Uid};
use crate::app::App;
use crate::error::SessionError;
use crate::lock;
use crate::rpc::system::{Bind, KickBySid, Push, PushAll, SystemCall, Unbind};

/// The session as one request sees it: a copy, made when the request arrived.
///
/// `get` and `set` work on the copy only; [`push`](Self::push) and
/// [`push_all`](Self::push_all) write it back. What is set and not pushed is
/// forgotten with the request. Clones share the copy.
#[derive(Debug, Clone)]
pub struct RequestSession {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    original: Original,
    copy: Mutex<Copy>,
}

/// Where what is pushed goes.
#[derive(Debug, Clone)]
enum Original {
    /// In this process.
    Here(Session),
    There(There),
}

/// On a frontend that is asked by its id.
#[derive(Debug, Clone)]
struct There {
    app: App,
    id: u64,
    frontend_id: Arc<str>,
}

impl There {
    async fn call<C: SystemCall + Send>(&self, call: C) -> Result<C::Answer, C::Error> {
        self.app.system(&self.frontend_id, call).await
    }
}

#[derive(Debug)]
struct Copy {
    uid: Option<Uid>,
    settings: Arc<Map<String, Value>>,
}

impl RequestSession {
    pub(super) fn here(session: &Session) -> Self {
        let (uid, settings) = session.snapshot();
        Self {
            inner: Arc::new(Inner {
                original: Original::Here(session.clone()),
                copy: Mutex::new(Copy { uid, settings }),
            }),
        }
    }

    /// A copy of a session that is reached through `app`.
    pub(super) fn there(app: App, data: SessionData) -> Self {
        let SessionData {
            id,
            frontend_id,
            uid,
            settings,
        } = data;
        Self {
            inner: Arc::new(Inner {
                original: Original::There(There {
                    app,
                    id,
                    frontend_id,
                }),
                copy: Mutex::new(Copy { uid, settings }),
            }),
        }
    }

    /// The session's id, counted from 1 in its frontend.
    pub fn id(&self) -> u64 {
        match &self.inner.original {
            Original::Here(session) => session.id(),
            Original::There(there) => there.id,
        }
    }

    /// The server that holds the connection.
    pub fn frontend_id(&self) -> &str {
        match &self.inner.original {
            Original::Here(session) => session.frontend_id(),
            Original::There(there) => &there.frontend_id,
        }
    }

    pub(crate) fn shared_frontend_id(&self) -> Arc<str> {
        match &self.inner.original {
            Original::Here(session) => session.shared_frontend_id(),
            Original::There(there) => Arc::clone(&there.frontend_id),
        }
    }

    /// The uid when the request arrived, or what this copy bound since.
    pub fn uid(&self) -> Option<Uid> {
        lock(&self.inner.copy).uid.clone()
    }

    /// A setting of the copy; `None` if it is absent or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let settings = Arc::clone(&lock(&self.inner.copy).settings);
        setting(&settings, key)
    }

    /// Changes a setting of the copy. A value that serde refuses is stored as null.
    pub fn set(&self, key: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        Arc::make_mut(&mut lock(&self.inner.copy).settings).insert(key.to_owned(), value);
    }

    /// The copy as plain data: what it was at the request, with what was bound and set since.
    pub fn export(&self) -> SessionData {
        let copy = lock(&self.inner.copy);
        SessionData {
            id: self.id(),
            frontend_id: self.shared_frontend_id(),
            uid: copy.uid.clone(),
            settings: Arc::clone(&copy.settings),
        }
    }

    /// Binds the session to a uid, and on success the copy. Binding the same uid again is a
    /// success.
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
            match &this.inner.original {
                Original::Here(session) => session.bind(&uid)?,
                Original::There(there) => {
                    let (sid, uid) = (there.id, uid.clone());
                    there.call(Bind { sid, uid }).await?;
                }
            }
            lock(&this.inner.copy).uid = Some(uid);
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
            match &this.inner.original {
                Original::Here(session) => session.unbind(&uid)?,
                Original::There(there) => there.call(Unbind { sid: there.id, uid }).await?,
            }
            lock(&this.inner.copy).uid = None;
            Ok(())
        }
    }

    /// Writes one setting of the copy to the session; one that the copy has not is taken away.
    ///
    /// # Errors
    ///
    /// [`SessionError::Gone`] if the session is closed.
    pub fn push(&self, key: &str) -> impl Future<Output = Result<(), SessionError>> + Send + use<> {
        let (this, key) = (self.clone(), key.to_owned());
        async move {
            let value = lock(&this.inner.copy).settings.get(&key).cloned();
            match &this.inner.original {
                Original::Here(session) => session.import(&key, value),
                Original::There(there) => {
                    let sid = there.id;
                    there.call(Push { sid, key, value }).await
                }
            }
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
            let settings = Map::clone(&lock(&this.inner.copy).settings);
            match &this.inner.original {
                Original::Here(session) => session.import_all(settings),
                Original::There(there) => {
                    let sid = there.id;
                    there.call(PushAll { sid, settings }).await
                }
            }
        }
    }

    /// Closes the connection, with a kick package if there is a reason; `false` if it was closed
    /// already.
    ///
    /// # Errors
    ///
    /// [`SessionError::Frontend`] if the session's frontend cannot be reached.
    pub fn kick(
        &self,
        reason: Option<&str>,
    ) -> impl Future<Output = Result<bool, SessionError>> + Send + use<> {
        let (this, reason) = (self.clone(), reason.map(str::to_owned));
        async move {
            match &this.inner.original {
                Original::Here(session) => {
                    let open = !session.is_closed();
                    session.kick(reason.as_deref());
                    Ok(open)
                }
                Original::There(there) => {
                    let sid = there.id;
                    there.call(KickBySid { sid, reason }).await
                }
            }
        }
    }

    /// Another copy with what this one holds now, as another server would get it.
    pub(crate) fn fork(&self) -> Self {
        let copy = lock(&self.inner.copy);
        Self {
            inner: Arc::new(Inner {
                original: self.inner.original.clone(),
                copy: Mutex::new(Copy {
                    uid: copy.uid.clone(),
                    settings: Arc::clone(&copy.settings),
                }),
            }),
        }
    }

    /// Whether the session is known to be closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.local().is_some_and(Session::is_closed)
    }

    /// The session itself, if it is in this process.
    pub(crate) fn local(&self) -> Option<&Session> {
        match &self.inner.original {
            Original::Here(session) => Some(session),
            Original::There(_) => None,
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
    /// Calls `listener` when the session is closed; `false` if it is already. See
    /// [`Session::on_closed`].
    pub fn on_closed<F, R>(&self, listener: F) -> bool
    where
        F: FnOnce(ClosedSession) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.local()
            .is_some_and(|session| session.on_closed(listener))
    }

    /// Calls `listener` with the uid each time the session is bound, by whomever.
    pub fn on_bind(&self, listener: impl Fn(&Uid) + Send + Sync + 'static) {
        if let Some(session) = self.local() {
            session.on_bind(listener);
        }
    }

    /// Calls `listener` with the uid each time the session is unbound, other than by closing.
    pub fn on_unbind(&self, listener: impl Fn(&Uid) + Send + Sync + 'static) {
        if let Some(session) = self.local() {
            session.on_unbind(listener);
        }
    }
}

/// The request's session in a handler that runs on another server than the client's frontend, or
/// one that [`BackendSessionService`](super::BackendSessionService) fetched.
#[derive(Debug, Clone)]
pub struct BackendSession(pub(crate) RequestSession);

impl Deref for BackendSession {
    type Target = RequestSession;

    fn deref(&self) -> &RequestSession {
        &self.0
    }
}
