//! The types of all functions as components of one document: each type its own, under a name of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The prefix by which a function's schema refers to one of its definitions.
const DEFINITION: &str = "#/$defs/";

/// The schemas of a document, by name.
#[derive(Default)]
pub(crate) struct Components {
    schemas: Map<String, Value>,
    /// Their names as generators of clients tell them apart: by letters and digits alone, in any case; with the last
    /// number that each was given.
    taken: BTreeMap<String, u64>,
}

impl Components {
    pub(crate) fn schemas(self) -> Map<String, Value> {
        self.schemas
    }

    /// Adds a schema under a name, or under one with a number where that is taken; returns the name.
    pub(crate) fn add(&mut self, name: &str, schema: Value) -> String {
        let name = self.take_name(name);
        self.schemas.insert(name.clone(), schema);
        name
    }

    fn take_name(&mut self, wanted: &str) -> String {
        let allowed =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
        let wanted: String = wanted.chars().map(allowed).collect();
        let told_apart = |name: &str| {
            name.chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_lowercase())
                .collect::<String>()
        };
        let mut name = wanted.clone();
        while self.taken.contains_key(&told_apart(&name)) {
            let number = self.taken.entry(told_apart(&wanted)).or_insert(1);
            *number += 1;
            name = format!("{wanted}{number}");
        }
        self.taken.insert(told_apart(&name), 1);
        name
    }

    /// Moves the definitions of a function's two schemas here, and has the schemas refer to them.
    ///
    /// A type of the arguments and one of the result may have one name: only where they are equal, with all that they
    /// refer to, are they one component.
    pub(crate) fn of_function(
        &mut self,
        function: &str,
        mut arguments: Value,
        mut result: Value,
    ) -> (Value, Value) {
        // Generators name the arguments as a whole so.
        self.take_name(&format!("{function}.Body"));
        let (of_arguments, mut of_result) = (definitions(&mut arguments), definitions(&mut result));
        let shared = shared(&of_arguments, &of_result);
        of_result.retain(|name, _| !shared.contains(name));
        let argument_names = self.take_names(function, &of_arguments);
        let mut result_names = self.take_names(function, &of_result);
        result_names.extend(argument_names.clone().into_iter().filter(|(name, _)| shared.contains(name)));
        for (schema, definitions, names) in
            [(&mut arguments, of_arguments, &argument_names), (&mut result, of_result, &result_names)]
        {
            for (name, mut definition) in definitions {
                if let Some(name) = names.get(&name) {
                    Rewriting { names, within: name, components: self }.schema(&mut definition);
                    self.schemas.insert(name.clone(), definition);
                }
            }
            Rewriting { names, within: function, components: self }.schema(schema);
        }
        (arguments, result)
    }

    /// Returns the name of the component of each definition of a function.
    fn take_names(&mut self, function: &str, definitions: &Map<String, Value>) -> BTreeMap<String, String> {
        let name = |name: &String| (name.clone(), self.take_name(&format!("{function}.{name}")));
        definitions.keys().map(name).collect()
    }
}

/// Takes the definitions that a schema and they refer to.
fn definitions(schema: &mut Value) -> Map<String, Value> {
    match schema.as_object_mut().and_then(|object| object.remove("$defs")) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

/// The names under which both have the same type.
fn shared(one: &Map<String, Value>, other: &Map<String, Value>) -> BTreeSet<String> {
    let equal = one.iter().filter(|(name, schema)| other.get(*name) == Some(schema));
    let mut shared: BTreeSet<String> = equal.map(|(name, _)| name.clone()).collect();
    loop {
        let before = shared.len();
        let still = |name: &String| one.get(name).is_some_and(|schema| refers_only_to(schema, &shared));
        shared = shared.iter().filter(|name| still(name)).cloned().collect();
        if shared.len() == before {
            return shared;
        }
    }
}

fn refers_only_to(schema: &Value, names: &BTreeSet<String>) -> bool {
    match schema {
        Value::Object(object) => object.iter().all(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => {
                reference.strip_prefix(DEFINITION).is_some_and(|name| names.contains(name))
            }
            value => refers_only_to(value, names),
        }),
        Value::Array(values) => values.iter().all(|value| refers_only_to(value, names)),
        _ => true,
    }
}

/// Points references to components, and writes schemas as generators of clients take them. The depth of a schema was
/// bounded when it was parsed as JSON.
struct Rewriting<'a> {
    /// By the name of a definition, that of its component.
    names: &'a BTreeMap<String, String>,
    /// The component that the schema is part of, or the function.
    within: &'a str,
    components: &'a mut Components,
}

