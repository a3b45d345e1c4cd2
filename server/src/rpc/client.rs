//! The calling side of one server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use pomelo_protocol::{Body, Route};
use tokio::time::{Instant, sleep};

use super::RpcConfig;
use super::engine::Engine;
use super::fail::{Attempts, FailMode, Next};
use super::filter::{RpcFilters, RpcKind, RpcRequest};
use super::param::RouteParam;
use super::router::{Choice, Routing, Subject};
use crate::app::App;
use crate::error::{Error, RpcError};
use crate::handler::Request;
use crate::reply::Reply;

/// How a server calls others.
#[derive(Debug)]
pub(crate) struct RpcClient {
    config: RpcConfig,
    filters: RpcFilters,
    routing: Routing,
    engine: Engine,
}

/// A call whose server is still to be found.
pub(super) struct Call<'a> {
    pub(super) app: &'a App,
    pub(super) route: &'a Route,
    pub(super) arguments: &'a Bytes,
    pub(super) deadline: Instant,
    pub(super) fail_mode: FailMode,
}

impl RpcClient {
    pub(crate) fn new(config: RpcConfig, filters: RpcFilters) -> Self {
        Self {
            routing: Routing::new(config.router),
            config,
            filters,
            engine: Engine::Memory,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(super) fn fail_mode(&self) -> FailMode {
        self.config.fail_mode
    }

    /// Carries a client's request to its handler on a backend and the answer back.
    pub(crate) async fn forward(
        &self,
        request: &Request,
        server_type: &str,
    ) -> Result<Reply, Error> {
        let choice = self.choose_for(request, server_type)?;
        if self.filters.are_there() {
            // On the heap, so that requests without these filters are not as large.
            return Box::pin(self.forward_filtered(request, choice.server())).await;
        }
        let body = request.body.clone();
        self.engine.forward(request, choice.server(), body).await
    }

    fn choose_for(&self, request: &Request, server_type: &str) -> Result<Choice, RpcError> {
        let param = request.session().map(RouteParam::from).unwrap_or_default();
        let param = param.with_route(&request.route);
        let subject = Subject::Forward(request);
        self.routing
            .choose(&request.app, server_type, &param, subject)
    }

    async fn forward_filtered(&self, request: &Request, server: &Arc<str>) -> Result<Reply, Error> {
        let mut call = RpcRequest {
            kind: RpcKind::Forward,
            server: Arc::clone(server),
            route: request.route.clone(),
            arguments: request.body.clone(),
            extensions: Extensions::new(),
        };
        self.filters.before(&mut call).await?;
        let body = call.arguments.clone();
        let outcome = self.engine.forward(request, &call.server, body).await;
        let seen = outcome.as_ref().map(drop).map_err(Error::message);
        self.filters.after(&mut call, seen).await;
        outcome
    }

    /// Calls a remote on the server that the router chooses.
    pub(super) async fn call_chosen(
        &self,
        call: Call<'_>,
        param: &RouteParam,
    ) -> Result<Bytes, RpcError> {
        let server_type = call.route.split('.').next().unwrap_or_default();
        let param = param.clone().with_route(call.route);
        let subject = Subject::Remote(call.route, call.arguments);
        let choice = self
            .routing
            .choose(call.app, server_type, &param, subject)?;
        self.call_server(call, choice, Some(server_type)).await
    }

    /// Calls a remote on this server; where the fail mode allows it, on another of the type
    /// `stand_ins`.
    pub(super) async fn call_server(
        &self,
        call: Call<'_>,
        mut choice: Choice,
        stand_ins: Option<&str>,
    ) -> Result<Bytes, RpcError> {
        let mut attempts = Attempts::new(call.fail_mode);
        loop {
            let error = match self.attempt(&call, choice.server()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let topology = call.app.topology();
            let others = stand_ins.map_or(&[][..], |kind| topology.by_type(kind));
            match attempts.after(&error, choice.server(), others) {
                Next::GiveUp => return Err(error),
                Next::Try(server) => choice = Choice::of(server),
                Next::Again(delay) => sleep(delay).await,
            }
        }
    }

    async fn attempt(&self, call: &Call<'_>, server: &Arc<str>) -> Result<Bytes, RpcError> {
        let (app, route, deadline) = (call.app, call.route, call.deadline);
        let arguments = call.arguments.clone();
        if !self.filters.are_there() {
            return self
                .engine
                .call(app, server, route, arguments, deadline)
                .await;
        }
        let mut seen = RpcRequest {
            kind: RpcKind::Remote,
            server: Arc::clone(server),
            route: route.clone(),
            arguments: Body::json(arguments),
            extensions: Extensions::new(),
        };
        let verdict = self.filters.before(&mut seen).await;
        verdict.map_err(|error| RpcError::Filter(error.message().to_owned()))?;
        let arguments = seen
            .arguments
            .to_json()
            .map_err(|error| RpcError::Arguments(error.to_string()))?;
        let answer = self
            .engine
            .call(app, &seen.server, route, arguments, deadline)
            .await;
        let text = answer.as_ref().err().map(RpcError::to_string);
        let outcome = text.as_deref().map_or(Ok(()), Err);
        self.filters.after(&mut seen, outcome).await;
        answer
    }
}
