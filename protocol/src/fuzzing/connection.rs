//! Both machines on a virtual wire, driven by whatever the input says.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::Input;
use crate::body::Body;
use crate::codec::Codec;
use crate::connection::{
    ClientConnection, ClientEvent, Config, RequestError, SendError, ServerConnection, ServerEvent,
    ServerSettings,
};
use crate::dictionary::Dictionary;
use crate::error::{CloseReason, Dropped};
use crate::handshake::{HandshakeRequest, Offer, ProtosOffer, Tables};
use crate::message::{RequestId, Route};
use crate::package::Frame;
use crate::protobuf::Protos;
use crate::time::Instant;

/// Coded and by schema, coded, by schema, and neither.
const ROUTES: [&str; 4] = ["a.b.both", "a.b.coded", "a.b.schema", "a.b.plain"];
const SCHEMA: &str = r#"{
    "a.b.both":{"required uInt32 n":1,"optional string pad":2},
    "a.b.schema":{"required uInt32 n":1,"optional string pad":2}}"#;
const KICK: &str = "fuzzed out";

/// More operations than this tell nothing new and cost time.
const MAX_OPS: usize = 400;
const MAX_PENDING: usize = 12;
/// The handshake, its acknowledgement, the first heartbeat and the kick are sent regardless.
const CONTROL_FRAMES: usize = 4;

/// `options(1) operations`: events are told once and in order, nothing outlives the end, bounds
/// hold, and on a wire that nobody disturbed nothing is lost.
pub fn connection_ops(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte().unwrap_or(0);
    let mut world = World::new(options);
    world.drain();
    for _ in 0..MAX_OPS {
        let Some(op) = input.byte() else {
            break;
        };
        world.step(op, &mut input);
        world.drain();
    }
    world.finish();
}

