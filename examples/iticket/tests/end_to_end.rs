//! The services as processes, killed and stopped while tickets are being bought.
#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod backend;

use std::path::Path;
use std::time::{Duration, Instant};

use backend::{Answer, Service, buy, request, until};
use serde_json::json;
use tempfile::TempDir;

const ORDER: &str = r#"{"event":1,"buyer":"ann"}"#;

/// The least backend that sells tickets.
struct Shop {
    folder: TempDir,
    ledger: Service,
    payments: Service,
}

impl Shop {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Service::start("ledger", 0, folder.path(), &[]);
        let payments = Service::start("payments", 0, folder.path(), &[]);
        Self { folder, ledger, payments }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn api(&self, more: &[(&str, String)]) -> Service {
        let mut environment = vec![
            ("SEAWORTHY_EGRESS_LEDGER", self.ledger.url()),
            ("SEAWORTHY_EGRESS_PAYMENTS", self.payments.url()),
        ];
        environment.extend_from_slice(more);
        Service::start("api", 0, self.folder(), &environment)
    }

    /// Keys of all confirmed tickets, and of all charges.
    fn books(&self) -> (Vec<String>, Vec<String>) {
        let keys = |answer: Answer| {
            let entries = answer.body.as_array().unwrap().clone();
            entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
        };
        (keys(self.ledger.get("/tickets/export")), keys(self.payments.get("/ledger")))
    }

    fn check_books(&self, expected: &[&str]) {
        let (tickets, charges) = self.books();
        assert_eq!(tickets, expected, "confirmed tickets");
        assert_eq!(charges, expected, "charges");
    }

    /// Waits until a card is being charged: the moment at which things shall break.
    fn wait_for_charge(&self) {
        until("a charge is in progress", || self.payments.get("/stats").body["in_flight"] == 1);
    }
}

fn degraded(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.status, 503, "{answer:?}");
    answer.header("degraded")
}

