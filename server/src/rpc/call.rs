//! A call of a remote, as the application makes it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use pomelo_protocol::{Body, Route};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::{Instant, timeout_at};

use super::client::Call;
use super::fail::FailMode;
use super::param::RouteParam;
use super::router::Choice;
use crate::app::App;
use crate::error::RpcError;

/// A call in the making; see [`App::rpc`].
#[must_use = "nothing is called before `call`, `call_all` or `notify`"]
pub struct RpcCall {
    app: App,
    route: String,
    target: Target,
    timeout: Duration,
    fail_mode: FailMode,
}

enum Target {
    Chosen(RouteParam),
    Server(Arc<str>),
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
        let rpc = app.rpc_client();
        let (timeout, fail_mode) = (rpc.timeout(), rpc.fail_mode());
        Self {
            app,
            route: route.to_owned(),
            target: Target::Chosen(RouteParam::default()),
            timeout,
            fail_mode,
        }
    }

    /// What the type's route function decides by: a session, or a text. Default: nothing,
    /// which is the empty uid.
    pub fn route_by(mut self, param: impl Into<RouteParam>) -> Self {
        self.target = Target::Chosen(param.into());
        self
    }

    /// Calls this server, whatever the router says.
    pub fn to_server(mut self, server_id: &str) -> Self {
        self.target = Target::Server(server_id.into());
        self
    }

    /// How long the call may take. Default: [`RpcConfig::timeout`](super::RpcConfig::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What is done when the server cannot be reached. Default:
    /// [`RpcConfig::fail_mode`](super::RpcConfig::fail_mode).
    pub fn fail_mode(mut self, mode: FailMode) -> Self {
        self.fail_mode = mode;
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
        let arguments = json_of(&arguments)?;
        read(self.run(&arguments).await)
    }

    /// Calls the remote on every server of its type at the same time, and waits for all. Answers
    /// each server's id with what it answered, in the order in which servers came.
    ///
    /// # Errors
    ///
    /// [`RpcError::NoServer`] when there is none, and what is wrong with the call itself. What
    /// fails on one server is in its own result.
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn call_all<A, R>(
        self,
        arguments: A,
    ) -> Result<Vec<(Arc<str>, Result<R, RpcError>)>, RpcError>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        let arguments = json_of(&arguments)?;
        let (route, server_type) = self.parse()?;
        let topology = self.app.topology();
        let servers = topology.by_type(server_type);
        if servers.is_empty() {
            return Err(RpcError::NoServer(server_type.to_owned()));
        }
        let (route, arguments) = (&route, &arguments);
        let calls = servers.iter().map(|server| async {
            let id = Arc::clone(&server.id);
            let target = Target::Server(Arc::clone(&id));
            (id, read(self.run_to(&target, route, arguments).await))
        });
        Ok(join_all(calls).await)
    }

    /// Calls the remote without waiting for its answer, as pomelo does without a callback: a
    /// failure is logged. Must be called within the runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with the call itself: [`RpcError::Route`] and [`RpcError::Arguments`].
    pub fn notify<A: Serialize>(self, arguments: A) -> Result<(), RpcError> {
        let arguments = json_of(&arguments)?;
        self.parse()?;
        tokio::spawn(async move {
            if let Err(error) = read::<IgnoredAny>(self.run(&arguments).await) {
                tracing::warn!(route = self.route, %error, "rpc notify failed");
            }
        });
        Ok(())
    }

    fn parse(&self) -> Result<(Route, &str), RpcError> {
        let wrong = || RpcError::Route(self.route.clone());
        let mut parts = self.route.split('.');
        let (Some(server_type), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let route = Route::new(&self.route).map_err(|_| wrong())?;
        Ok((route, server_type))
    }

    async fn run(&self, arguments: &Bytes) -> Result<Bytes, RpcError> {
        let (route, _) = self.parse()?;
        self.run_to(&self.target, &route, arguments).await
    }

    async fn run_to(
        &self,
        target: &Target,
        route: &Route,
        arguments: &Bytes,
    ) -> Result<Bytes, RpcError> {
        let deadline = Instant::now() + self.timeout;
        let rpc = self.app.rpc_client();
        let call = Call {
            app: &self.app,
            route,
            arguments,
            deadline,
            fail_mode: self.fail_mode,
        };
        let work = async {
            match target {
                Target::Server(id) => {
                    rpc.call_server(call, Choice::of(Arc::clone(id)), None)
                        .await
                }
                Target::Chosen(param) => rpc.call_chosen(call, param).await,
            }
        };
        let metrics = self.app.metrics();
        let started = metrics.measures().then(Instant::now);
        let outcome = timeout_at(deadline, work)
            .await
            .unwrap_or(Err(RpcError::Timeout));
        metrics.called(route, started, outcome.is_err());
        outcome
    }
}

pub(super) fn json_of<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, RpcError> {
    let json = serde_json::to_vec(value);
    json.map(Bytes::from)
        .map_err(|error| RpcError::Arguments(error.to_string()))
}

fn read<R: DeserializeOwned>(answer: Result<Bytes, RpcError>) -> Result<R, RpcError> {
    Ok(Body::json(answer?).decode()?)
}
