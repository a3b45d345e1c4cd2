//! The PUBLISH packets of pomelo's MQTT connector (`mqttconnector`), MQTT 3.1.1 section 3.3.
//!
//! Pushes and answers of an MQTT session go out as PUBLISH packets; there is no broker.

use crate::error::{DecodeError, EncodeError};

/// Packet type 3 in the high half of the first byte.
const PUBLISH: u8 = 0x30;
const PUBLISH_MASK: u8 = 0xf0;
const FLAG_DUP: u8 = 0x08;
const FLAG_RETAIN: u8 = 0x01;
const QOS_SHIFT: u8 = 1;
const QOS_MASK: u8 = 0x03;
/// Four groups of seven bits.
const MAX_REMAINING: usize = 0x0fff_ffff;
const MAX_REMAINING_GROUPS: u32 = 4;

/// How often a packet arrives, and the id that this needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "MQTT has three levels")]
pub enum Qos {
    /// At most once; no id.
    AtMostOnce,
    /// At least once, answered by PUBACK with this id.
    AtLeastOnce(u16),
    /// Exactly once, answered by PUBREC with this id.
    ExactlyOnce(u16),
}

/// A PUBLISH packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the packet is closed")]
pub struct Publish<'a> {
    /// What it is about. Not empty.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// How often it arrives.
    pub qos: Qos,
    /// Sent before.
    pub dup: bool,
    /// To be kept for later subscribers.
    pub retain: bool,
}

impl<'a> Publish<'a> {
    /// A packet of quality 0 without flags.
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            qos: Qos::AtMostOnce,
            dup: false,
            retain: false,
        }
    }

    /// Appends the packet to `out`.
    ///
    /// # Errors
    /// [`EncodeError::RouteTooLong`] for a topic that is empty or over 65535 bytes, and
    /// [`EncodeError::PackageTooLarge`] over 268435455 bytes; `out` is then as before.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let len = self.topic.len();
        let topic_len = u16::try_from(len).map_err(|_| EncodeError::RouteTooLong { len })?;
        if self.topic.is_empty() {
            return Err(EncodeError::RouteTooLong { len });
        }
        let (level, id) = match self.qos {
            Qos::AtMostOnce => (0, None),
            Qos::AtLeastOnce(id) => (1, Some(id)),
            Qos::ExactlyOnce(id) => (2, Some(id)),
        };
        let id_len = if id.is_some() { 2 } else { 0 };
        let remaining = 2 + len + id_len + self.payload.len();
        if remaining > MAX_REMAINING {
            return Err(EncodeError::PackageTooLarge { len: remaining });
        }
        let mut first = PUBLISH | level << QOS_SHIFT;
        if self.dup {
            first |= FLAG_DUP;
        }
        if self.retain {
            first |= FLAG_RETAIN;
        }
        out.push(first);
        write_remaining(out, remaining);
        out.extend_from_slice(&topic_len.to_be_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        if let Some(id) = id {
            out.extend_from_slice(&id.to_be_bytes());
        }
        out.extend_from_slice(self.payload);
        Ok(())
    }

    /// Takes one packet off `input`; `Ok(None)`, with `input` untouched, while it is not whole.
    ///
    /// # Errors
    /// [`DecodeError::UnknownPackageKind`] for another type of packet or quality 3,
    /// [`DecodeError::PackageTooLarge`] as soon as the head announces more than `max` bytes or
    /// more than four groups, and [`DecodeError::MessageCut`] when topic or id do not fit or the
    /// topic is no UTF-8.
    pub fn split_from(input: &mut &'a [u8], max: u32) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        if first & PUBLISH_MASK != PUBLISH {
            return Err(DecodeError::UnknownPackageKind(first));
        }
        let Some((remaining, rest)) = read_remaining(rest, max)? else {
            return Ok(None);
        };
        let Some((packet, rest)) = rest.split_at_checked(remaining) else {
            return Ok(None);
        };
        let publish = Self::read(first, packet)?;
        *input = rest;
        Ok(Some(publish))
    }

    fn read(first: u8, packet: &'a [u8]) -> Result<Self, DecodeError> {
        let (topic_len, packet) = read_u16(packet)?;
        let (topic, packet) = packet
            .split_at_checked(usize::from(topic_len))
            .ok_or(DecodeError::MessageCut)?;
        let topic = core::str::from_utf8(topic).map_err(|_| DecodeError::MessageCut)?;
        let (qos, payload) = match (first >> QOS_SHIFT) & QOS_MASK {
            0 => (Qos::AtMostOnce, packet),
            1 => read_u16(packet).map(|(id, payload)| (Qos::AtLeastOnce(id), payload))?,
            2 => read_u16(packet).map(|(id, payload)| (Qos::ExactlyOnce(id), payload))?,
            _ => return Err(DecodeError::UnknownPackageKind(first)),
        };
        Ok(Self {
            topic,
            payload,
            qos,
            dup: first & FLAG_DUP != 0,
            retain: first & FLAG_RETAIN != 0,
        })
    }
}

fn write_remaining(out: &mut Vec<u8>, mut remaining: usize) {
    while remaining > 0x7f {
        let [low, ..] = remaining.to_le_bytes();
        out.push(low | 0x80);
        remaining >>= 7;
    }
    let [low, ..] = remaining.to_le_bytes();
    out.push(low);
}

fn read_remaining(input: &[u8], max: u32) -> Result<Option<(usize, &[u8])>, DecodeError> {
    let mut len = 0_u32;
    let mut rest = input;
    for group in 0..MAX_REMAINING_GROUPS {
        let Some((&byte, after)) = rest.split_first() else {
            return Ok(None);
        };
        rest = after;
        len |= u32::from(byte & 0x7f) << (7 * group);
        if len > max {
            return Err(DecodeError::PackageTooLarge { len, max });
        }
        if byte & 0x80 == 0 {
            return Ok(Some((len as usize, rest)));
        }
    }
    Err(DecodeError::PackageTooLarge { len: u32::MAX, max })
}

fn read_u16(input: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let (bytes, rest) = input
        .split_first_chunk::<2>()
        .ok_or(DecodeError::MessageCut)?;
    Ok((u16::from_be_bytes(*bytes), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_waits_and_the_whole_comes_back() {
        let packet = Publish {
            qos: Qos::AtLeastOnce(7),
            retain: true,
            ..Publish::new("主题", &[b'x'; 200])
        };
        let mut bytes = Vec::new();
        packet.write(&mut bytes).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(Publish::split_from(&mut &bytes[..end], 1 << 20), Ok(None));
        }
        let mut input = bytes.as_slice();
        assert_eq!(Publish::split_from(&mut input, 1 << 20), Ok(Some(packet)));
        assert!(input.is_empty());
    }

    #[test]
    fn announced_lengths_are_bounded() {
        for hostile in [
            &[0x30, 0xff, 0xff, 0xff, 0x7f][..],
            &[0x30, 0x80, 0x80, 0x80, 0x80],
        ] {
            assert!(matches!(
                Publish::split_from(&mut &*hostile, 1 << 20),
                Err(DecodeError::PackageTooLarge { .. })
            ));
        }
    }
}
