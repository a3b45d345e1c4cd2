//! How much a client may send, and how long it may be silent.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pomelo_server::{CloseReason, Excess, FrontendSession, RateLimit, State};
use tokio::sync::mpsc;

use crate::peer::{Tcp, Ws, app_with, frame, golden_connector, package, request, response, start};

const NOTHING: &str = "connector.entryHandler.nothing";

#[tokio::test]
async fn above_its_rate_a_client_waits_and_loses_nothing() {
    let limit = RateLimit::new().messages(50, 5);
    let (running, address) = start(app_with(golden_connector().rate_limit(limit))).await;
    let mut peer = Tcp::ready(address).await;
    let mut neighbour = Tcp::ready(address).await;
    let begun = Instant::now();
    let all: Vec<u8> = (1..=20).flat_map(|id| request(id, NOTHING, "{}")).collect();
    peer.send(&all).await;
    neighbour.send(&request(1, NOTHING, "{}")).await;
    assert_eq!(neighbour.package().await, response(1, "{}"));
    for id in 1..=20 {
        assert_eq!(peer.package().await, response(id, "{}"));
    }
    // Fifteen above the burst, less those that the handshake's heartbeat and time gave back.
    assert!(begun.elapsed() >= Duration::from_millis(200), "{begun:?}");
    running.stop().await;
}

#[tokio::test]
async fn bytes_count_too() {
    let limit = RateLimit::new().bytes(10_000, 4_000);
    let (running, address) = start(app_with(golden_connector().rate_limit(limit))).await;
    let mut ws = Ws::ready(address).await;
    let begun = Instant::now();
    let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000));
    for id in 1..=8 {
        ws.send(&request(id, NOTHING, &body)).await;
    }
    for id in 1..=8 {
        assert_eq!(ws.message().await, (0x82, response(id, "{}")));
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "{begun:?}");
    running.stop().await;
}

/// A request with a body that zlib has made shorter.
fn packed(id: u8, body: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let route = NOTHING.as_bytes();
    let len = u8::try_from(route.len()).unwrap();
    package(4, &[&[0x10, id, len], route, &body].concat())
}

#[tokio::test]
async fn bytes_count_as_they_are_once_inflated() {
    let limit = RateLimit::new().bytes(10_000, 4_000);
    let (running, address) = start(app_with(golden_connector().rate_limit(limit))).await;
    let mut peer = Tcp::ready(address).await;
    let mut neighbour = Tcp::ready(address).await;
    let begun = Instant::now();
    let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000));
    let all: Vec<u8> = (1..=8).flat_map(|id| packed(id, &body)).collect();
    assert!(all.len() < 1_000);
    peer.send(&all).await;
    neighbour.send(&request(1, NOTHING, "{}")).await;
    assert_eq!(neighbour.package().await, response(1, "{}"));
    for id in 1..=8 {
        assert_eq!(peer.package().await, response(id, "{}"));
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "{begun:?}");
    running.stop().await;
}

