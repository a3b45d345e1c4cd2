//! The HTTP head of a connection that begins with a letter.

use std::net::{IpAddr, SocketAddr};

use tungstenite::handshake::derive_accept_key;

use super::Network;

/// The largest head that is read; browsers send less than a quarter of it.
pub(crate) const MAX_HEAD: usize = 8 * 1024;

/// As many header lines as a head of that size sensibly has.
const MAX_HEADERS: usize = 64;

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Head {
    /// The head is not complete.
    Incomplete,
    /// A WebSocket upgrade: answer this, then frames follow from byte `len` on.
    Upgrade {
        answer: Vec<u8>,
        len: usize,
        /// What a proxy says about the client, if it is asked.
        client: Option<(IpAddr, u16)>,
    },
    /// Not an upgrade: answer this and close.
    Refuse(Vec<u8>),
}

/// Reads a head. Any path and any Host are taken, as pomelo does.
///
/// `real_ip`: the headers to believe about the client's address, whose entries from the right
/// were added by `proxies`.
pub(crate) fn read(bytes: &[u8], real_ip: Option<&RealIp>, proxies: &[Network]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Head::Incomplete,
        Ok(httparse::Status::Partial) => return refuse("431 Request Header Fields Too Large"),
        Err(_) => return refuse("400 Bad Request"),
    };
    let headers = Headers(request.headers);
    if headers.first("Upgrade").is_none() {
        return refuse("404 Not Found");
    }
    let is_get = request.method == Some("GET") && request.version == Some(1);
    match answer(&headers).filter(|_| is_get) {
        Some(answer) => Head::Upgrade {
            answer,
            len,
            client: real_ip.and_then(|names| client(&headers, names, proxies)),
        },
        None => refuse("400 Bad Request"),
    }
}

/// The answer to an upgrade that follows the rules, as pomelo's WebSocket layer (ws) writes it.
fn answer(headers: &Headers<'_>) -> Option<Vec<u8>> {
    let mut connection = headers.text("Connection")?.split([' ', ',']);
    if !connection.any(|word| word.eq_ignore_ascii_case("upgrade"))
        || !headers.text("Upgrade")?.eq_ignore_ascii_case("websocket")
        || headers.text("Sec-WebSocket-Version")? != "13"
    {
        return None;
    }
    let key = headers.first("Sec-WebSocket-Key")?;
    if !is_key(key) {
        return None;
    }
    let mut answer = Vec::with_capacity(192);
    answer.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    answer.extend_from_slice(derive_accept_key(key).as_bytes());
    // It confirms the first sub-protocol offered, whatever it is.
    let offered = headers.text("Sec-WebSocket-Protocol");
    if let Some(protocol) = offered.and_then(|offered| offered.split(',').next()) {
        answer.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        answer.extend_from_slice(protocol.trim().as_bytes());
    }
    answer.extend_from_slice(b"\r\n\r\n");
    Some(answer)
}

/// Whether this is 16 bytes in base64, the last of whose digits holds only two bits.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.split_last_chunk() {
        Some((digits, [b'A' | b'Q' | b'g' | b'w', b'=', b'='])) => {
            digits.len() == 21 && digits.iter().all(digit)
        }
        _ => false,
    }
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.0.iter();
        let named = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value)
    }

    fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The first of this name, if it is plain text.
    fn text(&self, name: &str) -> Option<&'a str> {
        text(self.first(name)?)
    }
}

fn text(value: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let value = std::str::from_utf8(value).ok()?;
    value.as_bytes().iter().all(plain).then_some(value)
}

/// The headers in which a proxy names the client.
#[derive(Debug, Clone)]
pub(crate) struct RealIp {
    pub(crate) address: String,
    pub(crate) port: Option<String>,
}

/// Every proxy adds an entry to the right; what stands left of the first that no proxy of ours
/// added is only what the client claims.
fn client(headers: &Headers<'_>, names: &RealIp, proxies: &[Network]) -> Option<(IpAddr, u16)> {
    let texts = headers.all(&names.address).filter_map(text);
    let mut entries: Vec<&str> = texts.flat_map(|v| v.split(',')).map(str::trim).collect();
    let (ip, port) = loop {
        let entry = address(entries.pop()?)?;
        let ours = proxies.iter().any(|proxy| proxy.contains(entry.0));
        if !ours || entries.is_empty() {
            break entry;
        }
    };
    let named = names
        .port
        .as_ref()
        .and_then(|name| headers.text(name)?.trim().parse().ok());
    Some((ip.to_canonical(), named.or(port).unwrap_or(0)))
}

/// An address, alone or with a port.
fn address(entry: &str) -> Option<(IpAddr, Option<u16>)> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some((ip, None)),
        Err(_) => {
            let at: SocketAddr = entry.parse().ok()?;
            Some((at.ip(), Some(at.port())))
        }
    }
}

fn refuse(status: &str) -> Head {
    Head::Refuse(
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::handshake::server::create_response;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// What the library makes of the same lines.
    fn expected(method: &str, version: u8, lines: &[(&str, String)]) -> Option<String> {
        let version = match version {
            0 => http::Version::HTTP_10,
            _ => http::Version::HTTP_11,
        };
        let mut request = http::Request::builder().method(method).version(version);
        for (name, value) in lines {
            request = request.header(*name, value);
        }
        let response = create_response(&request.body(()).unwrap()).ok()?;
        let accept = response.headers().get("sec-websocket-accept")?;
        Some(accept.to_str().unwrap().to_owned())
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("Upgrade".to_owned()),
            Just("keep-alive, upgrade".to_owned()),
            Just("websocket".to_owned()),
            Just("WebSocket".to_owned()),
            Just("13".to_owned()),
            Just("8".to_owned()),
            Just(KEY.to_owned()),
            "[A-Za-z0-9+/]{21}[AQgwBxz9]==",
            "[A-Za-z0-9+/]{20,22}={0,2}",
            "[ -~]{1,12}".prop_map(|text| text.trim().to_owned()),
        ]
    }

    fn lines() -> impl Strategy<Value = Vec<(&'static str, String)>> {
        let right = [
            ("Host", "any"),
            ("connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-KEY", KEY),
        ];
        let changes = prop::collection::vec((0..right.len(), prop::option::of(value())), 0..3);
        (changes, any::<bool>()).prop_map(move |(changes, twice)| {
            let mut lines = right.map(|(name, value)| (name, Some(value.to_owned())));
            for (place, value) in changes {
                lines[place].1 = value;
            }
            let mut lines: Vec<_> = lines
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            if twice {
                lines.extend(right.map(|(name, value)| (name, value.to_owned())));
            }
            lines
        })
    }

    proptest! {
        #[test]
        fn an_upgrade_is_what_the_library_takes_for_one(
            method in prop_oneof![9 => Just("GET"), 1 => Just("POST")],
            version in prop_oneof![9 => Just(1), 1 => Just(0)],
            lines in lines(),
        ) {
            let mut head = format!("{method} /any HTTP/1.{version}\r\n");
            for (name, value) in &lines {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let accept = match read(head.as_bytes(), None, &[]) {
                Head::Upgrade { answer, len, .. } => {
                    prop_assert_eq!(len, head.len());
                    let answer = String::from_utf8(answer).unwrap();
                    let (_, accept) = answer.split_once("Sec-WebSocket-Accept: ").unwrap();
                    Some(accept.strip_suffix("\r\n\r\n").unwrap().to_owned())
                }
                Head::Refuse(_) => None,
                Head::Incomplete => panic!("incomplete: {head}"),
            };
            prop_assert_eq!(accept, expected(method, version, &lines));
        }
    }
}
