//! WebSocket frames that come from a client.
//!
//! Nearly every message is one masked frame, which is read here, straight from what the system
//! gave. Anything rarer goes through the library, one whole frame at a time, which is why it has
//! nothing to remember but a message in the middle of its fragments: an idle connection keeps
//! nothing at all.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use bytes::Bytes;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error as WsError, Message};

use super::transport::Input;

/// For one frame; what is longer gets as much as it needs. The library's default is 128 KiB.
const READ_BUFFER: usize = 512;

/// First bytes of frames: the last (and only) one of a message, nothing reserved.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// What a connection keeps between two reads.
#[derive(Default)]
pub(crate) struct Rest {
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// In the middle of a message of several frames.
    library: Option<Box<WebSocketContext>>,
    /// How many bytes its fragments have.
    fragments: usize,
    /// Nothing more is taken.
    ended: bool,
}

impl Rest {
    /// How many bytes wait for the rest of a message.
    pub(super) fn unfinished(&self) -> usize {
        self.partial.len() + self.fragments
    }
}

/// The frames of a connection.
pub(super) struct Frames<'a> {
    /// The longest message, in bytes; fragments together are no longer either.
    pub(super) max: u32,
    pub(super) rest: &'a mut Option<Box<Rest>>,
}

impl Frames<'_> {
    /// The limit has changed.
    pub(super) fn allow(&mut self) {
        let max = self.max();
        if let Some(library) = self.rest.as_mut().and_then(|rest| rest.library.as_mut()) {
            library.set_config(|config| {
                config.max_message_size = Some(max);
                config.max_frame_size = Some(max);
            });
        }
    }

    /// See [`Transport::next_input`](super::Transport::next_input).
    pub(super) fn next_input(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> Option<Input> {
        if self.rest.as_ref().is_some_and(|rest| rest.ended) {
            *bytes = &[];
        }
        while !bytes.is_empty() {
            let input = if self.has_partial() {
                self.complete(bytes, replies)
            } else {
                self.cut(bytes, replies)
            };
            match input {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Input::Message(message)) => {
                    return Some(Input::Message(message));
                }
                ControlFlow::Break(end) => {
                    self.rest.get_or_insert_default().ended = true;
                    return Some(end);
                }
            }
        }
        None
    }

    fn has_partial(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| !rest.partial.is_empty())
    }

    /// Takes a frame off the front, or keeps what there is of it.
    fn cut(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> ControlFlow<Input> {
        if let Some(head) = Head::read(bytes) {
            let len = self.check(&head)?;
            if let Some(frame) = bytes.split_off(..len) {
                return match head.plain(self.in_fragments()) {
                    Some(mask) => {
                        let mut payload = frame.get(head.len..).unwrap_or_default().to_vec();
                        unmask(&mut payload, mask);
                        message(&head, payload.into())
                    }
                    None => self.through_library(&head, frame, replies),
                };
            }
        }
        self.rest.get_or_insert_default().partial = std::mem::take(bytes).to_vec();
        ControlFlow::Continue(())
    }

    /// Adds to a frame that has begun. Room grows with what has come, not with what is claimed.
    fn complete(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> ControlFlow<Input> {
        let mut partial = match self.rest {
            Some(rest) => std::mem::take(&mut rest.partial),
            None => Vec::new(),
        };
        let head = loop {
            if let Some(head) = Head::read(&partial) {
                break Some(head);
            }
            match bytes.split_off_first() {
                Some(byte) => partial.push(*byte),
                None => break None,
            }
        };
        if let Some(head) = head {
            let len = self.check(&head)?;
            let missing = len.saturating_sub(partial.len()).min(bytes.len());
            partial.extend_from_slice(bytes.split_off(..missing).unwrap_or_default());
            if partial.len() >= len {
                return match head.plain(self.in_fragments()) {
                    Some(mask) => {
                        self.forget_unless_in_fragments();
                        unmask(partial.get_mut(head.len..).unwrap_or_default(), mask);
                        message(&head, Bytes::from(partial).split_off(head.len))
                    }
                    None => self.through_library(&head, &partial, replies),
                };
            }
        }
        self.rest.get_or_insert_default().partial = partial;
        ControlFlow::Continue(())
    }

    /// How long the frame is, head and all. What the library refuses when it knows the head is
    /// refused here, as early.
    fn check(&self, head: &Head) -> ControlFlow<Input, usize> {
        let reserved = matches!(head.first & 0x0f, 0x3..=0x7 | 0xb..=0xf);
        match usize::try_from(head.payload) {
            Ok(payload) if payload <= self.max() && !reserved => {
                ControlFlow::Continue(head.len.saturating_add(payload))
            }
            _ => ControlFlow::Break(Input::Broken),
        }
    }

    /// One whole frame.
    fn through_library(
        &mut self,
        head: &Head,
        mut frame: &[u8],
        replies: &mut Vec<u8>,
    ) -> ControlFlow<Input> {
        let len = if head.is_control() { 0 } else { frame.len() };
        let kept = self.rest.as_mut().and_then(|rest| rest.library.take());
        let stays = kept.is_some() || !head.is_control();
        let max = self.max();
        let mut library = kept.unwrap_or_else(|| library(max));
        loop {
            let mut feed = Feed {
                bytes: &mut frame,
                replies: &mut *replies,
            };
            match library.read(&mut feed) {
                Ok(Message::Binary(message)) => {
                    self.forget_unless_in_fragments();
                    return ControlFlow::Break(Input::Message(message));
                }
                Ok(Message::Text(message)) => {
                    self.forget_unless_in_fragments();
                    return ControlFlow::Break(Input::Message(message.into()));
                }
                // Answered by the library, and no sign of life as pomelo counts it.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) => {
                    // The library's close reply leaves with the next flush.
                    drop(library.flush(&mut feed));
                    return ControlFlow::Break(Input::Closed);
                }
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stays {
                        let rest = self.rest.get_or_insert_default();
                        rest.library = Some(library);
                        rest.fragments += len;
                    } else {
                        self.forget_unless_in_fragments();
                    }
                    return ControlFlow::Continue(());
                }
                Err(_) => return ControlFlow::Break(Input::Broken),
            }
        }
    }

    fn in_fragments(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| rest.library.is_some())
    }

    /// A frame is finished, and so nothing is kept unless it is one of several.
    fn forget_unless_in_fragments(&mut self) {
        if !self.in_fragments() {
            *self.rest = None;
        }
    }

    fn max(&self) -> usize {
        usize::try_from(self.max).unwrap_or(usize::MAX)
    }
}

