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

/// The most bytes and frames that a thread keeps room for, for the next connection.
const SPARE_BYTES: usize = 64 * 1024;
const SPARE_FRAMES: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static MORE: Cell<Option<Box<More>>> = const { Cell::new(None) };
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
    /// What is behind it, if anything is.
    more: Option<Box<More>>,
    websocket: bool,
    /// How many bytes of the first frame are written; its memory is there until it is written
    /// whole. A frame of four gigabytes there is not.
    taken: u32,
}

/// What waits behind the first frame, in memory that the thread lends: quiet connections are many.
#[derive(Debug, Default)]
struct More {
    rest: VecDeque<Bytes>,
    /// Behind these, frames that were copied behind each other.
    copies: Vec<u8>,
    /// How many bytes of the copies are written.
    written: usize,
    /// How many frames the copies were.
    copied: usize,
    /// How many bytes of all these are not written.
    bytes: usize,
}

impl More {
    fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.copies.is_empty()
    }

    fn copies_left(&self) -> &[u8] {
        self.copies.get(self.written..).unwrap_or_default()
    }
}

impl Outgoing {
    pub(crate) fn set_websocket(&mut self) {
        self.websocket = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_none()
    }

    /// How many frames wait; copies that a frame of its own came behind count as one.
    pub(crate) fn len(&self) -> usize {
        let more = self.more.as_ref();
        usize::from(!self.first.is_empty()) + more.map_or(0, |more| more.rest.len() + more.copied)
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.first.len() + self.more.as_ref().map_or(0, |more| more.bytes)
    }

    /// How much memory is there for this peer alone. Of a frame that others have, too, nothing
    /// would be gained by letting go of it.
    pub(super) fn own_bytes(&self) -> usize {
        let taken = usize::try_from(self.taken).unwrap_or(usize::MAX);
        let own = |bytes: &Bytes| if bytes.is_unique() { bytes.len() } else { 0 };
        let first = match own(&self.first) {
            0 => 0,
            left => left.saturating_add(taken),
        };
        let Some(more) = &self.more else { return first };
        first + more.rest.iter().map(own).sum::<usize>() + more.copies.len()
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.push_raw(if self.websocket {
            frame.into_websocket()
        } else {
            frame.into_bytes()
        });
    }

    /// Puts frames behind what waits; `joined` on WebSocket in one message, with one head in place
    /// of many.
    pub(super) fn push_all(&mut self, frames: Vec<Frame>, joined: bool) {
        if joined && self.websocket && frames.len() > 1 {
            let len = frames.iter().map(Frame::len).sum();
            self.push_raw(Frame::websocket_head(len));
            for frame in frames {
                self.push_raw(frame.into_bytes());
            }
        } else {
            frames.into_iter().for_each(|frame| self.push(frame));
        }
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
        let more = self.more();
        more.copies.extend_from_slice(wire);
        more.copied += 1;
        more.bytes += wire.len();
    }

    pub(crate) fn push_raw(&mut self, bytes: Bytes) {
        self.seal();
        if self.first.is_empty() {
            self.first = bytes;
        } else if !bytes.is_empty() {
            let more = self.more();
            more.bytes += bytes.len();
            more.rest.push_back(bytes);
        }
    }

    fn more(&mut self) -> &mut More {
        self.more
            .get_or_insert_with(|| MORE.take().unwrap_or_default())
    }

    /// Makes a frame like the others of what was copied, so that more can go behind it.
    fn seal(&mut self) {
        let Some(more) = &mut self.more else { return };
        if more.copies.is_empty() {
            return;
        }
        let mut copies = Bytes::from(mem::take(&mut more.copies));
        let written = mem::take(&mut more.written);
        copies.advance(written);
        more.copied = 0;
        more.rest.push_back(copies);
        if self.first.is_empty() {
            self.first = self.next();
            self.take(written);
        }
    }

    /// Takes the one behind the first out; empty if there is none.
    fn next(&mut self) -> Bytes {
        let Some(more) = &mut self.more else {
            return Bytes::new();
        };
        let next = more.rest.pop_front().unwrap_or_default();
        more.bytes -= next.len();
        self.give_back();
        next
    }

    /// Gives the thread its memory back, if that is empty.
    fn give_back(&mut self) {
        let Some(more) = self.more.take_if(|more| more.is_empty()) else {
            return;
        };
        if more.copies.capacity() <= SPARE_BYTES && more.rest.capacity() <= SPARE_FRAMES {
            MORE.set(Some(more));
        }
    }

