use framex_sdk::prelude::*;

#[derive(Default)]
struct Example;

#[derive(Default)]
struct UpperCase;

#[derive(Default)]
struct Empty;

#[derive(Default)]
struct Versioned;

#[plugin]
impl Example {}

#[plugin]
impl Clone for Example {
    fn clone(&self) -> Self {
        Self
    }
}

#[plugin(name = "Upper Case")]
impl Plugin for UpperCase {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[plugin(name = "")]
impl Plugin for Empty {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[plugin(version = "1")]
impl Plugin for Versioned {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Proxy;

#[plugin(name = "proxy")]
impl Plugin for Proxy {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[plugin]
struct NotAnImpl;

fn main() {}
