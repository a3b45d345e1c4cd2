//! Sessions: frontend and backend, bind and unbind, settings, several for one user, kicks.

use pomelo_client::{Client, CloseReason};
use serde::Serialize;
use serde_json::{Value, json};

use super::{CONNECTOR_0, CONNECTOR_1, Tour, ask, member};
use crate::Problem;
use crate::journal::Topic;

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// The gate answers an address with which a client can enter.
    gate_leads_to_a_connector: bool,
    /// uid and arena as the area sees them.
    known_at_the_area: (Value, Value),
    /// In the request that set it, and in the next one.
    what_is_not_pushed_is_forgotten: (Value, Value),
    sessions_of_one_uid: usize,
    /// At its own connector and at the other one.
    asked_by_an_area: (usize, usize),
    client_address: Option<String>,
    /// A setting that the area wrote, as the connector's handler sees it.
    written_by_an_area: Value,
    kicked_by_uid: Vec<Option<String>>,
    kicked_by_session_id: Option<String>,
    /// What the listener of the application heard.
    events: Vec<String>,
    left_over: usize,
}

pub(crate) fn promised() -> Seen {
    let events = [
        "bind ann",
        "bind ann",
        "unbind ann",
        "bind ann",
        "close ann: kicked: two is one too many",
        "close ann: kicked: two is one too many",
        "bind bob",
        "close bob: kicked: goodbye",
    ];
    let reason = Some("two is one too many".to_owned());
    Seen {
        gate_leads_to_a_connector: true,
        known_at_the_area: (json!("ann"), json!("colosseum")),
        what_is_not_pushed_is_forgotten: (json!("a plan"), Value::Null),
        sessions_of_one_uid: 2,
        asked_by_an_area: (2, 0),
        client_address: Some("127.0.0.1".to_owned()),
        written_by_an_area: json!(7),
        kicked_by_uid: vec![reason.clone(), reason],
        kicked_by_session_id: Some("goodbye".to_owned()),
        events: events.map(str::to_owned).to_vec(),
        left_over: 0,
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    drop(tour.game.journal.take(Topic::Session));
    let gate_leads_to_a_connector = gate(tour).await?;

    let ann = tour.player(CONNECTOR_0, "ann", "red").await?;
    let there = ask(&ann, "area.arenaHandler.whoami").await?;
    let drafted = ask(&ann, "connector.entryHandler.draft").await?;
    let next = ask(&ann, "connector.entryHandler.whoami").await?;

    let again = tour.player(CONNECTOR_0, "ann", "red").await?;
    let connector = tour.app(CONNECTOR_0)?;
    let sessions = connector.sessions().by_uid("ann");
    let backend = tour.app("area-1")?.backend_sessions();
    let asked = (
        backend.by_uid(CONNECTOR_0, "ann").await?.len(),
        backend.by_uid(CONNECTOR_1, "ann").await?.len(),
    );
    let first = sessions.first().ok_or("ann has no session")?;
    backend
        .push(CONNECTOR_0, first.id(), "level", Some(json!(7)))
        .await?;
    let written = ask(&ann, "connector.entryHandler.whoami").await?;
    let client_address = connector.sessions().client_address(first.id());

    ask(&again, "connector.entryHandler.logout").await?;
    let enter = json!({"name": "ann", "arena": "colosseum"});
    again
        .request::<_, Value>("connector.entryHandler.enter", &enter)
        .await?;
    let reason = Some("two is one too many");
    connector.sessions().kick_by_uid("ann", reason);
    let kicked_by_uid = vec![kick_of(&ann).await, kick_of(&again).await];
    let mut events = tour.game.journal.wait(Topic::Session, 6).await;

    let bob = tour.player(CONNECTOR_1, "bob", "blue").await?;
    let bobs = backend.by_uid(CONNECTOR_1, "bob").await?;
    let id = bobs.first().ok_or("bob has no session")?.id();
    backend.kick_by_id(CONNECTOR_1, id, Some("goodbye")).await?;
    let kicked_by_session_id = kick_of(&bob).await;
    events.extend(tour.game.journal.wait(Topic::Session, 2).await);

    Ok(Seen {
        gate_leads_to_a_connector,
        known_at_the_area: (member(&there, "/uid"), member(&there, "/settings/arena")),
        what_is_not_pushed_is_forgotten: (
            member(&drafted, "/draft"),
            member(&next, "/settings/draft"),
        ),
        sessions_of_one_uid: sessions.len(),
        asked_by_an_area: asked,
        client_address: client_address.map(|address| address.ip().to_string()),
        written_by_an_area: member(&written, "/settings/level"),
        kicked_by_uid,
        kicked_by_session_id,
        events,
        left_over: connector.sessions().bound_count() + tour.app(CONNECTOR_1)?.sessions().count(),
    })
}

async fn gate(tour: &Tour) -> Result<bool, Problem> {
    let gate = Client::connect(&tour.url("gate-1")?).await?;
    let uid = json!({"uid": "ann"});
    let entry: Value = gate.request("gate.gateHandler.queryEntry", &uid).await?;
    let (host, port) = (member(&entry, "/host"), member(&entry, "/port"));
    let url = format!("ws://{}:{port}", host.as_str().unwrap_or_default());
    Ok(Client::connect(&url).await.is_ok())
}

async fn kick_of(client: &Client) -> Option<String> {
    match client.closed().await {
        CloseReason::Kicked(reason) => reason,
        _ => None,
    }
}
