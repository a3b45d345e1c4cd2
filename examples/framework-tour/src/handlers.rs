//! Sessions: a client asks the gate for a connector, enters there, and is known from then on.
//!
//! The handlers show what a session can do: `bind`, `set`, `push`, `unbind`, `on_closed`, and the
//! copy that another server gets.

use std::sync::Arc;

use pomelo_server::{
    App, AppBuilder, BackendSession, ClosedSession, Error, FrontendSession, Json, Msg,
    RequestSession, RouteParam, ServerInfo, SessionData, pick_crc32,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) fn plugin(app: AppBuilder) -> AppBuilder {
    app.route("area", area_of)
        .handler("gate.gateHandler.queryEntry", query_entry)
        .handler("connector.entryHandler.enter", enter)
        .handler("connector.entryHandler.draft", draft)
        .handler("connector.entryHandler.whoami", whoami)
        .handler("connector.entryHandler.logout", logout)
        .handler("tournament.entryHandler.enter", sign_up)
        .handler("area.arenaHandler.whoami", whoami_there)
}

/// Everybody who is in an arena has the same area server: a routing function.
fn area_of(param: &RouteParam, servers: &[ServerInfo]) -> Option<Arc<str>> {
    // A closed session is gone; its arena comes as plain text. Who is nowhere is sent somewhere.
    let arena = param.get::<String>("arena");
    let arena = arena.or_else(|| Some(param.uid()?.to_string()));
    pick_crc32(&arena.unwrap_or_default(), servers).map(|server| server.id.clone())
}

#[derive(Deserialize)]
struct Query {
    uid: String,
}

/// The gate: the same uid gets the same connector.
async fn query_entry(app: App, Msg(query): Msg<Query>) -> Result<Value, Error> {
    let topology = app.topology();
    let connector = pick_crc32(&query.uid, topology.by_type("connector"))
        .ok_or_else(|| Error::new("there is no connector"))?;
    Ok(json!({
        "server": *connector.id,
        "host": connector.client_host.as_ref().unwrap_or(&connector.host),
        "port": connector.client_port,
    }))
}

#[derive(Deserialize)]
struct Enter {
    name: String,
    arena: String,
    #[serde(default)]
    team: String,
}

#[derive(Serialize)]
struct Entered {
    code: u16,
    server: String,
}

async fn enter(
    session: FrontendSession,
    app: App,
    Msg(request): Msg<Enter>,
) -> Result<Json<Entered>, Error> {
    session.bind(&request.name).await?;
    session.set("arena", &request.arena);
    session.set("team", &request.team);
    session.push_all().await?;
    let leaving = app.clone();
    session.on_closed(move |closed| leave(leaving, closed));
    Ok(Json(Entered {
        code: 200,
        server: app.server_id().to_owned(),
    }))
}

/// A tournament knows everybody once: `single_session` refuses the second.
async fn sign_up(session: FrontendSession, Msg(query): Msg<Query>) -> Result<Value, Error> {
    match session.bind(query.uid).await {
        Ok(()) => Ok(json!({"code": 200})),
        Err(error) => Err(Error::from(error).with_reply(json!({"code": 409}))),
    }
}

/// Runs when the connection has ended; uid and settings are still known.
async fn leave(app: App, closed: ClosedSession) {
    let (Some(uid), Some(arena)) = (&closed.uid, closed.get::<String>("arena")) else {
        return;
    };
    let arguments = (uid, &closed.frontend_id, &arena);
    let left = app.rpc("area.arenaRemote.leave").route_by(&arena);
    if let Err(error) = left.call::<_, bool>(arguments).await {
        tracing::warn!(%uid, %error, "cannot be taken out of the arena");
    }
}

/// Changes this request's copy only: what is not pushed is forgotten with the request.
async fn draft(session: FrontendSession) -> Value {
    session.set("draft", "a plan");
    json!({ "draft": session.get::<String>("draft") })
}

async fn whoami(session: RequestSession) -> Json<SessionData> {
    Json(session.export())
}

/// The same seen from an area: a copy came with the request.
async fn whoami_there(session: BackendSession) -> Json<SessionData> {
    Json(session.export())
}

async fn logout(session: FrontendSession) -> Result<Value, Error> {
    if let Some(uid) = session.uid() {
        session.unbind(uid).await?;
    }
    Ok(json!({"code": 200}))
}
