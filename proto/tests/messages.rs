//! One Rust type, several encodings.

use pomelo_proto::{
    Message,
    chat::{Enter, EnterResponse, OnChat, QueryEntry, QueryEntryResponse, Send, SendResponse},
    cluster::{self, Encoding, Envelope, Forward, Session, envelope::Kind},
};
use serde_json::{from_str, to_string};

fn send() -> Send {
    Send {
        rid: "r".into(),
        content: "你好".into(),
        from: "ann".into(),
        target: "*".into(),
    }
}

#[test]
fn a_request_as_json_and_as_protobuf() {
    assert_eq!(
        to_string(&send()).unwrap(),
        r#"{"rid":"r","content":"你好","from":"ann","target":"*"}"#
    );
    assert_eq!(
        from_str::<Send>(&to_string(&send()).unwrap()).unwrap(),
        send()
    );

    let bytes = send().encode_to_vec();
    assert_eq!(
        bytes,
        b"\x0a\x01r\x12\x06\xe4\xbd\xa0\xe5\xa5\xbd\x1a\x03ann\x22\x01*"
    );
    assert_eq!(Send::decode(bytes.as_slice()).unwrap(), send());
}

#[test]
fn a_push_has_the_members_of_the_original_in_their_order() {
    let push = OnChat {
        msg: "m".into(),
        from: "f".into(),
        target: "t".into(),
    };
    assert_eq!(
        to_string(&push).unwrap(),
        r#"{"msg":"m","from":"f","target":"t"}"#
    );
    assert_eq!(push.encode_to_vec(), b"\x0a\x01m\x12\x01f\x1a\x01t");
}

#[test]
fn answers_are_those_of_the_original() {
    let users = EnterResponse {
        users: vec!["ann".into(), "bob".into()],
        ..Default::default()
    };
    assert_eq!(to_string(&users).unwrap(), r#"{"users":["ann","bob"]}"#);

    let twice = EnterResponse {
        code: Some(500),
        error: Some(true),
        ..Default::default()
    };
    assert_eq!(to_string(&twice).unwrap(), r#"{"code":500,"error":true}"#);

    let entry = QueryEntryResponse {
        code: 200,
        host: Some("127.0.0.1".into()),
        port: Some(3050),
    };
    assert_eq!(
        to_string(&entry).unwrap(),
        r#"{"code":200,"host":"127.0.0.1","port":3050}"#
    );
    assert_eq!(
        QueryEntryResponse::decode(&*entry.encode_to_vec()).unwrap(),
        entry
    );

    let failed = QueryEntryResponse {
        code: 500,
        ..Default::default()
    };
    assert_eq!(to_string(&failed).unwrap(), r#"{"code":500}"#);
    assert_eq!(to_string(&SendResponse::default()).unwrap(), "{}");
}

#[test]
fn missing_and_unknown_members_do_not_fail_a_request() {
    assert_eq!(from_str::<QueryEntry>("{}").unwrap(), QueryEntry::default());
    let enter: Enter = from_str(r#"{"rid":"r","__route__":"x","extra":[1]}"#).unwrap();
    assert_eq!(
        enter,
        Enter {
            username: String::new(),
            rid: "r".into()
        }
    );
    assert_eq!(
        from_str::<EnterResponse>(r#"{"code":500}"#).unwrap().code,
        Some(500)
    );
}

#[test]
fn an_envelope_survives_and_says_its_version() {
    let envelope = Envelope {
        version: cluster::VERSION,
        from: "connector-server-1".into(),
        kind: Some(Kind::Forward(Forward {
            route: "chat.chatHandler.send".into(),
            body: to_string(&send()).unwrap().into(),
            encoding: Encoding::Json.into(),
            request: true,
            session: Some(Session {
                id: 7,
                frontend_id: "connector-server-1".into(),
                uid: Some("张三*1".into()),
                settings: r#"{"rid":"1"}"#.into(),
                epoch: 1 << 40,
            }),
            timeout_ms: 5_000,
        })),
    };
    let bytes = envelope.encode_to_vec();
    assert_eq!(bytes[..2], [0x08, 0x01], "the version comes first");
    assert_eq!(Envelope::decode(bytes.as_slice()).unwrap(), envelope);
}
