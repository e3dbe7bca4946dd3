//! Reads the sources of the host: which names each module defines, and which paths its code uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

/// The folder of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project").to_owned()
}

/// A source file.
pub(super) struct Source {
    /// From the root, as `host/src/plugins/call.rs`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// Returns whether the code has the word; comments and strings do not count.
    pub(super) fn has_word(&self, word: &str) -> bool {
        fn found(tokens: TokenStream, word: &str) -> bool {
            tokens.into_iter().any(|token| match token {
                TokenTree::Ident(ident) => ident == word,
                TokenTree::Group(group) => found(group.stream(), word),
                TokenTree::Punct(_) | TokenTree::Literal(_) => false,
            })
        }
        found(self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path)), word)
    }
}

/// Returns the Rust files below a folder, by their paths.
pub(super) fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The parts of a path from the root of the crate, as `["peers", "health", "Breaker"]`.
pub(super) type Parts = Vec<String>;

/// A path that stands in the code.
pub(super) struct Use {
    pub(super) path: Parts,
    pub(super) line: usize,
    /// It only passes a name on: `pub(crate) use health::Breaker`.
    pub(super) is_reexport: bool,
    /// It is compiled for unit tests alone.
    pub(super) is_test: bool,
}

/// A module, which is a file or stands inline in one.
#[derive(Default)]
pub(super) struct Module {
    pub(super) file: String,
    pub(super) uses: Vec<Use>,
    items: BTreeSet<String>,
    /// The targets of the names that `use` brings in.
    imports: HashMap<String, Parts>,
}

/// The modules of the host, by their paths; the binary's beside the library's.
#[derive(Default)]
pub(super) struct Host {
    pub(super) modules: BTreeMap<Parts, Module>,
    tests: BTreeSet<Parts>,
}

impl Host {
    pub(super) fn read(sources: &[Source]) -> Self {
        let mut host = Self::default();
        for source in sources {
            let inside = source.path.trim_start_matches("host/src/").trim_end_matches(".rs");
            let path =
                if inside == "lib" { Parts::new() } else { inside.split('/').map(str::to_owned).collect() };
            let file =
                syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
            host.add(path, &source.path, file.items, false);
        }
        let Self { modules, tests } = &mut host;
        for (path, module) in modules {
            if (0..=path.len()).any(|length| tests.contains(&path[..length])) {
                module.uses.iter_mut().for_each(|used| used.is_test = true);
            }
        }
        host
    }

    fn add(&mut self, path: Parts, file: &str, items: Vec<Item>, is_test: bool) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items {
            let is_test = is_test || attributes(&item).iter().any(is_for_tests);
            match item {
                Item::Use(item) => {
                    let is_reexport = !matches!(item.vis, Visibility::Inherited);
                    let mut found = Vec::new();
                    flatten(&item.tree, &mut Parts::new(), &mut found);
                    for (name, target, line) in found {
                        let target = absolute(&path, target);
                        module.imports.insert(name, target.clone());
                        module.uses.push(Use { path: target, line, is_reexport, is_test });
                    }
                }
                Item::Mod(item) => {
                    let child = joined(&path, [item.ident.to_string()]);
                    if is_test {
                        self.tests.insert(child.clone());
                    }
                    if let Some((_, items)) = item.content {
                        self.add(child, file, items, is_test);
                    }
                }
                item => {
                    module.items.extend(name_of(&item));
                    let mut found = Vec::new();
                    paths(item.into_token_stream(), &mut found);
                    let uses = found.into_iter().map(|(used, line)| Use {
                        path: absolute(&path, used),
                        line,
                        is_reexport: false,
                        is_test,
                    });
                    module.uses.extend(uses);
                }
            }
        }
        self.modules.insert(path, module);
    }

    /// Returns the module that defines what a path leads to, through any number of re-exports;
    /// nothing if that is a module itself, or of another crate.
    pub(super) fn defines(&self, path: &[String]) -> Option<&Module> {
        self.follow(path, 0)
    }

    fn follow(&self, path: &[String], depth: usize) -> Option<&Module> {
        let mut module = self.modules.get(&Parts::new())?;
        for (index, name) in path.iter().enumerate() {
            let is_last = index + 1 == path.len();
            if is_last && module.items.contains(name) {
                return Some(module);
            }
            if let Some(child) = self.modules.get(&path[..=index]) {
                module = child;
                continue;
            }
            if module.items.contains(name) {
                return Some(module);
            }
            let target = module.imports.get(name).filter(|_| depth < 8)?;
            return self.follow(&joined(target, path[index + 1..].iter().cloned()), depth + 1);
        }
        None
    }
}

/// Makes a path absolute, if it stands in the module `from`. One that begins with a name is taken as within it.
fn absolute(from: &[String], path: Parts) -> Parts {
    let mut base = from.to_vec();
    let mut rest = path.into_iter().peekable();
    while let Some(name) =
        rest.next_if(|name| ["crate", "framex_host", "self", "super"].contains(&name.as_str()))
    {
        match name.as_str() {
            "super" => drop(base.pop()),
            "self" => {}
            _ => base.clear(),
        }
    }
    base.extend(rest);
    base
}

fn joined(path: &[String], more: impl IntoIterator<Item = String>) -> Parts {
    path.iter().cloned().chain(more).collect()
}

/// Lists the names that a `use` brings in, each with its path and line.
fn flatten(tree: &UseTree, before: &mut Parts, found: &mut Vec<(String, Parts, usize)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
        UseTree::Name(name) if name.ident == "self" => {
            let named = before.last().cloned().unwrap_or_default();
            found.push((named, before.clone(), name.ident.span().start().line));
        }
        UseTree::Name(name) => {
            let named = name.ident.to_string();
            found.push((named.clone(), joined(before, [named]), name.ident.span().start().line));
        }
        UseTree::Rename(rename) => {
            let path = joined(before, [rename.ident.to_string()]);
            found.push((rename.rename.to_string(), path, rename.ident.span().start().line));
        }
        UseTree::Glob(glob) => {
            found.push(("*".to_owned(), before.clone(), glob.star_token.spans[0].start().line))
        }
    }
}

/// Lists the paths in code, also in the arguments of macros, each with its line.
fn paths(tokens: TokenStream, found: &mut Vec<(Parts, usize)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, mark: char| matches!(&tokens[at..], [TokenTree::Punct(punct), ..] if punct.as_char() == mark);
    let is_colons = |at: usize| at + 1 < tokens.len() && is(at, ':') && is(at + 1, ':');
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => paths(group.stream(), found),
            TokenTree::Ident(first) if first == "use" => {
                let end = (at..tokens.len()).find(|&end| is(end, ';')).unwrap_or(tokens.len() - 1);
                // The `use<'a>` of a type is not a statement and names nothing.
                if let Ok(item) = syn::parse2::<syn::ItemUse>(tokens[at..=end].iter().cloned().collect()) {
                    let mut names = Vec::new();
                    flatten(&item.tree, &mut Parts::new(), &mut names);
                    found.extend(names.into_iter().map(|(_, path, line)| (path, line)));
                    at = end;
                }
            }
            TokenTree::Ident(first) => {
                let is_lifetime_or_field = at > 0 && (is(at - 1, '.') || is(at - 1, '\''));
                let follows_colons = at > 1 && is_colons(at - 2);
                let mut path = vec![first.to_string()];
                while is_colons(at + 1)
                    && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                {
                    path.push(next.to_string());
                    at += 3;
                }
                if !is_lifetime_or_field && !follows_colons {
                    found.push((path, first.span().start().line));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("test")
}

/// Returns the name that an item defines; an `impl` defines none.
fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
