//! Start and stop in their order, and which servers run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pomelo_server::{
    App, AppBuilder, Component, Config, Error, Event, Hybrid, RpcError, StartError, Transaction,
    TransactionError,
};
use serde_json::{Value, json};

use crate::peer::Tcp;

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, app: &App, what: &str) {
        let line = format!("{} {what}", app.server_id());
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Part {
    name: &'static str,
    log: Log,
    fails: Option<&'static str>,
}

impl Part {
    fn step(&self, app: &App, step: &str) -> Result<(), Error> {
        self.log.add(app, &format!("{} {step}", self.name));
        match self.fails {
            Some("panic") if step == "start" => panic!("as the test wants"),
            Some(fails) if fails == step => Err(Error::new("no")),
            _ => Ok(()),
        }
    }
}

impl Component for Part {
    fn name(&self) -> &str {
        self.name
    }

    async fn start(&self, app: &App) -> Result<(), Error> {
        self.step(app, "start")
    }

    async fn after_start(&self, app: &App) -> Result<(), Error> {
        self.step(app, "after_start")
    }

    async fn stop(&self, app: &App) {
        drop(self.step(app, "stop"));
    }
}

fn servers() -> Config {
    let servers = json!({"test": {
        "connector": [{"id": "connector-1", "frontend": true, "clientPort": 0}],
        "chat": [{"id": "chat-1"}, {"id": "chat-2"}],
    }});
    Config::from_servers(&servers, "test").unwrap()
}

fn app() -> AppBuilder {
    App::builder()
        .env("test")
        .config(servers())
        .configure("all", "connector", |server| {
            server.connector(Hybrid::new().heartbeat_secs(3))
        })
}

fn with_part(
    app: AppBuilder,
    name: &'static str,
    log: &Log,
    fails: Option<&'static str>,
) -> AppBuilder {
    let log = log.clone();
    app.component("chat", move |_| Part {
        name,
        log: log.clone(),
        fails,
    })
}

fn with_hooks(app: AppBuilder, log: &Log) -> AppBuilder {
    let hook = |what: &'static str| {
        let log = log.clone();
        move |app: App| {
            log.add(&app, what);
            async {}
        }
    };
    app.before_startup("all", hook("before_startup"))
        .after_startup("all", hook("after_startup"))
        .after_start_all("connector|area", hook("after_start_all"))
        .before_shutdown("chat", hook("before_shutdown"))
}

