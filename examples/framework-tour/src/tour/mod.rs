//! The walk: starts the game on free ports, uses it as its players would, and says what it saw.
//!
//! Each file has what it saw as a struct, what was promised as another value of it, and the steps
//! between. Nothing here sleeps: what has to happen is waited for.

mod connectors;
mod crons;
mod filters;
mod lifecycle;
mod operations;
mod pushes;
mod rooms;
mod rpc;
mod sessions;
mod wire;

use std::time::Duration;

use pomelo_client::Client;
use pomelo_server::{App, Running};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Problem;
use crate::game::{Game, Ports};
use crate::jobs::Calendar;
use crate::log::Log;

/// Whatever is waited for has come long before.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const CONNECTOR_0: &str = "cluster-server-connector-0";
pub(crate) const CONNECTOR_1: &str = "cluster-server-connector-1";

/// What the walk says while it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A line for each thing on the standard output.
    Lines,
    /// Nothing.
    #[cfg(test)]
    Quiet,
}

/// Everything that was seen.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    pub(crate) lifecycle: lifecycle::Seen,
    pub(crate) sessions: sessions::Seen,
    pub(crate) channels: rooms::Seen,
    pub(crate) filters: filters::Seen,
    pub(crate) rpc: rpc::Seen,
    pub(crate) connectors: connectors::Seen,
    pub(crate) pushes: pushes::Seen,
    pub(crate) crons: crons::Seen,
    pub(crate) operations: operations::Seen,
}

impl Seen {
    pub(crate) fn promised() -> Self {
        Self {
            lifecycle: lifecycle::promised(),
            sessions: sessions::promised(),
            channels: rooms::promised(),
            filters: filters::promised(),
            rpc: rpc::promised(),
            connectors: connectors::promised(),
            pushes: pushes::promised(),
            crons: crons::promised(),
            operations: operations::promised(),
        }
    }

    /// The names of what is not as promised.
    pub(crate) fn broken(&self) -> Vec<String> {
        differences(&json!(self), &json!(Self::promised()))
    }
}

