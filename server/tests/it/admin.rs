//! The admin port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pomelo_server::{App, Overflow, Running, State};
use serde_json::json;
use tokio::sync::Notify;

use crate::peer::{
    Tcp, Ws, app_with, golden_app, golden_connector, package, request, response, start,
};

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut peer = Tcp::connect(address).await;
    peer.send(request.as_bytes()).await;
    String::from_utf8(peer.rest().await).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await
}

/// The page's samples. Checks every rule of the text exposition format that a page can break.
fn parse(page: &str) -> HashMap<String, f64> {
    let (mut samples, mut families) = (HashMap::new(), HashMap::new());
    let mut family = String::new();
    assert!(page.ends_with('\n'));
    let is_name = |name: &str| {
        let mut characters = name.chars();
        characters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !text.is_empty(), "{line}");
            assert!(!families.contains_key(name), "{name} is there twice");
            family = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "HELP and TYPE belong together");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            families.insert(name.to_owned(), kind.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            let suffixes: &[&str] = match families[&family].as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let stem = |suffix: &&str| format!("{family}{suffix}") == name;
            assert!(suffixes.iter().any(stem), "{line}");
            let labels = labels.strip_suffix('}').unwrap();
            for label in labels.split(',') {
                let (label, value) = label.split_once('=').unwrap();
                assert!(is_name(label), "{line}");
                assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'));
            }
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0, "{line}");
            let again = samples.insert(series.to_owned(), value);
            assert_eq!(again, None, "{series} is there twice");
        }
    }
    histograms_add_up(&samples);
    samples
}

/// Buckets grow, and the last is the count.
fn histograms_add_up(samples: &HashMap<String, f64>) {
    for (series, count) in samples {
        let Some((name, labels)) = series.split_once("_count{") else {
            continue;
        };
        let labels = labels.strip_suffix('}').unwrap();
        let mut before = 0.0;
        for bound in [
            "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
            "1", "2.5", "5", "30", "+Inf",
        ] {
            let now = samples[&format!("{name}_bucket{{{labels},le=\"{bound}\"}}")];
            assert!(now >= before, "{series}");
            before = now;
        }
        assert_eq!(before, *count);
        assert!(samples.contains_key(&format!("{name}_sum{{{labels}}}")));
    }
}

