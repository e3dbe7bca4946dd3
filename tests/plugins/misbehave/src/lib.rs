//! A plugin for tests: misbehaves as its config says.

pub mod bookings;
pub mod functions;
pub mod large;
pub mod layers;
pub mod ledger;
pub mod limited;
pub mod nested;

use std::path::PathBuf;
use std::time::Duration;

use framex_sdk::prelude::*;
use serde::Deserialize;

/// `[plugins.misbehave]`.
#[derive(Debug, Deserialize)]
struct Config {
    /// The fault in `on_start`; none by default.
    start: Option<StartFault>,
    /// The duration of one count.
    #[serde(default)]
    slow_ms: u64,
    /// The file that the functions of the ledger write to.
    ledger: Option<PathBuf>,
    /// A text that may look like a number.
    password: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StartFault {
    Panic,
    Fail,
    Hang,
    RegisterTwice,
    RegisterForeign,
    /// Calls another plugin, once.
    Calls,
    /// Calls another plugin until that answers.
    CallsUntilItAnswers,
    /// Prints on the standard output.
    Prints,
}

#[expect(clippy::print_stdout, reason = "the test needs a plugin that prints")]
fn prints() {
    println!("{{\"this\": \"does not come from the host");
}

#[derive(Default)]
struct Misbehave;

#[plugin]
impl Plugin for Misbehave {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.register_proxy_func::<functions::panics>()?;
        ctx.register_proxy_func::<functions::panics_blocking>()?;
        ctx.register_proxy_func::<functions::panics_when_dropped>()?;
        ctx.register_proxy_func::<functions::fails>()?;
        ctx.register_proxy_func::<functions::catches_failure>()?;
        ctx.register_proxy_func::<functions::sleeps>()?;
        ctx.register_proxy_func::<functions::tells_when_dropped>()?;
        ctx.register_proxy_func::<functions::one_at_a_time>()?;
        large::register(ctx)?;
        limited::register(ctx)?;
        layers::register(ctx)?;
        nested::register(ctx)?;
        ctx.register_proxy_func::<functions::echo>()?;
        ctx.register_proxy_func::<functions::same_number>()?;
        ctx.register_proxy_func::<functions::with_defaults>()?;
        ctx.register_proxy_func::<functions::needs_state>()?;
        ctx.register_proxy_func::<functions::logs>()?;
        ctx.register_proxy_func::<functions::logs_lines>()?;
        ctx.register_proxy_func::<functions::calls>()?;
        ctx.register_proxy_func::<functions::blocks>()?;
        ctx.register_proxy_func::<functions::asks_build>()?;
        ctx.register_proxy_func::<functions::asks_sometimes>()?;
        ctx.register_proxy_func::<functions::asks_socket>()?;
        ctx.register_proxy_func::<functions::holds_worker>()?;
        ctx.register_proxy_func::<functions::runs_process>()?;
        ctx.register_proxy_func::<functions::counts>()?;
        ctx.register_proxy_func::<functions::counts_idempotent>()?;
        ctx.register_proxy_func::<functions::tells_password>()?;
        ctx.register_proxy_func::<bookings::books>()?;
        ctx.register_proxy_func::<bookings::booked>()?;
        ctx.register_proxy_func::<bookings::books_again>()?;
        ctx.register_proxy_func::<ledger::notes>()?;
        ctx.register_proxy_func::<ledger::notes_idempotent>()?;
        let config = ctx.config::<Config>()?;
        ctx.insert_state(functions::Password(config.password));
        ctx.insert_state(ledger::Ledger::open(config.ledger.as_deref())?);
        ctx.insert_state(functions::Slow(Duration::from_millis(config.slow_ms)));
        match config.start {
            None => Ok(()),
            Some(StartFault::Panic) => panic!("this plugin panics when it starts"),
            Some(StartFault::Fail) => Err(Error::new("no_luck", "this plugin fails when it starts")),
            Some(StartFault::Hang) => {
                tracing::info!("hangs in on_start");
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(())
            }
            Some(StartFault::RegisterTwice) => ctx.register_proxy_func::<functions::echo>(),
            Some(StartFault::RegisterForeign) => ctx.register_proxy_func::<functions::foreign>(),
            Some(StartFault::Calls) => functions::build(0).await.map(drop),
            Some(StartFault::CallsUntilItAnswers) => {
                while functions::build(0).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            }
            Some(StartFault::Prints) => {
                prints();
                Ok(())
            }
        }
    }
    async fn on_stop(&mut self) -> Result<()> {
        tracing::info!("misbehave stops");
        Ok(())
    }
}
