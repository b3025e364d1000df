//! The contract of [`Lanes`](vero_relay::store::Lanes): what a sorter and a worker of one destination see of each other's doing.

use vero_relay::store::{DeliveryId, DigestId, GroupKey, HeldBy, Lane, Unplaced, WindowHead};

use super::*;

const A: GroupKey = GroupKey([1; 16]);
const B: GroupKey = GroupKey([2; 16]);

fn head(key: GroupKey, passed: u32) -> WindowHead {
    WindowHead { key, address: 7, opened_ms: 1_700_000_000_000, ends_ms: 1_700_000_900_000, passed }
}

fn room(deliveries: usize) -> Room {
    Room { deliveries, body_bytes: 1 << 20, urgent_only: false }
}

/// Who delivers to a destination whose section sorts.
#[track_caller]
fn sorting(store: &dyn Store, of: &str) -> Worker {
    let worker = worker(store, destination(store, of));
    worker.queue().sort(true);
    worker
}

impl Worker {
    fn unplaced(&self, deliveries: usize) -> Vec<Unplaced> {
        wait(async || self.queue().unplaced(room(deliveries)).await)
    }

    /// Gives all that has no lane one by its body. Returns how much that was.
    pub(super) fn place_all(&self, lane: impl Fn(&str) -> Lane) -> usize {
        let mut count = 0;
        loop {
            let some = self.unplaced(2);
            if some.is_empty() {
                return count;
            }
            count += some.len();
            let lane_of = |one: &Unplaced| {
                let event = one.event.as_ref().expect("readable");
                (one.delivery, lane(std::str::from_utf8(&event.body).expect("a text")))
            };
            self.queue().place(Vec::new(), some.iter().map(lane_of).collect());
        }
    }

    #[track_caller]
    fn end(&self, windows: &[GroupKey]) -> Option<DigestId> {
        wait(async || self.queue().end(windows.to_vec()).await).expect("ended")
    }

    /// The bodies of a digest's members, page by page.
    fn members(&self, of: DigestId) -> Vec<String> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = wait(async || self.queue().members(of, after, room(2)).await).expect("read");
            let Some(last) = page.last() else { return all };
            assert!(page.len() <= 2);
            after = Some(last.id);
            all.extend(page.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()));
        }
    }
}

/// By the first letter of a body.
fn by_letter(body: &str) -> Lane {
    match body.as_bytes()[0] {
        b'u' => Lane::Urgent,
        b'a' => Lane::Window(A),
        b'b' => Lane::Window(B),
        _ => Lane::Ready,
    }
}

#[test]
fn what_has_no_lane_is_not_claimed_and_what_is_urgent_is_claimed_first() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        for body in ["r1", "a1", "r2", "u1"] {
            append(&*store, body, &["chat"]);
        }
        assert_eq!(worker.bodies(9), [""; 0]);
        let counts = store.counts_of(destination(&*store, "chat"));
        assert_eq!((counts.unplaced, counts.backlog), (4, 4));
        worker.queue().place(vec![head(A, 0)], Vec::new());
        assert_eq!(worker.place_all(by_letter), 4);
        let counts = store.counts_of(destination(&*store, "chat"));
        assert_eq!((counts.unplaced, counts.backlog, counts.gathered, counts.urgent), (0, 3, 1, 1));
        assert_eq!((counts.windows, counts.next_end_ms), (1, Some(1_700_000_900_000)));
        assert_eq!(worker.bodies(9), ["u1", "r1", "r2"]);
    });
}

#[test]
fn quiet_is_passed_by_what_is_urgent_alone() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        for body in ["r1", "u1"] {
            append(&*store, body, &["chat"]);
        }
        worker.place_all(by_letter);
        let quiet = Room { urgent_only: true, ..room(9) };
        let claimed = worker.claim_once(quiet);
        assert_eq!(claimed.len(), 1);
        assert!(worker.claim_once(quiet).is_empty());
        worker.queue().displace();
        assert_eq!(worker.place_all(|_| Lane::Ready), 1, "what was ready is placed anew");
        assert_eq!(worker.bodies(9), ["r1"]);
    });
}

