//! What the kernel says about a process, as far as faults need it.

use std::fs;

/// Parts of `/proc/PID/stat`, see proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3: `R`, `S`, `T` (stopped), `Z` (ended, not yet waited for) ...
    pub(crate) state: char,
    /// Field 5.
    pub(crate) group: u32,
    /// Field 22, in clock ticks since boot.
    pub(crate) start_time: u64,
}

impl Stat {
    /// `None` when there is no such process.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// It runs or could run again: it is neither gone nor waiting to be waited for.
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    pub(crate) fn is_stopped(self) -> bool {
        self.state == 'T'
    }

    fn parse(text: &str) -> Option<Self> {
        // The command's name may hold anything, closing parentheses included; what follows the last one does not.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start_time = fields.nth(16)?.parse().ok()?;
        Some(Self { state, group, start_time })
    }
}

/// The living processes of the given groups: group, process id, start time.
pub(crate) fn members(groups: &[u32]) -> Vec<(u32, u32, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Stat::read(pid).map(|stat| (pid, stat)))
        .filter(|(_, stat)| stat.is_alive() && groups.contains(&stat.group))
        .map(|(pid, stat)| (stat.group, pid, stat.start_time))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let rest = "T 1 402 402 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 71200 1 2 3";
        let expected = Some(Stat { state: 'T', group: 402, start_time: 71_200 });
        let rows = [
            (format!("402 (sh) {rest}"), expected),
            (format!("402 (a) b) {rest}"), expected),
            (format!("402 (R 1 2 (x) {rest}"), expected),
            ("402 (sh) T 1 402".to_owned(), None),
            (String::new(), None),
        ];
        for (text, expected) in rows {
            assert_eq!(Stat::parse(&text), expected, "{text}");
        }
    }

    #[test]
    fn we_are_a_living_member_of_our_group() {
        let pid = std::process::id();
        let stat = Stat::read(pid).expect("we exist");
        assert!(stat.is_alive() && !stat.is_stopped());
        assert!(members(&[stat.group]).contains(&(stat.group, pid, stat.start_time)));
        assert_eq!(Stat::read(u32::MAX), None);
    }
}
