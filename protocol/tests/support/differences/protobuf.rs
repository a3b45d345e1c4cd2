//! The protobuf dialect.

use super::Difference;

const UNKNOWN_TYPE: &str = "a field of unknown type cannot be used";
const CUT: &str = "what is cut is refused, not padded";
const NO_SILENT_NUMBERS: &str =
    "a number is in range or refused, a fraction is cut, text is decimal";
const UNDEFINED: &str = "`None` is an absent member: nothing else is undefined in Rust";
const REQUIRED: &str = "an absent required field is an encode error";
const BUFFERS: &str = "buffers are as large as the message";
const PINUS: &str = "uInt64, sInt64 and bool are types, as in pinus";
const CESU: &str = "surrogate pairs of browsers are joined";
const UNSAFE_INTEGERS: &str = "integers are exact or refused";
const NO_FILES: &str = "two empty sets have a version; without files there is no offer to have one";

/// protobuf.json.
pub(super) const PROTOBUF: &[Difference] = &[
    Difference::new(
        "parse schema odd",
        "file",
        r#"refused: "m" at x: unknown type "Missing""#,
        UNKNOWN_TYPE,
    ),
    Difference::new("scalars: double 0", "browser", "refused", CUT),
    Difference::new("scalars: double 1", "browser", "refused", CUT),
    Difference::new("scalars: double -1", "browser", "refused", CUT),
    Difference::new("scalars: double -0", "browser", "refused", CUT),
    Difference::new(
        r#"scalars: uInt32 given string "12abc""#,
        "encode",
        "refused",
        NO_SILENT_NUMBERS,
    ),
    Difference::new(
        "scalars: uInt32 given 1e21 becomes 1",
        "encode",
        "refused",
        NO_SILENT_NUMBERS,
    ),
    Difference::new(
        "scalars: uInt32 given 5e-7 becomes 5",
        "encode",
        "0800",
        NO_SILENT_NUMBERS,
    ),
    Difference::new(
        "scalars: uInt32 given array [7] becomes 7",
        "encode",
        "refused",
        NO_SILENT_NUMBERS,
    ),
    Difference::new(
        "scalars: string given undefined throws",
        "encode",
        "",
        UNDEFINED,
    ),
    Difference::new(
        "required: missing required a gives null",
        "encode",
        "refused",
        REQUIRED,
    ),
    Difference::new(
        "required: missing required c gives null",
        "encode",
        "refused",
        REQUIRED,
    ),
    Difference::new(
        "repeated: double ten short values overflow the buffer and throw",
        "encode",
        "290a000000000000f03f000000000000f03f000000000000f03f000000000000f03f000000000000f03f000000000000f03f000000000000f03f000000000000f03f000000000000f03f000000000000f03f",
        BUFFERS,
    ),
    Difference::new(
        "repeated: message element missing required gives null",
        "encode",
        "refused",
        REQUIRED,
    ),
    Difference::new(
        "nested: inner required missing gives null",
        "encode",
        "refused",
        REQUIRED,
    ),
    Difference::new(
        "nested: inner object null gives null",
        "encode",
        "refused",
        REQUIRED,
    ),
    Difference::new(
        "globals: encode with a global message key as route",
        "browser",
        "refused",
        CUT,
    ),
    Difference::new(
        "odd: uInt64 writes a tag and no value",
        "encode",
        "0805",
        PINUS,
    ),
    Difference::new(
        "odd: uInt64 writes a tag and no value",
        "decode",
        "refused",
        PINUS,
    ),
    Difference::new(
        "odd: uInt64 writes a tag and no value",
        "browser",
        "refused",
        PINUS,
    ),
    Difference::new(
        "odd: uInt64 then another field",
        "encode",
        "08052801",
        PINUS,
    ),
    Difference::new("odd: uInt64 then another field", "decode", "refused", PINUS),
    Difference::new(
        "odd: uInt64 then another field",
        "browser",
        "refused",
        PINUS,
    ),
    Difference::new("odd: repeated sInt64 throws", "encode", "10020204", PINUS),
    Difference::new(
        "odd: bool writes a tag and no value",
        "encode",
        "18012802",
        PINUS,
    ),
    Difference::new(
        "odd: bool writes a tag and no value",
        "decode",
        "refused",
        PINUS,
    ),
    Difference::new(
        "odd: bool writes a tag and no value",
        "browser",
        "refused",
        PINUS,
    ),
    Difference::new(
        "odd: undefined message type writes a tag and no value",
        "encode",
        "refused",
        UNKNOWN_TYPE,
    ),
    Difference::new(
        "odd: undefined message type writes a tag and no value",
        "decode",
        "refused",
        UNKNOWN_TYPE,
    ),
    Difference::new(
        "odd: undefined message type writes a tag and no value",
        "browser",
        "refused",
        UNKNOWN_TYPE,
    ),
    Difference::new(
        "decode scalars: string longer than data is cut",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new(
        "decode scalars: string length only",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new(
        "decode scalars: string CESU-8 emoji",
        "decode",
        r#"{"t":"😀",}"#,
        CESU,
    ),
    Difference::new(
        "decode repeated: nested length too short",
        "decode",
        "refused",
        CUT,
    ),
    Difference::new(
        "decode odd: uInt64 field has no decoder: undefined",
        "decode",
        "refused",
        PINUS,
    ),
    Difference::new(
        "decode odd: repeated sInt64: count undefineds",
        "decode",
        "refused",
        PINUS,
    ),
];

/// varint.json.
pub(super) const VARINT: &[Difference] = &[
    Difference::new(
        "uint 9007199254740992",
        "encode",
        "refused",
        UNSAFE_INTEGERS,
    ),
    Difference::new(
        "uint 18446744073709552000",
        "encode",
        "refused",
        UNSAFE_INTEGERS,
    ),
    Difference::new(
        "uint 100000000000000000000",
        "encode",
        "refused",
        UNSAFE_INTEGERS,
    ),
    Difference::new(
        "sint -4503599627370497",
        "encode",
        "refused",
        UNSAFE_INTEGERS,
    ),
];

/// protos-version.json.
pub(super) const PROTOS_VERSION: &[Difference] = &[Difference::new(
    "neither file",
    "version",
    "xT9OvpsqULwrUv2IpdUD4Q==",
    NO_FILES,
)];
