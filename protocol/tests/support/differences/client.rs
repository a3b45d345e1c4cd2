//! The browser client.

use super::Difference;

const RESPONSE: &str = "an unusable handshake response ends the connection";
const ID_0: &str = "a response with id 0 answers nothing";
const QUEUED: &str = "requests wait until the handshake is finished";
const UNKNOWN_CODE: &str = "a push with an unknown code is dropped";
const TEXT: &str = "UTF-8 and CESU-8 are both read; what is neither is replaced";
const ESCAPED: &str = "characters above U+FFFF are escaped, which every client reads";
const KICKED: &str = "any kick ends the session, with its reason if it has one";
const UNKNOWN_KIND: &str =
    "an acknowledgement is ignored at a client, an unknown kind ends the connection";
const ONE_HANDSHAKE: &str = "a second handshake response is ignored";
const WIRE_TYPE: &str = "integers are written with wire type 0";
const MISFIT: &str = "a message that does not fit its schema is an error of the caller";
const HEARTBEAT: &str = "one heartbeat every interval from the acknowledgement on; silence of two intervals and 100 ms ends the connection";

/// client.json.
pub(super) const CLIENT: &[Difference] = &[
    Difference::new(
        "handshake not JSON",
        "log",
        "10 closed: bad handshake: not a JSON object;",
        RESPONSE,
    ),
    Difference::new(
        "answer twice, unknown id, id 0",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 sent \x04\x00\x00\x06\x01\x01\x00\x01{}; 30 answer to a.b.c {}; 40 refused; 50 refused; 60 refused;"#,
        ID_0,
    ),
    Difference::new(
        "request before the handshake answer",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 sent \x04\x00\x00\x06\x01\x01\x00\x01{}; 10 ready;"#,
        QUEUED,
    ),
    Difference::new(
        "push plain, by code, unknown code",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 push onX {"a":1}; 30 push onChat {"a":2}; 40 refused;"#,
        UNKNOWN_CODE,
    ),
    Difference::new(
        "push with astral character: raw, then escaped",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 push onX {"a":"😀x"}; 30 push onX {"a":"😀x"};"#,
        TEXT,
    ),
    Difference::new(
        "send astral character",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 sent \x04\x00\x00\x17\x02\x01n{\"a\":\"\\ud83d\\ude00\"};"#,
        ESCAPED,
    ),
    Difference::new(
        "kick with empty body",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 kicked;"#,
        KICKED,
    ),
    Difference::new(
        "package types 2 and 9",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 30 closed: protocol violation: unknown package kind 0x09;"#,
        UNKNOWN_KIND,
    ),
    Difference::new(
        "second handshake answer replaces the dictionary",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 30 sent \x04\x00\x00\x06\x01\x01\x00\x01{};"#,
        ONE_HANDSHAKE,
    ),
    Difference::new(
        "protobuf request, answer, push",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 sent \x04\x00\x00\n\x01\x01\x00\x01\x08\xac\x02\x12\x01x; 30 answer to a.b.c {"code":200}; 40 push onPb {"a":5,"s":"a"}; 50 push onPb {};"#,
        WIRE_TYPE,
    ),
    Difference::new(
        "protobuf request missing a required field: empty body",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 not sent;"#,
        MISFIT,
    ),
    Difference::new(
        "stored protos and their version",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 20 sent \x04\x00\x00\n\x00\x01\x05a.b.c\x08\x01;"#,
        WIRE_TYPE,
    ),
    Difference::new(
        "heartbeat: echo one interval after each",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00; 6010 sent \x03\x00\x00\x00; 9010 sent \x03\x00\x00\x00;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat: no heartbeat from the server, none sent",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00; 6010 sent \x03\x00\x00\x00; 6110 heartbeat timeout;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat: server silent after ours: closed after twice the interval",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00; 6010 sent \x03\x00\x00\x00; 6120 heartbeat timeout;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat: other messages move the deadline",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00; 6010 sent \x03\x00\x00\x00; 6020 push onX {}; 8970 push onX {}; 9010 sent \x03\x00\x00\x00; 12010 sent \x03\x00\x00\x00; 15010 sent \x03\x00\x00\x00; 15070 heartbeat timeout;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat: gap of 100 ms or less counts as timeout",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00; 3120 push onX {}; 6010 sent \x03\x00\x00\x00; 9010 sent \x03\x00\x00\x00; 9220 heartbeat timeout;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat: two in a row send one",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat: fraction of a second",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 510 sent \x03\x00\x00\x00; 1010 sent \x03\x00\x00\x00; 1120 heartbeat timeout;"#,
        HEARTBEAT,
    ),
    Difference::new(
        "heartbeat before the handshake answer is ignored",
        "log",
        r#"10 sent \x02\x00\x00\x00; 10 ready; 3010 sent \x03\x00\x00\x00; 6010 sent \x03\x00\x00\x00; 6110 heartbeat timeout;"#,
        HEARTBEAT,
    ),
];
