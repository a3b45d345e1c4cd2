//! Rust types from `proto/*.proto`, without a `protoc` on the machine.

use std::{error::Error, path::Path};

use protox::prost_reflect::prost_types::{FieldDescriptorProto, field_descriptor_proto::Label};

/// The package whose messages clients see. They travel as JSON and as the dialect, through serde;
/// the cluster's own messages only travel as protobuf and need no serde.
const CLIENT_PACKAGE: &str = "pomelo.chat";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let root = Path::new("proto");
    let files = protox::compile(
        [root.join("chat.proto"), root.join("cluster.proto")],
        [root],
    )?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    for file in files
        .file
        .iter()
        .filter(|file| file.package() == CLIENT_PACKAGE)
    {
        for message in &file.message_type {
            let path = format!(".{CLIENT_PACKAGE}.{}", message.name());
            config.message_attribute(
                &path,
                "#[derive(serde::Serialize, serde::Deserialize)]\n#[serde(default)]",
            );
            for field in &message.field {
                if let Some(attribute) = serde_attribute(field) {
                    config.field_attribute(format!("{path}.{}", field.name()), attribute);
                }
            }
        }
    }
    config.compile_fds(files)?;
    Ok(())
}

/// JSON has the member names of the `.proto` file, and leaves out what protobuf leaves out: absent
/// optional fields and empty lists.
fn serde_attribute(field: &FieldDescriptorProto) -> Option<String> {
    let mut items = Vec::new();
    // prost makes other names snake case.
    if !field
        .name()
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b == b'_')
    {
        items.push(format!("rename = {:?}", field.name()));
    }
    if field.label() == Label::Repeated {
        items.push("skip_serializing_if = \"Vec::is_empty\"".to_owned());
    } else if field.proto3_optional() {
        items.push("skip_serializing_if = \"Option::is_none\"".to_owned());
    }
    (!items.is_empty()).then(|| format!("#[serde({})]", items.join(", ")))
}
