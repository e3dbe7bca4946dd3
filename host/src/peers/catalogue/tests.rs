use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(functions: &Value) -> Result<Catalogue, InvalidCatalogue> {
    Catalogue::parse(json!({ "host_id": "b", "functions": functions }).to_string().as_bytes(), None)
}

fn names(catalogue: &Catalogue) -> Vec<&str> {
    let mut names: Vec<&str> = catalogue.names().map(FunctionName::as_str).collect();
    names.sort_unstable();
    names
}

fn find<'a>(catalogue: &'a Catalogue, name: &str) -> &'a Offered {
    catalogue.find(&FunctionName::new(name).unwrap()).unwrap()
}

#[test]
fn entries_count_that_the_peer_runs_itself_and_that_have_a_name() {
    let catalogue = parse(&json!([
        { "name": "x.f", "runs": "local", "idempotent": true, "description": "one\ntwo\u{1b}[31m", "generation": 3,
          "arguments": { "type": "object", "n": [1, -2, 1.5, null, true] }, "plugin": "x" },
        { "name": "x.g", "runs": "http://c:1" },
        { "name": "x.h", "runs": "Local" },
        { "name": "x y", "runs": "local" },
        { "name": "", "runs": "local" },
        { "name": "x.\u{e4}", "runs": "local" },
        { "name": "x.\u{61}scii", "runs": "local" },
    ]))
    .unwrap();
    assert_eq!(names(&catalogue), ["x.ascii", "x.f"]);
    assert_eq!((catalogue.misnamed, catalogue.host_id.as_deref()), (3, Some("b")));
    let offered = find(&catalogue, "x.f");
    assert_eq!((offered.idempotent, offered.description.as_str()), (true, "one\ntwo [31m"));
    assert_eq!(offered.arguments_schema(), json!({ "type": "object", "n": [1, -2, 1.5, null, true] }));
    assert_eq!(offered.result_schema(), json!(true));
    assert!(!find(&catalogue, "x.ascii").idempotent);
}

#[test]
fn what_is_no_catalogue_is_refused_without_repeating_it() {
    for body in [
        "",
        "null",
        "7",
        "[]",
        "{}",
        "{\"functions\": {}}",
        "{\"functions\": [7]}",
        "<html>canary</html>",
        "{\"functions\": [{\"name\": \"x\"}]}",
        "{\"functions\": [{\"name\": 7, \"runs\": \"local\"}]}",
        "{\"functions\": [{\"name\": \"x\", \"runs\": \"local\", \"idempotent\": \"canary\"}]}",
        "{\"functions\": []",
        "{\"functions\": []} canary",
    ] {
        let error = Catalogue::parse(body.as_bytes(), None).unwrap_err();
        assert!(matches!(error, InvalidCatalogue::Malformed { .. }), "{body}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    for depth in [200, 100_000] {
        let deep = "[".repeat(depth);
        let body = format!("{{\"functions\": [{{\"name\": \"x\", \"runs\": \"local\", \"arguments\": {deep}");
        assert!(Catalogue::parse(body.as_bytes(), None).is_err());
    }
}

#[test]
fn ids_that_no_host_can_have_are_left_out() {
    for (id, expected) in
        [("b-1", Some("b-1")), ("", None), ("a b", None), ("a\nb", None), (&*"x".repeat(65), None)]
    {
        let body = json!({ "host_id": id, "functions": [] }).to_string();
        assert_eq!(Catalogue::parse(body.as_bytes(), None).unwrap().host_id.as_deref(), expected);
    }
}

#[test]
fn more_functions_than_fit_are_refused() {
    let functions = |count: usize| {
        let entry = |number: usize| json!({ "name": format!("x.f{number}"), "runs": "local" });
        Value::Array((0..count).map(entry).collect())
    };
    assert_eq!(parse(&functions(FUNCTIONS_MAX)).unwrap().len(), FUNCTIONS_MAX);
    assert_eq!(parse(&functions(FUNCTIONS_MAX + 1)).unwrap_err(), InvalidCatalogue::TooMany);
}

#[test]
fn descriptions_and_schemas_are_kept_as_far_as_they_fit() {
    let entry = |number: usize, schema: &Value| json!({ "name": format!("x.f{number}"), "runs": "local", "description": "\u{e4}".repeat(3000), "arguments": schema });
    let large = json!({ "text": "x".repeat(SCHEMA_BYTES_MAX) });
    let fits = json!({ "text": "x".repeat(SCHEMA_BYTES_MAX - 100) });
    let catalogue = parse(&json!([entry(0, &large), entry(1, &fits)])).unwrap();
    assert_eq!(find(&catalogue, "x.f0").arguments_schema(), json!(true));
    assert_eq!(find(&catalogue, "x.f1").arguments_schema(), fits);
    assert_eq!(find(&catalogue, "x.f0").description.len(), DESCRIPTION_BYTES_MAX);
    let many: Vec<Value> = (0..100).map(|number| entry(number, &fits)).collect();
    let catalogue = parse(&Value::Array(many)).unwrap();
    let kept: usize = (0..100)
        .map(|number| {
            find(&catalogue, &format!("x.f{number}")).arguments.as_ref().map_or(0, |text| text.len())
        })
        .sum();
    assert!(kept <= SCHEMAS_BYTES_MAX && kept > SCHEMAS_BYTES_MAX / 2, "{kept}");
}

#[test]
fn the_names_of_two_are_compared() {
    let of = |names: &[&str]| {
        let entries = names.iter().map(|name| json!({ "name": name, "runs": "local" }));
        parse(&Value::Array(entries.collect())).unwrap()
    };
    assert!(of(&["a", "b"]).has_names_of(&of(&["b", "a"])));
    assert!(!of(&["a", "b"]).has_names_of(&of(&["a", "c"])));
    assert!(!of(&["a", "b"]).has_names_of(&of(&["a"])));
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _either = Catalogue::parse(&bytes, None);
        let text = String::from_utf8_lossy(&bytes);
        let body = format!("{{\"functions\": [{{\"name\": \"x\", \"runs\": \"local\", \"result\": {text}}}]}}");
        let _either = Catalogue::parse(body.as_bytes(), None);
    }
}
