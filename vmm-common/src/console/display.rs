//! What the console's output is shown by.

/// Who reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// A file, or a program behind a pipe: whole lines of plain text.
    Stream,
    /// A terminal.
    Terminal {
        /// Columns of a row; 0 if that is not known.
        columns: usize,
        /// What it can do.
        ability: Ability,
    },
}

/// What a terminal can do, or its user wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It prints lines (`TERM=dumb`).
    Dumb,
    /// It obeys sequences, and is to have no colours (`NO_COLOR`).
    Monochrome,
    /// It obeys sequences, and has colours.
    Colours,
}

impl Ability {
    /// What the environment says of a terminal: `TERM`, and `NO_COLOR` unless it is empty
    /// (no-color.org).
    #[must_use]
    pub fn of_environment(term: Option<&str>, no_color: Option<&str>) -> Self {
        match (term, no_color) {
            (Some("dumb"), _) => Self::Dumb,
            (Some(_) | None, None | Some("")) => Self::Colours,
            (Some(_) | None, Some(_)) => Self::Monochrome,
        }
    }
}

/// The columns of a terminal that does not say how many it has, as a VT100's.
const DEFAULT_COLUMNS: usize = 80;

impl Display {
    /// It shows a line as it grows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// SGR sequences pass.
    #[must_use]
    pub const fn has_colours(self) -> bool {
        matches!(self, Self::Terminal { ability: Ability::Colours, .. })
    }

    /// It obeys sequences.
    #[must_use]
    pub const fn obeys_sequences(self) -> bool {
        matches!(self, Self::Terminal { ability: Ability::Monochrome | Ability::Colours, .. })
    }

    /// The columns that a row may fill, so that the terminal never wraps it.
    #[must_use]
    pub(super) fn row_columns(self) -> usize {
        match self {
            Self::Stream => usize::MAX,
            Self::Terminal { columns: 0, .. } => DEFAULT_COLUMNS - 1,
            Self::Terminal { columns, .. } => columns - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_what_a_terminal_can_do() {
        let ability = Ability::of_environment;
        assert_eq!(ability(Some("xterm"), None), Ability::Colours);
        assert_eq!(ability(None, None), Ability::Colours);
        assert_eq!(ability(Some("xterm"), Some("")), Ability::Colours);
        assert_eq!(ability(Some("xterm"), Some("1")), Ability::Monochrome);
        assert_eq!(ability(Some("dumb"), None), Ability::Dumb);
        assert_eq!(ability(Some("dumb"), Some("1")), Ability::Dumb);
    }

    #[test]
    fn a_row_is_shorter_than_the_terminal() {
        let columns =
            |columns| Display::Terminal { columns, ability: Ability::Colours }.row_columns();
        assert_eq!((columns(0), columns(132), columns(10)), (79, 131, 9));
    }
}
