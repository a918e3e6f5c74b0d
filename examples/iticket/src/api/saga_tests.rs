//! Tables for single decisions, and every course that two replicas and a rival can take through a world in
//! which any message may be lost, late or refused.

use super::*;

const PATIENT: u64 = 4000;
const PRICE: u64 = 4500;

fn ticket(state: TicketState) -> Ticket {
    Ticket { id: 1, key: "k".to_owned(), event: 2, buyer: "ann".to_owned(), state, price_cents: PRICE }
}

/// Feeds the results one by one; the last `Next` in words.
fn course(results: &[(StepResult, u64)]) -> String {
    let (mut saga, mut next) = Saga::begin(PATIENT);
    for (result, left_ms) in results {
        assert!(matches!(next, Next::Take(_)), "{results:?} goes on after the end");
        next = saga.on(result.clone(), *left_ms);
    }
    match next {
        Next::Take(step) => format!("{step:?}"),
        Next::Answer(Verdict::Bought { news, .. }) => format!("Bought {news:?}"),
        Next::Answer(verdict) => format!("{verdict:?}"),
    }
}

#[test]
fn one_decision_at_a_time() {
    use StepResult as R;
    let reserved = || (R::Ticket(ticket(TicketState::Reserved)), PATIENT);
    let confirmed = || (R::Ticket(ticket(TicketState::Confirmed)), PATIENT);
    let released = || (R::Ticket(ticket(TicketState::Released)), PATIENT);
    let charged = || (R::Charged(7), PATIENT);
    let late = |(result, _): (StepResult, u64), left_ms| (result, left_ms);
    let p = |result| (result, PATIENT);
    let table = [
        (vec![], "Reserve"),
        (vec![reserved()], "Charge { amount_cents: 4500 }"),
        (vec![reserved(), charged()], "Confirm { charge: 7 }"),
        (vec![reserved(), charged(), confirmed()], "Bought Fresh"),
        (vec![confirmed()], "Bought Replayed"),
        (vec![released()], "Declined"),
        (vec![p(R::SoldOut)], "SoldOut"),
        (vec![p(R::KeyReused)], "KeyReused"),
        (vec![p(R::NoSuchEvent)], "NoSuchEvent"),
        (vec![p(R::NotDone)], "TryAgain"),
        (vec![p(R::Unclear)], "TryAgain"),
        (vec![reserved(), p(R::NotDone)], "TryAgain"),
        (vec![reserved(), p(R::Unclear)], "PaymentPending"),
        (vec![reserved(), p(R::Declined)], "Release"),
        (vec![reserved(), p(R::Declined), released()], "Declined"),
        (vec![reserved(), p(R::Declined), p(R::Unclear)], "TryAgain"),
        (vec![reserved(), p(R::Declined), confirmed()], "Bought Fresh"),
        (vec![reserved(), charged(), p(R::NotDone)], "PaymentPending"),
        (vec![reserved(), charged(), p(R::Unclear)], "PaymentPending"),
        (vec![reserved(), charged(), released()], "PaymentPending"),
        // A result that does not belong to the step leaves the purchase where it is.
        (vec![charged()], "TryAgain"),
        (vec![reserved(), p(R::SoldOut)], "TryAgain"),
        (vec![reserved(), charged(), p(R::SoldOut)], "PaymentPending"),
        // No step is begun that cannot end in time, nor a charge that cannot be confirmed.
        (vec![late(reserved(), 149)], "TryAgain"),
        (vec![late(reserved(), 150)], "Charge { amount_cents: 4500 }"),
        (vec![reserved(), late(charged(), 9)], "PaymentPending"),
        (vec![reserved(), late(charged(), 10)], "Confirm { charge: 7 }"),
        (vec![reserved(), late(p(R::Declined), 9)], "TryAgain"),
    ];
    for (results, expected) in table {
        assert_eq!(course(&results), expected, "{results:?}");
    }
    assert_eq!(Saga::begin(9).1, Next::Answer(Verdict::TryAgain), "no time even to begin");
}

