//! Sizes in bytes, as a spec writes them: `64KiB`.

use super::forms::{Problem, Unreadable};

/// The units, largest first, in bytes.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// No size of a spec is larger.
const SIZE_MAX: u64 = 1 << 40;

/// A size such as `64KiB`, in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Unreadable> {
    let unreadable = |problem, help: Option<String>| Err(Unreadable { problem, help });
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..split], &text[split..]);
    let Ok(count) = number.parse::<u64>() else { return unreadable(Problem::Form, None) };
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let help = match our_unit(unit.trim()) {
            Some(name) => format!("write `{count}{name}`"),
            None if unit.is_empty() => format!("write `{count}KiB` for kibibytes or `{count}B` for bytes"),
            None => "the units are `B`, `KiB`, `MiB` and `GiB`".to_owned(),
        };
        return unreadable(Problem::Unit, Some(help));
    };
    match count.saturating_mul(*bytes) {
        0 => unreadable(Problem::Range, Some("a size is more than `0B`".to_owned())),
        total if total > SIZE_MAX => {
            unreadable(Problem::Range, Some("no size may exceed 1024GiB".to_owned()))
        }
        total => Ok(total),
    }
}

/// Our spelling of a unit as people write it elsewhere.
fn our_unit(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => Some("B"),
        "k" | "kb" | "ki" | "kib" => Some("KiB"),
        "m" | "mb" | "mi" | "mib" => Some("MiB"),
        "g" | "gb" | "gi" | "gib" => Some("GiB"),
        _ => None,
    }
}

/// A size as a spec would write it.
pub(crate) fn show_size(bytes: u64) -> String {
    let whole = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (name, unit) = whole.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("64KiB", 65_536, "64KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1500B", 1_500, "1500B"),
            ("2GiB", 1 << 31, "2GiB"),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), shown);
        }
    }

    #[test]
    fn what_is_no_size_is_told_what_to_write() {
        for (text, problem, help) in [
            ("64", Problem::Unit, Some("write `64KiB` for kibibytes or `64B` for bytes")),
            ("64MB", Problem::Unit, Some("write `64MiB`")),
            ("64 KiB", Problem::Unit, Some("write `64KiB`")),
            ("64Mi", Problem::Unit, Some("write `64MiB`")),
            ("64x", Problem::Unit, Some("the units are `B`, `KiB`, `MiB` and `GiB`")),
            ("1.5MiB", Problem::Unit, Some("the units are `B`, `KiB`, `MiB` and `GiB`")),
            ("0B", Problem::Range, Some("a size is more than `0B`")),
            ("2000GiB", Problem::Range, Some("no size may exceed 1024GiB")),
            ("much", Problem::Form, None),
        ] {
            let expected = Unreadable { problem, help: help.map(str::to_owned) };
            assert_eq!(size(text), Err(expected), "{text}");
        }
    }
}
