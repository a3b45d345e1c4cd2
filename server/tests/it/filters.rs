//! Filters and error handlers: the order, what runs after which failure, and the built-in ones.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pomelo_server::{
    App, AppBuilder, Config, Direct, Error, Extension, Filter, FrontendSession, Hybrid, Json, Msg,
    PushSchedulers, Reply, Request, RequestSession, Route, Running, filters,
};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify, mpsc};
use tokio::time::Instant;

use crate::logs::Logs;
use crate::peer::{Tcp, golden_app, package, request, response, start};

/// What ran, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }
}

/// Fails where the message says, and notes what it sees.
struct Step {
    name: &'static str,
    seen: Seen,
    over: Arc<Notify>,
}

fn asks(request: &Request, name: &str) -> Option<Value> {
    request.msg::<Value>().ok()?.get(name).cloned()
}

impl Filter for Step {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        let name = format!("{}-before", self.name);
        let asked = asks(request, &name);
        self.seen.note(name.clone());
        match asked {
            None => Ok(()),
            Some(Value::Null) => panic!("{name}"),
            Some(code) => Err(Error::new(name).with_reply(json!({"code": code}))),
        }
    }

    async fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let name = format!("{}-after", self.name);
        let error = match &outcome {
            Ok(_) => String::new(),
            Err(error) => format!("({error})"),
        };
        self.seen.note(format!("{name}{error}"));
        if self.name == "g1" {
            self.over.notify_one();
        }
        match asks(request, &name) {
            None => outcome,
            Some(Value::Null) => panic!("{name}"),
            Some(Value::Bool(true)) => Ok(Reply::new(json!({"cleared": true}))),
            Some(code) => Err(Error::new(name).with_reply(json!({"code": code}))),
        }
    }
}

struct Steps {
    seen: Seen,
    over: Arc<Notify>,
}

/// Two filters of each kind on both servers and a handler on each, `connector.h.m` and `chat.h.m`.
fn stepped(handlers: bool) -> (AppBuilder, Steps) {
    let (seen, over) = (Seen::default(), Arc::new(Notify::new()));
    let steps = Steps {
        seen: seen.clone(),
        over: Arc::clone(&over),
    };
    let setup_seen = seen.clone();
    let mut app = golden_app().configure("all", "connector|chat", move |mut server| {
        let step = |name| Step {
            name,
            seen: setup_seen.clone(),
            over: Arc::clone(&over),
        };
        server = server
            .filter(step("l1"))
            .global_filter(step("g1"))
            .filter(step("l2"))
            .global_filter(step("g2"));
        if handlers {
            let (local, global) = (setup_seen.clone(), setup_seen.clone());
            server = server
                .error_handler(move |error: Error, Msg(body): Msg<Value>| {
                    local.note(format!("error({error})"));
                    async move {
                        match body.get("handled") {
                            Some(reply) => Ok(Reply::new(reply.clone())),
                            None => Err(error),
                        }
                    }
                })
                .global_error_handler(move |error: Error| {
                    global.note(format!("global-error({error})"));
                    async { Err::<Reply, _>(Error::new("replaced").with_reply(json!({"code": 9}))) }
                });
        }
        server
    });
    for route in ["connector.h.m", "chat.h.m"] {
        let seen = seen.clone();
        app = app.handler(route, move |app: App, Msg(body): Msg<Value>| {
            seen.note(format!("handler@{}", app.server_id()));
            async move {
                match body.get("handler") {
                    None => Ok(Json(json!({"ok": true}))),
                    Some(Value::Null) => panic!("handler"),
                    Some(code) => Err(Error::new("handler").with_reply(json!({"code": code}))),
                }
            }
        });
    }
    (app, steps)
}

/// Sends one request after the other and tells what ran and what came back.
async fn run(app: AppBuilder, steps: &Steps, cases: &[(&str, &str)]) -> Vec<(String, String)> {
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    let mut results = Vec::new();
    for (id, (route, body)) in (1..).zip(cases) {
        peer.send(&request(id, route, body)).await;
        let answer = peer.package().await;
        assert_eq!(answer[..6], [4, 0, 0, answer[3], 4, id]);
        steps.over.notified().await;
        let answer = String::from_utf8(answer[6..].to_vec()).unwrap();
        results.push((steps.seen.take(), answer));
    }
    running.stop().await;
    results
}

