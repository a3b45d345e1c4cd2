//! Sessions, forwarding, remotes and channels.

use std::sync::Arc;

use pomelo_server::{App, Args, Error, FrontendSession, Json, Msg, RequestSession, State};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::peer::{Tcp, golden_app, package, request, response, start};

#[tokio::test]
async fn settings_are_forgotten_unless_pushed() {
    async fn set(session: FrontendSession) -> Result<(), Error> {
        session.set("kept", 1);
        session.set("lost", 2);
        session.push("kept").await?;
        Ok(())
    }
    async fn get(session: RequestSession) -> Json<[Option<i32>; 2]> {
        Json([session.get("kept"), session.get("lost")])
    }
    let app = golden_app()
        .handler("connector.state.set", set)
        .handler("connector.state.get", get)
        .handler("chat.state.get", get);
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.state.set", "{}")).await;
    assert_eq!(peer.package().await, response(1, "{}"));
    for (id, route) in [(2, "connector.state.get"), (3, "chat.state.get")] {
        peer.send(&request(id, route, "{}")).await;
        assert_eq!(peer.package().await, response(id, "[1,null]"));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_remote_joins_a_channel_and_pushes_before_the_answer() {
    async fn enter(
        session: FrontendSession,
        app: App,
        Msg(name): Msg<String>,
    ) -> Result<Json<Vec<String>>, Error> {
        session.bind(&name).await?;
        let arguments = (&name, app.server_id());
        Ok(Json(
            app.rpc("chat.chatRemote.add")
                .route_by(&session)
                .call(arguments)
                .await?,
        ))
    }
    async fn add(
        app: App,
        Args((uid, frontend)): Args<(String, String)>,
    ) -> Result<Json<Vec<String>>, Error> {
        let channel = app.channels().create("hall");
        channel.push_message("onAdd", &json!({"user": uid})).await?;
        channel.add(&uid, &frontend);
        channel.add(&uid, &frontend);
        assert_eq!(app.server_type(), "chat");
        Ok(Json(
            channel
                .members()
                .iter()
                .map(|uid| uid.to_string())
                .collect(),
        ))
    }
    async fn say(app: App, Msg(text): Msg<String>) -> Result<Json<usize>, Error> {
        let channel = app
            .channels()
            .get("hall")
            .ok_or_else(|| Error::new("no hall"))?;
        let report = channel.push_message("onSay", &text).await?;
        Ok(Json(report.delivered))
    }
    let app = golden_app()
        .handler("connector.hall.enter", enter)
        .handler("chat.hall.say", say)
        .remote("chat.chatRemote.add", add);
    let (running, address) = start(app).await;
    let mut one = Tcp::ready(address).await;
    one.send(&request(1, "connector.hall.enter", r#""one""#))
        .await;
    assert_eq!(one.package().await, response(1, r#"["one"]"#));
    let mut two = Tcp::ready(address).await;
    two.send(&request(1, "connector.hall.enter", r#""two""#))
        .await;
    assert_eq!(two.package().await, response(1, r#"["one","two"]"#));
    assert_eq!(
        one.package().await,
        package(4, b"\x06\x05onAdd{\"user\":\"two\"}")
    );
    two.send(&request(2, "chat.hall.say", r#""hi""#)).await;
    let push = package(4, b"\x06\x05onSay\"hi\"");
    assert_eq!(one.package().await, push);
    assert_eq!(two.package().await, push);
    assert_eq!(two.package().await, response(2, "2"));
    running.stop().await;
}

#[tokio::test]
async fn remote_errors_are_typed_and_immediate() {
    let (running, _) = start(
        golden_app().remote("chat.r.fail", async || -> Result<(), Error> {
            Err(Error::new("no"))
        }),
    )
    .await;
    let app = running.app("connector-1").unwrap();
    let mut texts = Vec::new();
    for call in [
        app.rpc("chat.r.fail"),
        app.rpc("chat.r.none"),
        app.rpc("none.r.none"),
        app.rpc("two.parts"),
        app.rpc("chat.r.fail").to_server("chat-9"),
    ] {
        texts.push(call.call::<_, Value>(()).await.unwrap_err().to_string());
    }
    assert_eq!(
        texts,
        [
            "no",
            "no such remote: chat.r.none",
            "can not find server info for type:none",
            "rpc route \"two.parts\" has not three parts",
            "no server with id \"chat-9\"",
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn closed_listeners_run_after_the_session_is_gone() {
    type Heard = mpsc::Sender<(usize, String, Option<String>, String)>;
    async fn listen(session: FrontendSession, app: App, State(heard): State<Heard>) {
        session.bind("u").await.unwrap();
        session.set("rid", "r1");
        session.push_all().await.unwrap();
        session.on_closed(async move |closed| {
            let uid = closed.uid.as_ref().unwrap().to_string();
            let left = app.sessions().count() + app.sessions().by_uid(&uid).len();
            let event = (left, uid, closed.get("rid"), closed.reason.to_string());
            heard.send(event).await.unwrap();
        });
    }
    let (heard, mut hears) = mpsc::channel(1);
    let app = golden_app()
        .state::<Heard>(heard)
        .handler("connector.s.listen", listen);
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.s.listen", "{}")).await;
    assert_eq!(peer.package().await, response(1, "{}"));
    assert_eq!(
        running
            .app("connector-1")
            .unwrap()
            .sessions()
            .by_uid("u")
            .len(),
        1
    );
    drop(peer);
    let expected = (
        0,
        "u".to_owned(),
        Some("r1".to_owned()),
        "closed by the peer".to_owned(),
    );
    assert_eq!(hears.recv().await, Some(expected));
    running.stop().await;
}

#[tokio::test]
async fn pushes_and_answers_leave_in_the_order_they_were_made() {
    async fn burst(app: App, session: FrontendSession) -> Result<Json<u32>, Error> {
        let uid = session.uid().ok_or_else(|| Error::new("unbound"))?;
        let to = [(uid, Arc::from(app.server_id()))];
        for n in 0..100 {
            app.channels().push_by_uids("n", &n, &to).await?;
            if n % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(Json(100))
    }
    let (running, address) = start(golden_app().handler("connector.s.burst", burst)).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.entryHandler.bind", r#"{"uid":"u"}"#))
        .await;
    assert_eq!(peer.package().await, response(1, r#"{"err":null}"#));
    peer.send(&request(2, "connector.s.burst", "{}")).await;
    for n in 0..100 {
        assert_eq!(
            peer.package().await,
            package(4, format!("\x06\x01n{n}").as_bytes())
        );
    }
    assert_eq!(peer.package().await, response(2, "100"));
    running.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_own_request_only() {
    async fn panics() {
        panic!("on purpose");
    }
    let (running, address) = start(golden_app().handler("connector.s.panics", panics)).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.s.panics", "{}")).await;
    assert_eq!(peer.package().await, response(1, r#"{"code":500}"#));
    peer.send(&request(2, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(peer.package().await, response(2, "{}"));
    running.stop().await;
}
