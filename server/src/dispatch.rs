//! The whole path of a request: route -> handler here or forward there -> answer.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use pomelo_protocol::{Body, CodecError, Frame, RequestId, Route};
use serde_json::Value;

use crate::app::App;
use crate::error::{Error, PushError, code_500};
use crate::handler::{Reply, Request};
use crate::push::{Outbound, OutboundKind};
use crate::session::Session;
use crate::topology::ServerInfo;

/// Runs one request or notify of a session of `app`, a frontend, to its end.
///
/// The part before the handler's first await happens when the future is first polled.
pub(crate) async fn dispatch(
    app: App,
    session: Session,
    id: Option<RequestId>,
    route: Route,
    body: Body,
) {
    let target = match Target::of(&route) {
        Target::Silent => return,
        Target::Attack => return session.kick(Some("attack")),
        target => target,
    };
    let outcome = match target {
        Target::Handler(server_type) => {
            let call = call(&app, &session, server_type, route.clone(), body);
            // A handler that panics fails its own request and nothing else.
            AssertUnwindSafe(call)
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(Error::new("handler panicked")))
        }
        Target::Silent | Target::Attack | Target::Malformed => Err(Error::new("malformed route")),
    };
    if let Err(error) = &outcome {
        tracing::debug!(route = &*route, session = session.id(), %error, "request failed");
    }
    if let Some(id) = id {
        respond(&app, &session, id, &route, outcome);
    }
}

/// What a route asks for; server.js and connector.js of pomelo 2.2.7.
enum Target<'a> {
    /// `serverType.handler.method`
    Handler(&'a str),
    /// Not three parts: answered with code 500.
    Malformed,
    /// No dot, or a dot at the start: never answered.
    Silent,
    /// Something that only an attacker asks for.
    Attack,
}

impl<'a> Target<'a> {
    fn of(route: &'a str) -> Self {
        let mut parts = route.split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (None | Some(""), ..) | (_, None, ..) => Self::Silent,
            (Some(_), Some(_), Some("constructor"), None) => Self::Attack,
            (Some(server_type), Some(_), Some(_), None) => Self::Handler(server_type),
            (Some(_), Some(_), ..) => Self::Malformed,
        }
    }
}

async fn call(
    app: &App,
    session: &Session,
    server_type: &str,
    route: Route,
    body: Body,
) -> Result<Reply, Error> {
    let copy = session.request_copy();
    let there = if server_type == app.server_type() {
        app.clone()
    } else {
        let topology = app.topology();
        let servers = topology.by_type(server_type);
        // A frontend has no msgRemote: requests to another frontend type fail.
        if servers.iter().any(|server: &ServerInfo| server.frontend) {
            return Err(Error::new("the route is of another frontend type"));
        }
        let id = app.choose(server_type, Some(&copy))?;
        app.server(&id)?
    };
    let request = Request {
        app: there.clone(),
        route,
        body,
        session: Some(copy),
    };
    match there.handlers().call(&request) {
        Some(running) => running.await,
        None => Err(Error::new("no such handler")),
    }
}

fn respond(
    app: &App,
    session: &Session,
    id: RequestId,
    route: &Route,
    outcome: Result<Reply, Error>,
) {
    let reply = outcome.unwrap_or_else(|error| Reply::new(error.into_body()));
    let codec = &session.tables().codec;
    let frame = match reply.response(codec, id, route) {
        Ok(frame) => Ok(frame),
        // A response that does not fit its schema has an empty body.
        Err(CodecError::Misfit(_)) => codec.empty_response(id).map_err(CodecError::from),
        Err(error) => {
            tracing::warn!(route = &**route, %error, "response cannot be encoded");
            Reply::new(code_500()).response(codec, id, route)
        }
    };
    match frame {
        // A session that closed meanwhile takes no answer, and its mailbox counts what it refuses.
        Ok(frame) => drop(answer(app, session, id, route, frame)),
        Err(error) => tracing::warn!(route = &**route, %error, "response is lost"),
    }
}

/// Through the frontend's push scheduler, so that answers keep their order among pushes.
fn answer(
    app: &App,
    session: &Session,
    id: RequestId,
    route: &Route,
    frame: Frame,
) -> Result<(), PushError> {
    let outbound = Outbound {
        kind: OutboundKind::Response,
        id: Some(id),
        route,
        options: &Value::Null,
    };
    app.scheduler(&outbound)?
        .schedule(&outbound, frame, session)
}
