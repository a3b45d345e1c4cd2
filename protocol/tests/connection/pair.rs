//! A client and a server joined by a wire of bytes, cut anywhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::{
    ClientConnection, ClientEvent, CloseReason, Codec, Config, DecodeError, Frame,
    HandshakeRequest, PackageKind, ProtosOffer, SendError, ServerConnection, ServerEvent,
    ServerSettings, Tables,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

struct Pair {
    client: ClientConnection,
    server: ServerConnection,
    codec: Codec,
    now: u64,
    /// Bytes of each delivery; the wire is cut so.
    cut: usize,
    seen_by_client: Vec<ClientEvent>,
}

impl Pair {
    fn new(settings: ServerSettings, tables: Tables, cut: usize) -> Self {
        let codec = settings.codec.clone();
        let hello = HandshakeRequest::new("rust", "1.0.0").with_user(json!({"name": "bob"}));
        Self {
            client: ClientConnection::new(at(0), Config::client(), hello, tables),
            server: ServerConnection::new(at(0), Arc::new(settings)),
            codec,
            now: 0,
            cut,
            seen_by_client: Vec::new(),
        }
    }

    /// Moves bytes both ways until nothing moves. The server echoes requests.
    fn settle(&mut self) {
        loop {
            let to_server = drain(|| self.client.poll_transmit());
            let idle = to_server.is_empty();
            for chunk in to_server.chunks(self.cut) {
                self.server
                    .handle_data(at(self.now), Bytes::copy_from_slice(chunk));
                self.serve();
            }
            let to_client = drain(|| self.server.poll_transmit());
            if idle && to_client.is_empty() {
                return;
            }
            for chunk in to_client.chunks(self.cut) {
                self.client
                    .handle_data(at(self.now), Bytes::copy_from_slice(chunk));
                self.seen_by_client.extend(client_events(&mut self.client));
            }
        }
    }

    fn serve(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Handshake(request) => {
                    let user = request.user().map(|user| json!({"welcome": user["name"]}));
                    self.server.accept(at(self.now), user.as_ref());
                }
                ServerEvent::Request { id, route, body } => {
                    let value: Value = body.decode_or_empty().unwrap();
                    let scratch = &mut Vec::new();
                    let frame = self.codec.response(scratch, id, &route, &value).unwrap();
                    self.server.send(frame).unwrap();
                }
                _ => {}
            }
        }
    }

    fn push(&mut self, route: &str, body: &Value) -> Result<(), SendError> {
        let frame = self.codec.push(&mut Vec::new(), route, body).unwrap();
        self.server.send(frame)
    }

    /// Lets time pass, stopping at every deadline of either side.
    fn pass(&mut self, until: u64) {
        loop {
            let next = [self.client.poll_timeout(), self.server.poll_timeout()];
            let next = next.into_iter().flatten().min();
            let next = next.map_or(u64::MAX, |next| {
                next.since_origin().as_millis().try_into().unwrap()
            });
            self.now = next.min(until).max(self.now);
            self.client.handle_timeout(at(self.now));
            self.server.handle_timeout(at(self.now));
            self.seen_by_client.extend(client_events(&mut self.client));
            self.settle();
            if next >= until {
                return;
            }
        }
    }
}

fn drain(mut next: impl FnMut() -> Option<Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) = next() {
        bytes.extend_from_slice(frame.as_bytes());
    }
    bytes
}

#[test]
fn early_requests_wait_for_the_tables_and_use_them() {
    for cut in 1..80 {
        let mut pair = Pair::new(settings(), Tables::default(), cut);
        let ids = [
            pair.client
                .request("chat.chatHandler.send", &json!({"content": "hi"}))
                .unwrap(),
            pair.client.request("area.move", &json!({"x": 7})).unwrap(),
        ];
        pair.settle();
        pair.push("onMove", &json!({"x": 300})).unwrap();
        pair.settle();
        let [
            ClientEvent::Ready { user: Some(user) },
            ClientEvent::Response {
                id: first,
                body: chat,
                ..
            },
            ClientEvent::Response {
                id: second,
                body: moved,
                ..
            },
            ClientEvent::Push { route, body: push },
        ] = &pair.seen_by_client[..]
        else {
            panic!("{:?}", pair.seen_by_client);
        };
        assert_eq!(*user, json!({"welcome": "bob"}));
        assert_eq!([*first, *second], ids);
        assert_eq!(chat.decode::<Value>().unwrap(), json!({"content": "hi"}));
        assert_eq!(moved.decode::<Value>().unwrap(), json!({"x": 7}));
        assert_eq!((route.as_str(), push.is_protobuf()), ("onMove", true));
        assert_eq!(push.decode::<Value>().unwrap(), json!({"x": 300}));
        assert_eq!(pair.client.pending(), 0);
    }
}

