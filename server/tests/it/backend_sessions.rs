//! Binding, settings, kicks and statistics, on the frontend itself and across servers.

use pomelo_server::{
    BackendSession, CloseReason, Error, Event, FrontendSession, Hybrid, Json, ReachError,
    ServerInfo, SessionError, State, Uid,
};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::peer::{Tcp, golden_app, package, request, response, start};
use crate::two_frontends::{app, client, two_frontends};

fn text(result: Result<(), SessionError>) -> String {
    result.map_or_else(|error| error.to_string(), |()| String::new())
}

#[tokio::test]
async fn binding_refuses_in_the_words_of_pomelo() {
    let running = two_frontends().start().await.unwrap();
    let sessions = app(&running, "connector-1").sessions();
    let (_peer, session) = client(&running, "connector-1").await;
    let id = session.id();
    assert_eq!(
        text(sessions.bind(9, "u")),
        "session does not exist, sid: 9"
    );
    assert_eq!(text(sessions.bind(id, "")), "uid must not be empty");
    assert_eq!(
        text(sessions.unbind(id, "u")),
        "session has not bind with null"
    );
    assert_eq!(text(sessions.bind(id, 7)), "");
    assert_eq!(text(sessions.bind(id, "7")), "");
    assert_eq!(
        text(sessions.bind(id, "8")),
        "session has already bind with 7"
    );
    assert_eq!(
        text(sessions.unbind(id, "8")),
        "session has not bind with 7"
    );
    assert_eq!(text(sessions.unbind(id, "7")), "");
    assert_eq!((session.uid(), sessions.bound_count()), (None, 0));
    assert_eq!(text(sessions.bind(id, "8")), "");
    session.kick(None);
    for result in [
        session.bind("8"),
        session.unbind("8"),
        sessions.import(id, "k", None),
        sessions.import_all(id, Map::new()),
    ] {
        assert_eq!(result, Err(SessionError::Gone(id)));
    }
    assert_eq!(session.uid(), Some("8".into()), "for its listeners");
    running.stop().await;
}