#[test]
fn answers_of_the_ledger_are_read() {
    let reserved =
        r#"{"id":1,"key":"k","event":2,"buyer":"ann","state":"reserved","price_cents":4500,"charge":null}"#;
    let contradiction = format!(r#"{{"reason":"contradiction","ticket":{reserved}}}"#);
    let table = [
        (200, reserved, StepResult::Ticket(ticket(TicketState::Reserved))),
        (200, "{}", StepResult::Unclear),
        (409, r#"{"reason":"sold_out"}"#, StepResult::SoldOut),
        (409, &contradiction, StepResult::Ticket(ticket(TicketState::Reserved))),
        (409, r#"{"type":"outcome-unknown"}"#, StepResult::Unclear),
        (404, "", StepResult::NoSuchEvent),
        (422, "", StepResult::KeyReused),
        (500, "", StepResult::Unclear),
        (503, reserved, StepResult::Unclear),
    ];
    for (status, body, expected) in table {
        assert_eq!(ledger_result(status, body.as_bytes()), expected, "{status} {body}");
    }
}

#[test]
fn answers_of_the_provider_are_read_and_doubt_stays_doubt() {
    use StepResult::{Charged, Declined, NotDone, Unclear};
    let table = [
        (201, r#"{"id":7}"#, None, Charged(7)),
        (200, r#"{"id":7}"#, None, Charged(7)),
        (201, "", None, Unclear),
        (402, "", None, Declined),
        (402, "", Some("http_response_timeout"), Unclear),
        (400, "", None, NotDone),
        (429, "", None, NotDone),
        (409, "", None, Unclear),
        (408, "", None, Unclear),
        (500, "", None, Unclear),
        (503, "", None, Unclear),
        (503, r#"{"reason":"busy"}"#, None, NotDone),
        (503, "", Some("connection_refused"), NotDone),
        (503, "", Some("destination_unavailable"), NotDone),
        (502, "", Some("connection_terminated"), Unclear),
        (504, "", Some("http_response_timeout"), Unclear),
    ];
    for (status, body, proxy_error, expected) in table {
        let result = charge_result(status, body.as_bytes(), proxy_error);
        assert_eq!(result, expected, "{status} {body} {proxy_error:?}");
    }
}

/// What can become of a step's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Carried out and answered.
    Answered,
    /// Carried out, the answer is lost.
    AnswerLost,
    /// Never carried out, and the sender cannot know.
    Lost,
    /// Never carried out, and the sender has proof.
    Refused,
    /// Carried out at any later moment; the sender does not wait for it.
    Late,
}

const FATES: [Fate; 5] = [Fate::Answered, Fate::AnswerLost, Fate::Lost, Fate::Refused, Fate::Late];

/// The naive model: one seat, one provider, and customers, each with a key of their own.
#[derive(Clone, Debug)]
struct World {
    seats_left: u32,
    customers: [Customer; 2],
    late: Vec<(usize, Step)>,
}

#[derive(Clone, Copy, Debug)]
struct Customer {
    card: Card,
    ticket: Option<TicketState>,
    charges: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    Good,
    Bad,
}

impl World {
    fn carry_out(&mut self, customer: usize, step: Step) -> StepResult {
        let Customer { card, ticket: state, charges } = &mut self.customers[customer];
        match (step, *state) {
            (Step::Reserve, None) if self.seats_left == 0 => return StepResult::SoldOut,
            (Step::Reserve, None) => {
                self.seats_left -= 1;
                *state = Some(TicketState::Reserved);
            }
            (Step::Confirm { .. }, Some(TicketState::Reserved)) => *state = Some(TicketState::Confirmed),
            (Step::Release, Some(TicketState::Reserved)) => {
                self.seats_left += 1;
                *state = Some(TicketState::Released);
            }
            (Step::Charge { .. }, _) if *card == Card::Bad => return StepResult::Declined,
            (Step::Charge { amount_cents }, _) => {
                assert_eq!(amount_cents, PRICE);
                // The provider keeps its promise about keys: asking again charges nobody.
                *charges = 1;
                return StepResult::Charged(7);
            }
            _ => (),
        }
        state.map_or(StepResult::NoSuchEvent, |state| StepResult::Ticket(ticket(state)))
    }

    fn check(&self, history: &[String]) {
        let held = self.customers.iter().filter(|customer| {
            matches!(customer.ticket, Some(TicketState::Reserved | TicketState::Confirmed))
        });
        assert_eq!(held.count() as u32 + self.seats_left, 1, "seats add up: {history:?}");
        for Customer { ticket, charges, .. } in &self.customers {
            match ticket {
                Some(TicketState::Confirmed) => assert_eq!(*charges, 1, "a ticket is paid: {history:?}"),
                Some(TicketState::Released) => assert_eq!(*charges, 0, "given back is not paid: {history:?}"),
                None => assert_eq!(*charges, 0, "no charge without a seat: {history:?}"),
                Some(TicketState::Reserved) => (),
            }
        }
    }

    fn check_verdict(&self, replica: &Replica, verdict: &Verdict, history: &[String]) {
        let Customer { ticket, charges, card } = self.customers[replica.customer];
        match verdict {
            Verdict::Bought { .. } => {
                assert_eq!((ticket, charges), (Some(TicketState::Confirmed), 1), "{history:?}");
            }
            Verdict::Declined => {
                assert_eq!(
                    (ticket, charges, card),
                    (Some(TicketState::Released), 0, Card::Bad),
                    "{history:?}"
                );
            }
            Verdict::TryAgain => assert!(!replica.may_have_charged, "{history:?}"),
            Verdict::PaymentPending => {
                assert!(replica.may_have_charged || replica.charge_unclear, "{history:?}");
            }
            Verdict::SoldOut => assert_eq!(charges, 0, "{history:?}"),
            other => panic!("{other:?} cannot happen here: {history:?}"),
        }
    }
}

/// An API process with a purchase under way.
#[derive(Debug)]
struct Replica {
    customer: usize,
    saga: Saga,
    next: Next,
    /// A charge step of its own was carried out, now or later, on a good card.
    may_have_charged: bool,
    /// A charge step of its own had no answer.
    charge_unclear: bool,
}

impl Clone for Replica {
    fn clone(&self) -> Self {
        Self { saga: Saga { awaited: self.saga.awaited }, next: self.next.clone(), ..*self }
    }
}

impl Replica {
    fn begin(customer: usize) -> Self {
        let (saga, next) = Saga::begin(PATIENT);
        Self { customer, saga, next, may_have_charged: false, charge_unclear: false }
    }

    fn step(&mut self, world: &mut World, fate: Fate) {
        let Next::Take(step) = self.next else { panic!("the purchase is over") };
        let result = match fate {
            Fate::Answered => world.carry_out(self.customer, step),
            Fate::AnswerLost => {
                world.carry_out(self.customer, step);
                StepResult::Unclear
            }
            Fate::Late => {
                world.late.push((self.customer, step));
                StepResult::Unclear
            }
            Fate::Lost => StepResult::Unclear,
            Fate::Refused => StepResult::NotDone,
        };
        if matches!(step, Step::Charge { .. }) {
            let carried_out = matches!(fate, Fate::Answered | Fate::AnswerLost | Fate::Late);
            let good = world.customers[self.customer].card == Card::Good;
            self.may_have_charged |= carried_out && good;
            self.charge_unclear |= result == StepResult::Unclear;
        }
        self.next = self.saga.on(result, PATIENT);
    }
}

/// Goes through every course from here on; returns their number.
fn explore(world: &World, replicas: &[Replica], history: &mut Vec<String>) -> u64 {
    world.check(history);
    // At any moment every replica may be gone for good: then the customers ask once more, and are served.
    finish_undisturbed(world, history);
    let mut courses = 0;
    for (index, replica) in replicas.iter().enumerate() {
        let Next::Take(step) = replica.next else { continue };
        for fate in FATES {
            let (mut world, mut replicas) = (world.clone(), replicas.to_vec());
            history.push(format!("replica {index}: {step:?} {fate:?}"));
            replicas[index].step(&mut world, fate);
            if let Next::Answer(verdict) = &replicas[index].next {
                world.check_verdict(&replicas[index], verdict, history);
            }
            courses += explore(&world, &replicas, history);
            history.pop();
        }
    }
    for index in 0..world.late.len() {
        let mut world = world.clone();
        let (customer, step) = world.late.remove(index);
        history.push(format!("late, for customer {customer}: {step:?}"));
        world.carry_out(customer, step);
        courses += explore(&world, replicas, history);
        history.pop();
    }
    courses.max(1)
}

fn finish_undisturbed(world: &World, history: &[String]) {
    let mut world = world.clone();
    for customer in 0..world.customers.len() {
        let mut replica = Replica::begin(customer);
        while matches!(replica.next, Next::Take(_)) {
            replica.step(&mut world, Fate::Answered);
        }
        let Next::Answer(verdict) = replica.next.clone() else {
            unreachable!("the loop ends with an answer")
        };
        let expected = matches!(
            (world.customers[customer].card, &verdict),
            (_, Verdict::SoldOut) | (Card::Good, Verdict::Bought { .. }) | (Card::Bad, Verdict::Declined)
        );
        assert!(expected, "undisturbed, customer {customer} gets {verdict:?} after {history:?}");
        world.check_verdict(&replica, &verdict, history);
    }
    for (customer, step) in std::mem::take(&mut world.late) {
        world.carry_out(customer, step);
    }
    world.check(history);
}

#[test]
fn two_replicas_and_a_rival_for_the_last_seat_in_every_order() {
    for card in [Card::Good, Card::Bad] {
        let customer = |card| Customer { card, ticket: None, charges: 0 };
        let customers = [customer(card), customer(Card::Good)];
        let world = World { seats_left: 1, customers, late: Vec::new() };
        // One key at two replicas, and the rival's at a third.
        let replicas = [0, 0, 1].map(Replica::begin);
        let courses = explore(&world, &replicas, &mut Vec::new());
        assert!(courses > 50_000, "{courses} courses are not all of them");
    }
}