#[test]
fn minutes_of_heartbeats_keep_an_idle_pair_alive() {
    let mut pair = Pair::new(settings(), Tables::default(), 64);
    pair.settle();
    pair.pass(10 * 60_000);
    assert!(pair.server.is_working());
    assert_eq!(pair.now, 10 * 60_000);
    let closed = pair
        .seen_by_client
        .iter()
        .any(|event| matches!(event, ClientEvent::Closed(_)));
    assert!(!closed);
}

#[test]
fn kept_tables_are_not_sent_again() {
    let mut first = Pair::new(settings(), Tables::default(), 4096);
    first.settle();
    let tables = first.client.tables().clone();

    let mut second = Pair::new(settings(), tables, 4096);
    second
        .client
        .request("area.move", &json!({"x": 1}))
        .unwrap();
    let hello = second.client.poll_transmit().unwrap();
    second.server.handle_data(at(0), hello.into_bytes());
    second.serve();
    let response = second.server.poll_transmit().unwrap();
    assert_eq!(
        &response.as_bytes()[4..],
        br#"{"code":200,"sys":{"heartbeat":3,"useDict":true,"useProto":true},"user":{"welcome":"bob"}}"#
    );
    second.client.handle_data(at(0), response.into_bytes());
    second
        .seen_by_client
        .extend(client_events(&mut second.client));
    second.settle();
    assert!(second.client.codec().dictionary.is_some());
    let Some(ClientEvent::Response { body, .. }) = second.seen_by_client.last() else {
        panic!("{:?}", second.seen_by_client);
    };
    assert_eq!(body.decode::<Value>().unwrap(), json!({"x": 1}));
}

#[test]
fn a_response_made_once_is_the_response_that_is_wanted() {
    let mut settings = Arc::new(settings());
    for heartbeat in [3, 3, 7] {
        // The second time around nothing is made anew; the third time it must be.
        let heartbeat = Some(Duration::from_secs(heartbeat));
        Arc::get_mut(&mut settings).unwrap().offer.heartbeat = heartbeat;
        let dictionary = settings.offer.dictionary.as_ref().unwrap().version();
        let Some(ProtosOffer::Dialect { version, .. }) = &settings.offer.protos else {
            panic!("no schemas");
        };
        let mut texts = Vec::new();
        for (dictionary, protos, user) in [
            (dictionary, version.as_str(), None),
            (dictionary, "other", None),
            ("other", version, None),
            ("other", "", None),
            ("other", "", Some(json!({"a": 1}))),
            ("other", "", Some(json!(0))),
        ] {
            let request = HandshakeRequest::new("test", "1")
                .with_sys("dictVersion", json!(dictionary))
                .with_sys("protoVersion", json!(protos));
            let mut server = ServerConnection::new(at(0), Arc::clone(&settings));
            let hello = package(PackageKind::Handshake, request.to_text().as_bytes());
            server.handle_data(at(0), hello);
            assert!(matches!(
                server.poll_event(),
                Some(ServerEvent::Handshake(_))
            ));
            server.accept(at(0), user.as_ref());
            let text = settings.offer.response_text(&request, user.as_ref());
            let expected = package(PackageKind::Handshake, text.as_bytes());
            assert_eq!(sent_by_server(&mut server), [expected]);
            texts.push(text);
        }
        assert_eq!(texts.pop(), texts.get(3).cloned(), "falsy data is left out");
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 5);
    }
}

#[test]
fn a_forgotten_request_leaves_nothing_behind() {
    let mut pair = Pair::new(settings(), Tables::default(), 64);
    let early = pair.client.request("a.b.c", &json!({})).unwrap();
    pair.client.forget(early);
    pair.settle();
    assert_eq!(
        pair.seen_by_client.len(),
        1,
        "an early request that was forgotten is not sent"
    );
    let late = pair.client.request("a.b.c", &json!({})).unwrap();
    pair.client.forget(late);
    assert_eq!(pair.client.pending(), 0);
    pair.settle();
    assert!(matches!(
        pair.seen_by_client.last(),
        Some(ClientEvent::Dropped(_))
    ));
}

