//! Filters and error handlers: the order, refusals, and what the built-in ones do.

use std::time::Instant;

use pomelo_client::Client;
use pomelo_server::RpcError;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::Level;

use super::{CONNECTOR_0, Tour, ask, code};
use crate::Problem;
use crate::filters::MAX_LAG;
use crate::journal::Topic;

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    order: Vec<String>,
    refused_by_a_local_filter: Value,
    /// What still runs for a request that was refused.
    order_after_a_refusal: Vec<String>,
    refused_by_a_global_filter: Value,
    /// The error handler knows the handler's own error.
    error_handled: Value,
    /// Two blows at once.
    serial: Vec<String>,
    /// A handler that never ends.
    timeout: Value,
    slow_log_names: Vec<String>,
    /// Before, and while all threads are busy.
    too_busy: (u64, u64),
    rpc_too_busy: Option<String>,
}

pub(crate) fn promised() -> Seen {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Seen {
        order: texts(&[
            "global before",
            "local before",
            "blow 1 begins",
            "blow 1 ends",
            "local after",
            "global after",
        ]),
        refused_by_a_local_filter: json!({"code": 401}),
        order_after_a_refusal: texts(&[
            "global before",
            "local before",
            "local after",
            "global after",
        ]),
        refused_by_a_global_filter: json!({"code": 403}),
        error_handled: json!({"code": 200, "damage": 3}),
        serial: texts(&[
            "blow 1 begins",
            "blow 1 ends",
            "blow 2 begins",
            "blow 2 ends",
        ]),
        timeout: json!({"code": 500}),
        slow_log_names: texts(&["rank.rankHandler.recount"]),
        too_busy: (200, 500),
        rpc_too_busy: Some("Backend server rank-1 is too busy now!".to_owned()),
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    let journal = &tour.game.journal;
    drop(journal.take(Topic::Filter));
    let ann = tour.player(CONNECTOR_0, "ann", "red").await?;
    let stranger = Client::connect(&tour.url(CONNECTOR_0)?).await?;
    // Entering goes through the connector's filters, too.
    journal.wait(Topic::Filter, 2).await;

    strike(&ann, 1).await?;
    let order = journal.wait(Topic::Filter, 6).await;
    let refused_by_a_local_filter = strike(&stranger, 1).await?;
    let order_after_a_refusal = journal.wait(Topic::Filter, 4).await;
    let refused_by_a_global_filter = ask(&ann, "area.arenaHandler.cheat").await?;
    let error_handled = ask(&ann, "area.arenaHandler.fumble").await?;
    journal.wait(Topic::Filter, 6).await;
    let (one, two) = tokio::join!(strike(&ann, 1), strike(&ann, 2));
    one?;
    two?;
    let mut serial = journal.wait(Topic::Filter, 12).await;
    serial.retain(|note| note.starts_with("blow"));
    let timeout = ask(&ann, "rank.rankHandler.recount").await?;
    let slow = tour.log.of("con-log").into_iter();
    let slow = slow.filter(|line| line.level == Level::WARN);
    let names = slow.filter_map(|line| {
        let route = line.text.split_once("route=\"")?.1;
        Some(route.split_once('"')?.0.to_owned())
    });
    let slow_log_names = names.collect();
    let (too_busy, rpc_too_busy) = busy(tour, &ann).await?;
    Ok(Seen {
        order,
        refused_by_a_local_filter,
        order_after_a_refusal,
        refused_by_a_global_filter,
        error_handled,
        serial,
        timeout,
        slow_log_names,
        too_busy,
        rpc_too_busy,
    })
}

async fn strike(client: &Client, blow: u32) -> Result<Value, Problem> {
    let blow = json!({ "blow": blow });
    Ok(client.request("area.arenaHandler.strike", &blow).await?)
}

/// Keeps the one thread busy, and asks again at once.
async fn busy(tour: &Tour, ann: &Client) -> Result<((u64, u64), Option<String>), Problem> {
    let gate = tour.app("gate-1")?;
    let call = async || {
        let call = gate.rpc("rank.rankRemote.total");
        call.call::<_, u32>(()).await
    };
    // Both filters measure from their first question on.
    let calm = code(&ask(ann, "rank.rankHandler.top").await?);
    call().await?;
    let begun = Instant::now();
    while begun.elapsed() < 10 * MAX_LAG {
        // As a handler would that computes and never waits.
        std::hint::spin_loop();
    }
    let refused = match call().await {
        Err(RpcError::Filter(problem)) => Some(problem),
        _ => None,
    };
    let busy = code(&ask(ann, "rank.rankHandler.top").await?);
    Ok(((calm, busy), refused))
}
