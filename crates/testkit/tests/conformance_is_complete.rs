//! A fact that the macro doesn't name would never be checked.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn the_macro_names_every_fact() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let suite = fs::read_to_string(folder.join("mod.rs")).expect("the suite's table");
    let named: BTreeSet<&str> = suite.split_whitespace().collect();
    let mut facts = 0;
    for file in fs::read_dir(&folder).expect("the suite") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        for line in text.lines() {
            let Some(fact) = line.strip_prefix("pub async fn ") else {
                continue;
            };
            let (name, _) = fact.split_once('(').expect("a function");
            assert!(named.contains(name), "store_conformance! does not name {name}");
            facts += 1;
        }
    }
    assert!(facts > 60, "{facts} facts were found: were they moved?");
}
