//! Questions to a public data set: the flights that left New York in the first week of 2013, in SQLite.
//!
//! The same plugin file serves two hosts. The one with a database (`[plugins.reports] database = "..."`) runs the
//! functions of [`flights`] itself. The one without starts as well; its configuration says which host runs them,
//! and [`briefing`], which calls them like any other Rust function, does not know the difference.
//!
//! On the host with the database, where every key is optional:
//!
//! ```toml
//! [plugins.reports]
//! database = "/var/lib/framex/flights.db" # absolute; a relative path counts from the host's working directory
//! create = true                           # makes a missing file from the data set inside the plugin
//! connections_max = 4                     # 1 to 32
//! slow_query_ms = 200                     # logs what takes at least so long
//! ```
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
use sqlx::SqlitePool;

use config::Config;

#[derive(Default)]
struct Reports {
    /// `None` on a host without a database.
    pool: Option<SqlitePool>,
}

#[plugin]
impl Plugin for Reports {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        let config: Config = ctx.config()?;
        ctx.insert_state(slow::SlowQuery(Duration::from_millis(config.slow_query_ms)));
        if let Some(pool) = database::open(&config).await? {
            // The functions take it as `#[state]`; where it is missing, they answer `unavailable`.
            ctx.insert_state(pool.clone());
            self.pool = Some(pool);
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
        if let Some(pool) = self.pool.take() {
            // Ends the thread that sqlx has for each connection.
            pool.close().await;
            tracing::info!("the database is closed");
        }
        Ok(())
    }
}
