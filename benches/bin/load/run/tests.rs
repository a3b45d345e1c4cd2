//! Each scenario for a moment, against a server in this process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pomelo_server::{App, Config, Error, FrontendSession, Hybrid, Msg, RateLimit, Running};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::run::args::{Options, Scenario, Target};
use crate::run::report::Report;
use crate::run::scenario::{self, Outcome};

/// The bench routes on a free port; dropped, it is gone.
struct Server {
    _runtime: Runtime,
    _running: Running,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let servers = json!({"test": {
            "connector": [{"id": "connector-1", "frontend": true, "clientPort": 0}],
        }});
        let config = Config::from_servers(&servers, "test").unwrap();
        let app = App::builder()
            .env("test")
            .config(config)
            .configure("all", "connector", |server| {
                server.connector(Hybrid::new().rate_limit(None::<RateLimit>))
            })
            .handler("connector.entryHandler.entry", entry)
            .handler("connector.entryHandler.echo", echo)
            .handler("connector.entryHandler.join", join)
            .handler("connector.entryHandler.broadcast", broadcast);
        let runtime = Runtime::new().unwrap();
        let running = runtime.block_on(app.start()).unwrap();
        let port = running.addresses()["connector-1"].port();
        Self {
            _runtime: runtime,
            _running: running,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn run(&self, options: &Options, websocket: bool) -> Outcome {
        let target = Target {
            address: self.address,
            websocket,
            path: "/".to_owned(),
        };
        let outcome = scenario::run(options, target, &[std::process::id()]).unwrap();
        assert_eq!(outcome.lost, 0);
        assert_eq!(outcome.unanswered, 0);
        assert!(outcome.window.server.is_some());
        outcome
    }
}

async fn entry(session: FrontendSession) -> Result<Value, Error> {
    static UIDS: AtomicU64 = AtomicU64::new(0);
    let uid = UIDS.fetch_add(1, Ordering::Relaxed).to_string();
    session.bind(uid.as_str()).await?;
    Ok(json!({"code": 200}))
}

async fn echo(Msg(body): Msg<Map<String, Value>>) -> Value {
    json!({"code": 200, "msg": body["msg"]})
}

async fn join(app: App, session: FrontendSession) -> Value {
    let channel = app.channels().create("load");
    channel.add(session.uid().unwrap(), session.frontend_id());
    json!({"code": 200})
}

async fn broadcast(app: App, Msg(body): Msg<Map<String, Value>>) -> Result<Value, Error> {
    let channel = app.channels().create("load");
    channel.push_message("onMessage", &body).await?;
    Ok(json!({"code": 200}))
}

fn options(scenario: Scenario, connections: usize, depth: usize) -> Options {
    Options {
        connections,
        depth,
        warmup: Duration::from_millis(20),
        measured: Duration::from_millis(200),
        ..Options::new(scenario)
    }
}

#[test]
fn requests_in_a_closed_loop() {
    let server = Server::start();
    for websocket in [false, true] {
        let options = options(Scenario::Requests, 3, 4);
        let outcome = server.run(&options, websocket);
        let (_, times) = outcome.latency.as_ref().unwrap();
        assert!(outcome.work > 0);
        assert_eq!(times.len(), outcome.work);
        let report = Report::new(&options, "ws://127.0.0.1:1".to_owned(), &outcome);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["work"], outcome.work);
        assert_eq!(json["transport"], "WebSocket");
        assert!(report.to_string().contains("requests over WebSocket"));
    }
}

#[test]
fn requests_in_an_open_loop_are_all_sent_and_answered() {
    let server = Server::start();
    for poll in [false, true] {
        let options = Options {
            rate: Some(1000),
            poll,
            ..options(Scenario::Requests, 3, 1)
        };
        let outcome = server.run(&options, false);
        // 0.2 s.
        assert_eq!(outcome.work, 200);
        assert_eq!(outcome.lag.unwrap().len(), outcome.work);
        assert!(outcome.window.tool < outcome.window.wall);
    }
}

#[test]
fn receivers_that_never_read_do_not_stop_the_others() {
    let options = Options {
        rate: Some(500),
        stalled: 2,
        ..options(Scenario::Requests, 3, 1)
    };
    let outcome = Server::start().run(&options, false);
    assert!(outcome.work > 90, "{}", outcome.work);
}

#[test]
fn every_member_gets_every_broadcast() {
    let server = Server::start();
    for (websocket, sources) in [(false, 1), (true, 3)] {
        let options = Options {
            sources,
            ..options(Scenario::Fanout, 7, 3)
        };
        assert!(server.run(&options, websocket).work > 0);
    }
}

#[test]
fn idle_connections_stay_and_cost_memory() {
    let outcome = Server::start().run(&options(Scenario::Idle, 150, 1), false);
    let memory = outcome.memory.unwrap();
    assert!(memory.before > 0 && memory.after > 0);
    assert!(outcome.latency.is_none());
}

#[test]
fn a_storm_of_sessions() {
    let server = Server::start();
    for websocket in [false, true] {
        assert!(server.run(&options(Scenario::Storm, 5, 1), websocket).work > 5);
    }
}

#[test]
fn a_server_that_refuses_is_an_error() {
    let server = Server::start();
    let target = Target {
        address: server.address,
        websocket: false,
        path: "/".to_owned(),
    };
    let options = Options {
        prefix: "connector.noHandler".to_owned(),
        ..options(Scenario::Requests, 1, 1)
    };
    assert!(matches!(
        scenario::run(&options, target, &[]),
        Err(crate::run::Error::Refused(_))
    ));
}

#[test]
fn no_server_is_an_error() {
    let server = Server::start();
    let target = Target {
        address: server.address,
        websocket: false,
        path: "/".to_owned(),
    };
    drop(server);
    let options = options(Scenario::Requests, 1, 1);
    assert!(matches!(
        scenario::run(&options, target, &[]),
        Err(crate::run::Error::Lost(_) | crate::run::Error::Io(_))
    ));
}
