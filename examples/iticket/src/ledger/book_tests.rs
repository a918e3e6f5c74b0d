use super::*;

const SCARCE: u32 = 2;

fn reserve(key: &str, event: u32) -> Command {
    Command::Reserve { key: key.to_owned(), event, buyer: "ann".to_owned() }
}

fn confirm(key: &str) -> Command {
    Command::Confirm { key: key.to_owned(), charge: 7 }
}

fn release(key: &str) -> Command {
    Command::Release { key: key.to_owned() }
}

fn empty() -> (tempfile::TempDir, Book) {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(&folder.path().join("ledger.sqlite3")).unwrap();
    (folder, book)
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ticket(ticket) => format!("{:?}", ticket.state).to_lowercase(),
        Outcome::Contradiction(ticket) => format!("no, {:?}", ticket.state).to_lowercase(),
        other => format!("{other:?}"),
    }
}

/// Steps under the one key `k`, and what each answers; at the end, the seats taken.
fn check(steps: &[(Command, &str)], taken: i64) {
    // Each command in a transaction of its own, and all in one, must come to the same.
    for together in [false, true] {
        let (_folder, mut book) = empty();
        let commands: Vec<&Command> = steps.iter().map(|(command, _)| command).collect();
        let outcomes: Vec<Outcome> = if together {
            book.apply(commands.into_iter()).unwrap()
        } else {
            commands.into_iter().flat_map(|command| book.apply([command].into_iter()).unwrap()).collect()
        };
        let words: Vec<String> = outcomes.iter().map(word).collect();
        let expected: Vec<&str> = steps.iter().map(|(_, expected)| *expected).collect();
        assert_eq!(words, expected, "{steps:?}, in one transaction: {together}");
        let event = book.event(SCARCE).unwrap().unwrap();
        assert_eq!(event.seats - event.seats_left, taken, "{steps:?}");
    }
}

#[test]
fn every_step_is_idempotent_and_the_final_states_are_final() {
    let other_buyer = Command::Reserve { key: "k".into(), event: SCARCE, buyer: "bob".into() };
    check(&[(reserve("k", SCARCE), "reserved"), (reserve("k", SCARCE), "reserved")], 1);
    check(
        &[(reserve("k", SCARCE), "reserved"), (other_buyer, "KeyReused"), (reserve("k", 1), "KeyReused")],
        1,
    );
    check(
        &[(reserve("k", 99), "NoSuchEvent"), (confirm("k"), "NoSuchTicket"), (release("k"), "NoSuchTicket")],
        0,
    );
    check(
        &[
            (reserve("k", SCARCE), "reserved"),
            (confirm("k"), "confirmed"),
            (confirm("k"), "confirmed"),
            (reserve("k", SCARCE), "confirmed"),
            (release("k"), "no, confirmed"),
        ],
        1,
    );
    check(
        &[
            (reserve("k", SCARCE), "reserved"),
            (release("k"), "released"),
            (release("k"), "released"),
            (reserve("k", SCARCE), "released"),
            (confirm("k"), "no, released"),
        ],
        0,
    );
}

#[test]
fn a_repeated_confirmation_keeps_the_first_charge() {
    let (_folder, mut book) = empty();
    let again = Command::Confirm { key: "k".to_owned(), charge: 8 };
    book.apply([&reserve("k", SCARCE), &confirm("k"), &again].into_iter()).unwrap();
    assert_eq!(book.ticket("k").unwrap().unwrap().charge, Some(7));
}

#[test]
fn a_seat_given_back_is_sold_again_and_no_seat_twice() {
    let (_folder, mut book) = empty();
    let all: Vec<Command> = (0..11).map(|number| reserve(&number.to_string(), SCARCE)).collect();
    let outcomes = book.apply(all.iter()).unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Ticket(_))).count(), 10);
    assert_eq!(outcomes[10], Outcome::SoldOut);
    let more = book.apply([&release("3"), &reserve("10", SCARCE), &reserve("11", SCARCE)].into_iter());
    assert_eq!(more.unwrap().iter().map(word).collect::<Vec<_>>(), ["released", "reserved", "SoldOut"]);
}

#[test]
fn the_database_itself_refuses_to_be_oversold() {
    let (_folder, book) = empty();
    let oversold = book.connection.execute("UPDATE events SET taken = seats + 1 WHERE id = 2", []);
    assert!(oversold.is_err());
    assert!(book.connection.execute("UPDATE events SET taken = -1 WHERE id = 2", []).is_err());
}

#[test]
fn a_failed_group_leaves_nothing_behind() {
    let (_folder, mut book) = empty();
    book.connection
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON tickets WHEN NEW.key = 'bad' BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .unwrap();
    assert!(book.apply([&reserve("good", SCARCE), &reserve("bad", SCARCE)].into_iter()).is_err());
    assert_eq!(book.ticket("good").unwrap(), None);
    assert_eq!(book.event(SCARCE).unwrap().unwrap().seats_left, 10);
    assert!(book.apply([&reserve("good", SCARCE)].into_iter()).is_ok());
}

#[test]
fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite3");
    let mut book = Book::open(&path).unwrap();
    book.apply([&reserve("k", SCARCE), &confirm("k"), &reserve("open", 1)].into_iter()).unwrap();
    drop(book);
    let book = Book::open(&path).unwrap();
    assert_eq!(book.ticket("k").unwrap().unwrap().state, State::Confirmed);
    assert_eq!(book.event(SCARCE).unwrap().unwrap().seats_left, 9);
    let mut keys = Vec::new();
    let reader = Book::open_to_read(&path).unwrap();
    reader
        .confirmed(|ticket| {
            keys.push(ticket.key);
            Flow::Continue
        })
        .unwrap();
    assert_eq!(keys, ["k"], "only what is confirmed is exported");
    assert_eq!(reader.events().unwrap().len(), 2);
}
