//! Functions around types: results that JSON lacks, types of one short name, arguments that need not be there.

#![allow(
    clippy::allow_attributes_without_reason,
    clippy::non_minimal_cfg,
    reason = "attributes as authors write them on arguments"
)]

use framex_sdk::prelude::*;

use crate::kinds::Ambiguous;

pub mod request {
    use framex_sdk::prelude::*;

    #[model]
    pub struct User {
        pub name: String,
        pub role: Role,
    }

    #[model]
    pub enum Role {
        Admin,
        Guest,
    }
}

pub mod response {
    use framex_sdk::prelude::*;

    #[model]
    pub struct User {
        pub id: u64,
        pub name: String,
        pub role: super::request::Role,
    }
}

#[on_proxy]
pub async fn create_user(user: request::User) -> Result<response::User> {
    Ok(response::User { id: 7, name: user.name, role: user.role })
}

#[on_proxy]
pub async fn same_user(user: request::User) -> Result<request::User> {
    Ok(user)
}

#[on_proxy]
pub async fn no_arguments() -> Result<String> {
    Ok("ran".to_owned())
}

/// Has arguments that need not be there.
///
/// Its second paragraph.
#[on_proxy]
pub async fn defaults(
    a: Option<u32>,
    #[default] b: Vec<u8>,
    #[default] c: Option<Vec<u8>>,
    /// The answer, usually.
    #[default(42)]
    d: u128,
) -> Result<(Option<u32>, Bytes, Option<Bytes>, u128)> {
    Ok((a, Bytes(b), c.map(Bytes), d))
}

#[on_proxy]
pub async fn conditional(
    #[allow(unused_variables)] a: u8,
    #[cfg(any())] never: NoSuchType,
    #[cfg(all())] always: u8,
    #[cfg_attr(all(), default(3))] mut defaulted: u8,
) -> Result<u8> {
    defaulted += always;
    Ok(defaulted)
}

#[on_proxy]
pub async fn not_a_number() -> Result<Vec<f64>> {
    Ok(vec![1.0, f64::NAN])
}

#[on_proxy]
pub async fn some_of_none() -> Result<Option<Option<u8>>> {
    Ok(Some(None))
}

#[on_proxy]
pub async fn ambiguous_result() -> Result<Ambiguous> {
    Ok(Ambiguous::Large(1))
}

pub(crate) fn register(ctx: &Context) -> Result<()> {
    ctx.register_proxy_func::<create_user>()?;
    ctx.register_proxy_func::<same_user>()?;
    ctx.register_proxy_func::<no_arguments>()?;
    ctx.register_proxy_func::<defaults>()?;
    ctx.register_proxy_func::<conditional>()?;
    ctx.register_proxy_func::<not_a_number>()?;
    ctx.register_proxy_func::<some_of_none>()?;
    ctx.register_proxy_func::<ambiguous_result>()
}
