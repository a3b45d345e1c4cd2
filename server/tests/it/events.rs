//! Events reach their listeners in order, and a listener harms nobody but itself.

use std::time::Duration;

use pomelo_server::{App, AppBuilder, Event};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::peer::{Tcp, golden_app, request, start};

const PATIENCE: Duration = Duration::from_secs(10);

fn listen(app: AppBuilder) -> (AppBuilder, mpsc::Receiver<(String, Event)>) {
    let (sender, receiver) = mpsc::channel(64);
    let app = app.on_event(move |app: App, event| {
        let sender = sender.clone();
        async move { drop(sender.send((app.server_id().to_owned(), event)).await) }
    });
    (app, receiver)
}

async fn next(events: &mut mpsc::Receiver<(String, Event)>) -> (String, Event) {
    timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_life_of_a_session_is_told_in_order() {
    let (app, mut events) = listen(golden_app());
    let (running, address) = start(app).await;
    for server in ["connector-1", "chat-1"] {
        let (at, event) = next(&mut events).await;
        assert_eq!(at, server);
        assert!(matches!(event, Event::StartServer(id) if *id == *server));
    }
    for server in ["connector-1", "chat-1"] {
        let (at, event) = next(&mut events).await;
        assert_eq!(at, server);
        assert!(matches!(event, Event::StartAll));
    }
    let mut peer = Tcp::ready(address).await;
    // The second bind of the same uid is no news.
    for id in [1, 2] {
        peer.send(&request(
            id,
            "connector.entryHandler.bind",
            r#"{"uid":"amy"}"#,
        ))
        .await;
        peer.package().await;
    }
    drop(peer);
    let (at, event) = next(&mut events).await;
    assert_eq!(at, "connector-1");
    let Event::BindSession { session, uid } = event else {
        panic!("{event:?}");
    };
    assert_eq!((session.id(), uid.as_str()), (1, "amy"));
    let (_, event) = next(&mut events).await;
    let Event::CloseSession(closed) = event else {
        panic!("{event:?}");
    };
    assert_eq!((closed.id, closed.uid.unwrap().as_str()), (1, "amy"));
    assert!(
        running
            .app("connector-1")
            .unwrap()
            .sessions()
            .by_uid("amy")
            .is_empty()
    );
    running.stop().await;
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn a_listener_that_panics_or_waits_harms_only_itself() {
    let (release, held) = oneshot::channel::<()>();
    let held = std::sync::Mutex::new(Some(held));
    let app = golden_app()
        .on_event(async |_, _| panic!("as the test wants"))
        .on_event(move |_, _| {
            let held = held.lock().unwrap().take();
            async move {
                if let Some(held) = held {
                    drop(held.await);
                }
            }
        });
    let (counted, mut count) = mpsc::channel(64);
    let panics = app.on_event(move |_, event| {
        let counted = counted.clone();
        assert!(!matches!(event, Event::StartAll), "as the test wants");
        async move { drop(counted.send(event).await) }
    });
    let (app, mut events) = listen(panics);
    let (running, _) = start(app).await;
    for _ in 0..4 {
        next(&mut events).await;
    }
    // The two of `StartAll` are lost to this listener, and nothing else is.
    running.app("chat-1").unwrap().remove_servers(&["nobody"]);
    for expected in ["StartServer", "StartServer", "RemoveServers"] {
        let event = timeout(PATIENCE, count.recv()).await.unwrap().unwrap();
        assert!(format!("{event:?}").starts_with(expected), "{event:?}");
    }
    release.send(()).unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_what_listeners_have_not_heard() {
    let (sender, mut heard) = mpsc::channel(64);
    let app = golden_app().on_event(move |_, event| {
        let sender = sender.clone();
        async move {
            tokio::task::yield_now().await;
            if let Event::CloseSession(closed) = event {
                sender.send(closed.id).await.unwrap();
            }
        }
    });
    let (running, address) = start(app).await;
    let _first = Tcp::ready(address).await;
    let _second = Tcp::ready(address).await;
    running.stop().await;
    let mut ids = vec![heard.recv().await.unwrap(), heard.recv().await.unwrap()];
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert!(heard.recv().await.is_none());
}

#[tokio::test]
async fn what_a_listener_cannot_keep_up_with_is_counted() {
    let (release, held) = oneshot::channel::<()>();
    let held = std::sync::Mutex::new(Some(held));
    let (counted, mut count) = mpsc::channel::<()>(1 << 17);
    let app = golden_app().on_event(move |app: App, event| {
        let held = held.lock().unwrap().take();
        let counted = counted.clone();
        async move {
            if let Some(held) = held {
                drop(held.await);
            }
            if matches!(event, Event::RemoveServers(_)) && !app.is_frontend() {
                counted.send(()).await.unwrap();
            }
        }
    });
    let (running, _) = start(app).await;
    let chat = running.app("chat-1").unwrap().clone();
    const EVENTS: usize = 40_000;
    // Each is told at both servers.
    for _ in 0..EVENTS {
        chat.remove_servers(&["nobody"]);
    }
    let page = chat.metrics_page();
    let line = r#"pomelo_events_lost_total{server="chat-1"} "#;
    let lost = page.split_once(line).unwrap().1.lines().next().unwrap();
    let lost: usize = lost.parse().unwrap();
    assert!(lost > 0);
    release.send(()).unwrap();
    running.stop().await;
    let mut heard = 0;
    while count.recv().await.is_some() {
        heard += 1;
    }
    assert_eq!(heard + lost, EVENTS);
}
