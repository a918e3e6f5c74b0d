//! `cargo xtask soak mutants`: changes `crates/policy` in small ways, one at a time, and looks whether a test fails.
//!
//! The mutants come from cargo-mutants. What they came to is kept in `soak/mutants.txt`, so that the whole can be done over
//! many runs: a file whose text and whose tests are still the same is not judged again. Why a survivor is left alive is
//! written by hand into `soak/mutants-survivors.txt`.

mod ledger;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{has, root};
use ledger::{Ledger, Mutant, Record, SHARE_MIN, Tally, Verdict};

const LEDGER: &str = "soak/mutants.txt";
const REASONS: &str = "soak/mutants-survivors.txt";
const SOURCES: &str = "crates/policy/src";
const TESTS: &str = "crates/policy/tests";
const VERSION: &str = "27.1.0";
/// Where a cargo-mutants that nobody else uses may live.
const TOOLS: &str = "target/tools";

/// The test binaries that judge a module, apart from the unit tests within the crate. A module that is not listed is judged by
/// those named after it. The most important modules come first: a run that ends early has judged these.
const JUDGES: &[(&str, &[&str])] = &[
    ("budget", &["budget", "budget_model"]),
    ("backoff", &["call"]),
    ("deadline", &["call"]),
    ("rate_limit", &["rate_limit", "rate_limit_model"]),
    ("settle", &["settle"]),
    ("stale", &["stale"]),
    ("breaker", &["breaker", "breaker_model"]),
    ("window", &["window_model", "breaker"]),
    ("throttle", &["throttle"]),
    ("ratio", &["throttle"]),
    ("fallback", &["fallback"]),
    ("call", &["call", "call_properties"]),
    ("pool", &["call", "call_properties", "fleet"]),
    ("ejection", &["call", "fleet"]),
    ("health", &["health"]),
    ("idempotency", &["idempotency"]),
    ("limit", &["limit"]),
    ("admission", &["admission", "admission_model"]),
    ("keyed", &["keyed"]),
    ("latency", &["latency"]),
    ("restart", &["restart"]),
    ("stack", &["stack"]),
    ("exchange", &["call"]),
    ("rng", &["restart"]),
    ("time", &["budget", "call"]),
    ("error", &["budget", "rate_limit"]),
];

/// What a run was asked to do.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// Only every Nth file, from the Kth on; K counts from zero.
    shard: Option<(usize, usize)>,
    /// Only files whose path contains this.
    file: Option<String>,
    /// No mutant is begun after this time.
    minutes: u64,
    /// Tests were added and none taken away: of an unchanged file only the survivors are judged again.
    survivors: bool,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let end = Instant::now() + Duration::from_secs(options.minutes * 60);
    let files = sources()?;
    let mut ledger = ledger::parse(&text_of(LEDGER))?;
    ledger.retain(|path, _| files.contains(path));
    for path in chosen(&files, &options) {
        if Instant::now() >= end {
            println!("the {} minutes are over; run this again to go on", options.minutes);
            break;
        }
        let record = judge(&path, ledger.get(&path), options.survivors, end)?;
        println!("{path}: {}", Tally::of([&record]));
        ledger.insert(path, record);
        fs::write(root().join(LEDGER), ledger::render(&ledger, &ledger::reasons(&text_of(REASONS))?))
            .context("writing the ledger")?;
    }
    conclude(&ledger, &files)
}

fn options(arguments: &[&str]) -> Result<Options> {
    let mut options = Options { shard: None, file: None, minutes: 60, survivors: false };
    let mut words = arguments.iter();
    while let Some(option) = words.next() {
        if *option == "--survivors" {
            options.survivors = true;
            continue;
        }
        let value = *words.next().with_context(|| format!("{option} wants a value"))?;
        match *option {
            "--shard" => {
                let parts = value.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
                let (shard, of) = parts
                    .filter(|(shard, of): &(usize, usize)| shard < of)
                    .with_context(|| format!("--shard {value}: it is K/N with K from 0 to N - 1"))?;
                options.shard = Some((shard, of));
            }
            "--file" => options.file = Some(value.to_owned()),
            "--minutes" => options.minutes = value.parse().with_context(|| format!("--minutes {value}"))?,
            _ => bail!("soak mutants knows --shard K/N, --file PATH, --minutes M, --survivors; not {option}"),
        }
    }
    Ok(options)
}

/// The files of a run, the most important module first, small files before large ones.
fn chosen(files: &[String], options: &Options) -> Vec<String> {
    let rank =
        |path: &str| JUDGES.iter().position(|(module, _)| *module == module_of(path)).unwrap_or(JUDGES.len());
    let mut ranked: Vec<&String> = files.iter().collect();
    ranked.sort_by_key(|path| (rank(path), fs::metadata(root().join(path)).map_or(0, |data| data.len())));
    let wanted = |path: &str| options.file.as_ref().is_none_or(|part| path.contains(part.as_str()));
    let ours = |index: usize| options.shard.is_none_or(|(shard, of)| index % of == shard);
    let numbered = ranked.into_iter().enumerate();
    numbered.filter(|(index, path)| ours(*index) && wanted(path)).map(|(_, path)| path.clone()).collect()
}

