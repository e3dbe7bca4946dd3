//! Clients that others' generators make from the OpenAPI document, and which then call the running host.
//!
//! The generators come from their registries, in the versions of `tests/clients`, into the target folder. Where they
//! cannot be installed, the tests say so and end; with `CLIENTS=required`, as in `.ci/run`, they fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use framex_tests::{Daemon, get};
use tempfile::TempDir;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// One test installs at a time.
static INSTALLS: Mutex<()> = Mutex::new(());

/// Runs a command to its end; what it says if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&said));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

#[track_caller]
fn must(command: &mut Command) {
    if let Err(output) = run(command) {
        panic!("{output}");
    }
}

/// The folder with the tools that a file of `tests/clients` names, installed once for each content of it; `None` if
/// that cannot be.
fn tools(name: &str, versions: &str, install: impl FnOnce(&Path) -> Result<(), String>) -> Option<PathBuf> {
    let _one = INSTALLS.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    let (wanted, stamp) = (fs::read(Path::new(CLIENTS).join(versions)).unwrap(), folder.join("installed"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(folder);
    }
    // What an install that was cut short left.
    let _none = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    match install(&folder) {
        Ok(()) => {
            fs::write(stamp, wanted).unwrap();
            Some(folder)
        }
        Err(reason) if std::env::var("CLIENTS").is_ok_and(|wish| wish == "required") => panic!("{reason}"),
        Err(reason) => {
            eprintln!("skipped: {name} cannot be installed here: {reason}");
            None
        }
    }
}

/// A host with every kind of type, and a folder with its document.
fn documented() -> (Daemon, TempDir) {
    let host = super::host();
    let folder = TempDir::new().unwrap();
    let document = get(&format!("{}/api/v1/openapi.json", host.url()));
    assert_eq!(document.status, 200);
    fs::write(folder.path().join("openapi.json"), document.body).unwrap();
    (host, folder)
}

#[test]
fn a_python_client_is_made_and_calls_every_function() {
    let installed = tools("python", "requirements.txt", |folder| {
        run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(folder))?;
        let quiet =
            ["install", "--quiet", "--disable-pip-version-check", "--requirement", "requirements.txt"];
        run(Command::new(folder.join("bin/pip")).args(quiet).current_dir(CLIENTS))
    });
    let Some(bin) = installed.map(|folder| folder.join("bin")) else { return };
    let (host, folder) = documented();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    must(
        Command::new(bin.join("openapi-python-client"))
            .args(["generate", "--path", "openapi.json", "--meta", "none", "--output-path", "client"])
            .arg("--fail-on-warning")
            .env("PATH", path)
            .current_dir(folder.path()),
    );
    must(
        Command::new(bin.join("python"))
            .arg(Path::new(CLIENTS).join("check.py"))
            .arg(folder.path())
            .arg(host.url())
            .arg(Path::new(CLIENTS).join("values.json")),
    );
    host.stop();
}

#[test]
fn a_typescript_client_is_made_compiles_and_calls_every_function() {
    let installed = tools("node", "package-lock.json", |folder| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(Path::new(CLIENTS).join(file), folder.join(file)).map_err(|error| error.to_string())?;
        }
        let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(quiet).current_dir(folder))
    });
    let Some(modules) = installed.map(|folder| folder.join("node_modules")) else { return };
    let (host, folder) = documented();
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
    for file in ["check.ts", "tsconfig.json"] {
        fs::copy(Path::new(CLIENTS).join(file), folder.path().join(file)).unwrap();
    }
    must(
        Command::new(modules.join(".bin/openapi-ts"))
            .args(["--input", "openapi.json", "--output", "client"])
            .current_dir(folder.path()),
    );
    must(Command::new(modules.join(".bin/tsc")).current_dir(folder.path()));
    must(
        Command::new("node")
            .arg(folder.path().join("built/check.js"))
            .arg(host.url())
            .arg(Path::new(CLIENTS).join("values.json")),
    );
    host.stop();
}
