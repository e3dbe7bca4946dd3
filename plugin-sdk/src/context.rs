//! The trait of plugins, and the context that they start with.
#![expect(unsafe_code, reason = "calls of the host's table")]

use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use framex_abi::{
    Buffer, FUNCTION_IDEMPOTENT, Host, NO_DEADLINE, OwnedBuffer, Registration, STATUS_OK, Slice,
};
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config;
use crate::error::{Error, Result};
use crate::export;
use crate::function::ProxyFunction;
use crate::instance::{self, States};
use crate::schema;

/// A plugin. Mark the impl `#[plugin]`; one for each library.
pub trait Plugin: Default + Send + 'static {
    /// Sets up what the functions need and registers them. Callers see nothing before it has succeeded.
    ///
    /// Runs on a thread of its own with the plugin's tokio runtime, under the host's start deadline.
    ///
    /// Functions of other plugins cannot be called yet: such a call is `unavailable`, and retrying it
    /// here ends at the deadline. Plugins start in no fixed order, and a reload starts each build again. Call others from a function, or from a task that is spawned here and that tries again
    /// until the plugin is published.
    ///
    /// # Errors
    /// Any error keeps the plugin from being loaded; the operator reads its text.
    fn on_start(&mut self, ctx: &Context) -> impl Future<Output = Result<()>>;

    /// Ends what `on_start` began, after the last call has ended.
    ///
    /// # Errors
    /// An error is logged by the host.
    fn on_stop(&mut self) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }
}

/// The host, as a starting plugin sees it.
pub struct Context {
    host: &'static Host,
    states: Mutex<States>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("generation", &self.host.generation).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(host: &'static Host) -> Self {
        Self { host, states: Mutex::default() }
    }

    pub(crate) fn into_states(self) -> States {
        self.states.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a marked function: `ctx.register_proxy_func::<example_func>()?`.
    ///
    /// # Errors
    /// The host refuses a name that is malformed, registered twice, or owned by another plugin.
    pub fn register_proxy_func<F: ProxyFunction>(&self) -> Result<()> {
        let definition = F::DEFINITION;
        let arguments_schema = schema_text(F::arguments_schema);
        let result_schema = schema_text(F::result_schema);
        let registration = Registration {
            struct_size: size_of::<Registration>() as u32,
            flags: if definition.idempotent { FUNCTION_IDEMPOTENT } else { 0 },
            name: Slice::new(definition.name.as_bytes()),
            description: Slice::new(definition.description.as_bytes()),
            arguments_schema: Slice::new(arguments_schema.as_bytes()),
            result_schema: Slice::new(result_schema.as_bytes()),
            timeout_ms: definition.timeout_ms.unwrap_or(NO_DEADLINE),
            max_concurrency: definition.max_concurrency,
            max_queue: definition.max_queue,
            function: std::ptr::null(),
            call: Some(export::call::<F>),
            route: &raw const F::cell().route,
        };
        let mut reason = Buffer::EMPTY;
        // SAFETY: the table is the host's; the texts live until it returns; `route` is a static of this library.
        let status =
            unsafe { (self.host.register)(self.host.instance, &raw const registration, &raw mut reason) };
        // SAFETY: the host left it empty or filled it for us.
        let reason = unsafe { OwnedBuffer::new(reason) };
        if status == STATUS_OK {
            return Ok(());
        }
        Err(Error::new("registration_refused", String::from_utf8_lossy(reason.as_ref())))
    }

    /// Reads `[plugins.NAME]` of the host's config as a type; where there is none, as an empty table.
    ///
    /// A variable (`FRAMEX_PLUGINS__NAME__KEY`) is text: a field that takes text gets it as it is, any other field what it
    /// looks like, a number, true or false.
    ///
    /// # Errors
    /// A value that does not fit, and a key that the type does not have.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        // SAFETY: the host keeps it valid during `on_start`, which is as long as a `Context` is borrowed.
        let table = unsafe { self.host.config.as_bytes() };
        let origins = instance::config_origins();
        // SAFETY: as above.
        let origins = unsafe { origins.as_bytes() };
        config::read(table, origins).map_err(|reason| Error::new("invalid_config", reason))
    }

    /// Keeps a value, one for each type, for the functions' `#[state]` arguments.
    pub fn insert_state<T: Send + Sync + 'static>(&self, state: T) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(TypeId::of::<T>(), Arc::new(state));
    }

    /// Id of the host.
    #[must_use]
    pub fn host_id(&self) -> &str {
        // SAFETY: the text lives as long as the table, which outlives this library's code.
        let bytes = unsafe { self.host.host_id.as_bytes() };
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Number of this loaded version of the plugin at the host, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.host.generation
    }
}

fn schema_text(schema: fn(&mut schemars::SchemaGenerator) -> Value) -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let value = schema(&mut generator);
    schema::to_text(value, generator)
}
