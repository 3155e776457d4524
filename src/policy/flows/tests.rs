//! What the table of flows promises.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::table::{FlowId, Flows, Terms};
use crate::policy::udp::{HeaderIn, Udp};

const TERMS: Terms = Terms {
    udp: Udp { timeout: Duration::from_secs(60), responses: None, silence: 0, proxy: HeaderIn::First },
    idle: None,
};

fn responses(responses: u32) -> Terms {
    Terms { udp: Udp { responses: Some(responses), ..TERMS.udp }, ..TERMS }
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn only_answers_prolong_a_flow() {
    let (start, mut flows) = (Instant::now(), Flows::default());
    let id = flows.insert(1, (), start);
    for second in 0..59 {
        flows.heard(id, &TERMS.udp, after(start, second));
    }
    assert!(!flows.is_over(id, &TERMS, after(start, 59)));
    assert!(flows.is_over(id, &TERMS, after(start, 60)));
    flows.answered(id, 1, &TERMS.udp, after(start, 59));
    assert!(!flows.is_over(id, &TERMS, after(start, 118)));
    assert!(flows.is_over(id, &TERMS, after(start, 119)));
}

#[test]
fn what_is_over_is_found_in_time_and_not_before() {
    let (start, mut flows) = (Instant::now(), Flows::default());
    assert_eq!(flows.next_end(&TERMS), None);
    let id = flows.insert(1, (), start);
    flows.heard(id, &TERMS.udp, after(start, 1));
    assert_eq!(flows.next_end(&TERMS), Some(after(start, 61)));
    assert_eq!(flows.ended(&TERMS, after(start, 60)), None);
    assert_eq!(flows.ended(&TERMS, after(start, 61)), Some(id));
    let idle = Terms { idle: Some(Duration::from_secs(5)), ..TERMS };
    assert_eq!(flows.ended(&idle, after(start, 6)), Some(id));
    assert!(flows.is_over(id, &idle, after(start, 6)));
}

#[test]
fn a_flow_with_all_its_answers_rests_for_a_second() {
    let (start, mut flows, terms) = (Instant::now(), Flows::default(), responses(2));
    let id = flows.insert(1, (), start);
    flows.heard(id, &terms.udp, start);
    flows.answered(id, 1, &terms.udp, start);
    assert!(!flows.is_over(id, &terms, after(start, 1)));
    flows.answered(id, 1, &terms.udp, start);
    assert!(flows.is_over(id, &terms, after(start, 1)));
    flows.heard(id, &terms.udp, start);
    assert!(!flows.is_over(id, &terms, after(start, 1)));
}

#[test]
fn clients_that_go_on_after_an_answer_give_way_last() {
    let (now, mut flows, terms) = (Instant::now(), Flows::default(), responses(1));
    let mut enter = |key: u32, history: &str| {
        let id = flows.insert(key, (), now);
        for event in history.chars() {
            match event {
                'h' => flows.heard(id, &terms.udp, now),
                _ => drop(flows.answered(id, 1, &terms.udp, now)),
            }
        }
    };
    enter(1, "hahh");
    enter(2, "hhha");
    enter(3, "h");
    enter(4, "ha");
    enter(5, "h");
    let mut order = Vec::new();
    while let Some(id) = flows.first_to_go(8) {
        order.extend(flows.remove(id).map(|(key, ())| key));
    }
    assert_eq!(order, [4, 3, 2, 5, 1]);
}

#[test]
fn a_flow_whose_client_goes_on_gives_way_last_also_if_its_server_has_changed() {
    let (now, mut flows) = (Instant::now(), Flows::default());
    let one = flows.insert(1, (), now);
    flows.heard(one, &TERMS.udp, now);
    flows.answered(one, 1, &TERMS.udp, now);
    flows.heard(one, &TERMS.udp, now);
    flows.restart(one, now);
    flows.heard(one, &TERMS.udp, now);
    let two = flows.insert(2, (), after(now, 2));
    flows.heard(two, &TERMS.udp, after(now, 2));
    assert_eq!(flows.first_to_go(8), Some(two));
}

#[test]
fn a_name_of_a_flow_leads_nowhere_after_its_end() {
    let (now, mut flows) = (Instant::now(), Flows::default());
    let one = flows.insert(1, 'a', now);
    assert_eq!(FlowId::from(u64::from(one)), one);
    assert_eq!(flows.remove(one), Some((1, 'a')));
    let two = flows.insert(2, 'b', now);
    assert_eq!(flows.get(one), None);
    assert_eq!(flows.get(two), Some(&mut 'b'));
    assert_eq!((flows.key(one), flows.key(two), flows.remove(one)), (None, Some(2), None));
}

proptest! {
    /// Against the obvious implementation.
    #[test]
    fn the_table_holds_what_was_put_in(steps in proptest::collection::vec((0u8..4, 0u32..12), 0..200)) {
        let start = Instant::now();
        let mut flows: Flows<u32, u64> = Flows::default();
        let mut model: Vec<(u32, u64, bool)> = Vec::new();
        for (time, (what, key)) in steps.into_iter().enumerate() {
            let now = after(start, time as u64);
            let place = model.iter().position(|flow| flow.0 == key);
            match (what, flows.find(&key)) {
                (0, None) => {
                    flows.insert(key, time as u64, now);
                    model.push((key, time as u64, false));
                }
                (1, Some(id)) => {
                    prop_assert_eq!(flows.remove(id), place.map(|at| (model[at].0, model[at].1)));
                    model.remove(place.unwrap());
                }
                (2, Some(id)) => {
                    flows.answered(id, 1, &TERMS.udp, now);
                    let mut flow = model.remove(place.unwrap());
                    flow.2 = true;
                    model.push(flow);
                }
                (3, _) => {
                        let silent = model.iter().filter(|flow| !flow.2);
                        let answered = model.iter().find(|flow| flow.2);
                        let too_many = silent.clone().count() > 2;
                        let first = silent.clone().next().filter(|_| too_many).or(answered).or(silent.clone().next());
                        let found = flows.first_to_go(16).and_then(|id| flows.key(id));
                        prop_assert_eq!(found, first.map(|flow| flow.0));
                    }
                    _ => {}
            }
            prop_assert_eq!(flows.len(), model.len());
            prop_assert_eq!(flows.ids().count(), model.len());
        }
    }
}