#[tokio::test]
async fn a_uid_may_have_several_sessions_unless_forbidden() {
    let running = two_frontends()
        .configure("all", "connector", |server| {
            let single = server.info().id.ends_with('2');
            let hybrid = Hybrid::new().heartbeat_secs(3);
            server.connector(if single {
                hybrid.single_session()
            } else {
                hybrid
            })
        })
        .start()
        .await
        .unwrap();
    let sessions = app(&running, "connector-1").sessions();
    let (_one, first) = client(&running, "connector-1").await;
    let (mut two, second) = client(&running, "connector-1").await;
    first.bind("u").unwrap();
    second.bind("u").unwrap();
    let ids = |uid: &str| {
        sessions
            .by_uid(uid)
            .iter()
            .map(|s| s.id())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("u"), [first.id(), second.id()]);
    assert_eq!((sessions.bound_count(), sessions.count()), (2, 2));
    let mut visited = Vec::new();
    sessions.for_each_bound(|session| visited.push(session.id()));
    visited.sort_unstable();
    assert_eq!(visited, [first.id(), second.id()]);
    first.unbind("u").unwrap();
    assert_eq!(ids("u"), [second.id()]);
    assert!(sessions.kick_by_id(first.id(), None));
    assert!(!sessions.kick_by_id(first.id(), None));
    assert_eq!(sessions.kick_by_uid("u", Some("again")), 1);
    assert_eq!(sessions.kick_by_uid("u", Some("again")), 0);
    assert_eq!(two.rest().await, package(5, br#"{"reason":"again"}"#));

    // The option refuses the newcomer, and looks at its own frontend only.
    let (_three, third) = client(&running, "connector-2").await;
    let (_four, fourth) = client(&running, "connector-2").await;
    third.bind("u").unwrap();
    assert_eq!(
        text(fourth.bind("u")),
        "singleSession is enabled, and session has already bind with uid: u"
    );
    assert_eq!(fourth.uid(), None);
    assert_eq!(third.bind("u"), Ok(()));
    running.stop().await;
}

#[tokio::test]
async fn of_many_that_bind_one_uid_at_a_time_a_single_session_wins() {
    let running = two_frontends()
        .configure("all", "connector", |server| {
            server.connector(Hybrid::new().heartbeat_secs(3).single_session())
        })
        .start()
        .await
        .unwrap();
    let sessions = app(&running, "connector-1").sessions().clone();
    let mut peers = Vec::new();
    for _ in 0..8 {
        peers.push(client(&running, "connector-1").await);
    }
    for round in 0..50 {
        let uid = format!("u{round}");
        let bound = std::thread::scope(|scope| {
            let threads: Vec<_> = peers
                .iter()
                .map(|(_, session)| scope.spawn(|| session.bind(&uid).is_ok()))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.filter(|bound| *bound).count()
        });
        assert_eq!((bound, sessions.bound_count()), (1, 1));
        let winner = sessions.by_uid(&uid).remove(0);
        winner.unbind(&uid).unwrap();
    }
    running.stop().await;
}

#[tokio::test]
async fn a_backend_reads_and_changes_sessions_of_any_frontend() {
    let running = two_frontends().start().await.unwrap();
    let (mut peer, session) = client(&running, "connector-2").await;
    let (_other, twin) = client(&running, "connector-2").await;
    let remote = app(&running, "chat-1").backend_sessions();
    let (frontend, id) = ("connector-2", session.id());

    remote.bind(frontend, id, "u").await.unwrap();
    twin.bind("u").unwrap();
    remote
        .push(frontend, id, "a", Some(1.into()))
        .await
        .unwrap();
    let more = json!({"b": 2, "c": 3}).as_object().unwrap().clone();
    remote.push_all(frontend, id, more).await.unwrap();
    remote.push(frontend, id, "c", None).await.unwrap();
    let copy = remote.by_id(frontend, id).await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(copy.export()).unwrap(),
        json!({"id": id, "frontendId": frontend, "uid": "u", "settings": {"a": 1, "b": 2}})
    );

    // A copy: what is set is not seen before it is pushed, and what came later is overwritten.
    copy.set("a", "mine");
    copy.set("d", 4);
    session.set("a", "newer");
    assert_eq!(session.get::<Value>("d"), None);
    copy.push("d").await.unwrap();
    assert_eq!(session.get("a"), Some("newer".to_owned()));
    copy.push_all().await.unwrap();
    assert_eq!(
        (session.get("a"), session.get("d")),
        (Some("mine".to_owned()), Some(4))
    );
    copy.unbind("u").await.unwrap();
    assert_eq!((copy.uid(), session.uid()), (None, None));
    assert_eq!(
        text(copy.unbind("u").await),
        "session has not bind with null"
    );
    copy.bind("v").await.unwrap();
    assert_eq!(
        (copy.uid(), session.uid()),
        (Some("v".into()), Some("v".into()))
    );

    let ids = async |uid: &str| {
        let found = remote.by_uid(frontend, uid).await.unwrap();
        found.iter().map(|session| session.id()).collect::<Vec<_>>()
    };
    assert_eq!(
        (ids("u").await, ids("v").await),
        (vec![twin.id()], vec![id])
    );
    assert!(ids("nobody").await.is_empty());
    assert!(remote.by_id(frontend, 99).await.unwrap().is_none());
    assert!(remote.by_id("connector-1", id).await.unwrap().is_none());

    assert_eq!(
        remote.kick_by_uid(frontend, "nobody", Some("x")).await,
        Ok(0)
    );
    assert_eq!(remote.kick_by_uid(frontend, "u", None).await, Ok(1));
    assert_eq!(copy.kick(Some("bye")).await, Ok(true));
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"bye"}"#));
    assert_eq!(
        remote.kick_by_id(frontend, id, Some("bye")).await,
        Ok(false)
    );
    assert_eq!(copy.push("d").await, Err(SessionError::Gone(id)));
    running.stop().await;
}

