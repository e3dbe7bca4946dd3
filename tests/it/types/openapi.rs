//! The types of the OpenAPI document; `clients` shows that generators read them correctly.

use framex_tests::get;
use serde_json::{Value, json};

use super::host;

/// The schema that a reference leads to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            document.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere")
        }
        None => schema,
    }
}

fn operation<'a>(document: &'a Value, function: &str) -> &'a Value {
    &document["paths"][format!("/api/v1/functions/{function}")]["post"]
}

fn argument<'a>(operation: &'a Value, name: &str) -> &'a Value {
    &operation["requestBody"]["content"]["application/json"]["schema"]["properties"][name]
}

fn result(operation: &Value) -> &Value {
    &operation["responses"]["200"]["content"]["application/json"]["schema"]
}

#[test]
fn types_of_one_name_are_told_apart_and_equal_ones_are_one() {
    let host = host();
    let document = get(&format!("{}/api/v1/openapi.json", host.url())).json();
    let create = operation(&document, "types.odd.create_user");
    let (given, created) = (argument(create, "user"), result(create));
    assert_eq!(resolved(&document, given)["required"], json!(["name", "role"]));
    assert_eq!(resolved(&document, created)["required"], json!(["id", "name", "role"]));
    let role = |user: &Value| resolved(&document, user)["properties"]["role"].clone();
    assert_eq!(role(given), role(created), "both have the same one");
    let same = operation(&document, "types.odd.same_user");
    assert_eq!(argument(same, "user"), result(same));
    host.stop();
}

#[test]
fn schemas_say_what_travels() {
    let host = host();
    let document = get(&format!("{}/api/v1/openapi.json", host.url())).json();
    let result_of = |function: &str| result(operation(&document, function));
    let digits = json!({ "type": "string", "format": "uint128", "pattern": "^[0-9]+$" });
    assert_eq!(result_of("types.echo.unsigned_128"), &digits);
    assert_eq!(result_of("types.echo.signed_128")["pattern"], "^-?[0-9]+$");
    assert_eq!(result_of("types.echo.bytes"), &json!({ "type": "string", "contentEncoding": "base64" }));
    assert_eq!(
        argument(operation(&document, "types.echo.maybe_bytes"), "value")["contentEncoding"],
        "base64"
    );
    for function in ["types.echo.any", "types.echo.foreign"] {
        assert_eq!(result_of(function), &json!({}), "{function}");
    }
    let foreign = resolved(&document, result_of("types.echo.has_foreign"));
    assert_eq!(foreign["properties"]["list"]["items"], json!({}));
    assert_eq!(result_of("types.echo.map_of_numbers")["additionalProperties"], json!({ "type": "string" }));
    // The catalogue has no `true` either.
    let catalogue = get(&format!("{}/api/v1/functions", host.url())).json();
    let functions = catalogue["functions"].as_array().unwrap();
    let foreign = functions.iter().find(|function| function["name"] == "types.echo.foreign").unwrap();
    assert_eq!(foreign["result"], json!({}));
    host.stop();
}

#[test]
fn operations_have_their_headers_a_summary_and_the_texts_of_arguments() {
    let host = host();
    let document = get(&format!("{}/api/v1/openapi.json", host.url())).json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let operation = &operations["post"];
        let parameters = operation["parameters"].as_array().unwrap();
        let names: Vec<&str> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(names, ["x-framex-timeout-ms", "idempotency-key", "traceparent"], "{path}");
        assert!(parameters.iter().all(|one| one["in"] == "header" && one["required"] == false), "{path}");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{path}");
        let headers = operation["responses"]["200"]["headers"].as_object().unwrap();
        assert!(headers.contains_key("idempotent-replayed") && headers.contains_key("x-framex-served-by"));
    }
    let text = operation(&document, "types.echo.text");
    assert_eq!(text["summary"], "types.echo.text", "it has no documentation");
    assert_eq!(argument(text, "value")["description"], "The value to return.");
    assert_eq!(text["requestBody"]["required"], true);
    let defaults = operation(&document, "types.odd.defaults");
    assert_eq!(defaults["summary"], "Has arguments that need not be there.");
    assert_eq!(argument(defaults, "d")["description"], "The answer, usually.");
    assert_eq!(defaults["requestBody"]["required"], false);
    host.stop();
}
