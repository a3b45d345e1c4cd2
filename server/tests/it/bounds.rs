//! A slow peer costs only itself, and a busy one hardly more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pomelo_server::{CloseReason, FrontendSession, Overflow, PushError, State};
use serde_json::json;
use tokio::sync::mpsc;

use crate::peer::{
    Tcp, Ws, app_with, frame, golden_app, golden_connector, package, request, response, start,
};

type Closed = mpsc::Sender<CloseReason>;

async fn listen(session: FrontendSession, State(closed): State<Closed>) {
    session.bind("slow").await.unwrap();
    session.on_closed(async move |session| closed.send(session.reason).await.unwrap());
}

/// Pushes to `slow` until a push is refused; answers how many were taken.
async fn fill(app: &pomelo_server::App) -> usize {
    let body = json!({"fill": "x".repeat(4096)});
    let to = [("slow".into(), "connector-1".into())];
    // Far more than every buffer on the way holds.
    for taken in 0..100_000 {
        let report = app
            .channels()
            .push_by_uids("onFill", &body, &to)
            .await
            .unwrap();
        if report.overflowed > 0 {
            return taken;
        }
        tokio::task::yield_now().await;
    }
    panic!("never full");
}

#[tokio::test]
async fn a_peer_that_never_reads_is_disconnected() {
    let (closed, mut closes) = mpsc::channel(1);
    let app = golden_app()
        .state::<Closed>(closed)
        .handler("connector.s.listen", listen);
    let app = app.configure("all", "connector", |server| {
        server.connector(golden_connector().mailbox(64, 1 << 20, Overflow::Disconnect))
    });
    let (running, address) = start(app).await;
    let mut slow = Tcp::ready(address).await;
    slow.send(&request(1, "connector.s.listen", "{}")).await;
    assert_eq!(slow.package().await, response(1, "{}"));
    let mut other = Tcp::ready(address).await;

    let view = running.app("connector-1").unwrap();
    let session = view.sessions().by_uid("slow").remove(0);
    assert!(fill(view).await >= 64);
    assert_eq!(closes.recv().await, Some(CloseReason::OutboxFull));
    assert!(view.sessions().by_uid("slow").is_empty());
    assert_eq!(session.dropped_frames(), 1);
    let frame = pomelo_server::Frame::heartbeat();
    assert!(matches!(session.send(frame), Err(PushError::Closed)));

    other
        .send(&request(1, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(other.package().await, response(1, "{}"));
    running.stop().await;
}

#[tokio::test]
async fn a_session_may_drop_frames_instead() {
    let (closed, _closes) = mpsc::channel(1);
    let app = golden_app()
        .state::<Closed>(closed)
        .handler("connector.s.listen", listen);
    let app = app.configure("all", "connector", |server| {
        server.connector(golden_connector().mailbox(64, 1 << 20, Overflow::DropFrame))
    });
    let (running, address) = start(app).await;
    let mut slow = Tcp::ready(address).await;
    slow.send(&request(1, "connector.s.listen", "{}")).await;
    assert_eq!(slow.package().await, response(1, "{}"));
    let view = running.app("connector-1").unwrap();
    let session = view.sessions().by_uid("slow").remove(0);
    let taken = fill(view).await;
    assert_eq!(session.dropped_frames(), 1);
    // What was taken arrives, whole and in order, and the session is usable again.
    for _ in 0..taken {
        assert_eq!(slow.package().await.len(), 4 + 8 + 4096 + 11);
    }
    slow.send(&[3, 0, 0, 0]).await;
    assert_eq!(slow.package().await, [3, 0, 0, 0]);
    running.stop().await;
}

/// Requests that come in one read, with answers that are more than the mailbox holds.
#[tokio::test]
async fn a_client_that_asks_for_much_at_once_gets_it_all() {
    const TIMES: u8 = 100;
    let body = format!(r#"{{"fill":"{}"}}"#, "x".repeat(10_000));
    let app = golden_app()
        .configure("all", "connector", |server| {
            server.connector(golden_connector().mailbox(64, 256 << 10, Overflow::Disconnect))
        })
        .handler(
            "connector.s.much",
            async || json!({"fill": "x".repeat(10_000)}),
        );
    let (running, address) = start(app).await;
    let all: Vec<u8> = (1..=TIMES)
        .flat_map(|id| request(id, "connector.s.much", "{}"))
        .collect();
    let mut peer = Tcp::ready(address).await;
    peer.send(&all).await;
    for id in 1..=TIMES {
        assert_eq!(peer.package().await, response(id, &body));
    }
    let mut ws = Ws::ready(address).await;
    for id in 1..=TIMES {
        ws.send(&request(id, "connector.s.much", "{}")).await;
    }
    for id in 1..=TIMES {
        assert_eq!(ws.message().await, (0x82, response(id, &body)));
    }
    running.stop().await;
}

/// A number of the server's.
fn gauge(running: &pomelo_server::Running, name: &str) -> usize {
    let page = running.app("connector-1").unwrap().metrics_page();
    let start = format!("pomelo_{name}{{server=\"connector-1\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

/// Waits until so many bytes of packages that are not finished are with the server.
async fn unfinished(running: &pomelo_server::Running, bytes: usize) {
    while gauge(running, "unfinished_bytes") != bytes {
        tokio::task::yield_now().await;
    }
}

fn closed_for(running: &pomelo_server::Running, reason: &str) -> usize {
    let page = running.app("connector-1").unwrap().metrics_page();
    let start =
        format!("pomelo_connections_closed_total{{server=\"connector-1\",reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn of_a_crowd_that_never_finishes_the_first_are_kicked() {
    const NOTHING: &str = "connector.entryHandler.nothing";
    let hybrid = golden_connector()
        .max_package(300_000)
        .max_unfinished(400_000);
    let (running, address) = start(app_with(hybrid)).await;
    let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(250_000));
    let whole = request(1, NOTHING, &body);
    let (begin, rest) = whole.split_at(200_000);
    let framed = frame(0x82, &whole);
    let (ws_begin, ws_rest) = framed.split_at(150_000);

    let mut first = Tcp::ready(address).await;
    first.send(begin).await;
    unfinished(&running, 200_000).await;
    let mut second = Ws::ready(address).await;
    second.tcp.send(ws_begin).await;
    unfinished(&running, 350_000).await;
    let mut third = Tcp::ready(address).await;
    third.send(begin).await;
    assert_eq!(
        first.rest().await,
        package(5, br#"{"reason":"unfinished"}"#)
    );
    unfinished(&running, 350_000).await;
    third.send(rest).await;
    assert_eq!(third.package().await, response(1, "{}"));
    second.tcp.send(ws_rest).await;
    assert_eq!(second.message().await, (0x82, response(1, "{}")));
    unfinished(&running, 0).await;

    // One that goes in the middle of a package counts no longer.
    third.send(begin).await;
    unfinished(&running, 200_000).await;
    drop(third);
    unfinished(&running, 0).await;
    assert_eq!(closed_for(&running, "unfinished"), 1);
    running.stop().await;
}

#[tokio::test]
async fn who_has_not_shaken_hands_counts_among_the_unfinished() {
    let hybrid = golden_connector().max_package(30_000).max_unfinished(0);
    let (running, address) = start(app_with(hybrid)).await;
    let handshake = package(1, &[b' '; 60_000]);
    let mut first = Tcp::connect(address).await;
    first.send(&handshake[..50_000]).await;
    unfinished(&running, 50_000).await;
    let mut second = Ws::connect(address).await;
    second.tcp.send(&frame(0x82, &handshake)[..50_000]).await;
    // Before the handshake nobody is told anything.
    assert_eq!(first.rest().await, b"");
    while gauge(&running, "unfinished_bytes") > 50_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(closed_for(&running, "unfinished"), 1);
    drop(second);
    unfinished(&running, 0).await;
    running.stop().await;
}

/// More than the system takes for a client that does not read.
const MUCH: usize = 16 << 20;

#[tokio::test]
async fn of_a_crowd_that_reads_no_answers_the_first_are_cut() {
    let hybrid = golden_connector()
        .mailbox(64, 1 << 20, Overflow::Disconnect)
        .max_unread(1 << 20);
    let app = app_with(hybrid).handler(
        "connector.s.much",
        async || json!({"fill": "x".repeat(MUCH - 100)}),
    );
    let (running, address) = start(app).await;
    let ask = request(1, "connector.s.much", "{}");
    let mut neighbour = Tcp::ready(address).await;
    let mut first = Tcp::ready(address).await;
    first.send(&ask).await;
    // One alone is not cut, whatever it leaves.
    while gauge(&running, "unread_bytes") < 1 << 20 {
        tokio::task::yield_now().await;
    }
    assert!(neighbour.echoes().await);
    let mut second = Ws::ready(address).await;
    second.send(&ask).await;
    while closed_for(&running, "unread") < 1 {
        tokio::task::yield_now().await;
    }
    assert!(first.rest().await.len() < MUCH, "the rest is gone");
    assert!(neighbour.echoes().await);
    // Whoever reads after all gets everything.
    let head = second.tcp.exactly(10).await;
    assert_eq!(head[..2], [0x82, 127]);
    let len = u64::from_be_bytes(*head.last_chunk().unwrap());
    second.tcp.exactly(usize::try_from(len).unwrap()).await;
    while gauge(&running, "unread_bytes") > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(closed_for(&running, "unread"), 1);
    running.stop().await;
}

#[tokio::test]
async fn pushes_to_one_are_counted_and_those_to_all_are_not() {
    let hybrid = golden_connector()
        .mailbox(100_000, 8 << 20, Overflow::Disconnect)
        .max_unread(0);
    let (running, address) = start(app_with(hybrid)).await;
    let mut peers = Vec::new();
    for uid in ["a", "b"] {
        let mut peer = Tcp::ready(address).await;
        let bind = format!(r#"{{"uid":"{uid}"}}"#);
        let bind = request(1, "connector.entryHandler.bind", &bind);
        peer.send(&bind).await;
        assert_eq!(peer.package().await, response(1, r#"{"err":null}"#));
        peers.push(peer);
    }
    let channels = running.app("connector-1").unwrap().channels();
    let body = json!({"fill": "x".repeat(10_000)});
    // So much that some of it waits here.
    let waits = || gauge(&running, "queue_bytes");
    while waits() < 6 << 20 {
        channels.broadcast("connector", "n", &body).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(gauge(&running, "unread_bytes"), 0);
    let push = async |uid: &str| {
        let to = [(uid.into(), "connector-1".into())];
        channels.push_by_uids("n", &body, &to).await.unwrap();
        tokio::task::yield_now().await;
    };
    while gauge(&running, "unread_bytes") < 9 << 19 {
        push("a").await;
    }
    while closed_for(&running, "unread") < 1 {
        push("b").await;
    }
    let view = running.app("connector-1").unwrap();
    assert!(view.sessions().by_uid("a").is_empty());
    assert_eq!(view.sessions().by_uid("b").len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn requests_above_the_limit_wait_and_are_not_lost() {
    let app = golden_app().configure("all", "connector", |server| {
        server.connector(golden_connector().max_running(2))
    });
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    let mut bytes = Vec::new();
    for id in 1..=20 {
        bytes.extend(request(id, "connector.entryHandler.later", r#"{"t":1}"#));
    }
    peer.send(&bytes).await;
    let mut answers = Vec::new();
    for _ in 1..=20 {
        answers.push(peer.package().await);
    }
    answers.sort();
    let expected: Vec<_> = (1..=20).map(|id| response(id, r#"{"t":1}"#)).collect();
    assert_eq!(answers, expected);
    running.stop().await;
}

#[tokio::test]
async fn a_package_over_the_limit_closes() {
    let (running, address) = start(golden_app()).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&[4, 0x20, 0, 0]).await;
    assert_eq!(peer.rest().await, b"");
    let mut stranger = Tcp::connect(address).await;
    stranger.send(&package(1, &[b' '; 65537])[..4]).await;
    assert_eq!(stranger.rest().await, b"");
    // Nothing but the head of a frame that would be taken after the handshake.
    let head = [0x82, 0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0, 0, 0, 0, 0];
    let mut stranger = Ws::connect(address).await;
    stranger.tcp.send(&head).await;
    assert_eq!(stranger.tcp.rest().await, [0x88, 2, 3, 0xe8]);
    let mut friend = Ws::ready(address).await;
    let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000_000));
    let nothing = request(1, "connector.entryHandler.nothing", &body);
    friend.send(&nothing).await;
    assert_eq!(friend.message().await, (0x82, response(1, "{}")));
    running.stop().await;
}

#[tokio::test]
async fn a_session_whose_handlers_never_end_can_still_be_kicked() {
    let app = golden_app()
        .stop_timeout(std::time::Duration::from_millis(50))
        .configure("all", "connector", |server| {
            server.connector(golden_connector().max_running(1))
        });
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    // In one write, so that the second runs before the answer to the first leaves.
    let bind = request(1, "connector.entryHandler.bind", r#"{"uid":"u"}"#);
    let silent = request(2, "connector.entryHandler.silent", "{}");
    peer.send(&[bind, silent].concat()).await;
    assert_eq!(peer.package().await, response(1, r#"{"err":null}"#));
    let view = running.app("connector-1").unwrap();
    assert_eq!(view.sessions().kick_by_uid("u", Some("bye")), 1);
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"bye"}"#));
    running.stop().await;
}

#[tokio::test]
async fn answers_find_room_in_a_mailbox_that_pushes_have_filled() {
    for overflow in [Overflow::DropFrame, Overflow::Disconnect] {
        let hybrid = golden_connector().mailbox(8, 1 << 20, overflow);
        let (running, address) = start(app_with(hybrid)).await;
        let mut peer = Tcp::ready(address).await;
        // More requests in one write than the mailbox holds answers.
        let asked: Vec<Vec<u8>> = (1..=20)
            .map(|id| request(id, "connector.entryHandler.nothing", "{}"))
            .collect();
        peer.send(&asked.concat()).await;
        let channels = running.app("connector-1").unwrap().channels();
        let mut taken = 0;
        for _ in 0..8 {
            let report = channels.broadcast("connector", "n", &1).await.unwrap();
            taken += report.delivered;
        }
        let (mut answers, mut pushes) = (1, 0);
        while answers <= 20 || pushes < taken {
            let package = peer.package().await;
            if package == response(answers, "{}") {
                answers += 1;
            } else {
                assert_eq!(package[4] & 0x0e, 0x06, "{package:?}");
                pushes += 1;
            }
        }
        assert_eq!(taken, 8);
        running.stop().await;
    }
}

/// Everybody's bytes are there before the server's next turn.
#[tokio::test]
async fn who_asks_for_little_does_not_wait_for_those_who_ask_for_much() {
    const PEERS: usize = 20;
    const REQUESTS: usize = 1000;
    type Done = Arc<AtomicUsize>;
    let app = app_with(golden_connector())
        .state::<Done>(Done::default())
        .handler("connector.s.work", async |State(done): State<Done>| {
            done.fetch_add(1, Ordering::Relaxed);
            json!({})
        })
        .handler(
            "connector.s.done",
            async |State(done): State<Done>| json!({"done": done.load(Ordering::Relaxed)}),
        );
    let (running, address) = start(app).await;
    let mut busy = Vec::new();
    for _ in 0..PEERS {
        busy.push(Tcp::ready(address).await);
    }
    let mut modest = Tcp::ready(address).await;
    let work = request(1, "connector.s.work", "{}").repeat(REQUESTS);
    for peer in &mut busy {
        peer.send(&work).await;
    }
    modest.send(&request(1, "connector.s.done", "{}")).await;
    let answer = modest.package().await;
    let before = (0..PEERS * REQUESTS / 10)
        .find(|done| answer == response(1, &format!(r#"{{"done":{done}}}"#)));
    assert!(before.is_some(), "behind a tenth of what others asked for");
    // They get theirs, too.
    for peer in &mut busy {
        for _ in 0..REQUESTS {
            assert_eq!(peer.package().await, response(1, "{}"));
        }
    }
    running.stop().await;
}