#[tokio::test]
async fn a_frontend_that_cannot_be_reached_is_an_error_at_once() {
    let running = two_frontends().start().await.unwrap();
    let here = app(&running, "chat-1");
    here.add_servers(vec![ServerInfo::new("connector-9", "connector")]);
    let remote = here.backend_sessions();
    for (id, reach) in [
        ("nobody", ReachError::Unknown("nobody".to_owned())),
        (
            "connector-9",
            ReachError::Unreachable("connector-9".to_owned()),
        ),
        ("chat-2", ReachError::NotFrontend("chat-2".to_owned())),
    ] {
        let error = SessionError::Frontend(reach);
        assert_eq!(remote.bind(id, 1, "u").await, Err(error.clone()));
        assert_eq!(remote.kick_by_uid(id, "u", None).await, Err(error.clone()));
        assert_eq!(remote.by_id(id, 1).await.err(), Some(error.clone()));
        assert_eq!(remote.by_uid(id, "u").await.err(), Some(error));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_forwarded_request_has_the_same_session() {
    async fn work(session: BackendSession) -> Result<Json<Value>, Error> {
        session.bind("u").await?;
        session.set("kept", true);
        session.push("kept").await?;
        session.set("lost", true);
        Ok(Json(json!([session.frontend_id(), session.uid()])))
    }
    async fn bye(session: BackendSession) -> Result<(), Error> {
        session.kick(Some("from behind")).await?;
        Ok(())
    }
    let (running, address) = start(
        golden_app()
            .handler("chat.s.work", work)
            .handler("chat.s.bye", bye),
    )
    .await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "chat.s.work", "{}")).await;
    assert_eq!(peer.package().await, response(1, r#"["connector-1","u"]"#));
    let session = app(&running, "connector-1")
        .sessions()
        .by_uid("u")
        .remove(0);
    assert_eq!(session.get("kept"), Some(true));
    assert_eq!(session.get::<bool>("lost"), None);
    peer.send(&request(2, "chat.s.bye", "{}")).await;
    assert_eq!(
        peer.rest().await,
        package(5, br#"{"reason":"from behind"}"#)
    );
    running.stop().await;
}

#[tokio::test]
async fn events_come_in_their_order() {
    type Heard = mpsc::Sender<String>;
    async fn listen(session: FrontendSession, State(heard): State<Heard>) {
        let (one, two, three) = (heard.clone(), heard.clone(), heard);
        session.on_bind(move |uid| one.try_send(format!("bind {uid}")).unwrap());
        session.on_unbind(move |uid| two.try_send(format!("unbind {uid}")).unwrap());
        let listens = session.on_closed(async move |closed| {
            let uid = closed.uid.map(|uid| uid.to_string());
            three
                .try_send(format!("closed {uid:?} {}", closed.reason))
                .unwrap();
        });
        assert!(listens);
    }
    let (heard, mut hears) = mpsc::channel(64);
    let (told, mut tells) = mpsc::channel(64);
    let builder = golden_app()
        .state::<Heard>(heard)
        .handler("connector.s.listen", listen)
        .on_event(move |app, event| {
            let told = told.clone();
            async move {
                let text = match event {
                    Event::BindSession { session, uid } => format!("bind {} {uid}", session.id()),
                    Event::UnbindSession { session, uid } => {
                        format!("unbind {} {uid}", session.id())
                    }
                    Event::CloseSession(closed) => {
                        assert!(app.sessions().by_id(closed.id).is_none());
                        format!(
                            "close {} {:?}",
                            closed.id,
                            closed.uid.map(|u| u.to_string())
                        )
                    }
                    _ => return,
                };
                told.try_send(text).unwrap();
            }
        });
    let (running, address) = start(builder).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.s.listen", "{}")).await;
    assert_eq!(peer.package().await, response(1, "{}"));
    let session = app(&running, "connector-1").sessions().by_id(1).unwrap();
    session.bind("a").unwrap();
    session.bind("a").unwrap();
    assert!(session.bind("b").is_err());
    session.unbind("a").unwrap();
    session.bind("b").unwrap();
    session.kick(Some("enough"));
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"enough"}"#));
    let mut events = Vec::new();
    while events.len() < 4 {
        events.push(hears.recv().await.unwrap());
    }
    assert_eq!(events[..3], ["bind a", "unbind a", "bind b"]);
    assert!(events[3].starts_with("closed Some(\"b\")"), "{}", events[3]);
    let mut events = Vec::new();
    while events.len() < 4 {
        events.push(tells.recv().await.unwrap());
    }
    let expected = ["bind 1 a", "unbind 1 a", "bind 1 b", "close 1 Some(\"b\")"];
    assert_eq!(events, expected);
    assert!(!session.on_closed(async |_| ()), "too late");
    running.stop().await;
    assert!(tells.recv().await.is_none(), "closed once");
}

#[tokio::test]
async fn the_reason_of_a_kick_reaches_the_listeners() {
    let (heard, mut hears) = mpsc::channel(64);
    let running = two_frontends().start().await.unwrap();
    for reason in [Some("enough"), None] {
        let (_peer, session) = client(&running, "connector-1").await;
        let heard = heard.clone();
        session.on_closed(async move |closed| heard.try_send(closed.reason).unwrap());
        session.kick(reason);
        let expected = match reason {
            Some(reason) => CloseReason::Kicked(Some(reason.to_owned())),
            None => CloseReason::Local,
        };
        assert_eq!(hears.recv().await, Some(expected));
    }
    running.stop().await;
}

#[tokio::test]
async fn connections_and_logins_are_always_counted() {
    let running = two_frontends().start().await.unwrap();
    let sessions = app(&running, "connector-1").sessions().clone();
    let (peer, session) = client(&running, "connector-1").await;
    let (_other, other) = client(&running, "connector-1").await;
    // Connected, and no session yet.
    let address = running.addresses()["connector-1"];
    let mut opening = Tcp::connect(([127, 0, 0, 1], address.port()).into()).await;
    opening
        .send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    opening.package().await;
    session.bind("u").unwrap();
    other.bind("v").unwrap();
    let info = json!({"level": 3}).as_object().unwrap().clone();
    sessions.update_user_info("u", &info);
    sessions.update_user_info("nobody", &info);
    let statistics = sessions.statistics();
    assert_eq!((statistics.connections, statistics.logged_in), (3, 2));
    let mut json = serde_json::to_value(&statistics).unwrap();
    assert!(json["loginedList"][0]["loginTime"].take().as_u64().unwrap() > 1_500_000_000_000);
    let address = peer.stream.local_addr().unwrap().to_string();
    assert_eq!(
        sessions.client_address(session.id()).unwrap().to_string(),
        address
    );
    assert_eq!(sessions.client_address(99), None);
    assert_eq!(json["serverId"], "connector-1");
    assert_eq!(
        (&json["totalConnCount"], &json["loginedCount"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        json["loginedList"][0],
        json!({"loginTime": null, "uid": "u", "address": address, "level": 3})
    );
    other.unbind("v").unwrap();
    session.kick(None);
    let mut peer = peer;
    assert_eq!(peer.rest().await, b"");
    assert_eq!(sessions.statistics().logged_in, 0);
    running.stop().await;
    assert_eq!(sessions.connection_count(), 0);
}

#[tokio::test]
async fn the_session_itself_has_settings_and_sends() {
    let running = two_frontends().start().await.unwrap();
    let sessions = app(&running, "connector-1").sessions();
    let (mut peer, session) = client(&running, "connector-1").await;
    session.set_all(json!({"a": 1, "b": 2}).as_object().unwrap().clone());
    session.set("c", true);
    session.remove("a");
    session.remove("nothing");
    let copy = session.to_frontend_session();
    session.set("b", 3);
    assert_eq!(
        (copy.get("b"), copy.get::<u8>("a"), copy.get("c")),
        (Some(2), None, Some(true))
    );
    assert_eq!(copy.get::<String>("b"), None, "of another type");
    session.bind("u").unwrap();
    assert_eq!(copy.uid(), None);
    assert_eq!(session.export().uid, Some(Uid::from("u")));

    let frame =
        |byte| pomelo_server::Frame::new(pomelo_server::protocol::PackageKind::Data, &[byte]);
    let (one, two) = (frame(1).unwrap(), frame(2).unwrap());
    session.send_batch([one.clone(), two.clone()]).unwrap();
    sessions.send(session.id(), one.clone()).unwrap();
    assert!(sessions.send(99, one.clone()).is_err());
    assert_eq!(
        (
            sessions.send_by_uid("u", &two),
            sessions.send_by_uid("v", &two)
        ),
        (1, 0)
    );
    for byte in [1, 2, 1, 2] {
        assert_eq!(peer.package().await, package(4, &[byte]));
    }
    running.stop().await;
}

#[tokio::test]
async fn connections_cut_off_with_the_application_leave_no_session() {
    let running = two_frontends().start().await.unwrap();
    let view = app(&running, "connector-1").clone();
    let (mut peer, session) = client(&running, "connector-1").await;
    session.bind("u").unwrap();
    drop(running);
    peer.rest().await;
    while view.sessions().connection_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (view.sessions().count(), view.sessions().bound_count()),
        (0, 0)
    );
}

#[tokio::test]
async fn a_listener_that_panics_ends_nothing_but_itself() {
    let running = two_frontends().start().await.unwrap();
    let sessions = app(&running, "connector-1").sessions().clone();
    let (mut peer, session) = client(&running, "connector-1").await;
    let (heard, mut hears) = mpsc::channel(8);
    session.on_bind(|_| panic!("on purpose"));
    let bound = heard.clone();
    session.on_bind(move |uid| bound.try_send(uid.to_string()).unwrap());
    session.on_closed(|_| -> std::future::Ready<()> { panic!("on purpose") });
    session.on_closed(async |_| panic!("on purpose"));
    session.on_closed(async move |_| heard.try_send("closed".to_owned()).unwrap());
    session.bind("u").unwrap();
    session.kick(Some("bye"));
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"bye"}"#));
    assert_eq!(hears.recv().await.as_deref(), Some("u"));
    assert_eq!(hears.recv().await.as_deref(), Some("closed"));
    running.stop().await;
    assert_eq!((sessions.count(), sessions.connection_count()), (0, 0));
}
