//! The chat as a page: a few files over HTTP, for a browser on this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The web server of the original chat has it.
pub(crate) const PORT: u16 = 3001;

/// A browser's request for one of these files has a few hundred bytes.
const MAX_REQUEST: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// The page's server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    /// Whether the page will find its client.
    pub(crate) has_client: bool,
    task: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is served.
struct Site {
    /// The port of the gate, for the page.
    gate: u16,
    /// The npm package that `cargo xtask wasm` makes.
    client: PathBuf,
}

/// Serves the page, for a gate on this port, with the browser client of a directory.
pub(crate) async fn serve(port: u16, gate: u16, client: &Path) -> io::Result<Web> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    let site = Arc::new(Site {
        gate,
        client: client.to_owned(),
    });
    Ok(Web {
        address,
        has_client: client.join("pomelo.wasm").is_file(),
        task: tokio::spawn(accept(listener, site)),
    })
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    // Out of file descriptors, for example: the page is then what can be done without.
    while let Ok((stream, _)) = listener.accept().await {
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            // A browser that went away has nothing to be told.
            let _ = timeout(PATIENCE, answer(stream, &site)).await;
        });
    }
}

async fn answer(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let left = MAX_REQUEST - request.len();
        if left == 0
            || (&mut stream)
                .take(left as u64)
                .read_buf(&mut request)
                .await?
                == 0
        {
            return Ok(());
        }
    }
    let (status, kind, body) = match path(&request) {
        Some(path) => match site.file(path).await {
            Some((kind, body)) => ("200 OK", kind, body),
            None => ("404 Not Found", "text/plain", b"not here\n".to_vec()),
        },
        None => (
            "405 Method Not Allowed",
            "text/plain",
            b"GET only\n".to_vec(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

/// The path of a GET, without its query.
fn path(request: &[u8]) -> Option<&str> {
    let line = request.split(|&byte| byte == b'\r').next()?;
    let target = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?;
    let (target, _) = target.split_once(' ')?;
    Some(target.split_once('?').map_or(target, |(path, _)| path))
}

impl Site {
    async fn file(&self, path: &str) -> Option<(&'static str, Vec<u8>)> {
        let (kind, text) = match path {
            "/" => (
                "text/html; charset=utf-8",
                include_str!("../web/index.html").to_owned(),
            ),
            "/chat.css" => (
                "text/css; charset=utf-8",
                include_str!("../web/chat.css").to_owned(),
            ),
            "/chat.js" => (
                "text/javascript; charset=utf-8",
                include_str!("../web/chat.js").to_owned(),
            ),
            "/config.json" => ("application/json", format!("{{\"gate\":{}}}", self.gate)),
            "/pomelo.js" => {
                return self
                    .client_file("text/javascript; charset=utf-8", "pomelo.js")
                    .await;
            }
            "/pomelo.wasm" => return self.client_file("application/wasm", "pomelo.wasm").await,
            _ => return None,
        };
        Some((kind, text.into_bytes()))
    }

    async fn client_file(&self, kind: &'static str, name: &str) -> Option<(&'static str, Vec<u8>)> {
        Some((kind, tokio::fs::read(self.client.join(name)).await.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_page_and_nothing_else_is_served() {
        let web = serve(0, 3014, Path::new("nowhere")).await.unwrap();
        assert!(!web.has_client);
        let page = get(web.address, "GET /?x HTTP/1.1\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("chat.js"));
        let config = get(web.address, "GET /config.json HTTP/1.1\r\n\r\n").await;
        assert!(config.ends_with("\r\n\r\n{\"gate\":3014}"));
        for path in ["/pomelo.js", "/../Cargo.toml", "/chat.js/", "//"] {
            let answer = get(web.address, &format!("GET {path} HTTP/1.1\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{path}");
        }
        let post = get(web.address, "POST / HTTP/1.1\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405"));
        let long = get(web.address, &"x".repeat(MAX_REQUEST)).await;
        assert_eq!(long, "");
    }
}
