//! Circles of files: each uses the next, and the last the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::module_of;
use super::sources::Host;

/// The files of one circle, and the places that close it.
pub(super) struct Circle {
    pub(super) module: String,
    files: Vec<String>,
    /// `FILE:LINE -> FILE (NAME)`.
    uses: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} files in a circle: {}", self.module, self.files.len(), self.files.join(", "))?;
        self.uses.iter().try_for_each(|used| writeln!(f, "    {used}"))
    }
}

/// By the file that uses and the file that is used: the lines, and the names that they use.
type Edges<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<(usize, &'a str)>>>;

/// Finds the circles inside the modules of the host.
///
/// A file uses another where its code names an item that the other defines; re-exports are followed to there.
/// Passing a name on does not count as a use, and neither does code for unit tests.
pub(super) fn find(host: &Host) -> Vec<Circle> {
    let mut edges = Edges::new();
    for module in host.modules.values() {
        for used in module.uses.iter().filter(|used| !used.is_reexport && !used.is_test) {
            let Some(definer) = host.defines(&used.path) else { continue };
            let (from, to) = (module.file.as_str(), definer.file.as_str());
            if from != to && module_of(from) == module_of(to) {
                let name = used.path.last().map_or("", String::as_str);
                edges.entry(from).or_default().entry(to).or_default().push((used.line, name));
            }
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|&file| (file, reach(&edges, file))).collect();
    let mut circles = Vec::new();
    let mut done = BTreeSet::new();
    for (&file, reachable) in &reached {
        if !reachable.contains(file) || done.contains(file) {
            continue;
        }
        let back = |other: &&str| reached.get(other).is_some_and(|from_there| from_there.contains(file));
        let files: BTreeSet<&str> = reachable.iter().copied().filter(back).collect();
        let inside = files.iter().flat_map(|&from| edges[from].iter().map(move |edge| (from, edge)));
        let uses = inside.filter(|(_, (to, _))| files.contains(*to)).filter_map(|(from, (to, uses))| {
            let (line, name) = uses.iter().min()?;
            Some(format!("{}:{line} -> {} ({name})", short(from), short(to)))
        });
        circles.push(Circle {
            module: module_of(file).to_owned(),
            uses: uses.collect(),
            files: files.iter().map(|file| short(file).to_owned()).collect(),
        });
        done.extend(files);
    }
    circles
}

/// The files that a file uses, directly or through others.
fn reach<'a>(edges: &Edges<'a>, file: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for (&to, _) in edges.get(file).into_iter().flatten() {
            if found.insert(to) {
                open.push(to);
            }
        }
    }
    found
}

fn short(path: &str) -> &str {
    path.strip_prefix("host/src/").unwrap_or(path)
}
