//! What is known of each mutant: the ledger, how outcomes get into it, and the share that was caught.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The share of viable mutants that has to be caught, in percent.
pub(crate) const SHARE_MIN: f64 = 90.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A test failed.
    Caught,
    /// No test ended in time: an endless loop, which nobody would overlook.
    Timeout,
    /// All tests passed.
    Missed,
    /// It does not compile, so it is no mutant.
    Unviable,
}

impl Verdict {
    const ALL: [(Verdict, &str, &str); 4] = [
        (Verdict::Caught, "caught", "CaughtMutant"),
        (Verdict::Timeout, "timeout", "Timeout"),
        (Verdict::Missed, "missed", "MissedMutant"),
        (Verdict::Unviable, "unviable", "Unviable"),
    ];

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, ours, _)| *ours == word).map(|(verdict, ..)| *verdict)
    }

    fn of_summary(summary: &str) -> Option<Self> {
        Self::ALL.iter().find(|(.., theirs)| *theirs == summary).map(|(verdict, ..)| *verdict)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(verdict, ..)| verdict == self).map_or("", |(_, word, _)| word);
        f.pad(word)
    }
}

/// One mutant of a file. Its name says what was changed and where, and stays the same when lines move; equal changes in
/// one function are told apart by a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) place: String,
    pub(crate) name: String,
}

/// What is known of one file's mutants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Hash of the file, and hash of the tests that judged it.
    pub(crate) content: String,
    /// Test binaries that were run.
    pub(crate) tests: String,
    /// How many mutants the file has.
    pub(crate) listed: usize,
    /// Those that were judged so far, in the order of the file.
    pub(crate) judged: Vec<(Verdict, Mutant)>,
}

/// Records by the path of their file.
pub(crate) type Ledger = BTreeMap<String, Record>;

/// Why a survivor is left alive, by file and name.
pub(crate) type Reasons = BTreeMap<(String, String), String>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) listed: usize,
    pub(crate) judged: usize,
    pub(crate) caught: usize,
    pub(crate) missed: usize,
}

impl Tally {
    pub(crate) fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut tally = Self::default();
        for record in records {
            tally.listed += record.listed;
            tally.judged += record.judged.len();
            for (verdict, _) in &record.judged {
                match verdict {
                    Verdict::Caught | Verdict::Timeout => tally.caught += 1,
                    Verdict::Missed => tally.missed += 1,
                    Verdict::Unviable => {}
                }
            }
        }
        tally
    }

    /// Percent of the viable mutants judged so far; nothing judged is nothing caught.
    pub(crate) fn share(self) -> f64 {
        let viable = self.caught + self.missed;
        if viable == 0 { 0.0 } else { 100.0 * self.caught as f64 / viable as f64 }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} viable caught ({:.1} %); {} of {} judged",
            self.caught,
            self.caught + self.missed,
            self.share(),
            self.judged,
            self.listed
        )
    }
}

/// Reads `FILE:LINE:COLUMN: CHANGE` lines, as cargo-mutants lists them.
pub(crate) fn listing(text: &str, file: &str) -> Result<Vec<Mutant>> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut mutants = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let rest = line.strip_prefix(file).and_then(|rest| rest.strip_prefix(':'));
        let (place, change) = rest
            .and_then(|rest| rest.split_once(": "))
            .with_context(|| format!("not a mutant of {file}: {line}"))?;
        let count = seen.entry(change.to_owned()).or_default();
        *count += 1;
        let name = if *count == 1 { change.to_owned() } else { format!("{change} #{count}") };
        mutants.push(Mutant { place: place.to_owned(), name });
    }
    Ok(mutants)
}

/// The verdicts in an `outcomes.json` of cargo-mutants, by place and change. A baseline that fails judges nothing.
pub(crate) fn outcomes(text: &str) -> Result<BTreeMap<String, Verdict>> {
    let all: Value = serde_json::from_str(text).context("reading outcomes.json")?;
    let mut verdicts = BTreeMap::new();
    for outcome in all["outcomes"].as_array().context("outcomes.json has no outcomes")? {
        let summary = outcome["summary"].as_str().unwrap_or_default();
        if outcome["scenario"] == "Baseline" {
            if summary != "Success" {
                bail!("the tests do not pass without a mutant either ({summary})");
            }
            continue;
        }
        let name = outcome["scenario"]["Mutant"]["name"].as_str().context("an outcome without a name")?;
        let verdict = Verdict::of_summary(summary).with_context(|| format!("{name} ended as `{summary}`"))?;
        verdicts.insert(name.to_owned(), verdict);
    }
    Ok(verdicts)
}