    /// Ends a WebSocket in an orderly way.
    pub(crate) fn push_close(&mut self) {
        if self.websocket {
            self.push_raw(Bytes::from_static(WS_CLOSE));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            websocket: self.websocket,
            ..Self::default()
        };
    }

    /// Writes until all is written or the socket takes no more; answers how much it took.
    pub(crate) fn write(
        &mut self,
        mut socket: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut sum = 0;
        while !self.is_empty() {
            let written = match &self.more {
                None => socket(&[IoSlice::new(&self.first)]),
                Some(more) if self.first.is_empty() => socket(&[IoSlice::new(more.copies_left())]),
                Some(more) => self.gathered(more, &mut socket),
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
        more: &More,
        socket: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let frames = std::iter::once(&self.first).chain(&more.rest);
        let all = frames.map(|bytes| &**bytes).chain([more.copies_left()]);
        if self.bytes() <= GATHERED {
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
        while !self.first.is_empty() {
            if written < self.first.len() {
                self.take(written);
                return self.first.advance(written);
            }
            written -= self.first.len();
            self.first = self.next();
            self.taken = 0;
        }
        if let Some(more) = &mut self.more {
            more.written += written;
            more.bytes -= written;
            if more.copies_left().is_empty() {
                more.copies.clear();
                (more.written, more.copied) = (0, 0);
                self.give_back();
            }
        }
    }

    /// Counts what is written of the first frame.
    fn take(&mut self, written: usize) {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.taken = self.taken.saturating_add(written);
    }

    #[cfg(test)]
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.seal();
        if self.first.is_empty() {
            return None;
        }
        let next = self.next();
        let first = mem::replace(&mut self.first, next);
        Some(first)
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

/// [`try_write`] for who does not wait for the socket: the runtime is not asked whether it takes
/// anything, and not told when it does not. Asking costs a cache miss, for each of thousands.
pub(crate) fn write_now(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if let [one] = slices {
        use rustix::net::{SendFlags, send};

        return Ok(send(socket, one, SendFlags::NOSIGNAL)?);
    }
    try_write(socket, slices)
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
            assert!(out.more.is_none(), "a crowd's room is given back");
        }
    }

    #[test]
    fn joined_frames_share_one_message() {
        let heads: [(usize, u8, &[u8]); 5] = [
            (0, 0, &[]),
            (1, 100, &[0x82, 104]),
            (2, 50, &[0x82, 108]),
            (3, 100, &[0x82, 126, 1, 56]),
            (250, 255, &[0x82, 126, 252, 238]),
        ];
        for (count, len, head) in heads {
            let mut out = Outgoing::default();
            out.set_websocket();
            let frames = vec![data(&vec![7; len.into()]); count];
            let packages = data(&vec![7; len.into()]).as_bytes().repeat(count);
            out.push_all(frames, true);
            let expected = [head, &packages].concat();
            assert_eq!(out.bytes(), expected.len());
            assert_eq!(written(&mut out, usize::MAX, 9), expected);
            assert_eq!(out.bytes(), 0);
        }
        let mut out = Outgoing::default();
        out.push_all(vec![data(b"1"), data(b"2")], true);
        let expected = [b"1", b"2"].map(|body| data(body).as_bytes().to_vec());
        assert_eq!(
            written(&mut out, usize::MAX, 9),
            expected.concat(),
            "on TCP"
        );
    }

    #[test]
    fn memory_is_counted_until_the_last_byte_is_written() {
        let mut out = Outgoing::default();
        let shared = data(&[1; 50_000]);
        out.push(shared.clone());
        assert_eq!(out.own_bytes(), 0, "others have it, too");
        out.push(data(&[2; 20_000]));
        assert_eq!(out.own_bytes(), 20_004);
        out.push_copy(data(&[3; 1_000]).borrowed());
        assert_eq!(out.own_bytes(), 21_008);
        written(&mut out, 50_004 + 20_003, 1 << 20);
        assert_eq!(out.own_bytes(), 21_008, "nothing is free yet");
        written(&mut out, 1 + 999, 1 << 20);
        assert_eq!(out.own_bytes(), 1_004);
        // What was copied becomes a frame when one comes behind it.
        for _ in 0..5 {
            out.push_copy(data(&[4; 1_000]).borrowed());
        }
        written(&mut out, 4_000, 1 << 20);
        out.push(shared);
        assert_eq!(out.own_bytes(), 6 * 1_004 + 50_004);
        written(&mut out, usize::MAX, 1 << 20);
        assert_eq!((out.own_bytes(), out.taken), (0, 0));
    }
}