struct World {
    now: Instant,
    /// The transport keeps message boundaries, as WebSocket does.
    messages: bool,
    settings: Arc<ServerSettings>,
    server: ServerConnection,
    client: ClientConnection,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    /// Something other than the machines wrote to the wire, or ended it.
    disturbed: bool,
    /// The application was asked and has not answered.
    deciding: bool,
    /// The client was let in.
    ready: bool,
    server_end: Option<CloseReason>,
    client_end: Option<CloseReason>,
    kicked: Option<Option<String>>,
    /// The server's kick went out, so that an undisturbed client must hear of it.
    kick_sent: bool,
    /// Pending at the client.
    asked: HashMap<RequestId, &'static str>,
    /// What the client sent and the server has not taken, in order.
    sent_up: VecDeque<(Option<RequestId>, &'static str, u32)>,
    /// Taken by the server, not answered.
    open: VecDeque<(RequestId, Route, u32)>,
    /// Pushes on their way.
    pushed: VecDeque<(&'static str, u32)>,
    count: u32,
}

impl World {
    fn new(options: u8) -> Self {
        let on = |bit: u8| options & (1 << bit) != 0;
        let dictionary = on(1)
            .then(|| Dictionary::build(["a.b.both"], ["a.b.coded"]).expect("two short routes"));
        let protos = if on(2) {
            Protos::parse_str(SCHEMA).expect("a fixed schema")
        } else {
            Protos::default()
        };
        let config = Config {
            max_handshake: 4096,
            max_package: 2048,
            strict_heartbeat: on(4),
            max_pending: MAX_PENDING,
            outbox_frames: if on(5) { 3 } else { 64 },
            outbox_bytes: if on(6) { 200 } else { 1 << 14 },
            ..Config::default()
        };
        let settings = Arc::new(ServerSettings {
            config: config.clone(),
            offer: Offer {
                heartbeat: on(3).then_some(Duration::from_secs(3)),
                dictionary: dictionary.clone(),
                protos: on(2).then(|| ProtosOffer::dialect(protos.clone(), protos.clone())),
            },
            codec: Codec {
                dictionary,
                incoming: protos.clone(),
                outgoing: protos,
                compress_from: on(7).then_some(16),
                ..Codec::default()
            },
            ..ServerSettings::default()
        });
        let now = Instant::default();
        let hello = HandshakeRequest::new("fuzz", "1.0.0");
        Self {
            now,
            messages: on(0),
            server: ServerConnection::new(now, Arc::clone(&settings)),
            client: ClientConnection::new(now, config, hello, Tables::default()),
            settings,
            up: VecDeque::new(),
            down: VecDeque::new(),
            disturbed: false,
            deciding: false,
            ready: false,
            server_end: None,
            client_end: None,
            kicked: None,
            kick_sent: false,
            asked: HashMap::new(),
            sent_up: VecDeque::new(),
            open: VecDeque::new(),
            pushed: VecDeque::new(),
            count: 0,
        }
    }

    fn step(&mut self, op: u8, input: &mut Input<'_>) {
        let mut arg = || input.byte().unwrap_or(0);
        match op % 18 {
            0 => self.transmit_client(),
            1 => self.transmit_server(),
            2 => self.deliver_up(arg().into()),
            3 => self.deliver_down(arg().into()),
            4 => self.answer_handshake(arg()),
            5 | 6 => self.message_up(true, arg()),
            7 => self.message_up(false, arg()),
            8 => self.forget(arg()),
            9 => self.push(arg()),
            10 => self.respond(arg()),
            11 => self.now = self.now + Duration::from_millis(u64::from(arg()) * 20),
            12 => self.time_out(arg() % 2 == 1),
            13 => {
                let garbage = Bytes::copy_from_slice(input.take(usize::from(op / 18) * 2 + 1));
                self.disturbed = true;
                self.up.push_back(garbage);
            }
            14 => {
                let garbage = Bytes::copy_from_slice(input.take(usize::from(op / 18) * 2 + 1));
                self.disturbed = true;
                self.down.push_back(garbage);
            }
            15 => {
                self.kick_sent |= self.server.is_working();
                self.server.kick(KICK);
            }
            16 => {
                self.disturbed = true;
                let arg = arg();
                let reason = match arg & 3 {
                    0 => CloseReason::Local,
                    1 => CloseReason::Transport,
                    2 => CloseReason::OutboxFull,
                    _ => CloseReason::Peer,
                };
                if arg & 4 == 0 {
                    self.server.close(reason);
                } else {
                    self.client.close(reason);
                }
            }
            _ => {
                self.disturbed = true;
                if arg() % 2 == 0 {
                    self.server.handle_eof(self.now);
                } else {
                    self.client.handle_eof(self.now);
                }
            }
        }
    }

    /// Takes all there is from both sides, as the rule for drivers says.
    fn drain(&mut self) {
        while let Some(event) = self.server.poll_event() {
            self.server_event(event);
        }
        while let Some(event) = self.client.poll_event() {
            self.client_event(event);
        }
        assert_eq!(self.client.pending(), self.asked.len());
        assert!(self.asked.len() <= MAX_PENDING);
        assert!(self.server_end.is_none() || self.server.poll_timeout().is_none());
        assert!(self.client_end.is_none() || self.client.poll_timeout().is_none());
        assert!(self.server_end.is_none() || !self.server.is_working());
    }

    fn server_event(&mut self, event: ServerEvent) {
        assert_eq!(self.server_end, None, "{event:?} after the end");
        match event {
            ServerEvent::Handshake(_) => {
                assert!(!self.deciding);
                self.deciding = true;
            }
            ServerEvent::Ready => assert!(self.server.is_working()),
            ServerEvent::Request { id, route, body } => {
                let n = self.took_up(Some(id), &route, &body);
                self.open.push_back((id, route, n));
            }
            ServerEvent::Notify { route, body } => {
                self.took_up(None, &route, &body);
            }
            ServerEvent::Raw(_) => panic!("raw messages were not asked for"),
            ServerEvent::Dropped(dropped) => assert!(self.disturbed, "{dropped}"),
            ServerEvent::Closed(reason) => {
                self.deciding = false;
                self.check_end(&reason);
                self.server_end = Some(reason);
            }
        }
    }

    fn took_up(&mut self, id: Option<RequestId>, route: &Route, body: &Body) -> u32 {
        let n = number(body);
        if self.disturbed {
            return n.unwrap_or(0);
        }
        let n = n.expect("the body says its number");
        let sent = self.sent_up.pop_front();
        assert_eq!(
            sent.map(|(id, route, n)| (id, route.to_owned(), n)),
            Some((id, route.to_string(), n))
        );
        n
    }

    fn client_event(&mut self, event: ClientEvent) {
        assert_eq!(self.client_end, None, "{event:?} after the end");
        assert!(self.kicked.is_none() || matches!(event, ClientEvent::Closed(_)));
        match event {
            ClientEvent::Ready { .. } => {
                assert!(!self.ready);
                self.ready = true;
            }
            ClientEvent::Response {
                id, route, body, ..
            } => {
                let asked = self.asked.remove(&id);
                assert_eq!(asked, Some(route.as_str()), "answered unasked or twice");
                assert!(self.disturbed || number(&body).is_some());
            }
            ClientEvent::Push { route, body } => {
                if !self.disturbed {
                    let pushed = self.pushed.pop_front();
                    let pushed = pushed.map(|(route, n)| (route.to_owned(), Some(n)));
                    assert_eq!(pushed, Some((route.to_string(), number(&body))));
                }
            }
            ClientEvent::Raw(_) => panic!("raw messages were not asked for"),
            ClientEvent::PackedHandshake(_) => panic!("the application does not inflate"),
            ClientEvent::Kicked(reason) => self.kicked = Some(reason),
            // Forgotten requests are answered all the same.
            ClientEvent::Dropped(Dropped::UnknownResponse(_)) => {}
            ClientEvent::Dropped(dropped) => assert!(self.disturbed, "{dropped}"),
            ClientEvent::Closed(reason) => {
                self.check_end(&reason);
                let by_kick = matches!(reason, CloseReason::Kicked(_));
                assert_eq!(self.kicked.is_some(), by_kick);
                assert_eq!(self.client.pending(), 0);
                self.asked.clear();
                self.client_end = Some(reason);
            }
        }
    }

    fn check_end(&self, reason: &CloseReason) {
        if !self.disturbed {
            assert!(
                matches!(
                    reason,
                    CloseReason::HeartbeatTimeout
                        | CloseReason::HandshakeTimeout
                        | CloseReason::Rejected(_)
                        | CloseReason::Kicked(_)
                ),
                "{reason} on an undisturbed wire"
            );
        }
    }

    fn transmit_client(&mut self) {
        let mut taken = 0;
        while let Some(frame) = self.client.poll_transmit() {
            taken += 1;
            self.up.push_back(Bytes::copy_from_slice(frame.as_bytes()));
        }
        // What waited for the handshake has been let in before and is not bounded again.
        let config = &self.settings.config;
        assert!(taken <= config.outbox_frames + MAX_PENDING + CONTROL_FRAMES);
    }

    fn transmit_server(&mut self) {
        let (mut taken, mut bytes, mut longest) = (0, 0, 0);
        while let Some(frame) = self.server.poll_transmit() {
            taken += 1;
            bytes += frame.len();
            longest = longest.max(frame.len());
            self.down
                .push_back(Bytes::copy_from_slice(frame.as_bytes()));
        }
        let config = &self.settings.config;
        assert!(taken <= config.outbox_frames + CONTROL_FRAMES);
        assert!(bytes <= config.outbox_bytes + CONTROL_FRAMES * longest);
    }

    fn deliver_up(&mut self, len: usize) {
        let (messages, now) = (self.messages, self.now);
        if let Some(bytes) = cut(&mut self.up, messages, len) {
            if messages {
                self.server.handle_message(now, bytes);
            } else {
                let mut rest = &*bytes;
                if len % 2 == 1 {
                    self.server.handle_rest(now, &mut rest);
                }
                self.server.handle_data(now, Bytes::copy_from_slice(rest));
            }
        }
    }

    fn deliver_down(&mut self, len: usize) {
        let (messages, now) = (self.messages, self.now);
        if let Some(bytes) = cut(&mut self.down, messages, len) {
            if messages {
                self.client.handle_message(now, bytes);
            } else {
                self.client.handle_data(now, bytes);
            }
        }
    }

    fn answer_handshake(&mut self, arg: u8) {
        self.deciding = false;
        if arg == 0xff {
            self.server.reject(self.now, 500);
        } else {
            let user = (arg > 0x80).then(|| json!({"arg": arg}));
            self.server.accept(self.now, user.as_ref());
        }
    }

    fn next_body(&mut self, arg: u8) -> (&'static str, Value, u32) {
        self.count += 1;
        let [first, second, third, fourth] = ROUTES;
        let route = match arg & 3 {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        };
        let body = if arg & 4 == 0 {
            json!({"n": self.count})
        } else {
            json!({"n": self.count, "pad": "p".repeat(usize::from(arg >> 2))})
        };
        (route, body, self.count)
    }

    fn message_up(&mut self, request: bool, arg: u8) {
        let (route, body, n) = self.next_body(arg);
        let before = self.client.pending();
        let sent = if request {
            self.client.request(route, &body).map(Some)
        } else {
            self.client.notify(route, &body).map(|()| None)
        };
        match sent {
            Ok(id) => {
                assert_eq!(self.client_end, None, "sent after the end");
                self.sent_up.push_back((id, route, n));
                if let Some(id) = id {
                    assert_eq!(self.asked.insert(id, route), None, "an id of two requests");
                }
            }
            Err(error) => {
                assert_eq!(self.client.pending(), before);
                match error {
                    RequestError::Send(SendError::Closed) => assert!(self.client_end.is_some()),
                    RequestError::Send(SendError::Full) => {
                        self.transmit_client();
                        let waiting = if self.ready {
                            !self.up.is_empty()
                        } else {
                            // Bounded apart until the handshake is answered.
                            !self.sent_up.is_empty()
                        };
                        assert!(waiting, "full of nothing");
                    }
                    RequestError::TooManyPending => {}
                    other => panic!("{other}"),
                }
            }
        }
    }

    fn forget(&mut self, arg: u8) {
        let mut ids: Vec<_> = self.asked.keys().copied().collect();
        ids.sort();
        if let Some(&id) = ids.get(usize::from(arg) % ids.len().max(1)) {
            self.asked.remove(&id);
            self.client.forget(id);
            // What waits for the handshake is taken back; what was sent arrives all the same.
            if !self.ready {
                self.sent_up.retain(|sent| sent.0 != Some(id));
            }
        }
    }

    fn send(&mut self, frame: Frame) -> bool {
        let working = self.server.is_working();
        match self.server.send(frame) {
            Ok(()) => {
                assert!(working);
                true
            }
            Err(SendError::Closed) => {
                assert!(self.server_end.is_some());
                false
            }
            Err(SendError::NotReady) => {
                assert!(!working);
                false
            }
            Err(SendError::Full) => {
                let before = self.down.len();
                self.transmit_server();
                assert!(self.down.len() > before, "full of nothing");
                false
            }
        }
    }

    fn push(&mut self, arg: u8) {
        let (route, body, n) = self.next_body(arg);
        let codec = &self.settings.codec;
        let frame = codec.push(&mut Vec::new(), route, &body).expect("it fits");
        if self.send(frame) {
            self.pushed.push_back((route, n));
        }
    }

    fn respond(&mut self, arg: u8) {
        let index = usize::from(arg) % self.open.len().max(1);
        let Some((id, route, n)) = self.open.remove(index) else {
            return;
        };
        let codec = &self.settings.codec;
        let frame = codec
            .response(&mut Vec::new(), id, &route, &json!({"n": n}))
            .expect("it fits");
        if !self.send(frame) {
            self.open.push_back((id, route, n));
        } else if arg >= 0xf0 {
            // Answered twice: the second one must not count.
            self.open.push_back((id, route, n));
        }
    }

    /// What a driver does when its timer rings, or rings late.
    fn time_out(&mut self, jump: bool) {
        if jump {
            let deadlines = [self.server.poll_timeout(), self.client.poll_timeout()];
            if let Some(next) = deadlines.into_iter().flatten().min() {
                self.now = self.now.max(next);
            }
        }
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        self.drain();
        // Otherwise a driver would spin.
        assert!(
            self.server
                .poll_timeout()
                .is_none_or(|next| next > self.now)
        );
        assert!(
            self.client
                .poll_timeout()
                .is_none_or(|next| next > self.now)
        );
    }

    /// Lets everything that is on its way arrive, without time passing.
    fn finish(&mut self) {
        let mut quiet = false;
        while !quiet {
            if self.deciding {
                self.answer_handshake(0);
                self.drain();
            }
            self.transmit_client();
            self.transmit_server();
            quiet = self.up.is_empty() && self.down.is_empty();
            while !self.up.is_empty() {
                self.deliver_up(0);
                self.drain();
                // Room for the heartbeats and answers that come of it.
                self.transmit_server();
            }
            while !self.down.is_empty() {
                self.deliver_down(0);
                self.drain();
            }
            for _ in 0..self.open.len() {
                self.respond(0);
                self.transmit_server();
                quiet = false;
            }
            quiet &= !self.deciding;
            if self.server_end.is_some() {
                self.open.clear();
            }
        }
        if self.disturbed {
            return;
        }
        match (&self.server_end, &self.client_end) {
            (None, None) => {
                assert!(self.server.is_working());
                assert!(self.asked.is_empty(), "requests without answer");
                assert!(self.sent_up.is_empty(), "lost on the way to the server");
                assert!(self.pushed.is_empty(), "lost on the way to the client");
            }
            (Some(CloseReason::Kicked(reason)), Some(end)) if self.kick_sent => {
                assert_eq!(reason.as_deref(), Some(KICK));
                if matches!(end, CloseReason::Kicked(_)) {
                    assert_eq!(self.kicked, Some(Some(KICK.to_owned())));
                    assert!(self.pushed.is_empty(), "lost before the kick");
                }
            }
            (Some(CloseReason::Kicked(_)), None) => assert!(!self.kick_sent, "kick was lost"),
            _ => {}
        }
    }
}

/// The next bytes off the wire: one message, or so many bytes of the stream (0: all).
fn cut(wire: &mut VecDeque<Bytes>, messages: bool, len: usize) -> Option<Bytes> {
    let mut front = wire.pop_front()?;
    if messages {
        return Some(front);
    }
    let mut stream = BytesMut::new();
    loop {
        let missing = if len == 0 {
            front.len()
        } else {
            len - stream.len()
        };
        let taken = front.split_to(missing.min(front.len()));
        stream.extend_from_slice(&taken);
        if !front.is_empty() {
            wire.push_front(front);
            break;
        }
        if stream.len() == len {
            break;
        }
        match wire.pop_front() {
            Some(next) => front = next,
            None => break,
        }
    }
    Some(stream.freeze())
}

fn number(body: &Body) -> Option<u32> {
    let value: Value = body.decode().ok()?;
    value.get("n")?.as_u64()?.try_into().ok()
}
