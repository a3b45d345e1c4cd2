//! `.proto` files to pomelo's `clientProtos.json` and `serverProtos.json`.
//!
//! A message says with an option which routes it is the body of (`pomelo/options.proto`, which the
//! converter brings along):
//!
//! ```proto
//! syntax = "proto3";
//! import "pomelo/options.proto";
//!
//! message Move {
//!   option (pomelo.client) = "area.playerHandler.move"; // clientProtos.json
//!   option (pomelo.server) = "onMove";                  // serverProtos.json
//!   string entity = 1 [(pomelo.required) = true];
//!   repeated Point path = 2;
//!   message Point { sint32 x = 1; sint32 y = 2; }
//! }
//! ```
//!
//! Messages that are used as the type of a field follow by themselves: into the definition of the
//! message that contains them if nobody else uses them, otherwise as a global `message Name`. The
//! dialect looks for a name in the definition at hand, then among the globals, and nowhere else.
//! Names are made unique, so neither can shadow the other.
//!
//! | `.proto` | dialect |
//! |---|---|
//! | `uint32`, `uint64` | `uInt32` |
//! | `sint32`, `sint64` | `sInt32` |
//! | `int32`, `int64`, `bool`, an enum, with `[(pomelo.as) = UINT32]` | `uInt32` |
//! | `float`, `double`, `string` | the same |
//! | a message | the same, nested or global |
//! | `repeated` | `repeated` |
//! | `[(pomelo.required) = true]`, proto2 `required` | `required` |
//! | any other field | `optional` |
//!
//! Everything else is refused, see [`Reason`]: a schema that quietly means something else costs more
//! than one that does not build. What is converted but needs care is a [`Note`].

mod error;
mod names;
mod schema;

use std::path::Path;

use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
};
use serde_json::Value;

pub use error::{Caution, ConvertError, Note, Place, Reason, Refusal};

/// What [`convert`] makes: the contents of the two files, members in the order they are written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Converted {
    /// `clientProtos.json`: bodies from the client.
    pub client: Value,
    /// `serverProtos.json`: bodies from the server.
    pub server: Value,
    /// What was converted but needs care.
    pub notes: Vec<Note>,
}

/// Converts `.proto` files. `includes` are the directories imports are looked up in; every file
/// must lie in one of them.
///
/// Only messages of `files` get routes; imported files give types. Routes come in the order of the
/// files (a file after those it imports) and of the messages in them, so the same input gives the
/// same text and the same schema version.
///
/// # Errors
///
/// [`ConvertError::Compile`] when the files are not correct protobuf or cannot be read,
/// [`ConvertError::Refused`] with everything the dialect cannot express, and
/// [`ConvertError::NoRoutes`] when no message has a route.
pub fn convert<F, I>(
    files: impl IntoIterator<Item = F>,
    includes: impl IntoIterator<Item = I>,
) -> Result<Converted, ConvertError>
where
    F: AsRef<Path>,
    I: AsRef<Path>,
{
    let mut resolver = ChainFileResolver::new();
    for include in includes {
        resolver.add(IncludeFileResolver::new(include.as_ref().to_owned()));
    }
    resolver.add(OptionsResolver);
    resolver.add(GoogleFileResolver::new());

    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_files(files)?;
    schema::Schema::read(&compiler).write()
}

/// Knows `pomelo/options.proto`, so that users need no copy of it.
struct OptionsResolver;

impl FileResolver for OptionsResolver {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "pomelo/options.proto" {
            File::from_source(name, include_str!("../../proto/pomelo/options.proto"))
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}
