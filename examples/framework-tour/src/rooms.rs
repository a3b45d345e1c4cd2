//! Channels: an arena is a channel of its area server, kept in a file.
//!
//! Shows members, pushes to all and to some, a broadcast with a filter, and the store.

use std::sync::Arc;

use pomelo_server::{
    App, AppBuilder, Args, BackendSession, ChannelConfig, Error, Json, Msg, RedbStore, State,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::game::Bell;
use crate::journal::Topic;
use crate::lifecycle::journal;

pub(crate) fn plugin(app: AppBuilder, store: RedbStore) -> AppBuilder {
    let store = Arc::new(store);
    app.configure("all", "area", move |server| {
        server.channels(ChannelConfig::new().store(Arc::clone(&store) as _))
    })
    .configure("all", "connector", |server| {
        // Whom a broadcast reaches on this frontend; its parameter names a team.
        let filter = |session: &pomelo_server::Session, _: &_, team: &Value| {
            team.is_null() || session.get::<Value>("team").as_ref() == Some(team)
        };
        server.channels(ChannelConfig::new().broadcast_filter(filter))
    })
    .handler("area.arenaHandler.join", join)
    .handler("area.arenaHandler.say", say)
    .handler("area.arenaHandler.whisper", whisper)
    .handler("area.arenaHandler.duel", duel)
    .remote("area.arenaRemote.leave", leave)
    .remote("area.arenaRemote.count", count)
}

fn arena(session: &BackendSession) -> Result<String, Error> {
    let arena = session.get("arena");
    arena.ok_or_else(|| Error::new("has not entered"))
}

async fn join(session: BackendSession, app: App) -> Result<Value, Error> {
    let uid = session.uid().ok_or_else(|| Error::new("has no name"))?;
    let channel = app.channels().create(&arena(&session)?);
    channel
        .push_message("onJoin", &json!({ "name": uid }))
        .await?;
    channel.add(uid, session.frontend_id());
    Ok(json!({ "area": app.server_id(), "members": channel.members() }))
}

#[derive(Deserialize)]
struct Say {
    #[serde(default)]
    to: String,
    text: String,
}

async fn say(session: BackendSession, app: App, Msg(say): Msg<Say>) -> Result<Value, Error> {
    let channel = app.channels().get(&arena(&session)?);
    let channel = channel.ok_or_else(|| Error::new("no such arena"))?;
    let message = json!({ "from": session.uid(), "text": say.text });
    let report = channel.push_message("onSay", &message).await?;
    Ok(json!({ "delivered": report.delivered, "failed": report.failed }))
}

async fn whisper(session: BackendSession, app: App, Msg(say): Msg<Say>) -> Result<Value, Error> {
    let channel = app.channels().get(&arena(&session)?);
    let frontend = channel.and_then(|channel| channel.member(&say.to));
    let frontend = frontend.ok_or_else(|| Error::new("is not here"))?;
    let message = json!({ "from": session.uid(), "text": say.text });
    let to = [(say.to.into(), frontend)];
    let report = app.channels().push_by_uids("onSay", &message, &to).await?;
    Ok(json!({ "delivered": report.delivered }))
}

/// Lasts until the bell rings, even if the game is about to stop.
async fn duel(State(bell): State<Bell>, app: App) -> Value {
    journal(&app).write(Topic::Room, "a duel begins");
    bell.0.notified().await;
    json!({"code": 200})
}

/// How many are in an arena, and which server knows.
async fn count(app: App, Args((arena,)): Args<(String,)>) -> Json<(String, usize)> {
    let channel = app.channels().get(&arena);
    Json((
        app.server_id().to_owned(),
        channel.map_or(0, |channel| channel.len()),
    ))
}

/// Called by the connector of somebody whose connection has ended.
async fn leave(
    app: App,
    Args((uid, frontend, arena)): Args<(String, String, String)>,
) -> Result<Value, Error> {
    let channel = app.channels().get(&arena);
    let left = channel.is_some_and(|channel| channel.leave(uid.as_str(), &frontend));
    if left {
        journal(&app).write(Topic::Room, format!("{uid} left {arena}"));
    }
    Ok(json!(left))
}
