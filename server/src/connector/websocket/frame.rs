//! How a WebSocket frame is laid out: RFC 6455, section 5.2.

/// The bit of a frame's first byte that says it is the last of its message.
pub(super) const FINAL: u8 = 0x80;
/// First bytes of frames without that bit and nothing reserved.
pub(super) const CONTINUATION: u8 = 0x00;
pub(super) const TEXT: u8 = 0x01;
pub(super) const BINARY: u8 = 0x02;

/// What stands before a frame's payload.
pub(super) struct Head {
    /// Whether the frame is the last of its message, reserved bits, what it is.
    pub(super) first: u8,
    mask: Option<[u8; 4]>,
    /// The length of the head itself.
    pub(super) len: usize,
    /// The length of the payload.
    pub(super) payload: u64,
}

impl Head {
    /// `None`: there is more to come.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
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

    /// The mask of a frame of a message, if it is as it should be.
    pub(super) fn plain(&self) -> Option<[u8; 4]> {
        self.mask
            .filter(|_| matches!(self.first & !FINAL, CONTINUATION | TEXT | BINARY))
    }

    pub(super) fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }
}

pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
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