/// Puts fresh verdicts into a record; what it already knew of other mutants stays.
pub(crate) fn merge(record: &mut Record, file: &str, listed: &[Mutant], fresh: &BTreeMap<String, Verdict>) {
    let mut judged = Vec::new();
    for mutant in listed {
        let known =
            record.judged.iter().find(|(_, old)| old.name == mutant.name).map(|(verdict, _)| *verdict);
        if let Some(verdict) = fresh.get(&full_name(file, mutant)).copied().or(known) {
            judged.push((verdict, mutant.clone()));
        }
    }
    record.listed = listed.len();
    record.judged = judged;
}

/// A record to begin with when tests were added: what is known of an unchanged file, less its survivors.
pub(crate) fn without_survivors(known: &Record, fresh: Record) -> Record {
    let source = |content: &str| content.split('-').next().map(str::to_owned);
    if source(&known.content) != source(&fresh.content) {
        return fresh;
    }
    let judged = known.judged.iter().filter(|(verdict, _)| *verdict != Verdict::Missed).cloned().collect();
    Record { judged, listed: known.listed, ..fresh }
}

/// The name under which cargo-mutants knows a mutant.
pub(crate) fn full_name(file: &str, mutant: &Mutant) -> String {
    let change = match mutant.name.rsplit_once(" #") {
        Some((change, number)) if number.parse::<usize>().is_ok() => change,
        _ => &mutant.name,
    };
    format!("{file}:{}: {change}", mutant.place)
}

pub(crate) fn parse(text: &str) -> Result<Ledger> {
    let mut ledger = Ledger::new();
    let mut current: Option<String> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix("file ") {
            let words: Vec<&str> = header.splitn(4, ' ').collect();
            let [path, content, listed, tests] = words[..] else {
                bail!("a short header in the ledger: {line}")
            };
            let listed = listed.parse().with_context(|| format!("no number of mutants in: {line}"))?;
            let record =
                Record { content: content.to_owned(), tests: tests.to_owned(), listed, judged: Vec::new() };
            ledger.insert(path.to_owned(), record);
            current = Some(path.to_owned());
            continue;
        }
        let entry = line.trim();
        let record =
            current.as_ref().and_then(|path| ledger.get_mut(path)).context("a mutant without a file")?;
        let mut words = entry.splitn(3, ' ');
        let (Some(word), Some(place), Some(name)) = (words.next(), words.next(), words.next()) else {
            bail!("a short line in the ledger: {line}");
        };
        let verdict = Verdict::of_word(word).with_context(|| format!("no verdict in: {line}"))?;
        record.judged.push((verdict, Mutant { place: place.to_owned(), name: name.trim().to_owned() }));
    }
    Ok(ledger)
}

/// The ledger as text: a head for people, then one block per file. What people read is written again each time.
pub(crate) fn render(ledger: &Ledger, reasons: &Reasons) -> String {
    let mut text = format!("# Mutants of crates/policy: {}\n", Tally::of(ledger.values()));
    text.push_str("# `file PATH HASH MUTANTS TESTS`: a file, the hash of it and of the tests that judged it, its number of\n");
    text.push_str(
        "# mutants, the tests that were run. Then each mutant: verdict, line:column, what was changed.\n",
    );
    for (path, record) in ledger {
        let tally = Tally::of([record]);
        let _ = writeln!(text, "\nfile {path} {} {} {}", record.content, record.listed, record.tests);
        let _ = writeln!(text, "# {tally}");
        for (verdict, mutant) in &record.judged {
            let _ = writeln!(text, "{verdict} {} {}", mutant.place, mutant.name);
            if *verdict == Verdict::Missed {
                let reason = reasons.get(&(path.clone(), mutant.name.clone()));
                let _ = writeln!(text, "#   {}", reason.map_or("no reason yet", String::as_str));
            }
        }
    }
    text
}

