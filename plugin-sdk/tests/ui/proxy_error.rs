use framex_sdk::prelude::*;

#[proxy_error(code = "x")]
enum WithArguments {
    Call(CallError),
}

#[proxy_error]
struct NotAnEnum {
    code: u64,
}

#[proxy_error]
enum WithoutCall {
    NotFound,
}

#[proxy_error]
enum CallOfAnotherShape {
    Call { error: CallError },
}

#[proxy_error]
fn not_a_type() {}

fn main() {}