impl Rewriting<'_> {
    fn schema(&mut self, schema: &mut Value) {
        // `true` means anything; some generators know schemas that are objects only, and then drop all functions.
        if let Value::Bool(anything) = schema {
            *schema = if *anything { json!({}) } else { json!({ "not": {} }) };
            return;
        }
        let Value::Object(object) = schema else { return };
        if let Some(Value::String(reference)) = object.get_mut("$ref") {
            match reference.strip_prefix(DEFINITION).and_then(|name| self.names.get(name)) {
                Some(name) => *reference = component(name),
                // What leads nowhere makes the whole document invalid.
                None => drop(object.remove("$ref")),
            }
        }
        with_plain_maps(object);
        if is_of_type(object, "array") && !object.contains_key("items") && !object.contains_key("prefixItems")
        {
            object.insert("items".to_owned(), json!({}));
        }
        for (key, value) in object.iter_mut() {
            match (key.as_str(), value) {
                ("properties" | "patternProperties" | "dependentSchemas", Value::Object(schemas)) => {
                    schemas.values_mut().for_each(|schema| self.schema(schema));
                }
                ("allOf" | "prefixItems", Value::Array(schemas)) => {
                    schemas.iter_mut().for_each(|schema| self.schema(schema));
                }
                ("anyOf" | "oneOf", Value::Array(schemas)) => {
                    schemas.iter_mut().for_each(|schema| self.alternative(schema));
                }
                // Both are common as a mere yes or no, which generators know.
                ("additionalProperties" | "unevaluatedProperties", Value::Bool(_)) => {}
                (
                    "items"
                    | "additionalProperties"
                    | "unevaluatedProperties"
                    | "unevaluatedItems"
                    | "contains"
                    | "propertyNames"
                    | "not"
                    | "if"
                    | "then"
                    | "else",
                    schema,
                ) => self.schema(schema),
                _ => {}
            }
        }
    }

    /// One of several forms, as variants of an enum are. An object among them becomes a component: openapi-python-client
    /// drops those with objects inside, and all that refer to the whole again.
    fn alternative(&mut self, schema: &mut Value) {
        self.schema(schema);
        let Value::Object(object) = schema else { return };
        if is_of_type(object, "array")
            && object.get("items") == Some(&json!({ "$ref": component(self.within) }))
        {
            // The same generator knows no list of what the list is a form of.
            object.insert("items".to_owned(), json!({}));
        }
        if object.get("type") == Some(&json!("object")) {
            let name = format!("{}.{}", self.within, form_name(object));
            let name = self.components.add(&name, schema.take());
            *schema = json!({ "$ref": component(&name) });
        }
    }
}

