//! Tracing, metrics, health, and a stop in good order.

use pomelo_client::{Client, CloseReason};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CONNECTOR_0, Tour, ask, code, member};
use crate::Problem;
use crate::journal::Topic;

const WHOAMI: &str = "connector.entryHandler.whoami";

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// Of a request; the session's number left out.
    span: Option<String>,
    password_in_the_log: bool,
    /// Names that the metrics page should have and has not.
    metrics_missing: Vec<&'static str>,
    sessions_in_the_metrics: Option<String>,
    health: (u16, String),
    /// Where a load balancer looks while the game stops.
    health_while_stopping: (u16, String),
    /// Clients are told while they are still connected.
    farewells_from: Vec<Value>,
    request_under_way_is_answered: u64,
    kicked_with: Option<String>,
    order_of_the_stop: Vec<String>,
    takes_clients_afterwards: bool,
}

pub(crate) fn promised() -> Seen {
    let order = ["area-1 before_shutdown", "area-1 component stop"];
    Seen {
        span: Some(format!(
            r#"request server="{CONNECTOR_0}" uid=ann route="{WHOAMI}""#
        )),
        password_in_the_log: false,
        metrics_missing: Vec::new(),
        sessions_in_the_metrics: Some("1".to_owned()),
        health: (200, "ready".to_owned()),
        health_while_stopping: (503, "draining".to_owned()),
        farewells_from: vec!["area-1".into(), "area-2".into()],
        request_under_way_is_answered: 200,
        kicked_with: Some("server stop".to_owned()),
        order_of_the_stop: order.map(str::to_owned).to_vec(),
        takes_clients_afterwards: false,
    }
}

pub(crate) async fn walk(tour: Tour) -> Result<Seen, Problem> {
    drop(tour.game.journal.take(Topic::Room));
    let ann = tour.player(CONNECTOR_0, "ann", "red").await?;
    let session = ask(&ann, WHOAMI).await?;
    let span = span_of(&tour, &session);
    let admin = tour.running.admin_address().ok_or("no admin port")?;
    let (_, page) = get(admin.port(), "/metrics").await?;
    let health = get(admin.port(), "/healthz").await?;
    let url = tour.url(CONNECTOR_0)?;

    let mut farewells = ann.subscribe("onFarewell");
    let fighter = ann.clone();
    let duel = tokio::spawn(async move { ask(&fighter, "area.arenaHandler.duel").await });
    tour.game.journal.wait(Topic::Room, 1).await;
    let Tour { game, running, log } = tour;
    let stopping = tokio::spawn(running.stop());
    let mut said_by = Vec::new();
    for _ in 0..2 {
        let farewell = farewells.recv().await.ok_or("no farewell")?;
        said_by.push(member(&farewell.decode()?, "/from"));
    }
    let health_while_stopping = get(admin.port(), "/healthz").await?;
    game.bell.0.notify_one();
    let answer: Value = duel.await??;
    let reason = ann.closed().await;
    stopping.await?;
    let order = game.journal.take(Topic::Stop).into_iter();
    Ok(Seen {
        span,
        password_in_the_log: log.contains("open sesame"),
        metrics_missing: missing(&page),
        sessions_in_the_metrics: {
            let line = format!("pomelo_sessions{{server=\"{CONNECTOR_0}\"}} ");
            let mut lines = page.lines();
            lines.find_map(|one| one.strip_prefix(&line).map(str::to_owned))
        },
        health,
        health_while_stopping,
        farewells_from: said_by,
        request_under_way_is_answered: code(&answer),
        kicked_with: match reason {
            CloseReason::Kicked(reason) => reason,
            _ => None,
        },
        order_of_the_stop: order.filter(|note| note.starts_with("area-1")).collect(),
        takes_clients_afterwards: Client::connect(&url).await.is_ok(),
    })
}

/// The last span of this session's request.
fn span_of(tour: &Tour, session: &Value) -> Option<String> {
    let number = format!(" session={}", member(session, "/id").as_u64()?);
    let lines = tour.log.of("pomelo_server");
    let mut spans = lines.iter().rev().map(|line| &line.text);
    let span = spans.find(|text| text.contains(WHOAMI) && text.contains(&number))?;
    Some(span.replacen(&number, "", 1))
}

fn missing(page: &str) -> Vec<&'static str> {
    let names = [
        "pomelo_sessions",
        "pomelo_messages_received_total",
        "pomelo_messages_sent_total",
        "pomelo_bytes_received_total",
        "pomelo_bytes_sent_total",
        "pomelo_frames_dropped_total",
        "pomelo_queue_frames",
        "pomelo_connections_refused_total",
        "pomelo_handler_seconds_count{server=\"cluster-server-connector-0\",route=\"connector.entryHandler.whoami\"}",
        "pomelo_rpc_seconds_count{server=\"cluster-server-connector-0\",route=\"rank.rankRemote.add\"}",
    ];
    let there = |name: &str| page.lines().any(|line| line.starts_with(name));
    names.into_iter().filter(|name| !there(name)).collect()
}

/// Status and body.
async fn get(port: u16, path: &str) -> Result<(u16, String), Problem> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, body.trim_end().to_owned()))
}
