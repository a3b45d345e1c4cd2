//! Calls from server to server: a route names the remote, a key or an id picks the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::app::App;
use crate::error::RpcError;
use crate::session::{BackendSession, FrontendSession, RequestSession, Uid};
use crate::topology::ServerInfo;

mod local;
pub(crate) mod system;

/// How long a call may take: pomelo's `proxyConfig.timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a route function decides by: a session, or any text the caller gives.
#[derive(Debug, Clone, Default)]
pub struct RouteParam {
    session: Option<RequestSession>,
    key: Option<Uid>,
}

impl RouteParam {
    /// The session's uid, or the text that was given.
    pub fn uid(&self) -> Option<Uid> {
        match &self.session {
            Some(session) => session.uid(),
            None => self.key.clone(),
        }
    }

    /// A setting of the session.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.session.as_ref()?.get(key)
    }
}

impl From<&RequestSession> for RouteParam {
    fn from(session: &RequestSession) -> Self {
        Self {
            session: Some(session.clone()),
            key: None,
        }
    }
}

impl From<&FrontendSession> for RouteParam {
    fn from(session: &FrontendSession) -> Self {
        Self::from(&session.0)
    }
}

impl From<&BackendSession> for RouteParam {
    fn from(session: &BackendSession) -> Self {
        Self::from(&session.0)
    }
}

impl From<&str> for RouteParam {
    fn from(key: &str) -> Self {
        Self {
            session: None,
            key: Some(key.into()),
        }
    }
}

/// Chooses one of the servers of a type by its id.
pub(crate) type RouteFn = Arc<dyn Fn(&RouteParam, &[ServerInfo]) -> Option<Arc<str>> + Send + Sync>;

/// A call in the making; see [`App::rpc`].
#[must_use = "nothing is called before `call`"]
pub struct RpcCall {
    app: App,
    route: String,
    target: Target,
    timeout: Duration,
}

enum Target {
    Chosen(RouteParam),
    Server(String),
}

impl fmt::Debug for RpcCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcCall")
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl RpcCall {
    pub(crate) fn new(app: App, route: &str) -> Self {
        Self {
            app,
            route: route.to_owned(),
            target: Target::Chosen(RouteParam::default()),
            timeout: TIMEOUT,
        }
    }

    /// What the type's route function decides by: a session, or a text. Default: nothing,
    /// which is the empty uid.
    pub fn route_by(mut self, param: impl Into<RouteParam>) -> Self {
        self.target = Target::Chosen(param.into());
        self
    }

    /// Calls this server, whatever the route function says.
    pub fn to(mut self, server_id: &str) -> Self {
        self.target = Target::Server(server_id.to_owned());
        self
    }

    /// How long the call may take. Default: 30 s, as at pomelo.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Calls the remote with `arguments` (normally a tuple) and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`RpcError`], at once when there is no such server or remote.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call; how far the remote came is not known.
    pub async fn call<A, R>(self, arguments: A) -> Result<R, RpcError>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        let mut parts = self.route.split('.');
        let (Some(server_type), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(RpcError::Route(self.route));
        };
        let server = match &self.target {
            Target::Server(id) => self.app.server(id)?,
            Target::Chosen(param) => {
                let id = self.app.choose_by(server_type, param)?;
                self.app.server(&id)?
            }
        };
        let arguments = serde_json::to_vec(&arguments)
            .map_err(|error| RpcError::Arguments(error.to_string()))?;
        let metrics = self.app.metrics();
        let started = metrics.measures().then(Instant::now);
        let call = local::call(server, &self.route, arguments.into());
        let answer = tokio::time::timeout(self.timeout, call).await;
        if let Some(started) = started {
            metrics.called(&self.route, started.elapsed());
        }
        let answer = answer.map_err(|_| RpcError::Timeout)??;
        Ok(answer.decode()?)
    }
}
