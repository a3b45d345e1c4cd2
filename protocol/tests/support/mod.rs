//! Checks golden vectors, one file at a time. The format is described in `tests/golden/README.md`.
//!
//! Every vector becomes a few comparisons between what the original library did and what this
//! crate does, both as text. Where a rule of ours differs from the original, the difference is
//! written down in [`differences`] together with what we do instead.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests; a malformed vector may panic, the runner catches it"
)]

mod client;
mod connectors;
mod differences;
mod exchange;
mod js;
mod protobuf;
mod values;
mod wire;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use differences::Difference;

/// One comparison of the original with this crate.
#[derive(Debug)]
pub(crate) struct Check {
    /// Which of several comparisons of one vector this is.
    aspect: &'static str,
    original: String,
    ours: String,
}

impl Check {
    fn new(aspect: &'static str, original: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            aspect,
            original: original.into(),
            ours: ours.into(),
        }
    }
}

/// The outcome of one file.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<Failure>,
    /// Entries of the table of differences that no vector of the file has used.
    pub(crate) unused: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Failure {
    vector: String,
    why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.vector, self.why)
    }
}

/// Checks the vectors of one file.
pub(crate) fn check_file(text: &str) -> Report {
    let mut report = Report::default();
    let file: Value = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            report.fail("(file)", format!("not JSON: {error}"));
            return report;
        }
    };
    let Some(vectors) = file["vectors"].as_array() else {
        report.fail("(file)", "no list `vectors`".into());
        return report;
    };
    if file["count"].as_u64() != u64::try_from(vectors.len()).ok() {
        report.fail("(file)", "`count` is not the number of vectors".into());
    }
    let table = differences::of(file["file"].as_str().unwrap_or_default());
    let mut used = BTreeSet::new();
    for vector in vectors {
        let name = vector["name"].as_str().unwrap_or("(no name)");
        let checks = catch_unwind(AssertUnwindSafe(|| checks(&file, vector)))
            .unwrap_or_else(|_| Err("malformed vector, see the panic above".into()));
        match checks.and_then(|checks| compare(name, &checks, table, &mut used)) {
            Ok(()) => report.passed += 1,
            Err(why) => report.fail(name, why),
        }
    }
    report.unused = table
        .iter()
        .filter(|difference| !used.contains(&(difference.vector, difference.aspect)))
        .map(|difference| format!("{} ({})", difference.vector, difference.aspect))
        .collect();
    report
}

impl Report {
    fn fail(&mut self, vector: &str, why: String) {
        self.failed.push(Failure {
            vector: vector.to_owned(),
            why,
        });
    }
}

fn compare(
    name: &str,
    checks: &[Check],
    table: &[Difference],
    used: &mut BTreeSet<(&'static str, &'static str)>,
) -> Result<(), String> {
    if checks.is_empty() {
        return Err("nothing to compare".into());
    }
    let mut wrong = Vec::new();
    for check in checks {
        let difference = table
            .iter()
            .find(|difference| difference.vector == name && difference.aspect == check.aspect);
        let Check {
            aspect,
            original,
            ours,
        } = check;
        match difference {
            None if ours == original => {}
            None => wrong.push(format!("{aspect}: ours `{ours}`, original `{original}`")),
            Some(Difference { rule, .. }) if ours == original => {
                wrong.push(format!("{aspect}: is no difference any more ({rule})"));
            }
            Some(known) if ours != known.ours => {
                let (expected, rule) = (known.ours, known.rule);
                wrong.push(format!(
                    "{aspect}: ours `{ours}`, not `{expected}` ({rule})"
                ));
            }
            Some(known) => {
                used.insert((known.vector, known.aspect));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

fn checks(file: &Value, vector: &Value) -> Result<Vec<Check>, String> {
    let kind = vector["kind"].as_str().unwrap_or_default();
    Ok(match kind {
        "package.encode" => wire::package_encode(vector),
        "package.decode" => wire::package_decode(vector),
        "message.encode" => wire::message_encode(vector),
        "message.decode" => wire::message_decode(vector),
        "dictionary" => wire::dictionary(vector),
        "handshake" => wire::handshake(&file["fixture"], vector),
        "client" => client::client(vector),
        "crc32" => connectors::crc32(vector),
        "sio.request" => connectors::sio_request(vector),
        "sio.send" => connectors::sio_send(vector),
        "mqtt.publish" => connectors::mqtt_publish(vector),
        "crypto" => connectors::crypto(vector),
        "exchange" => exchange::exchange(&file["app"], vector),
        "protobuf.parse" => protobuf::parse(file, vector),
        "protobuf.encode" => protobuf::encode(file, vector),
        "protobuf.decode" => protobuf::decode(file, vector),
        "varint.uint" | "varint.sint" => protobuf::varint(kind, vector),
        "protos-version" => protobuf::protos_version(vector),
        _ => return Err(format!("unknown kind `{kind}`")),
    })
}
