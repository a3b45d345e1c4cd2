//! The header that a TCP proxy puts before the client's bytes: PROXY protocol, versions 1 and 2
//! (haproxy.org, proxy-protocol.txt).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A header of version 1 is one line of at most 107 bytes.
const MAX_LINE: usize = 107;

/// Version 2 allows 64 KiB of additions; proxies send a few dozen bytes.
const MAX_V2: usize = 2048;

const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Incomplete,
    /// `len` bytes of header; the client's address, unless the proxy speaks for itself.
    Complete {
        client: Option<SocketAddr>,
        len: usize,
    },
    /// Not a header, or one that breaks the rules.
    Invalid,
}

pub(crate) fn read(bytes: &[u8]) -> Header {
    if common(bytes, V2) {
        return read_v2(bytes);
    }
    if common(bytes, b"PROXY ") {
        return read_v1(bytes);
    }
    Header::Invalid
}

/// Whether one begins with the other.
fn common(bytes: &[u8], magic: &[u8]) -> bool {
    bytes.iter().zip(magic).all(|(a, b)| a == b)
}

fn read_v1(bytes: &[u8]) -> Header {
    let line = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < MAX_LINE {
            Header::Incomplete
        } else {
            Header::Invalid
        };
    };
    let len = end + 2;
    let text = line.get(..end).and_then(|line| str::from_utf8(line).ok());
    let mut words = text.unwrap_or_default().split(' ').skip(1);
    let client = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => match line_of(&mut words) {
            Some(client) if client.is_ipv4() == (family == "TCP4") => Some(client),
            _ => return Header::Invalid,
        },
        _ => return Header::Invalid,
    };
    Header::Complete { client, len }
}

/// Source and destination, then their ports, and nothing else.
fn line_of<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<SocketAddr> {
    let source: IpAddr = words.next()?.parse().ok()?;
    let _destination: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let _port: u16 = words.next()?.parse().ok()?;
    words
        .next()
        .is_none()
        .then(|| SocketAddr::new(source, port))
}

fn read_v2(bytes: &[u8]) -> Header {
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD) else {
        return Header::Incomplete;
    };
    let Some(&[command, family, high, low]) = head.last_chunk() else {
        return Header::Invalid;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || len > MAX_V2 {
        return Header::Invalid;
    }
    let Some(addresses) = rest.get(..len) else {
        return Header::Incomplete;
    };
    let client = match (command & 0x0f, family) {
        // LOCAL: a health check of the proxy itself.
        (0, _) => None,
        (1, 0x11) => match addresses_of::<4>(addresses) {
            Some((ip, port)) => Some((Ipv4Addr::from(ip), port).into()),
            None => return Header::Invalid,
        },
        (1, 0x21) => match addresses_of::<16>(addresses) {
            Some((ip, port)) => Some((Ipv6Addr::from(ip), port).into()),
            None => return Header::Invalid,
        },
        // Families that have no address and port: as if the proxy said nothing.
        (1, _) => None,
        _ => return Header::Invalid,
    };
    Header::Complete {
        client,
        len: V2_HEAD + len,
    }
}

/// Source, destination, source port, destination port; additions may follow.
fn addresses_of<const N: usize>(bytes: &[u8]) -> Option<([u8; N], u16)> {
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (_destination, rest) = rest.split_first_chunk::<N>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    rest.first_chunk::<2>()?;
    Some((*source, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(client: Option<&str>, len: usize) -> Header {
        Header::Complete {
            client: client.map(|client| client.parse().unwrap()),
            len,
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&V2[..], &[command, family], &len, rest].concat()
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let mut four = vec![1, 2, 3, 4, 5, 6, 7, 8, 0x1f, 0x90, 0, 80];
        // An addition (TLV) behind the addresses.
        four.extend([4, 0, 1, 0]);
        let six = [&[0; 15][..], &[1], &[0; 16], &[0, 7, 0, 8]].concat();
        for (header, client) in [
            (
                b"PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\r\n".to_vec(),
                Some("1.2.3.4:8080"),
            ),
            (b"PROXY TCP6 ::1 ::2 7 8\r\n".to_vec(), Some("[::1]:7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff what ever\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("1.2.3.4:8080")),
            (v2(0x21, 0x21, &six), Some("[::1]:7")),
            (v2(0x20, 0, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            for cut in 0..header.len() {
                assert_eq!(read(&header[..cut]), Header::Incomplete, "{header:?}");
            }
            let whole = [&header[..], b"\x01\0\0\x02{}"].concat();
            assert_eq!(read(&whole), complete(client, header.len()));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for bytes in [
            b"\x01\0\0\x02{}".to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXX".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 8080 80 9\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::2 7 8\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 70000 80\r\n".to_vec(),
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 \xff 5.6.7.8 1 2\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; MAX_LINE][..]].concat(),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; MAX_V2 + 1])[..V2_HEAD].to_vec(),
        ] {
            assert_eq!(read(&bytes), Header::Invalid, "{bytes:?}");
        }
    }

    #[test]
    fn a_wrong_byte_anywhere_is_harmless() {
        let six = [&[7; 16][..], &[0; 16], &[0, 7, 0, 8]].concat();
        for header in [
            b"PROXY TCP4 1.2.3.4 5.6.7.8 8080 80\r\n".to_vec(),
            v2(0x21, 0x21, &six),
        ] {
            for at in 0..header.len() {
                for byte in 0..=u8::MAX {
                    let mut bytes = header.clone();
                    bytes[at] = byte;
                    if let Header::Complete { len, .. } = read(&bytes) {
                        assert!(len <= bytes.len(), "{bytes:?}");
                    }
                }
            }
        }
    }
}
