//! Application, configuration, lifecycle and events.

use std::fs;

use pomelo_server::{Config, ConfigError, ServerInfo};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{CONNECTOR_0, CONNECTOR_1, Tour, wire};
use crate::Problem;
use crate::game::{CONFIG, Game, Ports};
use crate::jobs::Calendar;
use crate::journal::Topic;

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// servers.json, an entry with `clusterCount` as the servers it stands for.
    servers: Vec<String>,
    /// The other layout: config/development/servers.json.
    servers_of_the_other_layout: Vec<String>,
    /// What `"3150++"` became.
    client_ports_of_the_cluster: Vec<u16>,
    /// Kept for whoever starts processes.
    args_of_area_1: Vec<String>,
    master_port: Option<u16>,
    server_types_with_a_token: Vec<String>,
    /// `configure` by environment.
    seats_in_development_and_production: (u32, u32),
    friendly_fire_at_area_and_gate: (bool, bool),
    arenas_of_our_own_file: Vec<String>,
    order_of_the_start: Vec<String>,
    events_of_servers: Vec<String>,
    /// File and field of each.
    mistakes_in_a_file: Vec<(String, String)>,
    /// Whether new clients got a code for `onEncore`, before and after the reload.
    dictionary_reloaded: (bool, bool),
    /// `env=production serverType=rank id=rank-2`.
    one_server_alone: Vec<String>,
}

