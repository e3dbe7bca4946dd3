//! The service file and the command line mean the same host: the unit's lines run as systemd would run them, and commands
//! come from a shell that has none of its variables.

use std::process::{Child, Command, Stdio};

use framex_tests::{Exit, Mounts, host_binary, plugin_file, run_to_end, until};

/// A user as `DynamicUser=` picks one (systemd.exec(5): 61184 to 65519).
const DYNAMIC_USER: &str = "61184";
const CONFIG: &str = "/etc/framex-host/config.toml";
/// The path of the binary in the mounts of the service: `/usr/bin` stays as it is.
const BINARY: &str = "/etc/bin/framex-host";

/// The directories of a machine with the service on it: `$0` is the binary, `$1` a plugin, `$2` the user, and the rest
/// the service's command. Links as systemd makes them for `DynamicUser=`.
const MACHINE: &str = r#"set -e
binary=$0 plugin=$1 user=$2
shift 2
for place in /run /var/lib; do
  mount -t tmpfs tmpfs "$place"
  mkdir -m 711 "$place/private"
  mkdir -m 700 "$place/private/framex-host"
  ln -s private/framex-host "$place/framex-host"
done
# What is linked and loaded comes from elsewhere than /etc.
mount -t tmpfs -o mode=755 tmpfs /etc
mkdir -p /etc/bin /etc/framex-host/plugins /etc/other
touch /etc/bin/framex-host
mount --bind "$binary" /etc/bin/framex-host
cp "$plugin" /etc/framex-host/plugins/
printf '[server]\nport = 0\n' | tee /etc/framex-host/config.toml >/etc/other/config.toml
as=
if setpriv --reuid "$user" --regid "$user" --clear-groups true 2>/dev/null; then
  chown "$user:$user" /run/private/framex-host /var/lib/private/framex-host
  as="setpriv --reuid $user --regid $user --clear-groups"
fi
exec $as "$@""#;

/// The values of a key of the unit, in the words of systemd's own specifiers for a system service.
fn of_unit(key: &str) -> Vec<String> {
    let unit = super::unit();
    let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let words = values.flat_map(str::split_whitespace);
    words
        .map(|word| {
            word.replace("%S", "/var/lib").replace("%t", "/run").replace("/usr/bin/framex-host", BINARY)
        })
        .collect()
}

struct Service {
    process: Child,
    mounts: Mounts,
}

impl Service {
    fn start(mounts: Mounts) -> Self {
        assert_eq!(of_unit("DynamicUser"), ["yes"]);
        for key in ["StateDirectory", "RuntimeDirectory"] {
            assert_eq!(of_unit(key), ["framex-host"]);
            assert_eq!(of_unit(&format!("{key}Mode")), ["0700"]);
        }
        let mut command = mounts.apart();
        command.args(["sh", "-c", MACHINE]).arg(host_binary()).arg(plugin_file("demo")).arg(DYNAMIC_USER);
        command.args(["env", "-i"]).args(of_unit("Environment")).args(of_unit("ExecStart"));
        let process = command.stdin(Stdio::null()).spawn().expect("unshare is there");
        let service = Self { process, mounts };
        until("the service answers", || service.shell(&["plugins", "list"]).code == Some(0));
        service
    }

    /// Runs a command of the binary from root's shell.
    fn shell(&self, arguments: &[&str]) -> Exit {
        self.shell_with(CONFIG, arguments)
    }

    fn shell_with(&self, config: &str, arguments: &[&str]) -> Exit {
        run_to_end(self.beside().args([BINARY, "--config", config]).args(arguments))
    }

    /// A command without variables that sees the machine of the service.
    fn beside(&self) -> Command {
        let mut command = self.mounts.beside(self.process.id());
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        command
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn the_command_line_finds_the_host_of_the_service_file() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let service = Service::start(mounts);
    let listed = service.shell(&["plugins", "list"]);
    assert!(listed.stdout.contains("libdemo.so"), "{}", listed.stdout);
    for command in [&["plugins", "reload", "demo"][..], &["reload"], &["explain", "demo.some.example_func"]] {
        let exit = service.shell(command);
        assert_eq!(exit.code, Some(0), "{command:?}: {}", exit.stderr);
    }
    // As systemd runs it, with the variables of the unit.
    let reload = of_unit("ExecReload");
    let exit = run_to_end(service.beside().args(["env", "-i"]).args(of_unit("Environment")).args(&reload));
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    // Root's `check` looks at the plugins, and leaves the state of the service alone.
    let exit = service.shell(&["check"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(service.shell(&["plugins", "list"]).code, Some(0));
}

#[test]
fn a_host_of_another_config_is_not_taken_for_the_one_that_is_meant() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let service = Service::start(mounts);
    let exit = service.shell_with("/etc/other/config.toml", &["plugins", "unload", "demo"]);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let expected = format!(
        "error: the host of /etc/other/config.toml does not answer, and the one on /run/framex-host/admin.sock runs \
         with {CONFIG}: name that with --config, or start this one\n"
    );
    assert_eq!(exit.stderr, expected);
    assert!(service.shell(&["plugins", "list"]).stdout.contains("published"));
    // The same file by another name is the same config.
    let link = run_to_end(service.beside().args(["ln", "-s", CONFIG, "/etc/link.toml"]));
    assert_eq!(link.code, Some(0), "{}", link.stderr);
    assert_eq!(service.shell_with("/etc/link.toml", &["plugins", "list"]).code, Some(0));
}

#[test]
fn without_the_service_the_error_names_what_was_tried_and_what_may_move_it() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let service = Service::start(mounts);
    let gone = run_to_end(service.beside().args(["rm", "/run/framex-host/admin.sock"]));
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    let exit = service.shell(&["plugins", "list"]);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for part in [
        "no host answers on /etc/framex-host/state/admin.sock: No such file or directory",
        "nor on /run/framex-host/admin.sock: No such file or directory",
        "is it running, with this config?",
        "FRAMEX_STATE_DIR",
        "`state_dir`",
    ] {
        assert!(exit.stderr.contains(part), "{} lacks {part}", exit.stderr);
    }
}

#[test]
fn another_user_is_told_whose_the_socket_is() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let service = Service::start(mounts);
    let user = ["setpriv", "--reuid", "61185", "--regid", "61185", "--clear-groups"];
    if run_to_end(service.beside().args(user).arg("true")).code != Some(0) {
        return;
    }
    let exit = run_to_end(service.beside().args(user).args([BINARY, "--config", CONFIG, "plugins", "list"]));
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let end = "only root and the user of the host may open its socket\n";
    assert!(
        exit.stderr.contains("admin.sock: Permission denied") && exit.stderr.ends_with(end),
        "{}",
        exit.stderr
    );
}
