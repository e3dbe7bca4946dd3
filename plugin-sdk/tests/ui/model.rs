use framex_sdk::prelude::*;

#[model(name = "user")]
struct WithArguments {
    id: u64,
}

#[model]
union Bits {
    whole: u32,
    parts: [u8; 4],
}

#[model]
fn not_a_type() {}

#[model]
struct Skips {
    id: u64,
    #[serde(default, skip)]
    kept_here: u64,
}

fn main() {}
