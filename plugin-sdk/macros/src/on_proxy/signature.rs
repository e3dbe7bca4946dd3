//! The rules for the signature of a marked function, except for its arguments.

use syn::{ReturnType, Type};

use super::Function;
use super::options::Options;
use crate::model::argument_of;
use crate::problems::Problems;

/// The return type, some `Result<T, E>`, and the `T` that is written in it.
pub(super) struct ResultType {
    pub(super) whole: Type,
    pub(super) value: Type,
}

/// Checks a signature and returns the type of its results.
pub(super) fn check(function: &Function, options: &Options, problems: &mut Problems) -> Option<ResultType> {
    let signature = &function.signature;
    match &signature.asyncness {
        Some(asyncness) if options.blocking => {
            problems.at(asyncness, "a `blocking` function is a plain `fn`: leave out `async`");
        }
        None if !options.blocking => problems.at(
            signature.fn_token,
            "a marked function is `async fn`; for a plain one that blocks, write #[on_proxy(blocking)]",
        ),
        _ => {}
    }
    if !signature.generics.params.is_empty() {
        problems.at(
            &signature.generics,
            "a marked function has no generics or lifetimes: it is called by name, with concrete types",
        );
    }
    if let Some(variadic) = &signature.variadic {
        problems.at(variadic, "a marked function has a fixed number of arguments");
    }
    let hint =
        "a marked function returns `Result<T>` or `Result<T, E>`: a call that goes to another host can fail";
    let ReturnType::Type(_, ty) = &signature.output else {
        problems.at(&signature.ident, hint);
        return None;
    };
    let value = argument_of(ty, "Result");
    if value.is_none() {
        problems.at(ty, hint);
    }
    Some(ResultType { whole: (**ty).clone(), value: value?.clone() })
}
