//! Panics stay inside: every entry of the plugin runs in [`contain`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(panic = "abort")]
compile_error!(
    "a framex plugin must be built with panic = \"unwind\": with \"abort\" one panic would end the whole host"
);

/// Runs `entry`; a panic becomes its message.
///
/// A payload whose own drop panics is forgotten rather than dropped.
pub(crate) fn contain<T>(entry: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(entry)).map_err(|payload| {
        let message = message_of(&*payload);
        if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            forget(second);
        }
        message
    })
}

#[expect(clippy::mem_forget, reason = "dropping the payload of a panicking drop may panic again")]
fn forget(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

/// Reports panics to the host's log, without a backtrace.
///
/// The standard hook symbolizes backtraces with `RUST_BACKTRACE=1`; each generation of a plugin has a copy of std
/// that would cache debug information of the whole process (69 MB were measured) and keep the library mapped.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        crate::logging::write(
            log::Level::Error,
            "panic",
            &format!("panicked at {place}: {}", message_of(info.payload())),
            "",
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn every_kind_of_panic_is_contained() {
        assert_eq!(contain(|| 1), Ok(1));
        assert_eq!(contain(|| panic!("text")).unwrap_err(), "text");
        assert_eq!(contain(|| panic!("with {}", 1)).unwrap_err(), "with 1");
        assert_eq!(contain(|| std::panic::panic_any(PanicsOnDrop)).unwrap_err(), "a panic without a message");
    }
}
