//! Seeds of the corpora, made of the golden vectors.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::Error;

/// Longer vectors are about length and only slow the fuzzer down.
const MAX_LEN: usize = 700;
const PACKAGE_HEAD: usize = 4;

/// Sessions for `connection_ops`, each run under several option bytes. An operation is a byte,
/// most with an argument: `pomelo_protocol::fuzzing` has the list.
const SESSIONS: [&[u8]; 6] = [
    // Requests before the handshake, which then goes through; answers and pushes.
    &[
        5, 0, 5, 1, 7, 2, 0, 2, 0, 4, 0, 1, 3, 0, 0, 2, 0, 10, 0, 9, 3, 9, 4, 1, 3, 0,
    ],
    // Byte by byte.
    &[
        0, 2, 1, 2, 3, 2, 0, 4, 0x90, 1, 3, 5, 3, 0, 5, 7, 0, 2, 1, 2, 0, 10, 0, 1, 3, 1,
    ],
    // Heartbeats, silence, then the timeout.
    &[
        0, 2, 0, 4, 0, 1, 3, 0, 0, 2, 0, 12, 1, 0, 2, 0, 1, 3, 0, 12, 1, 12, 1, 12, 1, 12, 1,
    ],
    // Forgotten, answered twice, kicked.
    &[
        0, 2, 0, 4, 0, 1, 3, 0, 5, 0, 5, 1, 8, 0, 0, 2, 0, 10, 0xf0, 10, 0, 9, 0, 15, 1, 3, 0,
    ],
    // Garbage, the end of the stream, and a close.
    &[
        0, 2, 0, 4, 0, 1, 3, 0, 0, 13, 4, 2, 0, 14, 3, 3, 0, 17, 0, 16, 4, 5, 0,
    ],
    // Refused.
    &[5, 0, 0, 2, 0, 4, 0xff, 1, 3, 0, 12, 0],
];
const OPTIONS: [u8; 5] = [0, 0b0000_1001, 0b0000_1110, 0b0110_1000, 0b1001_1111];

/// Writes the corpora; what else is in them stays.
pub(super) fn write(root: &Path) -> Result<(), Error> {
    let golden = |name| read(root, name);

    let mut packages = BTreeSet::new();
    for vector in vectors(&golden("packages.json")?) {
        // Limits of the body as the target reads them, in units of 16 bytes, and cuts.
        for head in [[0xff, 0], [0xff, 4], [1, 1]] {
            packages.extend(hex(vector, "hex").map(|bytes| [&head, &*bytes].concat()));
        }
    }
    save(root, "package", packages)?;

    let mut messages = BTreeSet::new();
    for vector in vectors(&golden("messages.json")?) {
        messages.extend(hex(vector, "hex"));
    }
    save(root, "message", messages)?;

    let protobuf = golden("protobuf.json")?;
    let mut bodies = BTreeSet::new();
    for vector in vectors(&protobuf) {
        let schema = vector["schema"]
            .as_str()
            .and_then(|name| protobuf.get("schemas")?.get(name));
        for bytes in hex(vector, "hex")
            .into_iter()
            .chain(hex(&vector["clientBuild"], "hex"))
        {
            let schema = schema.map(Value::to_string).unwrap_or_default();
            bodies.insert([schema.as_bytes(), &[0], &bytes].concat());
        }
    }
    for pick in 1..=4 {
        // A body that every schema of the target has something in, by its tags.
        bodies.insert(vec![
            pick, 0, 0x08, 0x01, 0x10, 0x03, 0x32, 0x02, 0x08, 0x01,
        ]);
    }
    save(root, "protobuf", bodies)?;

    let mut documents = BTreeSet::new();
    for vector in vectors(&golden("handshake.json")?) {
        documents.extend(
            vector["requestBody"]
                .as_str()
                .map(|text| text.as_bytes().to_vec()),
        );
        for event in vector["events"].as_array().into_iter().flatten() {
            let sent = hex(event, "send");
            documents.extend(sent.and_then(|bytes| Some(bytes.get(PACKAGE_HEAD..)?.to_vec())));
        }
    }
    save(root, "handshake", documents)?;

    let sessions = SESSIONS
        .iter()
        .flat_map(|session| OPTIONS.map(|options| [&[options], *session].concat()));
    save(root, "connection_ops", sessions.collect())
}

fn read(root: &Path, name: &'static str) -> Result<Value, Error> {
    let path = root.join("protocol/tests/golden").join(name);
    let text = fs::read_to_string(path).map_err(Error::io(name))?;
    serde_json::from_str(&text).map_err(|_| Error::Golden(name))
}

fn vectors(file: &Value) -> impl Iterator<Item = &Value> {
    file["vectors"].as_array().into_iter().flatten()
}

/// The bytes of a member in hex; `None` where a vector has only their length and hash.
fn hex(vector: &Value, member: &str) -> Option<Vec<u8>> {
    let digits = vector[member].as_str()?.as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn save(root: &Path, target: &str, seeds: BTreeSet<Vec<u8>>) -> Result<(), Error> {
    let dir = root.join("fuzz/corpus").join(target);
    fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))?;
    let seeds = seeds.into_iter().filter(|seed| seed.len() <= MAX_LEN);
    for (index, seed) in seeds.enumerate() {
        let path = dir.join(format!("golden-{index:03}"));
        fs::write(&path, seed).map_err(Error::io(path.display().to_string()))?;
    }
    Ok(())
}
