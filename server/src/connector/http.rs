//! The HTTP head of a connection that begins with a letter.

use std::net::{IpAddr, SocketAddr};

use http::{Method, Request, StatusCode, Version};
use tungstenite::handshake::server::create_response;

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
    let mut parsed = httparse::Request::new(&mut headers);
    let len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Head::Incomplete,
        Ok(httparse::Status::Partial) => {
            return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        Err(_) => return refuse(StatusCode::BAD_REQUEST),
    };
    let Some(request) = request_of(&parsed) else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    if !request.headers().contains_key(http::header::UPGRADE) {
        return refuse(StatusCode::NOT_FOUND);
    }
    match create_response(&request) {
        Ok(mut response) => {
            if let Some(protocol) = first_protocol(&request) {
                response
                    .headers_mut()
                    .insert(http::header::SEC_WEBSOCKET_PROTOCOL, protocol);
            }
            let mut answer = Vec::with_capacity(160);
            match tungstenite::handshake::server::write_response(&mut answer, &response) {
                Ok(()) => Head::Upgrade {
                    answer,
                    len,
                    client: real_ip.and_then(|names| client(&request, names, proxies)),
                },
                Err(_) => refuse(StatusCode::BAD_REQUEST),
            }
        }
        Err(_) => refuse(StatusCode::BAD_REQUEST),
    }
}

/// The headers in which a proxy names the client.
#[derive(Debug, Clone)]
pub(crate) struct RealIp {
    pub(crate) address: String,
    pub(crate) port: Option<String>,
}

/// Every proxy adds an entry to the right; what stands left of the first that no proxy of ours
/// added is only what the client claims.
fn client(request: &Request<()>, names: &RealIp, proxies: &[Network]) -> Option<(IpAddr, u16)> {
    let values = request.headers().get_all(&names.address);
    let texts: Vec<&str> = values.iter().filter_map(|v| v.to_str().ok()).collect();
    let mut entries: Vec<&str> = texts
        .iter()
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    let (ip, port) = loop {
        let entry = address(entries.pop()?)?;
        let ours = proxies.iter().any(|proxy| proxy.contains(entry.0));
        if !ours || entries.is_empty() {
            break entry;
        }
    };
    let named = names.port.as_ref().and_then(|name| {
        let text = request.headers().get(name)?.to_str().ok()?;
        text.trim().parse().ok()
    });
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

fn request_of(parsed: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let version = if parsed.version? == 1 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let mut request = Request::builder()
        .method(Method::from_bytes(parsed.method?.as_bytes()).ok()?)
        .uri(parsed.path?)
        .version(version);
    for header in parsed.headers.iter() {
        request = request.header(header.name, header.value);
    }
    request.body(()).ok()
}

/// pomelo's WebSocket layer confirms the first sub-protocol offered, whatever it is.
fn first_protocol(request: &Request<()>) -> Option<http::HeaderValue> {
    let offered = request
        .headers()
        .get(http::header::SEC_WEBSOCKET_PROTOCOL)?
        .to_str()
        .ok()?;
    offered.split(',').next()?.trim().parse().ok()
}

fn refuse(status: StatusCode) -> Head {
    Head::Refuse(
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes(),
    )
}
