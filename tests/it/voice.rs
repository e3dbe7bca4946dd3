//! The habits of wording that `STYLE.md` replaces in its part "Voice", as far as a machine finds them.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders that are checked, besides the Markdown files at the top.
const FOLDERS: [&str; 7] = ["config", "docs", "host", "plugin-sdk", "plugins", "scripts", "tests"];
const EXTENSIONS: [&str; 7] = ["md", "py", "rs", "service", "sh", "socket", "toml"];
/// These two have to name what they replace.
const EXEMPT: [&str; 2] = ["STYLE.md", "tests/it/voice.rs"];

/// A sequence of words, each one of several.
struct Habit {
    words: &'static [&'static [&'static str]],
    unless_after: &'static [&'static str],
    unless_before: &'static [&'static str],
    instead: &'static str,
}

const PEOPLE: &[&str] = &["anybody", "everybody", "nobody", "somebody", "whoever"];

const HABITS: [Habit; 6] = [
    habit(&[PEOPLE], "name the host, the client, the call"),
    habit(&[&["so"], &["many", "much", "often"]], "name the quantity, with its unit"),
    Habit {
        words: &[&["are", "be", "is", "was", "were"], &["no", "none"]],
        unless_after: &["there"],
        unless_before: &["better", "later", "less", "longer", "more", "slower", "worse"],
        instead: "write \"is not a\"",
    },
    habit(&[&["by"], &["way"], &["of"]], "use the verb that it hides"),
    habit(&[&["in"], &["the"], &["place"], &["of"]], "write \"instead of\", or use the verb that it hides"),
    habit(&[&["for"], &["ever"]], "write \"forever\""),
];

const fn habit(words: &'static [&'static [&'static str]], instead: &'static str) -> Habit {
    Habit { words, unless_after: &[], unless_before: &[], instead }
}

impl Habit {
    fn is_in(&self, words: &[&str]) -> bool {
        words.windows(self.words.len()).enumerate().any(|(at, found)| {
            let after = at.checked_sub(1).map_or("", |before| words[before]);
            let before = words.get(at + found.len()).copied().unwrap_or_default();
            found.iter().zip(self.words).all(|(word, any)| any.contains(word))
                && !self.unless_after.contains(&after)
                && !self.unless_before.contains(&before)
        })
    }
}

/// Returns the lines with a habit, each with what to write instead.
fn find(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut is_in_doc = false;
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        let words: Vec<&str> = lower
            .split(|c: char| !c.is_alphanumeric() && !"_'".contains(c))
            .filter(|word| !word.is_empty())
            .collect();
        let is_doc = ["///", "//!"].iter().any(|mark| line.trim_start().starts_with(mark));
        if is_doc && !is_in_doc {
            match words.first() {
                Some(&("how" | "what" | "where" | "whether" | "who" | "whom" | "whose" | "why")) => {
                    found.push((
                        index + 1,
                        "a summary is no question: \"Returns ...\", \"The retry budget.\"",
                    ));
                }
                Some(&"answers") => found.push((index + 1, "write \"Returns\"")),
                _ => {}
            }
        }
        is_in_doc = is_doc;
        found.extend(
            HABITS.iter().filter(|habit| habit.is_in(&words)).map(|habit| (index + 1, habit.instead)),
        );
    }
    found
}

#[test]
fn habits_are_found() {
    let check = |text: &str, expected: &[usize]| {
        let lines: Vec<usize> = find(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, expected, "{text}");
    };
    check("/// What is left.\n/// How it is.\nfn f() {}\n/// Whether it is.", &[1, 4]);
    check("    /// Answers that one.\n    //! returns", &[1]);
    check("a host that answers\n// Nobody knows.\nfn nobody_knows() {}", &[2]);
    check("error(\"`x` is no name\")\nthere is no name\nit is no longer so; there are no more", &[1]);
    check("So many run.\nby way of\nhowever, for ever\nin the place of", &[1, 2, 3, 4]);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project").to_owned()
}

/// Lists the files below a folder, without what builds make.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !["target", "node_modules", "corpus", "artifacts"].contains(&name) && !name.starts_with('.') {
                files(&path, found);
            }
        } else if path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known)) {
            found.push(path);
        }
    }
}

#[test]
fn words_follow_the_style_guide() {
    let root = root();
    let mut paths: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "md"));
    for folder in FOLDERS {
        files(&root.join(folder), &mut paths);
    }
    paths.sort();
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        if EXEMPT.contains(&name) {
            continue;
        }
        let found = find(&fs::read_to_string(&path).unwrap());
        wrong.extend(found.into_iter().map(|(line, instead)| format!("{name}:{line}: {instead}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
