//! Every bad spec under `tests/bad` and what people read about it, and every code is met by one of them.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seaworthy_spec::{Code, Diagnostic, render, unreadable};

/// The bad specs by name, with their diagnostics.
fn bad_specs() -> Vec<(String, String, Vec<Diagnostic>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            // Through `parse`, so that the snapshot does not depend on where the project lies.
            let bytes = std::fs::read(&file).unwrap();
            let outcome = seaworthy_spec::parse("seaworthy.yaml", bytes);
            assert!(outcome.has_errors() && outcome.plan.is_none(), "{name} is a bad spec");
            let text = render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain);
            (name, text, outcome.diagnostics)
        })
        .collect()
}

#[test]
fn bad_specs_are_explained() {
    let specs = bad_specs();
    assert!(specs.len() >= 45, "only {} bad specs", specs.len());
    for (name, text, _) in specs {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, text);
        });
    }
}

#[test]
fn every_code_of_this_crate_is_met() {
    let mut met: BTreeSet<Code> =
        bad_specs().into_iter().flat_map(|(.., diagnostics)| diagnostics).map(|found| found.code).collect();
    // These two need a file that cannot be read and one that is too large to keep here.
    met.extend(
        unreadable("no/such/file.yaml", "No such file or directory")
            .diagnostics
            .iter()
            .map(|found| found.code),
    );
    let large = "# much too long\n".repeat(seaworthy_spec::SIZE_MAX / 16 + 1);
    met.extend(seaworthy_spec::parse("large.yaml", large).diagnostics.iter().map(|found| found.code));
    // Codes from 301 on belong to the rules about plans, which have tests of their own.
    let own = Code::ALL.iter().filter(|code| (**code as u16) < 300);
    let missing: Vec<&Code> = own.filter(|code| !met.contains(code)).collect();
    assert!(missing.is_empty(), "no bad spec has {missing:?}");
}

#[test]
fn every_finding_helps() {
    for (name, _, diagnostics) in bad_specs() {
        for found in diagnostics {
            assert!(!found.message.is_empty(), "{name}: {found:?}");
            assert!(!found.message.ends_with('.'), "{name}: {}", found.message);
            let has_next_step = found.help.is_some() || !found.label.is_empty();
            assert!(has_next_step, "{name}: {} says neither why nor what to do", found.message);
        }
    }
}

#[test]
fn what_is_not_supported_yet_is_nothing_worse() {
    let (_, text, diagnostics) =
        bad_specs().into_iter().find(|(name, ..)| name == "later-whole-language").expect("the spec is there");
    assert!(diagnostics.iter().all(|found| found.code == Code::NotYet), "{text}");
    assert_eq!(diagnostics.len(), 5);
}
