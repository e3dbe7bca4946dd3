//! The knowledge that the body of a function ran.

/// The knowledge that the body of a function ran: only [`Executed::No`] allows a retry elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// It provably did not.
    No,
    /// It began at least.
    Yes,
    /// It may have.
    Unknown,
}

impl Executed {
    /// Returns whether one of two attempts ran the body.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Unknown,
        }
    }

    /// Returns the value in JSON and MessagePack: `None` for [`Executed::Unknown`].
    pub const fn known(self) -> Option<bool> {
        match self {
            Self::No => Some(false),
            Self::Yes => Some(true),
            Self::Unknown => None,
        }
    }
}

impl From<Option<bool>> for Executed {
    fn from(known: Option<bool>) -> Self {
        match known {
            Some(false) => Self::No,
            Some(true) => Self::Yes,
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_attempts_one_that_ran_counts_and_one_that_may_have_is_not_denied() {
        use Executed::{No, Unknown, Yes};
        for (one, other, both) in [
            (No, No, No),
            (No, Yes, Yes),
            (No, Unknown, Unknown),
            (Yes, Unknown, Yes),
            (Unknown, Unknown, Unknown),
        ] {
            assert_eq!((one.or(other), other.or(one)), (both, both), "{one:?} {other:?}");
        }
    }
}
