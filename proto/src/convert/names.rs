//! Where the definition of a message goes and what it is called there.

use std::collections::{HashMap, HashSet};

use prost_reflect::{FieldDescriptor, MessageDescriptor};

/// Messages used as types of fields, below the routes of one of the two files.
#[derive(Default)]
pub(super) struct Used {
    /// In order of first use.
    messages: Vec<MessageDescriptor>,
    /// Full name of a message to the full names of those that have a field of its type.
    by: HashMap<String, HashSet<String>>,
    /// Messages already walked, roots included.
    seen: HashSet<String>,
}

impl Used {
    /// Adds everything below `root`.
    pub(super) fn add_below(&mut self, root: &MessageDescriptor) {
        // Recursion could be as deep as the longest chain of types in the files; a list cannot.
        let mut open = vec![root.clone()];
        while let Some(user) = open.pop() {
            if !self.seen.insert(user.full_name().to_owned()) {
                continue;
            }
            let mut types: Vec<_> = in_file_order(&user)
                .iter()
                .filter(|field| !field.is_map())
                .filter_map(|field| field.kind().as_message().cloned())
                .collect();
            for used in &types {
                let users = self.by.entry(used.full_name().to_owned()).or_default();
                if users.is_empty() {
                    self.messages.push(used.clone());
                }
                users.insert(user.full_name().to_owned());
            }
            types.reverse();
            open.append(&mut types);
        }
    }

    /// True when `message` can be defined inside the one that contains it in the `.proto` file: when
    /// that is the only one to use it. The message itself does not see such a definition.
    pub(super) fn is_nested(&self, message: &MessageDescriptor) -> bool {
        let Some(parent) = message.parent_message() else {
            return false;
        };
        let users = self.by.get(message.full_name());
        users.is_some_and(|users| users.len() == 1 && users.contains(parent.full_name()))
    }

    /// Messages to define as globals.
    pub(super) fn globals(&self) -> impl Iterator<Item = &MessageDescriptor> {
        self.messages
            .iter()
            .filter(|message| !self.is_nested(message))
    }

    /// Messages to define inside `parent`.
    pub(super) fn nested_in(
        &self,
        parent: &MessageDescriptor,
    ) -> impl Iterator<Item = &MessageDescriptor> {
        self.messages.iter().filter(|message| {
            self.is_nested(message) && message.parent_message().as_ref() == Some(parent)
        })
    }

    /// All of them.
    pub(super) fn messages(&self) -> impl Iterator<Item = &MessageDescriptor> {
        self.messages.iter()
    }
}

/// Names for the messages of both files: the short one if no other message has it, otherwise the
/// full one. No two are equal, so that none shadows another: a full name either has a dot, which no
/// short name has, or is a short name that nobody else was given.
pub(super) struct Names(HashMap<String, String>);

impl Names {
    pub(super) fn of<'a>(messages: impl Iterator<Item = &'a MessageDescriptor>) -> Self {
        let messages: HashMap<&str, &MessageDescriptor> = messages
            .map(|message| (message.full_name(), message))
            .collect();
        let mut bearers = HashMap::<&str, usize>::new();
        for message in messages.values() {
            *bearers.entry(message.name()).or_default() += 1;
        }
        let names = messages.iter().map(|(&full, message)| {
            let unique = bearers.get(message.name()) == Some(&1);
            let name = if unique { message.name() } else { full };
            (full.to_owned(), name.to_owned())
        });
        Self(names.collect())
    }

    /// The name of a used message.
    pub(super) fn get<'a>(&'a self, message: &'a MessageDescriptor) -> &'a str {
        self.0
            .get(message.full_name())
            .map_or_else(|| message.full_name(), String::as_str)
    }
}

/// The fields of a message in the order of the file; the descriptor's own order is by number.
pub(super) fn in_file_order(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let mut fields: Vec<_> = message.fields().collect();
    fields.sort_by_key(|field| field.path().last().copied());
    fields
}
