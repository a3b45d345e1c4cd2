//! Who may connect, and where the server listens.

use std::net::{Ipv6Addr, SocketAddr};

use pomelo_server::{App, Blacklist, Config};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::peer::{Tcp, app_with, golden_connector, package, start};

#[tokio::test]
async fn a_blacklist_works_from_the_next_connection_on() {
    let list = Blacklist::default();
    let (running, address) = start(app_with(golden_connector().blacklist(list.clone()))).await;
    let mut before = Tcp::ready(address).await;
    // What pomelo's admin command adds: an address, tried anywhere in the text.
    list.add("127.0.0.1").unwrap();
    assert_eq!(Tcp::connect(address).await.rest().await, b"");
    before.send(&[3, 0, 0, 0]).await;
    assert_eq!(before.package().await, [3, 0, 0, 0]);
    assert!(list.remove("127.0.0.1"));
    Tcp::ready(address).await;
    running.stop().await;
}

#[tokio::test]
async fn a_function_answers_more_patterns_for_each_client() {
    let (answer, answers) = watch::channel(Ok(vec![]));
    let hybrid = golden_connector().blacklist_fun(move || {
        let answer: Result<Vec<String>, String> = answers.borrow().clone();
        async { answer }
    });
    let (running, address) = start(app_with(hybrid)).await;
    Tcp::ready(address).await;
    for refusing in ["^127", "::ffff:127", r"0\.1$"] {
        answer
            .send(Ok(vec!["nobody".to_owned(), refusing.to_owned()]))
            .unwrap();
        assert_eq!(Tcp::connect(address).await.rest().await, b"", "{refusing}");
    }
    // Neither an error nor what is no pattern refuses anybody.
    answer.send(Err("out of order".to_owned())).unwrap();
    Tcp::ready(address).await;
    answer.send(Ok(vec!["(".to_owned()])).unwrap();
    Tcp::ready(address).await;
    answer
        .send(Ok(vec!["(".to_owned(), "^127".to_owned()]))
        .unwrap();
    assert_eq!(Tcp::connect(address).await.rest().await, b"");
    running.stop().await;
}

#[tokio::test]
async fn a_server_listens_everywhere_unless_it_has_a_host_of_its_own() {
    let (running, address) = start(app_with(golden_connector())).await;
    let port = address.port();
    for local in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let mut peer = Tcp::ready((local, port).into()).await;
        peer.send(&[3, 0, 0, 0]).await;
        assert_eq!(peer.package().await, [3, 0, 0, 0]);
    }
    let sessions = running.app("connector-1").unwrap().sessions().all();
    assert!(sessions.iter().all(|one| one.remote_address().is_ipv4()));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        Tcp::ready(v6).await;
    }
    running.stop().await;

    let servers = json!({"test": {"connector": [{
        "id": "connector-1", "host": "127.0.0.2", "frontend": true, "clientPort": 0}]}});
    let app = App::builder()
        .env("test")
        .config(Config::from_servers(&servers, "test").unwrap())
        .configure("all", "all", |server| {
            server.connector(golden_connector().distinct_host())
        });
    let running = app.start().await.unwrap();
    let address = running.addresses()["connector-1"];
    assert_eq!(address.ip().to_string(), "127.0.0.2");
    Tcp::ready(address).await;
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert!(TcpStream::connect(elsewhere).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn the_handshake_function_is_told_where_the_client_is() {
    let hybrid = golden_connector().handshake_from(async |request, peer| {
        let text = format!("{} from {peer}", request.client_type().unwrap());
        Ok(Some(text.into()))
    });
    let (running, address) = start(app_with(hybrid)).await;
    let mut peer = Tcp::connect(address).await;
    let own = peer.stream.local_addr().unwrap();
    peer.send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    let answer: serde_json::Value = serde_json::from_slice(&peer.package().await[4..]).unwrap();
    assert_eq!(answer["user"], format!("test from {own}"));
    running.stop().await;
}
