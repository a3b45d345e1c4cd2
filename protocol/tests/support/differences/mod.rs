//! Where this crate differs from the original on purpose.

mod client;
mod exchange;
mod protobuf;
mod wire;

/// What this crate does instead of what a vector shows.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) vector: &'static str,
    pub(crate) aspect: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) rule: &'static str,
}

impl Difference {
    const fn new(
        vector: &'static str,
        aspect: &'static str,
        ours: &'static str,
        rule: &'static str,
    ) -> Self {
        Self {
            vector,
            aspect,
            ours,
            rule,
        }
    }
}

/// The differences from the vectors of one file, by the name that stands in it.
pub(crate) fn of(file: &str) -> &'static [Difference] {
    match file {
        "packages.json" => wire::PACKAGES,
        "messages.json" => wire::MESSAGES,
        "client.json" => client::CLIENT,
        "crypto.json" => CRYPTO,
        "exchanges.json" => exchange::EXCHANGES,
        "protobuf.json" => protobuf::PROTOBUF,
        "varint.json" => protobuf::VARINT,
        "protos-version.json" => protobuf::PROTOS_VERSION,
        _ => &[],
    }
}

/// crypto.json.
const CRYPTO: &[Difference] = &[Difference::new(
    "CJK, signed over UTF-8",
    "accepted",
    "true",
    "a signature over the plain UTF-8 of the text is good, Chinese or not",
)];
