//! Compares the schemas of the arguments: callers of the old build must be able to go on with the new one.

use std::sync::Arc;

use serde_json::Value;

use crate::functions::{Function, Snapshot};

/// Returns what would break for callers, one sentence each.
///
/// A function that is gone is not a break in this sense: its callers get `not_found`.
pub(crate) fn breaks(table: &Snapshot, plugin: &str, new: &[Function]) -> Vec<String> {
    let old = |function: &Function| {
        table.find(function.name.as_str()).filter(|old| *old.plugin == *plugin).map(Arc::clone)
    };
    new.iter()
        .filter_map(|function| Some((old(function)?, function)))
        .flat_map(|(old, new)| function_breaks(&old, new))
        .collect()
}

fn function_breaks(old: &Function, new: &Function) -> Vec<String> {
    let name = &new.name;
    let (old_schema, new_schema) = (&old.arguments_schema, &new.arguments_schema);
    let (Some(was), Some(is)) = (old_schema["properties"].as_object(), new_schema["properties"].as_object())
    else {
        return Vec::new();
    };
    let mut breaks = Vec::new();
    for (argument, schema) in was {
        match is.get(argument) {
            None => breaks.push(format!("`{name}` no longer takes the argument `{argument}`")),
            Some(now)
                if expanded(schema, old_schema, REFERENCES_MAX)
                    != expanded(now, new_schema, REFERENCES_MAX) =>
            {
                breaks.push(format!("the argument `{argument}` of `{name}` has another type"));
            }
            Some(_) => {}
        }
    }
    let required = |schema: &Value, argument: &str| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == argument))
    };
    for argument in is.keys() {
        if required(new_schema, argument) && !required(old_schema, argument) {
            breaks.push(format!(
                "`{name}` demands the argument `{argument}`, which callers need not pass so far"
            ));
        }
    }
    breaks
}

/// Deepest that references are followed: a type may refer to itself, several times, so each level multiplies.
const REFERENCES_MAX: usize = 3;

/// A schema without the texts for people, and with references followed.
fn expanded(schema: &Value, root: &Value, references: usize) -> Value {
    let definition = |reference: &Value| root["$defs"].get(reference.as_str()?.strip_prefix("#/$defs/")?);
    match schema {
        Value::Object(object) => match object.get("$ref").and_then(definition) {
            Some(definition) if references > 0 => expanded(definition, root, references - 1),
            _ => {
                let kept = object
                    .iter()
                    .filter(|(key, _)| !matches!(key.as_str(), "description" | "title" | "examples"));
                Value::Object(
                    kept.map(|(key, value)| (key.clone(), expanded(value, root, references))).collect(),
                )
            }
        },
        Value::Array(values) => values.iter().map(|value| expanded(value, root, references)).collect(),
        // Both mean any value; builds of before wrote this one.
        Value::Bool(true) => Value::Object(serde_json::Map::new()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(old: Value, new: Value, expected: &[&str]) {
        let function = |schema: Value| Function::for_tests("demo", "demo.f", schema);
        assert_eq!(function_breaks(&function(old), &function(new)), expected);
    }

    fn object(properties: Value, required: Value) -> Value {
        json!({ "type": "object", "properties": properties, "required": required })
    }

    #[test]
    fn what_callers_pass_must_still_fit() {
        let id = || json!({ "id": { "type": "integer" } });
        let old = || object(id(), json!(["id"]));
        check(old(), old(), &[]);
        check(
            old(),
            object(json!({ "id": { "type": "integer", "description": "new text" } }), json!([])),
            &[],
        );
        check(
            old(),
            object(json!({ "id": { "type": "string" } }), json!(["id"])),
            &["the argument `id` of `demo.f` has another type"],
        );
        check(old(), object(json!({}), json!([])), &["`demo.f` no longer takes the argument `id`"]);
        let more = json!({ "id": { "type": "integer" }, "b": { "type": "integer" } });
        check(old(), object(more.clone(), json!(["id"])), &[]);
        check(
            old(),
            object(more, json!(["id", "b"])),
            &["`demo.f` demands the argument `b`, which callers need not pass so far"],
        );
        check(Value::Bool(true), old(), &[]);
        let users = |id: &str| {
            json!({
                "properties": { "users": { "type": "array", "items": { "$ref": "#/$defs/User" } } },
                "$defs": { "User": { "properties": { "id": { "type": id }, "next": { "$ref": "#/$defs/User" } } } },
            })
        };
        check(users("integer"), users("integer"), &[]);
        check(users("integer"), users("string"), &["the argument `users` of `demo.f` has another type"]);
    }
}
