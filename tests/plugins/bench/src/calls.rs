//! The calls that are measured, and the loop that measures them.

use std::hint::black_box;
use std::time::Instant;

use framex_sdk::prelude::*;

/// Gives bytes back.
#[on_proxy(idempotent)]
pub async fn echo(data: Vec<u8>) -> Result<Vec<u8>> {
    Ok(data)
}

/// Adds one.
#[on_proxy(idempotent)]
pub async fn add(value: u64) -> Result<u64> {
    plain_add(value).await
}

/// The body of `add`, without the mark.
#[inline(never)]
async fn plain_add(value: u64) -> Result<u64> {
    Ok(black_box(value) + 1)
}

/// The user of the demo plugin.
#[model]
pub struct User {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
}

/// The demo plugin's function: a small struct in, a text out.
#[on_proxy(name = "demo.some.example_func")]
pub async fn example_func(id: u64, user: User) -> Result<String>;

/// Nanoseconds of one call of each kind.
#[model]
pub struct Costs {
    /// The plain function.
    pub plain: f64,
    /// The same function, marked, inside the plugin that owns it.
    pub direct: f64,
    /// The demo plugin's function, typed both ways, through the host.
    pub cross: f64,
}

/// Calls each kind `count` times, the kinds in turns so that all meet the same machine; the best of nine rounds.
#[on_proxy]
pub async fn measure(count: u32) -> Result<Costs> {
    let mut best = Costs { plain: f64::MAX, direct: f64::MAX, cross: f64::MAX };
    for _ in 0..9 {
        let begin = Instant::now();
        for value in 0..u64::from(count) {
            black_box(plain_add(black_box(value)).await?);
        }
        best.plain = best.plain.min(per_call(begin, count));
        let begin = Instant::now();
        for value in 0..u64::from(count) {
            black_box(add(black_box(value)).await?);
        }
        best.direct = best.direct.min(per_call(begin, count));
        let begin = Instant::now();
        for id in 0..u64::from(count / 10) {
            let user = User { id, name: "Ada Lovelace".to_owned() };
            black_box(example_func(id, user).await?);
        }
        best.cross = best.cross.min(per_call(begin, count / 10));
    }
    Ok(best)
}

fn per_call(begin: Instant, count: u32) -> f64 {
    begin.elapsed().as_nanos() as f64 / f64::from(count.max(1))
}
