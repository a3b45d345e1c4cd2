//! The admin port: `/metrics` for Prometheus and `/healthz` for whoever sends clients here.
//!
//! A dozen lines of HTTP/1.1 do: one request per connection, nothing of it is kept, and the
//! number of connections, the size of a head and the time for both are bounded.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::connector::Phase;
use crate::metrics;

/// Scrapers and probes send a few hundred bytes.
const MAX_HEAD: usize = 4 * 1024;

/// Of those who ask there are a few; the rest waits in the system's queue.
const MAX_CONNECTIONS: usize = 16;

/// For request and answer together.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long accepting rests after a failure of the system.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until it is dropped, which is after everything else has stopped: a probe is to see
/// `draining`, not a closed port.
pub(crate) async fn serve(listener: TcpListener, apps: Vec<App>, phase: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let (apps, phase) = (apps.clone(), phase.clone());
                    connections.spawn(async move {
                        let answered = tokio::time::timeout(TIME_LIMIT, answer(stream, &apps, &phase));
                        if !matches!(answered.await, Ok(Ok(()))) {
                            tracing::debug!("admin connection failed");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed on the admin port");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Opens the admin port.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn answer(
    mut stream: TcpStream,
    apps: &[App],
    phase: &watch::Receiver<Phase>,
) -> io::Result<()> {
    let mut head = Vec::new();
    let answer = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let method = request.method.unwrap_or_default();
                let path = request.path.unwrap_or_default();
                break respond(method, path, apps, *phase.borrow());
            }
            Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => {}
            Ok(httparse::Status::Partial) => {
                break plain("431 Request Header Fields Too Large", "");
            }
            Err(_) => break plain("400 Bad Request", ""),
        }
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn respond(method: &str, path: &str, apps: &[App], phase: Phase) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let answer = match (path, phase) {
        ("/metrics", _) => response(
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            &metrics::page(apps),
        ),
        ("/healthz", Phase::Starting) => plain("503 Service Unavailable", "starting\n"),
        ("/healthz", Phase::Running) => plain("200 OK", "ready\n"),
        ("/healthz", Phase::Leaving | Phase::Stopping) => {
            plain("503 Service Unavailable", "draining\n")
        }
        _ => plain("404 Not Found", ""),
    };
    match method {
        "GET" => answer,
        // The same without the body.
        "HEAD" => match answer.split_once("\r\n\r\n") {
            Some((head, _)) => format!("{head}\r\n\r\n"),
            None => answer,
        },
        _ => plain("405 Method Not Allowed", ""),
    }
}

fn plain(status: &str, body: &str) -> String {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_application_is_healthy() {
        for (phase, status, text) in [
            (Phase::Starting, "503", "starting"),
            (Phase::Running, "200", "ready"),
            (Phase::Leaving, "503", "draining"),
            (Phase::Stopping, "503", "draining"),
        ] {
            let answer = respond("GET", "/healthz", &[], phase);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")));
            assert!(answer.ends_with(&format!("\r\n\r\n{text}\n")));
        }
    }
}