pub(crate) fn promised() -> Seen {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Seen {
        servers: texts(&[
            "gate-1",
            CONNECTOR_0,
            CONNECTOR_1,
            "tournament-1",
            "edge-1",
            "area-1",
            "area-2",
            "rank-1",
            "rank-2",
            "rank-3",
        ]),
        servers_of_the_other_layout: texts(&["gate-1", "cluster-server-area-0"]),
        client_ports_of_the_cluster: vec![3150, 3151],
        args_of_area_1: texts(&["--max-old-space-size=512"]),
        master_port: Some(3105),
        server_types_with_a_token: texts(&["area", "rank"]),
        seats_in_development_and_production: (4, 100),
        friendly_fire_at_area_and_gate: (true, false),
        arenas_of_our_own_file: texts(&["colosseum", "pit"]),
        order_of_the_start: texts(&[
            "area-1 before_startup",
            "area-1 component start",
            "area-1 component after_start",
            "area-1 after_startup",
            "area-1 after_start_all",
        ]),
        events_of_servers: texts(&["add area-9", "remove area-9", "replace by 10"]),
        mistakes_in_a_file: vec![
            (
                "servers.json".to_owned(),
                "development.gate[0].clientPort".to_owned(),
            ),
            (
                "servers.json".to_owned(),
                "development.area[0].id".to_owned(),
            ),
        ],
        dictionary_reloaded: (false, true),
        one_server_alone: texts(&["rank-2"]),
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    let (area, gate) = (tour.app("area-1")?, tour.app("gate-1")?);
    let config = area.config();
    let cluster = config.servers.iter();
    let cluster = cluster.filter(|server| *server.server_type == *"connector");
    let started = tour.game.journal.take(Topic::Start).into_iter();
    let arenas: Value = area.get("arenas").unwrap_or_default();
    let (one_server_alone, seats_in_production) = alone(tour).await?;
    Ok(Seen {
        servers: ids(area.topology().servers()),
        servers_of_the_other_layout: other_layout()?,
        client_ports_of_the_cluster: cluster.filter_map(|server| server.client_port).collect(),
        args_of_area_1: area.info().args.clone(),
        master_port: config.master.as_ref().map(|master| master.port),
        server_types_with_a_token: {
            let tokens = config.admin_servers.iter().flatten();
            tokens.map(|one| one.server_type.to_string()).collect()
        },
        seats_in_development_and_production: (seats(area), seats_in_production),
        friendly_fire_at_area_and_gate: (
            area.enabled("friendlyFire"),
            gate.enabled("friendlyFire"),
        ),
        arenas_of_our_own_file: super::members(&arenas)
            .map(|(name, _)| name.clone())
            .collect(),
        order_of_the_start: started.filter(|note| note.starts_with("area-1")).collect(),
        events_of_servers: servers_come_and_go(tour).await?,
        mistakes_in_a_file: mistakes()?,
        dictionary_reloaded: reload(tour).await?,
        one_server_alone,
    })
}

fn ids(servers: &[ServerInfo]) -> Vec<String> {
    servers.iter().map(|server| server.id.to_string()).collect()
}

fn seats(app: &pomelo_server::App) -> u32 {
    app.get("seats").unwrap_or(0)
}

async fn servers_come_and_go(tour: &Tour) -> Result<Vec<String>, Problem> {
    let app = tour.app("area-1")?;
    let all = app.topology().servers().to_vec();
    app.add_servers(vec![ServerInfo::new("area-9", "area")]);
    app.remove_servers(&["area-9"]);
    app.replace_servers(all);
    Ok(tour.game.journal.wait(Topic::Servers, 3).await)
}

/// A directory for each environment, and in it files without environments.
fn other_layout() -> Result<Vec<String>, Problem> {
    let dir = tempfile::tempdir()?;
    let servers = json!({
        "gate": [{"id": "gate-1", "frontend": true, "clientPort": 3114}],
        "area": [{"host": "127.0.0.1", "port": "6150++", "clusterCount": 1}],
    });
    fs::create_dir(dir.path().join("development"))?;
    fs::write(
        dir.path().join("development/servers.json"),
        servers.to_string(),
    )?;
    Ok(ids(&Config::load(dir.path(), "development")?.servers))
}

/// A mistake is reported with its file and field, and all of them at once.
fn mistakes() -> Result<Vec<(String, String)>, Problem> {
    let dir = tempfile::tempdir()?;
    let wrong = json!({"development": {
        "gate": [{"id": "gate-1", "frontend": true, "clientPort": "many"}],
        "area": [{"host": "127.0.0.1"}],
    }});
    fs::write(dir.path().join("servers.json"), wrong.to_string())?;
    let Err(ConfigError::Wrong(mistakes)) = Config::load(dir.path(), "development") else {
        return Err("a wrong servers.json was taken".into());
    };
    let place = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let each = mistakes.into_iter();
    Ok(each.map(|one| (place(&one.file), one.field)).collect())
}

/// New handshakes get the new dictionary.
async fn reload(tour: &Tour) -> Result<(bool, bool), Problem> {
    let app = tour.app(CONNECTOR_0)?;
    let before = has_code(tour, "onEncore").await?;
    let mut config = Config::load(CONFIG, "development")?;
    config.dictionary.push("onEncore".to_owned());
    app.set_tables(&config)?;
    let after = has_code(tour, "onEncore").await?;
    app.reload_tables()?;
    Ok((before, after))
}

async fn has_code(tour: &Tour, route: &str) -> Result<bool, Problem> {
    let mut stream = TcpStream::connect(("127.0.0.1", tour.port(CONNECTOR_0)?)).await?;
    let answer = wire::handshake(&mut stream).await?;
    Ok(answer
        .pointer("/sys/dict")
        .and_then(|dict| dict.get(route))
        .is_some())
}

/// One server of another environment, as pomelo's master starts a child; and its seats.
async fn alone(tour: &Tour) -> Result<(Vec<String>, u32), Problem> {
    let args = ["arena", "env=production", "serverType=rank", "id=rank-2"];
    let running = Game::new(Calendar::standing_still())?
        .app(Ports::Free)?
        .args(args)
        .start()
        .await?;
    let mut here = Vec::new();
    let mut found = 0;
    for id in ids(tour.app("area-1")?.topology().servers()) {
        if let Some(app) = running.app(&id) {
            found = seats(app);
            here.push(id);
        }
    }
    running.stop().await;
    Ok((here, found))
}
