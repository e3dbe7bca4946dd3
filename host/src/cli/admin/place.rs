//! Finds the host of a config, also if its unit sets variables that a shell does not have.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use framex_host::api::{AdminPath, HostView};
use framex_host::config::{Config, Environment, absolute_file};
use http::Method;

use super::socket::{exchange, within};
use crate::cli::command_error::CommandError;
use crate::cli::output::view;

/// The admin socket of the host that `config/framex-host.service` runs.
const SERVICE_SOCKET: &str = "/run/framex-host/admin.sock";

/// Longest time for that host to name its config.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Finds the admin socket of the host of a config: where the config and the variables of this process say, or else where
/// the service has it, if that runs with this very config.
pub(super) fn find(config: &Path) -> Result<PathBuf, CommandError> {
    let said = Config::local_endpoints(config, &Environment::of_process())
        .map_err(|error| CommandError::config(&error))?
        .admin_socket;
    let of_service = PathBuf::from(SERVICE_SOCKET);
    let mut refusals = Vec::new();
    match UnixStream::connect(&said) {
        Ok(_) => return Ok(said),
        Err(error) => refusals.push((&said, error)),
    }
    if said != of_service {
        match UnixStream::connect(&of_service) {
            Ok(_) => return check_config(&of_service, config).map(|()| of_service),
            Err(error) => refusals.push((&of_service, error)),
        }
    }
    let is_private = refusals.iter().any(|(_, error)| error.kind() == ErrorKind::PermissionDenied);
    let tried = refusals.iter().map(|(place, error)| format!("{}: {error}", place.display()));
    let tried = tried.collect::<Vec<_>>().join(", nor on ");
    let advice = if is_private {
        "only root and the user of the host may open its socket"
    } else {
        "is it running, with this config? A unit or shell that starts it with FRAMEX_STATE_DIR or FRAMEX_ADMIN__SOCKET \
         puts its socket elsewhere: set the same here, or write `state_dir` into the config instead"
    };
    Err(CommandError::new(format!("no host answers on {tried}; {advice}")))
}

/// Refuses a host of another config.
fn check_config(socket: &Path, config: &Path) -> Result<(), CommandError> {
    let answer = within(TIMEOUT, exchange(socket, Method::GET, AdminPath::Host, None))?;
    let HostView { config: found, .. } = view(&answer)?;
    let wanted = absolute_file(config);
    if Path::new(&found) == wanted {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the host of {} does not answer, and the one on {} runs with {found}: name that with --config, or start this one",
        wanted.display(),
        socket.display()
    )))
}
