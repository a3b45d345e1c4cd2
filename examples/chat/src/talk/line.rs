//! One entry of the history.

use std::fmt;

use pomelo_proto::chat::OnChat;

/// The receiver that stands for everybody.
pub(super) const EVERYBODY: &str = "*";

/// What happened in the room. Printed, it is one line without control characters, whatever others sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Somebody said something.
    Said(OnChat),
    /// Somebody came or left, or a word of the program itself.
    Notice(String),
    /// Something went wrong.
    Problem(String),
}

impl Line {
    /// What comes before the text: who spoke to whom.
    pub(super) fn head(&self) -> String {
        match self {
            Self::Said(said) if said.target == EVERYBODY => format!("{}: ", clean(&said.from)),
            Self::Said(said) => format!("{} -> {}: ", clean(&said.from), clean(&said.target)),
            Self::Notice(_) => "* ".to_owned(),
            Self::Problem(_) => "! ".to_owned(),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Said(said) => clean(&said.msg),
            Self::Notice(text) | Self::Problem(text) => clean(text),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head(), self.text())
    }
}

/// Text of strangers must not move the cursor, recolour the terminal or reorder the line: control
/// characters and bidirectional overrides become spaces.
pub(super) fn clean(text: &str) -> String {
    text.replace(
        |c: char| {
            c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        },
        " ",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: &str, target: &str, msg: &str) -> String {
        Line::Said(OnChat {
            msg: msg.into(),
            from: from.into(),
            target: target.into(),
        })
        .to_string()
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(said("ann", "*", "hi"), "ann: hi");
        assert_eq!(said("ann", "bob", "hi"), "ann -> bob: hi");
        assert_eq!(
            said("a\nb", "*", "\u{1b}[2J\r\nroot: \u{202e}x"),
            "a b:  [2J  root:  x"
        );
        assert_eq!(Line::Problem("no".into()).to_string(), "! no");
    }
}