#[test]
fn the_same_key_buys_once() {
    let shop = Shop::open();
    let api = shop.api(&[]);
    let first = buy(api.port, "k1", ORDER).unwrap();
    assert_eq!(first.status, 201, "{first:?}");
    let expected =
        json!({"id": 1, "key": "k1", "event": 1, "buyer": "ann", "price_cents": 4500, "state": "confirmed"});
    assert_eq!(first.body, json!({"success": true, "ticket": expected}));
    let again = buy(shop.api(&[]).port, "\"k1\"", ORDER).unwrap();
    assert_eq!((again.status, &again.body), (201, &first.body), "at another replica, with a quoted key");
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        (None, Some("true"))
    );
    shop.check_books(&["k1"]);
    // (key, body, status, reason)
    let refusals = [
        ("k1", r#"{"event":1,"buyer":"bob"}"#, 422, "key_reused"),
        ("k2", r#"{"event":9,"buyer":"bob"}"#, 404, "no_such_event"),
        ("k2", r#"{"event":"x"}"#, 400, "malformed"),
        ("k2", r#"{"event":1,"buyer":""}"#, 400, "buyer"),
        ("", ORDER, 400, "idempotency_key"),
        (&"k".repeat(256), ORDER, 400, "idempotency_key"),
        ("k3", r#"{"event":2,"buyer":"declined-1"}"#, 402, "declined"),
        ("k3", r#"{"event":2,"buyer":"declined-1"}"#, 402, "declined"),
    ];
    for (key, body, status, reason) in refusals {
        let answer = buy(api.port, key, body).unwrap();
        assert_eq!((answer.status, &answer.body["reason"]), (status, &json!(reason)), "{key} {body}");
    }
    assert_eq!(api.get("/events/2").body["event"]["seats_left"], 10, "a declined card gives the seat back");
    shop.check_books(&["k1"]);
}

#[test]
fn a_replica_killed_in_a_purchase_is_taken_over_by_another() {
    let shop = Shop::open();
    let (doomed, other) = (shop.api(&[]), shop.api(&[]));
    let port = doomed.port;
    let customer = std::thread::spawn(move || buy(port, "k1", ORDER));
    shop.wait_for_charge();
    doomed.kill();
    assert!(customer.join().unwrap().is_none(), "the customer's connection broke");
    let answer = buy(other.port, "k1", ORDER).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    shop.check_books(&["k1"]);
}

#[test]
fn a_customer_who_hangs_up_still_gets_the_ticket() {
    use std::io::Write as _;
    let shop = Shop::open();
    let api = shop.api(&[]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", api.port)).unwrap();
    let head = format!(
        "POST /tickets HTTP/1.1\r\nhost: x\r\nidempotency-key: k1\r\ncontent-length: {}",
        ORDER.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{ORDER}").as_bytes()).unwrap();
    shop.wait_for_charge();
    drop(stream);
    until("the ticket is confirmed", || shop.books().0 == ["k1"]);
    shop.check_books(&["k1"]);
}

#[test]
fn without_payments_nobody_pays_twice_and_everybody_is_told() {
    let mut shop = Shop::open();
    let api = shop.api(&[]);
    let ablated = shop.api(&[("SEAWORTHY_ABLATE", "degrade".to_owned())]);
    let port = api.port;
    // Killed while it charges: what became of the charge is unclear.
    let customer = std::thread::spawn(move || buy(port, "unclear", ORDER));
    shop.wait_for_charge();
    let payments_port = shop.payments.port;
    let stopped = Service::start("payments", 0, tempfile::tempdir().unwrap().path(), &[]);
    std::mem::replace(&mut shop.payments, stopped).kill();
    let answer = customer.join().unwrap().unwrap();
    assert_eq!(degraded(&answer), Some("payment-pending"), "{answer:?}");
    // Not there at all: certainly not charged.
    let answer = buy(api.port, "refused", ORDER).unwrap();
    assert_eq!(degraded(&answer), Some("try-again"), "{answer:?}");
    assert_eq!((answer.header("retry-after"), &answer.body["reason"]), (Some("1"), &json!("try_again")));
    // A service that may not degrade just fails.
    let answer = buy(ablated.port, "refused", ORDER).unwrap();
    assert_eq!((degraded(&answer), answer.header("retry-after")), (None, None), "{answer:?}");
    // Back at the same address.
    shop.payments = Service::start("payments", payments_port, shop.folder(), &[]);
    for key in ["unclear", "refused"] {
        let answer = buy(api.port, key, ORDER).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    shop.check_books(&["unclear", "refused"]);
}

#[test]
fn a_killed_ledger_has_everything_it_answered() {
    let mut shop = Shop::open();
    let api = shop.api(&[]);
    let api_port = api.port;
    // Buyers that go on until the ledger is gone; each tells which tickets it was given.
    let buyers: Vec<_> = (0..8)
        .map(|buyer| {
            std::thread::spawn(move || {
                let keys = (0..1000).map(|number| format!("{buyer}-{number}"));
                keys.take_while(|key| buy(api_port, key, ORDER).unwrap().status == 201).collect::<Vec<_>>()
            })
        })
        .collect();
    until("some tickets are sold", || shop.books().0.len() >= 16);
    let (ledger_port, elsewhere) = (shop.ledger.port, tempfile::tempdir().unwrap());
    let stand_in = Service::start("ledger", 0, elsewhere.path(), &[]);
    std::mem::replace(&mut shop.ledger, stand_in).kill();
    let acknowledged: Vec<String> = buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect();
    let answer = buy(api.port, "while down", ORDER).unwrap();
    assert_eq!(degraded(&answer), Some("try-again"), "{answer:?}");
    shop.ledger = Service::start("ledger", ledger_port, shop.folder(), &[]);
    let (tickets, _) = shop.books();
    for key in &acknowledged {
        assert!(tickets.contains(key), "{key} was acknowledged and is lost");
    }
    assert!(acknowledged.len() >= 8, "only {} were acknowledged", acknowledged.len());
    assert_eq!(buy(api.port, "while down", ORDER).unwrap().status, 201);
}

#[test]
fn sixty_four_people_want_ten_seats() {
    let shop = Shop::open();
    let apis = [shop.api(&[]), shop.api(&[])];
    let people: Vec<_> = (0..64)
        .map(|number: usize| {
            let port = apis[number % 2].port;
            std::thread::spawn(move || {
                let body = json!({"event": 2, "buyer": format!("person {number}")}).to_string();
                buy(port, &format!("key{number}"), &body).unwrap().status
            })
        })
        .collect();
    let statuses: Vec<u16> = people.into_iter().map(|person| person.join().unwrap()).collect();
    let count = |status: u16| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(201), count(409)), (10, 54), "{statuses:?}");
    let (mut tickets, mut charges) = shop.books();
    tickets.sort();
    charges.sort();
    assert_eq!((tickets.len(), tickets), (10, charges));
}

#[test]
fn a_page_is_made_of_parts_that_fail_separately() {
    let mut shop = Shop::open();
    let cache = Service::start("cache", 0, shop.folder(), &[]);
    let chat = Service::start("chat", 0, shop.folder(), &[]);
    let parts = [("SEAWORTHY_EGRESS_CACHE", cache.url()), ("SEAWORTHY_EGRESS_CHAT", chat.url())];
    let api = shop.api(&parts);
    let ablated = shop.api(&[&parts[..], &[("SEAWORTHY_ABLATE", "degrade".to_owned())]].concat());
    let page = |api: &Service| api.get("/events/1");
    let whole = page(&api);
    assert_eq!((whole.status, whole.header("degraded")), (200, None), "{whole:?}");
    assert_eq!(whole.body["event"]["name"], "The Big Concert");
    assert_eq!(whole.body["chatAvailable"], true);
    assert_eq!((page(&ablated).status, api.get("/events/9").status), (200, 404));
    assert_eq!(api.get("/events").body["events"].as_array().unwrap().len(), 2);

    chat.kill();
    let without_chat = page(&api);
    assert_eq!((without_chat.status, without_chat.header("degraded")), (200, None), "{without_chat:?}");
    assert_eq!(without_chat.body["chatAvailable"], false);
    assert_eq!(page(&ablated).status, 503);

    // The copy in the cache is current for a second, then stale.
    let elsewhere = tempfile::tempdir().unwrap();
    let stand_in = Service::start("ledger", 0, elsewhere.path(), &[]);
    let ledger_port = shop.ledger.port;
    std::mem::replace(&mut shop.ledger, stand_in).kill();
    let mut stale = page(&api);
    until("the copy is stale", || {
        assert_eq!((stale.status, &stale.body["event"]), (200, &whole.body["event"]), "{stale:?}");
        let is_stale = stale.header("degraded") == Some("stale");
        if !is_stale {
            stale = page(&api);
        }
        is_stale
    });
    assert!(stale.header("age").unwrap().parse::<u64>().unwrap() >= 1, "{stale:?}");
    assert_eq!(degraded(&api.get("/events/2")), Some("try-again"), "no copy of this one");

    // And the other way round.
    shop.ledger = Service::start("ledger", ledger_port, shop.folder(), &[]);
    cache.kill();
    let without_cache = page(&api);
    assert_eq!((without_cache.status, without_cache.header("degraded")), (200, None), "{without_cache:?}");
}

#[test]
fn parts_that_hang_cost_a_page_little_and_the_next_pages_nothing() {
    let shop = Shop::open();
    let cache = Service::start("cache", 0, shop.folder(), &[]);
    let chat = Service::start("chat", 0, shop.folder(), &[]);
    let api = shop.api(&[("SEAWORTHY_EGRESS_CACHE", cache.url()), ("SEAWORTHY_EGRESS_CHAT", chat.url())]);
    cache.pause();
    chat.pause();
    let started = Instant::now();
    let pages = 200;
    for _ in 0..pages {
        let page = api.get("/events/1");
        assert_eq!((page.status, page.header("degraded")), (200, None), "{page:?}");
        assert_eq!(page.body["chatAvailable"], false);
    }
    // If each page waited for the cache, 200 pages would take 20 s.
    assert!(started.elapsed() < Duration::from_secs(10), "{pages} pages took {:?}", started.elapsed());
}

#[test]
fn a_charge_once_begun_outlives_the_one_who_asked_and_the_order_to_stop() {
    use std::io::Write as _;
    let mut shop = Shop::open();
    let mut customer = std::net::TcpStream::connect(("127.0.0.1", shop.payments.port)).unwrap();
    let charge = r#"{"key":"k1","amount_cents":5,"buyer":"ann"}"#;
    let head = format!(
        "POST /charges HTTP/1.1\r\nhost: x\r\nidempotency-key: k1\r\ncontent-length: {}",
        charge.len()
    );
    customer.write_all(format!("{head}\r\n\r\n{charge}").as_bytes()).unwrap();
    shop.wait_for_charge();
    drop(customer);
    shop.payments.terminate();
    assert_eq!(shop.payments.exit_code(), Some(0));
    shop.payments = Service::start("payments", 0, shop.folder(), &[]);
    assert_eq!(shop.books().1, ["k1"]);
}

#[test]
fn told_to_stop_a_process_finishes_and_exits_with_0() {
    let shop = Shop::open();
    let mail = Service::start("mail", 0, shop.folder(), &[]);
    let analytics = Service::start("analytics", 0, shop.folder(), &[]);
    let tell = [("SEAWORTHY_EGRESS_MAIL", mail.url()), ("SEAWORTHY_EGRESS_ANALYTICS", analytics.url())];
    let mut api = shop.api(&tell);
    let port = api.port;
    let customer = std::thread::spawn(move || buy(port, "k1", ORDER));
    shop.wait_for_charge();
    api.terminate();
    let answer = customer.join().unwrap().unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(api.exit_code(), Some(0));
    assert_eq!(mail.get("/sent").body["sent"], 1, "what is owed is delivered before the end");
    assert_eq!(analytics.get("/counts").body, json!({"ticket_bought": 1}));
    shop.check_books(&["k1"]);
    let Shop { ledger, payments, folder } = shop;
    let (cache, chat) = ("cache", "chat");
    let others = [cache, chat].map(|name| Service::start(name, 0, folder.path(), &[]));
    for service in others.into_iter().chain([ledger, payments, mail, analytics]) {
        for probe in ["/readyz", "/livez"] {
            assert_eq!(service.get(probe).status, 200);
        }
        assert_eq!(service.stop(), Some(0));
    }
}

#[test]
fn who_has_no_time_starts_nothing() {
    let shop = Shop::open();
    let api = shop.api(&[]);
    let buy_within = |milliseconds: u32| {
        let length = ORDER.len();
        let head =
            format!("POST /tickets HTTP/1.0\r\nidempotency-key: k1\r\nseaworthy-deadline-ms: {milliseconds}");
        request(api.port, &format!("{head}\r\ncontent-length: {length}\r\n\r\n{ORDER}")).unwrap()
    };
    assert_eq!(degraded(&buy_within(5)), Some("try-again"));
    assert_eq!(shop.ledger.get("/tickets/k1").status, 404, "not even reserved");
    assert_eq!(degraded(&buy_within(120)), Some("try-again"));
    assert_eq!(shop.payments.get("/stats").body, json!({"charges": 0, "in_flight": 0}));
    assert_eq!(buy_within(10_000).status, 201);
}

#[test]
fn a_stream_of_messages_ends_when_the_chat_stops() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let mut chat = Service::start("chat", 0, folder.path(), &[]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", chat.port)).unwrap();
    stream.set_read_timeout(Some(backend::PATIENCE)).unwrap();
    stream.write_all(b"GET /chat/rooms/1/stream HTTP/1.0\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with(": heartbeat")), "the stream lives");
    let message = r#"{"text":"hello"}"#;
    let head = format!("POST /rooms/1/messages HTTP/1.0\r\ncontent-length: {}", message.len());
    let said = request(chat.port, &format!("{head}\r\n\r\n{message}")).unwrap();
    assert_eq!((said.status, &said.body["listeners"]), (202, &json!(1)));
    assert!(lines.any(|line| line == r#"data: {"text":"hello"}"#));
    chat.terminate();
    assert_eq!(lines.find(|line| !line.is_empty() && !line.starts_with(':')), None, "the stream ends");
    assert_eq!(chat.exit_code(), Some(0));
}
