//! From descriptors to the two JSON objects.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    ReflectMessage, Value as ReflectValue,
};
use protox::Compiler;
use serde_json::{Map, Value};

use super::{
    Caution, ConvertError, Converted, Note, Place, Reason, Refusal,
    names::{Names, Used, in_file_order},
};

/// The original's encoder computes `tag << 3` in signed 32 bits.
const MAX_TAG: u32 = (1 << 28) - 1;

/// What the one length byte of a route in a message can say.
const MAX_ROUTE: usize = 255;

/// Types of the dialect and of its pinus variant.
const TYPES: [&str; 9] = [
    "uInt32", "int32", "sInt32", "float", "double", "string", "uInt64", "sInt64", "bool",
];

/// Members of the parsed form (pomelo-protobuf 0.4.0 parser.js) and members every JavaScript object
/// has: the original looks all names up in plain objects and would find these.
const RESERVED: [&str; 14] = [
    "__messages",
    "__tags",
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// One of the two files.
#[derive(Default)]
struct Side {
    routes: Vec<(String, MessageDescriptor)>,
    used: Used,
}

/// Everything read from the files, and everything wrong with them.
pub(super) struct Schema {
    client: Side,
    server: Side,
    report: Report,
}

impl Schema {
    pub(super) fn read(compiler: &Compiler) -> Self {
        let pool = compiler.descriptor_pool();
        let paths = compiler.files().filter_map(|file| {
            file.path()
                .map(|path| (file.name().to_owned(), path.display().to_string()))
        });
        let mut report = Report {
            paths: paths.collect(),
            ..Report::default()
        };

        let mut messages = Vec::new();
        for file in compiler.files().filter(|file| !file.is_import()) {
            if let Some(file) = pool.get_file_by_name(file.name()) {
                messages.extend(file.messages().flat_map(with_children));
            }
        }
        let client = Side::read("pomelo.client", &messages, &mut report);
        let server = Side::read("pomelo.server", &messages, &mut report);

        let requests: HashSet<&str> = client.routes.iter().map(|(r, _)| r.as_str()).collect();
        for (route, message) in &server.routes {
            // Handlers have three parts; pushes usually one.
            if requests.contains(route.as_str()) || route.matches('.').count() == 2 {
                report.note(
                    report.message(message),
                    Caution::ResponseRoute(route.clone()),
                );
            }
        }
        Self {
            client,
            server,
            report,
        }
    }

    pub(super) fn write(mut self) -> Result<Converted, ConvertError> {
        if self.report.refusals.is_empty()
            && self.client.routes.is_empty()
            && self.server.routes.is_empty()
        {
            return Err(ConvertError::NoRoutes);
        }
        let names = Names::of(
            self.client
                .used
                .messages()
                .chain(self.server.used.messages()),
        );
        for message in self
            .client
            .used
            .messages()
            .chain(self.server.used.messages())
        {
            self.report.check_name(message, names.get(message));
        }
        let client = self.client.write(&names, &mut self.report);
        let server = self.server.write(&names, &mut self.report);
        let Report {
            refusals, notes, ..
        } = self.report;
        if refusals.is_empty() {
            Ok(Converted {
                client,
                server,
                notes,
            })
        } else {
            Err(ConvertError::Refused(refusals))
        }
    }
}

impl Side {
    fn read(option: &str, messages: &[MessageDescriptor], report: &mut Report) -> Self {
        let mut side = Self::default();
        let mut taken = HashMap::<String, String>::new();
        for message in messages {
            for route in routes(message, option) {
                if !is_route(&route) {
                    report.refuse(report.message(message), Reason::Route(route));
                } else if RESERVED.contains(&route.as_str()) {
                    report.refuse(report.message(message), Reason::ReservedName(route));
                } else if let Some(first) = taken.get(&route) {
                    let first = first.clone();
                    report.refuse(
                        report.message(message),
                        Reason::DuplicateRoute { route, first },
                    );
                } else {
                    taken.insert(route.clone(), message.full_name().to_owned());
                    side.used.add_below(message);
                    side.routes.push((route, message.clone()));
                }
            }
        }
        side
    }

    fn write(&self, names: &Names, report: &mut Report) -> Value {
        let mut file = Map::new();
        for (route, message) in &self.routes {
            file.insert(route.clone(), self.definition(message, names, report));
        }
        for message in self.used.globals() {
            let key = format!("message {}", names.get(message));
            file.insert(key, self.definition(message, names, report));
        }
        Value::Object(file)
    }

    fn definition(&self, message: &MessageDescriptor, names: &Names, report: &mut Report) -> Value {
        report.check_message(message);
        let mut members = Map::new();
        for field in in_file_order(message) {
            if let Some(key) = field_key(&field, names, report) {
                members.insert(key, field.number().into());
            }
        }
        // A message contains the nested ones in the .proto file, too, so this ends.
        for nested in self.used.nested_in(message) {
            let key = format!("message {}", names.get(nested));
            members.insert(key, self.definition(nested, names, report));
        }
        Value::Object(members)
    }
}

/// `required string rid`, or nothing if the field was refused.
fn field_key(field: &FieldDescriptor, names: &Names, report: &mut Report) -> Option<String> {
    let mut refused = false;
    let mut refuse = |reason| {
        refused = true;
        report.refuse(report.field(field), reason);
    };

    if RESERVED.contains(&field.name()) {
        refuse(Reason::ReservedName(field.name().to_owned()));
    }
    if field.number() > MAX_TAG {
        refuse(Reason::FieldNumber(field.number()));
    }
    if field.field_descriptor_proto().default_value.is_some() {
        refuse(Reason::Default);
    }
    if let Some(oneof) = field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic())
    {
        refuse(Reason::Oneof(oneof.name().to_owned()));
    }

    let required = is_required(field);
    let word = if field.is_list() || field.is_map() {
        if required {
            refuse(Reason::RequiredRepeated);
        }
        "repeated"
    } else if required
        && field
            .containing_oneof()
            .is_some_and(|oneof| oneof.is_synthetic())
    {
        refuse(Reason::RequiredOptional);
        "optional"
    } else if required || field.cardinality() == Cardinality::Required {
        "required"
    } else {
        "optional"
    };
    let dialect = match dialect_type(field, names) {
        Ok(dialect) => dialect,
        Err(reason) => {
            refuse(reason);
            return None;
        }
    };
    if refused {
        return None;
    }
    let kind = field.kind();
    if field.is_list() && !matches!(kind, Kind::String | Kind::Message(_)) {
        report.note(report.field(field), Caution::RepeatedNumber);
    }
    if kind == Kind::Uint64 {
        report.note(report.field(field), Caution::LargeInteger("2^53-1"));
    } else if kind == Kind::Sint64 {
        report.note(
            report.field(field),
            Caution::LargeInteger("plus or minus 2^52"),
        );
    }
    Some(format!("{word} {dialect} {}", field.name()))
}