/// What stands before a frame's payload.
struct Head {
    /// Whether the frame is the last of its message, reserved bits, what it is.
    first: u8,
    mask: Option<[u8; 4]>,
    /// The length of the head itself.
    len: usize,
    /// The length of the payload.
    payload: u64,
}

impl Head {
    /// `None`: there is more to come.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload, rest) = match second & 0x7f {
            126 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*len), rest)
            }
            short => (u64::from(short), rest),
        };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        Some(Self {
            first,
            mask,
            len: bytes.len() - rest.len(),
            payload,
        })
    }

    /// The mask of a frame that is a whole message.
    fn plain(&self, in_fragments: bool) -> Option<[u8; 4]> {
        self.mask
            .filter(|_| matches!(self.first, TEXT | BINARY) && !in_fragments)
    }

    fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }
}

fn message(head: &Head, payload: Bytes) -> ControlFlow<Input> {
    if head.first == TEXT && std::str::from_utf8(&payload).is_err() {
        return ControlFlow::Break(Input::Broken);
    }
    ControlFlow::Break(Input::Message(payload))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let long = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ long).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn library(max_message: usize) -> Box<WebSocketContext> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Only replies to ping and close go through it, and those at once.
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    Box::new(WebSocketContext::new(Role::Server, Some(config)))
}

/// A socket in memory: reads what has come, keeps what is to go.
struct Feed<'a, 'b> {
    bytes: &'a mut &'b [u8],
    replies: &'a mut Vec<u8>,
}

impl Read for Feed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.read(buffer)
    }
}

impl Write for Feed<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

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
                inputs.push(input);
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
            12 => Just(BINARY),
            6 => Just(TEXT),
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
    fn between_messages_nothing_is_kept() {
        let mask = Some([1, 2, 3, 4]);
        let whole = frame(BINARY, mask, false, b"abcdefghijklm");
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
        let mut head = vec![BINARY, 0x80 | 127];
        head.extend((1_u64 << 30).to_be_bytes());
        head.extend([0; 8]);
        assert_eq!(actual(&mut transport, &[&head]), [(vec![], vec![])]);
        let Transport::WebSocket {
            rest: Some(rest), ..
        } = transport
        else {
            panic!("the beginning is lost");
        };
        assert!(rest.partial.capacity() < 100);
    }

    #[test]
    fn a_limit_that_is_raised_counts_from_then_on() {
        let mask = Some([5, 6, 7, 8]);
        let long = frame(BINARY, mask, false, &[0; 1000]);
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
        let bytes = [close, frame(BINARY, mask, false, b"late")].concat();
        let mut transport = Transport::websocket(MAX);
        let reply = vec![0x88, 0x02, 0x03, 0xe8];
        let closed = actual(&mut transport, &[&bytes]);
        assert_eq!(closed, [(vec![Input::Closed], reply)]);
        assert_eq!(actual(&mut transport, &[&bytes]), [(vec![], vec![])]);
    }
}