/// Reads `FILE: CHANGE because REASON` lines.
pub(crate) fn reasons(text: &str) -> Result<Reasons> {
    let mut reasons = Reasons::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts = line.split_once(" because ").and_then(|(mutant, reason)| {
            let (file, name) = mutant.split_once(": ")?;
            Some((file, name, reason))
        });
        let (file, name, reason) =
            parts.with_context(|| format!("not `FILE: CHANGE because REASON`: {line}"))?;
        reasons.insert((file.to_owned(), name.to_owned()), reason.to_owned());
    }
    Ok(reasons)
}

/// Survivors that nobody has given a reason for, and reasons whose mutant is caught by now.
pub(crate) fn unexplained(ledger: &Ledger, reasons: &Reasons) -> (Vec<String>, Vec<String>) {
    let (mut silent, mut stale) = (Vec::new(), Vec::new());
    for (path, record) in ledger {
        for (verdict, mutant) in &record.judged {
            let explained = reasons.contains_key(&(path.clone(), mutant.name.clone()));
            match (verdict, explained) {
                (Verdict::Missed, false) => silent.push(format!("{path}:{}: {}", mutant.place, mutant.name)),
                (Verdict::Caught | Verdict::Timeout, true) => stale.push(format!("{path}: {}", mutant.name)),
                _ => {}
            }
        }
    }
    (silent, stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "crates/policy/src/budget.rs";
    const LISTED: &str = "\
crates/policy/src/budget.rs:10:5: replace Budget::take -> bool with true
crates/policy/src/budget.rs:12:9: replace < with <= in Budget::take
crates/policy/src/budget.rs:14:9: replace < with <= in Budget::take
";

    fn mutants() -> Vec<Mutant> {
        listing(LISTED, FILE).expect("a listing")
    }

    fn outcome(name: &str, summary: &str) -> String {
        format!(r#"{{"scenario":{{"Mutant":{{"name":"{name}"}}}},"summary":"{summary}"}}"#)
    }

    fn judged(verdicts: [Verdict; 3]) -> Record {
        Record {
            content: "00ff".to_owned(),
            tests: "--lib --test budget".to_owned(),
            listed: 3,
            judged: verdicts.into_iter().zip(mutants()).collect(),
        }
    }

    #[test]
    fn equal_changes_in_one_function_are_told_apart_and_found_again() {
        let names: Vec<String> = mutants().into_iter().map(|mutant| mutant.name).collect();
        assert_eq!(
            names,
            [
                "replace Budget::take -> bool with true",
                "replace < with <= in Budget::take",
                "replace < with <= in Budget::take #2"
            ]
        );
        let full: Vec<String> = mutants().iter().map(|mutant| full_name(FILE, mutant)).collect();
        assert_eq!(full, LISTED.lines().collect::<Vec<_>>());
        assert!(listing("WARN something else", FILE).is_err());
    }

    #[test]
    fn outcomes_become_verdicts() {
        for (summary, expected) in [
            ("CaughtMutant", Some(Verdict::Caught)),
            ("MissedMutant", Some(Verdict::Missed)),
            ("Timeout", Some(Verdict::Timeout)),
            ("Unviable", Some(Verdict::Unviable)),
            ("Failure", None),
        ] {
            let text = format!(
                r#"{{"outcomes":[{{"scenario":"Baseline","summary":"Success"}},{}]}}"#,
                outcome("a", summary)
            );
            assert_eq!(outcomes(&text).ok().and_then(|all| all.get("a").copied()), expected, "{summary}");
        }
    }

    #[test]
    fn tests_that_fail_anyway_judge_nothing() {
        for summary in ["Failure", "Timeout"] {
            let text = format!(
                r#"{{"outcomes":[{{"scenario":"Baseline","summary":"{summary}"}},{}]}}"#,
                outcome("a", "CaughtMutant")
            );
            assert!(outcomes(&text).is_err(), "{summary}");
        }
        assert!(outcomes("{}").is_err());
        assert!(outcomes(r#"{"outcomes":[{"summary":"CaughtMutant"}]}"#).is_err());
    }

    #[test]
    fn a_later_run_adds_to_what_is_known_and_corrects_it() {
        let listed = mutants();
        let mut record = Record::default();
        let first = BTreeMap::from([
            (full_name(FILE, &listed[1]), Verdict::Missed),
            (full_name(FILE, &listed[2]), Verdict::Caught),
        ]);
        merge(&mut record, FILE, &listed, &first);
        assert_eq!((record.listed, record.judged.len()), (3, 2));
        let second = BTreeMap::from([
            (full_name(FILE, &listed[0]), Verdict::Unviable),
            (full_name(FILE, &listed[1]), Verdict::Timeout),
        ]);
        merge(&mut record, FILE, &listed, &second);
        let verdicts: Vec<Verdict> = record.judged.iter().map(|(verdict, _)| *verdict).collect();
        assert_eq!(verdicts, [Verdict::Unviable, Verdict::Timeout, Verdict::Caught]);
        merge(&mut record, FILE, &listed[..1], &BTreeMap::new());
        assert_eq!(record.judged.len(), 1, "a mutant that is gone leaves the ledger");
    }

    #[test]
    fn with_more_tests_only_survivors_are_judged_again() {
        let known = Record {
            content: "a-1".to_owned(),
            ..judged([Verdict::Caught, Verdict::Missed, Verdict::Unviable])
        };
        for (content, kept) in [("a-2", vec![Verdict::Caught, Verdict::Unviable]), ("b-1", vec![])] {
            let fresh = Record { content: content.to_owned(), ..Record::default() };
            let begun = without_survivors(&known, fresh);
            assert_eq!(begun.content, content);
            assert_eq!(begun.judged.into_iter().map(|(verdict, _)| verdict).collect::<Vec<_>>(), kept);
        }
    }

    #[test]
    fn the_share_counts_viable_mutants_only() {
        for (verdicts, share) in [
            ([Verdict::Caught, Verdict::Timeout, Verdict::Missed], 200.0 / 3.0),
            ([Verdict::Caught, Verdict::Unviable, Verdict::Missed], 50.0),
            ([Verdict::Caught, Verdict::Unviable, Verdict::Unviable], 100.0),
            ([Verdict::Unviable, Verdict::Unviable, Verdict::Unviable], 0.0),
        ] {
            let tally = Tally::of([&judged(verdicts)]);
            assert!((tally.share() - share).abs() < 1e-9, "{verdicts:?}: {tally}");
        }
    }

    #[test]
    fn the_ledger_reads_what_it_wrote() {
        let ledger = Ledger::from([
            (FILE.to_owned(), judged([Verdict::Caught, Verdict::Missed, Verdict::Unviable])),
            (
                "crates/policy/src/ratio.rs".to_owned(),
                Record { content: "0".to_owned(), tests: "--lib".to_owned(), ..Record::default() },
            ),
        ]);
        let text = render(&ledger, &Reasons::new());
        assert!(text.contains("1 of 2 viable caught (50.0 %); 3 of 3 judged"), "{text}");
        assert!(text.contains("no reason yet"), "{text}");
        assert_eq!(parse(&text).expect("our own text"), ledger);
        for wrong in ["caught 1:1 x", "file a b c", "file a b none --lib", "file a b 1 --lib\nperhaps 1:1 x"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_survivor_needs_a_reason_and_each_reason_a_survivor() {
        let text = "# why\n\ncrates/policy/src/budget.rs: replace < with <= in Budget::take #2 because both end at zero\n";
        let reasons = reasons(text).expect("a reason");
        let survivor = judged([Verdict::Caught, Verdict::Missed, Verdict::Missed]);
        let (silent, stale) = unexplained(&Ledger::from([(FILE.to_owned(), survivor)]), &reasons);
        assert_eq!(silent, ["crates/policy/src/budget.rs:12:9: replace < with <= in Budget::take"]);
        assert!(stale.is_empty(), "{stale:?}");
        let caught = judged([Verdict::Caught, Verdict::Caught, Verdict::Caught]);
        let (silent, stale) = unexplained(&Ledger::from([(FILE.to_owned(), caught)]), &reasons);
        assert!(silent.is_empty(), "{silent:?}");
        assert_eq!(stale, ["crates/policy/src/budget.rs: replace < with <= in Budget::take #2"]);
        assert!(super::reasons("no reason here").is_err());
    }
}
