//! `GET /api/v1/openapi.json`: OpenAPI 3.1 of the functions, from the Rust types.

mod components;

use serde_json::{Map, Value, json};

use components::Components;

use super::catalogue::offers;
use crate::api::{
    FUNCTIONS_PATH, IDEMPOTENCY_KEY_HEADER, JSON, OfferView, PROBLEM_JSON, REPLAYED_HEADER,
    REQUEST_ID_HEADER, SERVED_BY_HEADER, TIMEOUT_HEADER,
};
use crate::base::{Caller, ErrorCode, IDEMPOTENCY_KEY_BYTES_MAX};
use crate::config::Access;
use crate::router::Router;

/// The whole document.
pub(crate) fn document(router: &Router, access: &Access, caller: &Caller) -> Value {
    let mut document = of_offers(offers(router, caller), router.host_id());
    secure(&mut document, access);
    document
}

/// Says which operations need a key, or will do with a certificate.
fn secure(document: &mut Value, access: &Access) {
    let with_certificates = access.callers.have_certificates();
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

fn of_offers(offers: Vec<OfferView>, host_id: &str) -> Value {
    let mut components = Components::default();
    components.add("Problem", problem_schema());
    let mut paths = Map::new();
    // What peers say of types must not take the names of what plugins here say.
    let (own, of_peers): (Vec<_>, Vec<_>) = offers.into_iter().partition(|offer| offer.plugin.is_some());
    for offer in own.into_iter().chain(of_peers) {
        let path = format!("{FUNCTIONS_PATH}/{}", offer.name);
        paths.insert(path, json!({ "post": operation(offer, &mut components) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": format!("framex-host {host_id}"), "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": components.schemas(),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "key": [] }],
    })
}

fn operation(offer: OfferView, components: &mut Components) -> Value {
    let OfferView { name, description, plugin, arguments, result, .. } = offer;
    let (arguments, result) = components.of_function(&name, arguments, result);
    let needs_arguments = arguments["required"].as_array().is_some_and(|required| !required.is_empty());
    let first_line = description.lines().next().filter(|line| !line.trim().is_empty());
    let summary = first_line.unwrap_or(&name);
    let problem = json!({ PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } });
    json!({
        "operationId": name,
        "summary": summary,
        "description": description,
        "tags": Vec::from_iter(plugin),
        "parameters": parameters(),
        "requestBody": {
            "required": needs_arguments, "content": { JSON: { "schema": arguments } },
        },
        "responses": {
            "200": {
                "description": "The bare result.",
                "headers": headers(),
                "content": { JSON: { "schema": result } },
            },
            "default": {
                "description": "No result; `code` says why.", "headers": headers(), "content": problem,
            },
        },
    })
}

/// The headers that every call may carry.
fn parameters() -> Value {
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema });
    json!([
        header(
            TIMEOUT_HEADER,
            "Deadline of this call in milliseconds; more than server.call_timeout_ms counts as that.",
            json!({ "type": "integer", "minimum": 1 }),
        ),
        header(
            IDEMPOTENCY_KEY_HEADER,
            "Makes the call safe to repeat: a repeat with the same key and arguments gets the outcome of the first one.",
            json!({ "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX }),
        ),
        header(
            "traceparent",
            "The trace that the call belongs to (W3C Trace Context).",
            json!({ "type": "string" }),
        ),
    ])
}

/// The headers of answers.
fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        REQUEST_ID_HEADER: text("The id of the call, as logs have it."),
        SERVED_BY_HEADER: text("The host that the function ran on; absent if it did not run."),
        REPLAYED_HEADER: text("`true` if this is the outcome of an earlier call with the same idempotency-key."),
    })
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