/// Judges what is not known yet of a file's mutants, until the time is over.
fn judge(path: &str, known: Option<&Record>, survivors: bool, end: Instant) -> Result<Record> {
    let judges = judges(path)?;
    let tests: Vec<String> = judges.iter().map(|name| format!("--test={name}")).collect();
    let fresh = Record {
        content: content(path, &judges)?,
        tests: format!("--lib {}", tests.join(" ")).trim().to_owned(),
        ..Record::default()
    };
    let same = known.filter(|known| known.content == fresh.content && known.tests == fresh.tests);
    let mut record = match known.filter(|_| survivors && same.is_none()) {
        Some(known) => ledger::without_survivors(known, fresh),
        None => same.cloned().unwrap_or(fresh),
    };
    if same.is_some_and(|known| known.judged.len() == known.listed) {
        return Ok(record);
    }
    let program = program()?;
    let listed = list(&program, path)?;
    ledger::merge(&mut record, path, &listed, &BTreeMap::new());
    let open: Vec<&Mutant> =
        listed.iter().filter(|mutant| !record.judged.iter().any(|(_, known)| known == *mutant)).collect();
    if !open.is_empty() {
        println!("{path}: {} of {} mutants to judge with {}", open.len(), listed.len(), record.tests);
        let verdicts = mutate(&program, path, &open, &record.tests, end)?;
        ledger::merge(&mut record, path, &listed, &verdicts);
    }
    Ok(record)
}

fn list(program: &Path, path: &str) -> Result<Vec<Mutant>> {
    let mut command = Command::new(program);
    command.args(["mutants", "--list", "-p", "seaworthy-policy", "--file", path]).current_dir(root());
    let output = command.output().context("listing mutants")?;
    if !output.status.success() {
        bail!("cargo-mutants cannot list {path}: {}", String::from_utf8_lossy(&output.stderr));
    }
    ledger::listing(&String::from_utf8_lossy(&output.stdout), path)
}