fn dialect_type(field: &FieldDescriptor, names: &Names) -> Result<Cow<'static, str>, Reason> {
    if field.is_group() {
        return Err(Reason::Group);
    }
    if field.is_map() {
        return Err(Reason::Map);
    }
    let kind = field.kind();
    let as_uint32 = is_as_uint32(field);
    let mappable = matches!(kind, Kind::Int32 | Kind::Int64 | Kind::Bool | Kind::Enum(_));
    if as_uint32 && !mappable {
        return Err(Reason::NeedlessAs);
    }
    Ok(Cow::Borrowed(match kind {
        Kind::Uint32 | Kind::Uint64 => "uInt32",
        Kind::Sint32 | Kind::Sint64 => "sInt32",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::String => "string",
        Kind::Message(message) => return Ok(Cow::Owned(names.get(&message).to_owned())),
        Kind::Int32 | Kind::Int64 | Kind::Bool if as_uint32 => "uInt32",
        Kind::Enum(values) if as_uint32 => {
            return match values.values().find(|value| value.number() < 0) {
                None => Ok(Cow::Borrowed("uInt32")),
                Some(value) => Err(Reason::NegativeEnumValue(value.name().to_owned())),
            };
        }
        Kind::Int32 => return Err(Reason::SignedVarint("int32")),
        Kind::Int64 => return Err(Reason::SignedVarint("int64")),
        Kind::Bool => return Err(Reason::Bool),
        Kind::Enum(_) => return Err(Reason::Enum),
        Kind::Fixed32 => return Err(Reason::Fixed("fixed32")),
        Kind::Fixed64 => return Err(Reason::Fixed("fixed64")),
        Kind::Sfixed32 => return Err(Reason::Fixed("sfixed32")),
        Kind::Sfixed64 => return Err(Reason::Fixed("sfixed64")),
        Kind::Bytes => return Err(Reason::Bytes),
    }))
}

