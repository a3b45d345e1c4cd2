//! Bytes on their way into one socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;

use bytes::{Buf as _, Bytes};
use pomelo_protocol::{Frame, FrameRef};
use tokio::net::TcpStream;

/// Frames in one system call; the usual limit of the system is 1024, the gain is flat long before.
const MAX_SLICES: usize = 32;

/// Frames of this many bytes together are copied into one piece of memory.
const GATHERED: usize = 16 * 1024;

/// Frames of at most this many bytes are copied behind each other.
const COPIED: usize = 4 * 1024;

/// The most memory for copies that a thread keeps for the next connection.
const SPARE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static COPIES: Cell<Option<Box<Copies>>> = const { Cell::new(None) };
}

/// WebSocket close with code 1000 and no reason, as pomelo sends it.
const WS_CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe8];

/// What waits for the socket, in order, as it goes over the wire.
///
/// One frame alone, the most that a quiet connection ever has, is kept without a queue.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Empty: nothing waits.
    first: Bytes,
    /// On the heap, and only there: quiet connections are many.
    #[expect(
        clippy::box_collection,
        reason = "rare, and so not a part of every connection's size"
    )]
    rest: Option<Box<VecDeque<Bytes>>>,
    /// Behind these, frames that were copied; in memory that the thread lends.
    copies: Option<Box<Copies>>,
    /// The sum of all lengths.
    bytes: usize,
    websocket: bool,
}

/// Frames behind each other in one piece of memory; there is one at least.
#[derive(Debug, Default)]
struct Copies {
    bytes: Vec<u8>,
    written: usize,
    frames: usize,
}

impl Copies {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

impl Outgoing {
    pub(crate) fn set_websocket(&mut self) {
        self.websocket = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.copies.is_none()
    }

    /// How many frames wait; copies that a frame of its own came behind count as one.
    pub(crate) fn len(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.len());
        let copies = self.copies.as_ref().map_or(0, |copies| copies.frames);
        usize::from(!self.first.is_empty()) + rest + copies
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.push_raw(if self.websocket {
            frame.into_websocket()
        } else {
            frame.into_bytes()
        });
    }

    /// Copies a frame that nobody else gets: less than an allocation for each.
    pub(crate) fn push_copy(&mut self, frame: FrameRef<'_>) {
        let wire = if self.websocket {
            frame.as_websocket()
        } else {
            frame.as_bytes()
        };
        if wire.len() > COPIED {
            return self.push(frame.to_frame());
        }
        let spare = || COPIES.take().unwrap_or_default();
        let copies = self.copies.get_or_insert_with(spare);
        copies.bytes.extend_from_slice(wire);
        copies.frames += 1;
        self.bytes += wire.len();
    }

    pub(crate) fn push_raw(&mut self, bytes: Bytes) {
        self.seal();
        self.bytes += bytes.len();
        self.enqueue(bytes);
    }

    /// Makes a frame like the others of what was copied, so that more can go behind it.
    fn seal(&mut self) {
        if let Some(copies) = self.copies.take() {
            let mut bytes = Bytes::from(copies.bytes);
            bytes.advance(copies.written);
            self.enqueue(bytes);
        }
    }

