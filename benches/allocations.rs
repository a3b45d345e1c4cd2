//! Allocations of the hot paths, counted.

use std::sync::Arc;

use allocation_counter::measure;
use bytes::Bytes;
use pomelo_protocol::{
    Codec, CodecError, Dictionary, Instant, Message, MessageHead, PackageKind, PackageRef,
    RequestId, ServerConnection, ServerEvent, ServerSettings, WireRoute, protobuf::Protos,
    write_package,
};
use serde::Serialize;
use serde_json::json;

const ROUTE: &str = "chat.chatHandler.send";

#[derive(Serialize)]
struct Chat {
    from: &'static str,
    msg: &'static str,
}

const CHAT: Chat = Chat {
    from: "alice",
    msg: "hello \u{1f600}",
};

fn codec() -> Codec {
    let mut codec = Codec::default();
    codec.dictionary = Dictionary::build([ROUTE], ["onChat"]).ok();
    codec.outgoing =
        Protos::parse(&json!({"onPb": {"required string from": 1, "required string msg": 2}}))
            .expect("the schema is well-formed");
    codec
}

fn write(codec: &Codec, out: &mut Vec<u8>, head: &MessageHead<'_>, route: &str) {
    out.clear();
    write_package(out, PackageKind::Data, |out| {
        head.write(out, false)?;
        codec.write_body(out, route, &CHAT)?;
        Ok::<_, CodecError>(())
    })
    .expect("the message fits its schema");
}

#[test]
fn decoding_a_request_allocates_nothing() {
    for route in [
        &b"\0\x01\x15chat.chatHandler.send{}"[..],
        b"\x01\x01\0\x01{}",
    ] {
        let mut package = Vec::new();
        write_package(&mut package, PackageKind::Data, |out| {
            out.extend_from_slice(route);
            Ok::<_, CodecError>(())
        })
        .unwrap();
        let count = measure(|| {
            let package = PackageRef::split_from(&mut &package[..], 1 << 20)
                .unwrap()
                .unwrap();
            let message = Message::decode(package.body).unwrap();
            assert_eq!(message.body, b"{}");
            if let MessageHead::Request { route, .. } = message.head
                && let WireRoute::Name(name) = route
            {
                assert_eq!(name.to_str(), ROUTE);
            }
        });
        assert_eq!(count.count_total, 0);
    }
}

/// As a socket's read buffer hands them out, the bytes are shared before they come.
fn received(bytes: &'static [u8]) -> Bytes {
    let chunk = Bytes::from(bytes.to_vec());
    let shared = chunk.clone();
    drop(chunk);
    shared
}

#[test]
fn a_connection_receives_a_route_of_its_dictionary_without_allocating() {
    let now = Instant::default();
    let mut settings = ServerSettings::default();
    settings.codec = codec();
    let mut server = ServerConnection::new(now, Arc::new(settings));
    server.handle_data(now, received(b"\x01\0\0\x0a{\"sys\":{}}"));
    assert!(matches!(
        server.poll_event(),
        Some(ServerEvent::Handshake(_))
    ));
    server.accept(now, None);
    server.handle_data(now, received(b"\x02\0\0\0"));
    assert!(matches!(server.poll_event(), Some(ServerEvent::Ready)));
    for package in [
        &b"\x04\0\0\x1a\0\x01\x15chat.chatHandler.send{}"[..],
        b"\x04\0\0\x06\x01\x01\0\x01{}",
    ] {
        let chunk = received(package);
        let mut event = None;
        let count = measure(|| {
            server.handle_data(now, chunk);
            event = server.poll_event();
        });
        assert!(
            matches!(&event, Some(ServerEvent::Request { route, .. }) if &**route == ROUTE),
            "{event:?}"
        );
        assert_eq!(count.count_total, 0);
    }
}

#[test]
fn encoding_into_a_reused_buffer_allocates_nothing() {
    let codec = codec();
    let response = MessageHead::Response {
        id: RequestId::new(7),
        error: false,
    };
    let push = MessageHead::Push {
        route: "onPb".into(),
    };
    let out = &mut Vec::with_capacity(1024);
    for (head, route) in [(&response, ROUTE), (&push, "onPb")] {
        let count = measure(|| write(&codec, out, head, route));
        assert_eq!(count.count_total, 0, "{route}");
        assert!(out.len() > 20);
    }
}

#[test]
fn a_frame_is_one_allocation_however_many_receive_it() {
    let codec = codec();
    let mut scratch = Vec::with_capacity(1024);
    let mut queue = Vec::with_capacity(10_000);
    let count = measure(|| {
        let frame = codec.push(&mut scratch, "onChat", &CHAT).unwrap();
        queue.extend(std::iter::repeat_n(frame, 10_000));
    });
    // The bytes, and the counter that the first clone makes.
    assert!(count.count_total <= 2, "{count:?}");
}
