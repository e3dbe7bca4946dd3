//! `scripts/demo.sh`, with the existing build instead of the one that it makes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use framex_tests::{run_to_end, target_folder};

#[test]
fn the_demo_builds_only_what_it_runs_and_every_step_succeeds() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir_all(at("bin")).unwrap();
    fs::create_dir_all(at("target")).unwrap();
    symlink(target_folder(), at("target/quick")).unwrap();
    let asked = at("asked");
    fs::write(at("bin/cargo"), format!("#!/bin/sh\necho \"$@\" >>'{}'\n", asked.display())).unwrap();
    fs::set_permissions(at("bin/cargo"), fs::Permissions::from_mode(0o755)).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut demo = Command::new(root.join("scripts/demo.sh"));
    demo.env_clear().env("PATH", format!("{}:/usr/bin:/bin", at("bin").display()));
    demo.env("CARGO_TARGET_DIR", at("target")).env("TMPDIR", scratch.path()).stdin(Stdio::null());
    let exit = run_to_end(&mut demo);
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("Done: every step went as expected."), "{}", exit.stdout);
    assert!(
        exit.stdout.contains("minutes of one core") && exit.stdout.contains("built in "),
        "{}",
        exit.stdout
    );
    assert!(exit.stdout.contains("200 calls meanwhile, 0 of them failed"), "{}", exit.stdout);
    assert_eq!(exit.stderr, "", "the demo prints no errors");
    assert_eq!(
        fs::read_to_string(asked).unwrap(),
        "build --profile quick -p framex-host -p demo -p reports\n"
    );
}
