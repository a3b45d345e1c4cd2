//! Calls between servers: who is called, what fails how, deadlines, fail modes and filters.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pomelo_server::{
    App, AppBuilder, Args, Config, Error, FailMode, Hybrid, Json, Msg, Reply, RouteParam, Router,
    RpcConfig, RpcError, RpcFilter, RpcKind, RpcRequest, Running, ServerInfo, Uid, rpc_filters,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::logs::Logs;
use crate::peer::{Tcp, request, response};

/// One frontend and three backends, which answer who they are.
fn cluster() -> AppBuilder {
    let servers = json!({"test": {
        "connector": [{"id": "connector-1", "frontend": true, "clientPort": 0}],
        "chat": [
            {"id": "chat-1", "weight": 1},
            {"id": "chat-2", "weight": 2},
            {"id": "chat-3", "weight": 3}],
    }});
    async fn who(app: App) -> Value {
        app.server_id().into()
    }
    async fn sum(Args((one, two)): Args<(i32, i32)>) -> Json<i32> {
        Json(one + two)
    }
    App::builder()
        .env("test")
        .config(Config::from_servers(&servers, "test").unwrap())
        .configure("all", "connector", |server| server.connector(Hybrid::new()))
        .handler("chat.h.who", who)
        .remote("chat.r.who", who)
        .remote("chat.r.sum", sum)
        .remote("chat.r.fail", async || -> Result<(), Error> {
            Err(Error::new("no"))
        })
        .remote("chat.r.panic", async || -> Result<(), Error> {
            panic!("asked for")
        })
        .remote("chat.r.never", std::future::pending::<()>)
}

fn caller(running: &Running) -> App {
    running.app("connector-1").unwrap().clone()
}

async fn who(call: pomelo_server::RpcCall) -> Result<String, RpcError> {
    call.call(()).await
}

