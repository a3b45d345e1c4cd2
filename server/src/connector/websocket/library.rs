//! Frames that are none of a message: tungstenite reads those, and answers them.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error as WsError, Message};

use super::Input;
use super::frame::Head;

/// For one frame; what is longer gets as much as it needs. The library's default is 128 KiB.
const READ_BUFFER: usize = 512;

/// What comes of one whole frame that is none of a message; `replies` gets what it is answered.
pub(super) fn answer(head: &Head, mut frame: &[u8], max: usize, replies: &mut Vec<u8>) -> Input {
    let mut library = library(max);
    loop {
        let mut feed = Feed {
            bytes: &mut frame,
            replies: &mut *replies,
        };
        match library.read(&mut feed) {
            // Answered by the library, and no sign of life as pomelo counts it.
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => {
                // The library's close reply leaves with the next flush.
                drop(library.flush(&mut feed));
                return Input::Closed;
            }
            Err(WsError::Io(error))
                if error.kind() == io::ErrorKind::WouldBlock && head.is_control() =>
            {
                return Input::Frame;
            }
            // Of data only that comes here which breaks the rules.
            Ok(Message::Binary(_) | Message::Text(_) | Message::Frame(_)) | Err(_) => {
                return Input::Broken;
            }
        }
    }
}

pub(super) fn library(max_message: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Only replies to ping and close go through it, and those at once.
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    WebSocketContext::new(Role::Server, Some(config))
}

/// A socket in memory: reads what has come, keeps what is to go.
pub(super) struct Feed<'a, 'b> {
    pub(super) bytes: &'a mut &'b [u8],
    pub(super) replies: &'a mut Vec<u8>,
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
