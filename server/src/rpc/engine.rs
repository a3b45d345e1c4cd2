//! What carries calls to other servers, and what receives them there.

use bytes::Bytes;
use pomelo_protocol::{Body, Route};
use tokio::time::Instant;

use crate::app::App;
use crate::dispatch;
use crate::error::{Error, RpcError};
use crate::filter::shielded;
use crate::handler::Request;
use crate::reply::Reply;

/// The way to other servers. Whatever it is, a call is bytes in and bytes out, has a server id
/// and a deadline, and fails at once with [`RpcError::NotHere`] when nothing leads there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Engine {
    /// To servers of this process. What is called runs inside the caller's task, so calls start
    /// in the order in which they are made, and one that is given up leaves nothing behind.
    Memory,
}

impl Engine {
    /// Arguments and answer are JSON here, too: what works in one process works in several.
    pub(super) async fn call(
        self,
        from: &App,
        server: &str,
        route: &Route,
        arguments: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, RpcError> {
        match self {
            Self::Memory => serve(from.server(server)?, route, arguments, deadline).await,
        }
    }

    /// Hands a client's request to the server that has its handler, with its own copy of the
    /// session.
    pub(super) async fn forward(
        self,
        request: &Request,
        server: &str,
        body: Body,
    ) -> Result<Reply, Error> {
        match self {
            Self::Memory => {
                // Only global after filters could see what the backend does to its copy.
                let is_last = request.app.filters().global.ends_with_outcome();
                let session = request.session().map(|session| match is_last {
                    true => session.clone(),
                    false => session.fork(),
                });
                let app = request.app.server(server)?;
                let mut there = request.forwarded(app.clone(), session, body);
                dispatch::handle(&app, &mut there).await
            }
        }
    }
}

/// Runs a remote of `app` for a call that arrived there.
pub(super) async fn serve(
    app: App,
    route: &Route,
    arguments: Bytes,
    deadline: Instant,
) -> Result<Bytes, RpcError> {
    let unknown = || RpcError::UnknownRemote(route.as_str().to_owned());
    let server_type = route.split('.').next();
    if server_type != Some(app.server_type()) {
        return Err(unknown());
    }
    let mut request = Request::new(app, route.clone(), Body::json(arguments));
    request.deadline = Some(deadline);
    let remotes = request.app.remotes();
    let remote = async {
        match remotes.get(route) {
            None => Ok(None),
            Some(remote) => Ok(Some(remote.start(&request).await?.to_json()?)),
        }
    };
    match shielded("remote", remote).await {
        Ok(Some(json)) => Ok(json.into()),
        Ok(None) => Err(unknown()),
        Err(error) => Err(RpcError::Remote(error.message().to_owned())),
    }
}
