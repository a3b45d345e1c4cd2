//! One test for each row of the table in `connection/mod.rs`.

use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::{
    BodyError, ClientEvent, CloseReason, DecodeError, Dropped, HandshakeError, MessageKind,
    PackageKind, RequestError, SendError, ServerEvent,
};
use serde_json::{Value, json};

#[cfg(feature = "gzip")]
use pomelo_protocol::{Codec, InflateError, RequestId};

use crate::support::*;

/// The reason for which a working server closes on these bytes of a stream.
fn closes_with(bytes: &'static [u8]) -> CloseReason {
    let mut server = working_server(settings());
    server.handle_data(at(1), Bytes::from_static(bytes));
    match &server_events(&mut server)[..] {
        [ServerEvent::Closed(reason)] => reason.clone(),
        events => panic!("{events:?}"),
    }
}

fn client_closes_with(bytes: &'static [u8]) -> CloseReason {
    let mut client = working_client();
    client.handle_data(at(1), Bytes::from_static(bytes));
    match client_events(&mut client).pop() {
        Some(ClientEvent::Closed(reason)) => reason,
        event => panic!("{event:?}"),
    }
}

/// What a working server says of this message, after which it must still answer heartbeats.
fn drops(message: &[u8]) -> Dropped {
    let mut server = working_server(settings());
    server.handle_data(at(1), package(PackageKind::Data, message));
    server.handle_data(at(1), package(PackageKind::Heartbeat, b""));
    let events = server_events(&mut server);
    assert_eq!(sent_by_server(&mut server), [b"\x03\0\0\0"]);
    match events[..] {
        [ServerEvent::Dropped(dropped)] => dropped,
        _ => panic!("{events:?}"),
    }
}

#[test]
fn unknown_package_kinds_close() {
    for kind in (0..=255).filter(|kind| !(1..=5).contains(kind)) {
        let mut server = server(settings());
        server.handle_data(at(0), Bytes::copy_from_slice(&[kind]));
        let reason = CloseReason::Protocol(DecodeError::UnknownPackageKind(kind));
        assert!(
            matches!(&server_events(&mut server)[..], [ServerEvent::Closed(r)] if *r == reason)
        );
    }
    let reason = CloseReason::Protocol(DecodeError::UnknownPackageKind(9));
    assert_eq!(client_closes_with(b"\x09\0\0\0"), reason);
}

#[test]
fn a_kick_from_a_client_closes() {
    let reason = DecodeError::UnexpectedPackage(PackageKind::Kick);
    assert_eq!(closes_with(b"\x05\0\0\0"), CloseReason::Protocol(reason));
}

#[test]
fn an_acknowledgement_from_a_server_is_ignored() {
    let mut client = working_client();
    client.handle_data(at(1), package(PackageKind::HandshakeAck, b""));
    assert!(client_events(&mut client).is_empty());
}

#[test]
fn oversize_lengths_close_before_the_body_comes() {
    let too_large = |len, max| CloseReason::Protocol(DecodeError::PackageTooLarge { len, max });
    assert_eq!(
        closes_with(b"\x04\xff\xff\xff"),
        too_large(0xff_ffff, 1 << 20)
    );
    assert_eq!(
        client_closes_with(b"\x04\xff\xff\xff"),
        too_large(0xff_ffff, 1 << 20)
    );
    let mut stranger = server(settings());
    stranger.handle_data(at(0), Bytes::from_static(b"\x01\x01\0\x01"));
    let events = server_events(&mut stranger);
    assert!(
        matches!(&events[..], [ServerEvent::Closed(r)] if *r == too_large(65_537, 65_536)),
        "a handshake has a lower limit: {events:?}"
    );
}

#[test]
fn a_stream_that_ends_inside_a_package_was_closed_by_the_peer() {
    let mut server = working_server(settings());
    server.handle_data(at(1), Bytes::from_static(b"\x04\0\0\x20\0\x01"));
    assert!(server_events(&mut server).is_empty());
    server.handle_eof(at(2));
    let events = server_events(&mut server);
    assert!(matches!(
        events[..],
        [ServerEvent::Closed(CloseReason::Peer)]
    ));
}

