//! WebSocket frames that come from a client.
//!
//! Messages are put together here, nearly every one out of a single masked frame, straight from
//! what the system gave. Control frames and whatever breaks the rules go through the library, one
//! whole frame at a time, which is why there is nothing to remember between messages: an idle
//! connection keeps nothing at all.

mod frame;
mod library;

use std::ops::ControlFlow;

use bytes::Bytes;
use pomelo_protocol::Pieces;

use self::frame::{BINARY, CONTINUATION, FINAL, Head, TEXT, unmask};
use self::library::answer;
use super::transport::Input;

/// What a connection keeps between two reads.
#[derive(Default)]
pub(crate) struct Rest {
    /// The beginning of a frame.
    partial: Pieces,
    /// The beginning of a message of several frames.
    fragments: Option<Fragments>,
    /// Nothing more is taken.
    ended: bool,
}

impl Rest {
    /// How many bytes wait for the rest of a message.
    pub(super) fn unfinished(&self) -> usize {
        let fragments = self.fragments.as_ref();
        self.partial.len() + fragments.map_or(0, |fragments| fragments.payload.len())
    }
}

/// What has come of a message of several frames.
struct Fragments {
    /// A character at the end that is not whole; `None` where it is not text.
    open: Option<Vec<u8>>,
    payload: Pieces,
}

impl Fragments {
    fn new(text: bool) -> Self {
        Self {
            open: text.then(Vec::new),
            payload: Pieces::new(),
        }
    }

    /// Adds a frame's payload; `false`: the message breaks the rules.
    fn push(&mut self, payload: &[u8], max: usize) -> bool {
        if payload.len() > max.saturating_sub(self.payload.len()) {
            return false;
        }
        self.payload.push(payload);
        let Some(open) = &mut self.open else {
            return true;
        };
        let joined;
        let text = if open.is_empty() {
            payload
        } else {
            joined = [&**open, payload].concat();
            &joined
        };
        *open = match std::str::from_utf8(text) {
            Ok(_) => Vec::new(),
            Err(error) if error.error_len().is_some() => return false,
            Err(error) => text.get(error.valid_up_to()..).unwrap_or_default().to_vec(),
        };
        true
    }

    /// The whole message, unless its last character is not whole.
    fn finish(mut self) -> Option<Bytes> {
        let whole = self.open.is_none_or(|open| open.is_empty());
        whole.then(|| self.payload.join().into())
    }
}

/// The frames of a connection.
pub(super) struct Frames<'a> {
    /// The longest message, in bytes; fragments together are no longer either.
    pub(super) max: u32,
    pub(super) rest: &'a mut Option<Box<Rest>>,
}