#[tokio::test]
async fn how_much_bodies_inflate_to_is_an_option() {
    let short = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000));
    let dense = " ".repeat(100_000);
    let kick = package(5, br#"{"reason":"inflated"}"#);
    let whole = response(1, "{}");
    let plain = golden_connector;
    for (hybrid, body, expected) in [
        (plain(), &short, &whole),
        (plain().max_inflated(1_000), &short, &kick),
        (plain().max_package(1_000), &short, &kick),
        (
            plain().max_inflated(2_000).max_package(1_000),
            &short,
            &whole,
        ),
        (plain(), &dense, &kick),
        (plain().max_inflate_ratio(2_000), &dense, &whole),
        (plain().max_inflate_ratio(None), &dense, &whole),
    ] {
        let (running, address) = start(app_with(hybrid)).await;
        let mut peer = Tcp::ready(address).await;
        peer.send(&packed(1, body)).await;
        assert_eq!(peer.package().await, *expected);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_client_above_its_rate_may_be_kicked_instead() {
    let limit = RateLimit::new().messages(1, 5).excess(Excess::Disconnect);
    let hybrid = golden_connector().rate_limit(limit);
    let (running, address) = start(app_with(hybrid.clone())).await;
    let kick = package(5, br#"{"reason":"rate limit"}"#);
    let mut peer = Tcp::ready(address).await;
    let all: Vec<u8> = (1..=20).flat_map(|id| request(id, NOTHING, "{}")).collect();
    peer.send(&all).await;
    let rest = peer.rest().await;
    assert!(rest.ends_with(&kick), "{rest:?}");
    assert!(rest.len() < 10 * response(1, "{}").len() + kick.len());
    // So are frames of WebSocket that are no messages, and messages without a package.
    for piece in [frame(0x89, b"?"), frame(0x8a, b""), frame(0x82, b"")] {
        let mut ws = Ws::ready(address).await;
        ws.tcp.send(&piece.repeat(20)).await;
        let rest = ws.tcp.rest().await;
        let kick = [
            &[0x82, u8::try_from(kick.len()).unwrap()][..],
            &kick,
            &[0x88, 2, 3, 0xe8],
        ]
        .concat();
        assert!(rest.ends_with(&kick), "{rest:?}");
    }
    // Heartbeats are answered, so they count.
    let mut beating = Tcp::ready(address).await;
    beating.send(&[3, 0, 0, 0].repeat(100)).await;
    let rest = beating.rest().await;
    assert!(rest.ends_with(&kick), "{rest:?}");
    running.stop().await;
}

#[tokio::test]
async fn the_default_is_far_above_a_busy_client_and_can_be_off() {
    for limit in [Some(RateLimit::default()), None] {
        let (running, address) = start(app_with(golden_connector().rate_limit(limit))).await;
        let mut peer = Tcp::ready(address).await;
        let begun = Instant::now();
        // One minute of input at 60 messages a second, at once.
        let one = request(1, NOTHING, "{}");
        let (mut reader, mut writer) = peer.stream.split();
        let writing = async {
            use tokio::io::AsyncWriteExt;
            writer.write_all(&one.repeat(3600)).await.unwrap();
        };
        let mut answers = vec![0; response(1, "{}").len() * 3600];
        let reading = async {
            use tokio::io::AsyncReadExt;
            reader.read_exact(&mut answers).await.unwrap();
        };
        tokio::join!(writing, reading);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let page = running.app("connector-1").unwrap().metrics_page();
        assert!(page.contains("pomelo_throttled_total{server=\"connector-1\"} 0\n"));
        running.stop().await;
    }
}

type Closed = mpsc::Sender<CloseReason>;

async fn listen(session: FrontendSession, State(closed): State<Closed>) {
    session.on_closed(async move |session| closed.send(session.reason).await.unwrap());
}

#[tokio::test]
async fn a_silent_tcp_connection_without_heartbeats_is_closed_as_at_pomelo() {
    let (closed, mut closes) = mpsc::channel(1);
    let hybrid = pomelo_server::Hybrid::new().idle_timeout(Duration::from_millis(300));
    let app = app_with(hybrid)
        .state::<Closed>(closed)
        .handler("connector.s.listen", listen);
    let (running, address) = start(app).await;
    // Without heartbeats there is none after the ack either.
    let open = async |mut peer: Tcp| {
        peer.send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
            .await;
        assert_eq!(peer.package().await[0], 1);
        peer.send(&[2, 0, 0, 0]).await;
        peer
    };
    let mut ws = Ws::connect(address).await;
    ws.send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    assert_eq!(ws.message().await.1[0], 1);
    ws.send(&[2, 0, 0, 0]).await;
    let begun = Instant::now();
    let mut silent = open(Tcp::connect(address).await).await;
    silent.send(&request(1, "connector.s.listen", "{}")).await;
    assert_eq!(silent.package().await, response(1, "{}"));
    assert_eq!(silent.rest().await, b"");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(closes.recv().await, Some(CloseReason::HeartbeatTimeout));
    // On WebSocket there is no such timer.
    ws.send(&request(1, NOTHING, "{}")).await;
    assert_eq!(ws.message().await, (0x82, response(1, "{}")));
    running.stop().await;
}

#[tokio::test]
async fn only_heartbeats_count_where_pomelo_is_to_be_followed_strictly() {
    let hybrid = golden_connector().heartbeat_timeout(Duration::from_millis(400));
    let (running, address) = start(app_with(hybrid.clone())).await;
    let (strict, strict_address) = start(app_with(hybrid.strict_heartbeat())).await;
    let mut kept = Tcp::ready(address).await;
    let mut dropped = Tcp::ready(strict_address).await;
    let begun = Instant::now();
    // Both send requests all the time and no heartbeat.
    let one = request(1, NOTHING, "{}");
    loop {
        use tokio::io::AsyncWriteExt;
        kept.send(&one).await;
        assert_eq!(kept.package().await, response(1, "{}"));
        if dropped.stream.write_all(&one).await.is_err() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(400));
    kept.send(&one).await;
    assert_eq!(kept.package().await, response(1, "{}"));
    running.stop().await;
    strict.stop().await;
}

#[tokio::test]
async fn messages_for_other_types_may_be_kept_from_them() {
    let (running, address) = start(app_with(golden_connector().forward_messages(false))).await;
    let mut peer = Tcp::ready(address).await;
    let there = request(1, "chat.chatHandler.nothing", "{}");
    peer.send(&[there, request(2, NOTHING, "{}")].concat())
        .await;
    assert_eq!(peer.package().await, response(2, "{}"));
    running.stop().await;
}