#[tokio::test]
async fn the_order_is_pomelos() {
    for (route, server) in [("connector.h.m", "connector-1"), ("chat.h.m", "chat-1")] {
        let (app, steps) = stepped(true);
        let results = run(app, &steps, &[(route, "{}")]).await;
        let order = format!(
            "g1-before g2-before l1-before l2-before handler@{server} \
             l2-after l1-after g2-after g1-after"
        );
        assert_eq!(results, [(order, r#"{"ok":true}"#.to_owned())]);
    }
}

#[tokio::test]
async fn what_runs_after_each_failure() {
    let failures = [
        // Global before: the rest of the chain is skipped, the global error handler is asked.
        (
            r#"{"g1-before":7}"#,
            "g1-before global-error(g1-before) g2-after(replaced) g1-after(replaced)",
            r#"{"code":9}"#,
        ),
        // Local before and handler: the error handler, all local after filters, no global handler.
        (
            r#"{"l1-before":7}"#,
            "g1-before g2-before l1-before error(l1-before) \
             l2-after(l1-before) l1-after(l1-before) g2-after(l1-before) g1-after(l1-before)",
            r#"{"code":7}"#,
        ),
        (
            r#"{"handler":7}"#,
            "g1-before g2-before l1-before l2-before handler@HERE error(handler) \
             l2-after(handler) l1-after(handler) g2-after(handler) g1-after(handler)",
            r#"{"code":7}"#,
        ),
        (
            r#"{"handler":7,"handled":{"n":1}}"#,
            "g1-before g2-before l1-before l2-before handler@HERE error(handler) \
             l2-after l1-after g2-after g1-after",
            r#"{"n":1}"#,
        ),
        // Local after: the error is the request's, and no error handler hears of it.
        (
            r#"{"l2-after":7}"#,
            "g1-before g2-before l1-before l2-before handler@HERE \
             l2-after l1-after(l2-after) g2-after(l2-after) g1-after(l2-after)",
            r#"{"code":7}"#,
        ),
        (
            r#"{"handler":7,"l2-after":true}"#,
            "g1-before g2-before l1-before l2-before handler@HERE error(handler) \
             l2-after(handler) l1-after g2-after g1-after",
            r#"{"cleared":true}"#,
        ),
        // Global after: the answer is as it was.
        (
            r#"{"g2-after":7}"#,
            "g1-before g2-before l1-before l2-before handler@HERE \
             l2-after l1-after g2-after g1-after(g2-after)",
            r#"{"ok":true}"#,
        ),
    ];
    for (route, server) in [("connector.h.m", "connector-1"), ("chat.h.m", "chat-1")] {
        let cases: Vec<_> = failures.iter().map(|(body, ..)| (route, *body)).collect();
        let (app, steps) = stepped(true);
        let results = run(app, &steps, &cases).await;
        for ((body, order, answer), (ran, got)) in failures.iter().zip(&results) {
            assert_eq!(*ran, order.replace("HERE", server), "{route} {body}");
            assert_eq!(got, answer, "{route} {body}");
        }
    }
}

#[tokio::test]
async fn forwarding_that_fails_asks_no_error_handler() {
    let (app, steps) = stepped(true);
    let cases = [("none.h.m", "{}"), ("chat.h.none", "{}")];
    let results = run(app, &steps, &cases).await;
    let error = "can not find server info for type:none";
    let order = format!("g1-before g2-before g2-after({error}) g1-after({error})");
    assert_eq!(results[0], (order, r#"{"code":500}"#.to_owned()));
    // The local chain of the server that has no such handler runs, as at pomelo.
    let error = "no such handler";
    let order = format!(
        "g1-before g2-before l1-before l2-before error({error}) l2-after({error}) \
         l1-after({error}) g2-after({error}) g1-after({error})"
    );
    assert_eq!(results[1], (order, r#"{"code":500}"#.to_owned()));
}

#[tokio::test]
async fn without_error_handlers_errors_go_straight_on() {
    let (app, steps) = stepped(false);
    let cases = [
        ("chat.h.m", r#"{"g2-before":7}"#),
        ("chat.h.m", r#"{"handler":7}"#),
    ];
    let results = run(app, &steps, &cases).await;
    assert_eq!(
        results[0].0,
        "g1-before g2-before g2-after(g2-before) g1-after(g2-before)"
    );
    assert!(results[1].0.contains("handler@chat-1 l2-after(handler)"));
    assert_eq!(results[0].1, r#"{"code":7}"#);
    assert_eq!(results[1].1, r#"{"code":7}"#);
}

#[tokio::test]
async fn a_panic_anywhere_fails_its_request_and_nothing_else() {
    for place in ["g1-before", "l2-before", "handler", "l1-after", "g2-after"] {
        for route in ["connector.h.m", "chat.h.m"] {
            let body = json!({ place: null }).to_string();
            let (app, steps) = stepped(false);
            let results = run(app, &steps, &[(route, &body), (route, "{}")]).await;
            let answer = match place {
                "g2-after" => r#"{"ok":true}"#,
                _ => r#"{"code":500}"#,
            };
            assert_eq!(results[0].1, answer, "{route} {place}");
            assert!(results[0].0.contains("panicked)"), "{}", results[0].0);
            assert_eq!(results[1].1, r#"{"ok":true}"#, "{route} {place}");
        }
    }
}

#[tokio::test]
async fn the_client_has_its_answer_before_global_after_filters_run() {
    let (answered, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, tell) = (Arc::clone(&answered), Arc::clone(&asked));
    let app = golden_app().configure("all", "connector", move |server| {
        let (wait, tell) = (Arc::clone(&wait), Arc::clone(&tell));
        server.global_after(move |outcome: Result<Reply, Error>| {
            let (wait, tell) = (Arc::clone(&wait), Arc::clone(&tell));
            async move {
                wait.notified().await;
                tell.notify_one();
                outcome
            }
        })
    });
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(peer.package().await, response(1, "{}"));
    answered.notify_one();
    asked.notified().await;
    running.stop().await;
}

#[tokio::test]
async fn filters_take_extractors_and_leave_things_for_the_handler() {
    #[derive(Clone)]
    struct User(String);

    async fn named(session: FrontendSession) -> Result<(), Error> {
        session.set("seen", "by the frontend");
        Ok(())
    }
    struct Token;
    impl Filter for Token {
        async fn before(&self, request: &mut Request) -> Result<(), Error> {
            let token: Value = request.msg()?;
            let Some(token) = token["token"].as_str() else {
                return Err(Error::new("no token").with_reply(json!({"code": 401})));
            };
            let user = User(format!("{token}@{}", request.app().server_id()));
            request.extensions_mut().insert(user);
            Ok(())
        }
    }
    async fn who(session: RequestSession, Extension(user): Extension<User>) -> Json<[String; 2]> {
        Json([user.0, session.get("seen").unwrap_or_default()])
    }
    async fn stamped(
        outcome: Result<Reply, Error>,
        app: App,
        route: Route,
    ) -> Result<Json<Value>, Error> {
        let stamp = format!("{} {}", app.server_id(), route.as_str());
        Ok(Json(json!([stamp, outcome?.to_value()?])))
    }
    let app = golden_app()
        .configure("all", "connector", |server| server.global_before(named))
        .configure("all", "chat", |server| server.filter(Token).after(stamped))
        .handler("chat.h.who", who);
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "chat.h.who", r#"{"token":"t"}"#))
        .await;
    let expected = r#"["chat-1 chat.h.who",["t@chat-1","by the frontend"]]"#;
    assert_eq!(peer.package().await, response(1, expected));
    peer.send(&request(2, "chat.h.who", "{}")).await;
    assert_eq!(peer.package().await, response(2, r#"{"code":401}"#));
    // Local filters are those of the server that has the handler.
    peer.send(&request(3, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(peer.package().await, response(3, "{}"));
    running.stop().await;
}

#[tokio::test]
async fn a_backend_has_its_own_copy_of_the_session() {
    async fn set(session: RequestSession) {
        session.set("key", "backend");
    }
    let (sender, mut seen) = mpsc::channel(1);
    let app =
        golden_app()
            .handler("chat.h.set", set)
            .configure("all", "connector", move |server| {
                let sender = sender.clone();
                server.global_after(
                    move |outcome: Result<Reply, Error>, session: RequestSession| {
                        let sender = sender.clone();
                        async move {
                            let key = session.get::<String>("key");
                            sender.send(key).await.unwrap();
                            outcome
                        }
                    },
                )
            });
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "chat.h.set", "{}")).await;
    assert_eq!(peer.package().await, response(1, "{}"));
    assert_eq!(seen.recv().await.unwrap(), None);
    running.stop().await;
}

#[tokio::test]
async fn error_handlers_see_the_applications_own_error() {
    #[derive(Debug, thiserror::Error)]
    #[error("out of stock: {0}")]
    struct OutOfStock(u32);

    async fn buy() -> Result<(), Error> {
        Err(OutOfStock(7))?;
        Ok(())
    }
    async fn explain(error: Error) -> Result<Json<Value>, Error> {
        match error.downcast_ref::<OutOfStock>() {
            Some(OutOfStock(item)) => Ok(Json(json!({"code": 404, "item": item}))),
            None => Err(error),
        }
    }
    let app = golden_app()
        .handler("chat.shop.buy", buy)
        .configure("all", "chat", |server| server.error_handler(explain));
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "chat.shop.buy", "{}")).await;
    assert_eq!(
        peer.package().await,
        response(1, r#"{"code":404,"item":7}"#)
    );
    peer.send(&request(2, "chat.chatHandler.fail", "{}")).await;
    assert_eq!(peer.package().await, response(2, r#"{"code":500}"#));
    running.stop().await;
}

/// A frontend without heartbeats, so that the clock may be moved, and a handler that waits for
/// as many milliseconds as the message says. It notes start and end.
fn waiting(seen: &Seen) -> AppBuilder {
    let mut app =
        golden_app().configure("all", "connector", |server| server.connector(Hybrid::new()));
    for route in ["connector.h.wait", "chat.h.wait"] {
        let seen = seen.clone();
        app = app.handler(route, move |Msg(body): Msg<Value>| {
            let seen = seen.clone();
            async move {
                let name = body["name"].as_str().unwrap().to_owned();
                seen.note(format!("+{name}"));
                tokio::time::sleep(Duration::from_millis(body["ms"].as_u64().unwrap())).await;
                seen.note(format!("-{name}"));
                match body["end"].as_str() {
                    None => Ok(json!({})),
                    Some("error") => Err(Error::new("asked for")),
                    Some(_) => panic!("asked for"),
                }
            }
        });
    }
    app
}

async fn ready(address: std::net::SocketAddr) -> Tcp {
    let mut peer = Tcp::connect(address).await;
    peer.send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    assert_eq!(peer.package().await[0], 1);
    peer.send(&[2, 0, 0, 0]).await;
    peer.send(&request(99, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(peer.package().await, response(99, "{}"));
    peer
}

fn wait_for(id: u8, server: &str, ms: u64, end: Option<&str>) -> Vec<u8> {
    let mut body = json!({"name": id.to_string(), "ms": ms});
    if let Some(end) = end {
        body["end"] = end.into();
    }
    request(id, &format!("{server}.h.wait"), &body.to_string())
}

#[tokio::test]
async fn serial_runs_the_requests_of_a_session_one_by_one() {
    for server in ["connector", "chat"] {
        let seen = Seen::default();
        let app = waiting(&seen).configure("all", server, |server| {
            server.filter(filters::Serial::default())
        });
        let (running, address) = start(app).await;
        let mut peer = ready(address).await;
        tokio::time::pause();
        let all = [
            wait_for(1, server, 50, None),
            wait_for(2, server, 30, Some("error")),
            wait_for(3, server, 20, Some("panic")),
            wait_for(4, server, 10, None),
        ];
        peer.send(&all.concat()).await;
        for id in 1..=4 {
            let failed = id == 2 || id == 3;
            let answer = if failed { r#"{"code":500}"# } else { "{}" };
            assert_eq!(peer.package().await, response(id, answer));
        }
        assert_eq!(seen.take(), "+1 -1 +2 -2 +3 -3 +4 -4");
        tokio::time::resume();
        running.stop().await;
    }
}

#[tokio::test]
async fn serial_lets_the_next_start_when_one_takes_too_long() {
    let seen = Seen::default();
    let app = waiting(&seen).configure("all", "connector", |server| {
        server.filter(filters::Serial::default())
    });
    let (running, address) = start(app).await;
    let mut peer = ready(address).await;
    tokio::time::pause();
    let begin = Instant::now();
    let all = [
        wait_for(1, "connector", 5_000, None),
        wait_for(2, "connector", 10, None),
    ];
    peer.send(&all.concat()).await;
    assert_eq!(peer.package().await, response(2, "{}"));
    let waited = begin.elapsed();
    assert!(
        waited >= Duration::from_millis(3_010) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
    // The handler answered, and too late: as at pomelo it is an error.
    assert_eq!(peer.package().await, response(1, r#"{"code":500}"#));
    assert_eq!(seen.take(), "+1 +2 -2 -1");
    // Nobody waited for this one; it is late all the same.
    peer.send(&wait_for(3, "connector", 3_500, None)).await;
    assert_eq!(peer.package().await, response(3, r#"{"code":500}"#));
    running.stop().await;
}

#[tokio::test]
async fn serial_drops_what_waits_when_the_session_closes() {
    let seen = Seen::default();
    let app = waiting(&seen).configure("all", "connector", |server| {
        server.filter(filters::Serial::default())
    });
    let (running, address) = start(app).await;
    let mut peer = ready(address).await;
    let view = running.app("connector-1").unwrap().clone();
    tokio::time::pause();
    let all = (1..=3).map(|id| wait_for(id, "connector", 100, None));
    peer.send(&all.collect::<Vec<_>>().concat()).await;
    while seen.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(view.sessions().kick_by_id(1, Some("enough")));
    running.stop().await;
    assert_eq!(seen.take(), "+1 -1");
    assert_eq!(view.sessions().count(), 0);
}

#[tokio::test]
async fn serial_does_not_hold_up_other_sessions_whatever_their_frontend() {
    let servers = json!({"test": {
        "connector": [
            {"id": "connector-1", "frontend": true, "clientPort": 0},
            {"id": "connector-2", "frontend": true, "clientPort": 0}],
        "chat": [{"id": "chat-1"}],
    }});
    // Nobody passes before all three are in their handlers.
    let all_here = Arc::new(Barrier::new(3));
    let app = waiting(&Seen::default())
        .config(Config::from_servers(&servers, "test").unwrap())
        .handler("chat.h.meet", move || {
            let all_here = Arc::clone(&all_here);
            async move {
                all_here.wait().await;
            }
        })
        .configure("all", "chat", |server| {
            server.filter(filters::Serial::new(Duration::from_secs(3_600)))
        });
    let running: Running = app.start().await.unwrap();
    let mut peers = Vec::new();
    // On the two frontends the first sessions have the same id.
    for id in ["connector-1", "connector-2", "connector-2"] {
        let port = running.addresses()[id].port();
        peers.push(ready(([127, 0, 0, 1], port).into()).await);
    }
    for peer in &mut peers {
        peer.send(&request(1, "chat.h.meet", "{}")).await;
    }
    for peer in &mut peers {
        assert_eq!(peer.package().await, response(1, "{}"));
    }
    running.stop().await;
}

#[tokio::test]
async fn time_logs_requests_and_warns_of_slow_ones() {
    let (logs, _guard) = Logs::capture();
    let seen = Seen::default();
    let app = waiting(&seen)
        .configure("all", "connector", |server| {
            server.filter(filters::Time::new().slow(Duration::from_millis(100)))
        })
        .configure("all", "chat", |server| {
            server.filter(filters::Time::new().slow_only(Duration::from_millis(100)))
        });
    let (running, address) = start(app).await;
    let mut peer = ready(address).await;
    logs.take("con-log");
    tokio::time::pause();
    for (id, server, ms) in [
        (1, "connector", 5),
        (2, "connector", 150),
        (3, "chat", 5),
        (4, "chat", 150),
    ] {
        peer.send(&wait_for(id, server, ms, Some("error"))).await;
        assert_eq!(peer.package().await, response(id, r#"{"code":500}"#));
    }
    let logs = logs.take("con-log");
    let used = |line: &str| -> u64 {
        let number = line.split("time_used=").nth(1).unwrap();
        number.split(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(logs.len(), 3, "{logs:?}");
    assert!(
        logs[0].starts_with("INFO") && (5..50).contains(&used(&logs[0])),
        "{logs:?}"
    );
    assert!(
        logs[1].starts_with("WARN") && (150..200).contains(&used(&logs[1])),
        "{logs:?}"
    );
    assert!(
        logs[2].starts_with("WARN") && logs[2].contains("chat.h.wait"),
        "{logs:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn timeout_logs_what_takes_too_long_and_lets_it_go_on() {
    let (logs, _guard) = Logs::capture();
    let seen = Seen::default();
    let app = waiting(&seen).configure("all", "connector", |server| {
        server.filter(filters::Timeout::default().max_size(1))
    });
    let (running, address) = start(app).await;
    let mut peer = ready(address).await;
    tokio::time::pause();
    peer.send(&wait_for(1, "connector", 100, None)).await;
    assert_eq!(peer.package().await, response(1, "{}"));
    // Above the limit a request is not watched: two are, the third is not.
    let all = (2..=4).map(|id| wait_for(id, "connector", 5_000, None));
    peer.send(&all.collect::<Vec<_>>().concat()).await;
    for id in 2..=4 {
        assert_eq!(peer.package().await, response(id, "{}"));
    }
    let logs: Vec<_> = logs
        .take("pomelo_server::filter::timeout")
        .into_iter()
        .map(|line| line[..5].to_owned())
        .collect();
    assert_eq!(logs, ["WARN ", "ERROR", "ERROR"]);
    running.stop().await;
}

#[tokio::test]
async fn timeout_may_answer() {
    let second = Duration::from_secs(1);
    for (server, global) in [("connector", false), ("chat", false), ("chat", true)] {
        let seen = Seen::default();
        let on = if global { "connector" } else { server };
        let after = seen.clone();
        let app = waiting(&seen)
            .configure("all", on, move |server| {
                let timeout = filters::Timeout::new(second).answering();
                if global {
                    server.global_filter(timeout)
                } else {
                    server.filter(timeout)
                }
            })
            .configure("all", server, move |server| {
                let after = after.clone();
                server.after(move |outcome: Result<Reply, Error>| {
                    after.note("after");
                    async { outcome }
                })
            });
        let (running, address) = start(app).await;
        let mut peer = ready(address).await;
        seen.take();
        tokio::time::pause();
        let begin = Instant::now();
        let all = [
            wait_for(1, server, 60_000, None),
            wait_for(2, server, 10, None),
        ];
        peer.send(&all.concat()).await;
        assert_eq!(peer.package().await, response(2, "{}"));
        assert_eq!(peer.package().await, response(1, r#"{"code":500}"#));
        let waited = begin.elapsed();
        assert!(waited >= second && waited < 60 * second, "{waited:?}");
        // The local after filters run as after any error.
        let expected = "+1 +2 -2 after after";
        assert_eq!(seen.take(), expected, "{server}");
        tokio::time::resume();
        running.stop().await;
    }
}

#[tokio::test]
async fn toobusy_refuses_while_the_process_is_behind() {
    let app = waiting(&Seen::default()).configure("all", "connector", |server| {
        server.global_filter(filters::TooBusy::default())
    });
    let (running, address) = start(app).await;
    let mut peer = ready(address).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(500)).await;
    peer.send(&wait_for(1, "chat", 0, None)).await;
    assert_eq!(peer.package().await, response(1, "{}"));
    // As if a handler had blocked the thread for a minute.
    tokio::time::advance(Duration::from_secs(60)).await;
    peer.send(&wait_for(2, "chat", 0, None)).await;
    assert_eq!(peer.package().await, response(2, r#"{"code":500}"#));
    tokio::time::sleep(Duration::from_secs(10)).await;
    peer.send(&wait_for(3, "chat", 0, None)).await;
    assert_eq!(peer.package().await, response(3, "{}"));
    running.stop().await;
}

#[tokio::test]
async fn many_interleaved_requests_start_and_push_in_order() {
    /// Pushes its number, waits for no time at all several times, and answers.
    async fn step(
        app: App,
        session: RequestSession,
        Msg(number): Msg<u32>,
    ) -> Result<Json<u32>, Error> {
        let uid = session.uid().ok_or_else(|| Error::new("no uid"))?;
        let to = [(uid, session.frontend_id().into())];
        app.channels().push_by_uids("onStart", &number, &to).await?;
        for _ in 0..number % 7 {
            tokio::task::yield_now().await;
        }
        app.channels().push_by_uids("onEnd", &number, &to).await?;
        Ok(Json(number))
    }
    let app = golden_app()
        .handler("connector.h.step", step)
        .handler("chat.h.step", step)
        .configure("all", "connector|chat", |server| {
            server
                .filter(filters::Timeout::default())
                .global_before(async |_: RequestSession| {})
        });
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.entryHandler.bind", r#"{"uid":"u"}"#))
        .await;
    assert_eq!(peer.package().await, response(1, r#"{"err":null}"#));
    const COUNT: u32 = 100;
    let all: Vec<u8> = (1..=COUNT)
        .flat_map(|number| {
            let route = if number % 2 == 0 {
                "connector.h.step"
            } else {
                "chat.h.step"
            };
            let id = u8::try_from(number).unwrap();
            request(id, route, &number.to_string())
        })
        .collect();
    peer.send(&all).await;
    let (mut started, mut ended, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    while answered.len() < COUNT as usize {
        let message = peer.package().await.split_off(4);
        if message[0] == 4 {
            answered.push(u32::from(message[1]));
            assert_eq!(
                answered.last(),
                ended.last(),
                "a push made before the answer precedes it"
            );
        } else {
            let text = String::from_utf8(message[2..].to_vec()).unwrap();
            let number = text
                .trim_start_matches(char::is_alphabetic)
                .parse()
                .unwrap();
            match text.starts_with("onStart") {
                true => started.push(number),
                false => ended.push(number),
            }
        }
    }
    assert_eq!(started, (1..=COUNT).collect::<Vec<_>>());
    ended.sort_unstable();
    assert_eq!(ended, started);
    running.stop().await;
}

#[tokio::test]
async fn options_of_an_answer_reach_the_push_scheduler() {
    let (sender, seen) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let schedulers = PushSchedulers::select(move |message| {
        let line = format!("{:?} {}", message.kind, message.options);
        sender.lock().unwrap().send(line).unwrap();
        assert_ne!(message.options["id"], "panic");
        message.options["id"]
            .as_str()
            .unwrap_or("direct")
            .to_owned()
    })
    .with("direct", Direct);
    let chosen = async |Msg(id): Msg<String>| Reply::new(1).with_options(json!({ "id": id }));
    let app = golden_app()
        .configure("all", "connector", move |server| {
            server.push_schedulers(schedulers.clone())
        })
        .handler("connector.h.chosen", chosen)
        .handler("chat.h.chosen", chosen);
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    for (id, route) in [(1, "connector.h.chosen"), (2, "chat.h.chosen")] {
        // An answer that nobody takes is lost, and so is one whose scheduler panics; the next is
        // not.
        peer.send(&request(9, route, r#""nobody""#)).await;
        peer.send(&request(9, route, r#""panic""#)).await;
        peer.send(&request(id, route, r#""direct""#)).await;
        assert_eq!(peer.package().await, response(id, "1"));
        for chosen in ["nobody", "panic", "direct"] {
            let expected = format!(r#"Response {{"id":"{chosen}"}}"#);
            assert_eq!(seen.recv().unwrap(), expected);
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn routes_that_lead_nowhere_run_no_filters() {
    let servers = json!({"test": {
        "connector": [{"id": "connector-1", "frontend": true, "clientPort": 0}],
        "gate": [{"id": "gate-1", "frontend": true, "clientPort": 0}],
        "chat": [{"id": "chat-1"}],
    }});
    let seen = Seen::default();
    let notes = seen.clone();
    let app = golden_app()
        .config(Config::from_servers(&servers, "test").unwrap())
        .configure("all", "connector|gate", move |server| {
            let notes = notes.clone();
            server
                .connector(Hybrid::new())
                .global_before(move |route: Route| {
                    notes.note(route.as_str());
                    async {}
                })
        })
        .handler("gate.h.m", async || {});
    let (running, address) = start(app).await;
    let mut peer = Tcp::connect(address).await;
    peer.send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    peer.package().await;
    peer.send(&[2, 0, 0, 0]).await;
    let error = r#"{"code":500}"#;
    for (id, route) in (1..).zip(["gate.h.m", "two.parts", "four.parts.of.it", "none.h.m"]) {
        // These are never answered.
        peer.send(&request(9, "nodot", "{}")).await;
        peer.send(&request(9, ".h.m", "{}")).await;
        peer.send(&request(id, route, "{}")).await;
        assert_eq!(peer.package().await, response(id, error), "{route}");
    }
    assert_eq!(seen.take(), "gate.h.m none.h.m");
    let notify = [b"\x02\x15".as_slice(), b"connector.constructor"].concat();
    peer.send(&package(4, &notify)).await;
    // Two parts, so nothing happens; three with that name at the end are an attack.
    let notify = [b"\x02\x17".as_slice(), b"connector.h.constructor"].concat();
    peer.send(&package(4, &notify)).await;
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"attack"}"#));
    assert_eq!(seen.take(), "");
    running.stop().await;
}
