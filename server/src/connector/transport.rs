//! The two ways a package travels: raw on TCP, or in WebSocket messages.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};

use bytes::Bytes;
use pomelo_protocol::Frame;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error as WsError, Message};

use super::socket::Socket;

/// What an idle WebSocket connection keeps for reading; the library's default is 128 KiB.
const WS_READ_BUFFER: usize = 512;

/// Frames in one system call; the usual limit of the system is 1024, the gain is flat long before.
const MAX_SLICES: usize = 32;

/// WebSocket close with code 1000 and no reason, as pomelo sends it.
const WS_CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe8];

/// Room around a package in a WebSocket message, since several may come in one.
pub(crate) const MESSAGE_ROOM: usize = 64 * 1024;

/// How bytes become input of the state machine.
pub(crate) enum Transport {
    Tcp,
    WebSocket(Box<WebSocketContext>),
}

/// Input for the state machine.
pub(crate) enum Input {
    /// Bytes of a stream.
    Chunk(Bytes),
    /// One WebSocket message.
    Message(Bytes),
    /// The peer has ended the connection in an orderly way.
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
        Self::WebSocket(Box::new(WebSocketContext::from_partially_read(
            Vec::new(),
            Role::Server,
            Some(config),
        )))
    }

    /// The handshake is finished: from now on messages may hold the longest package.
    pub(crate) fn allow(&mut self, max_package: u32) {
        if let Self::WebSocket(context) = self {
            let max_package = usize::try_from(max_package).unwrap_or(usize::MAX);
            let max = Some(max_package.saturating_add(MESSAGE_ROOM));
            context.set_config(|config| {
                config.max_message_size = max;
                config.max_frame_size = max;
            });
        }
    }

    /// The next input out of `bytes`; bytes are taken off its front. `None`: all are taken.
    pub(crate) fn next_input(&mut self, bytes: &mut &[u8], out: &mut Outgoing) -> Option<Input> {
        match self {
            Self::Tcp => {
                let chunk = std::mem::take(bytes);
                (!chunk.is_empty()).then(|| Input::Chunk(Bytes::copy_from_slice(chunk)))
            }
            Self::WebSocket(context) => {
                let mut replies = Vec::new();
                let input = loop {
                    let mut feed = Feed {
                        bytes,
                        replies: &mut replies,
                    };
                    match context.read(&mut feed) {
                        Ok(Message::Binary(message)) => break Some(Input::Message(message)),
                        Ok(Message::Text(message)) => break Some(Input::Message(message.into())),
                        // Answered by the library, and no sign of life as pomelo counts it.
                        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                        Ok(Message::Close(_)) => {
                            // The library's close reply leaves with the next flush.
                            let mut feed = Feed {
                                bytes,
                                replies: &mut replies,
                            };
                            drop(context.flush(&mut feed));
                            out.closed_by_peer = true;
                            break Some(Input::End);
                        }
                        Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                            break None;
                        }
                        Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                            break Some(Input::End);
                        }
                        Err(_) => break Some(Input::Broken),
                    }
                };
                out.push_raw(replies);
                input
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

/// What waits for the socket, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queue: VecDeque<Item>,
    /// How much of the first item is written.
    written: usize,
    bytes: usize,
    websocket: bool,
    closed_by_peer: bool,
    /// Where in the queue the frames begin that share one WebSocket message.
    batch: Option<usize>,
}

#[derive(Debug)]
enum Item {
    Frame(Frame),
    /// A package without its WebSocket head, in a message with others.
    Package(Frame),
    Raw(Vec<u8>),
}

impl Outgoing {
    pub(crate) fn set_websocket(&mut self) {
        self.websocket = true;
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += self.wire_of(&frame).len();
        self.queue.push_back(Item::Frame(frame));
    }

    /// What is pushed from now on shares one WebSocket message.
    pub(crate) fn begin_batch(&mut self) {
        if self.websocket {
            self.batch = Some(self.queue.len());
        }
    }

    /// Ends a batch, if one was begun.
    pub(crate) fn end_batch(&mut self) {
        let Some(begin) = self.batch.take() else {
            return;
        };
        // A frame alone has its head already.
        if self.queue.len().saturating_sub(begin) < 2 {
            return;
        }
        let (mut before, mut len) = (0, 0);
        for item in self.queue.range_mut(begin..) {
            if let Item::Frame(frame) = item {
                before += frame.as_websocket().len();
                len += frame.len();
                *item = Item::Package(frame.clone());
            }
        }
        let head = websocket_head(len);
        self.bytes = self.bytes + head.len() + len - before;
        self.queue.insert(begin, Item::Raw(head));
    }

    pub(crate) fn push_raw(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.queue.push_back(Item::Raw(bytes));
        }
    }

    /// Ends a WebSocket in an orderly way, unless the peer has.
    pub(crate) fn push_close(&mut self) {
        if self.websocket && !self.closed_by_peer {
            self.push_raw(WS_CLOSE.to_vec());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes until all is written or the socket takes no more; answers how much it took.
    pub(crate) fn write(&mut self, socket: &mut Socket) -> io::Result<usize> {
        socket.flush()?;
        let mut sum = 0;
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut skip = self.written;
            let mut count = 0;
            for (slice, item) in slices.iter_mut().zip(&self.queue) {
                let bytes = self.bytes_of(item).get(skip..).unwrap_or_default();
                *slice = IoSlice::new(bytes);
                skip = 0;
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            match socket.try_write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    sum += written;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(item) = self.queue.front() {
            let rest = self.bytes_of(item).len() - self.written;
            if written < rest {
                self.written += written;
                return;
            }
            written -= rest;
            self.written = 0;
            self.queue.pop_front();
        }
    }

    fn bytes_of<'a>(&self, item: &'a Item) -> &'a [u8] {
        match item {
            Item::Frame(frame) => self.wire_of(frame),
            Item::Package(frame) => frame.as_bytes(),
            Item::Raw(bytes) => bytes,
        }
    }

    fn wire_of<'a>(&self, frame: &'a Frame) -> &'a [u8] {
        if self.websocket {
            frame.as_websocket()
        } else {
            frame.as_bytes()
        }
    }
}

/// The head of an unmasked binary message of this many bytes.
fn websocket_head(len: usize) -> Vec<u8> {
    let mut head = vec![0x82];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ 0..126), _) => head.push(short),
        (_, Ok(medium)) => {
            head.push(126);
            head.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head
}
