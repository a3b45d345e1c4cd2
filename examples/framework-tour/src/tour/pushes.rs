//! Push schedulers and what happens to a client that does not keep up.

use pomelo_client::{Client, Subscription};
use pomelo_server::{App, BroadcastOptions};
use serde::Serialize;
use serde_json::json;

use super::connectors::{behind_proxy, secure};
use super::{CONNECTOR_0, Tour, ask, code, member};
use crate::Problem;
use crate::connectors::MAILBOX;
use crate::journal::Topic;

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// Route and scheduler of two ticks, an urgent one and an answer. Each of the two connectors
    /// chooses for its own clients.
    schedulers_chosen: Vec<String>,
    /// All of them arrive, in order.
    ticks_received: Vec<u64>,
    thinned_by_our_own_scheduler: Vec<u64>,
    /// Taken and refused by a mailbox of eight, and whether the client is still there.
    overflow_drops_frames: (usize, usize, bool),
    dropped_frames_counted: u64,
    overflow_disconnects: (usize, usize, bool),
}

pub(crate) fn promised() -> Seen {
    let chosen = [
        "onTick buffer",
        "onTick buffer",
        "onTick buffer",
        "onTick buffer",
        "onTick direct",
        "onTick direct",
        "connector.entryHandler.whoami direct",
    ];
    Seen {
        schedulers_chosen: chosen.map(str::to_owned).to_vec(),
        ticks_received: vec![1, 2, 3],
        thinned_by_our_own_scheduler: vec![1, 3, 5],
        overflow_drops_frames: (MAILBOX, 4, true),
        dropped_frames_counted: 4,
        overflow_disconnects: (MAILBOX, 1, false),
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    let (connector, edge) = (tour.app(CONNECTOR_0)?, tour.app("edge-1")?);
    let client = Client::connect(&tour.url(CONNECTOR_0)?).await?;
    let mut ticks = client.subscribe("onTick");
    // A session is there for broadcasts once the client has ended its handshake.
    ask(&client, "connector.entryHandler.whoami").await?;
    drop(tour.game.journal.take(Topic::Push));
    tick(connector, "connector", 1..=2, BroadcastOptions::new()).await?;
    let urgent = BroadcastOptions::new().options(json!({"urgent": true}));
    tick(connector, "connector", 3..=3, urgent).await?;
    ask(&client, "connector.entryHandler.whoami").await?;
    let schedulers_chosen = tour.game.journal.take(Topic::Push);
    let ticks_received = numbers(&mut ticks, 3).await?;

    let far = behind_proxy(tour).await?;
    let mut steps = far.subscribe("onTick");
    ask(&far, "edge.entryHandler.ping").await?;
    tick(edge, "edge", 1..=6, BroadcastOptions::new()).await?;
    let thinned_by_our_own_scheduler = numbers(&mut steps, 3).await?;
    let (taken, refused) = flood(edge, "edge").await?;
    let still_there = code(&ask(&far, "edge.entryHandler.ping").await?) == 200;

    let tournament = tour.app("tournament-1")?;
    let slow = secure(tour, &tour.game.certificate.read()?).await?;
    ask(&slow, "tournament.entryHandler.ping").await?;
    let (held, too_many) = flood(tournament, "tournament").await?;
    slow.closed().await;
    Ok(Seen {
        schedulers_chosen,
        ticks_received,
        thinned_by_our_own_scheduler,
        overflow_drops_frames: (taken, refused, still_there),
        dropped_frames_counted: edge.sessions().dropped_frames(),
        overflow_disconnects: (held, too_many, tournament.sessions().count() > 0),
    })
}

async fn tick(
    app: &App,
    server_type: &str,
    numbers: impl Iterator<Item = u64>,
    options: BroadcastOptions,
) -> Result<(), Problem> {
    for number in numbers {
        let message = json!({ "number": number });
        let sent = app
            .channels()
            .broadcast_with(server_type, "onTick", &message, options.clone());
        sent.await?;
    }
    Ok(())
}

async fn numbers(pushes: &mut Subscription, count: usize) -> Result<Vec<u64>, Problem> {
    let mut all = Vec::new();
    for _ in 0..count {
        let push = pushes.recv().await.ok_or("the connection ended")?;
        all.extend(member(&push.decode()?, "/number").as_u64());
    }
    Ok(all)
}

/// More than a mailbox holds, before its connection gets to write: how many were taken and how
/// many refused.
async fn flood(app: &App, server_type: &str) -> Result<(usize, usize), Problem> {
    let (mut delivered, mut overflowed) = (0, 0);
    for number in 0..MAILBOX + 4 {
        let message = json!({ "number": number });
        let report = app
            .channels()
            .broadcast(server_type, "onFlood", &message)
            .await?;
        delivered += report.delivered;
        overflowed += report.overflowed;
    }
    Ok((delivered, overflowed))
}