/// Runs cargo-mutants in a copy of the tree. When the time is over it is interrupted, and what it found until then counts.
fn mutate(
    program: &Path,
    path: &str,
    open: &[&Mutant],
    tests: &str,
    end: Instant,
) -> Result<BTreeMap<String, Verdict>> {
    let folder = root().join("target/mutants");
    let outcomes = folder.join("mutants.out/outcomes.json");
    fs::create_dir_all(&folder).context("creating a folder for cargo-mutants")?;
    if outcomes.exists() {
        fs::remove_file(&outcomes).context("removing the outcomes of the run before")?;
    }
    let seconds = end.saturating_duration_since(Instant::now()).as_secs().max(1);
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", "--kill-after=60", &seconds.to_string()]).arg(program);
    command.args(["mutants", "-p", "seaworthy-policy", "--file", path, "--minimum-test-timeout", "30"]);
    command.args(["--colors=never", "--no-times", "--output"]).arg(&folder);
    for mutant in open {
        command.arg(format!("--re=^{}$", escaped(&ledger::full_name(path, mutant))));
    }
    command.args(tests.split(' ').map(|word| format!("--cargo-arg={word}")));
    // Its own target folder, kept: the crates we depend on are built once. Nobody debugs a mutant.
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.current_dir(root()).stdin(Stdio::null());
    let status = command.status().context("running cargo-mutants under `timeout`")?;
    if !outcomes.exists() {
        println!("{path}: no mutant was judged ({status})");
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(&outcomes).context("reading the outcomes")?;
    ledger::outcomes(&text)
        .with_context(|| format!("judging {path}; see {}", folder.join("mutants.out").display()))
}

/// A text as a regular expression that matches nothing else.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Prints where the whole stands; fails when too few are caught, or when a survivor has no reason.
fn conclude(ledger: &Ledger, files: &[String]) -> Result<()> {
    let reasons = ledger::reasons(&text_of(REASONS))?;
    let done = |path: &&String| ledger.get(*path).is_some_and(|record| record.judged.len() == record.listed);
    let finished = files.iter().filter(done).count();
    let tally = Tally::of(ledger.values());
    let (silent, stale) = ledger::unexplained(ledger, &reasons);
    println!("\n{finished} of {} files; {tally}", files.len());
    for survivor in &silent {
        println!("survivor without a reason: {survivor}");
    }
    for mutant in &stale {
        println!("caught by now, its reason in {REASONS} can go: {mutant}");
    }
    if tally.share() < SHARE_MIN || !silent.is_empty() {
        bail!(
            "{:.1} % of the viable mutants are caught ({SHARE_MIN} % are wanted), {} survivors have no reason",
            tally.share(),
            silent.len()
        );
    }
    Ok(())
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// The files of the crate, by path from the root.
fn sources() -> Result<Vec<String>> {
    let mut paths = Vec::new();
    walk(&root().join(SOURCES), &mut paths)?;
    let strip = |path: PathBuf| Some(path.strip_prefix(root()).ok()?.to_str()?.to_owned());
    let mut files: Vec<String> = paths.into_iter().filter_map(strip).collect();
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// `breaker` for `crates/policy/src/breaker/window.rs`.
fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix(SOURCES).unwrap_or(path).trim_start_matches('/');
    inner.split(['/', '.']).next().unwrap_or(inner)
}

fn judges(path: &str) -> Result<Vec<String>> {
    let module = module_of(path);
    if let Some((_, names)) = JUDGES.iter().find(|(listed, _)| *listed == module) {
        return Ok(names.iter().map(|&name| name.to_owned()).collect());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join(TESTS)).context("reading the tests")? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if name.strip_suffix("_model").unwrap_or(name) == module {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A hash of a file and one of the tests that judge it. The rest of the crate is left out: else a change anywhere would have
/// everything judged again.
fn content(path: &str, judges: &[String]) -> Result<String> {
    let mut paths = Vec::new();
    for name in judges {
        let tests = root().join(TESTS);
        let folder = tests.join(name);
        if folder.is_dir() {
            walk(&folder, &mut paths)?;
        } else {
            paths.push(tests.join(format!("{name}.rs")));
        }
    }
    paths.sort();
    Ok(format!("{:016x}-{:016x}", hash(&[root().join(path)])?, hash(&paths)?))
}

fn hash(paths: &[PathBuf]) -> Result<u64> {
    paths.iter().try_fold(FNV_OFFSET, |hash, path| {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(fnv(hash, &text))
    })
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: tells a changed file from an unchanged one, which is all that is asked of it.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// cargo-mutants from the path or from our folder of tools.
fn program() -> Result<PathBuf> {
    let own = root().join(TOOLS).join("bin/cargo-mutants");
    if own.exists() {
        return Ok(own);
    }
    if has("cargo-mutants", "mutants --version") {
        return Ok(PathBuf::from("cargo-mutants"));
    }
    bail!(
        "cargo-mutants is missing; install it with: cargo install --locked cargo-mutants --version {VERSION} --root {TOOLS}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_mistakes_named() {
        let check = |words: &[&str]| options(words).map_err(|error| error.to_string());
        assert_eq!(check(&[]), Ok(Options { shard: None, file: None, minutes: 60, survivors: false }));
        assert_eq!(
            check(&["--shard", "1/4", "--minutes", "5", "--file", "breaker/", "--survivors"]),
            Ok(Options {
                shard: Some((1, 4)),
                file: Some("breaker/".to_owned()),
                minutes: 5,
                survivors: true
            })
        );
        for (words, hint) in [
            (["--shard", "4/4"], "K from 0 to N - 1"),
            (["--shard", "x"], "K from 0 to N - 1"),
            (["--minutes", "soon"], "--minutes soon"),
            (["--seed", "1"], "not --seed"),
        ] {
            assert!(check(&words).is_err_and(|error| error.contains(hint)), "{words:?}");
        }
        assert!(check(&["--shard"]).is_err_and(|error| error.contains("wants a value")));
    }

    #[test]
    fn shards_are_apart_and_together_the_whole() {
        let files = sources().expect("the sources");
        let all = Options { shard: None, file: None, minutes: 1, survivors: false };
        let mut whole = chosen(&files, &all);
        assert!(whole[0].contains("/budget"), "the most important first: {whole:?}");
        let mut parts: Vec<String> = (0..3)
            .flat_map(|shard| {
                chosen(&files, &Options { shard: Some((shard, 3)), file: None, minutes: 1, survivors: false })
            })
            .collect();
        whole.sort();
        parts.sort();
        assert_eq!(parts, whole);
        assert_eq!(whole, files);
    }

    #[test]
    fn each_module_has_judges_that_exist() {
        for (module, names) in JUDGES {
            let here = root().join(SOURCES);
            assert!(here.join(format!("{module}.rs")).exists() || here.join(module).is_dir(), "{module}");
            for name in *names {
                let tests = root().join(TESTS);
                let found =
                    tests.join(format!("{name}.rs")).exists() || tests.join(name).join("main.rs").exists();
                assert!(found, "{module}: there is no test {name}");
            }
        }
        for (path, module) in [("breaker.rs", "breaker"), ("pool/balance/p2c.rs", "pool"), ("lib.rs", "lib")]
        {
            assert_eq!(module_of(&format!("{SOURCES}/{path}")), module);
        }
    }

    #[test]
    fn a_changed_test_changes_the_hash() {
        let path = "crates/policy/src/budget.rs";
        let one = content(path, &["budget".to_owned()]).expect("a hash");
        assert_eq!(content(path, &["budget".to_owned()]).expect("a hash"), one);
        let other = content(path, &["budget_model".to_owned()]).expect("a hash");
        assert_ne!(other, one);
        assert_eq!(other.split('-').next(), one.split('-').next(), "the file itself is the same");
        assert_ne!(fnv(FNV_OFFSET, b"a"), fnv(FNV_OFFSET, b"b"));
    }

    #[test]
    fn a_name_matches_only_itself() {
        assert_eq!(
            escaped("a.rs:1:2: replace -> Option<u64> with *"),
            r"a\.rs:1:2: replace \-> Option<u64> with \*"
        );
    }
}
