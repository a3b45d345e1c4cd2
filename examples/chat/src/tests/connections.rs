//! What an original client keeps from one connection to the next.

use serde_json::{Value, json};

use super::Chat;
use super::original::{NPM, Original, installed};

/// Whether a server sent its schemas in the handshake.
fn sent_schemas(init: &Value) -> bool {
    assert_eq!(init["protos"], true, "the page has them in any case");
    init["handshake"]["sys"].get("protos").is_some()
}

#[tokio::test]
async fn schemas_are_sent_once() {
    if !installed() {
        return;
    }
    let server = Chat::start("production").await;
    let mut page = Original::open(NPM);
    let inits = page.find(server.gate, "ann", false).await;
    assert_eq!(inits.map(|init| sent_schemas(&init)), [true, false]);
    assert_eq!(page.enter("ann", "lobby").await, json!({"users": ["ann"]}));
    page.disconnect().await;

    // Another page of the same browser: they come from its storage.
    page.tell(json!({"cmd": "reload"})).await;
    let inits = page.find(server.gate, "ann", false).await;
    assert_eq!(inits.map(|init| sent_schemas(&init)), [false, false]);
    page.enter("ann", "lobby").await;
    page.say("*", "still here").await;
    let line = json!({"from": "ann", "target": "*", "msg": "still here"});
    page.hears("onChat", line).await;
    page.disconnect().await;
    server.stop().await;

    // Others have another version.
    let changed = Chat::with_changed_schemas().await;
    let inits = page.find(changed.gate, "ann", false).await;
    assert_eq!(inits.map(|init| sent_schemas(&init)), [true, false]);
    page.enter("ann", "lobby").await;
    page.say("ann", "moved").await;
    let line = json!({"from": "ann", "target": "ann", "msg": "moved"});
    page.hears("onChat", line).await;
    changed.stop().await;
}

/// Takes five seconds, for which the original waits before it tries again.
#[tokio::test]
async fn a_page_reconnects_by_itself() {
    if !installed() {
        return;
    }
    let server = Chat::start("development").await;
    let mut page = Original::open(NPM);
    page.find(server.gate, "ann", true).await;
    page.enter("ann", "lobby").await;
    server.kick("ann*lobby", "wake up");
    let kick = page.event("onKick").await;
    assert_eq!(kick["msg"], json!({"reason": "wake up"}));
    page.event("close").await;
    page.event("reconnect").await;
    let init = page.event("init").await;
    assert!(!sent_schemas(&init));
    // The name is free, since the first session is gone.
    assert_eq!(page.enter("ann", "lobby").await, json!({"users": ["ann"]}));
    page.say("*", "again").await;
    let line = json!({"from": "ann", "target": "*", "msg": "again"});
    page.hears("onChat", line).await;
    server.stop().await;
}
