//! Clients behind proxies: the PROXY protocol and the real-ip headers.

use std::time::Duration;

use pomelo_server::{Blacklist, Hybrid, Network, Running};
use tokio::net::TcpStream;

use crate::peer::{HANDSHAKE, Tcp, UPGRADE, Ws, app_with, frame, golden_connector, package, start};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 40001 3010\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x08\x7f\0\0\x01\x9c\x42\x0b\xc2";

fn address_of_only_session(running: &Running) -> String {
    let sessions = running.app("connector-1").unwrap().sessions().all();
    assert_eq!(sessions.len(), 1);
    sessions[0].remote_address().to_string()
}

#[tokio::test]
async fn the_header_names_the_client() {
    for (header, client) in [
        (V1, "203.0.113.7:40001"),
        (V2, "203.0.113.8:40002"),
        (
            b"PROXY TCP6 ::ffff:203.0.113.9 ::1 40003 3010\r\n",
            "203.0.113.9:40003",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 40004 3010\r\n",
            "[2001:db8::1]:40004",
        ),
    ] {
        let (running, address) = start(app_with(golden_connector().proxy_protocol())).await;
        let mut peer = Tcp::connect(address).await;
        // With the handshake in one write, as a proxy may forward it.
        peer.send(&[header, &package(1, HANDSHAKE.as_bytes())].concat())
            .await;
        assert_eq!(peer.package().await[0], 1);
        peer.send(&[2, 0, 0, 0]).await;
        assert_eq!(peer.package().await, [3, 0, 0, 0]);
        assert_eq!(address_of_only_session(&running), client);
        running.stop().await;
    }
}

#[tokio::test]
async fn the_header_may_come_byte_by_byte_before_websocket_too() {
    for header in [V1, V2] {
        let (running, address) = start(app_with(golden_connector().proxy_protocol())).await;
        let mut tcp = Tcp::connect(address).await;
        tcp.stream.set_nodelay(true).unwrap();
        for byte in header {
            tcp.send(&[*byte]).await;
        }
        let mut ws = Ws::over(tcp).await;
        ws.shake_hands().await;
        assert!(address_of_only_session(&running).starts_with("203.0.113."));
        running.stop().await;
    }
}

