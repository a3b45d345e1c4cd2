//! Channels: members, pushes to all and to some, broadcasts, what fails, and the store.

use std::path::Path;

use pomelo_client::Subscription;
use pomelo_server::{App, BroadcastOptions, PushError, RedbStore, Running};
use serde::Serialize;
use serde_json::{Value, json};

use super::{CONNECTOR_0, CONNECTOR_1, Tour, ask, member};
use crate::game::CONFIG;
use crate::journal::Topic;
use crate::{Problem, rooms};

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    members: Value,
    /// What players on two connectors heard of what one of them said.
    said_to_all: Vec<Value>,
    whispered: Value,
    /// To all who are connected, to all who entered, to one team.
    broadcasts_delivered: (usize, usize, usize),
    /// A member who has gone without leaving.
    failed_uids: Vec<String>,
    /// A member on a frontend that there is not, beside others.
    unreachable: Vec<String>,
    every_frontend_failed: bool,
    destroyed_refuses_members_and_pushes: (bool, bool),
    /// After the client's connection ended.
    members_after_leaving: usize,
    /// Members of a channel after a restart.
    restored: Vec<String>,
}

pub(crate) fn promised() -> Seen {
    let said = json!({"from": "ann", "text": "ave"});
    Seen {
        members: json!(["ann", "bob"]),
        said_to_all: vec![said.clone(), said],
        whispered: json!({"from": "ann", "text": "duck"}),
        broadcasts_delivered: (3, 2, 1),
        failed_uids: vec!["ghost".to_owned()],
        unreachable: vec!["connector-9".to_owned()],
        every_frontend_failed: true,
        destroyed_refuses_members_and_pushes: (true, true),
        members_after_leaving: 1,
        restored: vec!["ann".to_owned(), "bob".to_owned()],
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    let ann = tour.player(CONNECTOR_0, "ann", "red").await?;
    let bob = tour.player(CONNECTOR_1, "bob", "blue").await?;
    let onlooker = pomelo_client::Client::connect(&tour.url(CONNECTOR_0)?).await?;
    ask(&ann, "area.arenaHandler.join").await?;
    let joined = ask(&bob, "area.arenaHandler.join").await?;
    let area = member(&joined, "/area");
    let area = tour.app(area.as_str().unwrap_or_default())?;

    let (mut to_ann, mut to_bob) = (ann.subscribe("onSay"), bob.subscribe("onSay"));
    let ave = json!({"text": "ave"});
    ann.request::<_, Value>("area.arenaHandler.say", &ave)
        .await?;
    let said_to_all = vec![heard(&mut to_ann).await?, heard(&mut to_bob).await?];
    let duck = json!({"text": "duck", "to": "bob"});
    ann.request::<_, Value>("area.arenaHandler.whisper", &duck)
        .await?;
    let whispered = heard(&mut to_bob).await?;

    let to_some = async |options| {
        let message = json!({"text": "the gates open"});
        let channels = area.channels();
        let sent = channels.broadcast_with("connector", "onNews", &message, options);
        sent.await.map(|report| report.delivered)
    };
    let broadcasts_delivered = (
        to_some(BroadcastOptions::new()).await?,
        to_some(BroadcastOptions::new().bound_only()).await?,
        to_some(BroadcastOptions::new().filter_param("red")).await?,
    );

    let arena = area.channels().get("colosseum").ok_or("no arena")?;
    arena.add("ghost", CONNECTOR_0);
    arena.add("far", "connector-9");
    let report = arena
        .push_message("onSay", &json!({"from": "", "text": ""}))
        .await?;
    arena.leave("ghost", CONNECTOR_0);
    arena.leave("far", "connector-9");

    let mut failed: Vec<String> = report.failed.iter().map(ToString::to_string).collect();
    failed.retain(|uid| uid != "far");
    let unreachable = report.unreachable.iter();
    let seen = Seen {
        members: member(&joined, "/members"),
        said_to_all,
        whispered,
        broadcasts_delivered,
        failed_uids: failed,
        unreachable: unreachable.map(|(id, _)| id.to_string()).collect(),
        every_frontend_failed: nobody_there(area).await,
        destroyed_refuses_members_and_pushes: destroyed(area).await,
        members_after_leaving: {
            bob.disconnect().await;
            tour.game.journal.wait(Topic::Room, 1).await;
            arena.len()
        },
        restored: restart().await?,
    };
    drop(onlooker);
    Ok(seen)
}

async fn heard(subscription: &mut Subscription) -> Result<Value, Problem> {
    let push = subscription.recv().await.ok_or("the connection ended")?;
    Ok(push.decode()?)
}

async fn nobody_there(area: &App) -> bool {
    let channel = area.channels().create("elsewhere");
    channel.add("far", "connector-9");
    let sent = channel.push_message("onSay", &json!({})).await;
    matches!(sent, Err(PushError::AllFailed))
}

async fn destroyed(area: &App) -> (bool, bool) {
    let channel = area.channels().create("ruin");
    channel.destroy();
    let added = channel.add("ann", CONNECTOR_0);
    let sent = channel.push_message("onSay", &json!({})).await;
    (!added, matches!(sent, Err(PushError::ChannelDestroyed)))
}

/// An area that starts twice on the same file.
async fn restart() -> Result<Vec<String>, Problem> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("rooms.redb");
    let first = area_alone(&file).await?;
    if let Some(app) = first.app("area-1") {
        let channel = app.channels().create("colosseum");
        channel.add("ann", CONNECTOR_0);
        channel.add("bob", CONNECTOR_1);
    }
    first.stop().await;
    let second = area_alone(&file).await?;
    let app = second.app("area-1").ok_or("area-1 does not run")?;
    let channel = app.channels().get("colosseum");
    let members = channel.map(|channel| channel.members()).unwrap_or_default();
    let mut members: Vec<String> = members.iter().map(ToString::to_string).collect();
    members.sort();
    second.stop().await;
    Ok(members)
}

async fn area_alone(file: &Path) -> Result<Running, Problem> {
    let store = RedbStore::open(file)?;
    let app = App::builder()
        .config_dir(CONFIG)
        .env("development")
        .servers(["area-1"])
        .plugin(|app| rooms::plugin(app, store));
    Ok(app.start().await?)
}
