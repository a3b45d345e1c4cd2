//! Filters and error handlers: global ones at the connector, local ones at areas and ranks, the
//! built-in ones `Serial`, `Time`, `Timeout` and `TooBusy`, and one of the game's own.

use std::time::Duration;

use pomelo_server::{
    App, AppBuilder, Error, Filter, Msg, Reply, Request, RequestSession, Route, State, filters,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::journal::{Journal, Topic};
use crate::lifecycle::journal;

/// What a request to a rank may take.
const TIME_LIMIT: Duration = Duration::from_millis(300);

/// How late tasks may run before work is refused. The default is pomelo's 70 ms.
pub(crate) const MAX_LAG: Duration = Duration::from_millis(150);

/// What is logged as slow.
const SLOW: Duration = Duration::from_millis(100);

pub(crate) fn plugin(app: AppBuilder) -> AppBuilder {
    app.configure("all", "connector", |server| {
        server
            .global_filter(Footsteps("global"))
            .global_before(fair_play)
            .global_error_handler(async |error: Error| {
                Err::<Reply, _>(error.with_reply(json!({"code": 403})))
            })
    })
    .configure("all", "area", |server| {
        server
            .filter(filters::Serial::default())
            .filter(Footsteps("local"))
            .before(entered)
            .error_handler(recover)
    })
    .configure("all", "rank", |server| {
        server
            .filter(filters::TooBusy::new(MAX_LAG))
            .filter(filters::Time::new().slow(SLOW))
            .filter(filters::Timeout::new(TIME_LIMIT).answering())
    })
    .handler("area.arenaHandler.strike", strike)
    .handler("area.arenaHandler.fumble", fumble)
    .handler("rank.rankHandler.recount", recount)
}

/// A filter of the game's own: writes down which way requests go.
struct Footsteps(&'static str);

impl Filter for Footsteps {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        journal(request.app()).write(Topic::Filter, format!("{} before", self.0));
        Ok(())
    }

    async fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        journal(request.app()).write(Topic::Filter, format!("{} after", self.0));
        outcome
    }
}

/// A plain function before every request of the connector's clients.
async fn fair_play(route: Route) -> Result<(), Error> {
    if route.ends_with(".cheat") {
        return Err(Error::new("a cheat"));
    }
    Ok(())
}

/// A plain function before the handlers of an area.
async fn entered(session: RequestSession) -> Result<(), Error> {
    match session.uid() {
        Some(_) => Ok(()),
        None => Err(Error::new("has not entered").with_reply(json!({"code": 401}))),
    }
}

/// Errors of handlers arrive here with their types.
async fn recover(error: Error) -> Result<Value, Error> {
    match error.downcast_ref() {
        Some(Fumble { damage }) => Ok(json!({"code": 200, "damage": damage})),
        None => Err(error),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("hurt himself by {damage}")]
struct Fumble {
    damage: u32,
}

async fn fumble() -> Result<Value, Error> {
    Err(Fumble { damage: 3 }.into())
}

#[derive(Deserialize)]
struct Strike {
    blow: u32,
}

/// Two blows of one player would mix at the await if the area had no `Serial` filter.
async fn strike(State(journal): State<Journal>, Msg(Strike { blow }): Msg<Strike>) -> Value {
    journal.write(Topic::Filter, format!("blow {blow} begins"));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    journal.write(Topic::Filter, format!("blow {blow} ends"));
    json!({ "blow": blow })
}

/// Never ends by itself.
async fn recount(_: App) -> Value {
    std::future::pending().await
}
