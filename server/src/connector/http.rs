//! The HTTP head of a connection that begins with a letter.

use http::{Method, Request, StatusCode, Version};
use tungstenite::handshake::server::create_response;

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
    Upgrade { answer: Vec<u8>, len: usize },
    /// Not an upgrade: answer this and close.
    Refuse(Vec<u8>),
}

/// Reads a head. Any path and any Host are taken, as pomelo does.
pub(crate) fn read(bytes: &[u8]) -> Head {
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
                Ok(()) => Head::Upgrade { answer, len },
                Err(_) => refuse(StatusCode::BAD_REQUEST),
            }
        }
        Err(_) => refuse(StatusCode::BAD_REQUEST),
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
