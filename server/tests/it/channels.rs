//! Channels and pushes over several frontends.

use std::sync::Arc;

use pomelo_server::{
    BroadcastOptions, ChannelConfig, Hybrid, PushError, PushReport, ReachError, ServerInfo, Uid,
};
use serde_json::{Value, json};

use crate::two_frontends::{app, client, push, two_frontends};

fn texts(uids: &[Uid]) -> Vec<&str> {
    uids.iter().map(Uid::as_str).collect()
}

fn counts(report: &PushReport) -> (usize, usize, Vec<&str>) {
    (report.delivered, report.overflowed, texts(&report.failed))
}

fn to(receivers: &[(&str, &str)]) -> Vec<(Uid, Arc<str>)> {
    let receivers = receivers.iter();
    receivers
        .map(|(uid, frontend)| ((*uid).into(), Arc::from(*frontend)))
        .collect()
}

#[tokio::test]
async fn a_channel_is_made_found_and_destroyed() {
    let running = two_frontends().start().await.unwrap();
    let channels = app(&running, "chat-1").channels();
    assert!(channels.get("hall").is_none());
    let hall = channels.create("hall");
    assert!(channels.create("hall").add("a", "connector-1"));
    assert_eq!((hall.name(), hall.len(), channels.count()), ("hall", 1, 1));
    assert!(
        app(&running, "chat-2").channels().get("hall").is_none(),
        "channels live in the server that made them"
    );

    assert!(!hall.add("", "connector-1") && !hall.add("b", ""));
    assert!(hall.add("a", "connector-1"), "adding twice changes nothing");
    assert!(hall.add("b", "connector-2") && hall.add("c", "connector-1"));
    assert_eq!(texts(&hall.members()), ["a", "c", "b"]);
    assert_eq!(hall.member("b").as_deref(), Some("connector-2"));
    assert_eq!(hall.member("d"), None);
    assert!(!hall.leave("b", "connector-1") && hall.leave("b", "connector-2"));
    assert!(!hall.leave("b", "connector-2"));
    assert_eq!((hall.len(), hall.member("b")), (2, None));

    hall.destroy();
    hall.destroy();
    assert!(hall.is_destroyed() && !hall.add("d", "connector-1"));
    let refused = hall.push_message("onX", &()).await.unwrap_err();
    assert_eq!(refused.to_string(), "channel is not running now");
    assert!(channels.get("hall").is_none());
    let second = channels.create("hall");
    hall.destroy();
    assert!(second.is_empty() && channels.get("hall").is_some());
    channels.destroy("hall");
    channels.destroy("hall");
    assert!(second.is_destroyed());
    running.stop().await;
}