#[tokio::test]
async fn the_proxys_own_connections_keep_its_address() {
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let (running, address) = start(app_with(golden_connector().proxy_protocol())).await;
        let mut peer = Tcp::connect(address).await;
        let own = peer.stream.local_addr().unwrap().to_string();
        peer.send(header).await;
        peer.shake_hands().await;
        assert_eq!(address_of_only_session(&running), own);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_peer_without_a_good_header_is_closed() {
    let hybrid = golden_connector()
        .proxy_protocol()
        .handshake_timeout(Duration::from_millis(100));
    let (running, address) = start(app_with(hybrid)).await;
    for begun in [
        package(1, HANDSHAKE.as_bytes()),
        UPGRADE.as_bytes().to_vec(),
        [b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
        [b"PROXY UNKNOWN ", &[b'x'; 4096][..]].concat(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 x 1\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        // Half a header, and nothing: closed at the deadline.
        V2[..20].to_vec(),
        Vec::new(),
    ] {
        let mut peer = Tcp::connect(address).await;
        peer.send(&begun).await;
        assert_eq!(peer.rest().await, b"", "{begun:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn only_trusted_proxies_are_believed() {
    let elsewhere: Network = "10.0.0.0/8".parse().unwrap();
    let here: Network = "127.0.0.0/8".parse().unwrap();
    let hybrid = golden_connector().proxy_protocol();
    let (running, address) = start(app_with(hybrid.clone().trusted_proxies([elsewhere]))).await;
    let mut peer = Tcp::connect(address).await;
    peer.send(V1).await;
    assert_eq!(peer.rest().await, b"");
    running.stop().await;
    let (running, address) = start(app_with(hybrid.trusted_proxies([elsewhere, here]))).await;
    let mut peer = Tcp::connect(address).await;
    peer.send(V1).await;
    peer.shake_hands().await;
    running.stop().await;
}

/// Upgrades with these header lines; answers the session's address.
async fn over_http(hybrid: Hybrid, headers: &str) -> String {
    let (running, address) = start(app_with(hybrid)).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    let mut ws = Ws {
        tcp: Tcp { stream },
    };
    ws.tcp
        .send(format!("{UPGRADE}{headers}\r\n").as_bytes())
        .await;
    assert!(ws.http_head().await.starts_with("HTTP/1.1 101 "));
    ws.shake_hands().await;
    let seen = address_of_only_session(&running);
    running.stop().await;
    if seen == own { "own".to_owned() } else { seen }
}

#[tokio::test]
async fn a_header_names_the_client_only_where_it_is_configured() {
    let with = || golden_connector().real_ip_header("X-Forwarded-For");
    let forwarded = "X-Forwarded-For: 203.0.113.1\r\n";
    assert_eq!(over_http(golden_connector(), forwarded).await, "own");
    assert_eq!(over_http(with(), forwarded).await, "203.0.113.1:0");
    assert_eq!(over_http(with(), "").await, "own");
    assert_eq!(
        over_http(with(), "X-Forwarded-For: nobody\r\n").await,
        "own"
    );
    // The client claims the first, the proxy adds the second.
    let two = "X-Forwarded-For: 1.1.1.1, 203.0.113.2:555\r\n";
    assert_eq!(over_http(with(), two).await, "203.0.113.2:555");
    let lines = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: [2001:db8::5]\r\n";
    assert_eq!(over_http(with(), lines).await, "[2001:db8::5]:0");
    let port = with().real_port_header("X-Real-Port");
    let both = "X-Forwarded-For: 203.0.113.3\r\nX-Real-Port: 777\r\n";
    assert_eq!(over_http(port, both).await, "203.0.113.3:777");
}

#[tokio::test]
async fn a_chain_of_trusted_proxies_is_looked_through() {
    let networks = |texts: &[&str]| -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let hybrid = golden_connector().real_ip_header("x-forwarded-for");
    let chain = "X-Forwarded-For: 6.6.6.6, 203.0.113.4, 10.0.0.9\r\n";
    let trusted = networks(&["127.0.0.1", "10.0.0.0/8"]);
    assert_eq!(
        over_http(hybrid.clone().trusted_proxies(trusted), chain).await,
        "203.0.113.4:0"
    );
    // This one does not come from a proxy of ours.
    let elsewhere = networks(&["10.0.0.0/8"]);
    assert_eq!(
        over_http(hybrid.trusted_proxies(elsewhere), chain).await,
        "own"
    );
}

#[tokio::test]
async fn the_host_filter_looks_at_the_client_and_not_at_the_proxy() {
    let list = || Blacklist::new([r"^203\.0\.113\."]).unwrap();
    let (running, address) = start(app_with(
        golden_connector().proxy_protocol().blacklist(list()),
    ))
    .await;
    let mut peer = Tcp::connect(address).await;
    peer.send(V1).await;
    assert_eq!(peer.rest().await, b"");
    running.stop().await;

    let hybrid = golden_connector()
        .real_ip_header("x-real-ip")
        .blacklist(list());
    let (running, address) = start(app_with(hybrid)).await;
    let mut peer = Tcp::connect(address).await;
    peer.send(format!("{UPGRADE}X-Real-IP: 203.0.113.1\r\n\r\n").as_bytes())
        .await;
    assert_eq!(peer.rest().await, b"");
    running.stop().await;
    // Frames directly behind the head of a client that may come are not lost.
    let (running, address) = start(app_with(
        golden_connector()
            .proxy_protocol()
            .real_ip_header("x-real-ip"),
    ))
    .await;
    let mut ws = Ws {
        tcp: Tcp::connect(address).await,
    };
    let head = format!("{UPGRADE}X-Real-IP: 198.51.100.1\r\n\r\n");
    let hello = frame(0x82, &package(1, HANDSHAKE.as_bytes()));
    ws.tcp.send(&[V1, head.as_bytes(), &hello].concat()).await;
    assert!(ws.http_head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(ws.message().await.1[0], 1);
    running.stop().await;
}
