//! The text form of the journal, and what is still open in it.
//!
//! One record per line, its fields separated by one space; the last field of an intent is the label:
//!
//! ```text
//! intend 7120045-311 pause 402 71200 5f0e…e1 8120045 api replica 1 ;
//! applied 7120045-311 ;
//! reverted 7120045-311 ;
//! ```
//!
//! A record counts only with its closing ` ;`. Each one is written with a line break in front of it and
//! behind it, so that a torn record (full disk, power cut) can neither be taken for a whole one nor swallow
//! the record after it.

/// The longest label kept, in bytes; longer ones are cut.
pub const LABEL_BYTES_MAX: usize = 200;

const END: &str = " ;";

/// Names one journalled fault: the time of the intent on the boot clock and the thread that wrote it, which
/// together are unique without a lock that a hung process could hold for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(pub(crate) String);

/// A fault that outlives the process that applied it, so that somebody has to undo it: a process is stopped by
/// SIGSTOP, and SIGCONT undoes that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The process that is stopped.
    pub pid: u32,
    /// Its start time, see [`crate::process_start_time`]: tells it from a later process with the same id.
    pub start_time: u64,
    /// The boot it belongs to, see [`crate::boot_id`].
    pub boot_id: String,
    /// When the keeper undoes it by itself, in nanoseconds of `CLOCK_BOOTTIME`, see
    /// [`crate::boottime_nanos`].
    pub deadline: u64,
    /// For people. At most [`LABEL_BYTES_MAX`] bytes are kept, control characters and quotes are escaped, and
    /// `;` becomes `,`.
    pub label: String,
}

/// A journalled fault that is not known to be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the journal.
    pub id: Id,
    /// The fault.
    pub fault: Fault,
    /// Surely in effect. Otherwise it is only written down, and nobody knows.
    pub is_applied: bool,
}

pub(crate) fn intend_record(id: &Id, fault: &Fault) -> String {
    let Fault { pid, start_time, boot_id, deadline, label } = fault;
    let label = label[..label.floor_char_boundary(LABEL_BYTES_MAX)].replace(';', ",");
    framed(&format!("intend {} pause {pid} {start_time} {boot_id} {deadline} {}", id.0, label.escape_debug()))
}

/// A record whose first word is `applied` or `reverted`.
pub(crate) fn note_record(word: &str, id: &Id) -> String {
    framed(&format!("{word} {}", id.0))
}

fn framed(record: &str) -> String {
    format!("\n{record}{END}\n")
}

/// What is open after all records of `text`, in the order in which it was intended. Lines that are no whole
/// record are skipped: a torn intent was never applied, and undoing a fault twice does no harm.
pub(crate) fn open_entries(text: &str) -> Vec<Entry> {
    let mut open: Vec<Entry> = Vec::new();
    for record in text.lines().filter_map(|line| line.strip_suffix(END)) {
        match record.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["intend", id, fault] => open.extend(parse_fault(fault).map(|fault| {
                let id = Id(id.to_owned());
                Entry { id, fault, is_applied: false }
            })),
            ["applied", id] => {
                open.iter_mut().filter(|entry| entry.id.0 == id).for_each(|entry| entry.is_applied = true);
            }
            ["reverted", id] => open.retain(|entry| entry.id.0 != id),
            _ => {}
        }
    }
    open
}

fn parse_fault(text: &str) -> Option<Fault> {
    let fields: Vec<&str> = text.splitn(6, ' ').collect();
    let ["pause", pid, start_time, boot_id, deadline, label] = fields[..] else { return None };
    Some(Fault {
        pid: pid.parse().ok()?,
        start_time: start_time.parse().ok()?,
        boot_id: boot_id.to_owned(),
        deadline: deadline.parse().ok()?,
        label: label.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        Id(name.to_owned())
    }

    fn fault(label: &str) -> Fault {
        Fault {
            pid: 402,
            start_time: 71_200,
            boot_id: "5f0e-11".to_owned(),
            deadline: 8_120_045,
            label: label.to_owned(),
        }
    }

    fn entry(name: &str, is_applied: bool) -> Entry {
        Entry { id: id(name), fault: fault("a b"), is_applied }
    }

    #[test]
    fn records_fold_into_what_is_open() {
        let (one, two) = (intend_record(&id("1-7"), &fault("a b")), intend_record(&id("2-7"), &fault("a b")));
        let (applied, reverted) = (note_record("applied", &id("1-7")), note_record("reverted", &id("1-7")));
        let rows: [(&str, String, Vec<Entry>); 9] = [
            ("nothing", String::new(), vec![]),
            ("an intent", one.clone(), vec![entry("1-7", false)]),
            ("an applied one", format!("{one}{applied}"), vec![entry("1-7", true)]),
            ("a reverted one", format!("{one}{applied}{reverted}"), vec![]),
            ("never applied", format!("{one}{reverted}"), vec![]),
            (
                "another one applied",
                format!("{two}{one}{applied}"),
                vec![entry("2-7", false), entry("1-7", true)],
            ),
            ("another one reverted", format!("{one}{two}{reverted}"), vec![entry("2-7", false)]),
            ("an unknown id", format!("{reverted}{one}"), vec![entry("1-7", false)]),
            (
                "noise",
                format!("\0\0 x\n;\n ;\nintend ;\nintend 3 pause ;\napplied ;\n{one}"),
                vec![entry("1-7", false)],
            ),
        ];
        for (name, text, expected) in rows {
            assert_eq!(open_entries(&text), expected, "{name}");
        }
    }

    #[test]
    fn a_record_torn_anywhere_is_ignored_and_swallows_nothing() {
        let whole = intend_record(&id("1-7"), &fault("a b ; c"));
        let next = intend_record(&id("2-7"), &fault("a b"));
        for cut in 0..whole.len() - 1 {
            let torn = format!("{}{next}", &whole[..cut]);
            assert_eq!(open_entries(&torn), vec![entry("2-7", false)], "cut at {cut}");
        }
        let whole = intend_record(&id("1-7"), &fault("a b"));
        let revert = note_record("reverted", &id("1-7"));
        for cut in 0..revert.len() - 1 {
            let torn = format!("{whole}{}", &revert[..cut]);
            assert_eq!(open_entries(&torn), vec![entry("1-7", false)], "cut at {cut}");
        }
    }

    #[test]
    fn no_label_breaks_its_record() {
        let rows = [
            ("", ""),
            ("api replica 1", "api replica 1"),
            (" ; ", " , "),
            ("Zürich 🚢", "Zürich 🚢"),
            ("line\nbreak ;\nreverted 1-7 ;\n", "line\\nbreak ,\\nreverted 1-7 ,\\n"),
            ("\0\r\"\u{2028}", "\\0\\r\\\"\\u{2028}"),
        ];
        for (label, kept) in rows {
            let entries = open_entries(&intend_record(&id("1-7"), &fault(label)));
            assert_eq!(entries.iter().map(|entry| entry.fault.label.as_str()).collect::<Vec<_>>(), [kept]);
        }
        let long = intend_record(&id("1-7"), &fault(&"é".repeat(LABEL_BYTES_MAX)));
        assert_eq!(open_entries(&long)[0].fault.label.len(), LABEL_BYTES_MAX);
    }
}
