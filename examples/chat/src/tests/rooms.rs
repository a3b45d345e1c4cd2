//! Two original clients through the whole chat, with dictionary and protobuf on and off.

use serde_json::{Value, json};

use super::original::{BUNDLED, NPM, Original, installed};
use super::{Chat, Offer};

#[tokio::test]
async fn with_dictionary_and_protobuf() {
    whole_chat(true, true).await;
}

#[tokio::test]
async fn with_dictionary() {
    whole_chat(true, false).await;
}

#[tokio::test]
async fn with_protobuf() {
    whole_chat(false, true).await;
}

#[tokio::test]
async fn with_neither() {
    whole_chat(false, false).await;
}

async fn whole_chat(dictionary: bool, protobuf: bool) {
    if !installed() {
        return;
    }
    let offer = Offer {
        dictionary,
        protobuf,
    };
    // The two builds at once: most of the time goes into starting Node.
    tokio::join!(talk(NPM, offer), talk(BUNDLED, offer));
}

fn chat(from: &str, target: &str, msg: &str) -> Value {
    json!({"from": from, "target": target, "msg": msg})
}

async fn talk(build: &'static str, offer: Offer) {
    let server = Chat::offering(offer).await;
    let mut ann = Original::open(build);
    let mut bob = Original::open(build);
    for (page, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        for init in page.find(server.gate, name, false).await {
            assert_eq!(init["dict"], offer.dictionary, "{build} {offer:?} {init}");
            assert_eq!(init["protos"], offer.protobuf, "{build} {offer:?} {init}");
        }
    }
    assert_eq!(ann.enter("ann", "lobby").await, json!({"users": ["ann"]}));
    let both = json!({"users": ["ann", "bob"]});
    assert_eq!(bob.enter("bob", "lobby").await, both);
    ann.hears("onAdd", json!({"user": "bob"})).await;

    for text in ["hi", "你好，世界", "", "\"\\\n\u{0}"] {
        assert_eq!(ann.say("*", text).await, json!({}));
        ann.hears("onChat", chat("ann", "*", text)).await;
        bob.hears("onChat", chat("ann", "*", text)).await;
    }
    assert_eq!(bob.say("*", "I am 😀!").await, json!({}));
    for page in [&mut ann, &mut bob] {
        page.hears("onChat", chat("bob", "*", "I am 😀!")).await;
    }

    // To one person. Bob does not hear it himself: the next that he hears is further below.
    assert_eq!(bob.say("ann", "psst").await, json!({}));
    ann.hears("onChat", chat("bob", "ann", "psst")).await;
    assert_eq!(bob.say("nobody", "?").await, json!({"code": 500}));

    // A name can be taken in one room only, and who is refused may try again.
    let mut twin = Original::open(build);
    twin.find(server.gate, "bob", false).await;
    let taken = json!({"code": 500, "error": true});
    assert_eq!(without_users(twin.enter("bob", "lobby").await), taken);
    assert_eq!(twin.say("*", "I am bob").await, json!({"code": 500}));
    assert_eq!(twin.enter("bob", "attic").await, json!({"users": ["bob"]}));

    // Rooms do not hear each other.
    ann.say("*", "lobby").await;
    twin.say("*", "attic").await;
    twin.hears("onChat", chat("bob", "*", "attic")).await;
    ann.hears("onChat", chat("ann", "*", "lobby")).await;
    bob.hears("onChat", chat("ann", "*", "lobby")).await;
    twin.disconnect().await;

    // Leaving, coming back on the same page, and being cut off.
    bob.disconnect().await;
    ann.hears("onLeave", json!({"user": "bob"})).await;
    bob.find(server.gate, "bob", false).await;
    assert_eq!(bob.enter("bob", "lobby").await, both);
    ann.hears("onAdd", json!({"user": "bob"})).await;
    bob.kill().await;
    ann.hears("onLeave", json!({"user": "bob"})).await;

    server.stop().await;
    let kick = ann.event("onKick").await;
    // The older client does not tell the page why.
    let reason = (build == NPM).then(|| json!({"reason": "server stop"}));
    assert_eq!(kick.get("msg"), reason.as_ref());
    ann.event("close").await;
    assert_wire(&ann, build, offer);
}

fn without_users(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    members.remove("users");
    answer
}

/// Routes and bodies really travelled as offered.
fn assert_wire(page: &Original, build: &str, offer: Offer) {
    const DATA: u8 = 4;
    const PUSH: u8 = 3;

    let (mut requests, mut pushes) = (0, 0);
    for (sent, bytes) in &page.wire {
        let &[DATA, _, _, _, flag, ref message @ ..] = bytes.as_slice() else {
            continue;
        };
        let coded = flag & 1 == 1;
        if *sent {
            // The older client reads codes, but never sends them.
            assert_eq!(coded, offer.dictionary && build == NPM, "{bytes:02x?}");
            requests += 1;
        } else if flag >> 1 == PUSH {
            assert_eq!(coded, offer.dictionary, "{bytes:02x?}");
            let route = if coded {
                2
            } else {
                1 + usize::from(message[0])
            };
            assert_eq!(message[route] != b'{', offer.protobuf, "{bytes:02x?}");
            pushes += 1;
        }
    }
    // All that Ann said and heard, so that none was passed over.
    assert_eq!((requests, pushes), (7, 11));
}