#[test]
fn what_was_urgent_is_so_again_for_who_sorts_anew_when_it_is_tried_again() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        for body in ["u1", "r1", "a1"] {
            append(&*store, body, &["chat"]);
        }
        worker.place_all(by_letter);
        for claim in worker.claim(9) {
            let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 0, reason: "503".into() };
            worker.settle(vec![(claim, retry)]);
        }
        worker.queue().sort(true);
        assert!(worker.unplaced(9).is_empty() && !worker.queue().has_urgent());
        worker.queue().place(vec![head(A, 0)], Vec::new());
        worker.queue().look_at_attempted();
        assert!(worker.unplaced(9).iter().all(|one| one.is_attempted));
        assert_eq!(worker.place_all(by_letter), 3);
        let quiet = Room { urgent_only: true, ..room(9) };
        assert!(worker.queue().has_urgent());
        assert_eq!(worker.claim_once(quiet).len(), 1);
        assert_eq!((worker.bodies(9).len(), worker.queue().windows().open), (2, vec![(head(A, 0), 0)]));
    });
}

#[test]
fn who_places_is_woken_by_what_arrives_and_who_delivers_by_what_is_placed() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        let (to_place, ready) = (worker.queue().to_place(), worker.queue().ready());
        append(&*store, "u1", &["chat"]);
        wait(async || to_place.await);
        assert!(!worker.queue().has_urgent());
        assert_eq!(worker.place_all(by_letter), 1);
        wait(async || ready.await);
        assert!(worker.queue().has_urgent());
        assert_eq!(worker.bodies(9), ["u1"]);
        let ready = worker.queue().ready();
        worker.queue().wake();
        wait(async || ready.await);
    });
}

#[test]
fn a_digest_is_one_claim_and_what_becomes_of_it_becomes_of_all_its_members() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        let ids = ["a1", "b1", "a2", "r1"].map(|body| append(&*store, body, &["chat"]));
        worker.queue().place(vec![head(A, 3), head(B, 0)], Vec::new());
        worker.place_all(by_letter);
        let state = |id: EventId| wait(async || store.event(id).await).expect("found").deliveries[0].state.clone();
        let by = HeldBy::Window { ends_ms: 1_700_000_900_000 };
        assert_eq!(state(ids[0]), DeliveryState::Held { by });
        let windows = worker.queue().windows();
        assert_eq!((windows.open, windows.are_whole), (vec![(head(A, 3), 2), (head(B, 0), 1)], true));

        let id = worker.end(&[A, B]).expect("something lay in them");
        assert!(worker.queue().windows().open.is_empty());
        let [digest] = worker.queue().digests().try_into().expect("one is known");
        assert_eq!((digest.id, digest.members, digest.name.get_version_num()), (id, 3, 8));
        assert_eq!((digest.is_offered, digest.due_ms, worker.queue().windows().others), (false, None, 1));
        assert_eq!(worker.members(id), ["a1", "b1", "a2"]);

        let ready = worker.queue().ready();
        worker.queue().offer(id);
        wait(async || ready.await);
        assert_eq!(worker.queue().windows().others, 2);
        let claimed = worker.claimed(9);
        let of_digest = claimed.iter().find(|claimed| claimed.claim.digest.is_some()).expect("it is due");
        assert_eq!((of_digest.claim.digest, id_of(of_digest), claimed.len()), (Some(id), ids[0], 2));
        assert_eq!(state(ids[2]), DeliveryState::InFlight);
        let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 0, reason: "503".into() };
        worker.settle(vec![(of_digest.claim, retry)]);
        assert_eq!(worker.queue().digests()[0].due_ms, Some(0));
        let again = worker.claim(9)[0];
        assert_eq!((again.digest, again.attempts, again.first_attempt_ms), (Some(id), 1, Some(5)));
        worker.settle(vec![(again, Settlement::Returned)]);
        let again = worker.claim(9)[0];
        let due_ms = u64::MAX / 2;
        let retry = Settlement::Scheduled { attempts: 2, first_attempt_ms: 5, due_ms, reason: "503".into() };
        worker.settle(vec![(again, retry)]);
        let ready = worker.queue().ready();
        worker.queue().hasten(id);
        wait(async || ready.await);
        let again = worker.claim(9)[0];
        assert_eq!((again.digest, again.attempts), (Some(id), 2), "sooner than it was to be tried");
        worker.settle(vec![(again, Settlement::Delivered { attempts: 3 })]);
        assert_eq!((worker.claim(9), worker.queue().digests(), worker.members(id)), (vec![], vec![], vec![]));
        assert!(matches!(state(ids[1]), DeliveryState::Delivered { attempts: 3, .. }));
        assert_eq!(store.counts_of(destination(&*store, "chat")).backlog, 1, "the ready one, in flight");
    });
}