fn component(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

fn is_of_type(object: &Map<String, Value>, name: &str) -> bool {
    match object.get("type") {
        Some(Value::Array(types)) => types.iter().any(|one| one == name),
        Some(one) => one == name,
        None => false,
    }
}

/// Returns the name of a form: its tag, or its only property, which is the variant's name.
fn form_name(object: &Map<String, Value>) -> &str {
    let properties = object.get("properties").and_then(Value::as_object);
    let mut tags = properties.into_iter().flatten().filter_map(|(_, schema)| schema["const"].as_str());
    let only =
        properties.filter(|properties| properties.len() == 1).and_then(|properties| properties.keys().next());
    tags.next().or(only.map(String::as_str)).unwrap_or("Form")
}

/// A map whose keys follow one pattern, as integers do, in the words that more generators know.
fn with_plain_maps(object: &mut Map<String, Value>) {
    let has_only = |patterns: &Map<String, Value>| patterns.len() == 1;
    let is_map = object.get("additionalProperties") == Some(&Value::Bool(false))
        && !object.contains_key("properties")
        && object.get("patternProperties").and_then(Value::as_object).is_some_and(has_only);
    if is_map && let Some(Value::Object(patterns)) = object.remove("patternProperties") {
        for (pattern, values) in patterns {
            object.insert("additionalProperties".to_owned(), values);
            object.insert("propertyNames".to_owned(), json!({ "pattern": pattern }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(components: &mut Components, function: &str, schema: Value) -> Value {
        components.of_function(function, schema, json!({})).0
    }

    #[test]
    fn definitions_move_with_their_references() {
        let mut components = Components::default();
        let schema = json!({ "properties": { "user": { "$ref": "#/$defs/User" } }, "$defs": { "User": { "items": { "$ref": "#/$defs/User" } } } });
        let schema = moved(&mut components, "demo.f", schema);
        let reference = json!({ "$ref": "#/components/schemas/demo.f.User" });
        assert_eq!(schema, json!({ "properties": { "user": reference } }));
        assert_eq!(components.schemas()["demo.f.User"], json!({ "items": reference }));
    }

    #[test]
    fn types_of_one_name_are_told_apart() {
        let mut components = Components::default();
        let schema = |defs: Value| json!({ "items": { "$ref": "#/$defs/User" }, "$defs": defs });
        let refers = |name: &str| json!({ "items": { "$ref": format!("#/components/schemas/{name}") } });
        let named = schema(json!({ "User": { "type": "string" } }));
        let numbered = schema(json!({ "User": { "type": "integer" } }));
        let (arguments, result) = components.of_function("f", named.clone(), numbered);
        assert_eq!((arguments, result), (refers("f.User"), refers("f.User2")));
        let (arguments, result) = components.of_function("g", named.clone(), named.clone());
        assert_eq!((arguments, result), (refers("g.User"), refers("g.User")), "equal ones are one");
        // Equal texts that refer to types which are not equal.
        let by =
            |name: Value| schema(json!({ "User": { "items": { "$ref": "#/$defs/Name" } }, "Name": name }));
        let (arguments, result) =
            components.of_function("h", by(json!({ "type": "string" })), by(json!({ "type": "null" })));
        assert_eq!((arguments, result), (refers("h.User"), refers("h.User2")));
        // Any split and spelling of a name.
        assert_eq!(moved(&mut components, "F_", named.clone()), refers("F_.User3"));
        let schemas = components.schemas();
        assert_eq!(schemas["f.User"], json!({ "type": "string" }));
        assert_eq!(schemas["f.User2"], json!({ "type": "integer" }));
        assert_eq!(schemas["h.User"]["items"]["$ref"], "#/components/schemas/h.Name");
        assert_eq!(schemas["h.User2"]["items"]["$ref"], "#/components/schemas/h.Name2");
    }

    #[test]
    fn forms_that_are_objects_are_components() {
        let mut components = Components::default();
        let shape = json!({ "oneOf": [
            { "type": "string", "enum": ["Dot"] },
            { "type": "object", "properties": { "Line": { "$ref": "#/$defs/Shape" } } },
            { "type": "object", "properties": { "kind": { "const": "Box" }, "a": {} } },
            { "type": "array", "items": { "$ref": "#/$defs/Shape" } },
        ] });
        moved(&mut components, "f", json!({ "$ref": "#/$defs/Shape", "$defs": { "Shape": shape } }));
        let schemas = components.schemas();
        assert_eq!(
            schemas["f.Shape"],
            json!({ "oneOf": [
                { "type": "string", "enum": ["Dot"] },
                { "$ref": "#/components/schemas/f.Shape.Line" },
                { "$ref": "#/components/schemas/f.Shape.Box" },
                { "type": "array", "items": {} },
            ] })
        );
        assert_eq!(schemas["f.Shape.Line"]["properties"]["Line"]["$ref"], "#/components/schemas/f.Shape");
    }

    #[test]
    fn what_generators_do_not_know_is_said_otherwise() {
        let check = |schema: Value, expected: Value| {
            assert_eq!(moved(&mut Components::default(), "f", schema), expected);
        };
        check(json!(true), json!({}));
        check(json!({ "type": ["array", "null"] }), json!({ "type": ["array", "null"], "items": {} }));
        check(
            json!({ "properties": { "a": true, "b": false }, "items": true, "uniqueItems": true, "additionalProperties": false }),
            json!({ "properties": { "a": {}, "b": { "not": {} } }, "items": {}, "uniqueItems": true, "additionalProperties": false }),
        );
        check(json!({ "$ref": "#/$defs/Lost", "description": "x" }), json!({ "description": "x" }));
        check(
            json!({ "default": { "$ref": "x", "items": true } }),
            json!({ "default": { "$ref": "x", "items": true } }),
        );
        check(
            json!({ "type": "object", "patternProperties": { "^[0-9]+$": true }, "additionalProperties": false }),
            json!({ "type": "object", "additionalProperties": true, "propertyNames": { "pattern": "^[0-9]+$" } }),
        );
    }
}
