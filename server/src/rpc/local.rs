//! The engine in memory: the remote runs inside the caller's task.

use bytes::Bytes;
use pomelo_protocol::{Body, Route};

use crate::app::App;
use crate::error::RpcError;
use crate::handler::Request;

/// Arguments and answer are JSON here, too: what works in one process works in several.
pub(super) async fn call(server: App, route: &str, arguments: Bytes) -> Result<Body, RpcError> {
    let unknown = || RpcError::UnknownRemote(route.to_owned());
    let request = Request {
        app: server.clone(),
        route: Route::new(route).map_err(|_| unknown())?,
        body: Body::json(arguments),
        session: None,
    };
    let running = server.remotes().call(&request).ok_or_else(unknown)?;
    let reply = running
        .await
        .map_err(|error| RpcError::Remote(error.message().to_owned()))?;
    let json = reply
        .to_json()
        .map_err(|error| RpcError::Remote(error.to_string()))?;
    Ok(Body::json(json.into()))
}
