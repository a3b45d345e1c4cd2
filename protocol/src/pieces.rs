//! Bytes that come in pieces and are wanted as one.

/// So long are the blocks in which pieces wait: every unfinished package of a crowd, whatever its
/// length, takes and gives back the same, so that memory one lets go of fits the next. Short for
/// the fuzzer, whose inputs are.
const BLOCK: usize = if cfg!(fuzzing) { 64 } else { 8 * 1024 };

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
                self.blocks.push(std::mem::take(&mut self.last));
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
    pub fn join(&mut self) -> Vec<u8> {
        let len = self.len();
        let last = std::mem::take(&mut self.last);
        if self.blocks.is_empty() {
            return last;
        }
        let mut joined = Vec::with_capacity(len);
        for block in std::mem::take(&mut self.blocks) {
            joined.extend_from_slice(&block);
        }
        joined.extend_from_slice(&last);
        joined
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
            prop_assert_eq!(pieces.join(), expected);
            prop_assert!(pieces.is_empty());
            prop_assert_eq!(reserved(&pieces), 0);
        }
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