impl Frames<'_> {
    /// See [`Transport::next_input`](super::Transport::next_input).
    pub(super) fn next_input(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> Option<Input> {
        if self.rest.as_ref().is_some_and(|rest| rest.ended) {
            *bytes = &[];
        }
        if bytes.is_empty() {
            return None;
        }
        let input = if self.has_partial() {
            self.complete(bytes, replies)
        } else {
            self.cut(bytes, replies)
        };
        match input {
            ControlFlow::Continue(()) => None,
            ControlFlow::Break(input) => {
                if matches!(input, Input::Closed | Input::Broken) {
                    let rest = self.rest.insert(Box::default());
                    rest.ended = true;
                }
                Some(input)
            }
        }
    }

    fn has_partial(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| !rest.partial.is_empty())
    }

    fn in_fragments(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| rest.fragments.is_some())
    }

    /// Takes a frame off the front, or keeps all that there is of it.
    fn cut(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> ControlFlow<Input> {
        if let Some(head) = Head::read(bytes) {
            let len = self.check(&head)?;
            if let Some(frame) = bytes.split_off(..len) {
                let Some(mask) = head.plain() else {
                    return ControlFlow::Break(answer(&head, frame, self.max(), replies));
                };
                let mut payload = frame.get(head.len..).unwrap_or_default().to_vec();
                unmask(&mut payload, mask);
                return self.data(&head, payload.into());
            }
        }
        let rest = self.rest.get_or_insert_default();
        rest.partial.push(std::mem::take(bytes));
        ControlFlow::Continue(())
    }

    /// Adds to a frame that has begun. Room grows with what has come, not with what is claimed.
    fn complete(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> ControlFlow<Input> {
        let Some(mut rest) = self.rest.take() else {
            return ControlFlow::Continue(());
        };
        let head = loop {
            if let Some(head) = Head::read(rest.partial.front()) {
                break head;
            }
            let Some(byte) = bytes.split_off(..1) else {
                *self.rest = Some(rest);
                return ControlFlow::Continue(());
            };
            rest.partial.push(byte);
        };
        let len = self.check(&head)?;
        let missing = len.saturating_sub(rest.partial.len()).min(bytes.len());
        rest.partial
            .push(bytes.split_off(..missing).unwrap_or_default());
        if rest.partial.len() < len {
            *self.rest = Some(rest);
            return ControlFlow::Continue(());
        }
        let mut frame = rest.partial.join();
        if rest.fragments.is_some() {
            *self.rest = Some(rest);
        }
        let Some(mask) = head.plain() else {
            return ControlFlow::Break(answer(&head, &frame, self.max(), replies));
        };
        unmask(frame.get_mut(head.len..).unwrap_or_default(), mask);
        self.data(&head, Bytes::from(frame).split_off(head.len))
    }

    /// How long the frame is, head and all. What the library refuses when it knows the head is
    /// refused here, as early.
    fn check(&self, head: &Head) -> ControlFlow<Input, usize> {
        let reserved = matches!(head.first & 0x0f, 0x3..=0x7 | 0xb..=0xf);
        let max = self.max();
        match usize::try_from(head.payload) {
            Ok(payload) if payload <= max && !reserved => {
                ControlFlow::Continue(head.len.saturating_add(payload))
            }
            _ => ControlFlow::Break(Input::Broken),
        }
    }

    /// A frame of a message.
    fn data(&mut self, head: &Head, payload: Bytes) -> ControlFlow<Input> {
        ControlFlow::Break(self.message(head, payload).unwrap_or(Input::Broken))
    }

    /// `None`: the message breaks the rules.
    fn message(&mut self, head: &Head, payload: Bytes) -> Option<Input> {
        let max = self.max();
        let kind = head.first & !FINAL;
        let last = head.first & FINAL != 0;
        if (kind == CONTINUATION) != self.in_fragments() {
            return None;
        }
        if kind != CONTINUATION && last {
            let whole = kind == BINARY || std::str::from_utf8(&payload).is_ok();
            return whole.then_some(Input::Message(payload));
        }
        let rest = self.rest.get_or_insert_default();
        let fragments = rest
            .fragments
            .get_or_insert_with(|| Fragments::new(kind == TEXT));
        if !fragments.push(&payload, max) {
            return None;
        }
        if !last {
            return Some(Input::Frame);
        }
        // Between two frames there is nothing else.
        let fragments = self.rest.take()?.fragments?;
        fragments.finish().map(Input::Message)
    }

    fn max(&self) -> usize {
        usize::try_from(self.max).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tungstenite::{Error as WsError, Message};

    use super::library::{Feed, library};
    use super::*;
    use crate::connector::Transport;

    const MAX: u32 = 300;

    /// What came of a piece of the stream.
    type Step = (Vec<Input>, Vec<u8>);

    /// The library alone, for the same pieces.
    fn expected(pieces: &[&[u8]]) -> Vec<Step> {
        let mut library = library(MAX as usize);
        let mut steps = Vec::new();
        for mut bytes in pieces.iter().copied() {
            let (mut inputs, mut replies) = (Vec::new(), Vec::new());
            let end = loop {
                let mut feed = Feed {
                    bytes: &mut bytes,
                    replies: &mut replies,
                };
                match library.read(&mut feed) {
                    Ok(Message::Binary(message)) => inputs.push(Input::Message(message)),
                    Ok(Message::Text(message)) => inputs.push(Input::Message(message.into())),
                    Ok(Message::Close(_)) => {
                        drop(library.flush(&mut feed));
                        break Some(Input::Closed);
                    }
                    Ok(_) => {}
                    Err(WsError::Io(_)) => break None,
                    Err(_) => break Some(Input::Broken),
                }
            };
            let ended = end.is_some();
            inputs.extend(end);
            steps.push((inputs, replies));
            if ended {
                break;
            }
        }
        steps
    }

    fn actual(transport: &mut Transport, pieces: &[&[u8]]) -> Vec<Step> {
        let mut steps = Vec::new();
        for mut bytes in pieces.iter().copied() {
            let (mut inputs, mut replies) = (Vec::new(), Vec::new());
            while let Some(input) = transport.next_input(&mut bytes, &mut replies) {
                // The library says nothing of those.
                if input != Input::Frame {
                    inputs.push(input);
                }
            }
            assert!(bytes.is_empty());
            let ended = matches!(inputs.last(), Some(Input::Closed | Input::Broken));
            steps.push((inputs, replies));
            if ended {
                break;
            }
        }
        steps
    }

    fn keeps_nothing(transport: &Transport) -> bool {
        matches!(transport, Transport::WebSocket { rest: None, .. })
    }

    /// `long`: one more form of the length than it needs.
    fn frame(first: u8, mask: Option<[u8; 4]>, long: bool, payload: &[u8]) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![first];
        match (payload.len(), long) {
            (len @ 0..126, false) => frame.push(bit | u8::try_from(len).unwrap()),
            (len, false) | (len @ 0..126, true) => {
                frame.push(bit | 126);
                frame.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            (len, true) => {
                frame.push(bit | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(mask.unwrap_or_default().iter().take(mask.map_or(0, |_| 4)));
        let mask = mask.unwrap_or_default();
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(p, m)| p ^ m));
        frame
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => vec(any::<u8>(), 0..40),
            4 => "\\PC{0,12}".prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 120..130),
            1 => vec(any::<u8>(), 290..310),
        ]
    }

    /// Frames as clients send them, and now and then one as none should.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            12 => Just(FINAL | BINARY),
            6 => Just(FINAL | TEXT),
            // Fragments: how they begin, go on and end.
            3 => Just(0x01),
            3 => Just(0x02),
            4 => Just(0x00),
            4 => Just(0x80),
            4 => Just(0x89),
            2 => Just(0x8a),
            1 => Just(0x88),
            1 => any::<u8>(),
        ];
        let masked = prop::option::weighted(0.98, any::<[u8; 4]>());
        let frame = (first, masked, prop::bool::weighted(0.1), payload())
            .prop_map(|(first, mask, long, payload)| frame(first, mask, long, &payload));
        vec(frame, 0..12).prop_map(|frames| frames.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn however_frames_are_cut_it_is_as_with_the_library_alone(
            stream in frames(),
            noise in vec(any::<u8>(), 0..4),
            cuts in vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stream = [stream, noise].concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let mut transport = Transport::websocket(MAX);
            prop_assert_eq!(actual(&mut transport, &pieces), expected(&pieces));
        }
    }

    #[test]
    fn text_may_be_cut_inside_a_character() {
        let mask = Some([4, 3, 2, 1]);
        let whole = "aé人😀b".as_bytes();
        let cut = &whole[..whole.len() - 2];
        let wrong = [whole, b"\xff"].concat();
        for text in [whole, cut, &wrong] {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let bytes = [
                        frame(TEXT, mask, false, &text[..first]),
                        frame(0x89, mask, false, b"ping"),
                        frame(CONTINUATION, mask, false, &text[first..second]),
                        frame(FINAL | CONTINUATION, mask, false, &text[second..]),
                    ]
                    .concat();
                    let got = actual(&mut Transport::websocket(MAX), &[&bytes]);
                    assert_eq!(got, expected(&[&bytes]), "{first} {second}");
                }
            }
        }
    }

    #[test]
    fn long_messages_come_in_any_pieces() {
        let mask = Some([7, 0, 0xff, 0x80]);
        let payload: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let (begin, end) = payload.split_at(30_001);
        let one = frame(FINAL | BINARY, mask, true, &payload);
        let several = [
            frame(BINARY, mask, true, begin),
            frame(0x89, mask, false, b"ping"),
            frame(CONTINUATION, mask, true, &end[..1]),
            frame(FINAL | CONTINUATION, mask, true, &end[1..]),
        ]
        .concat();
        let message = Input::Message(payload.into());
        for stream in [one, several] {
            for len in [1, 7, 8 << 10, 65_536] {
                let mut transport = Transport::websocket(100_000);
                let pieces: Vec<&[u8]> = stream.chunks(len).collect();
                let steps = actual(&mut transport, &pieces);
                let inputs: Vec<Input> = steps.into_iter().flat_map(|step| step.0).collect();
                assert_eq!(inputs, std::slice::from_ref(&message));
                assert!(keeps_nothing(&transport));
            }
        }
    }

    #[test]
    fn between_messages_nothing_is_kept() {
        let mask = Some([1, 2, 3, 4]);
        let whole = frame(FINAL | BINARY, mask, false, b"abcdefghijklm");
        let ping = frame(0x89, mask, false, b"?");
        let fragments = [
            frame(0x02, mask, false, b"ab"),
            ping.clone(),
            frame(0x80, mask, false, b"cd"),
        ];
        for message in [vec![whole], fragments.to_vec(), vec![ping]] {
            let bytes = message.concat();
            for cut in 0..bytes.len() {
                let mut transport = Transport::websocket(MAX);
                assert!(keeps_nothing(&transport));
                let first = actual(&mut transport, &[&bytes[..cut]]);
                assert_eq!(keeps_nothing(&transport), cut == 0, "cut at {cut}");
                let second = actual(&mut transport, &[&bytes[cut..]]);
                assert!(keeps_nothing(&transport), "cut at {cut}");
                assert_eq!([first, second].concat_inputs(), expected(&[&bytes])[0].0);
            }
        }
    }

    trait ConcatInputs {
        fn concat_inputs(self) -> Vec<Input>;
    }

    impl ConcatInputs for [Vec<Step>; 2] {
        fn concat_inputs(self) -> Vec<Input> {
            let steps = self.into_iter().flatten();
            steps.flat_map(|(inputs, _)| inputs).collect()
        }
    }

    #[test]
    fn a_claim_gets_no_room() {
        let mut transport = Transport::websocket(1 << 30);
        let mut head = vec![FINAL | BINARY, 0x80 | 127];
        head.extend((1_u64 << 30).to_be_bytes());
        head.extend([0; 8]);
        assert_eq!(actual(&mut transport, &[&head]), [(vec![], vec![])]);
        let Transport::WebSocket {
            rest: Some(rest), ..
        } = transport
        else {
            panic!("the beginning is lost");
        };
        // Pieces reserve little more than they hold.
        assert_eq!(rest.partial.len(), head.len());
    }

    #[test]
    fn a_limit_that_is_raised_counts_from_then_on() {
        let mask = Some([5, 6, 7, 8]);
        let long = frame(FINAL | BINARY, mask, false, &[0; 1000]);
        let mut transport = Transport::websocket(MAX);
        let broken = actual(&mut transport, &[&long]);
        assert_eq!(broken, [(vec![Input::Broken], vec![])]);
        assert_eq!(
            actual(&mut transport, &[&long]),
            [(vec![], vec![])],
            "it has ended"
        );

        let fragments = [0x02, 0x00, 0x80].map(|first| frame(first, mask, false, &[0; 200]));
        let mut transport = Transport::websocket(MAX);
        assert_eq!(actual(&mut transport, &[&fragments[0]]), [(vec![], vec![])]);
        transport.allow(1000);
        let rest = fragments[1..].concat();
        let whole = Input::Message(vec![0; 600].into());
        assert_eq!(actual(&mut transport, &[&rest]), [(vec![whole], vec![])]);
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mask = Some([9, 8, 7, 6]);
        let close = frame(0x88, mask, false, &[0x03, 0xe8]);
        let bytes = [close, frame(FINAL | BINARY, mask, false, b"late")].concat();
        let mut transport = Transport::websocket(MAX);
        let reply = vec![0x88, 0x02, 0x03, 0xe8];
        let closed = actual(&mut transport, &[&bytes]);
        assert_eq!(closed, [(vec![Input::Closed], reply)]);
        assert_eq!(actual(&mut transport, &[&bytes]), [(vec![], vec![])]);
    }
}
