//! Conversations with a server.

use super::Difference;

const EMPTY_DATA: &str = "a data package without a message closes the connection";
const ONE_WRITE: &str = "what comes in one write with the handshake is handled in order";
const HTTP: &str = "HTTP is told apart before the core; here it is an unknown package kind";
const SEVERAL: &str = "a transport message may hold several packages";
const EMPTY: &str = "an empty transport message is ignored";
const CUT: &str = "what is cut is refused, not padded";

/// exchanges.json.
pub(super) const EXCHANGES: &[Difference] = &[
    Difference::new(
        "tcp: data with empty body: the server throws and stops serving this connection",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 > close > >"#,
        EMPTY_DATA,
    ),
    Difference::new(
        "ws: data with empty body: the server throws and stops serving this connection",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 > close > >"#,
        EMPTY_DATA,
    ),
    Difference::new(
        "tcp: handshake, ack and request in one write: ack and request are lost",
        "conversation",
        "> <2665 bytes, sha256 7f7ba0d9680b6a06f4f607698f686c5df9c03504198abf5d83b820153fe6250e>",
        ONE_WRITE,
    ),
    Difference::new(
        "tcp: GET without upgrade is never answered",
        "conversation",
        "> close",
        HTTP,
    ),
    Difference::new(
        "ws: two packages in one frame: closed",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 > \x03\x00\x00\x00 \x03\x00\x00\x00"#,
        SEVERAL,
    ),
    Difference::new(
        "ws: empty binary frame: closed",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 >"#,
        EMPTY,
    ),
    Difference::new(
        "ws: one-byte frame 03 is a heartbeat",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 > close"#,
        CUT,
    ),
    Difference::new(
        "ws: package split over two frames: not joined",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 > close >"#,
        CUT,
    ),
    Difference::new(
        "ws: length field one too large: body padded with a zero byte",
        "conversation",
        r#"> <2592 bytes, sha256 92c48aee173d0e0e2c082ee37065b25a5c4f42e174e3d885f813c416c675c424> > \x03\x00\x00\x00 > close"#,
        CUT,
    ),
];
