//! What a typed line means.

/// A line as an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing to do.
    Nothing,
    /// Leave the chat.
    Quit,
    /// Say something.
    Say {
        /// To one person; to everybody if there is none.
        target: Option<String>,
        text: String,
    },
    /// The line cannot be meant; says why.
    Wrong(String),
}

/// Reads a line. `members` are those who can be spoken to; a name with spaces is found among them.
pub(super) fn read(line: &str, members: &[String]) -> Command {
    let line = line.trim();
    if line.is_empty() {
        return Command::Nothing;
    }
    if let Some(order) = line.strip_prefix('/') {
        return match order {
            "quit" => Command::Quit,
            _ => Command::Wrong(format!("there is no /{order}, only /quit")),
        };
    }
    let Some(addressed) = line.strip_prefix('@') else {
        return Command::Say {
            target: None,
            text: line.to_owned(),
        };
    };
    let known = members
        .iter()
        .filter_map(|name| Some((name, addressed.strip_prefix(name.as_str())?)))
        .filter(|(_, rest)| rest.is_empty() || rest.starts_with(char::is_whitespace))
        .max_by_key(|(name, _)| name.len());
    match known {
        Some((name, text)) if !text.trim().is_empty() => Command::Say {
            target: Some(name.clone()),
            text: text.trim().to_owned(),
        },
        Some((name, _)) => Command::Wrong(format!("what do you want to say to {name}?")),
        None => {
            let name = addressed.split_whitespace().next().unwrap_or_default();
            Command::Wrong(format!("nobody here is called {name:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(target: Option<&str>, text: &str) -> Command {
        Command::Say {
            target: target.map(str::to_owned),
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_are_orders() {
        let members = ["bob", "bob jr", "小明"].map(str::to_owned);
        let read = |line| read(line, &members);
        assert_eq!(read("  \t"), Command::Nothing);
        assert_eq!(read("/quit "), Command::Quit);
        assert_eq!(read(" hi there "), say(None, "hi there"));
        assert_eq!(read("@bob hi"), say(Some("bob"), "hi"));
        assert_eq!(read("@bob jr hi"), say(Some("bob jr"), "hi"));
        assert_eq!(read("@小明\u{3000}你好"), say(Some("小明"), "你好"));
        for wrong in ["/help", "@bobby hi", "@bob", "@", "@ hi", "@*  hi"] {
            assert!(matches!(read(wrong), Command::Wrong(_)), "{wrong}");
        }
    }
}
