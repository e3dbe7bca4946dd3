//! JSON Schemas of arguments and results: from `JsonSchema` where a type has it, `true` (anything) otherwise.

use std::marker::PhantomData;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

/// Chooses between the two traits below by auto-reference: `(&Probe::<T>::new()).schema(..)`.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T> Probe<T> {
    #[doc(hidden)]
    #[must_use]
    #[allow(clippy::new_without_default, reason = "macro output calls it")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

#[doc(hidden)]
pub trait ViaSchema {
    fn schema(&self, generator: &mut SchemaGenerator) -> Value;
}

impl<T: JsonSchema> ViaSchema for Probe<T> {
    fn schema(&self, generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<T>().to_value()
    }
}

#[doc(hidden)]
pub trait ViaAny {
    fn schema(&self, generator: &mut SchemaGenerator) -> Value;
}

impl<T> ViaAny for &Probe<T> {
    fn schema(&self, _: &mut SchemaGenerator) -> Value {
        Value::Bool(true)
    }
}

/// One argument, for [`arguments_schema`].
#[doc(hidden)]
#[derive(Debug)]
pub struct ArgumentSchema {
    pub name: &'static str,
    pub schema: Value,
    pub required: bool,
}

/// The schema of named arguments: an object.
#[doc(hidden)]
#[must_use]
pub fn arguments_schema(arguments: Vec<ArgumentSchema>) -> Value {
    let required: Vec<Value> =
        arguments.iter().filter(|argument| argument.required).map(|argument| argument.name.into()).collect();
    let properties: Map<String, Value> =
        arguments.into_iter().map(|argument| (argument.name.to_owned(), argument.schema)).collect();
    serde_json::json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

/// Writes a schema as text, with the definitions that it refers to.
pub(crate) fn to_text(mut schema: Value, mut generator: SchemaGenerator) -> String {
    let definitions = generator.take_definitions(true);
    if let (Value::Object(object), false) = (&mut schema, definitions.is_empty()) {
        object.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema.to_string()
}
