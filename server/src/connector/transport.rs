//! The two ways a package travels: raw on TCP, or in WebSocket messages.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error as WsError, Message};

/// What an idle WebSocket connection keeps for reading; the library's default is 128 KiB.
const WS_READ_BUFFER: usize = 512;

/// Room around a package in a WebSocket message, since several may come in one.
pub(crate) const MESSAGE_ROOM: usize = 64 * 1024;

/// How bytes become input of the state machine.
pub(crate) enum Transport {
    Tcp,
    WebSocket(Box<WebSocket>),
}

/// The reading half of a WebSocket.
pub(crate) struct WebSocket {
    context: WebSocketContext,
    /// What has come since the last whole frame or message.
    unfinished: usize,
}

/// Input for the state machine.
pub(crate) enum Input {
    /// Bytes of a stream.
    Chunk(Bytes),
    /// One WebSocket message.
    Message(Bytes),
    /// The peer has ended the WebSocket in an orderly way, and has its answer in the replies.
    Closed,
    /// The stream has ended.
    End,
    /// The peer breaks the rules of WebSocket.
    Broken,
}

impl Transport {
    pub(crate) fn websocket(max_message: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(WS_READ_BUFFER)
            // Only replies to ping and close go through it, and those at once.
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        Self::WebSocket(Box::new(WebSocket {
            context: WebSocketContext::from_partially_read(Vec::new(), Role::Server, Some(config)),
            unfinished: 0,
        }))
    }

    /// The handshake is finished: from now on messages may hold the longest package.
    pub(crate) fn allow(&mut self, max_package: u32) {
        if let Self::WebSocket(socket) = self {
            let max_package = usize::try_from(max_package).unwrap_or(usize::MAX);
            let max = Some(max_package.saturating_add(MESSAGE_ROOM));
            socket.context.set_config(|config| {
                config.max_message_size = max;
                config.max_frame_size = max;
            });
        }
    }

    /// How many bytes wait for the rest of a WebSocket message.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::WebSocket(socket) => socket.unfinished,
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
            Self::WebSocket(socket) => {
                let WebSocket {
                    context,
                    unfinished,
                } = &mut **socket;
                loop {
                    let before = bytes.len();
                    let mut feed = Feed { bytes, replies };
                    let read = context.read(&mut feed);
                    match &read {
                        Ok(_) => *unfinished = 0,
                        Err(_) => *unfinished += before - bytes.len(),
                    }
                    match read {
                        Ok(Message::Binary(message)) => break Some(Input::Message(message)),
                        Ok(Message::Text(message)) => break Some(Input::Message(message.into())),
                        // Answered by the library, and no sign of life as pomelo counts it.
                        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                        Ok(Message::Close(_)) => {
                            // The library's close reply leaves with the next flush.
                            let mut feed = Feed { bytes, replies };
                            drop(context.flush(&mut feed));
                            break Some(Input::Closed);
                        }
                        Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                            break None;
                        }
                        Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                            break Some(Input::End);
                        }
                        Err(_) => break Some(Input::Broken),
                    }
                }
            }
        }
    }
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
