//! JSON Schemas of arguments and results: from `JsonSchema` where a type has it, `{}` (anything) otherwise.

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
        Value::Object(Map::new())
    }
}

/// One argument, for [`arguments_schema`].
#[doc(hidden)]
#[derive(Debug)]
pub struct ArgumentSchema {
    pub name: &'static str,
    pub description: &'static str,
    pub schema: Value,
    pub required: bool,
}

/// The schema of named arguments: an object.
#[doc(hidden)]
#[must_use]
pub fn arguments_schema(arguments: Vec<ArgumentSchema>) -> Value {
    let required: Vec<Value> =
        arguments.iter().filter(|argument| argument.required).map(|argument| argument.name.into()).collect();
    let described = |ArgumentSchema { name, description, mut schema, .. }: ArgumentSchema| {
        if let (Value::Object(object), false) = (&mut schema, description.is_empty()) {
            object.insert("description".to_owned(), description.into());
        }
        (name.to_owned(), schema)
    };
    let properties: Map<String, Value> = arguments.into_iter().map(described).collect();
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
    as_it_travels(&mut schema);
    schema.to_string()
}

/// Says what the codec does: 128-bit integers are text. `true`, which means anything, becomes `{}`, which means the same
/// and which more readers of schemas know.
fn as_it_travels(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    let pattern = match object.get("format").and_then(Value::as_str) {
        Some("uint128") => Some("^[0-9]+$"),
        Some("int128") => Some("^-?[0-9]+$"),
        _ => None,
    };
    if let Some(pattern) = pattern {
        as_text(object, pattern);
    }
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            // Values of the author's own.
            ("default" | "const" | "enum" | "examples", _) => {}
            ("properties" | "patternProperties" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(anything);
            }
            ("additionalProperties" | "items" | "not" | "contains" | "propertyNames", value) => {
                anything(value)
            }
            (_, Value::Array(schemas)) => schemas.iter_mut().for_each(anything),
            _ => {}
        }
    }
}

/// A schema inside of another one.
fn anything(schema: &mut Value) {
    match schema {
        Value::Bool(true) => *schema = Value::Object(Map::new()),
        schema => as_it_travels(schema),
    }
}

/// An integer as decimal text, with `null` where there may be nothing.
fn as_text(object: &mut Map<String, Value>, pattern: &str) {
    let text = |kind: &mut Value| {
        if kind == "integer" {
            *kind = "string".into();
        }
    };
    match object.get_mut("type") {
        Some(Value::Array(kinds)) => kinds.iter_mut().for_each(text),
        Some(kind) => text(kind),
        None => {}
    }
    object.remove("minimum");
    object.insert("pattern".to_owned(), pattern.into());
}
