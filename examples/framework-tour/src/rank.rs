//! RPC: the rank servers keep points, and the others call them, each type with another router.
//!
//! Shows remotes, routers, rpc filters of the game's own and the built-in ones `RpcLog` and
//! `RpcTooBusy`. The routing function of areas is in `handlers.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pomelo_server::{
    App, AppBuilder, Args, Component, Error, Json, Router, RpcConfig, RpcFilter, RpcRequest,
    rpc_filters,
};
use serde_json::{Value, json};

use crate::filters::MAX_LAG;
use crate::journal::{Journal, Topic};

pub(crate) fn plugin(app: AppBuilder, journal: Journal) -> AppBuilder {
    let router = |router| {
        RpcConfig::new()
            .timeout(Duration::from_secs(5))
            .router(router)
    };
    app.configure("all", "gate", |server| {
        server.rpc_filter(rpc_filters::RpcTooBusy::new(MAX_LAG))
    })
    .configure("all", "connector", |server| {
        server
            .rpc_filter(rpc_filters::RpcLog)
            .rpc_before(no_points_for_cheaters)
            .rpc_error_handler(|error, call| {
                tracing::warn!(route = call.route().as_str(), %error, "call refused");
            })
    })
    .configure("all", "tournament", move |server| {
        server.rpc(router(Router::Weighted))
    })
    .configure("all", "edge", move |server| {
        server
            .rpc(router(Router::RoundRobin))
            .rpc_filter(Moved(journal.clone()))
    })
    .configure("all", "area", move |server| {
        server.rpc(router(Router::ConsistentHash { field: Some(0) }))
    })
    .configure("all", "rank", move |server| {
        server.rpc(router(Router::LeastActive))
    })
    .component("rank", |_| Points::default())
    .handler("rank.rankHandler.top", top)
    .remote("rank.rankRemote.add", add)
    .remote("rank.rankRemote.total", total)
    .remote("rank.rankRemote.close", close)
    .remote("rank.rankRemote.ponder", ponder)
}

/// Each rank server has its own.
#[derive(Default)]
pub(crate) struct Points(Mutex<BTreeMap<String, u32>>);

impl Component for Points {
    fn name(&self) -> &str {
        "points"
    }
}

impl Points {
    fn of(app: &App) -> Result<Arc<Self>, Error> {
        let points = app.component();
        points.ok_or_else(|| Error::new("only ranks keep points"))
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, u32>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds points and answers which server has them.
async fn add(app: App, Args((uid, points)): Args<(String, u32)>) -> Result<Json<String>, Error> {
    Points::of(&app)?.with(|all| *all.entry(uid).or_default() += points);
    Ok(Json(app.server_id().to_owned()))
}

/// What a client may ask: the best of this server.
async fn top(app: App) -> Result<Value, Error> {
    let best = Points::of(&app)?.with(|all| all.values().max().copied());
    Ok(json!({"code": 200, "best": best}))
}

/// The sum of this server's points.
async fn total(app: App) -> Result<Json<u32>, Error> {
    Ok(Json(Points::of(&app)?.with(|all| all.values().sum())))
}

async fn close() -> Result<(), Error> {
    Err(Error::new("the season goes on"))
}

/// Takes longer than anybody waits.
async fn ponder() {
    std::future::pending().await
}

/// An rpc filter of the game's own: rank-0 was merged into rank-1, and calls are written down.
struct Moved(Journal);

impl RpcFilter for Moved {
    async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
        if call.server_id() == "rank-0" {
            call.set_server("rank-1");
        }
        Ok(())
    }

    async fn after(&self, call: &mut RpcRequest, outcome: Result<(), &str>) -> Result<(), Error> {
        let what = if outcome.is_ok() {
            "answered"
        } else {
            "failed"
        };
        self.0
            .write(Topic::Rpc, format!("{} {what}", call.server_id()));
        Ok(())
    }
}

/// A plain function before the calls of a connector.
async fn no_points_for_cheaters(call: RpcRequest) -> Result<RpcRequest, Error> {
    let arguments: Result<(String, u32), _> = call.arguments().decode();
    match arguments {
        Ok((uid, _)) if uid == "cheater" => Err(Error::new("no points for cheaters")),
        _ => Ok(call),
    }
}
