//! What somebody meant who wrote a word we do not know.

use crate::keys::{Key, SPEC, Shape, Table};

/// The word nearest to `word`, when it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let normal = normalised(word);
    let limit = (normal.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        // Words of very different lengths are never near; this spares most of the work.
        .filter(|candidate| candidate.len().abs_diff(normal.len()) <= limit)
        .map(|candidate| (distance(&normal, &normalised(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How the hint begins that only lists what there is.
pub(super) const KEYS_HERE: &str = "the keys here are";

/// Bare numbers below this are more likely seconds than milliseconds.
const SECONDS_BELOW: u64 = 100;

/// What to say about a key that `table` does not have. `value` is the scalar given with it, if it was one.
pub(super) fn unknown_key(table: &Table, key: &str, value: Option<&str>) -> String {
    if let Some(alias) = table.aliases.iter().find(|alias| alias.foreign == key) {
        let value = value.filter(|value| !value.is_empty()).unwrap_or("...");
        let time = match value.parse::<u64>() {
            Ok(number) if number < SECONDS_BELOW => format!("{number}s"),
            Ok(number) => format!("{number}ms"),
            Err(_) => value.to_owned(),
        };
        return alias.help.replace("{}", value).replace("{time}", &time);
    }
    if let Some(near) = nearest(key, table.all().filter(|key| !key.later).map(|key| key.name)) {
        return format!("did you mean `{near}`?");
    }
    if let Some(home) = homes(key).first() {
        return format!("`{key}` belongs under `{home}`");
    }
    let known: Vec<String> =
        table.all().filter(|key| !key.later).map(|key| format!("`{}`", key.name)).collect();
    format!("{KEYS_HERE} {}", known.join(", "))
}

/// Where in the spec a key of this name exists, as dotted paths; the shallowest first.
fn homes(key: &str) -> Vec<String> {
    let mut found = Vec::new();
    search(&SPEC, "", key, &mut found);
    // Queues share many words with policies, which are what is meant more often.
    let of_queues = |path: &str| path.starts_with("queues") || path.starts_with("topics");
    found.sort_by_key(|path| (of_queues(path), path.matches('.').count()));
    found
}

fn search(table: &'static Table, path: &str, key: &str, found: &mut Vec<String>) {
    for Key { name, shape, .. } in table.all().filter(|key| !key.later) {
        if *name == key && !path.is_empty() {
            found.push(path.to_owned());
        }
        let inner = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        descend(*shape, &inner, key, found);
    }
    if let Some(rest) = table.rest {
        descend(rest.shape, &format!("{path}.NAME"), key, found);
    }
}

fn descend(shape: Shape, path: &str, key: &str, found: &mut Vec<String>) {
    match shape {
        Shape::Object(table) => search(table, path, key, found),
        Shape::Map(inner, _) => descend(*inner, &format!("{path}.NAME"), key, found),
        Shape::List(inner) => descend(*inner, path, key, found),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| descend(*shape, path, key, found)),
        _ => {}
    }
}

/// `attemptTimeout`, `attempt-timeout` and `Attempt_Timeout` are one word in different clothes.
fn normalised(word: &str) -> String {
    let mut result = String::with_capacity(word.len() + 4);
    let mut after_small = false;
    for character in word.chars() {
        if character.is_uppercase() && after_small {
            result.push('_');
        }
        after_small = character.is_lowercase() || character.is_ascii_digit();
        match character {
            '-' | ' ' => result.push('_'),
            other => result.extend(other.to_lowercase()),
        }
    }
    result
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(left: &str, right: &str) -> usize {
    /// Longer words are compared by their beginnings: keys are short, and this bounds the work.
    const LENGTH_MAX: usize = 64;
    let left: Vec<char> = left.chars().take(LENGTH_MAX).collect();
    let right: Vec<char> = right.chars().take(LENGTH_MAX).collect();
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (row, from) in left.iter().enumerate() {
        let above = &rows[row];
        let mut current = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(from != to);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *from == right[column - 1] && left[row - 1] == *to {
                best = best.min(rows[row - 1][column - 1] + 1);
            }
            current.push(best);
        }
        rows.push(current);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_typing_errors() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("route", "route", 0),
            ("route", "rotue", 1),
            ("timout", "timeout", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["attempt_timeout", "total_timeout", "to", "retry"];
        for (word, expected) in [
            ("attemptTimeout", Some("attempt_timeout")),
            ("attempt-timout", Some("attempt_timeout")),
            ("TOTAL_TIMEOUT", Some("total_timeout")),
            ("retyr", Some("retry")),
            ("x", None),
            ("zz", None),
            ("banana", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }

    #[test]
    fn a_key_at_the_wrong_place_is_told_its_home() {
        assert_eq!(homes("attempt_timeout")[0], "services.NAME.policy");
        assert_eq!(homes("listen"), ["gateway", "admin"]);
        assert_eq!(homes("for_at_most"), ["failures.NAME.promise.NAME.during"]);
        assert!(homes("nonsense").is_empty());
    }
}