#[test]
fn several_packages_in_one_message_are_handled_in_order() {
    let mut server = working_server(settings());
    let message = [
        &package(PackageKind::Data, b"\x02\x05a.b.c1")[..],
        &package(PackageKind::Heartbeat, b""),
        &package(PackageKind::Data, b"\x02\x05a.b.c2"),
    ]
    .concat();
    server.handle_message(at(1), message.into());
    let bodies: Vec<u32> = server_events(&mut server)
        .into_iter()
        .map(|event| match event {
            ServerEvent::Notify { body, .. } => body.decode().unwrap(),
            event => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(bodies, [1, 2]);
    assert_eq!(sent_by_server(&mut server), [b"\x03\0\0\0"]);
}

#[test]
fn a_cut_message_closes_after_what_is_whole() {
    for cut in [&b"\x03"[..], b"\x04\0", b"\x04\0\0\x02\x02"] {
        let mut server = working_server(settings());
        let message = [&package(PackageKind::Data, b"\x02\x05a.b.c{}")[..], cut].concat();
        server.handle_message(at(1), message.into());
        let events = server_events(&mut server);
        let cut = CloseReason::Protocol(DecodeError::PackageCut);
        assert!(
            matches!(&events[..], [ServerEvent::Notify { .. }, ServerEvent::Closed(r)] if *r == cut),
            "{events:?}"
        );
    }
}

#[test]
fn an_empty_message_is_ignored() {
    let mut server = working_server(settings());
    server.handle_message(at(1), Bytes::new());
    assert!(server_events(&mut server).is_empty());
    assert!(server.is_working());
}

#[test]
fn unusable_handshakes_are_answered_with_500() {
    for (body, error) in [
        (&b"hello"[..], HandshakeError::NotJson),
        (b"", HandshakeError::NotJson),
        (b"null", HandshakeError::NotJson),
        (b"[]", HandshakeError::NotJson),
        (br#"{"user":{}}"#, HandshakeError::NoSys),
        (br#"{"sys":null}"#, HandshakeError::NoSys),
        (br#"{"sys":0}"#, HandshakeError::NoSys),
    ] {
        let mut server = server(settings());
        server.handle_data(at(0), package(PackageKind::Handshake, body));
        let events = server_events(&mut server);
        let reason = CloseReason::Handshake(error);
        assert!(
            matches!(&events[..], [ServerEvent::Closed(r)] if *r == reason),
            "{events:?}"
        );
        assert_eq!(sent_by_server(&mut server), [b"\x01\0\0\x0c{\"code\":500}"]);
    }
}

#[test]
fn unusable_handshake_responses_close() {
    for (body, reason) in [
        (&b"zz"[..], CloseReason::Handshake(HandshakeError::NotJson)),
        (b"{}", CloseReason::Handshake(HandshakeError::NoCode)),
        (br#"{"code":501}"#, CloseReason::Rejected(501)),
        (
            br#"{"code":200,"sys":{"protos":{"server":{"r":7}}}}"#,
            CloseReason::Handshake(HandshakeError::Protos),
        ),
    ] {
        let mut client = client();
        client.handle_data(at(0), package(PackageKind::Handshake, body));
        let events = client_events(&mut client);
        assert!(
            matches!(&events[..], [ClientEvent::Closed(r)] if *r == reason),
            "{events:?}"
        );
    }
}

#[test]
fn a_second_handshake_is_ignored() {
    let mut server = working_server(settings());
    server.handle_data(at(1), package(PackageKind::Handshake, HELLO));
    assert!(server_events(&mut server).is_empty());
    assert!(sent_by_server(&mut server).is_empty());
    let mut client = working_client();
    client.handle_data(at(1), package(PackageKind::Handshake, br#"{"code":200}"#));
    assert!(client_events(&mut client).is_empty());
}

#[test]
fn what_comes_before_its_turn_is_ignored_or_dropped() {
    let mut server = server(settings());
    server.handle_data(at(0), package(PackageKind::HandshakeAck, b""));
    server.handle_data(at(0), package(PackageKind::Heartbeat, b""));
    server.handle_data(at(0), package(PackageKind::Data, b"\x02\x05a.b.c{}"));
    let events = server_events(&mut server);
    assert!(
        matches!(events[..], [ServerEvent::Dropped(Dropped::NotReady)]),
        "{events:?}"
    );
    assert!(sent_by_server(&mut server).is_empty());

    let mut client = client();
    client.handle_data(at(0), package(PackageKind::Heartbeat, b""));
    client.handle_data(at(0), package(PackageKind::Data, b"\x06\x01x{}"));
    let events = client_events(&mut client);
    assert!(
        matches!(events[..], [ClientEvent::Dropped(Dropped::NotReady)]),
        "{events:?}"
    );
}

#[test]
fn handshake_acknowledgement_and_data_in_one_write_are_handled_in_order() {
    let mut server = server(settings());
    let write = [
        &package(PackageKind::Handshake, HELLO)[..],
        &package(PackageKind::HandshakeAck, b""),
        &package(PackageKind::Data, b"\0\x01\x05a.b.c{}"),
    ]
    .concat();
    server.handle_data(at(0), write.into());
    assert!(matches!(
        server_events(&mut server)[..],
        [ServerEvent::Handshake(_)]
    ));
    server.accept(at(1), None);
    let events = server_events(&mut server);
    assert!(
        matches!(
            events[..],
            [ServerEvent::Ready, ServerEvent::Request { .. }]
        ),
        "{events:?}"
    );
}

#[test]
fn a_client_that_talks_on_while_the_application_decides_is_bounded() {
    let mut server = server(settings());
    server.handle_data(at(0), package(PackageKind::Handshake, HELLO));
    assert!(matches!(
        server_events(&mut server)[..],
        [ServerEvent::Handshake(_)]
    ));
    server.handle_data(at(1), package(PackageKind::Data, &[0; 65_000]));
    assert!(server_events(&mut server).is_empty());
    server.handle_data(at(1), package(PackageKind::Data, &[0; 65_000]));
    let events = server_events(&mut server);
    let reason = DecodeError::TooMuchEarlyData {
        len: 130_008,
        max: 65_536,
    };
    let reason = CloseReason::Protocol(reason);
    assert!(
        matches!(&events[..], [ServerEvent::Closed(r)] if *r == reason),
        "{events:?}"
    );
}

#[test]
fn messages_that_come_while_the_application_decides_keep_their_ends() {
    let mut server = server(settings());
    server.handle_message(at(0), package(PackageKind::Handshake, HELLO));
    assert!(matches!(
        server_events(&mut server)[..],
        [ServerEvent::Handshake(_)]
    ));
    let heartbeat = package(PackageKind::Heartbeat, b"");
    let (start, rest) = heartbeat.split_at(2);
    for part in [&package(PackageKind::HandshakeAck, b""), start, rest] {
        server.handle_message(at(1), Bytes::copy_from_slice(part));
        assert!(server_events(&mut server).is_empty());
    }
    server.accept(at(2), None);
    let events = server_events(&mut server);
    let cut = CloseReason::Protocol(DecodeError::PackageCut);
    assert!(
        matches!(&events[..], [ServerEvent::Ready, ServerEvent::Closed(r)] if *r == cut),
        "{events:?}"
    );
}

#[test]
fn many_small_messages_while_the_application_decides_are_bounded() {
    let mut server = server(settings());
    server.handle_message(at(0), package(PackageKind::Handshake, HELLO));
    server_events(&mut server);
    let closed_after = (1..65_536).find(|_| {
        server.handle_message(at(1), Bytes::from_static(&[0x03]));
        let events = server_events(&mut server);
        matches!(
            &events[..],
            [ServerEvent::Closed(CloseReason::Protocol(
                DecodeError::TooMuchEarlyData { .. }
            ))]
        )
    });
    // What holds a message counts, too, or 64 Ki of them would fit.
    let most = (64 << 10) / size_of::<Bytes>();
    assert!(
        closed_after.is_some_and(|count| count <= most),
        "{closed_after:?}"
    );
}

#[test]
fn a_handshake_has_a_deadline_on_both_sides() {
    let mut server = server(settings());
    assert_eq!(server.poll_timeout(), Some(at(10_000)));
    server.handle_data(at(9_000), package(PackageKind::Handshake, HELLO));
    server_events(&mut server);
    server.accept(at(9_000), None);
    server.handle_timeout(at(9_999));
    assert!(server_events(&mut server).is_empty());
    server.handle_timeout(at(10_000));
    let events = server_events(&mut server);
    assert!(matches!(
        events[..],
        [ServerEvent::Closed(CloseReason::HandshakeTimeout)]
    ));
    assert_eq!(server.poll_timeout(), None);

    let mut client = client();
    client.handle_timeout(at(10_000));
    let events = client_events(&mut client);
    assert!(matches!(
        events[..],
        [ClientEvent::Closed(CloseReason::HandshakeTimeout)]
    ));
}

#[test]
fn silence_closes_and_any_package_is_a_sign_of_life() {
    let mut server = working_server(settings());
    assert_eq!(server.poll_timeout(), Some(at(6_000)));
    server.handle_data(at(5_000), package(PackageKind::Data, b"\x02\x05a.b.c{}"));
    server_events(&mut server);
    server.handle_timeout(at(6_000));
    assert!(server_events(&mut server).is_empty());
    server.handle_timeout(at(11_000));
    let events = server_events(&mut server);
    assert!(matches!(
        events[..],
        [ServerEvent::Closed(CloseReason::HeartbeatTimeout)]
    ));

    let mut strict = settings();
    strict.config.strict_heartbeat = true;
    let mut server = working_server(strict);
    server.handle_data(at(5_000), package(PackageKind::Data, b"\x02\x05a.b.c{}"));
    server_events(&mut server);
    server.handle_timeout(at(6_000));
    let events = server_events(&mut server);
    assert!(matches!(
        events[..],
        [ServerEvent::Closed(CloseReason::HeartbeatTimeout)]
    ));

    let mut client = working_client();
    for beat in [3_000, 6_000] {
        assert_eq!(client.poll_timeout(), Some(at(beat)));
        client.handle_timeout(at(beat));
        assert_eq!(client.poll_transmit().unwrap().as_bytes(), b"\x03\0\0\0");
    }
    client.handle_timeout(at(6_100));
    let events = client_events(&mut client);
    assert!(matches!(
        events[..],
        [ClientEvent::Closed(CloseReason::HeartbeatTimeout)]
    ));
}

#[test]
fn a_data_package_without_a_message_closes() {
    let reason = CloseReason::Protocol(DecodeError::EmptyMessage);
    assert_eq!(closes_with(b"\x04\0\0\0"), reason);
    assert_eq!(client_closes_with(b"\x04\0\0\0"), reason);
}

#[test]
fn broken_messages_are_dropped_and_the_connection_goes_on() {
    for (message, error) in [
        (&b"\0"[..], DecodeError::MessageCut),
        (b"\0\x80", DecodeError::MessageCut),
        (b"\0\x01\x05a.b", DecodeError::MessageCut),
        (b"\x01\x01\0", DecodeError::MessageCut),
        (
            b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0",
            DecodeError::IdTooLong,
        ),
        (b"\x08", DecodeError::UnknownMessageKind(4)),
        (b"\x01\x01\x27\x0f{}", DecodeError::UnknownRouteCode(9999)),
        (b"\x03\0\0{}", DecodeError::UnknownRouteCode(0)),
    ] {
        assert_eq!(drops(message), Dropped::Malformed(error));
    }
    assert_eq!(
        drops(b"\x04\x01{}"),
        Dropped::UnexpectedKind(MessageKind::Response)
    );
    assert_eq!(
        drops(b"\x06\x05a.b.c{}"),
        Dropped::UnexpectedKind(MessageKind::Push)
    );
}

#[test]
fn a_client_drops_what_is_not_for_it() {
    for (message, dropped) in [
        (&b"\x04\x07{}"[..], Dropped::UnknownResponse(7)),
        (b"\x04\0{}", Dropped::UnknownResponse(0)),
        (
            b"\0\x01\x05a.b.c{}",
            Dropped::UnexpectedKind(MessageKind::Request),
        ),
        (
            b"\x07\xfd\xe8{}",
            Dropped::Malformed(DecodeError::UnknownRouteCode(65_000)),
        ),
    ] {
        let mut client = working_client();
        client.handle_data(at(1), package(PackageKind::Data, message));
        let events = client_events(&mut client);
        assert!(
            matches!(events[..], [ClientEvent::Dropped(d)] if d == dropped),
            "{events:?}"
        );
    }
}

#[test]
fn bodies_fail_when_they_are_read() {
    let body = |message: &[u8]| {
        let mut server = working_server(settings());
        server.handle_data(at(1), package(PackageKind::Data, message));
        match server.poll_event() {
            Some(ServerEvent::Request { body, .. }) => body,
            event => panic!("{event:?}"),
        }
    };
    let unknown_tag = body(b"\0\x01\x09area.move\x78\x01");
    assert!(matches!(
        unknown_tag.decode_or_empty::<Value>(),
        Err(BodyError::Protobuf(_))
    ));
    let other_wire_type = body(b"\0\x01\x09area.move\x0a\x05");
    assert_eq!(
        other_wire_type.decode_or_empty::<Value>().unwrap(),
        json!({"x": 5})
    );
    let no_json = body(b"\0\x01\x05a.b.czz");
    assert_eq!(no_json.decode_or_empty::<Value>().unwrap(), json!({}));
    let bad_utf8 = body(b"\0\x01\x05a.b.c\"\xff\"");
    assert_eq!(
        bad_utf8.decode_or_empty::<Value>().unwrap(),
        json!("\u{fffd}")
    );
    let flagged_but_plain = body(b"\x10\x01\x05a.b.c{\"g\":1}");
    assert_eq!(
        flagged_but_plain.decode_or_empty::<Value>().unwrap(),
        json!({"g": 1})
    );
    #[cfg(feature = "gzip")]
    {
        let damaged = body(b"\x10\x01\x05a.b.c\x78\x9cnonsense");
        assert!(matches!(
            damaged.decode_or_empty::<Value>(),
            Err(BodyError::Inflate(_))
        ));
    }
}

#[cfg(feature = "gzip")]
#[test]
fn a_body_inflates_as_far_as_it_may() {
    let mut client = Codec::default();
    client.compress_from = Some(0);
    let id = RequestId::new(1).unwrap();
    let text = json!("x".repeat(200_000));
    let request = client.request(&mut Vec::new(), id, "a.b.c", &text);
    let request = request.unwrap().into_bytes();
    assert!(request.len() < 2_000);
    let too_large = InflateError::TooLarge { max: 100_000 };
    let too_dense = InflateError::TooDense { max_ratio: 100 };
    for (max, max_ratio, expected) in [
        (1 << 20, None, Ok(())),
        (1 << 20, Some(2_000), Ok(())),
        (100_000, None, Err(too_large)),
        (1 << 20, Some(100), Err(too_dense)),
    ] {
        let mut settings = settings();
        settings.codec.max_inflated = max;
        settings.codec.max_inflate_ratio = max_ratio;
        let mut server = working_server(settings);
        server.handle_data(at(1), request.clone());
        let Some(ServerEvent::Request { mut body, .. }) = server.poll_event() else {
            panic!("no request");
        };
        match (body.decode::<Value>(), expected) {
            (Ok(read), Ok(())) => assert_eq!(read, text),
            (Err(BodyError::Inflate(error)), Err(expected)) => assert_eq!(error, expected),
            (read, expected) => panic!("{read:?}, not {expected:?}"),
        }
        let mut made = 0;
        assert_eq!(body.inflate(&mut made), expected);
        match expected {
            Ok(()) => assert_eq!(made, 200_002),
            Err(error) if error == too_large => assert_eq!(made, 100_001),
            Err(_) => assert!(made < 100_000, "{made}"),
        }
    }
}

#[test]
fn a_peer_that_does_not_read_fills_only_its_own_bounded_queue() {
    let mut bounded = settings();
    bounded.config.outbox_frames = 4;
    let codec = bounded.codec.clone();
    let mut server = working_server(bounded);
    let push = codec
        .push(&mut Vec::new(), "onChat", &json!({"m": 1}))
        .unwrap();
    let taken = (0..10)
        .filter(|_| server.send(push.clone()).is_ok())
        .count();
    assert_eq!(
        (taken, server.send(push.clone())),
        (4, Err(SendError::Full))
    );
    // Asking for heartbeats without reading them does not grow the queue either.
    for _ in 0..100 {
        server.handle_data(at(1), package(PackageKind::Heartbeat, b""));
        server_events(&mut server);
    }
    assert_eq!(sent_by_server(&mut server).len(), 4);
    assert_eq!(server.send(push.clone()), Ok(()));
    server.kick("bye");
    assert_eq!(server.send(push), Err(SendError::Closed));
    assert_eq!(
        sent_by_server(&mut server).pop().unwrap(),
        b"\x05\0\0\x10{\"reason\":\"bye\"}"
    );
}

#[test]
fn a_client_bounds_its_pending_requests() {
    let mut client = working_client();
    let max = pomelo_protocol::Config::client().max_pending;
    for _ in 0..max {
        client.request("a.b.c", &json!({})).unwrap();
        client.poll_transmit().unwrap();
    }
    assert!(matches!(
        client.request("a.b.c", &json!({})),
        Err(RequestError::TooManyPending)
    ));
    assert_eq!(client.pending(), max);
    client.handle_timeout(at(0) + Duration::from_secs(60));
    client_events(&mut client);
    assert_eq!(client.pending(), 0, "nothing is left behind after the end");
}
