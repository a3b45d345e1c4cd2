//! Packages on any byte stream of Tokio, through tokio-util's `Framed`.

use std::io;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use crate::error::DecodeError;
use crate::package::{Frame, HEAD_LEN, Package, PackageRef};

/// Why reading or writing packages ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageCodecError {
    /// The stream below failed, or ended inside a package.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer sent what is no package.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// tokio-util's codec for packages: reads [`Package`]s, writes [`Frame`]s.
///
/// For tools and proxies that live on Tokio; the state machines of this crate need none of it.
/// The read buffer grows with the bytes that arrive, never with the length a head promises.
/// Ready for reuse on another stream only when the last one ended without an error.
///
/// ```
/// use pomelo_protocol::PackageCodec;
/// use tokio_util::codec::Framed;
///
/// let (socket, _peer) = tokio::io::duplex(1024);
/// let packages = Framed::new(socket, PackageCodec::new(64 * 1024));
/// assert!(packages.read_buffer().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct PackageCodec {
    max_body: u32,
}

impl PackageCodec {
    /// A codec that refuses to read bodies over `max_body` bytes.
    pub const fn new(max_body: u32) -> Self {
        Self { max_body }
    }
}

impl Decoder for PackageCodec {
    type Item = Package;
    type Error = PackageCodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Package>, PackageCodecError> {
        let mut rest: &[u8] = src;
        let Some(PackageRef { kind, .. }) = PackageRef::split_from(&mut rest, self.max_body)?
        else {
            return Ok(None);
        };
        let taken = src.len() - rest.len();
        let body = src.split_to(taken).freeze().split_off(HEAD_LEN);
        Ok(Some(Package { kind, body }))
    }
}

impl Encoder<Frame> for PackageCodec {
    type Error = PackageCodecError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), PackageCodecError> {
        self.encode(&frame, dst)
    }
}

impl Encoder<&Frame> for PackageCodec {
    type Error = PackageCodecError;

    fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), PackageCodecError> {
        dst.extend_from_slice(frame.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::package::PackageKind;

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_packages(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            cuts in prop::collection::vec(1_usize..30, 1..40),
        ) {
            let mut codec = PackageCodec::new(64);
            let mut wire = BytesMut::new();
            for body in &bodies {
                let frame = Frame::new(PackageKind::Data, body).unwrap();
                codec.encode(&frame, &mut wire).unwrap();
            }
            let mut seen = Vec::new();
            let mut buffer = BytesMut::new();
            let mut cuts = cuts.iter().cycle();
            while !wire.is_empty() {
                let cut = wire.len().min(*cuts.next().unwrap());
                buffer.extend_from_slice(&wire.split_to(cut));
                while let Some(package) = codec.decode(&mut buffer).unwrap() {
                    prop_assert_eq!(package.kind, PackageKind::Data);
                    seen.push(package.body.to_vec());
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(seen, bodies);
        }
    }

    #[test]
    fn a_promised_length_reserves_nothing() {
        let mut codec = PackageCodec::new(0xff_ffff);
        let mut buffer = BytesMut::from(&[4, 0xff, 0xff, 0xff][..]);
        let capacity = buffer.capacity();
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        assert_eq!(buffer.capacity(), capacity);
    }

    #[test]
    fn faults_of_the_peer_and_of_the_stream_are_told_apart() {
        let mut codec = PackageCodec::new(16);
        let decode = |codec: &mut PackageCodec, bytes: &[u8]| {
            codec.decode_eof(&mut BytesMut::from(bytes)).unwrap_err()
        };
        let stranger = decode(&mut codec, b"GET / HTTP/1.1");
        assert!(matches!(
            stranger,
            PackageCodecError::Decode(DecodeError::UnknownPackageKind(b'G'))
        ));
        let large = decode(&mut codec, &[4, 0, 0, 17]);
        assert!(matches!(
            large,
            PackageCodecError::Decode(DecodeError::PackageTooLarge { len: 17, max: 16 })
        ));
        let cut = decode(&mut codec, &[4, 0, 0, 2, 0]);
        assert!(matches!(cut, PackageCodecError::Io(_)), "{cut}");
    }
}
