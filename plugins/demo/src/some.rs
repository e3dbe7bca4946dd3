//! The function of the first example configuration.

use framex_sdk::prelude::*;

/// A user.
#[model]
pub struct User {
    /// Number of the user.
    pub id: u64,
    /// Name of the user.
    pub name: String,
}

/// Returns the id and the user's name, `"7: Ada"` for 7 and Ada.
///
/// # Errors
/// None of its own; a call that goes to another host may fail.
#[on_proxy(idempotent)]
pub async fn example_func(id: u64, user: User) -> Result<String> {
    let data = format!("{id}: {}", user.name);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_its_body_outside_a_host() {
        let user = User { id: 7, name: "Ada".to_owned() };
        assert_eq!(example_func(7, user).await.unwrap(), "7: Ada");
    }
}
