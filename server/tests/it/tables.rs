//! Dictionary, schemas and files of the application's own, read again while servers run.

use std::path::PathBuf;
use std::time::Duration;

use pomelo_server::{App, AppBuilder, Config, Hybrid, StartError};
use serde_json::{Value, json};

use crate::peer::{HANDSHAKE, Tcp, package};

/// A directory that is gone with its value.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("pomelo-tables-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let dir = Self(path);
        let servers = json!({"test": {
            "connector": [{"id": "connector-1", "frontend": true, "clientPort": 0}],
            "chat": [{"id": "chat-1"}]}});
        dir.write("servers", &servers);
        dir
    }

    fn write(&self, name: &str, value: &Value) {
        let path = self.0.join(format!("{name}.json"));
        std::fs::write(path, value.to_string()).unwrap();
    }

    fn app(&self) -> AppBuilder {
        App::builder()
            .env("test")
            .config_dir(&self.0)
            .configure("all", "connector", |server| {
                server.connector(Hybrid::new().use_dict().use_protobuf())
            })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A client after its handshake, and the `sys` it was told.
async fn client(running: &pomelo_server::Running) -> (Tcp, Value) {
    let mut peer = Tcp::connect(running.addresses()["connector-1"]).await;
    peer.send(&package(1, HANDSHAKE.as_bytes())).await;
    let answer = peer.package().await;
    let answer: Value = serde_json::from_slice(&answer[4..]).unwrap();
    peer.send(&[2, 0, 0, 0]).await;
    (peer, answer["sys"].clone())
}

async fn push(running: &pomelo_server::Running, count: usize) {
    let connector = running.app("connector-1").unwrap();
    // A handshake's acknowledgement has no answer without heartbeats.
    while connector.sessions().count() < count {
        tokio::task::yield_now().await;
    }
    let report = connector
        .channels()
        .broadcast("connector", "onChat", &json!({"n": 5}))
        .await
        .unwrap();
    assert_eq!(report.delivered, count);
}

fn code(code: u8, body: &[u8]) -> Vec<u8> {
    package(4, &[&[0x07, 0, code], body].concat())
}

#[tokio::test]
async fn old_clients_keep_their_tables_and_new_ones_get_the_new() {
    let dir = Dir::new("reload");
    dir.write("dictionary", &json!(["onChat"]));
    dir.write("serverProtos", &json!({"onChat": {"required uInt32 n": 1}}));
    let running = dir.app().start().await.unwrap();
    let (mut old, told) = client(&running).await;
    assert_eq!(told["dict"], json!({"onChat": 1}));
    assert_eq!(
        told["protos"]["server"]["onChat"]["__tags"],
        json!({"1": "n"})
    );

    dir.write("dictionary", &json!(["onBell", "onChat"]));
    dir.write("serverProtos", &json!({"onChat": {"required uInt32 n": 2}}));
    // Nothing changes by itself unless the files are watched.
    let (mut middle, told_then) = client(&running).await;
    assert_eq!(told_then, told);
    running.app("chat-1").unwrap().reload_tables().unwrap();
    let (mut new, told_now) = client(&running).await;
    assert_eq!(told_now["dict"], json!({"onBell": 1, "onChat": 2}));
    assert_ne!(told_now["dictVersion"], told["dictVersion"]);
    assert_ne!(told_now["protos"]["version"], told["protos"]["version"]);

    push(&running, 3).await;
    for peer in [&mut old, &mut middle] {
        assert_eq!(peer.package().await, code(1, &[1 << 3, 5]));
    }
    assert_eq!(new.package().await, code(2, &[2 << 3, 5]));
    running.stop().await;
}

#[tokio::test]
async fn tables_that_are_wrong_change_nothing() {
    let dir = Dir::new("wrong");
    dir.write("dictionary", &json!(["onChat"]));
    let running = dir.app().start().await.unwrap();
    let (_peer, told) = client(&running).await;
    dir.write("dictionary", &json!(["onBell"]));
    dir.write(
        "serverProtos",
        &json!({"onChat": {"required uInt128 n": 1}}),
    );
    let error = running.app("chat-1").unwrap().reload_tables().unwrap_err();
    let file = dir.0.join("serverProtos.json");
    let expected = format!("{}: onChat.n: unknown type \"uInt128\"", file.display());
    assert_eq!(error.to_string(), expected);
    let (_peer, told_now) = client(&running).await;
    assert_eq!(told_now, told);
    let mut config = Config::default();
    config.dictionary = vec!["onDoor".to_owned()];
    running.app("chat-1").unwrap().set_tables(&config).unwrap();
    let (_peer, told_now) = client(&running).await;
    assert_eq!(told_now["dict"], json!({"onDoor": 1}));
    running.stop().await;
}

#[tokio::test]
async fn watched_files_are_read_again_when_they_change() {
    let dir = Dir::new("watch");
    dir.write("dictionary", &json!(["onChat"]));
    dir.write(
        "mysql",
        &json!({"test": {"host": "a"}, "production": {"host": "z"}}),
    );
    dir.write("shop", &json!({"open": true}));
    let app = dir
        .app()
        .watch_tables()
        .watch_config("mysql", "mysql.json")
        .load_config("shop", "shop");
    // A change that comes while the application starts is not missed.
    let app = app.before_startup("chat", {
        let file = dir.0.join("mysql.json");
        move |_| {
            std::fs::write(&file, r#"{"test": {"host": "late"}}"#).unwrap();
            async {}
        }
    });
    let running = app.start().await.unwrap();
    let chat = running.app("chat-1").unwrap();
    let host = || chat.get::<Value>("mysql").unwrap()["host"].clone();
    assert_eq!(host(), "a");
    assert_eq!(chat.get("shop"), Some(json!({"open": true})));

    tokio::time::pause();
    let second = Duration::from_secs(1);
    tokio::time::sleep(second * 2).await;
    assert_eq!(host(), "late");
    std::fs::write(dir.0.join("mysql.json"), "{").unwrap();
    tokio::time::sleep(second * 2).await;
    assert_eq!(host(), "late");
    dir.write("mysql", &json!({"test": {"host": "b"}}));
    dir.write("shop", &json!({"open": false}));
    dir.write("dictionary", &json!(["onBell"]));
    tokio::time::sleep(second * 2).await;
    assert_eq!(host(), "b");
    assert_eq!(chat.get("shop"), Some(json!({"open": true})));
    let absolute = dir.0.join("shop.json");
    chat.load_config("shop", absolute.to_str().unwrap())
        .unwrap();
    assert_eq!(chat.get("shop"), Some(json!({"open": false})));
    tokio::time::resume();
    let (_peer, told) = client(&running).await;
    assert_eq!(told["dict"], json!({"onBell": 1}));
    running.stop().await;
}

#[tokio::test]
async fn a_file_of_the_application_that_is_missing_fails_the_start() {
    let dir = Dir::new("missing");
    let error = dir.app().load_config("mysql", "mysql").start().await;
    let file = dir.0.join("mysql.json").display().to_string();
    assert!(matches!(&error, Err(StartError::Config(_))));
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("{file}: cannot be read")
    );
}