fn differences(seen: &Value, promised: &Value) -> Vec<String> {
    let mut different = Vec::new();
    for (theme, things) in members(seen) {
        for (thing, value) in members(things) {
            if promised.get(theme).and_then(|all| all.get(thing)) != Some(value) {
                different.push(format!("{theme}.{thing}"));
            }
        }
    }
    different
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Says what was seen of one theme, a line for each thing.
fn tell<T: Serialize>(out: Out, title: &str, seen: T, promised: &T) -> T {
    if out == Out::Lines {
        println!("{title}");
        let promised = json!(promised);
        for (thing, value) in members(&json!(seen)) {
            let name = thing.replace('_', " ");
            println!("    {name}: {value}");
            if let Some(promised) = promised.get(thing).filter(|promised| *promised != value) {
                println!("    NOT AS PROMISED, which is {promised}");
            }
        }
    }
    seen
}

/// A running game and its log.
pub(crate) struct Tour {
    pub(crate) game: Game,
    pub(crate) running: Running,
    pub(crate) log: Log,
}

/// Walks through everything.
pub(crate) async fn run(out: Out) -> Result<Seen, Problem> {
    let log = Log::default();
    let _heard = tracing::subscriber::set_default(log.clone());
    let walk = async {
        let game = Game::new(Calendar::standing_still())?;
        let running = game.app(Ports::Free)?.admin_port(0).start().await?;
        let tour = Tour { game, running, log };
        Ok(Seen {
            lifecycle: tell(
                out,
                "1 application, configuration, lifecycle, events",
                lifecycle::walk(&tour).await?,
                &lifecycle::promised(),
            ),
            sessions: tell(
                out,
                "2 sessions",
                sessions::walk(&tour).await?,
                &sessions::promised(),
            ),
            channels: tell(
                out,
                "3 channels",
                rooms::walk(&tour).await?,
                &rooms::promised(),
            ),
            filters: tell(
                out,
                "4 filters and error handlers",
                filters::walk(&tour).await?,
                &filters::promised(),
            ),
            rpc: tell(out, "5 rpc", rpc::walk(&tour).await?, &rpc::promised()),
            connectors: tell(
                out,
                "6 connector options",
                connectors::walk(&tour).await?,
                &connectors::promised(),
            ),
            pushes: tell(
                out,
                "7 push schedulers",
                pushes::walk(&tour).await?,
                &pushes::promised(),
            ),
            crons: tell(
                out,
                "8 cron jobs",
                crons::walk(&tour).await?,
                &crons::promised(),
            ),
            operations: tell(
                out,
                "9 tracing, metrics, health, graceful stop",
                operations::walk(tour).await?,
                &operations::promised(),
            ),
        })
    };
    tokio::time::timeout(LIMIT, walk)
        .await
        .map_err(|_| "the tour got stuck")?
}

impl Tour {
    pub(crate) fn app(&self, server_id: &str) -> Result<&App, Problem> {
        let app = self.running.app(server_id);
        app.ok_or_else(|| format!("{server_id} does not run").into())
    }

    pub(crate) fn port(&self, server_id: &str) -> Result<u16, Problem> {
        let address = self.running.addresses().get(server_id);
        let address = address.ok_or_else(|| format!("{server_id} has no clients"))?;
        Ok(address.port())
    }

    pub(crate) fn url(&self, server_id: &str) -> Result<String, Problem> {
        Ok(format!("ws://127.0.0.1:{}", self.port(server_id)?))
    }

    /// A player who has entered an arena.
    pub(crate) async fn player(
        &self,
        connector: &str,
        name: &str,
        team: &str,
    ) -> Result<Client, Problem> {
        let client = Client::connect(&self.url(connector)?).await?;
        let enter = json!({
            "name": name, "arena": "colosseum", "team": team, "password": "open sesame"
        });
        let entered: Value = client
            .request("connector.entryHandler.enter", &enter)
            .await?;
        match code(&entered) {
            200 => Ok(client),
            _ => Err(format!("{name} cannot enter: {entered}").into()),
        }
    }
}

/// The `code` of an answer; 0 if it has none.
pub(crate) fn code(answer: &Value) -> u64 {
    answer.get("code").and_then(Value::as_u64).unwrap_or(0)
}

/// What is at a path of an answer, such as `/settings/arena`; null if nothing is.
pub(crate) fn member(value: &Value, path: &str) -> Value {
    value.pointer(path).cloned().unwrap_or_default()
}

/// Asks without arguments.
pub(crate) async fn ask(client: &Client, route: &str) -> Result<Value, Problem> {
    Ok(client.request(route, &json!({})).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_as_promised() {
        let seen = run(Out::Quiet).await.unwrap();
        let promised = Seen::promised();
        assert_eq!(seen.lifecycle, promised.lifecycle);
        assert_eq!(seen.sessions, promised.sessions);
        assert_eq!(seen.channels, promised.channels);
        assert_eq!(seen.filters, promised.filters);
        assert_eq!(seen.rpc, promised.rpc);
        assert_eq!(seen.connectors, promised.connectors);
        assert_eq!(seen.pushes, promised.pushes);
        assert_eq!(seen.crons, promised.crons);
        assert_eq!(seen.operations, promised.operations);
        assert!(seen.broken().is_empty());
    }

    #[test]
    fn what_differs_is_named() {
        let mut seen = json!(Seen::promised());
        assert!(differences(&seen, &json!(Seen::promised())).is_empty());
        seen["crons"]["removed"] = json!(["midnight"]);
        seen["rpc"]["deadline"] = json!("ok");
        let different = differences(&seen, &json!(Seen::promised()));
        assert_eq!(different, ["rpc.deadline", "crons.removed"]);
    }
}
