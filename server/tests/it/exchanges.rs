//! Whole conversations recorded with pomelo 2.2.7, byte for byte, on both transports.

use std::time::Duration;

use serde_json::Value;

use crate::peer::{Tcp, Ws, golden_app, golden_connector, start};

/// Where we differ on purpose; the tests named in the second column say what happens instead.
const DIFFERENT: &[(&str, &str)] = &[
    ("data with empty body", "closes instead of going dead"),
    (
        "handshake, ack and request in one write",
        "processed in order",
    ),
    ("is not taken for HTTP", "http: answered 404"),
    ("GET without upgrade", "http: answered 404"),
    (
        "two packages in one frame",
        "http: a_websocket_message_may_hold_several_packages",
    ),
    ("empty binary frame", "ignored"),
    ("one-byte frame", "closes"),
    (
        "package split over two frames",
        "http: a_package_cut_by_its_websocket_message_closes",
    ),
    ("length field one too large", "closes"),
    (
        "length field one too small",
        "the whole package in front is answered, then closes",
    ),
    ("answers come as handlers finish", "timed by the recording"),
];

#[tokio::test]
async fn exchanges_are_those_of_pomelo() {
    let golden = include_str!("../../../protocol/tests/golden/exchanges.json");
    let golden: Value = serde_json::from_str(golden).unwrap();
    let app = golden_app().configure("all", "connector", |server| {
        // The heartbeat interval goes over the wire; its timeout is ours to shorten.
        server.connector(golden_connector().heartbeat_timeout(Duration::from_millis(1500)))
    });
    let (running, address) = start(app).await;
    let mut played = 0;
    for vector in golden["vectors"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        if DIFFERENT.iter().any(|(part, _)| name.contains(part)) {
            continue;
        }
        eprintln!("{name}");
        let steps = vector["steps"].as_array().unwrap();
        match vector["transport"].as_str().unwrap() {
            "tcp" => play_tcp(Tcp::connect(address).await, steps, name).await,
            "ws" => play_ws(Ws::connect(address).await, steps, name).await,
            other => panic!("{name}: transport {other}"),
        }
        played += 1;
    }
    assert_eq!(played, 59);
    running.stop().await;
}

async fn play_tcp(mut peer: Tcp, steps: &[Value], name: &str) {
    for step in steps {
        if let Some(hex) = step.get("c2s") {
            peer.send(&unhex(hex)).await;
        } else if let Some(hex) = step.get("s2c") {
            let expected = unhex(hex);
            let got = peer.exactly(expected.len()).await;
            same(&got, &expected, name);
        } else if step.get("close").is_some() {
            assert_eq!(peer.rest().await, b"", "{name}");
        } else {
            assert!(step.get("wait").is_some(), "{name}: {step}");
        }
    }
}

async fn play_ws(mut peer: Ws, steps: &[Value], name: &str) {
    for step in steps {
        if let Some(hex) = step.get("c2s") {
            peer.send(&unhex(hex)).await;
        } else if let Some(text) = step.get("c2sText") {
            peer.frame(0x81, text.as_str().unwrap().as_bytes()).await;
        } else if let Some(hex) = step.get("s2c") {
            let expected = unhex(hex);
            // Frames between two steps are joined in the recording.
            let mut got = Vec::new();
            while got.len() < expected.len() {
                let (first, payload) = peer.message().await;
                assert_eq!(first, 0x82, "{name}");
                got.extend(payload);
            }
            same(&got, &expected, name);
        } else if let Some(code) = step.get("close") {
            assert_eq!(code, 1000, "{name}");
            assert_eq!(peer.message().await, (0x88, vec![0x03, 0xe8]), "{name}");
            assert_eq!(peer.tcp.rest().await, b"", "{name}");
        } else {
            assert!(step.get("wait").is_some(), "{name}: {step}");
        }
    }
}

fn same(got: &[u8], expected: &[u8], name: &str) {
    let text = String::from_utf8_lossy;
    assert!(
        got == expected,
        "{name}:\n got {}\nwant {}",
        text(got),
        text(expected)
    );
}

fn unhex(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
