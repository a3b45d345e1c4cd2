//! Packages and messages.

use super::Difference;

const TOO_LONG: &str = "a body over 16777215 bytes is refused";
const KINDS: &str = "only the five kinds exist: others are neither sent nor taken";
const CUT: &str = "what is cut is refused, not padded";
const CODES: &str = "codes are 1..=65535";
const NO_ROUTE: &str = "a response has no route, so no route bit";
const IDS: &str = "ids are 64 bits wide and echoed as they came";
const NO_ID: &str = "an id is an unsigned integer";
const MESSAGE_KINDS: &str = "only the four kinds of message exist";
const TEXT: &str = "UTF-8 and CESU-8 are both read; what is neither is replaced";
const UTF8: &str = "text is written as UTF-8";

/// packages.json.
pub(super) const PACKAGES: &[Difference] = &[
    Difference::new(
        "encode body of 16777216 bytes: length field wraps to 0",
        "encode",
        "refused",
        TOO_LONG,
    ),
    Difference::new(
        "encode unchecked type 0 (written & 0xff)",
        "encode",
        "refused",
        KINDS,
    ),
    Difference::new(
        "encode unchecked type 6 (written & 0xff)",
        "encode",
        "refused",
        KINDS,
    ),
    Difference::new(
        "encode unchecked type 255 (written & 0xff)",
        "encode",
        "refused",
        KINDS,
    ),
    Difference::new(
        "encode unchecked type 256 (written & 0xff)",
        "encode",
        "refused",
        KINDS,
    ),
    Difference::new(
        "encode unchecked type 260 (written & 0xff)",
        "encode",
        "refused",
        KINDS,
    ),
    Difference::new("decode 1 byte [pomelo-protocol]", "message", " cut", CUT),
    Difference::new("decode 1 byte [pinus-protocol]", "message", " cut", CUT),
    Difference::new("decode 2 bytes [pomelo-protocol]", "message", " cut", CUT),
    Difference::new("decode 2 bytes [pinus-protocol]", "message", " cut", CUT),
    Difference::new("decode 3 bytes [pomelo-protocol]", "message", " cut", CUT),
    Difference::new("decode 3 bytes [pinus-protocol]", "message", " cut", CUT),
    Difference::new(
        "decode head only, body missing [pomelo-protocol]",
        "message",
        " cut",
        CUT,
    ),
    Difference::new(
        "decode head only, body missing [pinus-protocol]",
        "message",
        " cut",
        CUT,
    ),
    Difference::new(
        "decode body shorter than length [pomelo-protocol]",
        "message",
        " cut",
        CUT,
    ),
    Difference::new(
        "decode body shorter than length [pinus-protocol]",
        "message",
        " cut",
        CUT,
    ),
    Difference::new(
        "decode trailing extra byte [pomelo-protocol]",
        "message",
        "[4 7a] unknown package kind 0x7a",
        KINDS,
    ),
    Difference::new(
        "decode trailing extra byte [pinus-protocol]",
        "message",
        "[4 7a] unknown package kind 0x7a",
        KINDS,
    ),
    Difference::new(
        "decode trailing 3 bytes [pomelo-protocol]",
        "message",
        "[3 ] cut",
        CUT,
    ),
    Difference::new(
        "decode trailing 3 bytes [pinus-protocol]",
        "message",
        "[3 ] cut",
        CUT,
    ),
    Difference::new(
        "decode type 0 [pomelo-protocol]",
        "message",
        " unknown package kind 0x00",
        KINDS,
    ),
    Difference::new(
        "decode type 0 [pinus-protocol]",
        "message",
        " unknown package kind 0x00",
        KINDS,
    ),
    Difference::new(
        "decode type 6 [pomelo-protocol]",
        "message",
        " unknown package kind 0x06",
        KINDS,
    ),
    Difference::new(
        "decode type 6 [pinus-protocol]",
        "message",
        " unknown package kind 0x06",
        KINDS,
    ),
    Difference::new(
        "decode type 255 [pomelo-protocol]",
        "message",
        " unknown package kind 0xff",
        KINDS,
    ),
    Difference::new(
        "decode type 255 [pinus-protocol]",
        "message",
        " unknown package kind 0xff",
        KINDS,
    ),
    Difference::new(
        "decode bad second type [pomelo-protocol]",
        "message",
        "[3 ] unknown package kind 0x09",
        KINDS,
    ),
    Difference::new(
        "decode bad second type [pinus-protocol]",
        "message",
        "[3 ] unknown package kind 0x09",
        KINDS,
    ),
    Difference::new(
        "decode length 16777215 claimed [pomelo-protocol]",
        "message",
        " cut",
        CUT,
    ),
    Difference::new(
        "decode length 16777215 claimed [pinus-protocol]",
        "message",
        " cut",
        CUT,
    ),
    Difference::new(
        "decode HTTP GET [pomelo-protocol]",
        "message",
        " unknown package kind 0x47",
        KINDS,
    ),
    Difference::new(
        "decode HTTP GET [pinus-protocol]",
        "message",
        " unknown package kind 0x47",
        KINDS,
    ),
];