    fn enqueue(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
        } else if !bytes.is_empty() {
            self.rest.get_or_insert_default().push_back(bytes);
        }
    }

    /// Ends a WebSocket in an orderly way.
    pub(crate) fn push_close(&mut self) {
        if self.websocket {
            self.push_raw(Bytes::from_static(WS_CLOSE));
        }
    }

    /// An empty queue for the same socket.
    pub(super) fn another(&self) -> Self {
        Self {
            websocket: self.websocket,
            ..Self::default()
        }
    }

    pub(super) fn clear(&mut self) {
        *self = self.another();
    }

    /// Puts what `later` holds behind what waits here.
    pub(super) fn append(&mut self, mut later: Self) {
        while let Some(bytes) = later.pop() {
            self.push_raw(bytes);
        }
    }

    /// Writes until all is written or the socket takes no more; answers how much it took.
    pub(crate) fn write(
        &mut self,
        mut socket: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut sum = 0;
        while !self.is_empty() {
            let written = match (&self.rest, &self.copies) {
                (None, None) => socket(&[IoSlice::new(&self.first)]),
                (_, Some(copies)) if self.first.is_empty() => {
                    socket(&[IoSlice::new(copies.left())])
                }
                _ => self.gathered(&mut socket),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    sum += written;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    /// Small frames are copied together: the system takes one piece of memory for less than many.
    fn gathered(
        &self,
        socket: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let rest = self.rest.iter().flat_map(|rest| rest.iter());
        let frames = std::iter::once(&self.first).chain(rest);
        let copies = self.copies.iter().map(|copies| copies.left());
        let all = frames.map(|bytes| &**bytes).chain(copies);
        if self.bytes <= GATHERED {
            return SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                for bytes in all {
                    scratch.extend_from_slice(bytes);
                }
                socket(&[IoSlice::new(scratch)])
            });
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(all) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        socket(slices.get(..count).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while !self.first.is_empty() {
            if written < self.first.len() {
                return self.first.advance(written);
            }
            written -= self.first.len();
            self.first = self.next();
        }
        let Some(copies) = &mut self.copies else {
            return;
        };
        copies.written += written;
        if copies.left().is_empty()
            && let Some(mut copies) = self.copies.take()
            && copies.bytes.capacity() <= SPARE
        {
            copies.bytes.clear();
            (copies.written, copies.frames) = (0, 0);
            COPIES.set(Some(copies));
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.seal();
        if self.first.is_empty() {
            return None;
        }
        let next = self.next();
        let first = mem::replace(&mut self.first, next);
        self.bytes -= first.len();
        Some(first)
    }

    /// Takes the one behind the first out; empty if there is none.
    fn next(&mut self) -> Bytes {
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        next.unwrap_or_else(|| {
            self.rest = None;
            Bytes::new()
        })
    }

    /// Makes one WebSocket message of everything that waits, of which nothing was copied: one head in
    /// place of many.
    pub(super) fn join(&mut self) {
        let (true, Some(rest)) = (self.websocket, &mut self.rest) else {
            // A frame alone has its head already.
            return;
        };
        for bytes in std::iter::once(&mut self.first).chain(rest.iter_mut()) {
            let head = head_len(bytes);
            bytes.advance(head);
            self.bytes -= head;
        }
        let head = Bytes::from(websocket_head(self.bytes));
        self.bytes += head.len();
        let first = mem::replace(&mut self.first, head);
        rest.push_front(first);
    }
}

/// Writes what the socket takes now.
pub(crate) fn try_write(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        // The plain call is cheaper in the system.
        [one] => socket.try_write(one),
        many => socket.try_write_vectored(many),
    }
}

/// How long the head of an unmasked message is that comes in one frame.
fn head_len(message: &[u8]) -> usize {
    match message.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
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

#[cfg(test)]
mod tests {
    use pomelo_protocol::PackageKind;

    use super::*;

    fn data(body: &[u8]) -> Frame {
        Frame::new(PackageKind::Data, body).unwrap()
    }

    /// A socket that takes `room` bytes in pieces of at most `piece`.
    fn written(out: &mut Outgoing, mut room: usize, piece: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        let sum = out.write(|slices| {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let take = all.len().min(piece).min(room);
            if take == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            room -= take;
            taken.extend_from_slice(&all[..take]);
            Ok(take)
        });
        assert_eq!(sum.unwrap(), taken.len());
        taken
    }

    #[test]
    fn bytes_come_out_in_order_however_the_socket_takes_them() {
        for piece in [1, 3, 7, 1000] {
            let mut out = Outgoing::default();
            let mut expected = Vec::new();
            for n in 0..100 {
                let frame = data(&vec![n; usize::from(n)]);
                expected.extend_from_slice(frame.as_bytes());
                out.push(frame);
            }
            assert_eq!((out.len(), out.bytes()), (100, expected.len()));
            // Copies, some with frames behind them, and one too large to be copied.
            for n in 0..40 {
                let frame = data(&vec![n; if n == 20 { COPIED } else { usize::from(n) }]);
                expected.extend_from_slice(frame.as_bytes());
                match n {
                    9 | 10 | 30 => out.push(frame),
                    _ => out.push_copy(frame.borrowed()),
                }
            }
            assert_eq!(out.bytes(), expected.len());
            let mut taken = written(&mut out, 1234, piece);
            assert_eq!(out.bytes(), expected.len() - 1234);
            taken.extend(written(&mut out, usize::MAX, piece));
            assert_eq!(taken, expected);
            assert!(out.is_empty() && out.bytes() == 0);
            assert!(out.rest.is_none(), "a crowd's room is given back");
        }
    }

    #[test]
    fn joined_frames_share_one_message() {
        for len in 0..4 {
            let mut out = Outgoing::default();
            out.set_websocket();
            let mut packages = Vec::new();
            for n in 0..len {
                let frame = data(&[n; 100]);
                packages.extend_from_slice(frame.as_bytes());
                out.push(frame);
            }
            out.join();
            let expected = match len {
                0 => Vec::new(),
                _ => [websocket_head(packages.len()), packages].concat(),
            };
            assert_eq!(out.bytes(), expected.len());
            assert_eq!(written(&mut out, usize::MAX, 9), expected);
            assert_eq!(out.bytes(), 0);
        }
    }

    #[test]
    fn what_comes_later_goes_behind() {
        let mut out = Outgoing::default();
        out.push(data(b"1"));
        let mut later = out.another();
        later.push(data(b"2"));
        later.push(data(b"3"));
        out.append(later);
        let expected = [b"1", b"2", b"3"].map(|body| data(body).as_bytes().to_vec());
        assert_eq!(written(&mut out, usize::MAX, 100), expected.concat());
    }
}
