use framex_sdk::prelude::*;

#[derive(Default)]
struct Example;

#[plugin]
impl Example {}

#[plugin]
impl Clone for Example {
    fn clone(&self) -> Self {
        Self
    }
}

#[plugin(name = "Upper Case")]
impl Plugin for Example {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[plugin(name = "")]
impl Plugin for Example {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[plugin(version = "1")]
impl Plugin for Example {
    async fn on_start(&mut self, _: &Context) -> Result<()> {
        Ok(())
    }
}

#[plugin]
struct NotAnImpl;

fn main() {}