#[test]
fn of_a_digest_that_is_given_up_each_member_is_a_dead_letter() {
    each_and_shared(|backend| {
        let store = backend.open();
        let chat = destination(&*store, "chat");
        let worker = sorting(&*store, "chat");
        for body in ["a1", "a2", "a3"] {
            append(&*store, body, &["chat"]);
        }
        worker.queue().place(vec![head(A, 0)], Vec::new());
        worker.place_all(by_letter);
        let id = worker.end(&[A]).expect("something lay in it");
        worker.queue().offer(id);
        let claim = worker.claim(1)[0];
        let dead = Settlement::Dead { attempts: 20, reason: "400".into() };
        worker.settle(vec![(claim, dead)]);
        let counts = store.counts_of(chat);
        assert_eq!((counts.dead, counts.backlog), (3, 0));
        let reasons = wait(async || store.dead_reasons(vec![chat]).await).expect("read").reasons;
        assert_eq!((reasons[0].reason.as_str(), reasons[0].deliveries), ("400", 3));
        let redelivered = ask(&*store, new_id(), "chat", What::Redeliver(Which::Dead(DeadQuery::default())));
        assert_eq!((redelivered.deliveries, worker.place_all(by_letter)), (3, 3), "together they are sorted again");
    });
}

/// A worker to which a digest of `a1` and `a2` has been closed.
fn with_a_digest_of_two(store: &dyn Store) -> (Worker, DigestId) {
    let worker = sorting(store, "chat");
    for body in ["a1", "a2"] {
        append(store, body, &["chat"]);
    }
    worker.queue().place(vec![head(A, 0)], Vec::new());
    worker.place_all(by_letter);
    let id = worker.end(&[A]).expect("something lay in it");
    (worker, id)
}

#[test]
fn a_digest_that_is_dissolved_leaves_its_members_to_go_out_by_themselves() {
    each_and_shared(|backend| {
        let store = backend.open();
        let (worker, id) = with_a_digest_of_two(&*store);
        worker.queue().sort(false);
        assert_eq!(worker.bodies(9), [""; 0]);
        worker.queue().dissolve(id);
        assert_eq!((worker.bodies(9), worker.queue().digests()), (vec!["a1".to_owned(), "a2".to_owned()], vec![]));
    });
}

#[test]
fn no_window_puts_together_again_what_a_digest_was_dissolved_into() {
    each_and_shared(|backend| {
        let store = backend.open();
        let (worker, id) = with_a_digest_of_two(&*store);
        worker.queue().dissolve(id);
        assert_eq!(worker.place_all(by_letter), 0, "they are ready");
        assert_eq!(worker.bodies(9), ["a1", "a2"]);
    });
}

#[test]
fn a_start_finds_windows_and_digests_and_gives_no_lane_to_what_is_in_neither() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        for body in ["a1", "a2", "b1", "r1", "u1"] {
            append(&*store, body, &["chat"]);
        }
        worker.queue().place(vec![head(A, 3), head(B, 2)], Vec::new());
        worker.place_all(by_letter);
        let id = worker.end(&[A]).expect("something lay in it");
        worker.queue().offer(id);
        let claim = worker.claim(9).into_iter().find(|claim| claim.digest.is_some()).expect("it is due");
        let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 0, reason: "503".into() };
        worker.settle(vec![(claim, retry)]);
        store.close_now();
        drop((worker, store));

        let store = backend.open();
        let worker = sorting(&*store, "chat");
        let windows = worker.queue().windows();
        assert_eq!(windows.open.iter().map(|(head, members)| (head.passed, *members)).collect::<Vec<_>>(), [(2, 0)]);
        assert!(!windows.are_whole);
        assert_eq!((worker.members(id), worker.claim(9)), (vec!["a1".to_owned(), "a2".to_owned()], vec![]));
        assert_eq!(worker.place_all(by_letter), 3);
        assert_eq!(worker.queue().windows().open.iter().map(|(_, members)| *members).collect::<Vec<_>>(), [1]);
        assert_eq!(worker.bodies(9), ["u1", "r1"], "the digest is not offered");
        worker.queue().offer(id);
        let again = worker.claim(9)[0];
        assert_eq!((again.digest, again.attempts), (Some(id), 1));
    });
}

#[test]
fn whoever_has_lost_the_lease_places_and_ends_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = sorting(&*store, "chat");
        append(&*store, "a1", &["chat"]);
        let delivery: DeliveryId = worker.unplaced(1)[0].delivery;
        worker.queue().place(vec![head(A, 0)], vec![(delivery, Lane::Window(A))]);
        backend.take_away(&worker.0);
        assert_eq!(worker.end(&[A]), None);
        worker.queue().place(vec![head(B, 0)], Vec::new());
        worker.queue().displace();
        assert!(worker.unplaced(1).is_empty() && worker.queue().windows().open.is_empty());
        assert_eq!(store.counts_of(destination(&*store, "chat")).windows, 1);
    });
}
