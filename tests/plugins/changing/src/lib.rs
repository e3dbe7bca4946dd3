//! A plugin for tests of reloads: tests make many builds of the one compiled library by changing its marker.

pub mod functions;
mod marker;

use std::path::PathBuf;
use std::time::Duration;

use framex_sdk::prelude::*;
use serde::Deserialize;

/// `[plugins.changing]`.
#[derive(Debug, Deserialize)]
struct Config {
    /// A thread that is left behind ends once this file is there.
    release: Option<PathBuf>,
}

#[derive(Default)]
struct Changing;

#[plugin]
impl Plugin for Changing {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.insert_state(functions::Started(marker::build().to_owned()));
        ctx.register_proxy_func::<functions::build>()?;
        ctx.register_proxy_func::<functions::waits>()?;
        ctx.register_proxy_func::<functions::pong>()?;
        match marker::shape() {
            b'b' => ctx.register_proxy_func::<functions::typed_number>()?,
            b'c' => {
                ctx.register_proxy_func::<functions::sometimes>()?;
                ctx.register_proxy_func::<functions::typed_text>()?;
            }
            _ => {
                ctx.register_proxy_func::<functions::sometimes>()?;
                ctx.register_proxy_func::<functions::typed_number>()?;
            }
        }
        leave(ctx.config::<Config>()?.release);
        match marker::start() {
            b'f' => Err(Error::new("bad_build", "this build fails when it starts")),
            b'a' => std::process::abort(),
            b'p' => panic!("this build panics when it starts"),
            b'h' => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Begins something that outlives the generation unless it is stopped.
fn leave(release: Option<PathBuf>) {
    match marker::leaves() {
        b't' => {
            let thread = std::thread::Builder::new().name("left-behind".to_owned());
            let _detached = thread.spawn(move || {
                while !release.as_ref().is_some_and(|release| release.exists()) {
                    pause();
                }
            });
        }
        b'k' => spawn(async {
            loop {
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }),
        b'm' => {
            for seconds in 1..100 {
                spawn(tokio::time::sleep(Duration::from_secs(seconds)));
            }
        }
        _ => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "the test needs a thread without an owner")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

#[expect(clippy::disallowed_methods, reason = "the test needs a task without an owner")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let _detached = tokio::spawn(task);
}
