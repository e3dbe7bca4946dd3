//! The errors of a config, one sentence for each problem.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The reason for which there is no config. The texts never hold a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not there.
    #[error("config file `{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// The path leads to a directory.
    #[error("config file `{}` is a directory", .0.display())]
    Directory(PathBuf),
    /// The file cannot be read; the cause is the source.
    #[error("config file `{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is longer than 1 MiB.
    #[error("config file `{}` has more than 1048576 bytes, the most that are read", .0.display())]
    TooLarge(PathBuf),
    /// The file is a pipe without text at a reload.
    #[error(
        "config file `{}` is not a regular file and has no more text, so the config in force stays: a reload needs a \
         regular file", .0.display()
    )]
    Drained(PathBuf),
    /// The file has bytes that are not UTF-8; the first is in this line, counted from 1.
    #[error("config file `{}` is not UTF-8 text, see line {}", .0.display(), .1)]
    NotText(PathBuf, usize),
    /// Values of the file, the variables or the flags are wrong: one line for each problem, in the order of the file.
    #[error("{}", lines(.0))]
    Invalid(Vec<ConfigProblem>),
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// One wrong value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{origin}: {text}")]
pub struct ConfigProblem {
    /// The origin of the value.
    pub origin: ValueOrigin,
    /// The offset of the value in the file, which sorts the problems of one line.
    pub(super) offset: usize,
    /// One sentence with the key.
    pub text: String,
}

/// The origin of a value, in the order in which problems are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueOrigin {
    /// The file, with the line where that is known and the column in characters for a fault of
    /// syntax; both from 1.
    File {
        /// The file as it was given.
        path: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
        /// Counted from 1, in characters.
        column: Option<usize>,
    },
    /// A variable of the environment, by its full name.
    Variable(String),
    /// A flag of the command line, as the user writes it.
    Flag(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                line.map_or(Ok(()), |line| write!(f, " line {line}"))?;
                column.map_or(Ok(()), |column| write!(f, " column {column}"))
            }
            // A name can have any byte but `=`, and is shown on terminals.
            Self::Variable(name) => write!(f, "variable {}", name.escape_debug()),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_are_escaped() {
        let origin = ValueOrigin::Variable("FRAMEX_\u{1b}[31m_PORT".to_owned());
        assert_eq!(origin.to_string(), r"variable FRAMEX_\u{1b}[31m_PORT");
    }
}