#[tokio::test]
async fn hooks_and_components_run_in_the_order_of_the_original() {
    let log = Log::default();
    let app = with_hooks(app(), &log);
    let app = with_part(app, "a", &log, None);
    let app = with_part(app, "b", &log, None);
    let app = with_part(app, "a", &log, Some("start"));
    let running = app.start().await.unwrap();
    assert_eq!(
        log.take(),
        [
            "connector-1 before_startup",
            "chat-1 before_startup",
            "chat-1 a start",
            "chat-1 b start",
            "chat-2 before_startup",
            "chat-2 a start",
            "chat-2 b start",
            "chat-1 a after_start",
            "chat-1 b after_start",
            "chat-2 a after_start",
            "chat-2 b after_start",
            "connector-1 after_startup",
            "chat-1 after_startup",
            "chat-2 after_startup",
            "connector-1 after_start_all",
        ]
    );
    let chat = running.app("chat-1").unwrap();
    assert_eq!(chat.component::<Part>().unwrap().name, "a");
    assert!(
        running
            .app("connector-1")
            .unwrap()
            .component::<Part>()
            .is_none()
    );
    running.stop().await;
    let stopped = log.take();
    let of = |server: &str| {
        let mine = stopped.iter().filter(|line| line.starts_with(server));
        mine.map(|line| line[server.len() + 1..].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("chat-1"), ["before_shutdown", "a stop", "b stop"]);
    assert_eq!(of("chat-2"), ["before_shutdown", "a stop", "b stop"]);
    assert_eq!(of("connector-1"), [""; 0]);
}

#[tokio::test]
async fn clients_are_there_until_the_hooks_before_shutdown_are_done() {
    let (sender, mut seen) = tokio::sync::mpsc::channel(1);
    let app = app().before_shutdown("connector", move |app: App| {
        let sender = sender.clone();
        async move { sender.send(app.sessions().count()).await.unwrap() }
    });
    let running = app.start().await.unwrap();
    let mut peer = Tcp::ready(running.addresses()["connector-1"]).await;
    running.stop().await;
    assert_eq!(seen.recv().await, Some(1));
    assert!(peer.rest().await.ends_with(br#"{"reason":"server stop"}"#));
}

#[tokio::test]
async fn a_failure_on_the_way_up_ends_the_start_and_stops_what_was_started() {
    for (fails, expected, stopped) in [
        (
            "start",
            "server chat-1: component \"b\": no",
            vec!["chat-1 a stop"],
        ),
        (
            "panic",
            "server chat-1: component \"b\": panicked",
            vec!["chat-1 a stop"],
        ),
        (
            "after_start",
            "server chat-1: component \"b\": no",
            vec![
                "chat-1 a stop",
                "chat-1 b stop",
                "chat-2 a stop",
                "chat-2 b stop",
            ],
        ),
    ] {
        let log = Log::default();
        let app = with_part(app(), "a", &log, None);
        let app = with_part(app, "b", &log, Some(fails));
        let error = app.start().await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        let lines = log.take();
        let stops = lines.iter().filter(|line| line.ends_with("stop"));
        assert_eq!(
            stops.collect::<Vec<_>>(),
            stopped.iter().collect::<Vec<_>>(),
            "{fails}"
        );
    }
    let log = Log::default();
    let app = with_part(app(), "a", &log, None)
        .before_startup("chat", async |_| Err(Error::new("no database")));
    let error = app.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "server chat-1: before_startup: no database"
    );
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_or_component_that_never_ends_does_not_hold_the_stop_up() {
    struct Stuck;
    impl Component for Stuck {
        fn name(&self) -> &str {
            "stuck"
        }
        async fn stop(&self, _: &App) {
            std::future::pending().await
        }
    }
    let app = app()
        .stop_timeout(Duration::from_secs(7))
        .before_shutdown("chat", |_| std::future::pending::<()>())
        .component("chat", |_| Stuck)
        .on_event(async |_, _| std::future::pending().await);
    let running = app.start().await.unwrap();
    let before = tokio::time::Instant::now();
    running.stop().await;
    // Hooks, components, listeners.
    assert_eq!(before.elapsed().as_secs(), 3 * 7);
}

#[tokio::test]
async fn settings_are_of_each_server_by_environment_and_type() {
    let app = app()
        .configure("test|production", "chat", |server| {
            server.set("room", json!({"size": 7})).enable("gifts")
        })
        .configure("production", "all", |server| server.set("room", 1))
        .configure("all", "connector", |server| server.disable("gifts"));
    let running = app.start().await.unwrap();
    let (chat, connector) = (
        running.app("chat-1").unwrap(),
        running.app("connector-1").unwrap(),
    );
    assert_eq!(chat.get::<Value>("room"), Some(json!({"size": 7})));
    assert_eq!(chat.get::<u32>("room"), None);
    assert!(chat.enabled("gifts") && !chat.disabled("gifts"));
    assert!(connector.disabled("gifts") && connector.disabled("nothing"));
    chat.set("zero", 0);
    assert!(chat.disabled("zero"));
    chat.enable("zero");
    assert_eq!(chat.get("zero"), Some(true));
    assert_eq!(running.app("chat-2").unwrap().get::<bool>("zero"), None);
    assert_eq!(Value::Object(connector.settings()), json!({"gifts": false}));
    running.stop().await;
}

#[tokio::test]
async fn one_process_runs_all_servers_some_or_one() {
    let ids = async |app: AppBuilder| {
        let running = app.start().await.map_err(|error| error.to_string())?;
        let all: Vec<_> = ["connector-1", "chat-1", "chat-2", "chat-9"]
            .into_iter()
            .filter(|id| running.app(id).is_some())
            .collect();
        running.stop().await;
        Ok::<_, String>(all.join(" "))
    };
    let args = |line: &str| app().args(["app"].into_iter().chain(line.split_whitespace()));
    let all = "connector-1 chat-1 chat-2";
    let cases = [
        (app(), Ok(all)),
        (
            app().servers(["chat-2", "connector-1"]),
            Ok("connector-1 chat-2"),
        ),
        (app().server_type("chat"), Ok("chat-1 chat-2")),
        (app().server_type("chat").servers(["chat-1"]), Ok("chat-1")),
        (
            app().servers(["chat-9"]),
            Err("no server has the id \"chat-9\""),
        ),
        (
            app().server_type("area"),
            Err("no server is of type \"area\""),
        ),
        (
            app().server_type("connector").servers(["chat-1"]),
            Err("no servers are configured for environment \"test\""),
        ),
        (args(""), Ok(all)),
        (args("--server-id chat-1"), Ok("chat-1")),
        (args("--server-id=chat-1,chat-2"), Ok("chat-1 chat-2")),
        (args("--server-type connector"), Ok("connector-1")),
        (args("env=test id=chat-1 serverType=chat"), Ok("chat-1")),
        (args("env=test type=all mode=clusters"), Ok(all)),
        (
            args("env=test id=master-server-1 serverType=master"),
            Ok(all),
        ),
        (args("type=chat"), Ok("chat-1 chat-2")),
        (args("startId=chat-2"), Ok("chat-2")),
        (
            args("id=chat-9 serverType=chat host=10.0.0.1 port=7"),
            Ok("chat-9"),
        ),
        (
            args("id=chat-9 host=10.0.0.1"),
            Err("no server has the id \"chat-9\""),
        ),
        (
            args("id=chat-1 port=many"),
            Err("command line: port: must be a port, 0 to 65535"),
        ),
        (
            args("--servr-id chat-1"),
            Err("unknown or incomplete argument \"--servr-id\""),
        ),
        (
            args("--server-id"),
            Err("unknown or incomplete argument \"--server-id\""),
        ),
        (
            args("serverid=chat-1"),
            Err("unknown or incomplete argument \"serverid=\""),
        ),
        (
            args("id=chat-1,chat-2 port=7"),
            Err("unknown or incomplete argument \"port=\""),
        ),
        (
            args("chat-1"),
            Err("unknown or incomplete argument \"chat-1\""),
        ),
        (
            args("=chat-1"),
            Err("unknown or incomplete argument \"=chat-1\""),
        ),
    ];
    for (index, (app, expected)) in cases.into_iter().enumerate() {
        let found = ids(app).await;
        assert_eq!(
            found,
            expected.map(str::to_owned).map_err(str::to_owned),
            "case {index}"
        );
    }
}

#[tokio::test]
async fn start_arguments_are_members_of_the_servers_entry() {
    let line = [
        "app",
        "id=chat-1",
        "serverType=chat",
        "host=10.0.0.7",
        "port=3051",
        "zone=cn-1",
        "gifts=7",
    ];
    let running = app().args(line).start().await.unwrap();
    let info = running.app("chat-1").unwrap().info();
    assert_eq!((&*info.host, info.port), ("10.0.0.7", Some(3051)));
    assert_eq!(
        (&info.extra["zone"], &info.extra["gifts"]),
        (&json!("cn-1"), &json!(7))
    );
    running.stop().await;
    let environment = app().env("production").args(["app", "--env", "test"]);
    let running = environment.start().await.unwrap();
    let chat = running.app("chat-1").unwrap();
    assert_eq!(chat.env(), "test");
    chat.remove_servers(&["chat-2"]);
    assert_eq!(
        (chat.config().servers.len(), chat.topology().servers().len()),
        (3, 2)
    );
    running.stop().await;
}

#[tokio::test]
async fn servers_that_run_elsewhere_are_known_and_out_of_reach() {
    let log = Log::default();
    let (sender, mut events) = tokio::sync::mpsc::channel(9);
    let app = with_hooks(app(), &log)
        .remote("chat.chatRemote.ping", async || {})
        .servers(["connector-1", "chat-2"])
        .on_event(move |_, event| {
            let sender = sender.clone();
            async move { sender.send(event).await.unwrap() }
        });
    let running = app.start().await.unwrap();
    let connector = running.app("connector-1").unwrap().clone();
    assert_eq!(connector.topology().by_type("chat").len(), 2);
    let ping = async |id| {
        connector
            .rpc("chat.chatRemote.ping")
            .to_server(id)
            .call::<_, Value>(())
            .await
    };
    ping("chat-2").await.unwrap();
    assert!(matches!(ping("chat-1").await, Err(RpcError::NotHere(id)) if id == "chat-1"));
    assert!(matches!(
        ping("chat-9").await,
        Err(RpcError::UnknownServer(_))
    ));
    running.stop().await;
    // That all have started is not known here.
    assert!(!log.take().iter().any(|line| line.contains("start_all")));
    while let Some(event) = events.recv().await {
        assert!(matches!(event, Event::StartServer(_)), "{event:?}");
    }
}

#[tokio::test]
async fn a_taken_port_is_found_before_anything_starts() {
    let taken = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let log = Log::default();
    let app = with_hooks(app(), &log).configure("all", "connector", move |s| s.client_port(port));
    let error = app.start().await.unwrap_err();
    assert!(matches!(error, StartError::Listen { server, .. } if server == "connector-1"));
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test]
async fn a_transaction_checks_then_tries_all_steps_again() {
    let steps = Mutex::new(Vec::new());
    let step = |name: &'static str, result: Result<(), &'static str>| {
        steps.lock().unwrap().push(name);
        std::future::ready(result.map_err(Error::new))
    };
    let mut failures = 2;
    let bought = Transaction::new("buy")
        .condition("open", || step("open", Ok(())))
        .condition("rich", || step("rich", Ok(())))
        .handler("pay", || step("pay", Ok(())))
        .handler("send", || {
            failures -= 1;
            step("send", if failures < 0 { Ok(()) } else { Err("lost") })
        })
        .tries(3)
        .run()
        .await;
    bought.unwrap();
    let expected = ["open", "rich", "pay", "send", "pay", "send", "pay", "send"];
    assert_eq!(std::mem::take(&mut *steps.lock().unwrap()), expected);

    let error = Transaction::new("buy")
        .handler("pay", || step("pay", Ok(())))
        .handler("send", || step("send", Err("lost")))
        .run()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "transaction buy: handler \"send\" in try 1: lost"
    );
    assert_eq!(std::mem::take(&mut *steps.lock().unwrap()), ["pay", "send"]);

    let error = Transaction::new("buy")
        .condition("open", || step("open", Err("closed")))
        .condition("rich", || step("rich", Ok(())))
        .handler("pay", || step("pay", Ok(())))
        .tries(9)
        .run()
        .await
        .unwrap_err();
    assert!(matches!(&error, TransactionError::Condition { condition, .. } if condition == "open"));
    assert_eq!(*steps.lock().unwrap(), ["open"]);
}