/// messages.json.
pub(super) const MESSAGES: &[Difference] = &[
    Difference::new("request route code 0", "encode", "refused", CODES),
    Difference::new("request route code 0", "decode", "refused", CODES),
    Difference::new("notify route code 0", "encode", "refused", CODES),
    Difference::new("notify route code 0", "decode", "refused", CODES),
    Difference::new("push route code 0", "encode", "refused", CODES),
    Difference::new("push route code 0", "decode", "refused", CODES),
    Difference::new(
        "response with compressRoute flag",
        "encode",
        "04037b7d",
        NO_ROUTE,
    ),
    Difference::new(
        "id 2147483648 (>= 2^31): buffer is sized for 1 id byte, output is cut",
        "encode",
        "00808080800803612e627b226b223a317d",
        IDS,
    ),
    Difference::new(
        "id 2147483648 (>= 2^31): buffer is sized for 1 id byte, output is cut",
        "decode",
        r#"type 0 id 2147483648 code 0 route "a.b" gzip 0 body 7b226b"#,
        IDS,
    ),
    Difference::new(
        "response id 2147483648 (>= 2^31)",
        "encode",
        "0480808080087b226b223a317d",
        IDS,
    ),
    Difference::new(
        "response id 2147483648 (>= 2^31)",
        "decode",
        "type 2 id 2147483648 code null route null gzip 0 body 7b226b",
        IDS,
    ),
    Difference::new(
        "id 4294967295 (>= 2^31): buffer is sized for 1 id byte, output is cut",
        "encode",
        "00ffffffff0f03612e627b226b223a317d",
        IDS,
    ),
    Difference::new(
        "id 4294967295 (>= 2^31): buffer is sized for 1 id byte, output is cut",
        "decode",
        r#"type 0 id 4294967295 code 0 route "a.b" gzip 0 body 7b226b"#,
        IDS,
    ),
    Difference::new(
        "response id 4294967295 (>= 2^31)",
        "encode",
        "04ffffffff0f7b226b223a317d",
        IDS,
    ),
    Difference::new(
        "response id 4294967295 (>= 2^31)",
        "decode",
        "type 2 id 4294967295 code null route null gzip 0 body 7b226b",
        IDS,
    ),
    Difference::new(
        "id 4294967296 (>= 2^31): buffer is sized for 1 id byte, output is cut",
        "encode",
        "00808080801003612e627b226b223a317d",
        IDS,
    ),
    Difference::new(
        "id 4294967296 (>= 2^31): buffer is sized for 1 id byte, output is cut",
        "decode",
        r#"type 0 id 4294967296 code 0 route "a.b" gzip 0 body 7b226b"#,
        IDS,
    ),
    Difference::new(
        "response id 4294967296 (>= 2^31)",
        "encode",
        "0480808080107b226b223a317d",
        IDS,
    ),
    Difference::new(
        "response id 4294967296 (>= 2^31)",
        "decode",
        "type 2 id 4294967296 code null route null gzip 0 body 7b226b",
        IDS,
    ),
    Difference::new("id 1.5", "encode", "refused", NO_ID),
    Difference::new(
        "decode id 2^31 (5-byte varint) is negative",
        "decode",
        r#"type 0 id 2147483648 code 0 route "a" gzip 0 body 7b7d"#,
        IDS,
    ),
    Difference::new(
        "decode id 2^31 (5-byte varint) is negative [browser]",
        "decode",
        r#"type 0 id 2147483648 code 0 route "a" gzip 0 body 7b7d"#,
        IDS,
    ),
    Difference::new(
        "decode id 2^32-1 is -1",
        "decode",
        r#"type 0 id 4294967295 code 0 route "a" gzip 0 body 7b7d"#,
        IDS,
    ),
    Difference::new(
        "decode id 2^32-1 is -1 [browser]",
        "decode",
        r#"type 0 id 4294967295 code 0 route "a" gzip 0 body 7b7d"#,
        IDS,
    ),
    Difference::new(
        "decode 6-byte id: sixth byte shifts by 35 mod 32",
        "decode",
        r#"type 0 id 34359738369 code 0 route "a" gzip 0 body 7b7d"#,
        IDS,
    ),
    Difference::new(
        "decode 6-byte id: sixth byte shifts by 35 mod 32 [browser]",
        "decode",
        r#"type 0 id 34359738369 code 0 route "a" gzip 0 body 7b7d"#,
        IDS,
    ),
    Difference::new("decode empty [browser]", "decode", "refused", CUT),
    Difference::new(
        "decode flag only request [browser]",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new(
        "decode flag only notify [browser]",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new("decode flag only push [browser]", "decode", "refused", CUT),
    Difference::new("decode type 4", "decode", "refused", MESSAGE_KINDS),
    Difference::new(
        "decode type 4 [browser]",
        "decode",
        "refused",
        MESSAGE_KINDS,
    ),
    Difference::new("decode type 7", "decode", "refused", MESSAGE_KINDS),
    Difference::new(
        "decode type 7 [browser]",
        "decode",
        "refused",
        MESSAGE_KINDS,
    ),
    Difference::new(
        "decode request id truncated [browser]",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new(
        "decode request without route [browser]",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new(
        "decode route with invalid utf-8 [browser]",
        "decode",
        r#"type 3 id 0 code 0 route "�A" gzip 0 body 7b7d"#,
        TEXT,
    ),
    Difference::new(
        "decode route CESU-8",
        "decode",
        r#"type 3 id 0 code 0 route "😀" gzip 0 body 7b7d"#,
        TEXT,
    ),
    Difference::new(
        "decode route 4-byte utf-8 [browser]",
        "decode",
        r#"type 3 id 0 code 0 route "😀" gzip 0 body 7b7d"#,
        TEXT,
    ),
    Difference::new(
        r#"browser encode notify route "r😀""#,
        "encode",
        "020572f09f98807b2274223a2272f09f9880227d",
        UTF8,
    ),
];
