//! The language of the spec as one table: every key with its shape, meaning, default and the words people
//! bring along for it. The decoder, the JSON Schema and the hints for unknown keys are all made from it, so
//! they cannot disagree.

mod cache;
mod entrance;
mod failure;
mod idempotency;
mod policy;
pub(crate) mod queues;
mod service;
mod table;
mod top;
mod traffic;

pub(crate) use table::{Key, Shape, Table};
pub(crate) use top::SPEC;
#[cfg(test)]
pub(crate) use top::{SPEC_ACCEPTING_QUEUES, SPEC_REFUSING_QUEUES};

#[cfg(test)]
mod tests {
    use super::failure::MECHANISMS;
    use super::{Key, SPEC, Shape, Table};
    use crate::plan::{Mechanism, Origin, Word};

    /// Calls `visit` with every table of the language and its path.
    fn tables(shape: Shape, path: &str, visit: &mut impl FnMut(&str, &'static Table)) {
        match shape {
            Shape::Object(table) => {
                visit(path, table);
                for Key { name, shape, .. } in table.all() {
                    tables(*shape, &format!("{path}.{name}"), visit);
                }
                if let Some(rest) = table.rest {
                    tables(rest.shape, &format!("{path}.*"), visit);
                }
            }
            Shape::Map(inner, _) => tables(*inner, &format!("{path}.*"), visit),
            Shape::List(inner) => tables(*inner, path, visit),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| tables(*shape, path, visit)),
            _ => {}
        }
    }

    /// The key that a path of the plan belongs to.
    fn key_at(path: &str) -> Option<Key> {
        fn table_of(shape: Shape) -> Option<&'static Table> {
            match shape {
                Shape::Object(table) => Some(table),
                Shape::Map(inner, _) | Shape::List(inner) => table_of(*inner),
                Shape::Either(shapes) => shapes.iter().find_map(|shape| table_of(*shape)),
                _ => None,
            }
        }
        let mut table = &SPEC;
        let mut found = None;
        for part in path.split('.') {
            match table.find(part) {
                Some(key) => {
                    found = Some(*key);
                    table = table_of(key.shape).unwrap_or(table);
                }
                // A name of the user's.
                None => found = None,
            }
        }
        found
    }

    #[test]
    fn aliases_are_not_keys_and_name_keys_that_exist() {
        tables(Shape::Object(&SPEC), "", &mut |path, table| {
            for alias in table.aliases {
                assert!(table.find(alias.foreign).is_none(), "{path}: `{}` is a key", alias.foreign);
                assert!(!alias.help.is_empty(), "{path}: {} is explained", alias.foreign);
            }
            for group in table.exactly_one {
                group.iter().for_each(|key| assert!(table.find(key).is_some(), "{path}: no key {key}"));
            }
        });
    }

    #[test]
    fn documentation_is_a_sentence() {
        tables(Shape::Object(&SPEC), "", &mut |path, table| {
            for key in table.all() {
                assert!(
                    key.doc.ends_with('.') && !key.doc.contains('\n'),
                    "{path}.{}: {}",
                    key.name,
                    key.doc
                );
            }
        });
    }

    #[test]
    fn the_words_of_the_plan_are_those_of_the_table() {
        assert_eq!(Mechanism::ALL.map(Mechanism::as_str).as_slice(), MECHANISMS);
        let promise = key_at("failures.x.promise").unwrap();
        let Shape::Object(promise) = promise.shape else { panic!("a promise is a mapping") };
        let Some(Shape::Object(load)) = promise.rest.map(|rest| rest.shape) else { panic!("so is its load") };
        for word in Word::ALL {
            let table = if word.is_about_load() { load } else { promise };
            assert!(table.find(word.as_str()).is_some(), "{}", word.as_str());
        }
    }

    #[test]
    fn defaults_are_what_the_table_says() {
        let services =
            "services:\n  one: { run: ./x }\n  two: { run: ./x, replicas: 2, liveness: { tcp: true } }\n";
        let routes = "gateway: { listen: 127.0.0.1:0 }\nroutes: { r: { match: /**, to: one } }\n";
        let rest = "load: { l: { rate: 1/s, send: GET / } }\nfailures: { f: { required: x, fault: { kill: { replica: one } } } }\n";
        let outcome = crate::parse("x.yaml", format!("seaworthy: v1\nname: x\n{routes}{services}{rest}"));
        let plan = outcome.plan.expect("the spec is sound");
        let mut compared = 0;
        for setting in plan.settings.iter().filter(|setting| setting.origin == Origin::Default) {
            let Some(Key { default: Some(default), .. }) = key_at(&setting.path) else { continue };
            let value = setting.value.as_str();
            let same = value.starts_with(default) || default.starts_with(value);
            assert!(same, "{}: the table says {default}, the plan {value}", setting.path);
            compared += 1;
        }
        assert!(compared > 60, "only {compared} defaults were compared");
    }
}
