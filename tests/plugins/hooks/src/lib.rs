//! A plugin for tests: hooks itself into the process, as its config says, with the crates that plugins use for it.

pub mod functions;

use std::sync::Arc;

use framex_sdk::prelude::*;
use serde::Deserialize;

/// `[plugins.hooks]`.
#[derive(Debug, Deserialize)]
struct Config {
    /// The action of `on_start`.
    #[serde(default)]
    does: Vec<Deed>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    /// The crate `ctrlc`, with its feature for SIGTERM.
    Ctrlc,
    /// The crate `signal-hook`, for SIGUSR1 and SIGTERM.
    SignalHook,
    /// A thread-local whose destructor panics.
    ThreadLocal,
}

#[derive(Default)]
struct Hooks;

#[plugin]
impl Plugin for Hooks {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.register_proxy_func::<functions::works>()?;
        ctx.register_proxy_func::<functions::panics_on_drop>()?;
        ctx.register_proxy_func::<functions::sets_variables>()?;
        ctx.register_proxy_func::<functions::reads_variables>()?;
        for deed in ctx.config::<Config>()?.does {
            match deed {
                Deed::Ctrlc => ctrlc::set_handler(|| ())?,
                Deed::SignalHook => {
                    for signal in [signal_hook::consts::SIGUSR1, signal_hook::consts::SIGTERM] {
                        signal_hook::flag::register(signal, Arc::default())?;
                    }
                }
                Deed::ThreadLocal => functions::use_thread_local(),
            }
        }
        Ok(())
    }
}