#[tokio::test]
async fn a_push_reaches_every_session_of_every_member() {
    let running = two_frontends().start().await.unwrap();
    let (mut one, first) = client(&running, "connector-1").await;
    let (mut two, second) = client(&running, "connector-2").await;
    let (mut twin, third) = client(&running, "connector-2").await;
    first.bind("a").unwrap();
    second.bind("b").unwrap();
    third.bind("b").unwrap();
    let hall = app(&running, "chat-1").channels().create("hall");
    let empty = hall.push_message("onX", &1).await.unwrap();
    assert_eq!(empty, PushReport::default());
    for (uid, frontend) in [
        ("a", "connector-1"),
        ("gone", "connector-1"),
        ("b", "connector-2"),
        ("a", "connector-2"),
    ] {
        assert!(hall.add(uid, frontend));
    }
    let report = hall.push_message("onX", &json!({"n": 1})).await.unwrap();
    assert_eq!(counts(&report), (3, 0, vec!["gone", "a"]));
    assert!(report.unreachable.is_empty());
    for peer in [&mut one, &mut two, &mut twin] {
        assert_eq!(peer.package().await, push("onX", r#"{"n":1}"#));
    }
    // Members stay after a disconnect, until they leave.
    third.kick(None);
    assert_eq!(twin.rest().await, b"");
    let report = hall.push_message("onX", &0).await.unwrap();
    assert_eq!(counts(&report), (2, 0, vec!["gone", "a"]));
    running.stop().await;
}

#[tokio::test]
async fn a_message_may_name_its_own_route() {
    let running = two_frontends().start().await.unwrap();
    let (mut peer, session) = client(&running, "connector-1").await;
    session.bind("a").unwrap();
    let channels = app(&running, "chat-1").channels();
    let hall = channels.create("hall");
    hall.add("a", "connector-1");
    let message = json!({"route": "onX", "n": 1});
    assert_eq!(hall.push_routed(&message).await.unwrap().delivered, 1);
    let receivers = to(&[("a", "connector-1")]);
    let report = channels.push_routed_by_uids(&message, &receivers).await;
    assert_eq!(report.unwrap().delivered, 1);
    for _ in 0..2 {
        assert_eq!(
            peer.package().await,
            push("onX", r#"{"route":"onX","n":1}"#)
        );
    }
    for message in [json!({}), json!({"route": 7}), json!("onX")] {
        let error = hall.push_routed(&message).await.unwrap_err();
        assert!(matches!(error, PushError::NoRoute), "{error}");
    }
    running.stop().await;
}

#[tokio::test]
async fn groups_that_cannot_be_reached_are_reported() {
    let running = two_frontends().start().await.unwrap();
    let (mut peer, session) = client(&running, "connector-1").await;
    session.bind("a").unwrap();
    let here = app(&running, "chat-1");
    here.add_servers(vec![ServerInfo::new("connector-9", "connector")]);
    let channels = here.channels();
    let receivers = to(&[
        ("x", "connector-9"),
        ("a", "connector-1"),
        ("a", "connector-1"),
        ("y", "chat-2"),
        ("z", "nobody"),
        ("q", "connector-2"),
    ]);
    let report = channels.push_by_uids("onX", &1, &receivers).await.unwrap();
    assert_eq!(counts(&report), (2, 0, vec!["x", "y", "z", "q"]));
    assert_eq!(
        report.unreachable,
        [
            (
                "connector-9".into(),
                ReachError::Unreachable("connector-9".to_owned())
            ),
            (
                "chat-2".into(),
                ReachError::NotFrontend("chat-2".to_owned())
            ),
            ("nobody".into(), ReachError::Unknown("nobody".to_owned())),
        ]
    );
    for _ in 0..2 {
        assert_eq!(peer.package().await, push("onX", "1"));
    }

    let none = channels.push_by_uids("onX", &1, &[]).await.unwrap_err();
    assert_eq!(none.to_string(), "uids should not be empty");
    let failed = channels.push_by_uids("onX", &1, &receivers[..1]).await;
    assert_eq!(
        failed.unwrap_err().to_string(),
        "all uids push message fail"
    );
    let hall = channels.create("hall");
    hall.add("x", "connector-9");
    let failed = hall.push_message("onX", &1).await.unwrap_err();
    assert!(matches!(failed, PushError::AllFailed), "{failed}");
    running.stop().await;
}

#[tokio::test]
async fn duplicates_are_delivered_as_often_as_they_were_added() {
    let running = two_frontends()
        .configure("all", "chat", |server| {
            server.channels(ChannelConfig::new().duplicates(true))
        })
        .start()
        .await
        .unwrap();
    let (mut peer, session) = client(&running, "connector-1").await;
    session.bind("a").unwrap();
    let hall = app(&running, "chat-1").channels().create("hall");
    for _ in 0..3 {
        assert!(hall.add("a", "connector-1"));
    }
    assert!(hall.leave("a", "connector-1"));
    assert_eq!((hall.len(), texts(&hall.members())), (2, vec!["a", "a"]));
    assert_eq!(hall.push_message("onX", &1).await.unwrap().delivered, 2);
    for _ in 0..2 {
        assert_eq!(peer.package().await, push("onX", "1"));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_broadcast_reaches_those_it_is_for() {
    let running = two_frontends()
        .configure("all", "connector", |server| {
            server.channels(
                ChannelConfig::new().broadcast_filter(|session, frame, param| {
                    assert!(frame.as_bytes().ends_with(b"1"));
                    param.is_null() || session.get::<Value>("level").as_ref() == Some(param)
                }),
            )
        })
        .start()
        .await
        .unwrap();
    let channels = app(&running, "chat-1").channels();
    let (mut free, _) = client(&running, "connector-1").await;
    let (mut one, first) = client(&running, "connector-1").await;
    let (mut two, second) = client(&running, "connector-2").await;
    first.bind("u").unwrap();
    second.bind("u").unwrap();
    first.set("level", 1);
    second.set("level", 2);

    let report = channels.broadcast("connector", "onAll", &1).await.unwrap();
    assert_eq!(report.delivered, 3);
    let bound = BroadcastOptions::new().bound_only();
    let with = |options| channels.broadcast_with("connector", "onBound", &1, options);
    assert_eq!(with(bound.clone()).await.unwrap().delivered, 2);
    let filtered = bound.filter_param(2);
    assert_eq!(with(filtered).await.unwrap().delivered, 1);
    let nobody = BroadcastOptions::new().filter_param("none");
    assert_eq!(with(nobody).await.unwrap(), PushReport::default());

    for (peer, routes) in [
        (&mut free, &["onAll"][..]),
        (&mut one, &["onAll", "onBound"]),
        (&mut two, &["onAll", "onBound", "onBound"]),
    ] {
        for route in routes {
            assert_eq!(peer.package().await, push(route, "1"));
        }
        // Nothing else came.
        peer.send(&[3, 0, 0, 0]).await;
        assert_eq!(peer.package().await, [3, 0, 0, 0]);
    }

    let none = channels.broadcast("no-such-type", "onAll", &1).await;
    assert_eq!(none.unwrap(), PushReport::default());
    let failed = channels.broadcast("chat", "onAll", &1).await.unwrap_err();
    assert_eq!(failed.to_string(), "broadcast fails");
    let here = app(&running, "chat-1");
    here.add_servers(vec![ServerInfo::new("connector-9", "connector")]);
    let report = channels.broadcast("connector", "onAll", &1).await.unwrap();
    assert_eq!((report.delivered, report.unreachable.len()), (3, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_bound_session_gets_a_broadcast_once_however_many_its_uid_has() {
    let running = two_frontends().start().await.unwrap();
    let mut peers = Vec::new();
    for _ in 0..3 {
        let (peer, session) = client(&running, "connector-1").await;
        session.bind("u").unwrap();
        peers.push(peer);
    }
    let options = BroadcastOptions::new().bound_only();
    let channels = app(&running, "connector-1").channels();
    let report = channels
        .broadcast_with("connector", "onX", &1, options)
        .await;
    assert_eq!(report.unwrap().delivered, 3);
    for peer in &mut peers {
        assert_eq!(peer.package().await, push("onX", "1"));
        peer.send(&[3, 0, 0, 0]).await;
        assert_eq!(peer.package().await, [3, 0, 0, 0]);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_encoded_is_the_callers_error() {
    struct Never;
    impl serde::Serialize for Never {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    let running = two_frontends().start().await.unwrap();
    let hall = app(&running, "chat-1").channels().create("hall");
    hall.add("a", "connector-1");
    hall.add("b", "connector-2");
    for result in [
        hall.push_message("onX", &Never).await,
        hall.push_message(&"x".repeat(256), &1).await,
        app(&running, "chat-1")
            .channels()
            .broadcast("connector", "onX", &Never)
            .await,
    ] {
        assert!(matches!(result, Err(PushError::Encode(_))), "{result:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_overflow_is_reported_to_the_caller_and_counted() {
    use pomelo_server::{Buffer, Overflow, PushSchedulers};
    use std::time::Duration;

    // Held back, so that the mailbox fills without a peer that does not read.
    let hour = Duration::from_secs(3600);
    let running = two_frontends()
        .configure("all", "connector", move |server| {
            server
                .connector(
                    Hybrid::new()
                        .heartbeat_secs(3)
                        .mailbox(2, 1 << 20, Overflow::DropFrame),
                )
                .push_schedulers(PushSchedulers::one(Buffer::new().flush_interval(hour)))
        })
        .start()
        .await
        .unwrap();
    let (mut peer, session) = client(&running, "connector-1").await;
    session.bind("a").unwrap();
    let hall = app(&running, "chat-1").channels().create("hall");
    hall.add("a", "connector-1");
    let mut seen = Vec::new();
    for n in 0..4 {
        let report = hall.push_message("onX", &n).await.unwrap();
        assert!(report.failed.is_empty());
        seen.push((report.delivered, report.overflowed));
    }
    assert_eq!(seen, [(1, 0), (1, 0), (0, 1), (0, 1)]);
    assert_eq!(session.dropped_frames(), 2);
    assert_eq!(app(&running, "connector-1").sessions().dropped_frames(), 2);
    session.kick(Some("bye"));
    for expected in [push("onX", "0"), push("onX", "1")] {
        assert_eq!(peer.package().await, expected);
    }
    running.stop().await;
}