#[test]
fn a_kick_arrives_behind_what_was_sent_before() {
    let mut pair = Pair::new(settings(), Tables::default(), 7);
    pair.settle();
    pair.push("onChat", &json!({"msg": "last"})).unwrap();
    pair.server.kick("bye");
    let closed = server_events(&mut pair.server);
    let kicked = CloseReason::Kicked(Some("bye".to_owned()));
    assert!(matches!(&closed[..], [ServerEvent::Closed(reason)] if *reason == kicked));
    pair.settle();
    let [
        _,
        ClientEvent::Push { .. },
        ClientEvent::Kicked(Some(reason)),
        ClientEvent::Closed(closed),
    ] = &pair.seen_by_client[..]
    else {
        panic!("{:?}", pair.seen_by_client);
    };
    assert_eq!((reason.as_str(), closed), ("bye", &kicked));
    assert!(matches!(
        pair.push("onChat", &json!({})),
        Err(SendError::Closed)
    ));
}

#[test]
fn every_form_of_kick_body_is_read() {
    for (body, reason) in [
        (&b"{\"reason\":\"x\"}"[..], Some("x")),
        (b"", None),
        (b"{}", None),
        (b"\"x\"", Some("x")),
        (b"7", Some("7")),
        (b"plain text", Some("plain text")),
    ] {
        let mut client = working_client();
        client.handle_data(at(1), package(PackageKind::Kick, body));
        let Some(ClientEvent::Kicked(got)) = client.poll_event() else {
            panic!("{body:?}")
        };
        assert_eq!(got.as_deref(), reason);
    }
}

#[test]
fn the_application_may_refuse_a_client() {
    let mut server = server(settings());
    server.handle_data(at(0), package(PackageKind::Handshake, HELLO));
    assert!(matches!(
        server.poll_event(),
        Some(ServerEvent::Handshake(_))
    ));
    server.reject(at(1), 501);
    let events = server_events(&mut server);
    assert!(matches!(
        events[..],
        [ServerEvent::Closed(CloseReason::Rejected(501))]
    ));
    assert_eq!(sent_by_server(&mut server), [b"\x01\0\0\x0c{\"code\":501}"]);
    server.accept(at(2), None);
    assert!(sent_by_server(&mut server).is_empty());
}

#[test]
fn messages_may_be_handed_out_as_they_came() {
    let mut settings = settings();
    settings.config.raw_messages = true;
    let mut server = working_server(settings);
    let message = b"\x00\x07\x05a.b.c{\"x\":1}";
    server.handle_data(at(1), package(PackageKind::Data, b"?"));
    server.handle_data(at(1), package(PackageKind::Heartbeat, b""));
    server.handle_data(at(1), package(PackageKind::Data, message));
    let events = server_events(&mut server);
    let [ServerEvent::Raw(first), ServerEvent::Raw(second)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&first[..], &second[..]), (&b"?"[..], &message[..]));
    let event = server.decode(second);
    let Some(ServerEvent::Request { id, route, body }) = event else {
        panic!("{event:?}")
    };
    assert_eq!((id.get(), &*route), (7, "a.b.c"));
    assert_eq!(body.decode::<Value>().unwrap(), json!({"x": 1}));
    let cut = Bytes::from_static(b"\x00\x07\x05a");
    assert!(matches!(server.decode(&cut), Some(ServerEvent::Dropped(_))));
    // As for a message that came like this.
    assert!(server.decode(&Bytes::new()).is_none());
    assert!(matches!(
        server.poll_event(),
        Some(ServerEvent::Closed(CloseReason::Protocol(
            DecodeError::EmptyMessage
        )))
    ));
}

proptest! {
    /// Whatever is sent, in whatever pieces it arrives, all of it comes out, once and in order.
    #[test]
    fn nothing_is_lost_or_reordered(
        cut in 1_usize..200,
        bodies in prop::collection::vec("\\PC{0,40}", 1..20),
    ) {
        let mut pair = Pair::new(settings(), Tables::default(), cut);
        let mut sent = VecDeque::new();
        for (n, text) in bodies.iter().enumerate() {
            let id = pair.client.request("chat.chatHandler.send", text).unwrap();
            sent.push_back((id, text.clone()));
            if n % 3 == 2 {
                pair.settle();
            }
        }
        pair.settle();
        for event in &pair.seen_by_client {
            if let ClientEvent::Response { id, body, .. } = event {
                let answer = body.decode::<Value>().unwrap();
                let (expected, text) = sent.pop_front().unwrap();
                // pomelo's rule: an empty text reaches the server as {}.
                let text = if text.is_empty() { json!({}) } else { json!(text) };
                prop_assert_eq!((*id, answer), (expected, text));
            }
        }
        prop_assert!(sent.is_empty());
    }
}
