//! The two ways a package travels: raw on TCP, or in WebSocket messages.

use bytes::Bytes;

use super::websocket::{Frames, Rest};

/// Room around a package in a WebSocket message, since several may come in one.
pub(crate) const MESSAGE_ROOM: u32 = 64 * 1024;

/// How bytes become input of the state machine.
pub(crate) enum Transport {
    Tcp,
    WebSocket {
        /// The longest message, in bytes.
        max: u32,
        /// What is not finished; hardly ever anything, so it costs a pointer.
        rest: Option<Box<Rest>>,
    },
}

/// Input for the state machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes of a stream.
    Chunk(Bytes),
    /// One WebSocket message.
    Message(Bytes),
    /// A WebSocket frame that ends no message, which is only to be counted.
    Frame,
    /// The peer has ended the WebSocket in an orderly way, and has its answer in the replies.
    Closed,
    /// The peer breaks the rules of WebSocket.
    Broken,
}

impl Transport {
    /// Messages may have `max` bytes.
    pub(crate) fn websocket(max: u32) -> Self {
        Self::WebSocket { max, rest: None }
    }

    /// The handshake is finished: from now on messages may hold the longest package.
    pub(crate) fn allow(&mut self, max_package: u32) {
        if let Self::WebSocket { max, .. } = self {
            *max = max_package.saturating_add(MESSAGE_ROOM);
        }
    }

    /// Nothing more will be read.
    pub(crate) fn discard(&mut self) {
        if let Self::WebSocket { rest, .. } = self {
            *rest = None;
        }
    }

    /// How many bytes wait for the rest of a WebSocket message.
    pub(crate) fn unfinished(&self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::WebSocket { rest, .. } => rest.as_ref().map_or(0, |rest| rest.unfinished()),
        }
    }

    /// The next input out of `bytes`; bytes are taken off its front. `None`: all are taken.
    /// `replies` gets what the transport itself has to answer.
    pub(crate) fn next_input(&mut self, bytes: &mut &[u8], replies: &mut Vec<u8>) -> Option<Input> {
        match self {
            Self::Tcp => {
                let chunk = std::mem::take(bytes);
                (!chunk.is_empty()).then(|| Input::Chunk(Bytes::copy_from_slice(chunk)))
            }
            Self::WebSocket { max, rest } => Frames { max: *max, rest }.next_input(bytes, replies),
        }
    }
}
