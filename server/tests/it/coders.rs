//! Messages that are signed, or coded by the application.

use bytes::Bytes;
use pomelo_server::{Body, Hybrid, Session};
use serde_json::{Value, json};

use crate::peer::{
    Tcp, Ws, app_with, golden_app, golden_connector, package, request, response, start,
};

const CRYPTO: &str = include_str!("../../../protocol/tests/golden/crypto.json");

async fn with_rsa(address: std::net::SocketAddr, rsa: Option<&Value>) -> (Tcp, Vec<u8>) {
    let mut peer = Tcp::connect(address).await;
    let mut sys = json!({"type": "js-websocket", "version": "0.0.1"});
    if let Some(rsa) = rsa {
        sys["rsa"] = rsa.clone();
    }
    let request = json!({ "sys": sys }).to_string();
    peer.send(&package(1, request.as_bytes())).await;
    let answer = peer.package().await;
    (peer, answer)
}

fn echo(id: u8, body: &str) -> Vec<u8> {
    request(id, "connector.entryHandler.echo", body)
}

#[tokio::test]
async fn signatures_are_checked_with_the_key_of_the_handshake() {
    let vectors: Value = serde_json::from_str(CRYPTO).unwrap();
    let (running, address) = start(app_with(Hybrid::new().use_crypto())).await;
    let (mut taken, mut dropped) = (0, 0);
    for vector in vectors["vectors"].as_array().unwrap() {
        let (mut peer, answer) = with_rsa(address, Some(&vector["key"])).await;
        assert!(answer.ends_with(b"\"sys\":{}}"), "{answer:?}");
        peer.send(&[2, 0, 0, 0]).await;
        let body = vector["bodyText"].as_str().unwrap();
        peer.send(&echo(1, body)).await;
        // pomelo takes Chinese texts only as its own clients sign them, see the protocol's tests.
        let ours = vector["name"] == "CJK, signed over UTF-8";
        if vector["accepted"] == true || ours {
            taken += 1;
            let answer: Value = serde_json::from_slice(&peer.package().await[6..]).unwrap();
            let mut signed: Value =
                serde_json::from_str(vector["signedText"].as_str().unwrap()).unwrap();
            signed["__route__"] = "connector.entryHandler.echo".into();
            assert_eq!(answer["body"], signed, "{}", vector["name"]);
        } else {
            dropped += 1;
            // A good one behind it is answered, so the bad one was not.
            let good = vectors["vectors"]
                .as_array()
                .unwrap()
                .iter()
                .find(|other| other["accepted"] == true && other["key"] == vector["key"]);
            let Some(good) = good else { continue };
            peer.send(&echo(2, good["bodyText"].as_str().unwrap()))
                .await;
            assert_eq!(peer.package().await[4..6], [0x04, 2], "{}", vector["name"]);
        }
    }
    assert!(taken >= 5 && dropped >= 3, "{taken} {dropped}");
    running.stop().await;
}

#[tokio::test]
async fn clients_without_a_key_are_refused_and_with_a_bad_one_not_heard() {
    let (running, address) = start(app_with(Hybrid::new().use_crypto())).await;
    let (mut peer, answer) = with_rsa(address, None).await;
    assert_eq!(answer, package(1, br#"{"code":500}"#));
    assert_eq!(peer.rest().await, b"");
    // pomelo lets `{}` in and then drops everything.
    let (mut peer, answer) = with_rsa(address, Some(&json!({}))).await;
    assert!(answer.starts_with(&[1]) && answer.ends_with(b"}}"));
    peer.send(&[&[2, 0, 0, 0][..], &echo(1, "{}"), &[5, 0, 0, 0]].concat())
        .await;
    assert_eq!(peer.rest().await, b"");
    running.stop().await;
}

/// A toy cipher that shows which way a message went: the key is the session's id.
fn shift(message: &[u8], session: &Session, by: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    let key = session.id() as u8;
    message.iter().map(|byte| by(*byte, key)).collect()
}

fn ciphered() -> Hybrid {
    golden_connector()
        .decode(|message, session| {
            let plain = shift(&message, session, u8::wrapping_sub);
            (!plain.windows(6).any(|part| part == b"secret")).then(|| Bytes::from(plain))
        })
        .encode(|message, session| {
            let text = message.windows(4).any(|part| part == b"hide");
            (!text).then(|| shift(message, session, u8::wrapping_add))
        })
}

fn recode(package: &[u8], by: impl Fn(u8) -> u8) -> Vec<u8> {
    let (head, message) = package.split_at(4);
    let message = message.iter().map(|byte| by(*byte));
    head.iter().copied().chain(message).collect()
}

#[tokio::test]
async fn an_application_may_code_messages_its_own_way() {
    let (running, address) = start(app_with(ciphered())).await;
    let mut first = Ws::ready(address).await;
    let mut second = Tcp::ready(address).await;
    let sent = echo(1, r#"{"a":1}"#);
    first
        .send(&recode(&sent, |byte| byte.wrapping_add(1)))
        .await;
    second
        .send(&recode(&sent, |byte| byte.wrapping_add(2)))
        .await;
    let plain = recode(&first.message().await.1, |byte| byte.wrapping_sub(1));
    assert!(plain.ends_with(br#""a":1,"__route__":"connector.entryHandler.echo"}}"#));
    assert_eq!(
        recode(&second.package().await, |byte| byte.wrapping_sub(2)),
        plain
    );

    // Each may drop a message; heartbeats and kicks are no messages.
    let up = |id, body: &str| recode(&echo(id, body), |byte| byte.wrapping_add(2));
    let all = [
        up(2, r#""secret""#),
        up(3, r#""hide""#),
        vec![3, 0, 0, 0],
        up(4, "1"),
    ];
    second.send(&all.concat()).await;
    assert_eq!(second.package().await, [3, 0, 0, 0]);
    let last = recode(&second.package().await, |byte| byte.wrapping_sub(2));
    assert_eq!(last[4..6], [0x04, 4]);
    running.stop().await;
    assert_eq!(
        second.package().await,
        package(5, br#"{"reason":"server stop"}"#)
    );
}

#[tokio::test]
async fn what_a_decoder_makes_may_be_wrong_and_only_loses_the_message() {
    let hybrid = golden_connector().decode(|message, _| Some(message.slice(1..)));
    let (running, address) = start(app_with(hybrid)).await;
    let mut peer = Tcp::ready(address).await;
    let cut = package(4, &[9, 0x00, 1]);
    let good = request(3, "connector.entryHandler.nothing", "{}");
    let prefixed = package(4, &[&[9], &good[4..]].concat());
    peer.send(&[cut, prefixed].concat()).await;
    assert_eq!(peer.package().await, response(3, "{}"));
    running.stop().await;
}

#[tokio::test]
async fn a_body_is_an_answer_as_it_is() {
    let app = golden_app().handler("connector.s.same", async |body: Body| body);
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    for (sent, answered) in [
        (r#"{ "a" : 1.50, "a":"人" }"#, r#"{ "a" : 1.50, "a":"人" }"#),
        (" null ", "{}"),
        ("", "{}"),
        ("no JSON", "no JSON"),
    ] {
        peer.send(&request(1, "connector.s.same", sent)).await;
        assert_eq!(peer.package().await, response(1, answered));
    }
    running.stop().await;
}
