//! Functions of the plugin.

use framex_sdk::prelude::*;

/// Panics when its thread ends.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("this thread-local panics when it is dropped");
    }
}

thread_local! {
    static PANICS_ON_DROP: PanicsOnDrop = const { PanicsOnDrop };
}

pub(crate) fn use_thread_local() {
    PANICS_ON_DROP.with(|_| ());
}

/// Returns "works".
#[on_proxy]
pub async fn works() -> Result<String> {
    Ok("works".to_owned())
}

/// Leaves a thread-local on its thread whose destructor panics.
#[on_proxy]
pub async fn panics_on_drop() -> Result<String> {
    use_thread_local();
    Ok("left behind".to_owned())
}

/// Sets more and more variables of the environment, with std.
#[on_proxy]
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "real plugins do this, themselves or in their libraries"
)]
pub async fn sets_variables(first: u32) -> Result<String> {
    for number in first..first + 500 {
        // SAFETY: not upheld: other threads read at this moment. The host makes that harmless.
        unsafe { std::env::set_var(format!("SET_IN_RUST_{number}"), "value") };
    }
    for number in first..first + 500 {
        // SAFETY: as above.
        unsafe { std::env::remove_var(format!("SET_IN_RUST_{number}")) };
    }
    Ok("set".to_owned())
}

/// Reads all variables of the environment, with std.
#[on_proxy]
pub async fn reads_variables() -> Result<u64> {
    let mut found = 0;
    for _ in 0..100 {
        found += std::env::vars_os().count() as u64;
        found += u64::from(std::env::var_os("NOT_THERE").is_some());
    }
    Ok(found)
}