async fn page(running: &Running) -> HashMap<String, f64> {
    let answer = get(running.admin_address().unwrap(), "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    parse(body)
}

fn of(samples: &HashMap<String, f64>, name: &str, labels: &str) -> f64 {
    let comma = if labels.is_empty() { "" } else { "," };
    let series = format!("{name}{{server=\"connector-1\"{comma}{labels}}}");
    *samples
        .get(&series)
        .unwrap_or_else(|| panic!("no {series} in {samples:#?}"))
}

async fn calls(app: App) -> Result<(), pomelo_server::Error> {
    let () = app.rpc("chat.remote.nothing").call(()).await?;
    Ok(())
}

#[tokio::test]
async fn the_page_counts_what_happens() {
    let app = golden_app()
        .admin_port(0)
        .handler("connector.r.calls", calls)
        .remote("chat.remote.nothing", async || {});
    let (running, address) = start(app).await;
    assert!(running.admin_address().unwrap().ip().is_loopback());
    let mut tcp = Tcp::ready(address).await;
    let mut ws = Ws::ready(address).await;
    let bind = request(1, "connector.entryHandler.bind", r#"{"uid":"u"}"#);
    let push = r#"{"route":"onX","msg":{"a":1}}"#;
    let push = request(2, "connector.entryHandler.push", push);
    let remote = request(3, "connector.r.calls", "{}");
    let chat = request(4, "chat.chatHandler.nothing", "{}");
    let unknown = request(5, "connector.no.such", "{}");
    let mut received = 0;
    for (bytes, packages) in [(bind, 1), (push, 2), (remote, 1), (chat, 1), (unknown, 1)] {
        tcp.send(&bytes).await;
        received += bytes.len();
        for _ in 0..packages {
            tcp.package().await;
        }
    }
    let notify = b"\x04\0\0\x0b\x02\x08chat.x.yz";
    ws.send(&notify[..]).await;
    // A response is nothing that a client sends.
    ws.send(&[4, 0, 0, 2, 0x04, 1]).await;
    ws.send(&[3, 0, 0, 0]).await;
    assert_eq!(ws.message().await, (0x82, vec![3, 0, 0, 0]));
    // Not an upgrade.
    assert!(
        ask(address, "GET / HTTP/1.1\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    );
    let mut stranger = Tcp::connect(address).await;
    stranger.send(&[0xff]).await;
    assert_eq!(stranger.rest().await, b"");
    // Two more that end: one by itself, one by a kick from a client.
    drop(Ws::ready(address).await);
    let mut bad = Tcp::ready(address).await;
    bad.send(&[5, 0, 0, 0]).await;
    assert_eq!(bad.rest().await, b"");
    let view = running.app("connector-1").unwrap();
    let channel = view.channels().create("room");
    for uid in ["u", "v", "w"] {
        channel.add(uid, "connector-1");
    }
    while view.sessions().count() > 2 {
        tokio::task::yield_now().await;
    }

    let samples = loop {
        let samples = page(&running).await;
        // The sockets of those that ended close a moment after their sessions.
        if of(&samples, "pomelo_connections", "") == 2.0 {
            break samples;
        }
    };
    for (name, labels, number) in [
        ("pomelo_sessions", "", 2.0),
        ("pomelo_sessions_bound", "", 1.0),
        ("pomelo_channels", "", 1.0),
        ("pomelo_channel_members", "", 3.0),
        ("pomelo_connections_accepted_total", "", 6.0),
        ("pomelo_connections_refused_total", "reason=\"http\"", 1.0),
        (
            "pomelo_connections_refused_total",
            "reason=\"first_bytes\"",
            1.0,
        ),
        ("pomelo_connections_closed_total", "reason=\"peer\"", 1.0),
        (
            "pomelo_connections_closed_total",
            "reason=\"protocol\"",
            1.0,
        ),
        (
            "pomelo_connections_closed_total",
            "reason=\"rate_limit\"",
            0.0,
        ),
        ("pomelo_messages_received_total", "kind=\"request\"", 5.0),
        ("pomelo_messages_received_total", "kind=\"notify\"", 1.0),
        ("pomelo_messages_received_total", "kind=\"ignored\"", 1.0),
        ("pomelo_messages_sent_total", "kind=\"response\"", 5.0),
        ("pomelo_messages_sent_total", "kind=\"push\"", 1.0),
        ("pomelo_frames_dropped_total", "", 0.0),
        ("pomelo_queue_frames", "", 0.0),
        ("pomelo_queue_bytes", "", 0.0),
        ("pomelo_requests_running", "", 0.0),
        (
            "pomelo_handler_seconds_count",
            "route=\"connector.entryHandler.bind\"",
            1.0,
        ),
        (
            "pomelo_handler_seconds_count",
            "route=\"chat.chatHandler.nothing\"",
            1.0,
        ),
        ("pomelo_handler_errors_total", "route=\"other\"", 2.0),
        (
            "pomelo_handler_errors_total",
            "route=\"connector.entryHandler.bind\"",
            0.0,
        ),
        (
            "pomelo_rpc_errors_total",
            "route=\"chat.remote.nothing\"",
            0.0,
        ),
        (
            "pomelo_rpc_seconds_count",
            "route=\"chat.remote.nothing\"",
            1.0,
        ),
        // Both that nobody registered.
        ("pomelo_handler_seconds_count", "route=\"other\"", 2.0),
    ] {
        assert_eq!(of(&samples, name, labels), number, "{name} {labels}");
    }
    assert!(of(&samples, "pomelo_bytes_received_total", "") >= received as f64);
    assert!(of(&samples, "pomelo_bytes_sent_total", "") > 100.0);
    running.stop().await;
}

#[tokio::test]
async fn the_page_shows_queues_drops_and_running_requests() {
    let hybrid = golden_connector().mailbox(4, 1 << 20, Overflow::DropFrame);
    let app = app_with(hybrid)
        .admin_port(0)
        .stop_timeout(Duration::from_millis(50));
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    let bind = request(1, "connector.entryHandler.bind", r#"{"uid":"u"}"#);
    peer.send(&bind).await;
    assert_eq!(peer.package().await, response(1, r#"{"err":null}"#));
    let view = running.app("connector-1").unwrap();
    let to = [("u".into(), "connector-1".into())];
    let body = json!({"fill": "x".repeat(20_000)});
    // Until the socket takes nothing either: a whole round is refused.
    let mut refused = 0;
    loop {
        let mut round = 0;
        for _ in 0..8 {
            let report = view.channels().push_by_uids("onFill", &body, &to).await;
            round += report.unwrap().overflowed;
        }
        refused += round;
        if round == 8 {
            break;
        }
        // Whoever writes gets its turns.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    let refused = refused as f64;
    let samples = page(&running).await;
    assert!(of(&samples, "pomelo_queue_frames", "") >= 1.0);
    assert!(of(&samples, "pomelo_queue_bytes", "") >= 20_000.0);
    let mut other = Tcp::ready(address).await;
    other
        .send(&request(1, "connector.entryHandler.silent", "{}"))
        .await;
    // Read, so that the connection gets to count.
    let mut stream = peer.stream;
    let reading =
        tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
    loop {
        let samples = page(&running).await;
        let dropped = of(&samples, "pomelo_frames_dropped_total", "");
        assert!(dropped <= refused);
        if dropped == refused && of(&samples, "pomelo_requests_running", "") == 1.0 {
            break;
        }
    }
    reading.abort();
    drop(other);
    while view.sessions().count() > 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn health_is_ready_until_the_server_stops() {
    let gate = Arc::new((Notify::new(), Notify::new()));
    async fn slow(State(gate): State<Arc<(Notify, Notify)>>) {
        gate.0.notify_one();
        gate.1.notified().await;
    }
    let app = app_with(golden_connector().drain_timeout(Duration::from_secs(60)))
        .stop_timeout(Duration::from_secs(120))
        .admin("127.0.0.1:0".parse().unwrap())
        .state(Arc::clone(&gate))
        .handler("connector.g.slow", slow);
    let (running, address) = start(app).await;
    let admin = running.admin_address().unwrap();
    let answer = get(admin, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nready\n"));
    let mut busy = Tcp::ready(address).await;
    busy.send(&request(1, "connector.g.slow", "{}")).await;
    gate.0.notified().await;
    let mut idle = Tcp::ready(address).await;
    let stop = tokio::spawn(running.stop());
    assert_eq!(
        idle.rest().await,
        package(5, br#"{"reason":"server stop"}"#)
    );
    let answer = get(admin, "/healthz?probe=1").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndraining\n"));
    gate.1.notify_one();
    stop.await.unwrap();
    assert!(tokio::net::TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn bad_questions_get_their_answers() {
    let (running, _) = start(golden_app().admin_port(0)).await;
    let admin = running.admin_address().unwrap();
    assert!(get(admin, "/").await.starts_with("HTTP/1.1 404 "));
    assert!(
        ask(admin, "POST /metrics HTTP/1.1\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 405 ")
    );
    assert!(
        ask(admin, "nonsense\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400 ")
    );
    let head = ask(admin, "HEAD /healthz HTTP/1.1\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"));
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(4 * 1024));
    assert!(ask(admin, &long).await.starts_with("HTTP/1.1 431 "));
    // Those who do not ask do not keep others from it.
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(Tcp::connect(admin).await);
    }
    assert!(get(admin, "/healthz").await.ends_with("ready\n"));
    running.stop().await;
}

#[tokio::test]
async fn without_an_admin_port_there_is_none_and_the_page_can_still_be_had() {
    let (running, address) = start(golden_app().measure_latency()).await;
    assert_eq!(running.admin_address(), None);
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "chat.chatHandler.nothing", "{}"))
        .await;
    assert_eq!(peer.package().await, response(1, "{}"));
    let samples = parse(&running.app("chat-1").unwrap().metrics_page());
    let route = "route=\"chat.chatHandler.nothing\"";
    assert_eq!(of(&samples, "pomelo_handler_seconds_count", route), 1.0);
    assert_eq!(of(&samples, "pomelo_sessions", ""), 1.0);
    running.stop().await;
}

#[tokio::test]
async fn health_says_draining_while_hooks_run_and_clients_are_still_served() {
    let gate = Arc::new((Notify::new(), Notify::new()));
    let hook_gate = Arc::clone(&gate);
    let app = golden_app()
        .stop_timeout(Duration::from_secs(60))
        .admin_port(0)
        .before_shutdown("connector", move |_| {
            let gate = Arc::clone(&hook_gate);
            async move {
                gate.0.notify_one();
                gate.1.notified().await;
            }
        });
    let (running, address) = start(app).await;
    let admin = running.admin_address().unwrap();
    let stop = tokio::spawn(running.stop());
    gate.0.notified().await;
    assert!(get(admin, "/healthz").await.ends_with("draining\n"));
    let mut late = Tcp::ready(address).await;
    gate.1.notify_one();
    assert_eq!(
        late.rest().await,
        package(5, br#"{"reason":"server stop"}"#)
    );
    stop.await.unwrap();
}
