//! Values that are one of a few words.

/// A value that is one of a few words.
pub trait Keyword: Copy + PartialEq + 'static {
    /// Every word with its meaning.
    const WORDS: &'static [(&'static str, Self)];

    /// Returns the meaning of a word; case counts.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, keyword)| *keyword)
    }

    /// Returns the word.
    fn as_word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, keyword)| *keyword == self).map_or("", |(word, _)| word)
    }
}

macro_rules! keywords {
    ($( $(#[$meta:meta])* $name:ident { $( $(#[$doc:meta])* $variant:ident = $word:literal, )* } )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$doc])* $variant, )* }

        impl Keyword for $name {
            const WORDS: &'static [(&'static str, Self)] = &[ $( ($word, Self::$variant), )* ];
        }
    )* };
}

keywords! {
    /// The fate of a remote call that provably did not run.
    #[non_exhaustive]
    Fallback {
        /// It fails.
        None = "none",
        /// The local body runs, if one is registered.
        Local = "local",
    }

    /// The compression of frames to peers.
    #[non_exhaustive]
    FrameCompression {
        /// Compresses frames that become smaller by it.
        Auto = "auto",
        /// Compresses nothing.
        Never = "never",
    }

    /// The least important level that is logged.
    #[non_exhaustive]
    LogLevel {
        /// Failures.
        Error = "error",
        /// And what looks wrong.
        Warn = "warn",
        /// And what an operator wants to know.
        Info = "info",
        /// And what helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }

    /// The form of log lines.
    #[non_exhaustive]
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }

    /// The probe of a build, in a process of its own.
    Probe {
        /// Maps it and unmaps it.
        Load = "load",
        /// Makes none.
        Off = "off",
    }

    /// The unmapping of libraries of retired generations.
    Unmap {
        /// Unmaps them once that is provably safe.
        Safe = "safe",
        /// Keeps them mapped, and counts them.
        Never = "never",
    }
}
