//! Connector options: each frontend type has others.
//!
//! | type | shows |
//! |---|---|
//! | gate | `check_client`, a blacklist that changes at run time, heartbeats |
//! | connector | handshake with user data, dictionary, protobuf |
//! | tournament | TLS with reload, one session per user, rate limit, `max-connections` (servers.json) |
//! | edge | PROXY protocol, a cipher of the game's own, handshake deadline, one host |

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use pomelo_server::rustls::pki_types::CertificateDer;
use pomelo_server::{
    App, AppBuilder, Blacklist, CloseMethod, Excess, FrontendSession, HandshakeRequest, Hybrid,
    Network, Overflow, RateLimit, Refused, Tls,
};
use serde_json::{Value, json};

use crate::Problem;

/// Both sides of the cipher: a toy, to show where one goes.
const KEY: u8 = 0x5a;

/// What an edge allows a client that connects and says nothing.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(1);

/// How many messages the small mailboxes of edge and tournament hold.
pub(crate) const MAILBOX: usize = 8;

pub(crate) fn plugin(app: AppBuilder, blacklist: Blacklist, tls: Tls) -> AppBuilder {
    app.configure("all", "gate", move |server| {
        let hybrid = Hybrid::new()
            .heartbeat_secs(1)
            .blacklist(blacklist.clone())
            .check_client(|_, version| version != "0.9");
        server.connector(hybrid)
    })
    .configure("all", "connector", |server| {
        let hybrid = Hybrid::new()
            .heartbeat_secs(30)
            .use_dict()
            .use_protobuf()
            .handshake(greet);
        server.connector(hybrid)
    })
    .configure("all", "tournament", move |server| {
        let limit = RateLimit::new().messages(10, 50).excess(Excess::Disconnect);
        let hybrid = Hybrid::new()
            .tls(tls.clone())
            .single_session()
            .rate_limit(limit)
            .close_method(CloseMethod::End)
            .mailbox(MAILBOX, 1 << 16, Overflow::Disconnect);
        server.connector(hybrid)
    })
    .configure("all", "edge", |server| {
        let hybrid = Hybrid::new()
            .proxy_protocol()
            .trusted_proxies([Network::from(IpAddr::from(Ipv4Addr::LOCALHOST))])
            .distinct_host()
            .handshake_timeout(HANDSHAKE_LIMIT)
            .decode(|message, _| Some(Bytes::from(cipher(&message))))
            .encode(|message, _| Some(cipher(message)))
            .mailbox(MAILBOX, 1 << 16, Overflow::DropFrame);
        server.connector(hybrid)
    })
    .handler("tournament.entryHandler.ping", ping)
    .handler("edge.entryHandler.ping", ping)
}

/// Answers where the client is, as far as the server knows.
async fn ping(session: FrontendSession, app: App) -> Value {
    let address = app.sessions().client_address(session.id());
    json!({ "code": 200, "from": address.map(|address| address.ip()) })
}

/// The game's part of the handshake: who is welcome, and what he is told.
async fn greet(request: HandshakeRequest) -> Result<Option<Value>, Refused> {
    let user = request.user().cloned().unwrap_or_default();
    if user.get("banned") == Some(&Value::Bool(true)) {
        return Err(Refused);
    }
    let nick = user.get("nick").and_then(Value::as_str);
    Ok(nick.map(|nick| json!({ "motd": format!("welcome, {nick}") })))
}

/// There and back.
pub(crate) fn cipher(message: &[u8]) -> Vec<u8> {
    message.iter().map(|byte| byte ^ KEY).collect()
}

/// The tournament's certificate, in files as an administrator would have it.
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    tls: Tls,
}

impl Certificate {
    pub(crate) fn new(dir: &Path) -> Result<Self, Problem> {
        let (chain, key) = (dir.join("chain.pem"), dir.join("key.pem"));
        write_certificate(&chain, &key)?;
        let tls = Tls::from_files(&chain, &key)?;
        Ok(Self { chain, key, tls })
    }

    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// What a client may trust in.
    pub(crate) fn read(&self) -> Result<CertificateDer<'static>, Problem> {
        use pomelo_server::rustls::pki_types::pem::PemObject;
        Ok(CertificateDer::from_pem_file(&self.chain)?)
    }

    /// A new one in the same files, which new connections get.
    pub(crate) fn renew(&self) -> Result<(), Problem> {
        write_certificate(&self.chain, &self.key)?;
        Ok(self.tls.reload()?)
    }
}

fn write_certificate(chain: &Path, key: &Path) -> Result<(), Problem> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(chain, made.cert.pem())?;
    fs::write(key, made.signing_key.serialize_pem())?;
    Ok(())
}
