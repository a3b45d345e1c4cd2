//! Bytes that come in pieces and are wanted as one.

use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

/// So long are the blocks in which pieces wait: every unfinished package of a crowd, whatever its
/// length, takes and gives back the same, so that memory one lets go of fits the next. Short for
/// the fuzzer, whose inputs are.
const BLOCK: usize = if cfg!(fuzzing) { 64 } else { 8 * 1024 };

/// So many joined bytes and more take memory that the thread keeps: to get it from the system anew,
/// page by page, takes longer than to fill it. Short for the fuzzer, too.
const LARGE: usize = if cfg!(fuzzing) { 128 } else { 64 * 1024 };

/// The most memory that a thread keeps: for a package of the default limit, in a WebSocket frame.
const KEPT: usize = (1 << 20) + 4096;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes that come in pieces, joined once when all of them are there.
///
/// Memory grows with what has come, by doubling up to 8 KiB and then by 8 KiB: never by more
/// than that ahead of it, and nothing that came is moved before the end.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Full ones.
    blocks: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Pieces {
    /// Nothing, and nothing reserved.
    pub const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            last: Vec::new(),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.last.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.last.is_empty()
    }

    /// The first bytes: all of them, or 8 KiB.
    pub fn front(&self) -> &[u8] {
        self.blocks.first().unwrap_or(&self.last)
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.last.len() == BLOCK {
                self.blocks.push(mem::take(&mut self.last));
            }
            let room = BLOCK.saturating_sub(self.last.len());
            let (now, later) = piece.split_at_checked(room).unwrap_or((piece, &[]));
            let wanted = self.last.len() + now.len();
            if wanted > self.last.capacity() {
                let capacity = wanted.max(2 * self.last.capacity()).min(BLOCK);
                self.last.reserve_exact(capacity - self.last.len());
            }
            self.last.extend_from_slice(now);
            piece = later;
        }
    }

    /// All bytes in one place, and nothing left here. Up to 8 KiB are not moved for it.
    pub fn join(&mut self) -> Joined {
        let len = self.len();
        let last = mem::take(&mut self.last);
        if self.blocks.is_empty() {
            return Joined(last);
        }
        let mut joined = Joined::with_capacity(len);
        for block in mem::take(&mut self.blocks) {
            joined.0.extend_from_slice(&block);
        }
        joined.0.extend_from_slice(&last);
        joined
    }
}

/// What [`Pieces::join`] answers: bytes in one place. Large ones give their memory to the thread
/// that lets go of them, for the next that it joins.
#[derive(Debug)]
pub struct Joined(Vec<u8>);

impl Joined {
    fn with_capacity(len: usize) -> Self {
        if len >= LARGE {
            let spare = SPARE.take();
            // Whoever keeps the bytes does not keep more than twice the memory.
            if spare.capacity() >= len && spare.capacity() / 2 <= len {
                return Self(spare);
            }
            SPARE.set(spare);
        }
        Self(Vec::with_capacity(len))
    }
}

impl Deref for Joined {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Joined {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for Joined {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Joined> for Bytes {
    fn from(mut joined: Joined) -> Self {
        if joined.len() < LARGE {
            return mem::take(&mut joined.0).into();
        }
        Self::from_owner(joined)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if (LARGE..=KEPT).contains(&self.0.capacity()) {
            self.0.clear();
            // A thread that ends keeps nothing.
            let _ = SPARE.try_with(|spare| spare.set(mem::take(&mut self.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn reserved(pieces: &Pieces) -> usize {
        let blocks = pieces.blocks.iter().chain([&pieces.last]);
        blocks.map(Vec::capacity).sum()
    }

    proptest! {
        #[test]
        fn pieces_are_joined_as_they_came(lengths in vec(0..50_000_usize, 0..12)) {
            let mut pieces = Pieces::new();
            let mut expected = Vec::new();
            for (place, len) in lengths.into_iter().enumerate() {
                let bytes = (0..=255).cycle().skip(place);
                let piece: Vec<u8> = bytes.take(len).collect();
                pieces.push(&piece);
                expected.extend(piece);
                prop_assert_eq!(pieces.len(), expected.len());
                prop_assert_eq!(pieces.is_empty(), expected.is_empty());
                let front = pieces.front();
                prop_assert_eq!(front, &expected[..front.len()]);
                prop_assert!(front.len() == expected.len() || front.len() >= BLOCK);
                prop_assert!(reserved(&pieces) <= expected.len() + BLOCK);
            }
            prop_assert_eq!(&*pieces.join(), expected);
            prop_assert!(pieces.is_empty());
            prop_assert_eq!(reserved(&pieces), 0);
        }
    }

    #[test]
    fn a_thread_keeps_the_memory_of_large_bytes_only() {
        let joined = |len: usize| {
            let mut pieces = Pieces::new();
            pieces.push(&vec![7; len]);
            let joined = pieces.join();
            assert_eq!(joined.len(), len);
            joined
        };
        let kept = || {
            let spare = SPARE.take();
            let capacity = spare.capacity();
            SPARE.set(spare);
            capacity
        };
        // Of another test, where all run on one thread.
        drop(SPARE.take());
        drop(Bytes::from(joined(LARGE - 1)));
        drop(joined(KEPT + 1));
        assert_eq!(kept(), 0);

        let bytes = Bytes::from(joined(4 * LARGE));
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!((kept(), &*part), (0, &[7, 7][..]), "somebody has it");
        drop(part);
        assert_eq!(kept(), 4 * LARGE);

        let fits = joined(3 * LARGE);
        assert_eq!(kept(), 0);
        let another = joined(LARGE);
        assert_eq!(another.0.capacity(), LARGE);
        drop(another);
        drop(fits);
        assert_eq!(kept(), 4 * LARGE);
        assert_eq!(joined(LARGE).0.capacity(), LARGE, "far too much for it");
    }

    #[test]
    fn a_byte_at_a_time_reserves_at_most_twice_as_much() {
        let mut pieces = Pieces::new();
        for n in 1..3 * BLOCK {
            pieces.push(&[0]);
            assert!(reserved(&pieces) <= (2 * n).min(n + BLOCK), "{n}");
        }
    }
}
