//! `GET /api/v1/openapi.json`: OpenAPI 3.1 of the functions, from the Rust types.

use serde_json::{Map, Value, json};

use super::catalogue::{Entry, entries};
use crate::base::{Caller, ErrorCode};
use crate::config::Access;
use crate::router::Router;

/// The whole document.
pub(super) fn document(router: &Router, access: &Access, caller: &Caller) -> Value {
    let mut document = of_entries(&entries(router, caller), router.host_id());
    secure(&mut document, access);
    document
}

/// Says which operations need a key, or will do with a certificate.
fn secure(document: &mut Value, access: &Access) {
    let with_certificates = access.callers().have_certificates();
    if with_certificates {
        document["components"]["securitySchemes"]["certificate"] = json!({ "type": "mutualTLS" });
    }
    let needed = match with_certificates {
        true => json!([{ "key": [] }, { "certificate": [] }]),
        false => json!([{ "key": [] }]),
    };
    let of_all = access.needs_key_to_call();
    if of_all {
        document["security"] = needed.clone();
    }
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        match access.needs_key(path) {
            needs_key if needs_key == of_all => {}
            true => operations["post"]["security"] = needed.clone(),
            false => operations["post"]["security"] = json!([{}]),
        }
    }
}

fn of_entries(entries: &[Entry], host_id: &str) -> Value {
    let mut schemas = Map::new();
    schemas.insert("Problem".to_owned(), problem_schema());
    let mut paths = Map::new();
    // What peers say of types must not take the place of what plugins here say.
    let (own, offered): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.plugin().is_some());
    for entry in own.into_iter().chain(offered) {
        paths.insert(
            format!("/api/v1/functions/{}", entry.name),
            json!({ "post": operation(entry, &mut schemas) }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": format!("framex-host {host_id}"), "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "key": [] }],
    })
}

fn operation(entry: &Entry, schemas: &mut Map<String, Value>) -> Value {
    let arguments = hoisted(entry.arguments_schema(), entry.name.as_str(), schemas);
    let result = hoisted(entry.result_schema(), entry.name.as_str(), schemas);
    let description = entry.description();
    let summary = description.lines().next().unwrap_or_default().to_owned();
    let problem =
        json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    json!({
        "operationId": entry.name.as_str(),
        "summary": summary,
        "description": description,
        "tags": entry.plugin().map(|plugin| vec![plugin]).unwrap_or_default(),
        "parameters": [{
            "name": "x-framex-timeout-ms", "in": "header", "required": false,
            "description": "Deadline of this call in milliseconds.", "schema": { "type": "integer", "minimum": 1 },
        }],
        "requestBody": { "required": true, "content": { "application/json": { "schema": arguments } } },
        "responses": {
            "200": { "description": "The bare result.", "content": { "application/json": { "schema": result } } },
            "default": { "description": "No result; `code` says why.", "content": problem },
        },
    })
}

/// Moves the definitions of a schema to the document's components, where references can find them.
///
/// Two functions may have different types of one name, so a moved name carries the function's. What is there already
/// stays.
fn hoisted(mut schema: Value, function: &str, schemas: &mut Map<String, Value>) -> Value {
    let definitions = schema.as_object_mut().and_then(|object| object.remove("$defs"));
    if let Some(Value::Object(definitions)) = definitions {
        for (name, mut definition) in definitions {
            point_to_components(&mut definition, function);
            schemas.entry(component_name(function, &name)).or_insert(definition);
        }
    }
    point_to_components(&mut schema, function);
    schema
}

fn component_name(function: &str, definition: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    format!("{function}.{definition}").chars().map(allowed).collect()
}

/// Rewrites references. The depth of a schema was bounded when it was parsed as JSON.
fn point_to_components(schema: &mut Value, function: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{}", component_name(function, name));
            }
            object.values_mut().for_each(|value| point_to_components(value, function));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| point_to_components(value, function)),
        _ => {}
    }
}

fn problem_schema() -> Value {
    // Plain calls name no receiver, so none is misdirected.
    let of_plain_calls = ErrorCode::ALL.into_iter().filter(|code| *code != ErrorCode::Misdirected);
    let codes: Vec<&str> = of_plain_calls.map(ErrorCode::as_str).collect();
    json!({
        "type": "object",
        "description": "RFC 9457, with a stable code.",
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "code": { "type": "string", "enum": codes },
            "executed": { "type": ["boolean", "null"], "description": "Whether the function's body ran; null: not known." },
            "app_code": { "type": ["string", "null"], "description": "The function's own code, with `failed`." },
            "details": { "description": "The function's own details, with `failed`." },
        },
        "required": ["type", "title", "status", "detail", "code"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_move_with_their_references() {
        let mut schemas = Map::new();
        let schema = json!({ "properties": { "user": { "$ref": "#/$defs/User" } }, "$defs": { "User": { "items": { "$ref": "#/$defs/User" } } } });
        let moved = hoisted(schema, "demo.f", &mut schemas);
        assert_eq!(
            moved,
            json!({ "properties": { "user": { "$ref": "#/components/schemas/demo.f.User" } } })
        );
        assert_eq!(
            schemas["demo.f.User"],
            json!({ "items": { "$ref": "#/components/schemas/demo.f.User" } })
        );
        // One that was there first stays, by whatever name another function's may come.
        hoisted(json!({ "$defs": { "f.User": true } }), "demo", &mut schemas);
        assert!(schemas["demo.f.User"].is_object());
    }
}
