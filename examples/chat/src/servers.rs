//! The server side of the chat, after chatofpomelo-websocket: `app.js`, its handlers, its remote
//! and its dispatcher.

use pomelo_proto::chat::{
    Enter, EnterResponse, OnAdd, OnChat, OnLeave, QueryEntry, QueryEntryResponse,
};
use pomelo_server::{
    App, AppBuilder, Args, BackendSession, ClosedSession, Config, Error, FrontendSession, Hybrid,
    Json, Msg, RouteParam, ServerInfo, pick_crc32,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The whole application on the servers of `config`, which is that of `env`.
pub(crate) fn app(config: Config, env: &str) -> AppBuilder {
    App::builder()
        .config(config)
        .env(env)
        .configure("production|development", "connector", |server| {
            server.connector(Hybrid::new().heartbeat_secs(3).use_dict().use_protobuf())
        })
        .configure("production|development", "gate", |server| {
            server.connector(Hybrid::new().use_protobuf())
        })
        .route("chat", |param: &RouteParam, servers: &[ServerInfo]| {
            // A session that is closing is gone; its room comes as plain text.
            let room = param
                .get::<String>("rid")
                .or_else(|| Some(param.uid()?.to_string()))?;
            pick_crc32(&room, servers).map(|server| server.id.clone())
        })
        .handler("gate.gateHandler.queryEntry", query_entry)
        .handler("connector.entryHandler.enter", enter)
        .handler("chat.chatHandler.send", send)
        .remote("chat.chatRemote.add", add)
        .remote("chat.chatRemote.get", get)
        .remote("chat.chatRemote.kick", kick)
}

/// Tells a user which connector to use: always the same one for the same uid.
async fn query_entry(app: App, Msg(request): Msg<QueryEntry>) -> Json<QueryEntryResponse> {
    let topology = app.topology();
    let connector = pick_crc32(&request.uid, topology.by_type("connector"));
    Json(match connector {
        Some(connector) if !request.uid.is_empty() => QueryEntryResponse {
            code: 200,
            host: Some(
                connector
                    .client_host
                    .as_ref()
                    .unwrap_or(&connector.host)
                    .clone(),
            ),
            port: connector.client_port.map(u32::from),
        },
        _ => QueryEntryResponse {
            code: 500,
            host: None,
            port: None,
        },
    })
}

/// Lets a user into a room and answers who is there.
async fn enter(
    session: FrontendSession,
    app: App,
    Msg(request): Msg<Enter>,
) -> Result<Json<EnterResponse>, Error> {
    let Enter { username, rid } = request;
    let uid = format!("{username}*{rid}");
    if !app.sessions().by_uid(&uid).is_empty() {
        // The same user twice.
        let refused = EnterResponse {
            code: Some(500),
            error: Some(true),
            ..Default::default()
        };
        return Ok(Json(refused));
    }
    session.bind(uid.as_str()).await?;
    session.set("rid", &rid);
    session.push("rid").await?;
    let leaving = app.clone();
    session.on_closed(move |closed| leave(leaving, closed));
    let arguments = (uid, app.server_id(), rid, true);
    let users = app
        .rpc("chat.chatRemote.add")
        .route_by(&session)
        .call(arguments)
        .await?;
    Ok(Json(EnterResponse {
        users,
        ..Default::default()
    }))
}

/// Takes a user whose connection has ended out of the room.
async fn leave(app: App, closed: ClosedSession) {
    let (Some(uid), Some(rid)) = (&closed.uid, closed.get::<String>("rid")) else {
        return;
    };
    let arguments = (uid.as_str(), app.server_id(), &rid);
    let left = app
        .rpc("chat.chatRemote.kick")
        .route_by(rid.as_str())
        .call::<_, ()>(arguments);
    if let Err(error) = left.await {
        eprintln!("{uid} could not be taken out of room {rid}: {error}");
    }
}

/// What `chat.chatHandler.send` reads of a message: the room and the sender are the session's,
/// whatever the client says.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: String,
    #[serde(default)]
    target: String,
    route: Option<Value>,
}

/// What `chat.chatHandler.send` answers: the member `route` of the message, if it had one.
#[derive(Serialize)]
struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Value>,
}

/// Says something to everybody in the room (`*`) or to one user of it.
async fn send(
    session: BackendSession,
    app: App,
    Msg(said): Msg<Said>,
) -> Result<Json<Sent>, Error> {
    let uid = session
        .uid()
        .ok_or_else(|| Error::new("has not entered a room"))?;
    let room: String = session
        .get("rid")
        .ok_or_else(|| Error::new("has not entered a room"))?;
    let channel = app
        .channels()
        .get(&room)
        .ok_or_else(|| Error::new("no such room"))?;
    let message = OnChat {
        msg: said.content,
        from: name_of(uid.as_str()).to_owned(),
        target: said.target.clone(),
    };
    if said.target == "*" {
        channel.push_message("onChat", &message).await?;
    } else {
        let target = format!("{}*{room}", said.target);
        let frontend = channel
            .member(&target)
            .ok_or_else(|| Error::new("no such user"))?;
        app.channels()
            .push_by_uids("onChat", &message, &[(target.into(), frontend)])
            .await?;
    }
    Ok(Json(Sent { route: said.route }))
}

/// Remote: adds a user, who is on the frontend `sid`, to a room, which is made if there is none
/// and `create` says so; answers the names of everybody in it.
async fn add(
    app: App,
    Args((uid, sid, room, create)): Args<(String, String, String, bool)>,
) -> Result<Json<Vec<String>>, Error> {
    let channel = match app.channels().get(&room) {
        Some(channel) => channel,
        None if create => app.channels().create(&room),
        None => return Ok(Json(Vec::new())),
    };
    let arrived = OnAdd {
        user: name_of(&uid).to_owned(),
    };
    channel.push_message("onAdd", &arrived).await?;
    channel.add(uid, &sid);
    Ok(Json(names(&app, &room)))
}

/// Remote: the names of everybody in a room.
async fn get(app: App, Args((room, create)): Args<(String, bool)>) -> Json<Vec<String>> {
    if create {
        app.channels().create(&room);
    }
    Json(names(&app, &room))
}

/// Remote: takes a user out of a room. An empty room is given up.
async fn kick(
    app: App,
    Args((uid, sid, room)): Args<(String, String, String)>,
) -> Result<(), Error> {
    let Some(channel) = app.channels().get(&room) else {
        return Ok(());
    };
    channel.leave(&uid, &sid);
    if channel.is_empty() {
        channel.destroy();
        return Ok(());
    }
    let left = OnLeave {
        user: name_of(&uid).to_owned(),
    };
    channel.push_message("onLeave", &left).await?;
    Ok(())
}

fn names(app: &App, room: &str) -> Vec<String> {
    let members = app
        .channels()
        .get(room)
        .map(|channel| channel.members())
        .unwrap_or_default();
    members
        .iter()
        .map(|uid| name_of(uid.as_str()).to_owned())
        .collect()
}

/// A uid is `name*room`.
fn name_of(uid: &str) -> &str {
    uid.split_once('*').map_or(uid, |(name, _)| name)
}