fn with_children(message: MessageDescriptor) -> Vec<MessageDescriptor> {
    let mut all = vec![message.clone()];
    all.extend(message.child_messages().flat_map(with_children));
    all
}

fn is_route(route: &str) -> bool {
    (1..=MAX_ROUTE).contains(&route.len()) && !route.contains(char::is_whitespace)
}

fn routes(message: &MessageDescriptor, option: &str) -> Vec<String> {
    match extension(&message.options(), option) {
        Some(ReflectValue::List(routes)) => routes
            .iter()
            .filter_map(|route| route.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn is_required(field: &FieldDescriptor) -> bool {
    extension(&field.options(), "pomelo.required").and_then(|value| value.as_bool()) == Some(true)
}

fn is_as_uint32(field: &FieldDescriptor) -> bool {
    /// `UINT32` of the enum `As` in `pomelo/options.proto`.
    const UINT32: i32 = 1;
    extension(&field.options(), "pomelo.as").and_then(|value| value.as_enum_number())
        == Some(UINT32)
}

/// The value of one of the options of `pomelo/options.proto`, if that file was imported and the
/// option is set.
fn extension(options: &DynamicMessage, name: &str) -> Option<ReflectValue> {
    let pool = options.descriptor().parent_pool().clone();
    let extension = pool.get_extension_by_name(name)?;
    options
        .has_extension(&extension)
        .then(|| options.get_extension(&extension).into_owned())
}

/// What went wrong so far.
#[derive(Default)]
struct Report {
    /// Name of a file in imports to its path.
    paths: HashMap<String, String>,
    refusals: Vec<Refusal>,
    notes: Vec<Note>,
}

impl Report {
    // A message with several routes is looked at several times.
    fn refuse(&mut self, place: Place, reason: Reason) {
        let refusal = Refusal { place, reason };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    fn note(&mut self, place: Place, caution: Caution) {
        let note = Note { place, caution };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn check_message(&mut self, message: &MessageDescriptor) {
        if message.extension_ranges().next().is_some() {
            self.refuse(self.message(message), Reason::Extensions);
        }
    }

    /// Checks the name a used message has in the dialect.
    fn check_name(&mut self, message: &MessageDescriptor, name: &str) {
        if TYPES.contains(&name) {
            self.refuse(self.message(message), Reason::TypeName(name.to_owned()));
        } else if RESERVED.contains(&name) {
            self.refuse(self.message(message), Reason::ReservedName(name.to_owned()));
        }
    }

    fn message(&self, message: &MessageDescriptor) -> Place {
        self.place(&message.parent_file(), message.path(), message.full_name())
    }

    fn field(&self, field: &FieldDescriptor) -> Place {
        self.place(&field.parent_file(), field.path(), field.full_name())
    }

    fn place(&self, file: &FileDescriptor, path: &[i32], element: &str) -> Place {
        let info = file.file_descriptor_proto().source_code_info.as_ref();
        let line = info
            .and_then(|info| info.location.iter().find(|location| location.path == path))
            .and_then(|location| u32::try_from(*location.span.first()?).ok())
            .map(|line| line + 1);
        Place {
            file: self
                .paths
                .get(file.name())
                .cloned()
                .unwrap_or_else(|| file.name().to_owned()),
            line,
            element: element.to_owned(),
        }
    }
}