async fn client(running: &Running) -> Tcp {
    let port = running.addresses()["connector-1"].port();
    let mut peer = Tcp::connect(([127, 0, 0, 1], port).into()).await;
    peer.send(&crate::peer::package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    assert_eq!(peer.package().await[0], 1);
    peer.send(&[2, 0, 0, 0]).await;
    peer
}

#[tokio::test]
async fn each_failure_has_its_type() {
    let running = cluster().start().await.unwrap();
    let app = caller(&running);
    app.add_servers(vec![ServerInfo::new("chat-9", "chat")]);
    app.add_servers(vec![ServerInfo::new("far-1", "far")]);
    let fails = |error: RpcError, text: &str| assert_eq!(error.to_string(), text, "{error:?}");
    fails(
        who(app.rpc("none.r.who")).await.unwrap_err(),
        "can not find server info for type:none",
    );
    // Unknown and offline servers: at once, where pomelo never calls back.
    let to = |id| app.rpc("chat.r.who").to_server(id);
    let error = who(to("chat-7")).await.unwrap_err();
    assert!(matches!(error, RpcError::UnknownServer(id) if id == "chat-7"));
    let error = who(to("chat-9")).await.unwrap_err();
    assert!(matches!(error, RpcError::NotHere(id) if id == "chat-9"));
    let error = who(app.rpc("far.r.who")).await.unwrap_err();
    assert!(matches!(error, RpcError::NotHere(id) if id == "far-1"));
    // A server of another type has no such remote.
    let error = who(to("connector-1")).await.unwrap_err();
    assert!(matches!(error, RpcError::UnknownRemote(route) if route == "chat.r.who"));
    let one = |route| app.rpc(route).to_server("chat-1");
    let error = who(one("chat.r.none")).await.unwrap_err();
    assert!(matches!(error, RpcError::UnknownRemote(_)));
    let error = who(one("chat.who")).await.unwrap_err();
    assert!(matches!(error, RpcError::Route(_)));
    fails(who(one("chat.r.fail")).await.unwrap_err(), "no");
    let error = who(one("chat.r.panic")).await.unwrap_err();
    assert!(matches!(&error, RpcError::Remote(text) if text == "remote panicked"));
    let error = one("chat.r.who").call::<_, u8>(()).await.unwrap_err();
    assert!(matches!(error, RpcError::Answer(_)));
    let error = one("chat.r.sum").call::<_, u8>("text").await.unwrap_err();
    assert!(matches!(error, RpcError::Remote(_)));
    let cannot = std::collections::HashMap::from([((1, 2), 3)]);
    let error = one("chat.r.who").call::<_, u8>(cannot).await.unwrap_err();
    assert!(matches!(error, RpcError::Arguments(_)));
    assert_eq!(one("chat.r.sum").call::<_, i32>((2, 3)).await.unwrap(), 5);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_never_answers_hits_the_deadline() {
    let running = cluster()
        .configure("all", "chat", |server| {
            server.rpc(RpcConfig::new().timeout(Duration::from_secs(7)))
        })
        .start()
        .await
        .unwrap();
    let chat = running.app("chat-1").unwrap();
    for (call, limit) in [
        (caller(&running).rpc("chat.r.never"), 30),
        (chat.rpc("chat.r.never"), 7),
        (chat.rpc("chat.r.never").timeout(Duration::from_secs(2)), 2),
    ] {
        let begin = Instant::now();
        let error = call.call::<_, Value>(()).await.unwrap_err();
        assert!(matches!(error, RpcError::Timeout), "{error:?}");
        let waited = begin.elapsed();
        let limit = Duration::from_secs(limit);
        assert!(waited >= limit && waited < limit + Duration::from_millis(10));
    }
    running.stop().await;
}

/// Says so when it is dropped.
struct Held(mpsc::Sender<&'static str>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.try_send("dropped").unwrap();
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_behind() {
    let (sender, mut seen) = mpsc::channel(4);
    let held = sender.clone();
    let app = cluster()
        .configure("all", "connector", |server| {
            server.rpc(RpcConfig::new().router(Router::LeastActive))
        })
        .remote("chat.r.hold", move || {
            let held = Held(held.clone());
            async move {
                held.0.send("held").await.unwrap();
                std::future::pending::<()>().await;
            }
        });
    let running = app.start().await.unwrap();
    let app = caller(&running);
    let call = tokio::spawn(app.rpc("chat.r.hold").call::<_, Value>(()));
    assert_eq!(seen.recv().await, Some("held"));
    // While it is under way the first server is busier than the others.
    for id in ["chat-2", "chat-3", "chat-2"] {
        assert_eq!(who(app.rpc("chat.r.who")).await.unwrap(), id);
    }
    call.abort();
    assert_eq!(seen.recv().await, Some("dropped"));
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(who(app.rpc("chat.r.who")).await.unwrap(), "chat-1");
    running.stop().await;
}

#[tokio::test]
async fn all_of_a_type_answer_each_for_itself() {
    let picky = async |app: App| match app.server_id() {
        "chat-2" => Err(Error::new("not me")),
        id => Ok(Reply::new(id.to_owned())),
    };
    let app = cluster().remote("chat.r.picky", picky);
    let running = app.start().await.unwrap();
    let app = caller(&running);
    app.add_servers(vec![ServerInfo::new("chat-9", "chat")]);
    let answers = app.rpc("chat.r.picky").call_all::<_, String>(()).await;
    let texts: Vec<_> = answers
        .unwrap()
        .into_iter()
        .map(|(id, answer)| format!("{id}: {}", answer.unwrap_or_else(|e| e.to_string())))
        .collect();
    assert_eq!(
        texts,
        [
            "chat-1: chat-1",
            "chat-2: not me",
            "chat-3: chat-3",
            "chat-9: server \"chat-9\" does not run in this process"
        ]
    );
    let none = app.rpc("none.r.who").call_all::<_, String>(()).await;
    assert!(matches!(none, Err(RpcError::NoServer(kind)) if kind == "none"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_of_all_that_never_answers_does_not_spoil_the_others() {
    let app = cluster().remote("chat.r.slow", async |app: App| {
        if app.server_id() == "chat-2" {
            std::future::pending::<()>().await;
        }
    });
    let running = app.start().await.unwrap();
    let answers = caller(&running).rpc("chat.r.slow").call_all::<_, Value>(());
    let answers = answers.await.unwrap();
    let failed: Vec<_> = answers.iter().map(|(_, answer)| answer.is_err()).collect();
    assert_eq!(failed, [false, true, false]);
    assert!(matches!(answers[1].1, Err(RpcError::Timeout)));
    running.stop().await;
}

#[tokio::test]
async fn a_notify_does_not_wait_and_its_failure_is_logged() {
    let (logs, _guard) = Logs::capture();
    let (sender, mut seen) = mpsc::channel(1);
    let app = cluster().remote(
        "chat.r.note",
        move |app: App, Args((text,)): Args<(String,)>| {
            let sender = sender.clone();
            async move {
                sender
                    .send(format!("{text} {}", app.server_id()))
                    .await
                    .unwrap();
            }
        },
    );
    let running = app.start().await.unwrap();
    let app = caller(&running);
    let call = |route| app.rpc(route).to_server("chat-2");
    call("chat.r.note").notify(("hello",)).unwrap();
    assert_eq!(seen.recv().await.unwrap(), "hello chat-2");
    assert!(matches!(
        call("two.parts").notify(()),
        Err(RpcError::Route(_))
    ));
    call("chat.r.none").notify(()).unwrap();
    let lines = loop {
        let lines = logs.take("pomelo_server::rpc::call");
        if !lines.is_empty() {
            break lines;
        }
        tokio::task::yield_now().await;
    };
    assert!(lines[0].contains("no such remote"), "{lines:?}");
    running.stop().await;
}

#[tokio::test]
async fn route_functions_decide_by_type_and_default() {
    let app = cluster()
        .remote("gate.r.who", async |app: App| Value::from(app.server_id()))
        .route("chat", |param: &RouteParam, servers| {
            let room: Option<usize> = param.get("room");
            match (param.route(), param.uid().as_ref().map(Uid::as_str)) {
                (Some("chat.r.panic"), _) => panic!("asked for"),
                (Some("chat.h.who"), None) => servers.last().map(|server| Arc::clone(&server.id)),
                (_, Some("nobody")) => None,
                (_, Some("wrong")) => Some("chat-7".into()),
                _ => servers
                    .get(room.unwrap_or(1))
                    .map(|server| Arc::clone(&server.id)),
            }
        })
        .route("default", |_, _| Some("chat-3".into()));
    let running = app.start().await.unwrap();
    let app = caller(&running);
    let by = |uid: &str| app.rpc("chat.r.who").route_by(uid);
    assert_eq!(who(by("somebody")).await.unwrap(), "chat-2");
    assert!(matches!(
        who(by("nobody")).await,
        Err(RpcError::NoServer(_))
    ));
    assert!(matches!(
        who(by("wrong")).await,
        Err(RpcError::UnknownServer(_))
    ));
    // A route function that panics fails its call.
    assert!(matches!(
        who(app.rpc("chat.r.panic")).await,
        Err(RpcError::NoServer(_))
    ));
    // `default` is for types without one; it must not invent servers of no type.
    app.add_servers(vec![ServerInfo::new("gate-1", "gate")]);
    assert!(matches!(
        who(app.rpc("gate.r.who")).await,
        Err(RpcError::UnknownRemote(_))
    ));
    assert!(matches!(
        who(app.rpc("none.r.who")).await,
        Err(RpcError::NoServer(_))
    ));
    // Requests of clients go the same way.
    let mut peer = client(&running).await;
    peer.send(&request(1, "chat.h.who", "{}")).await;
    assert_eq!(peer.package().await, response(1, "\"chat-3\""));
    running.stop().await;
}

#[tokio::test]
async fn without_route_functions_the_uid_decides_as_at_pomelo() {
    let running = cluster().start().await.unwrap();
    let app = caller(&running);
    let topology = app.topology();
    for uid in ["", "user1", "user2", "user3", "张三"] {
        let call = app.rpc("chat.r.who").route_by(uid);
        let expected = pomelo_server::pick_crc32(uid, topology.by_type("chat"));
        assert_eq!(who(call).await.unwrap(), *expected.unwrap().id);
    }
    running.stop().await;
}

#[tokio::test]
async fn routers_replace_route_functions_for_calls_and_requests() {
    let with = |router| {
        cluster()
            .configure("all", "connector", move |server| {
                server.rpc(RpcConfig::new().router(router))
            })
            .route("chat", |_, _| None)
    };
    for (router, order) in [
        (Router::RoundRobin, "123123"),
        (Router::Weighted, "323123"),
        (Router::LeastActive, "123123"),
    ] {
        let running = with(router).start().await.unwrap();
        let app = caller(&running);
        let mut peer = client(&running).await;
        let mut chosen = String::new();
        // Calls and forwarded requests are counted together.
        for id in [1, 2, 3] {
            chosen.push_str(
                who(app.rpc("chat.r.who"))
                    .await
                    .unwrap()
                    .trim_start_matches("chat-"),
            );
            peer.send(&request(id, "chat.h.who", "{}")).await;
            let answer = peer.package().await;
            chosen.push(char::from(answer[answer.len() - 2]));
        }
        assert_eq!(chosen, order, "{router:?}");
        running.stop().await;
    }
    let running = with(Router::ConsistentHash { field: None })
        .start()
        .await
        .unwrap();
    let app = caller(&running);
    let mut peer = client(&running).await;
    let mut forwarded = Vec::new();
    for id in 1..=3 {
        peer.send(&request(id, "chat.h.who", "{}")).await;
        forwarded.push(peer.package().await.split_off(6));
    }
    assert!(forwarded.iter().all(|answer| *answer == forwarded[0]));
    // A user stays when a server that is not his goes.
    let call = || app.rpc("chat.r.who").route_by("user1");
    let home = who(call()).await.unwrap();
    let other = ["chat-1", "chat-2", "chat-3"]
        .into_iter()
        .find(|id| **id != home);
    app.remove_servers(&[other.unwrap()]);
    assert_eq!(who(call()).await.unwrap(), home);
    app.remove_servers(&[&home]);
    assert_ne!(who(call()).await.unwrap(), home);
    running.stop().await;
    let running = with(Router::Random).start().await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(who(caller(&running).rpc("chat.r.who")).await.unwrap());
    }
    assert_eq!(seen.len(), 3);
    running.stop().await;
    let weightless = with(Router::Weighted).start().await.unwrap();
    let app = caller(&weightless);
    app.add_servers(vec![ServerInfo::new("far-1", "far")]);
    let error = who(app.rpc("far.r.who")).await.unwrap_err();
    assert!(matches!(error, RpcError::NoWeight(kind) if kind == "far"));
    weightless.stop().await;
}

#[tokio::test(start_paused = true)]
async fn fail_modes_repeat_what_did_not_arrive() {
    let delay = Duration::from_secs(2);
    let safe = FailMode::Safe { retries: 3, delay };
    let running = cluster()
        .route("chat", |_, _| Some("chat-9".into()))
        .configure("all", "connector", |server| {
            server.rpc(RpcConfig::new().fail_mode(FailMode::Over))
        })
        .start()
        .await
        .unwrap();
    let app = caller(&running);
    app.add_servers(vec![ServerInfo::new("chat-9", "chat")]);
    let call = || app.rpc("chat.r.who");
    assert_eq!(who(call()).await.unwrap(), "chat-1");
    assert!(matches!(
        who(call().fail_mode(FailMode::Fast)).await,
        Err(RpcError::NotHere(_))
    ));
    // Who names a server means it.
    assert!(matches!(
        who(call().to_server("chat-9")).await,
        Err(RpcError::NotHere(_))
    ));
    let begin = Instant::now();
    let error = who(call().fail_mode(safe)).await.unwrap_err();
    assert!(matches!(error, RpcError::NotHere(_)));
    let waited = begin.elapsed();
    assert!(waited >= 6 * delay && waited < 6 * delay + Duration::from_millis(50));
    // The time limit is that of the whole.
    let hasty = call().fail_mode(safe).timeout(delay);
    assert!(matches!(who(hasty).await, Err(RpcError::Timeout)));
    // Only what did not arrive: this one did.
    let failing = app.rpc("chat.r.fail").fail_mode(safe).to_server("chat-1");
    let begin = Instant::now();
    assert!(matches!(who(failing).await, Err(RpcError::Remote(_))));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    running.stop().await;
}

/// Notes what it sees and does what the arguments say.
struct Step(&'static str, Arc<Mutex<Vec<String>>>);

impl RpcFilter for Step {
    async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
        let (server, route) = (call.server_id(), call.route().as_str());
        let line = format!("{}-before {server} {route} {:?}", self.0, call.kind());
        self.1.lock().unwrap().push(line);
        let arguments: Value = call.arguments().decode()?;
        match arguments[0].as_str() {
            Some("refuse") if self.0 == "one" => Err(Error::new("refused")),
            Some("panic") => panic!("asked for"),
            Some("move") => {
                call.set_server("chat-2");
                call.set_arguments(("moved",))?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn after(&self, call: &mut RpcRequest, outcome: Result<(), &str>) -> Result<(), Error> {
        let line = format!("{}-after {} {outcome:?}", self.0, call.server_id());
        self.1.lock().unwrap().push(line);
        let arguments: Value = call.arguments().decode()?;
        match arguments[0].as_str() {
            Some("late") => Err(Error::new("late")),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn rpc_filters_see_replace_and_refuse() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let told = Arc::new(Mutex::new(Vec::new()));
    let reports = Arc::clone(&told);
    let app = cluster()
        .remote(
            "chat.r.echo",
            async |app: App, Args((text,)): Args<(String,)>| match &*text {
                "fail" => Err(Error::new("failed")),
                _ => Ok(Reply::new(format!("{text} {}", app.server_id()))),
            },
        )
        .handler(
            "chat.h.echo",
            async |app: App, Msg(body): Msg<Vec<String>>| Json(json!([body, app.server_id()])),
        )
        .route("chat", |_, _| Some("chat-1".into()))
        .configure("all", "connector", move |server| {
            let reports = Arc::clone(&reports);
            server
                .rpc_filter(Step("one", Arc::clone(&notes)))
                .rpc_filter(Step("two", Arc::clone(&notes)))
                .rpc_error_handler(move |error, call| {
                    let line = format!("{error} {}", call.server_id());
                    reports.lock().unwrap().push(line);
                })
        });
    let running = app.start().await.unwrap();
    let app = caller(&running);
    let take = || std::mem::take(&mut *seen.lock().unwrap());
    let told = || std::mem::take(&mut *told.lock().unwrap());
    let echo = |text: &str| app.rpc("chat.r.echo").call::<_, String>((text.to_owned(),));

    // Before and after alike in registration order.
    assert_eq!(echo("hello").await.unwrap(), "hello chat-1");
    let expected = [
        "one-before chat-1 chat.r.echo Remote",
        "two-before chat-1 chat.r.echo Remote",
        "one-after chat-1 Ok(())",
        "two-after chat-1 Ok(())",
    ];
    assert_eq!(take(), expected);
    assert_eq!(echo("move").await.unwrap(), "moved chat-2");
    assert!(take()[1].starts_with("two-before chat-2"));
    assert!(matches!(echo("fail").await, Err(RpcError::Remote(_))));
    assert_eq!(take()[2], "one-after chat-1 Err(\"failed\")");
    assert!(told().is_empty());
    // The caller gets the error, which at pomelo it does not.
    let error = echo("refuse").await.unwrap_err();
    assert!(matches!(error, RpcError::Filter(text) if text == "refused"));
    assert_eq!(take(), ["one-before chat-1 chat.r.echo Remote"]);
    assert_eq!(told(), ["refused chat-1"]);
    let error = echo("panic").await.unwrap_err();
    assert!(matches!(error, RpcError::Filter(text) if text.ends_with("panicked")));
    take();
    told();
    // An answer that is there is not lost to an after filter.
    assert_eq!(echo("late").await.unwrap(), "late chat-1");
    assert_eq!(take().len(), 3);
    assert_eq!(told(), ["late chat-1"]);

    let mut peer = client(&running).await;
    peer.send(&request(1, "chat.h.echo", r#"["hi"]"#)).await;
    assert_eq!(peer.package().await, response(1, r#"[["hi"],"chat-1"]"#));
    assert_eq!(take()[0], "one-before chat-1 chat.h.echo Forward");
    peer.send(&request(2, "chat.h.echo", r#"["move"]"#)).await;
    assert_eq!(peer.package().await, response(2, r#"[["moved"],"chat-2"]"#));
    peer.send(&request(3, "chat.h.echo", r#"["refuse"]"#)).await;
    assert_eq!(peer.package().await, response(3, r#"{"code":500}"#));
    running.stop().await;
}

#[tokio::test]
async fn rpc_functions_and_the_log() {
    let (logs, _guard) = Logs::capture();
    let after = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&after);
    let app = cluster().configure("all", "connector", move |server| {
        let count = Arc::clone(&count);
        server
            .rpc_before(async |mut call: RpcRequest| {
                if call.kind() == RpcKind::Remote {
                    call.set_server("chat-3");
                }
                Ok(call)
            })
            .rpc_filter(rpc_filters::RpcLog)
            .rpc_after(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            })
    });
    let running = app.start().await.unwrap();
    let app = caller(&running);
    assert_eq!(
        who(app.rpc("chat.r.who").to_server("chat-1"))
            .await
            .unwrap(),
        "chat-3"
    );
    assert!(who(app.rpc("chat.r.fail")).await.is_err());
    assert_eq!(after.load(Ordering::Relaxed), 2);
    let lines = logs.take("rpc-log");
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].contains("server=\"chat-3\"") && lines[0].contains("route=\"chat.r.who\""),
        "{lines:?}"
    );
    assert!(lines[1].contains("error=\"no\""), "{lines:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rpc_toobusy_refuses_while_the_process_is_behind() {
    let app = cluster().configure("all", "connector", |server| {
        server.rpc_filter(rpc_filters::RpcTooBusy::default())
    });
    let running = app.start().await.unwrap();
    let app = caller(&running);
    let call = || who(app.rpc("chat.r.who").to_server("chat-1"));
    assert!(call().await.is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    let error = call().await.unwrap_err();
    assert_eq!(error.to_string(), "Backend server chat-1 is too busy now!");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(call().await.is_ok());
    running.stop().await;
}

#[tokio::test]
async fn a_forwarded_request_has_the_deadline_of_calls() {
    let (sender, mut seen) = mpsc::channel(4);
    let app = cluster().handler("chat.h.hold", move || {
        let held = Held(sender.clone());
        async move {
            held.0.send("held").await.unwrap();
            std::future::pending::<()>().await;
        }
    });
    let running = app.start().await.unwrap();
    let mut peer = client(&running).await;
    peer.send(&request(1, "chat.h.who", "{}")).await;
    peer.package().await;
    peer.send(&request(2, "chat.h.hold", "{}")).await;
    assert_eq!(seen.recv().await, Some("held"));
    tokio::time::pause();
    let begin = Instant::now();
    assert_eq!(seen.recv().await, Some("dropped"));
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(29) && waited <= Duration::from_secs(31));
    assert_eq!(peer.package().await, response(2, r#"{"code":500}"#));
    running.stop().await;
}

#[tokio::test]
async fn calls_start_in_the_order_in_which_they_are_made() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let open = Arc::new(Notify::new());
    let gate = Arc::clone(&open);
    let app = cluster().remote("chat.r.step", move |Args((number,)): Args<(u32,)>| {
        notes.lock().unwrap().push(number);
        let gate = Arc::clone(&gate);
        async move {
            if number % 3 == 0 {
                gate.notified().await;
            }
        }
    });
    let running = app.start().await.unwrap();
    let app = caller(&running);
    let calls = (0..100u32).map(|number| {
        let call = app.rpc("chat.r.step").to_server("chat-1");
        call.call::<_, Value>((number,))
    });
    let all = futures_util::future::join_all(calls);
    let opener = async {
        for _ in (0..100).step_by(3) {
            open.notify_one();
            tokio::task::yield_now().await;
        }
    };
    let (results, ()) = tokio::join!(all, opener);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<_>>());
    running.stop().await;
}
