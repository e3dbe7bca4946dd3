//! Questions to a public data set: the flights that left New York in the first week of 2013, in SQLite or MySQL.
//!
//! The same plugin file serves two hosts. The one with a database (`[plugins.reports] database` or `database_url`)
//! runs the functions of [`flights`] itself. The one without starts as well; its configuration says which host runs them,
//! and [`briefing`], which calls them like any other Rust function, does not know the difference.
//!
//! The README has what operators configure.
//!
//! From top to bottom: `briefing`, `flights`, `slow`, `database`, `config`, `error`.

pub mod briefing;
pub mod error;
pub mod flights;

mod config;
mod database;
mod slow;

use std::time::Duration;

use framex_sdk::prelude::*;

use config::Config;
use database::Database;

#[derive(Default)]
struct Reports {
    /// `None` on a host without a database.
    database: Option<Database>,
}

#[plugin]
impl Plugin for Reports {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        let config: Config = ctx.config()?;
        ctx.insert_state(slow::SlowQuery(Duration::from_millis(config.slow_query_ms)));
        if let Some(database) = database::open(&config).await? {
            // The functions take it as `#[state]`; where it is missing, they answer `unavailable`.
            ctx.insert_state(database.clone());
            self.database = Some(database);
        } else {
            tracing::info!(
                "no `database` is configured: the database functions run where the host routes them"
            );
        }
        ctx.register_proxy_func::<flights::busiest_routes>()?;
        ctx.register_proxy_func::<flights::carrier_delays>()?;
        ctx.register_proxy_func::<flights::day>()?;
        ctx.register_proxy_func::<flights::departures>()?;
        ctx.register_proxy_func::<briefing::morning>()
    }

    async fn on_stop(&mut self) -> Result<()> {
        if let Some(database) = self.database.take() {
            database.close().await;
            tracing::info!("the database is closed");
        }
        Ok(())
    }
}
