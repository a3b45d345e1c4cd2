//! RPC: how a server is chosen, one or all, deadlines, fail modes, filters, errors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pomelo_server::{App, FailMode, RpcError, ServerInfo, pick_crc32};
use serde::Serialize;

use super::{CONNECTOR_0, CONNECTOR_1, Tour};
use crate::Problem;
use crate::journal::Topic;

const ADD: &str = "rank.rankRemote.add";

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// Whichever connector asks.
    routing_function_same_arena_same_area: bool,
    default_router_is_crc32_of_the_uid: bool,
    round_robin: Vec<String>,
    /// Weights 2, 1 and 1.
    weighted: BTreeMap<String, usize>,
    /// While a call to rank-1 is under way.
    least_active: Vec<String>,
    /// How many servers a user has, and how many all have.
    consistent_hash: (usize, usize),
    to_one_server: String,
    to_all_of_a_type: Vec<String>,
    deadline: &'static str,
    /// A server that does not run, and what is tried.
    fail_fast: Vec<String>,
    fail_over: Vec<String>,
    fail_safe: Vec<String>,
    rerouted_by_a_filter: String,
    refused_by_a_filter: &'static str,
    rpc_log: bool,
    typed_errors: Vec<&'static str>,
}

pub(crate) fn promised() -> Seen {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let weights = [("rank-1", 4), ("rank-2", 2), ("rank-3", 2)];
    Seen {
        routing_function_same_arena_same_area: true,
        default_router_is_crc32_of_the_uid: true,
        round_robin: texts(&["rank-1", "rank-2", "rank-3", "rank-1"]),
        weighted: weights.map(|(id, count)| (id.to_owned(), count)).into(),
        least_active: texts(&["rank-2", "rank-3", "rank-2"]),
        consistent_hash: (1, 3),
        to_one_server: "rank-3".to_owned(),
        to_all_of_a_type: texts(&["rank-1", "rank-2", "rank-3"]),
        deadline: "timeout",
        fail_fast: texts(&["rank-9 failed"]),
        fail_over: texts(&["rank-9 failed", "rank-1 answered"]),
        fail_safe: texts(&["rank-9 failed", "rank-9 failed", "rank-9 failed"]),
        rerouted_by_a_filter: "rank-1".to_owned(),
        refused_by_a_filter: "filter",
        rpc_log: true,
        typed_errors: vec![
            "remote",
            "unknown remote",
            "unknown server",
            "no server",
            "answer",
        ],
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    let connector = tour.app(CONNECTOR_0)?;
    let edge = tour.app("edge-1")?;
    let arena = async |connector: &App| {
        let call = connector.rpc("area.arenaRemote.count");
        call.route_by("pit")
            .call::<_, (String, usize)>(("pit",))
            .await
    };
    let here = arena(connector).await?.0;
    let there = arena(tour.app(CONNECTOR_1)?).await?.0;

    let total = connector.rpc("rank.rankRemote.total");
    let answers = total.call_all::<_, u32>(()).await?;
    let answered = answers.into_iter().filter(|(_, total)| total.is_ok());
    let slow = connector.rpc("rank.rankRemote.ponder");
    let slow = slow.timeout(Duration::from_millis(50));
    let cheater = connector.rpc(ADD).route_by("cheater");
    let round_robin = take_turns(edge, 4).await?;
    let (fail_fast, fail_over, fail_safe) = fail_modes(tour).await?;
    Ok(Seen {
        routing_function_same_arena_same_area: here == there,
        default_router_is_crc32_of_the_uid: by_crc32(connector).await?,
        round_robin,
        weighted: {
            let mut counts = BTreeMap::new();
            for id in take_turns(tour.app("tournament-1")?, 8).await? {
                *counts.entry(id).or_default() += 1;
            }
            counts
        },
        least_active: least_active(tour.app("rank-1")?).await?,
        consistent_hash: consistent_hash(tour.app("area-1")?).await?,
        to_one_server: connector
            .rpc(ADD)
            .to_server("rank-3")
            .call(("ann", 1))
            .await?,
        to_all_of_a_type: answered.map(|(id, _)| id.to_string()).collect(),
        deadline: outcome(slow.call::<_, ()>(()).await),
        fail_fast,
        fail_over,
        fail_safe,
        rerouted_by_a_filter: edge.rpc(ADD).to_server("rank-0").call(("ann", 1)).await?,
        refused_by_a_filter: outcome(cheater.call::<_, String>(("cheater", 1000)).await),
        rpc_log: {
            let lines = tour.log.of("rpc-log");
            lines.iter().any(|line| line.text.contains(ADD))
        },
        typed_errors: errors(connector).await,
    })
}

async fn by_crc32(app: &App) -> Result<bool, RpcError> {
    let topology = app.topology();
    let mut all = true;
    for uid in ["ann", "bob", "zhangsan"] {
        let called: String = app.rpc(ADD).route_by(uid).call((uid, 1)).await?;
        let expected = pick_crc32(uid, topology.by_type("rank"));
        all &= expected.is_some_and(|server| *server.id == *called);
    }
    Ok(all)
}

async fn take_turns(app: &App, count: usize) -> Result<Vec<String>, RpcError> {
    let mut called = Vec::new();
    for _ in 0..count {
        called.push(app.rpc(ADD).call(("ann", 1)).await?);
    }
    Ok(called)
}

async fn least_active(app: &App) -> Result<Vec<String>, Problem> {
    let under_way = app.rpc("rank.rankRemote.ponder").call::<_, ()>(());
    tokio::select! {
        biased;
        _ = under_way => Err("nobody answers that".into()),
        called = take_turns(app, 3) => Ok(called?),
    }
}

async fn consistent_hash(app: &App) -> Result<(usize, usize), RpcError> {
    let of_ann: BTreeSet<String> = take_turns(app, 3).await?.into_iter().collect();
    let mut of_all = BTreeSet::new();
    for user in 0..30 {
        of_all.insert(app.rpc(ADD).call((format!("user {user}"), 1)).await?);
    }
    let of_all: BTreeSet<String> = of_all;
    Ok((of_ann.len(), of_all.len()))
}

/// The edge's filter writes down what was tried.
async fn fail_modes(tour: &Tour) -> Result<(Vec<String>, Vec<String>, Vec<String>), Problem> {
    let (edge, journal) = (tour.app("edge-1")?, &tour.game.journal);
    edge.add_servers(vec![ServerInfo::new("rank-9", "rank")]);
    let safe = FailMode::Safe {
        retries: 2,
        delay: Duration::from_millis(1),
    };
    let call = |mode| edge.rpc(ADD).fail_mode(mode);
    drop(journal.take(Topic::Rpc));
    let fast = call(FailMode::Fast).to_server("rank-9");
    let fast = fast.call::<_, String>(("ann", 1)).await;
    let tried_fast = journal.take(Topic::Rpc);
    let retried = call(safe).to_server("rank-9");
    let retried = retried.call::<_, String>(("ann", 1)).await;
    let tried_safe = journal.take(Topic::Rpc);
    // One after another: some time it is the turn of the one that does not run.
    let mut tried_over = Vec::new();
    while tried_over.len() < 2 {
        call(FailMode::Over).call::<_, String>(("ann", 1)).await?;
        tried_over = journal.take(Topic::Rpc);
    }
    edge.remove_servers(&["rank-9"]);
    if fast.is_ok() || retried.is_ok() {
        return Err("a server that does not run has answered".into());
    }
    Ok((tried_fast, tried_over, tried_safe))
}

async fn errors(app: &App) -> Vec<&'static str> {
    let call = |route| app.rpc(route).call::<_, u32>(("ann", 1));
    vec![
        outcome(call("rank.rankRemote.close").await),
        outcome(call("rank.rankRemote.nothing").await),
        outcome(app.rpc(ADD).to_server("rank-7").call::<_, u32>(()).await),
        outcome(call("guild.guildRemote.add").await),
        // A text and no number.
        outcome(call(ADD).await),
    ]
}

fn outcome<T>(result: Result<T, RpcError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(RpcError::Remote(_)) => "remote",
        Err(RpcError::UnknownRemote(_)) => "unknown remote",
        Err(RpcError::UnknownServer(_)) => "unknown server",
        Err(RpcError::NoServer(_)) => "no server",
        Err(RpcError::Filter(_)) => "filter",
        Err(RpcError::Timeout) => "timeout",
        Err(RpcError::Answer(_)) => "answer",
        Err(_) => "another error",
    }
}
