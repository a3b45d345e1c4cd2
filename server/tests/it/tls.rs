//! TLS on the clients' port, with real certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pomelo_server::{CloseMethod, Msg, Overflow, State, Tls, TlsError, rustls};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::peer::{
    HANDSHAKE, Tcp, Ws, app_with, golden_app, golden_connector, package, request, response, start,
};

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn pem(certificate: &CertifiedKey<KeyPair>) -> (String, String) {
    (
        certificate.cert.pem(),
        certificate.signing_key.serialize_pem(),
    )
}

fn tls_of(certificate: &CertifiedKey<KeyPair>) -> Tls {
    let (chain, key) = pem(certificate);
    Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

fn client_config(certificate: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// A client that believes in nobody but this certificate.
async fn secure(
    certificate: &CertifiedKey<KeyPair>,
    stream: TcpStream,
) -> std::io::Result<Tcp<TlsStream<TcpStream>>> {
    let connector = TlsConnector::from(client_config(certificate.cert.der()));
    let stream = connector.connect(localhost(), stream).await?;
    Ok(Tcp { stream })
}

#[tokio::test]
async fn tcp_and_websocket_speak_inside_tls_on_one_port() {
    let certificate = certificate();
    let (running, address) = start(app_with(golden_connector().tls(tls_of(&certificate)))).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut tcp = secure(&certificate, stream).await.unwrap();
    tcp.shake_hands().await;
    // Larger than a record, a read and the kernel's buffers, both ways.
    let text = "x".repeat(700_000);
    let body = format!(r#"{{"text":"{text}"}}"#);
    let sent = request(7, "connector.entryHandler.echo", &body);
    let (mut reader, mut writer) = tokio::io::split(tcp.stream);
    let writing = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        writer.write_all(&sent).await.unwrap();
        writer.flush().await.unwrap();
        writer
    });
    let mut head = [0; 6];
    use tokio::io::AsyncReadExt;
    reader.read_exact(&mut head).await.unwrap();
    let len = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
    let mut answer = vec![0; len - 2];
    reader.read_exact(&mut answer).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["body"]["text"], json!(text));
    let mut tcp = Tcp {
        stream: reader.unsplit(writing.await.unwrap()),
    };

    let stream = TcpStream::connect(address).await.unwrap();
    let mut ws = Ws::over(secure(&certificate, stream).await.unwrap()).await;
    ws.shake_hands().await;
    ws.send(&request(1, "connector.entryHandler.nothing", "{}"))
        .await;
    assert_eq!(ws.message().await, (0x82, response(1, "{}")));

    // The end is TLS's own: a client that insists on it (as this one does) sees no truncation.
    running.stop().await;
    let kick = package(5, br#"{"reason":"server stop"}"#);
    assert_eq!(tcp.rest().await, kick);
    assert_eq!(ws.message().await, (0x82, kick));
    assert_eq!(ws.message().await, (0x88, vec![0x03, 0xe8]));
    assert_eq!(ws.tcp.rest().await, b"");
}

#[tokio::test]
async fn plain_clients_need_to_be_allowed() {
    let certificate = certificate();
    let only = golden_connector().tls(tls_of(&certificate));
    let (running, address) = start(app_with(only.clone())).await;
    for begun in [
        package(1, HANDSHAKE.as_bytes()),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut plain = Tcp::connect(address).await;
        plain.send(&begun).await;
        assert_eq!(plain.rest().await, b"");
    }
    running.stop().await;

    let (running, address) = start(app_with(only.allow_plain())).await;
    Tcp::ready(address).await;
    Ws::ready(address).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut tcp = secure(&certificate, stream).await.unwrap();
    tcp.shake_hands().await;
    running.stop().await;
}

#[tokio::test]
async fn tls_where_there_is_none_is_closed() {
    let (running, address) = start(golden_app()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    assert!(secure(&certificate(), stream).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte() {
    let certificate = certificate();
    let (running, address) = start(app_with(golden_connector().tls(tls_of(&certificate)))).await;
    let config = client_config(certificate.cert.der());
    let mut hello = Vec::new();
    ClientConnection::new(config, localhost())
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    let mut peer = Tcp::connect(address).await;
    peer.stream.set_nodelay(true).unwrap();
    for byte in hello {
        peer.send(&[byte]).await;
    }
    assert_eq!(peer.exactly(1).await, [0x16]);
    running.stop().await;
}

#[tokio::test]
async fn half_a_hello_and_garbage_cost_only_their_sender() {
    let certificate = certificate();
    let hybrid = golden_connector()
        .tls(tls_of(&certificate))
        .handshake_timeout(Duration::from_millis(200));
    let (running, address) = start(app_with(hybrid)).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut neighbour = secure(&certificate, stream).await.unwrap();
    neighbour.shake_hands().await;

    // An announced record of 512 bytes of which 3 come: closed at the handshake's deadline.
    let mut half = Tcp::connect(address).await;
    half.send(&[0x16, 3, 1, 2, 0, 1, 0, 1]).await;
    assert_eq!(half.rest().await, b"");
    // What is no hello gets an alert and the end.
    let mut garbage = Tcp::connect(address).await;
    garbage.send(&[0x16, 3, 1, 0, 4, 0xff, 0, 0, 0]).await;
    let alert = garbage.rest().await;
    assert_eq!(alert.first(), Some(&0x15), "{alert:?}");
    // A record longer than TLS allows.
    let mut long = Tcp::connect(address).await;
    long.send(&[0x16, 3, 1, 0xff, 0xff, 1]).await;
    assert_ne!(long.rest().await.first(), Some(&0x16));
    // A handshake that is finished in TLS but not in pomelo's sense.
    let stream = TcpStream::connect(address).await.unwrap();
    let mut silent = secure(&certificate, stream).await.unwrap();
    use tokio::io::AsyncReadExt;
    let read = silent.stream.read(&mut [0; 8]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");

    neighbour.send(&[3, 0, 0, 0]).await;
    assert_eq!(neighbour.package().await, [3, 0, 0, 0]);
    running.stop().await;
}

#[tokio::test]
async fn garbage_inside_an_established_session_ends_it() {
    let certificate = certificate();
    let (running, address) = start(app_with(golden_connector().tls(tls_of(&certificate)))).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut tcp = secure(&certificate, stream).await.unwrap();
    tcp.shake_hands().await;
    // Past the encryption, onto the socket itself.
    let (mut stream, _) = tcp.stream.into_inner();
    use tokio::io::AsyncWriteExt;
    stream.write_all(&[0x17, 3, 3, 0, 2, 1, 2]).await.unwrap();
    let mut bare = Tcp { stream };
    bare.rest().await;
    let view = running.app("connector-1").unwrap();
    while view.sessions().count() > 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

fn write(paths: &(PathBuf, PathBuf), (chain, key): (String, String)) {
    fs::write(&paths.0, chain).unwrap();
    fs::write(&paths.1, key).unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_while_clients_are_there() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let paths = (dir.join("chain.pem"), dir.join("key.pem"));
    let (old, new) = (certificate(), certificate());
    write(&paths, pem(&old));
    let tls = Tls::from_files(&paths.0, &paths.1).unwrap();
    let (running, address) = start(app_with(golden_connector().tls(tls.clone()))).await;
    let connect = async || TcpStream::connect(address).await.unwrap();
    let mut before = secure(&old, connect().await).await.unwrap();
    before.shake_hands().await;

    // A key of another certificate, and no certificate at all: the old one stays.
    write(&paths, (pem(&old).0, pem(&new).1));
    assert!(matches!(tls.reload(), Err(TlsError::Unusable(_))));
    write(&paths, (String::new(), pem(&new).1));
    assert!(matches!(tls.reload(), Err(TlsError::Chain(_))));
    write(&paths, (pem(&new).0, "no key".to_owned()));
    assert!(matches!(tls.reload(), Err(TlsError::Key(_))));
    secure(&old, connect().await).await.unwrap();

    write(&paths, pem(&new));
    tls.reload().unwrap();
    assert!(secure(&old, connect().await).await.is_err());
    let mut after = secure(&new, connect().await).await.unwrap();
    after.shake_hands().await;
    before.send(&[3, 0, 0, 0]).await;
    assert_eq!(before.package().await, [3, 0, 0, 0]);

    fs::remove_dir_all(&dir).unwrap();
    assert!(
        matches!(tls.reload(), Err(TlsError::Read { path, .. }) if path.ends_with("chain.pem"))
    );
    let inline = tls_of(&old);
    assert!(matches!(inline.reload(), Err(TlsError::NoFiles)));
    running.stop().await;
}

#[tokio::test]
async fn what_came_whole_before_garbage_is_still_heard() {
    use std::io::Write;
    use tokio::io::AsyncWriteExt;

    let certificate = certificate();
    let (heard, mut hearing) = tokio::sync::mpsc::channel::<String>(1);
    let app = app_with(golden_connector().tls(tls_of(&certificate)))
        .state(heard)
        .handler(
            "connector.t.tell",
            async |State(heard): State<tokio::sync::mpsc::Sender<String>>,
                   Msg(text): Msg<String>| {
                heard.send(text).await.unwrap();
            },
        );
    let (running, address) = start(app).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut tcp = secure(&certificate, stream).await.unwrap();
    tcp.shake_hands().await;
    let (mut stream, mut session) = tcp.stream.into_inner();
    session
        .writer()
        .write_all(&request(1, "connector.t.tell", "\"last words\""))
        .unwrap();
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    bytes.extend([0x17, 3, 3, 0, 2, 1, 2]);
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(hearing.recv().await.unwrap(), "last words");
    Tcp { stream }.rest().await;
    running.stop().await;
}

#[tokio::test]
async fn a_full_mailbox_ends_a_connection_that_waits() {
    for method in [CloseMethod::Destroy, CloseMethod::End] {
        let certificate = certificate();
        let hybrid = golden_connector()
            .tls(tls_of(&certificate))
            .mailbox(8, 1 << 16, Overflow::Disconnect)
            .close_method(method);
        let (running, address) = start(app_with(hybrid)).await;
        let stream = TcpStream::connect(address).await.unwrap();
        let mut tcp = secure(&certificate, stream).await.unwrap();
        tcp.shake_hands().await;
        let channels = running.app("connector-1").unwrap().channels();
        let mut overflowed = 0;
        // Before the connection gets to write.
        for _ in 0..12 {
            let report = channels.broadcast("connector", "n", &1).await;
            overflowed += report.unwrap().overflowed;
        }
        assert_eq!(overflowed, 1);
        assert_eq!(tcp.rest().await, b"");
        drop(tcp);
        running.stop().await;
    }
}
